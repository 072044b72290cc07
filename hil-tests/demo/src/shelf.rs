//! The shelf: sixty tags in the air of a private Bluetooth, a watch over what each of them really shows, and the judgement
//! whether a customer ever paid more than a label showed.

use crate::books::Books;
use crate::catalogue::Article;
use crate::layout::{TAG_MODEL, TAGS, tag_address, tag_name, tag_sku};
use crate::oracle::{Side, note};
use crate::tills::locked;
use anyhow::{Context, Result};
use drv_protocol::gicisky::Model;
use drv_sim::{TagFaults, TagSim};
use hil_rig::bluez::{FakeBluez, FakeTag, PrivateBus};
use hil_rig::http::{self, Server};
use hil_rig::until;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use sync_model::Fact;
use tokio::task::JoinHandle;

/// How often the watch looks at the tags.
const LOOK: Duration = Duration::from_millis(50);
/// How far apart two clocks may see one moment: the watch's interval and the machine's delays.
const BLUR_MS: i64 = 250;

/// Images that one tag showed: when first seen by the watch, and the image's hash.
pub(crate) type Shown = Vec<(i64, [u8; 8])>;

/// The tags.
pub(crate) struct Shelf {
    tags: Vec<Arc<Mutex<TagSim>>>,
    shown: Arc<Mutex<Vec<Shown>>>,
    watch: JoinHandle<()>,
    bluez: Option<FakeBluez>,
    bus: PrivateBus,
}

impl Shelf {
    /// Starts a private bus in `folder` and puts the tags into its air. A few of them are unreliable.
    pub(crate) async fn start(folder: &Path, seed: u64) -> Result<Self> {
        let bus = PrivateBus::start(folder).await?;
        let model = Model::find(TAG_MODEL).context("the tags' model is unknown")?;
        let tags: Vec<_> = (0..TAGS).map(|index| Arc::new(Mutex::new(tag(model, index, seed)))).collect();
        let shown = Arc::new(Mutex::new(vec![Shown::new(); tags.len()]));
        let watch = tokio::spawn(look(tags.clone(), Arc::clone(&shown)));
        let mut shelf = Self { tags, shown, watch, bluez: None, bus };
        shelf.plug_adapter().await?;
        Ok(shelf)
    }

    /// Pulls the adapter: `org.bluez` leaves the bus with everything it had.
    pub(crate) async fn unplug_adapter(&mut self) -> Result<()> {
        if let Some(bluez) = self.bluez.take() {
            bluez.leave().await?;
        }
        Ok(())
    }

    /// Plugs it in.
    pub(crate) async fn plug_adapter(&mut self) -> Result<()> {
        let air = (0..TAGS)
            .zip(&self.tags)
            .map(|(index, tag)| FakeTag { address: tag_address(index), tag: tag.clone() })
            .collect();
        self.bluez = Some(FakeBluez::start(&self.bus.address(), air, Duration::from_secs(2)).await?);
        Ok(())
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(crate) fn bus_address(&self) -> String {
        self.bus.address()
    }

    /// Waits until the agent says that every tag shows the price that HQ published last.
    pub(crate) async fn settled(&self, server: &Server, articles: &[Article], limit: Duration) -> Result<()> {
        let prices: BTreeMap<u64, i64> =
            articles.iter().map(|article| (article.sku, article.price)).collect();
        let fine = || async {
            let Ok(answer) = http::get(server, "/v1/devices").await else { return false };
            let body = answer.json();
            let rows = body["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
            let settled = |row: &&serde_json::Value| {
                let reading = &row["reading"];
                let price = reading["sku"].as_u64().and_then(|sku| prices.get(&sku));
                reading["of"] == "tag"
                    && reading["wanted_minor"].is_null()
                    && price.is_some_and(|price| reading["shown_minor"] == *price)
            };
            rows.iter().filter(settled).count() == usize::from(TAGS)
        };
        until("every tag to show its article's price", limit, fine).await?;
        Ok(())
    }

    /// What each tag showed over the day.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        locked(&self.shown).clone()
    }

    /// Tags whose last confirmation in the ledger is what they really show, and at the published price.
    pub(crate) fn confirmed(&self, side: &Side, articles: &[Article], problems: &mut Vec<String>) -> u32 {
        let prices: BTreeMap<u64, i64> =
            articles.iter().map(|article| (article.sku, article.price)).collect();
        let mut last = BTreeMap::new();
        for (id, event) in &side.events {
            let Fact::TagConfirmed(confirmed) = &event.fact else { continue };
            last.insert(confirmed.tag.to_string(), confirmed);
            let index = (0..TAGS).position(|index| tag_name(index) == confirmed.tag.as_str());
            let really = index
                .and_then(|index| self.tags.get(index))
                .is_some_and(|tag| locked(tag).history().contains(&confirmed.image_hash));
            if !really {
                note(problems, format!("{id}: {} confirmed an image that it never showed", confirmed.tag));
            }
        }
        let mut count = 0;
        for (index, tag) in (0..TAGS).zip(&self.tags) {
            let name = tag_name(index);
            match last.get(&name) {
                Some(confirmed) if locked(tag).shown() != Some(confirmed.image_hash) => {
                    note(problems, format!("{name} shows something else than it confirmed"));
                }
                Some(confirmed) if prices.get(&confirmed.sku.0) != Some(&confirmed.price.0) => {
                    note(
                        problems,
                        format!("{name} confirmed price {}, HQ published another", confirmed.price),
                    );
                }
                Some(_) => count += 1,
                None => note(problems, format!("{name} never confirmed anything")),
            }
        }
        count
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// A tag; every tenth asks for blocks twice, every seventh drops a connection once.
fn tag(model: Model, index: u16, seed: u64) -> TagSim {
    let mut tag = TagSim::new(model, 2900, seed.wrapping_add(u64::from(index)));
    tag.set_faults(TagFaults {
        repeat_permille: if index % 10 == 3 { 50 } else { 0 },
        disconnect_after: (index % 7 == 5).then_some(2),
        ..TagFaults::default()
    });
    tag
}

/// Writes down every new image.
async fn look(tags: Vec<Arc<Mutex<TagSim>>>, shown: Arc<Mutex<Vec<Shown>>>) {
    let mut tick = tokio::time::interval(LOOK);
    let mut seen = vec![0; tags.len()];
    loop {
        tick.tick().await;
        let now = wall_ms();
        for ((tag, seen), shown) in tags.iter().zip(&mut seen).zip(locked(&shown).iter_mut()) {
            let tag = locked(tag);
            for hash in tag.history().get(*seen..).unwrap_or_default() {
                shown.push((now, *hash));
            }
            *seen = tag.history().len();
        }
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What the labels say about the tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Pairs of a ticket line and a tag that could be judged.
    pub(crate) judged: u64,
    /// Lines that charged more than a tag of the article showed for the whole time around the sale.
    pub(crate) overcharged: u64,
}

/// Judges every ticket line by every tag of its article.
///
/// What an image says is known from its confirmation; an image that was never confirmed is skipped, and so is a tag that
/// showed nothing yet.
pub(crate) fn overcharges(books: &Books, side: &Side, shown: &[Shown], problems: &mut Vec<String>) -> Labels {
    let mut says: BTreeMap<(String, [u8; 8]), i64> = BTreeMap::new();
    for (_, event) in &side.events {
        if let Fact::TagConfirmed(confirmed) = &event.fact {
            says.insert((confirmed.tag.to_string(), confirmed.image_hash), confirmed.price.0);
        }
    }
    let mut labels = Labels::default();
    for (id, event) in &side.events {
        let Fact::Sale(sale) = &event.fact else { continue };
        if !books.tickets.contains_key(&(sale.till.0, sale.number)) {
            continue;
        }
        for line in &sale.lines {
            for (index, images) in (0..TAGS).zip(shown).filter(|(index, _)| tag_sku(*index) == line.sku.0) {
                let visible = visible(images, event.stamp.at.0);
                let prices: Option<Vec<i64>> =
                    visible.iter().map(|hash| says.get(&(tag_name(index), *hash)).copied()).collect();
                let Some(highest) = prices.and_then(|prices| prices.into_iter().max()) else { continue };
                labels.judged += 1;
                if highest < line.unit_price.0 {
                    labels.overcharged += 1;
                    let (sku, price, name) = (line.sku, line.unit_price, tag_name(index));
                    note(problems, format!("{id} charged {price} for {sku} while {name} showed less"));
                }
            }
        }
    }
    labels
}

/// Images that a tag may have shown around a moment; nothing when it may have been blank.
fn visible(images: &Shown, at: i64) -> Vec<[u8; 8]> {
    let before = images.iter().rev().find(|(seen, _)| *seen <= at - BLUR_MS);
    let Some((_, before)) = before else { return Vec::new() };
    let around = images.iter().filter(|(seen, _)| (at - BLUR_MS + 1..=at + BLUR_MS).contains(seen));
    std::iter::once(*before).chain(around.map(|(_, hash)| *hash)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Ticket;
    use sync_model::*;

    const OLD: [u8; 8] = [1; 8];
    const NEW: [u8; 8] = [2; 8];

    fn confirmed(hash: [u8; 8], price: i64) -> Fact {
        let tag = DeviceId::new(&tag_name(0)).unwrap();
        TagConfirmed { tag, sku: Sku(tag_sku(0)), price: Minor(price), version: 1, image_hash: hash }.into()
    }

    fn sold(price: i64) -> Fact {
        let line = SaleLine {
            sku: Sku(tag_sku(0)),
            lot: LotId::default(),
            quantity: Milli(1000),
            unit_price: Minor(price),
            discount: Minor(0),
            amount: Minor(price),
            tax_rate: 0,
            weighing: None,
            batch: None,
        };
        Sale {
            till: TillId(1),
            number: 1,
            day: BusinessDay(1),
            currency: Currency::CNY,
            lines: vec![line],
            tenders: vec![],
        }
        .into()
    }

    /// The tag shows 5.00 from 1 s on and 4.00 from 10 s on; a ticket charges `price` at `at_ms`.
    fn judge(price: i64, at_ms: i64) -> Labels {
        let at = |at| Stamp { at: UnixMillis(at), clock: ClockQuality::Synced };
        let id = |seq| FactRef { epoch: Epoch(1), seq: Seq(seq) };
        let events = vec![
            (id(1), Event::new(at(1_000), confirmed(OLD, 500))),
            (id(2), Event::new(at(at_ms), sold(price))),
            (id(3), Event::new(at(10_000), confirmed(NEW, 400))),
        ];
        let side = Side { name: "store", events, ..Side::default() };
        let mut shown = vec![Shown::new(); usize::from(TAGS)];
        shown[0] = vec![(1_000, OLD), (10_000, NEW)];
        let mut books = Books::default();
        books.tickets.insert((1, 1), Ticket { id: "1.2".into(), lines: vec![], tenders: vec![] });
        overcharges(&books, &side, &shown, &mut Vec::new())
    }

    #[test]
    fn paying_more_than_the_label_is_found() {
        let fine = Labels { judged: 1, overcharged: 0 };
        let harm = Labels { judged: 1, overcharged: 1 };
        assert_eq!(judge(500, 5_000), fine);
        assert_eq!(judge(501, 5_000), harm);
        assert_eq!(judge(500, 20_000), harm);
        assert_eq!(judge(400, 20_000), fine);
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_held_against_the_store() {
        assert_eq!(judge(500, 10_000).overcharged, 0, "the image changed at that moment");
        assert_eq!(judge(900, 500), Labels::default(), "the tag was blank");
    }
}
