//! How much of each held batch is left for sale: one small local state per article, read and written inside ledger jobs, so
//! that tills and the device loop can never disagree about it.
//!
//! Layout of the state `hold/<sku>`: per batch in selling order epoch u32, seq u64, left i64, little-endian, at most
//! [`HOLDS_MAX`] batches. Damaged bytes read as no batches: sales then touch stock only.

use sync_model::{BatchMoved, BatchRef, BatchState, Epoch, FactRef, Milli, Seq, Sku, Text};
use sync_store::{Draft, Refusal};

/// Batches of one article held at once.
pub const HOLDS_MAX: usize = 128;
const ENTRY: usize = 20;
const _: () = assert!(HOLDS_MAX * ENTRY <= sync_store::STATE_BYTES_MAX);

/// One held batch and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The batch.
    pub batch: BatchRef,
    /// Left for sale.
    pub left: Milli,
}

/// What a sale took from one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The batch.
    pub batch: BatchRef,
    /// How much.
    pub quantity: Milli,
    /// Left afterwards.
    pub left: Milli,
}

/// Key of the state of an article.
pub fn key(sku: Sku) -> String {
    format!("hold/{sku}")
}

/// Reads the state's bytes.
pub fn decode(bytes: Option<&[u8]>) -> Vec<Held> {
    let bytes = bytes.unwrap_or_default();
    if !bytes.len().is_multiple_of(ENTRY) {
        return Vec::new();
    }
    bytes
        .chunks_exact(ENTRY)
        .filter_map(|entry| {
            let epoch = Epoch(u32::from_le_bytes(entry.get(..4)?.try_into().ok()?));
            let seq = Seq(u64::from_le_bytes(entry.get(4..12)?.try_into().ok()?));
            let left = Milli(i64::from_le_bytes(entry.get(12..20)?.try_into().ok()?));
            Some(Held { batch: FactRef { epoch, seq }, left })
        })
        .collect()
}

fn encode(held: &[Held]) -> Vec<u8> {
    held.iter()
        .flat_map(|entry| {
            let mut bytes = entry.batch.epoch.0.to_le_bytes().to_vec();
            bytes.extend(entry.batch.seq.0.to_le_bytes());
            bytes.extend(entry.left.0.to_le_bytes());
            bytes
        })
        .collect()
}

fn load(draft: &mut Draft<'_>, sku: Sku) -> Result<Vec<Held>, Refusal> {
    Ok(decode(draft.state(&key(sku))?.as_deref()))
}

fn store(draft: &mut Draft<'_>, sku: Sku, held: &[Held]) -> Result<(), Refusal> {
    let bytes = encode(held);
    draft.put_state(&key(sku), (!bytes.is_empty()).then_some(&bytes))
}

/// A batch came on sale. An article with too many held batches sells the newest from stock only.
pub fn open(draft: &mut Draft<'_>, sku: Sku, batch: BatchRef, left: Milli) -> Result<(), Refusal> {
    let mut held = load(draft, sku)?;
    if held.len() < HOLDS_MAX && held.iter().all(|entry| entry.batch != batch) {
        held.push(Held { batch, left });
        store(draft, sku, &held)?;
    }
    Ok(())
}

/// A batch went off sale. Gives what was left; `None` when it was not held.
pub fn close(draft: &mut Draft<'_>, sku: Sku, batch: BatchRef) -> Result<Option<Milli>, Refusal> {
    let mut held = load(draft, sku)?;
    let Some(at) = held.iter().position(|entry| entry.batch == batch) else { return Ok(None) };
    let entry = held.remove(at);
    store(draft, sku, &held)?;
    Ok(Some(entry.left))
}

/// Takes a quantity that is written off from one held batch. `None` when it is not held; the inner error is what is left of
/// it when that is less. A batch with nothing left adds its fact to `moves`.
pub fn waste(
    draft: &mut Draft<'_>,
    sku: Sku,
    batch: BatchRef,
    quantity: Milli,
    moves: &mut Vec<BatchMoved>,
) -> Result<Option<Result<Taken, Milli>>, Refusal> {
    let mut held = load(draft, sku)?;
    let Some(at) = held.iter().position(|entry| entry.batch == batch) else { return Ok(None) };
    let Some(entry) = held.get_mut(at) else { return Ok(None) };
    if quantity > entry.left {
        return Ok(Some(Err(entry.left)));
    }
    entry.left = Milli(entry.left.0.saturating_sub(quantity.0));
    let taken = Taken { batch, quantity, left: entry.left };
    if taken.left.0 <= 0 {
        held.remove(at);
        moves.push(BatchMoved {
            batch,
            from: BatchState::Hold,
            to: BatchState::SoldOut,
            temperature: None,
            reason: Text::lossy("written-off"),
        });
    }
    store(draft, sku, &held)?;
    Ok(Some(Ok(taken)))
}

/// Takes a sold quantity from the article's held batches: the named one first, then oldest first. A batch that is sold out
/// adds its fact to `moves`, to be appended after the sale in the same job. Gives what was taken from which batch.
pub fn sell(
    draft: &mut Draft<'_>,
    sku: Sku,
    named: Option<BatchRef>,
    quantity: Milli,
    moves: &mut Vec<BatchMoved>,
) -> Result<Vec<Taken>, Refusal> {
    let mut held = load(draft, sku)?;
    if held.is_empty() || quantity.0 <= 0 {
        return Ok(Vec::new());
    }
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.sort_by_key(|index| held.get(*index).map(|entry| Some(entry.batch) != named));
    let mut rest = quantity.0;
    let mut taken = Vec::new();
    for index in order {
        let Some(entry) = held.get_mut(index) else { continue };
        let part = rest.min(entry.left.0);
        if part > 0 {
            entry.left = Milli(entry.left.0 - part);
            rest -= part;
            taken.push(Taken { batch: entry.batch, quantity: Milli(part), left: entry.left });
        }
    }
    for entry in held.iter().filter(|entry| entry.left.0 <= 0) {
        moves.push(BatchMoved {
            batch: entry.batch,
            from: BatchState::Hold,
            to: BatchState::SoldOut,
            temperature: None,
            reason: Text::lossy("sold-out"),
        });
    }
    held.retain(|entry| entry.left.0 > 0);
    store(draft, sku, &held)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_damage_reads_as_nothing() {
        let held = vec![
            Held { batch: FactRef { epoch: Epoch(7), seq: Seq(9) }, left: Milli(1500) },
            Held { batch: FactRef { epoch: Epoch(7), seq: Seq(12) }, left: Milli(2) },
        ];
        let bytes = encode(&held);
        assert_eq!(decode(Some(&bytes)), held);
        assert_eq!(decode(Some(&bytes[1..])), vec![]);
        assert_eq!(decode(None), vec![]);
    }
}
