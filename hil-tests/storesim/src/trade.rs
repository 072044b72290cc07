//! Daily work: what people and trucks do at stores and at HQ. Everything that is answered with success goes into the book.

use crate::gateway::Gateway;
use crate::planted::Bug;
use crate::script::{Step, What};
use crate::world::{Happening, Node, World};
use anyhow::Result;
use sync_model::{
    Article, Audit, BusinessDay, ClockJumped, Count, Currency, DeviceClass, DeviceEntry, DeviceId, Direction,
    Event, EventId, Fact, FactRef, Grams, Kind, LotId, Milli, Minor, Receipt, ReceiptLine, RegisterValue,
    ReservationOpened, ReservationOutcome, RightsIssued, RightsReturned, Sale, SaleLine, Sku, StockUnit,
    StoreId, Tender, TenderKind, Text, TillId, TransferClosed, TransferIn, TransferLine, TransferOut,
    UnixMillis, Waste, WasteReason, Weighing,
};
use sync_store::{Draft, Refusal};

/// Articles that only the store sells.
const ARTICLES: u64 = 5;
/// Articles under shared rights.
const SHARED: [Sku; 2] = [Sku(101), Sku(102)];

fn sku(number: u64) -> Sku {
    if number.is_multiple_of(7) { shared(number) } else { Sku(1 + number % ARTICLES) }
}

fn shared(number: u64) -> Sku {
    SHARED[usize::try_from(number / 8 % 2).unwrap_or(0)]
}

fn quantity(number: u64) -> Milli {
    Milli(i64::try_from(1 + number % 4).unwrap_or(1) * 1_000)
}

fn sale(step: &Step, number: u64, day: i32) -> Sale {
    let line = |number: u64| {
        let amount = Minor(i64::try_from(50 + number % 900).unwrap_or(50));
        SaleLine {
            sku: sku(number),
            lot: LotId::default(),
            quantity: quantity(number / 8),
            unit_price: amount,
            discount: Minor(0),
            amount,
            tax_rate: [0, 900, 1_300][usize::try_from(number % 3).unwrap_or(0)],
            weighing: None,
            batch: None,
        }
    };
    let lines: Vec<SaleLine> =
        (0..1 + step.b % 3).map(|at| line(step.a.rotate_left(u32::try_from(at * 13).unwrap_or(0)))).collect();
    let total = lines.iter().map(|line| line.amount.0).sum();
    let kind = TenderKind::ALL[usize::try_from(step.b % 4).unwrap_or(0)];
    Sale {
        till: TillId(1),
        number,
        day: BusinessDay(day),
        currency: Currency::CNY,
        lines,
        tenders: vec![Tender { kind, amount: Minor(total) }],
    }
}

impl World {
    /// The gateway that trades for a store: a copy takes its share.
    pub(crate) fn trader(&self, store: u32, choice: u64) -> Option<usize> {
        let runs = |gateway: &Gateway| gateway.store.0 == store && gateway.open.is_some() && !gateway.retired;
        let all: Vec<usize> =
            (0..self.gateways.len()).filter(|at| self.gateways.get(*at).is_some_and(runs)).collect();
        let at = usize::try_from(choice).unwrap_or(0).checked_rem(all.len())?;
        all.get(at).copied()
    }

    /// One step of the script.
    pub(crate) fn script_step(&mut self, index: usize) -> Result<()> {
        let Some(step) = self.script.steps.get(index).copied() else { return Ok(()) };
        if step.what.is_fault() {
            return self.fault_step(&step);
        }
        match step.what {
            What::Price
            | What::Note
            | What::Issue
            | What::Grant
            | What::HqRegister
            | What::Fence
            | What::CloseTransfer => self.office(&step),
            What::Restart => self.restart(&step),
            What::Backup => self.back_up(&step),
            _ => match self.trader(step.who, step.b >> 8) {
                Some(index) => self.trade(index, &step),
                None => Ok(()),
            },
        }
    }

    /// Books a job's fact at a store: what it wrote is what was answered.
    fn book_at(
        &mut self,
        index: usize,
        what: String,
        job: impl FnOnce(&mut Draft<'_>) -> Result<EventId, Refusal> + Send + 'static,
    ) -> Result<Option<(EventId, Option<Fact>)>> {
        let id = match self.store_job(index, job)? {
            Ok(id) => id,
            Err(error) => {
                self.note(|| format!("gateway {index}: {what} is refused: {error}"));
                return Ok(None);
            }
        };
        self.note(|| format!("gateway {index} writes {id}: {what}"));
        let Some(open) = self.gateways.get(index).and_then(|gateway| gateway.open.as_ref()) else {
            return Ok(None);
        };
        let (upto, from) = (open.reader.head(id.log)?.map_or(id.seq, |row| row.head), id.seq);
        let count = usize::try_from(upto.0 - from.0 + 1)?;
        let written = open.reader.events(id.log, from, count)?;
        let copy = self.gateways.get(index).is_some_and(|gateway| gateway.copy);
        let mut first = None;
        for stored in &written {
            let fact = stored.event.as_ref().ok().map(|event| event.fact.clone());
            if let Some(Fact::RightsTaken(taken)) = &fact {
                self.use_rights(taken.sku, taken.rights.0, copy);
            }
            if stored.id == id {
                self.book.answered(id.log, format!("{what} at {id}"), &stored.record);
                self.events += 1;
                first = fact;
            }
        }
        Ok(Some((id, first)))
    }

    fn use_rights(&mut self, sku: Sku, quantity: i64, copy: bool) {
        self.book.used(sku, quantity);
        // A copied disk with the machine's own name holds the same rights until HQ tells the two apart.
        if copy && !self.bug(Bug::GrantSpentTwice) && quantity > 0 {
            *self.book.excused.entry(sku).or_default() += quantity;
        }
        if let Some((sku, over)) = self.book.overdrawn() {
            self.violate(
                "no-double-promise",
                format!("article {sku}: {} more in use than issued", Milli(over)),
            );
        }
    }

    fn trade(&mut self, index: usize, step: &Step) -> Result<()> {
        let stamp = self.stamp(index);
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        gateway.serial += 1;
        let serial = (u64::try_from(index).unwrap_or(0) << 32) + gateway.serial + (step.at << 40);
        let store = gateway.store;
        let what = format!("{} of store {store}", step.what.word());
        let lot = LotId::default();
        let fact: Fact = match step.what {
            What::Sale => sale(step, serial, i32::try_from(step.at / crate::script::DAY_MS)?).into(),
            What::Receipt => {
                let line =
                    ReceiptLine { sku: sku(step.a), lot, quantity: Milli(20_000), unit_cost: Minor(10) };
                Receipt { reference: Text::lossy(&format!("r{serial}")), lines: vec![line] }.into()
            }
            What::Waste => {
                let reason = WasteReason::Expired;
                Waste { sku: sku(step.a), lot, quantity: quantity(step.b), reason, batch: None }.into()
            }
            What::Count => return self.count(index, step),
            What::Weigh => Weighing {
                scale: DeviceId::new("scale-1")?,
                net: Grams(i64::try_from(step.a % 5_000)?),
                tare: Grams(0),
                interval: Grams(5),
                frame_hash: step.b.to_be_bytes(),
            }
            .into(),
            What::Transfer => return self.transfer(index, step),
            What::Promise => return self.promise(index, step),
            What::EndPromise => return self.end_promise(index, step),
            What::ReturnRights => RightsReturned { sku: shared(step.a), quantity: Milli(1_000) }.into(),
            What::Register => {
                let name = Text::lossy(["limit/cabinet-1", "note/door"][usize::try_from(step.a % 2)?]);
                let value = RegisterValue::Number(i64::try_from(step.b % 1_000)?);
                return self
                    .book_at(index, what, move |draft| draft.write_register(stamp, store, name, value))
                    .map(drop);
            }
            What::Device => {
                let device = DeviceId::new(["scale-1", "scale-2"][usize::try_from(step.a % 2)?])?;
                let label = Text::lossy(&format!("port {}", step.b % 9));
                let entry =
                    (!step.b.is_multiple_of(4)).then_some(DeviceEntry { class: DeviceClass::Scale, label });
                return self
                    .book_at(index, what, move |draft| draft.change_registry(stamp, store, device, entry))
                    .map(drop);
            }
            _ => Audit {
                actor: Text::lossy("clerk"),
                action: Text::lossy("look"),
                detail: Text::lossy(&format!("{serial} {:x}", step.a)),
            }
            .into(),
        };
        self.append(index, what, Event::new(stamp, fact))
    }

    /// Appends a fact, unless a planted bug answers first.
    pub(crate) fn append(&mut self, index: usize, what: String, event: Event) -> Result<()> {
        if self.bug(Bug::AnswerBeforeCommit)
            && let Some(gateway) = self.gateways.get_mut(index)
            && let Some(log) = gateway.open.as_ref().and_then(|open| open.ledger.log())
        {
            self.book.answered(log, what, &event.to_record()?);
            gateway.unwritten.push(event);
            self.turn_at(Node::Gateway(index), self.now + 200);
            return Ok(());
        }
        let sale = matches!(event.fact, Fact::Sale(_));
        let booked = self.book_at(index, what, move |draft| draft.append(&event))?;
        let full = self.gateways.get(index).is_some_and(|gateway| gateway.full);
        if booked.is_none() && sale && !full {
            self.violate("trade", format!("gateway {index}: a sale is refused"));
        }
        Ok(())
    }

    /// Planted: what was answered before is committed now.
    pub(crate) fn write_late(&mut self, index: usize) -> Result<()> {
        let events = self.gateways.get_mut(index).map(|gateway| std::mem::take(&mut gateway.unwritten));
        for event in events.unwrap_or_default() {
            drop(self.store_job(index, move |draft| draft.append(&event))?);
        }
        Ok(())
    }

    fn count(&mut self, index: usize, step: &Step) -> Result<()> {
        let stamp = self.stamp(index);
        let (article, counted) = (sku(step.a), quantity(step.b));
        let what = format!("count by gateway {index}");
        self.book_at(index, what, move |draft| {
            let (book, _) = draft.on_hand(article)?;
            let section = Text::lossy("aisle");
            let by = Text::lossy("clerk");
            let count = Count { sku: article, lot: LotId::default(), section, counted, book, by };
            draft.append(&Event::new(stamp, count))
        })
        .map(drop)
    }

    fn transfer(&mut self, index: usize, step: &Step) -> Result<()> {
        let stores = u64::from(self.script.options.stores);
        let Some(from) = self.gateways.get(index).map(|gateway| gateway.store) else { return Ok(()) };
        let to = StoreId(u32::try_from(1 + step.a % stores)?);
        if stores < 2 || to == from {
            return Ok(());
        }
        let stamp = self.stamp(index);
        let line = TransferLine {
            sku: Sku(1 + step.b % ARTICLES),
            lot: LotId::default(),
            quantity: quantity(step.a / 16),
        };
        let (sku, quantity) = (line.sku, line.quantity.0);
        let event = Event::new(stamp, TransferOut { to, lines: vec![line] });
        let what = format!("transfer from {from} to {to}");
        if let Some((id, _)) = self.book_at(index, what, move |draft| draft.append(&event))? {
            let of = FactRef::from(id);
            let hours = 1 + step.b / 16 % 8;
            self.after(hours * 3_600_000, Happening::Truck { to, from, of, sku, quantity, tries: 0 });
        }
        Ok(())
    }

    /// A truck arrives. Now and then something is missing.
    pub(crate) fn truck(
        &mut self,
        to: StoreId,
        (from, of): (StoreId, FactRef),
        (sku, quantity): (Sku, i64),
        tries: u32,
    ) -> Result<()> {
        let Some(index) = self.trader(to.0, 0) else {
            if tries < 50 && !self.healed {
                self.after(600_000, Happening::Truck { to, from, of, sku, quantity, tries: tries + 1 });
            }
            return Ok(());
        };
        let arrived = if self.random.chance(200) { quantity / 2 } else { quantity };
        let line = TransferLine { sku, lot: LotId::default(), quantity: Milli(arrived) };
        let event = Event::new(self.stamp(index), TransferIn { from, of, lines: vec![line] });
        let what = format!("arrival at {to} from {from}");
        if self.bug(Bug::TransferLegLost)
            && let Some(gateway) = self.gateways.get(index)
            && let Some(log) = gateway.open.as_ref().and_then(|open| open.ledger.log())
        {
            self.book.answered(log, what, &event.to_record()?);
            return Ok(());
        }
        drop(self.book_at(index, what, move |draft| draft.append(&event))?);
        Ok(())
    }

    fn promise(&mut self, index: usize, step: &Step) -> Result<()> {
        let stamp = self.stamp(index);
        let opened = ReservationOpened {
            sku: shared(step.a),
            quantity: quantity(step.b),
            channel: Text::lossy("web"),
            reference: Text::lossy(&format!("{:x}", step.a)),
            expires: UnixMillis(stamp.at.0 + 3_600_000),
        };
        let what = format!("promise of gateway {index}");
        let booked = self.book_at(index, what, move |draft| draft.promise(stamp, opened))?;
        if let Some((_, Some(Fact::PromiseOpened(fact)))) = booked {
            let copy = self.gateways.get(index).is_some_and(|gateway| gateway.copy);
            self.use_rights(fact.sku, fact.quantity.0, copy);
        }
        Ok(())
    }

    fn end_promise(&mut self, index: usize, step: &Step) -> Result<()> {
        let stamp = self.stamp(index);
        let Some(gateway) = self.gateways.get(index) else { return Ok(()) };
        let Some(open) = &gateway.open else { return Ok(()) };
        let rows = open.reader.open_reservations(gateway.store)?;
        let Some(at) = usize::try_from(step.a)?.checked_rem(rows.len()) else { return Ok(()) };
        let Some(promise) = rows.get(at).map(|row| row.reservation) else { return Ok(()) };
        let outcome =
            if step.b.is_multiple_of(2) { ReservationOutcome::Posted } else { ReservationOutcome::Voided };
        let what = format!("end of promise {promise} of gateway {index}");
        let booked = self.book_at(index, what, move |draft| draft.end_promise(stamp, promise, outcome))?;
        if let Some((_, Some(Fact::PromiseClosed(fact)))) = booked
            && fact.outcome == ReservationOutcome::Voided
        {
            self.book.used(fact.sku, -fact.quantity.0);
        }
        Ok(())
    }

    /// The wall clock of a store jumps, and the daemon notices.
    pub(crate) fn jump(&mut self, index: usize, by: i64) -> Result<()> {
        if let Some(gateway) = self.gateways.get_mut(index) {
            gateway.clock += by;
            gateway.suspect = gateway.clock != 0;
        }
        let event = Event::new(self.stamp(index), ClockJumped { by_ms: by });
        if self.gateways.get(index).is_some_and(|gateway| gateway.open.is_some()) {
            self.append(index, format!("clock jump of gateway {index}"), event)?;
        }
        Ok(())
    }

    /// A record that HQ cannot read: a known kind with another body, or a kind from the future.
    pub(crate) fn poison(&mut self, index: usize, step: &Step) -> Result<()> {
        let mut body = step.a.to_be_bytes().to_vec();
        body.extend(step.b.to_be_bytes());
        let kind = [Kind::SALE, Kind(900), Kind::WEIGHING, Kind::RECEIPT][usize::try_from(step.b % 4)?];
        let event = Event::new(self.stamp(index), Fact::Unknown { kind, body });
        self.append(index, format!("unreadable record of gateway {index}"), event)
    }

    /// What HQ's people do.
    fn office(&mut self, step: &Step) -> Result<()> {
        let store = StoreId(step.who.max(1));
        match step.what {
            What::Price => {
                self.hq.version += 1;
                let article = |number: u64| Article {
                    sku: sku(number),
                    version: self.hq.version,
                    name: Text::lossy("article"),
                    unit: StockUnit::Piece,
                    price: Minor(i64::try_from(number % 5_000).unwrap_or(1)),
                    tax_rate: 900,
                    effective: UnixMillis(0),
                    safety: Milli(0),
                    active: true,
                };
                let articles = (0..1 + step.b % 3).map(|at| article(step.a.wrapping_add(at))).collect();
                self.say(store, format!("prices for {store}"), sync_model::ArticlesSet { articles }.into())?;
            }
            What::Issue => {
                let (article, quantity) = (shared(step.a), Milli(i64::try_from(5 + step.b % 20)? * 1_000));
                let fact = RightsIssued { sku: article, quantity };
                if self.say(store, format!("issue for {store}"), fact.into())? {
                    self.book.issued(article, quantity);
                }
            }
            // After HQ's ledger was put back, its own grants may be missing in it: none are made until every store was heard.
            What::Grant if self.hq.put_back && self.unsettled()?.is_some() => {}
            What::Grant => {
                self.hq.put_back = false;
                let (article, quantity, stamp) = (shared(step.a), quantity(step.b), self.hq_stamp());
                let granted = self.hq_job(move |draft| draft.grant(stamp, store, article, quantity))?;
                self.said(granted.ok(), format!("grant to {store}"))?;
            }
            What::HqRegister => {
                let stamp = self.hq_stamp();
                let name = Text::lossy(["limit/cabinet-1", "note/door"][usize::try_from(step.a % 2)?]);
                let value = RegisterValue::Number(-i64::try_from(step.b % 1_000)?);
                let written = self.hq_job(move |draft| draft.write_register(stamp, store, name, value))?;
                self.said(written.ok(), format!("register of {store}"))?;
            }
            What::Fence => self.fence(store, step)?,
            What::CloseTransfer => self.close_transfer(store)?,
            _ => {
                let note = sync_model::Command::Note(Text::lossy(&format!("{:x}", step.a)));
                self.say(store, format!("note to {store}"), note.into())?;
            }
        }
        Ok(())
    }

    fn said(&mut self, id: Option<EventId>, what: String) -> Result<()> {
        let (Some(id), Some(open)) = (id, &self.hq.open) else { return Ok(()) };
        if let Some(stored) = open.reader.event(id)? {
            self.note(|| format!("HQ writes {id}: {what}"));
            self.book.answered(id.log, what, &stored.record);
            self.events += 1;
        }
        Ok(())
    }

    /// HQ takes rights back from an epoch that is over.
    fn fence(&mut self, store: StoreId, step: &Step) -> Result<()> {
        let Some(open) = &self.hq.open else { return Ok(()) };
        let of_store =
            |row: &sync_store::HeadRow| row.log.store == store && row.log.direction == Direction::Up;
        let mut epochs: Vec<_> =
            open.reader.heads()?.iter().filter(|row| of_store(row)).map(|row| row.log.epoch).collect();
        epochs.pop();
        let fenced = open.reader.rights(store, Some(Sku(0)))?;
        epochs.retain(|epoch| !fenced.iter().any(|row| row.epoch == *epoch && row.sums.fences > 0));
        let Some(at) = usize::try_from(step.a)?.checked_rem(epochs.len()) else { return Ok(()) };
        let Some(epoch) = epochs.get(at).copied() else { return Ok(()) };
        let stamp = self.hq_stamp();
        let ids = self.hq_job(move |draft| draft.fence(stamp, store, epoch))?;
        for id in ids.unwrap_or_default() {
            self.said(Some(id), format!("fence of epoch {epoch} of {store}"))?;
        }
        Ok(())
    }

    fn close_transfer(&mut self, store: StoreId) -> Result<()> {
        let Some(open) = &self.hq.open else { return Ok(()) };
        let rows = open.reader.transfers_from(store)?;
        let Some(row) = rows.iter().find(|row| row.in_transit().0 > 0 && !row.closed && row.to.is_some())
        else {
            return Ok(());
        };
        let line = TransferLine { sku: row.sku, lot: LotId::default(), quantity: row.in_transit() };
        let Some(to) = row.to else { return Ok(()) };
        let fact = TransferClosed { of: row.of, to, lines: vec![line] };
        self.say(store, format!("shrink of {}", row.of), fact.into()).map(drop)
    }
}
