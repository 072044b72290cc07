//! A steamer on Modbus TCP: a batch from its order through cooking to sale, once, over a restart of the daemon.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use drv_protocol::MilliCelsius;
use drv_sim::{ModbusSim, SteamerConfig, SteamerSim, TcpLink};
use edge_agent::daemon;
use edge_api::{Batches, Events};
use serde_json::json;
use stand::{Folder, Stand, article, ticket, until};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The far end: one steamer behind a TCP port.
struct Far {
    sim: Arc<Mutex<ModbusSim>>,
    port: u16,
    started: Instant,
}

impl Far {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let started = Instant::now();
        let mut sim = ModbusSim::new(7);
        let config = SteamerConfig {
            ambient: MilliCelsius(22_000),
            chamber_tau_ms: 200,
            core_tau_ms: 200,
            steam_ms: 500,
            set_point: MilliCelsius(100_000),
        };
        sim.add_steamer(1, SteamerSim::new(config, 0));
        let sim = Arc::new(Mutex::new(sim));
        let shared = sim.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sim = shared.clone();
                tokio::spawn(async move {
                    let (mut link, mut bytes) = (TcpLink::new(), [0; 512]);
                    while let Ok(count) = stream.read(&mut bytes).await {
                        let now = u64::try_from(started.elapsed().as_millis()).unwrap();
                        let answers = match bytes.get(..count) {
                            Some([]) | None => return,
                            Some(bytes) => link.receive(&mut sim.lock().unwrap(), bytes, now),
                        };
                        for answer in answers.unwrap_or_default() {
                            if stream.write_all(&answer.bytes).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { sim, port, started }
    }

    fn load_food(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        self.sim.lock().unwrap().steamer_mut(1).unwrap().load_food(now);
    }

    fn runs(&self) -> u64 {
        self.sim.lock().unwrap().steamer_mut(1).unwrap().runs_started()
    }
}

async fn state(folder: &Folder, id: &str, wanted: &str) {
    until(&format!("a batch in {wanted}"), || async {
        let batches: Batches = folder.client().fetch("/v1/batches").await.ok()?;
        let batch = batches.batches.into_iter().find(|batch| batch.id == id)?;
        assert!(batch.state != "discarded", "{batch:?}");
        (batch.state == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_cooked_once_held_and_sold_out_by_tickets() {
    let far = Far::start().await;
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/devices");
    let table = format!(
        "[profiles]\ndir = \"{profiles}\"\n[[bus]]\nid = \"kitchen\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{}\"\n\
         [[steamer]]\nid = \"steamer-1\"\nbus = \"kitchen\"\nunit = 1\nprofile = \"steamer-e5cc\"\npoll_ms = 50\n",
        far.port
    );
    let stand = Stand::with("reserve_bytes = 0", &table).await;
    stand.price_book(&[article(2001, 1, 500)]).await;
    far.load_food();
    let order = json!({
        "device": "steamer-1", "sku": 2001, "quantity_milli": 3_000, "program": 1, "set_point_mc": 100_000,
        "core_min_mc": 75_000, "steam_s": 1, "hold_limit_s": 3_600
    });
    let (status, batch) = stand.post("/v1/batches", &order, "b-1").await.unwrap();
    assert_eq!(status, 201);
    assert!(stand.post("/v1/batches", &order, "b-1").await.unwrap().1.replayed);
    state(&stand.folder, &batch.id, "hold").await;
    stand.post("/v1/tickets", &ticket(1, 1, 2001, 2, 500), "t-1").await.unwrap();
    let Stand { folder, running, client } = stand;
    running.stop().await;
    let running = daemon::start(folder.load()).await.unwrap();
    let batches: Batches = client.fetch("/v1/batches").await.unwrap();
    assert_eq!((batches.batches[0].state.as_str(), batches.batches[0].remaining_milli), ("hold", 1_000));
    // One more piece than the batch has: the rest comes from elsewhere.
    client.post("/v1/tickets", &ticket(1, 2, 2001, 2, 500), Some("t-2")).await.unwrap();
    state(&folder, &batch.id, "sold-out").await;
    assert_eq!(far.runs(), 1);
    let events: Events = client.fetch("/v1/events?limit=200").await.unwrap();
    let moves =
        events.events.iter().filter(|event| event.kind == "batch-moved" && event.text.contains("sold-out"));
    assert_eq!(moves.count(), 1);
    running.stop().await;
}

fn table(port: u16) -> String {
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/devices");
    format!(
        "[profiles]\ndir = \"{profiles}\"\n[[bus]]\nid = \"kitchen\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\"\n\
         [[steamer]]\nid = \"steamer-1\"\nbus = \"kitchen\"\nunit = 1\nprofile = \"steamer-e5cc\"\npoll_ms = 50\n"
    )
}

fn order(pieces: i64) -> serde_json::Value {
    json!({
        "device": "steamer-1", "sku": 2001, "quantity_milli": pieces * 1_000, "program": 1, "set_point_mc": 100_000,
        "core_min_mc": 75_000, "steam_s": 1, "hold_limit_s": 3_600
    })
}

async fn discard(stand: &Stand, id: &str) -> Result<u16, (u16, String)> {
    let reply = stand.client.post(&format!("/v1/batches/{id}/discard"), &json!({"by": "Li"}), None).await;
    reply.map(|reply| reply.status).map_err(|error| stand::refusal::<()>(Err(error)))
}

/// What is written off of a held batch is gone: the batch's own end must not write it off again.
#[tokio::test(flavor = "multi_thread")]
async fn a_piece_of_a_batch_is_written_off_once() {
    let far = Far::start().await;
    let stand = Stand::with("reserve_bytes = 0", &table(far.port)).await;
    stand.price_book(&[article(2001, 1, 500), article(2002, 1, 500)]).await;
    far.load_food();
    let (_, batch) = stand.post("/v1/batches", &order(3), "b-1").await.unwrap();
    state(&stand.folder, &batch.id, "hold").await;
    let waste = |sku: u64, pieces: i64, batch: &str| json!({"sku": sku, "quantity_milli": pieces * 1_000, "reason": "damaged", "batch": batch});
    let refused = [
        (2001, 4, batch.id.as_str(), "bad-quantity"),
        (2002, 1, &batch.id, "unknown-batch"),
        (2001, 1, "1.1", "unknown-batch"),
    ];
    for (sku, pieces, of, code) in refused {
        assert_eq!(stand.refusal("/v1/waste", &waste(sku, pieces, of), code).await, (422, code.to_owned()));
    }
    assert_eq!(stand.post("/v1/waste", &waste(2001, 1, &batch.id), "w-1").await.unwrap().0, 201);
    let batches: Batches = stand.client.fetch("/v1/batches").await.unwrap();
    assert_eq!(batches.batches[0].remaining_milli, 2_000);
    assert_eq!(discard(&stand, &batch.id).await, Ok(200));
    assert_eq!(stand.on_hand(2001).await, -3_000, "three pieces were made and three written off");
    assert_eq!(discard(&stand, &batch.id).await, Err((409, "batch-closed".to_owned())));
    assert_eq!(stand.refusal("/v1/waste", &waste(2001, 1, &batch.id), "w-2").await.1, "batch-not-held");
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_discards_a_queued_batch_and_it_never_runs() {
    let stand = Stand::with("reserve_bytes = 0", &table(9)).await;
    stand.price_book(&[article(2001, 1, 500)]).await;
    let (_, batch) = stand.post("/v1/batches", &order(3), "b-1").await.unwrap();
    assert_eq!(discard(&stand, "1.1").await, Err((404, "not-found".to_owned())));
    assert_eq!(discard(&stand, &batch.id).await, Ok(200));
    let batches: Batches = stand.client.fetch("/v1/batches").await.unwrap();
    assert_eq!((batches.batches[0].state.as_str(), batches.batches[0].remaining_milli), ("discarded", 0));
    assert_eq!(stand.on_hand(2001).await, 0);
    let events: Events = stand.client.fetch("/v1/events?limit=200").await.unwrap();
    assert!(events.events.iter().any(|event| event.text.contains("Li: batch-discard")), "{events:?}");
    stand.running.stop().await;
}

/// On one thread nothing runs between the start and the look: what is missing then would be missing for a quick client.
#[tokio::test]
async fn a_configured_device_is_known_before_the_first_request() {
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/devices");
    let table = format!(
        "[profiles]\ndir = \"{profiles}\"\n[[bus]]\nid = \"kitchen\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:9\"\n\
         [[steamer]]\nid = \"steamer-1\"\nbus = \"kitchen\"\nunit = 1\nprofile = \"steamer-e5cc\"\n"
    );
    let stand = Stand::with("reserve_bytes = 0", &table).await;
    let id = sync_model::DeviceId::new("steamer-1").unwrap();
    assert!(stand.running.daemon.registry.get(&id).is_some());
    stand.running.stop().await;
}
