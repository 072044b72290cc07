//! What a job may do to what several writers touch: promise, take, grant, fence, write registers. The rules are in [`super`].

use super::*;

/// Rights rows by store and epoch.
type Rows = BTreeMap<(StoreId, Epoch), RightsItem>;

/// Store, key and body as stored.
type StoredRow = (u32, Vec<u8>, Vec<u8>);

impl Office for Draft<'_> {
    fn newest_up(&mut self, store: StoreId) -> Result<Option<Epoch>, Refusal> {
        Ok(self.newest_log(store, Direction::Up).map(|log| log.epoch))
    }

    fn rights_row(&mut self, store: StoreId, sku: Sku, epoch: Epoch) -> Result<RightsItem, Refusal> {
        let key = rights_key(store, sku, epoch);
        Ok(match self.view(|view| view.item(&key))? {
            Some(Item::Rights(item)) => item,
            _ => RightsItem::default(),
        })
    }

    fn pool(&mut self, sku: Sku) -> Result<Milli, Refusal> {
        let rows = self.rights_rows(None, sku)?;
        Ok(pool_of(rows.iter().map(|((store, _), row)| (*store, row))))
    }
}

impl Draft<'_> {
    /// Rights rows of one article: of one store, or of all.
    fn rights_rows(&mut self, store: Option<StoreId>, sku: Sku) -> Result<Rows, Refusal> {
        let sql = "SELECT i.store, i.key, i.body FROM (SELECT DISTINCT store FROM log) AS l CROSS JOIN item AS i
                   ON i.store = l.store WHERE i.class = ?1 AND i.key >= ?2 AND i.key < ?3 AND (?4 IS NULL OR l.store = ?4)";
        let (from, upto) = (sku.0.to_be_bytes(), sku.0.saturating_add(1).to_be_bytes());
        let read = |conn: &rusqlite::Connection| -> rusqlite::Result<Vec<StoredRow>> {
            let keys = params![Class::Rights.code(), from, upto, store.map(|store| store.0)];
            conn.prepare_cached(sql)?
                .query_map(keys, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        };
        let found = read(self.conn());
        let mut rows = Rows::new();
        for (store, key, body) in self.sql(found)? {
            if let (Some((_, epoch)), Some(Item::Rights(item))) =
                (rights_name(&key), Item::from_body(Class::Rights, &body))
            {
                rows.insert((StoreId(store), epoch), item);
            }
        }
        self.view(|view| {
            for layer in [view.group, &*view.job] {
                for (key, item) in &layer.items {
                    let Item::Rights(item) = item else { continue };
                    let Some((of, epoch)) = rights_name(&key.key) else { continue };
                    if of == sku && store.is_none_or(|store| store == key.store) {
                        rows.insert((key.store, epoch), *item);
                    }
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn fenced(&mut self, store: StoreId, epoch: Epoch) -> Result<bool, Refusal> {
        Ok(self.rights_row(store, Sku(0), epoch)?.fences > 0)
    }

    fn own(&self) -> Result<LogId, Refusal> {
        let log = match self.owner() {
            // Not the newest: an epoch that HQ gave back, of a copied disk, is one that this ledger does not write.
            Owner::Store(store) => self.open_log(store, Direction::Up),
            Owner::Hq => None,
        };
        log.ok_or_else(|| Refusal::new("no-log", "HQ has no log of its own"))
    }

    /// What the store may promise of an article now; `None` when the article is not under shared rights here.
    pub fn rights(&mut self, sku: Sku) -> Result<Option<Milli>, Refusal> {
        let log = self.own()?;
        let rows = self.rights_rows(Some(log.store), sku)?;
        if rows.is_empty() {
            return Ok(None);
        }
        if self.fenced(log.store, log.epoch)? {
            return Ok(Some(Milli::ZERO));
        }
        let held = rows.get(&(log.store, log.epoch)).map_or(0, RightsItem::held);
        Ok(Some(Milli(held.max(0))))
    }

    /// Promises stock to a channel: with rights where the article is under shared rights, else a plain reservation.
    pub fn promise(&mut self, stamp: Stamp, opened: ReservationOpened) -> Result<EventId, Refusal> {
        if self.rights(opened.sku)?.is_none() {
            return self.append(&Event::new(stamp, opened));
        }
        let ReservationOpened { sku, quantity, channel, reference, expires } = opened;
        self.append(&Event::new(stamp, PromiseOpened { sku, quantity, channel, reference, expires }))
    }

    /// Ends a reservation or promise.
    pub fn end_promise(
        &mut self,
        stamp: Stamp,
        promise: FactRef,
        outcome: ReservationOutcome,
    ) -> Result<EventId, Refusal> {
        let unknown = || Refusal::new("unknown-reservation", format!("reservation {promise} does not exist"));
        let row = self.reservation(promise)?.ok_or_else(unknown)?;
        let (sku, quantity) = (row.opened.sku, row.opened.quantity);
        let fact: Fact = if self.is_promise(promise)? {
            PromiseClosed { promise, sku, quantity, outcome }.into()
        } else {
            sync_model::ReservationClosed { reservation: promise, sku, quantity, outcome }.into()
        };
        self.append(&Event::new(stamp, fact))
    }

    fn is_promise(&mut self, promise: FactRef) -> Result<bool, Refusal> {
        let key = ItemKey::fact(self.own()?.store, Class::Promise, promise);
        let item = self.view(|view| view.item(&key))?;
        Ok(matches!(item, Some(Item::Promise(item)) if item.quantity > 0))
    }

    /// What a store may not write. Goods that leave are never refused here.
    pub(crate) fn check_shared(&mut self, fact: &Fact) -> Result<(), Refusal> {
        match fact {
            Fact::ReservationOpened(fact) if self.rights(fact.sku)?.is_some() => {
                let detail = format!("article {} is under shared rights: promise it with them", fact.sku);
                Err(Refusal::new("needs-rights", detail))
            }
            Fact::PromiseOpened(fact) => self.check_held(fact.sku, fact.quantity),
            Fact::RightsReturned(fact) => self.check_held(fact.sku, fact.quantity),
            Fact::ReservationClosed(fact) if self.is_promise(fact.reservation)? => {
                let detail = format!("reservation {} holds rights: close the promise", fact.reservation);
                Err(Refusal::new("reservation-mismatch", detail))
            }
            Fact::PromiseClosed(fact) => {
                let promise = fact.promise;
                let row = if self.is_promise(promise)? { self.reservation(promise)? } else { None };
                let row = row.ok_or_else(|| {
                    Refusal::new("unknown-reservation", format!("promise {promise} does not exist"))
                })?;
                if row.closed.is_some() {
                    let detail = format!("promise {promise} has ended already");
                    return Err(Refusal::new("reservation-closed", detail));
                }
                if (row.opened.sku, row.opened.quantity) != (fact.sku, fact.quantity) {
                    let detail = format!("promise {promise} is for other goods");
                    return Err(Refusal::new("reservation-mismatch", detail));
                }
                Ok(())
            }
            Fact::RightsTaken(_) => {
                Err(Refusal::new("not-by-hand", "rights are taken by the fact that takes the goods"))
            }
            _ => Ok(()),
        }
    }

    fn check_held(&mut self, sku: Sku, quantity: Milli) -> Result<(), Refusal> {
        let held = self.rights(sku)?.unwrap_or(Milli::ZERO);
        if quantity > held {
            return Err(Refusal::new(
                "no-rights",
                format!("{quantity} of article {sku} wanted, rights to {held} held"),
            ));
        }
        Ok(())
    }

    /// Writes a fact. What goods that leave by it take is written before it: a log that is cut between the two must not know of
    /// goods that left without having taken anything.
    pub(crate) fn write_taking(&mut self, log: LogId, event: &Event) -> Result<EventId, Refusal> {
        let taken = self.takings(log.store, &event.fact)?;
        if !taken.is_empty() {
            let (head, count) = (self.head(log)?.map_or(Seq::ZERO, |(head, _)| head), taken.len());
            let after = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
            let of = FactRef { epoch: log.epoch, seq: Seq(head.0.saturating_add(after)) };
            for (sku, [posted, rights, shortfall]) in taken {
                let taken = RightsTaken { sku, of, posted, rights, shortfall };
                self.write(log, &Event::new(event.stamp, taken))?;
            }
        }
        self.write(log, event)
    }

    /// What goods that leave take: posted promises cover them first, then rights, the rest is a shortfall.
    fn takings(&mut self, store: StoreId, fact: &Fact) -> Result<Vec<(Sku, [Milli; 3])>, Refusal> {
        let mut gone: BTreeMap<Sku, i64> = BTreeMap::new();
        let mut leave = |sku: Sku, quantity: Milli| add(gone.entry(sku).or_default(), quantity.0);
        match fact {
            Fact::Sale(sale) => sale.lines.iter().for_each(|line| leave(line.sku, line.quantity)),
            Fact::Waste(waste) => leave(waste.sku, waste.quantity),
            Fact::TransferOut(out) => out.lines.iter().for_each(|line| leave(line.sku, line.quantity)),
            _ => return Ok(Vec::new()),
        }
        let mut taken = Vec::new();
        for (sku, quantity) in gone.into_iter().filter(|(_, quantity)| *quantity > 0) {
            let Some(held) = self.rights(sku)? else { continue };
            // Posted in whichever epoch: the goods were put aside then.
            let rows = self.rights_rows(Some(store), sku)?;
            let waiting = rows
                .values()
                .fold(0_i64, |waiting, row| waiting.saturating_add(row.posted).saturating_sub(row.fulfilled));
            let posted = quantity.min(waiting.max(0));
            let rights = (quantity - posted).min(held.0);
            taken.push((sku, [posted, rights, quantity - posted - rights].map(Milli)));
        }
        Ok(taken)
    }

    /// Rights of an article that HQ holds itself.
    pub fn pool(&mut self, sku: Sku) -> Result<Milli, Refusal> {
        Office::pool(self, sku)
    }

    /// Grants rights to the newest epoch of a store.
    pub fn grant(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        sku: Sku,
        quantity: Milli,
    ) -> Result<EventId, Refusal> {
        let grant = grant_fact(self, store, sku, quantity)?;
        self.append_down(store, &Event::new(stamp, grant))
    }

    /// Fences an epoch: it may promise no more, and what HQ knows it to hold goes back to the pool.
    pub fn fence(&mut self, stamp: Stamp, store: StoreId, epoch: Epoch) -> Result<Vec<EventId>, Refusal> {
        let log = LogId { store, direction: Direction::Up, epoch };
        let (upto, _) = self.head(log)?.ok_or_else(|| {
            Refusal::new("wrong-epoch", format!("no epoch {epoch} of store {store} is known"))
        })?;
        let articles = self.articles_with_rights(store)?;
        let facts = fence_facts(self, (store, epoch, upto), &articles)?;
        facts.into_iter().map(|fact| self.append_down(store, &Event::new(stamp, fact))).collect()
    }

    fn articles_with_rights(&mut self, store: StoreId) -> Result<Vec<Sku>, Refusal> {
        let sql = "SELECT key FROM item WHERE store = ?1 AND class = ?2";
        let read = |conn: &rusqlite::Connection| -> rusqlite::Result<Vec<Vec<u8>>> {
            let keys = params![store.0, Class::Rights.code()];
            conn.prepare_cached(sql)?.query_map(keys, |row| row.get(0))?.collect()
        };
        let found = read(self.conn());
        let mut keys = self.sql(found)?;
        self.view(|view| {
            for layer in [view.group, &*view.job] {
                let rights =
                    layer.items.keys().filter(|key| key.store == store && key.class == Class::Rights);
                keys.extend(rights.map(|key| key.key.clone()));
            }
            Ok(())
        })?;
        let mut skus: Vec<Sku> = keys.iter().filter_map(|key| Some(rights_name(key)?.0)).collect();
        skus.sort_unstable();
        skus.dedup();
        Ok(skus)
    }

    /// Actor that this ledger writes as, for one store. Nobody's name when the next event opens a new log: a write in it has
    /// seen every earlier epoch as another's.
    fn actor(&self, store: StoreId) -> Actor {
        let direction = match self.owner() {
            Owner::Store(_) => Direction::Up,
            Owner::Hq => Direction::Down,
        };
        self.open_log(store, direction).map_or(Actor(u64::MAX), Actor::of)
    }

    /// Writes of a log to each object that `moving`, the log's last records, write to, less those.
    pub(crate) fn writes_before(
        &mut self,
        log: LogId,
        moving: &[Vec<u8>],
    ) -> Result<BTreeMap<ItemKey, u64>, Refusal> {
        let mut counts: BTreeMap<ItemKey, u64> = BTreeMap::new();
        for record in moving {
            let Ok(mut event) = Event::from_record(record) else { continue };
            if let Some((key, _)) = object(log.store, &mut event.fact) {
                *counts.entry(key).or_default() += 1;
            }
        }
        for (key, count) in &mut counts {
            let all = match self.view(|view| view.item(key))? {
                Some(Item::Register(state)) => state.count(Actor::of(log)),
                Some(Item::Registry(state)) => state.count(Actor::of(log)),
                _ => 0,
            };
            *count = all.saturating_sub(*count);
        }
        Ok(counts)
    }

    /// The next reading of the hybrid clock, after every reading in `heard` that is not too far ahead.
    fn hlc(&mut self, stamp: Stamp, heard: &[Hlc]) -> Result<Hlc, Refusal> {
        let kept = self.state(HLC_KEY)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let mut clock = HlcClock::after(Hlc(kept.unwrap_or(0)));
        for reading in heard {
            clock.witness(*reading, stamp.at, stamp.clock);
        }
        let next = clock.tick(stamp.at);
        self.put_state(HLC_KEY, Some(&next.0.to_be_bytes()))?;
        Ok(next)
    }

    /// Writes a register of a store: at the store, or at HQ for it.
    pub fn write_register(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        name: Text<64>,
        value: RegisterValue,
    ) -> Result<EventId, Refusal> {
        let key = register_key(store, name.as_str());
        let state = match self.view(|view| view.item(&key))? {
            Some(Item::Register(state)) => state,
            _ => Register::default(),
        };
        let heard: Vec<Hlc> = state.standing().iter().map(|write| write.hlc).collect();
        let hlc = self.hlc(stamp, &heard)?;
        let next = state.next(self.actor(store), hlc, value);
        let fact = RegisterWritten { name, value: next.value.clone(), write: context(&next) };
        match self.owner() {
            Owner::Store(_) => self.append(&Event::new(stamp, fact)),
            Owner::Hq => self.append_down(store, &Event::new(stamp, HqRegisterWritten(fact))),
        }
    }

    /// Adds, describes or removes a device of a store's registry: at the store, or at HQ for it.
    pub fn change_registry(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        device: DeviceId,
        entry: Option<DeviceEntry>,
    ) -> Result<EventId, Refusal> {
        let key = registry_key(store);
        let state = match self.view(|view| view.item(&key))? {
            Some(Item::Registry(state)) => state,
            _ => Registry::default(),
        };
        let heard: Vec<Hlc> =
            state.histories().flat_map(|(_, history)| history.standing()).map(|write| write.hlc).collect();
        let hlc = self.hlc(stamp, &heard)?;
        let Change { key: device, write } = state.next(self.actor(store), hlc, device, entry);
        let fact = RegistryChanged { device, entry: write.value.clone(), write: context(&write) };
        match self.owner() {
            Owner::Store(_) => self.append(&Event::new(stamp, fact)),
            Owner::Hq => self.append_down(store, &Event::new(stamp, HqRegistryChanged(fact))),
        }
    }
}
