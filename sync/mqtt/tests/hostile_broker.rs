//! The pipe against brokers that break the rules: packets beyond the announced limit, garbage, silence, refusals, no PUBACKs.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

use std::time::Duration;
use sync_mqtt::{Backoff, PipeConfig, PipeError, PipeEvent, Publish, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// CONNACK, success, no properties (MQTT 5, 3.2).
const CONNACK: [u8; 5] = [0x20, 0x03, 0x00, 0x00, 0x00];

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn config(port: u16, filters: &[&str]) -> PipeConfig {
    let mut config = PipeConfig::new("127.0.0.1", port, "victim");
    config.subscriptions = filters.iter().map(|filter| (*filter).to_owned()).collect();
    config.packet_bytes_max = 1_024;
    config.inflight = 4;
    config.backoff = Backoff { min_ms: 5, max_ms: 20 };
    config
}

async fn next(events: &mut Receiver<PipeEvent>) -> PipeEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event within the patience").expect("the pipe is open")
}

/// Accepts one client, reads its CONNECT, answers CONNACK.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_packet(&mut stream).await;
    stream.write_all(&CONNACK).await.unwrap();
    stream
}

/// Reads one packet; all here have a one-byte or two-byte remaining length.
async fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![stream.read_u8().await.unwrap()];
    let mut length = usize::from(stream.read_u8().await.unwrap());
    if length >= 128 {
        length = length - 128 + 128 * usize::from(stream.read_u8().await.unwrap());
    }
    packet.resize(1 + length, 0);
    stream.read_exact(&mut packet[1..]).await.unwrap();
    packet
}

/// Answers the SUBSCRIBE that comes next with `code`.
async fn answer_subscribe(stream: &mut TcpStream, code: u8) {
    let subscribe = read_packet(stream).await;
    assert_eq!(subscribe[0], 0x82);
    stream.write_all(&[0x90, 0x04, subscribe[1], subscribe[2], 0x00, code]).await.unwrap();
}

/// A QoS 0 PUBLISH on topic `t`.
fn publish(payload_bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut length = 4 + payload_bytes;
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend([0x00, 0x01, b't', 0x00]);
    packet.resize(packet.len() + payload_bytes, b'x');
    packet
}

#[tokio::test]
async fn a_broker_that_keeps_sending_oversize_does_not_trap_the_pipe() {
    let (listener, port) = listen().await;
    let hostile = tokio::spawn(async move {
        let mut rounds = 0_u32;
        loop {
            let mut stream = accept(&listener).await;
            answer_subscribe(&mut stream, 1).await;
            // As a retained oversize message would: again on every connection.
            let sent = stream.write_all(&publish(10_000)).await.is_ok();
            let sent = sent && stream.write_all(&publish(3)).await.is_ok();
            rounds += 1;
            // The client answers QoS 0 with nothing: end of stream means that it left.
            if sent && matches!(timeout(Duration::from_secs(2), stream.read_u8()).await, Err(_) | Ok(Ok(_))) {
                return (rounds, stream);
            }
        }
    });
    let (pipe, mut events) = open(config(port, &["t"]));
    loop {
        if let PipeEvent::Message { payload, .. } = next(&mut events).await {
            assert_eq!(payload, b"xxx", "only what fits is handed over");
            break;
        }
    }
    let (rounds, _stream) = timeout(PATIENCE, hostile).await.unwrap().unwrap();
    assert!((2..=4).contains(&rounds), "{rounds} connections");
    assert_eq!(pipe.stats().dropped, 1);
    assert!(pipe.is_up());
}

#[tokio::test]
async fn garbage_and_refusals_are_downs_with_reasons() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        read_packet(&mut stream).await;
        // Not authorized.
        stream.write_all(&[0x20, 0x03, 0x00, 0x87, 0x00]).await.unwrap();
        drop(stream);
        let mut stream = accept(&listener).await;
        answer_subscribe(&mut stream, 0x87).await;
        let mut stream = accept(&listener).await;
        answer_subscribe(&mut stream, 1).await;
        // An endless remaining length.
        stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        let mut stream = accept(&listener).await;
        answer_subscribe(&mut stream, 1).await;
        stream.write_all(&publish(3)).await.unwrap();
        // Stay until the client goes.
        while stream.read_u8().await.is_ok() {}
    });
    let (pipe, mut events) = open(config(port, &["t"]));
    let mut reasons = Vec::new();
    loop {
        match next(&mut events).await {
            PipeEvent::Down { reason } => {
                assert!(!reason.is_empty() && reason.len() <= 160, "{reason}");
                reasons.push(reason);
            }
            PipeEvent::Message { payload, .. } => {
                assert_eq!(payload, b"xxx");
                break;
            }
            PipeEvent::Up => {}
        }
    }
    assert_eq!(pipe.stats().failures, 4, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("NotAuthorized")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("refuses subscription 't'")), "{reasons:?}");
}

#[tokio::test]
async fn a_broker_without_pubacks_fills_the_queue_and_no_more() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let mut publishes = Vec::new();
        for _ in 0..4 {
            publishes.push(read_packet(&mut stream).await);
        }
        (stream, publishes)
    });
    let (pipe, mut events) = open(config(port, &[]));
    assert_eq!(next(&mut events).await, PipeEvent::Up);
    let mut accepted = 0;
    // Four fly, four wait; a ninth finds no room however often it is tried.
    for _ in 0..2_000 {
        match pipe.try_publish("t", b"x".to_vec(), Publish::Live) {
            Ok(()) => accepted += 1,
            Err(error) => assert_eq!(error, PipeError::Full),
        }
        tokio::task::yield_now().await;
    }
    let (_stream, publishes) = timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(publishes.len(), 4);
    assert!((4..=8).contains(&accepted), "{accepted}");
    assert!(pipe.stats().full > 0);
    // Closing cannot flush here, and ends nevertheless.
    timeout(PATIENCE, pipe.close()).await.unwrap();
}

/// A half-open line: the keep-alive of an hour would not notice, the unconfirmed publish does.
#[tokio::test]
async fn a_broker_that_goes_silent_is_noticed_by_what_it_owes() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let first = read_packet(&mut stream).await;
        (stream, first)
    });
    let mut config = config(port, &[]);
    config.keep_alive_s = 3_600;
    config.silence_max = Duration::from_millis(200);
    let (pipe, mut events) = open(config);
    assert_eq!(next(&mut events).await, PipeEvent::Up);
    pipe.try_publish("t", b"x".to_vec(), Publish::LiveOnce).unwrap();
    let (_stream, first) = timeout(PATIENCE, server).await.unwrap().unwrap();
    // Quality of service 0 has no identifier and owes nothing.
    assert_eq!(first[0] & 0b110, 0);
    pipe.try_publish("t", b"x".to_vec(), Publish::Live).unwrap();
    let down = next(&mut events).await;
    assert!(matches!(&down, PipeEvent::Down { reason } if reason.contains("no sign of life")), "{down:?}");
}

#[tokio::test]
async fn a_mute_broker_is_a_down_and_not_a_wait_for_ever() {
    let (listener, port) = listen().await;
    let (_pipe, mut events) = open(config(port, &["t"]));
    let (_stream, _) = listener.accept().await.unwrap();
    assert!(matches!(next(&mut events).await, PipeEvent::Down { .. }));
}
