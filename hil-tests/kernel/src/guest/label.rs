//! A label with the Bluetooth SIG's ESL service: configured and lit over real BlueZ.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Instant;

use super::radio::Radio;
use super::shop::SKU;
use super::world::{PATIENCE, World, is_ok, until};

const LABEL: &str = "label-1";
const SYNC_KEY: &str = "0102030405060708090a0b0c0d0e0f101112131415161718";
const RESPONSE_KEY: &str = "a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8";
const ORDER: u64 = 42;
const SECONDS: u64 = 60;

/// What the label's LED was told last, when it was told this often.
async fn told(radio: &Radio, times: usize) -> Result<(Value, f64)> {
    let begun = Instant::now();
    let look = || async {
        let label = radio.air.order(&json!({"do": "label"})).await.ok()?;
        (label["leds"].as_array()?.len() >= times && label["ended"].as_u64()? >= times as u64).then_some(label)
    };
    let label = until("the label's LED", PATIENCE, look).await?;
    Ok((label, begun.elapsed().as_secs_f64()))
}

/// An order's LED goes on and out.
pub(super) async fn run(world: &mut World) -> Result<String> {
    let radio = Radio::start(world).await?;
    radio.air.order(&json!({"do": "speak", "who": "label"})).await?;
    radio.air.order(&json!({"do": "label", "busy": true})).await?;
    world
        .agent(&format!(
            "[ble]\nsync_key = \"{SYNC_KEY}\"\n\
             [[tag]]\nid = \"{LABEL}\"\naddress = \"D8:E5:1A:00:00:07\"\nsku = {SKU}\nfamily = \"esl\"\n\
             esl = {{ id = 5, group = 1 }}\nresponse_key = \"{RESPONSE_KEY}\"\n"
        ))
        .await?;
    world.wait(LABEL, "the label is heard", is_ok).await?;
    let order = json!({"order": ORDER, "color": "green", "tags": [LABEL], "seconds": SECONDS});
    world.client().post("/v1/tags/flash", &order, None).await?;
    let (label, lit) = told(&radio, 1).await?;
    let values = &label["values"];
    ensure!(values["2BF6"] == "0501", "address: {values}");
    ensure!(values["2BF7"] == SYNC_KEY && values["2BF8"] == RESPONSE_KEY, "keys: {values}");
    ensure!(values["2BF9"].as_str().is_some_and(|time| time.len() == 8), "clock: {values}");
    let led = &label["leds"][0];
    let green = led["green"].as_u64() > Some(0) && led["red"] == 0 && led["blue"] == 0;
    ensure!(led["led"] == 0 && green, "the LED of order {ORDER} is {led}");
    let seconds = led["seconds"].as_u64().unwrap_or_default();
    ensure!((1..=SECONDS).contains(&seconds), "it flashes for {seconds} s, up to {SECONDS} are ordered");
    world.client().post(&format!("/v1/tags/flash/{ORDER}/done"), &json!({}), None).await?;
    let (label, dark) = told(&radio, 2).await?;
    ensure!(label["leds"][1]["off"] == true, "after the order's end: {}", label["leds"][1]);
    Ok(format!(
        "address 5 of group 1, both keys and the clock as configured; LED green for {seconds} s {lit:.1} s after the order, also after \"try \
         again\"; out {dark:.1} s after its end; {} connections",
        label["connections"]
    ))
}
