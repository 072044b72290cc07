//! Brokers that say what no broker should: acknowledgements of nothing, limits of nothing, packets out of turn. The pipe ends
//! such a connection or lives with it; it never hangs, floods, or dies.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

use std::time::Duration;
use sync_mqtt::{Backoff, PipeConfig, PipeEvent, Publish, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// A QoS 0 PUBLISH of `xxx` on topic `t`.
const SOUND: [u8; 9] = [0x30, 7, 0, 1, b't', 0, b'x', b'x', b'x'];

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn config(port: u16) -> PipeConfig {
    let mut config = PipeConfig::new("127.0.0.1", port, "victim");
    config.subscriptions = vec!["t".to_owned()];
    config.packet_bytes_max = 1_024;
    config.inflight = 4;
    config.backoff = Backoff { min_ms: 5, max_ms: 20 };
    config
}

async fn next(events: &mut Receiver<PipeEvent>) -> PipeEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event within the patience").expect("the pipe is open")
}

/// Reads one packet; `None` when the client has left.
async fn read_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut packet = vec![stream.read_u8().await.ok()?];
    let mut length = usize::from(stream.read_u8().await.ok()?);
    if length >= 128 {
        length = length - 128 + 128 * usize::from(stream.read_u8().await.ok()?);
    }
    packet.resize(1 + length, 0);
    stream.read_exact(&mut packet[1..]).await.ok()?;
    Some(packet)
}

/// Takes a client up to its subscription, with these properties in the CONNACK.
async fn welcome(listener: &TcpListener, flags: u8, properties: &[u8]) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_packet(&mut stream).await.unwrap();
    let size = u8::try_from(properties.len()).unwrap();
    let connack = [&[0x20, 3 + size, flags, 0, size], properties].concat();
    stream.write_all(&connack).await.unwrap();
    while let Some(packet) = read_packet(&mut stream).await {
        if packet[0] == 0x82 {
            drop(stream.write_all(&[0x90, 4, packet[1], packet[2], 0, 1]).await);
            break;
        }
    }
    stream
}

#[tokio::test]
async fn packets_out_of_turn_end_a_connection_at_most() {
    let (listener, port) = listen().await;
    let odd: Vec<Vec<u8>> = vec![
        // PUBACK, PUBREC, PUBREL, PUBCOMP of packets that never were, of number 0 and of the greatest.
        vec![0x40, 2, 0xFF, 0xFF],
        vec![0x40, 2, 0, 0],
        vec![0x40, 2, 0, 3],
        vec![0x50, 2, 0xFF, 0xFF],
        vec![0x62, 2, 0xFF, 0xFF],
        vec![0x70, 2, 0xFF, 0xFF],
        // SUBACK with more codes than filters, with none, UNSUBACK, PINGRESP twice.
        vec![0x90, 6, 0xFF, 0xFF, 0, 1, 1, 1],
        vec![0x90, 3, 0, 1, 0],
        vec![0xB0, 4, 0, 9, 0, 0],
        vec![0xD0, 0, 0xD0, 0],
        // A second CONNACK, a CONNECT, a SUBSCRIBE, AUTH, a reserved packet type.
        vec![0x20, 3, 0, 0, 0],
        vec![0x10, 0],
        vec![0x82, 2, 0, 1],
        vec![0xF0, 2, 0, 0],
        vec![0x00, 0],
        // PUBLISH of QoS 2 and of QoS 3, with an alias that was never agreed on, with properties that lie about their length,
        // with a topic that is none.
        vec![0x34, 9, 0, 1, b't', 0, 7, 0, b'x', b'y', b'z'],
        vec![0x36, 9, 0, 1, b't', 0, 7, 0, b'x', b'y', b'z'],
        vec![0x30, 6, 0, 0, 3, 0x23, 0, 9],
        vec![0x30, 9, 0, 0, 3, 0x23, 0xFF, 0xFF, b'a', b'b', b'c'],
        vec![0x30, 5, 0, 1, b't', 0x7F, 0],
        vec![0x30, 4, 0xFF, 0xFF, b't', 0],
        vec![0x30, 5, 0, 2, 0xC3, 0x28, 0],
        // DISCONNECT: server busy, session taken over.
        vec![0xE0, 1, 0x89],
        vec![0xE0, 1, 0x8E],
    ];
    let rounds = odd.len();
    let server = tokio::spawn(async move {
        for packet in odd {
            let mut stream = welcome(&listener, 0, &[]).await;
            drop(stream.write_all(&packet).await);
            drop(stream.write_all(&SOUND).await);
            // Either it leaves by itself, or it is sent away after a while.
            drop(
                timeout(Duration::from_millis(150), async {
                    while read_packet(&mut stream).await.is_some() {}
                })
                .await,
            );
        }
        let mut stream = welcome(&listener, 0, &[]).await;
        stream.write_all(&[0x30, 7, 0, 1, b't', 0, b'e', b'n', b'd']).await.unwrap();
        while read_packet(&mut stream).await.is_some() {}
    });
    let (pipe, mut events) = open(config(port));
    let mut sound = 0;
    loop {
        match next(&mut events).await {
            PipeEvent::Message { payload, .. } if payload == b"end" => break,
            PipeEvent::Message { payload, .. } if payload == b"xxx" => sound += 1,
            PipeEvent::Down { reason } => assert!(!reason.is_empty() && reason.len() <= 160, "{reason}"),
            PipeEvent::Message { .. } | PipeEvent::Up => {}
        }
    }
    assert!(pipe.is_up() && sound > 0, "{sound} sound messages");
    assert!(pipe.stats().connects <= u64::try_from(rounds + 1).unwrap(), "{:?}", pipe.stats());
    drop(pipe);
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn limits_of_nothing_neither_stop_nor_flood() {
    // Receive maximum 0 (not allowed) and 1; keep-alive of the server 0 (none) and 1; a session that nobody asked to keep;
    // a maximum QoS of 0; a packet size that takes next to nothing, in that order.
    let odd: [(u8, &[u8]); 6] = [
        (0, &[0x21, 0, 1]),
        (0, &[0x13, 0, 0]),
        (0, &[0x13, 0, 1]),
        (1, &[]),
        (0, &[0x21, 0, 0]),
        (0, &[0x21, 0xFF, 0xFF]),
    ];
    for (flags, properties) in odd {
        let (listener, port) = listen().await;
        let server = tokio::spawn(async move {
            let mut first = true;
            loop {
                // Odd once; a broker that mends its ways is found again.
                let (flags, properties) = if first { (flags, properties) } else { (0, &[][..]) };
                first = false;
                let mut stream = welcome(&listener, flags, properties).await;
                let (mut publishes, mut pings) = (0, 0);
                let until = tokio::time::Instant::now() + Duration::from_millis(1_200);
                while let Ok(Some(packet)) = tokio::time::timeout_at(until, read_packet(&mut stream)).await {
                    match packet[0] >> 4 {
                        3 => {
                            publishes += 1;
                            // Topic `t`, then the number of the packet.
                            drop(stream.write_all(&[0x40, 2, packet[4], packet[5]]).await);
                        }
                        12 => {
                            pings += 1;
                            drop(stream.write_all(&[0xD0, 0]).await);
                        }
                        _ => {}
                    }
                }
                assert!(pings <= 3, "{pings} pings in a second: {properties:?}");
                if publishes >= 6 {
                    return;
                }
            }
        });
        let (pipe, mut events) = open(config(port));
        let publishing = async {
            loop {
                drop(pipe.try_publish("t", b"x".to_vec(), Publish::Live));
                tokio::select! {
                    _ = events.recv() => {}
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
            }
        };
        let done = timeout(PATIENCE, async {
            tokio::select! {
                done = server => done.unwrap(),
                () = publishing => {}
            }
        });
        done.await.unwrap_or_else(|_| panic!("stuck with {properties:?}"));
    }
}
