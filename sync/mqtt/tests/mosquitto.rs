//! The pipe against a real mosquitto: traffic, retained state, wills, a killed broker, oversize messages, slow consumers.

mod broker;

use broker::Broker;
use std::time::Duration;
use sync_mqtt::{Backoff, EVENTS_MAX, Pipe, PipeConfig, PipeError, PipeEvent, Publish, Will, open};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(port: u16, name: &str, filters: &[&str]) -> PipeConfig {
    let mut config = PipeConfig::new("127.0.0.1", port, name);
    config.subscriptions = filters.iter().map(|filter| (*filter).to_owned()).collect();
    config.backoff = Backoff { min_ms: 20, max_ms: 200 };
    config
}

async fn next(events: &mut Receiver<PipeEvent>) -> PipeEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event within the patience").expect("the pipe is open")
}

async fn until_up(events: &mut Receiver<PipeEvent>) {
    while next(events).await != PipeEvent::Up {}
}

async fn next_message(events: &mut Receiver<PipeEvent>) -> (String, Vec<u8>, bool) {
    loop {
        if let PipeEvent::Message { topic, payload, retained } = next(events).await {
            return (topic, payload, retained);
        }
    }
}

/// Publishes, waiting out a full queue.
async fn publish(pipe: &Pipe, topic: &str, payload: &[u8], mode: Publish) {
    let accepted = async {
        while pipe.try_publish(topic, payload.to_vec(), mode) == Err(PipeError::Full) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("the queue empties");
}

#[tokio::test]
async fn messages_arrive_once_and_in_order() {
    let broker = Broker::start(&[]);
    let (reader, mut got) = open(config(broker.port(), "reader", &["t/+/x"]));
    let (writer, mut events) = open(config(broker.port(), "writer", &[]));
    until_up(&mut got).await;
    until_up(&mut events).await;
    for number in 0..300_u32 {
        publish(&writer, "t/1/x", &number.to_be_bytes(), Publish::Live).await;
    }
    for number in 0..300_u32 {
        assert_eq!(next_message(&mut got).await, ("t/1/x".into(), number.to_be_bytes().to_vec(), false));
    }
    assert_eq!(reader.stats().received, 300);
    assert_eq!(writer.stats().published, 300);
    writer.close().await;
    assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap(), None, "closed means no further events");
}

#[tokio::test]
async fn retained_state_comes_on_subscribing_and_the_will_on_a_cut() {
    let broker = Broker::start(&[]);
    let mut with_will = config(broker.port(), "store", &[]);
    with_will.will = Some(Will { topic: "p/7".into(), payload: b"0".to_vec(), retain: true });
    let (store, mut events) = open(with_will.clone());
    until_up(&mut events).await;
    publish(&store, "p/7", b"1", Publish::Retained).await;

    let (_first, mut got) = open(config(broker.port(), "first", &["p/#"]));
    // Live or retained, depending on who is faster; the content is the same.
    assert_eq!(next_message(&mut got).await.1, b"1");
    let (_second, mut late) = open(config(broker.port(), "second", &["p/#"]));
    assert_eq!(next_message(&mut late).await, ("p/7".into(), b"1".to_vec(), true));

    // A goodbye suppresses the will, a cut does not.
    publish(&store, "p/7", b"2", Publish::Retained).await;
    store.close().await;
    assert_eq!(next_message(&mut got).await, ("p/7".into(), b"2".to_vec(), false));
    let (again, mut events) = open(with_will);
    until_up(&mut events).await;
    drop(again);
    assert_eq!(next_message(&mut got).await, ("p/7".into(), b"0".to_vec(), false));
}

#[tokio::test]
async fn a_killed_broker_costs_a_down_and_traffic_flows_again() {
    let mut broker = Broker::start(&[]);
    let (reader, mut got) = open(config(broker.port(), "reader", &["t"]));
    let (writer, mut events) = open(config(broker.port(), "writer", &[]));
    until_up(&mut got).await;
    until_up(&mut events).await;
    for round in 0..3_u8 {
        broker.kill();
        for events in [&mut got, &mut events] {
            let PipeEvent::Down { reason } = next(events).await else { panic!("expected Down") };
            assert!(!reason.is_empty() && reason.len() <= 160);
        }
        assert_eq!(writer.try_publish("t", vec![round], Publish::Live), Err(PipeError::Down));
        broker.restart();
        until_up(&mut got).await;
        until_up(&mut events).await;
        publish(&writer, "t", &[round], Publish::Live).await;
        assert_eq!(next_message(&mut got).await, ("t".into(), vec![round], false));
    }
    assert_eq!(reader.stats().connects, 4);
    assert!(reader.stats().failures >= 3);
}

#[tokio::test]
async fn a_pipe_that_starts_before_its_broker_comes_up_later() {
    let mut broker = Broker::start(&[]);
    broker.kill();
    let (pipe, mut events) = open(config(broker.port(), "early", &["t"]));
    assert!(matches!(next(&mut events).await, PipeEvent::Down { .. }));
    assert!(!pipe.is_up());
    broker.restart();
    until_up(&mut events).await;
    assert!(pipe.is_up());
}

#[tokio::test]
async fn an_oversize_message_is_refused_here_and_dropped_by_the_broker_there() {
    let broker = Broker::start(&[]);
    let mut small = config(broker.port(), "small", &["t"]);
    small.packet_bytes_max = 4_096;
    let (small, mut got) = open(small);
    let (large, mut events) = open(config(broker.port(), "large", &[]));
    until_up(&mut got).await;
    until_up(&mut events).await;
    let refused = large.try_publish("t", vec![0; 65_536], Publish::Live);
    assert!(matches!(refused, Err(PipeError::TooLarge { max: 65_536, .. })), "{refused:?}");
    // A full 48 KiB block fits; its reader with the smaller limit never sees it and stays connected.
    publish(&large, "t", &vec![7; 48 * 1024], Publish::Retained).await;
    publish(&large, "t", b"after", Publish::Live).await;
    assert_eq!(next_message(&mut got).await, ("t".into(), b"after".to_vec(), false));
    assert_eq!((small.stats().connects, small.stats().failures), (1, 0));
    for topic in ["", "a/+", "#", "nul\0", &"x".repeat(300)] {
        assert!(matches!(large.try_publish(topic, vec![], Publish::Live), Err(PipeError::BadTopic(_))));
    }
}

#[tokio::test]
async fn the_brokers_own_packet_limit_is_respected() {
    let broker = Broker::start(&["max_packet_size 2048"]);
    let (pipe, mut events) = open(config(broker.port(), "pipe", &[]));
    until_up(&mut events).await;
    let refused = pipe.try_publish("t", vec![0; 4_096], Publish::Live);
    assert!(matches!(refused, Err(PipeError::TooLarge { max: 2_048, .. })), "{refused:?}");
    assert!(pipe.is_up());
}

#[tokio::test]
async fn a_slow_consumer_holds_up_neither_the_publisher_nor_other_readers() {
    let broker = Broker::start(&[]);
    let (_slow, mut slow_got) = open(config(broker.port(), "slow", &["t"]));
    let (_quick, mut quick_got) = open(config(broker.port(), "quick", &["t"]));
    let (writer, mut events) = open(config(broker.port(), "writer", &[]));
    until_up(&mut slow_got).await;
    until_up(&mut quick_got).await;
    until_up(&mut events).await;
    // Far more than the event queue holds, and less than mosquitto keeps for one client (1000).
    for number in 0..800_u32 {
        publish(&writer, "t", &number.to_be_bytes(), Publish::Live).await;
        assert_eq!(next_message(&mut quick_got).await.1, number.to_be_bytes());
    }
    for number in 0..800_u32 {
        assert_eq!(next_message(&mut slow_got).await.1, number.to_be_bytes());
    }
}

#[tokio::test]
async fn closing_flushes_what_is_queued() {
    let broker = Broker::start(&[]);
    let (_reader, mut got) = open(config(broker.port(), "reader", &["last"]));
    let (writer, mut events) = open(config(broker.port(), "writer", &[]));
    until_up(&mut got).await;
    until_up(&mut events).await;
    for number in 0..20 {
        assert_eq!(writer.try_publish("last", vec![number], Publish::Live), Ok(()));
    }
    writer.close().await;
    for number in 0..20 {
        assert_eq!(next_message(&mut got).await.1, [number]);
    }
}

#[tokio::test]
async fn closing_ends_although_nobody_reads_events() {
    let broker = Broker::start(&[]);
    let (pipe, mut events) = open(config(broker.port(), "echo", &["t"]));
    until_up(&mut events).await;
    // Its own echo fills the event queue, the stopped poll task fills the publish queue.
    let stuffed = async {
        while pipe.stats().received <= EVENTS_MAX as u64
            || pipe.try_publish("t", b"x".to_vec(), Publish::Live) != Err(PipeError::Full)
        {
            drop(pipe.try_publish("t", b"x".to_vec(), Publish::Live));
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stuffed).await.expect("both queues fill");
    timeout(PATIENCE, pipe.close()).await.expect("closing is bounded");
}

#[tokio::test]
async fn two_clients_with_one_id_take_turns_without_a_storm() {
    let broker = Broker::start(&[]);
    let (first, mut first_events) = open(config(broker.port(), "same", &[]));
    until_up(&mut first_events).await;
    let (_second, mut second_events) = open(config(broker.port(), "same", &[]));
    until_up(&mut second_events).await;
    assert!(matches!(next(&mut first_events).await, PipeEvent::Down { .. }));
    until_up(&mut first_events).await;
    assert_eq!(first.stats().connects, 2);
}
