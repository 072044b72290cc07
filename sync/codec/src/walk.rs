//! One walk for both ends: each field is predicted from what came before, and the difference is coded.
//!
//! Contract: every step depends only on values that both ends have at that point, so the decoder follows the encoder. All
//! differences wrap around 64 bits: no value is out of reach, and nothing overflows.

use crate::CodecError;
use crate::articles::Article;
use crate::number::{unzigzag, zigzag};
use crate::range::Coder;
use crate::row::Row;
use crate::schema::{LOT, Layout, Model, Wire};
use crate::state::{RECENT_MAX, State};
use sync_model::{RECORD_BYTES_MAX, Seq};

/// Number that never runs out of its limit.
const ANY: u64 = u64::MAX;

/// A record being coded.
pub(crate) struct Walk<'s, 'd, C> {
    pub(crate) coder: &'s mut C,
    pub(crate) state: &'s mut State<'d>,
    /// Bytes of new texts: written at the end by the encoder, read from the front by the decoder.
    pub(crate) side: &'s mut Side,
    /// Epoch of the log.
    pub(crate) epoch: u32,
    /// Position of the record.
    pub(crate) seq: Seq,
    /// Time of the record.
    pub(crate) at: i64,
}

/// Bytes that go beside the numbers.
pub(crate) enum Side {
    /// The encoder's: grows.
    Out(Vec<u8>),
    /// The decoder's: bytes and how many are used.
    In(Vec<u8>, usize),
}

impl Side {
    /// Writes the bytes, or reads as many as `count` says.
    pub(crate) fn bytes(&mut self, bytes: &[u8], count: u64) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Out(out) => {
                out.extend_from_slice(bytes);
                Ok(bytes.to_vec())
            }
            Self::In(all, used) => {
                let count = usize::try_from(count).map_err(|_| CodecError::Side)?;
                let end = used.checked_add(count).ok_or(CodecError::Side)?;
                let found = all.get(*used..end).ok_or(CodecError::Side)?.to_vec();
                *used = end;
                Ok(found)
            }
        }
    }
}

fn minus(value: i64, predicted: i64) -> u64 {
    zigzag(value.wrapping_sub(predicted))
}

fn plus(predicted: i64, coded: u64) -> i64 {
    predicted.wrapping_add(unzigzag(coded))
}

fn place(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(ANY)
}

impl<C: Coder> Walk<'_, '_, C> {
    fn number(
        &mut self,
        column: u16,
        situation: usize,
        depth: u32,
        limit: u64,
        value: u64,
    ) -> Result<u64, CodecError> {
        self.state.number(column, situation, depth).code(self.coder, limit, value)
    }

    fn differs(
        &mut self,
        column: u16,
        situation: usize,
        predicted: i64,
        value: i64,
    ) -> Result<i64, CodecError> {
        self.number(column, situation, 3, ANY, minus(value, predicted)).map(|coded| plus(predicted, coded))
    }

    /// Codes a row: its options and lists too. The decoder gives an empty row and gets the values.
    pub(crate) fn row(
        &mut self,
        layout: &'static Layout,
        mut row: Row,
        budget: usize,
    ) -> Result<Row, CodecError> {
        let mut absent = vec![false; layout.fields.len()];
        for step in 0..layout.fields.len() {
            let at = layout.at(step);
            let Some((wire, model)) = layout.fields.get(at).copied() else { continue };
            if absent.get(at).copied().unwrap_or(true) {
                continue;
            }
            let column = layout.number * 16 + u16::try_from(at).unwrap_or(0);
            let value = match wire {
                Wire::Option(inner) => {
                    let situation = self.sold_by(layout, at, &row);
                    let flag = self.number(column, situation, 3, 1, row.slots[at])?;
                    if flag == 0 {
                        for absent in absent.iter_mut().skip(at + 1).take(inner) {
                            *absent = true;
                        }
                    }
                    flag
                }
                Wire::List(inner) => {
                    let most = budget.min(RECORD_BYTES_MAX) / inner.bytes_min().max(1);
                    let count = self.number(column, 0, 3, place(most), row.slots[at])?;
                    self.list(inner, at, count, &mut row, budget)?;
                    count
                }
                Wire::U | Wire::I | Wire::Text | Wire::Eight => self.field(column, model, &row, at)?,
            };
            row.slots[at] = value;
        }
        self.learn(layout, &row);
        Ok(row)
    }

    /// Weighed goods usually refer to a weighing.
    fn sold_by(&self, layout: &Layout, at: usize, row: &Row) -> usize {
        if !layout.order.is_empty() && at == 7 && layout.number != 10 {
            usize::from(self.article(row, 0).sold_by)
        } else {
            0
        }
    }

    fn list(
        &mut self,
        inner: &'static Layout,
        at: usize,
        count: u64,
        row: &mut Row,
        budget: usize,
    ) -> Result<(), CodecError> {
        let given =
            row.lists.iter().position(|(list, _)| *list == at).map(|found| row.lists.swap_remove(found).1);
        let mut given = given.unwrap_or_default().into_iter();
        let tenders = matches!(inner.number, 49 | 51);
        if !tenders {
            self.state.due = 0;
        }
        let mut rows = Vec::new();
        for number in 0..count {
            let next = given.next().unwrap_or_else(|| Row::empty(inner));
            self.state.net = None;
            if tenders {
                // The last tender pays what is left; the first says so through its situation.
                self.state.closing = number + 1 == count;
            }
            let done = self.row(inner, next, budget)?;
            match inner.number {
                48 | 50 => self.state.due = self.state.due.wrapping_add(done.signed(5)),
                49 | 51 => self.state.due = self.state.due.wrapping_sub(done.signed(1)),
                _ => {}
            }
            rows.push(done);
        }
        row.lists.push((at, rows));
        Ok(())
    }

    fn article(&self, row: &Row, slot: usize) -> Article {
        let sku = row.slots.get(slot).copied().unwrap_or(0);
        let articles = &self.state.articles;
        articles.place(sku).and_then(|at| articles.at(at)).unwrap_or_default()
    }

    fn know(&mut self, row: &Row, slot: usize, change: impl FnOnce(&mut Article)) {
        let sku = row.slots.get(slot).copied().unwrap_or(0);
        if let Some(at) = self.state.articles.place(sku) {
            self.state.articles.change(at, change);
        }
    }

    fn field(&mut self, column: u16, model: Model, row: &Row, at: usize) -> Result<u64, CodecError> {
        let value = row.slots[at];
        let signed = value.cast_signed();
        let slot = |slot: usize| row.slots.get(slot).copied().unwrap_or(0);
        let coded = match model {
            Model::Plain => return self.plain(column, value),
            Model::Delta => {
                let last = self.state.last[usize::from(column)];
                let found = self.differs(column, 0, last, signed)?;
                self.state.last[usize::from(column)] = found;
                found
            }
            Model::CountBy(key) | Model::LastBy(key) => {
                let key = (column, slot(key));
                let known = self.state.beside.get(&key).copied();
                let more = i64::from(matches!(model, Model::CountBy(_)));
                let predicted = known.map_or(0, |known| known.wrapping_add(more));
                let found = self.differs(column, usize::from(known.is_none()), predicted, signed)?;
                self.state.beside.insert(key, found);
                found
            }
            Model::Near(key) => self.differs(column, 0, slot(key).cast_signed(), signed)?,
            Model::Before => self.differs(column, 0, self.at, signed)?,
            Model::Minute => {
                let minute = self.at.wrapping_sub(self.at.rem_euclid(60_000)).wrapping_sub(60_000);
                self.differs(column, 0, minute, signed)?
            }
            Model::Epoch => self.differs(column, 0, i64::from(self.epoch), signed)?,
            Model::Back => self.back(column, 0, signed)?,
            Model::BackAgain => self.again(column, value)?.cast_signed(),
            Model::Weighed => self.weighed(column, value)?.cast_signed(),
            Model::Name(group) => return self.name(column, group, value),
            Model::Sku => return self.sku(value),
            Model::Price(sku) => self.price(column, row, sku, signed)?,
            Model::Tax(sku) => return self.tax(column, row, sku, value),
            Model::Lot(sku) => return self.lot(column, row, sku, value),
            Model::Quantity { sku, weighing } => self.quantity(column, row, sku, weighing, signed)?,
            Model::Amount { price, quantity, discount } => {
                let product = i128::from(row.signed(price)) * i128::from(row.signed(quantity));
                let half = if product < 0 { -500 } else { 500 };
                let full = i64::try_from((product + half) / 1000).unwrap_or(0);
                self.differs(column, 0, full.wrapping_sub(row.signed(discount)), signed)?
            }
            Model::Tender => {
                let last = usize::from(self.state.closing);
                self.differs(column, last, self.state.due, signed)?
            }
            Model::Noise => return Ok(self.coder.raw(64, value)),
        };
        Ok(coded.cast_unsigned())
    }

    fn plain(&mut self, column: u16, value: u64) -> Result<u64, CodecError> {
        self.number(column, 0, 3, ANY, zigzag(value.cast_signed()))
            .map(|coded| unzigzag(coded).cast_unsigned())
    }

    fn back(&mut self, column: u16, situation: usize, value: i64) -> Result<i64, CodecError> {
        let own = self.seq.0.cast_signed();
        self.number(column, situation, 3, ANY, zigzag(own.wrapping_sub(value)))
            .map(|coded| own.wrapping_sub(unzigzag(coded)))
    }

    /// A place in a list of at most [`RECENT_MAX`], counted from 1; 0 is "not in it".
    fn one_of(
        &mut self,
        column: u16,
        places: usize,
        found: Option<usize>,
    ) -> Result<Option<usize>, CodecError> {
        let coded = self.number(column, 1, 3, place(places), found.map_or(0, |at| place(at + 1)))?;
        Ok(usize::try_from(coded).ok().and_then(|at| at.checked_sub(1)))
    }

    fn again(&mut self, column: u16, value: u64) -> Result<u64, CodecError> {
        let found = self.state.recent.iter().position(|seq| *seq == value);
        let found = self.one_of(column, self.state.recent.len(), found)?;
        let value = match found.and_then(|at| self.state.recent.get(at)) {
            Some(seq) => *seq,
            None => self.back(column, 0, value.cast_signed())?.cast_unsigned(),
        };
        self.state.refer(value);
        Ok(value)
    }

    fn weighed(&mut self, column: u16, value: u64) -> Result<u64, CodecError> {
        let found = self.state.weighings.iter().position(|(seq, _)| *seq == value);
        let found = self.one_of(column, self.state.weighings.len(), found)?;
        match found.filter(|at| *at < self.state.weighings.len()) {
            Some(at) => {
                let (seq, net) = self.state.weighings.remove(at);
                self.state.net = Some(net);
                Ok(seq)
            }
            None => self.back(column, 0, value.cast_signed()).map(i64::cast_unsigned),
        }
    }

    fn name(&mut self, column: u16, group: usize, value: u64) -> Result<u64, CodecError> {
        let before = usize::try_from(self.state.last[usize::from(column)]).unwrap_or(0).min(63);
        let places = self.state.groups[group].texts.len();
        let known = self.state.groups[group].places.get(&value).map_or(0, |at| at + 1);
        let coded = self.number(column, before, 6, place(places), known)?;
        let found = match coded.checked_sub(1).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => self.state.groups[group].texts.get(at).copied().ok_or(CodecError::Range)?,
            None => {
                let text = self.state.pool.text(value).to_vec();
                let length = self.number(column, 64, 3, place(RECORD_BYTES_MAX), place(text.len()))?;
                let text = self.side.bytes(&text, length)?;
                let found = self.state.pool.intern(&text);
                self.state.groups[group].add(found);
                found
            }
        };
        let at = self.state.groups[group].places.get(&found).map_or(0, |at| at + 1);
        self.state.last[usize::from(column)] = i64::try_from(at).unwrap_or(0);
        Ok(found)
    }

    fn sku(&mut self, value: u64) -> Result<u64, CodecError> {
        // One table and one set of statistics for every column of article numbers.
        let found = self.state.articles.place(value);
        let new = self.number(SKU, 1, 3, 1, u64::from(found.is_none()))?;
        if new == 0 {
            let most = place(self.state.articles.len()).checked_sub(1).ok_or(CodecError::Range)?;
            let at = self.number(SKU, 0, 12, most, found.map_or(0, place))?;
            let article = usize::try_from(at).ok().and_then(|at| self.state.articles.at(at));
            return article.map(|article| article.sku).ok_or(CodecError::Range);
        }
        let sku = self.number(SKU, 2, 6, ANY, value)?;
        self.state.articles.add(sku);
        Ok(sku)
    }

    fn price(&mut self, column: u16, row: &Row, sku: usize, value: i64) -> Result<i64, CodecError> {
        let article = self.article(row, sku);
        let choice = if article.price == Some(value) {
            0
        } else if article.other == Some(value) {
            1
        } else {
            2
        };
        let situation = usize::from(article.price.is_some()) + usize::from(article.other.is_some());
        let choice = self.number(column, situation, 3, 2, choice)?;
        let found = match (choice, article.price, article.other) {
            (0, Some(price), _) => return Ok(price),
            (1, _, Some(other)) => other,
            _ => {
                let situation = 3 + usize::from(article.price.is_some());
                self.differs(column, situation, article.price.unwrap_or(0), value)?
            }
        };
        self.know(row, sku, |article| match (choice, article.price) {
            // Seen twice: from now on the expected one.
            (1, price) => (article.other, article.price) = (price, Some(found)),
            (_, None) => article.price = Some(found),
            (_, Some(_)) => article.other = Some(found),
        });
        Ok(found)
    }

    fn tax(&mut self, column: u16, row: &Row, sku: usize, value: u64) -> Result<u64, CodecError> {
        let known = self.article(row, sku).tax;
        let predicted = known.unwrap_or(0).cast_signed();
        let found = self.differs(column, usize::from(known.is_none()), predicted, value.cast_signed())?;
        self.know(row, sku, |article| article.tax = Some(found.cast_unsigned()));
        Ok(found.cast_unsigned())
    }

    fn lot(&mut self, column: u16, row: &Row, sku: usize, value: u64) -> Result<u64, CodecError> {
        let known = self.article(row, sku).lot;
        if let Some(lot) = known
            && self.number(column, 65, 3, 1, u64::from(lot != value))? == 0
        {
            return Ok(lot);
        }
        let found = self.name(column, LOT, value)?;
        self.know(row, sku, |article| article.lot = Some(found));
        Ok(found)
    }

    fn quantity(
        &mut self,
        column: u16,
        row: &Row,
        sku: usize,
        weighing: usize,
        value: i64,
    ) -> Result<i64, CodecError> {
        if weighing != sku
            && let Some(net) = self.state.net
            && self.number(column, 12, 3, 1, u64::from(net != value))? == 0
        {
            self.know(row, sku, |article| article.sold_by = 2);
            return Ok(net);
        }
        let sold_by = usize::from(self.article(row, sku).sold_by);
        let step = if value % 1000 == 0 {
            0
        } else if value % 5 == 0 {
            1
        } else {
            2
        };
        let step = self.number(column, sold_by, 3, 2, step)?;
        let unit = [1000, 5, 1][usize::try_from(step).unwrap_or(2).min(2)];
        let situation = 3 + 3 * sold_by + usize::try_from(step).unwrap_or(0);
        let many = self.number(column, situation, 4, ANY, zigzag(value / unit))?;
        let found = unzigzag(many).wrapping_mul(unit);
        self.know(row, sku, |article| article.sold_by = if step == 0 { 1 } else { 2 });
        Ok(found)
    }

    /// What later records can refer to.
    fn learn(&mut self, layout: &Layout, row: &Row) {
        match layout.number {
            2 => {
                self.state.weighings.insert(0, (self.seq.0, row.signed(1)));
                self.state.weighings.truncate(RECENT_MAX);
            }
            11 | 15 | 22 => self.state.refer(self.seq.0),
            17 => {
                let to = row.signed(3);
                self.know(row, 0, |article| article.price = Some(to));
            }
            _ => {}
        }
    }
}

/// Statistics of article numbers.
const SKU: u16 = 1;
