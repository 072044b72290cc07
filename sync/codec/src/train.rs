//! Makes a dictionary file from example blocks.
//!
//! Contract: deterministic for equal input; the file never exceeds [`DICTIONARY_BYTES_MAX`]: articles and texts are cut
//! to fixed shares, and the statistics that save most fill the rest.

use crate::articles::Article;
use crate::dictionary::{DICTIONARY_BYTES_MAX, Dictionary, MAGIC};
use crate::number::zigzag;
use crate::pack::{Item, take_apart, walk_records};
use crate::range::Node;
use crate::row::{Row, push};
use crate::schema::{GROUPS, LOT, Layout, Model, Wire};
use crate::state::State;
use std::collections::BTreeMap;
use sync_core::Block;

/// Most articles in a dictionary.
const ARTICLES_MAX: usize = 4_000;
/// Most texts of a group.
const TEXTS_MAX: usize = 63;
/// Longest zstd dictionary.
const ZSTD_MAX: usize = 2 * 1024;
/// How often a text must occur.
const TEXT_MIN: u64 = 8;
/// What a node's experience counts at most: low, so that a store that differs is learned soon.
const SEEN_MAX: u8 = 40;

/// The dictionary file number `number` for blocks like these.
pub fn train(number: u32, blocks: &[Block]) -> Vec<u8> {
    let mut census = Census::default();
    let empty = Dictionary::default();
    let mut state = State::new(&empty);
    for block in blocks {
        for record in &block.records {
            if let Item::Known { layout, row, .. } = take_apart(record, &mut state) {
                census.row(layout, &row, &state);
            }
        }
        state.next_block();
    }
    let mut out = MAGIC.to_vec();
    push(&mut out, number.into());
    let zstd = train_zstd(blocks);
    push_sized(&mut out, &zstd);
    census.write(&mut out);
    // Statistics begin with the tables that they will be used with.
    let tables = [out.as_slice(), &[0]].concat();
    let Ok(tables) = Dictionary::parse(&tables) else { return tables };
    let mut state = State::new(&tables);
    for block in blocks {
        if walk_records(&mut state, block.log, block.first, &block.records).is_err() {
            break;
        }
        state.next_block();
    }
    write_statistics(&state, &mut out);
    out
}

fn push_len(out: &mut Vec<u8>, count: usize) {
    push(out, u64::try_from(count).unwrap_or(u64::MAX));
}

fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    push_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// New texts of blocks as zstd sees them; an empty dictionary when there are too few.
fn train_zstd(blocks: &[Block]) -> Vec<u8> {
    let empty = Dictionary::default();
    let samples: Vec<Vec<u8>> = blocks
        .iter()
        .filter_map(|block| {
            let mut state = State::new(&empty);
            walk_records(&mut state, block.log, block.first, &block.records).ok()
        })
        .map(|(_, side)| side)
        .filter(|side| !side.is_empty())
        .collect();
    zstd::dict::from_samples(&samples, ZSTD_MAX).unwrap_or_default()
}

#[derive(Default)]
struct Census {
    texts: BTreeMap<(usize, Vec<u8>), u64>,
    articles: BTreeMap<u64, (u64, Article)>,
}

impl Census {
    fn article(&mut self, row: &Row, slot: usize) -> &mut Article {
        let sku = row.slots.get(slot).copied().unwrap_or(0);
        &mut self.articles.entry(sku).or_insert((0, Article { sku, ..Article::default() })).1
    }

    fn row(&mut self, layout: &Layout, row: &Row, state: &State<'_>) {
        for (at, (wire, model)) in layout.fields.iter().enumerate() {
            let value = row.slots.get(at).copied().unwrap_or(0);
            match model {
                Model::Sku if !layout.order.is_empty() => {
                    self.articles
                        .entry(value)
                        .or_insert((0, Article { sku: value, ..Article::default() }))
                        .0 += 1;
                }
                // Odd prices are rare, so one look in two suffices to hold the usual one.
                Model::Price(sku) => {
                    let article = self.article(row, *sku);
                    let value = Some(value.cast_signed());
                    if article.price.is_none() || article.other == value {
                        article.price = value;
                    }
                    article.other = value;
                }
                Model::Tax(sku) => self.article(row, *sku).tax = Some(value),
                Model::Quantity { sku, .. } => {
                    self.article(row, *sku).sold_by = if value.cast_signed() % 1000 == 0 { 1 } else { 2 };
                }
                Model::Name(group) if *group != LOT => {
                    *self.texts.entry((*group, state.pool.text(value).to_vec())).or_default() += 1;
                }
                _ => {}
            }
            if let Wire::List(inner) = wire {
                for row in row.lists.iter().filter(|(list, _)| *list == at).flat_map(|(_, rows)| rows) {
                    self.row(inner, row, state);
                }
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for group in 0..GROUPS {
            let mut texts: Vec<(&u64, &Vec<u8>)> = self
                .texts
                .iter()
                .filter(|((found, _), count)| *found == group && **count >= TEXT_MIN)
                .map(|((_, text), count)| (count, text))
                .collect();
            texts.sort_by(|a, b| b.cmp(a));
            texts.truncate(TEXTS_MAX);
            push_len(out, texts.len());
            for (_, text) in texts {
                push_sized(out, text);
            }
        }
        let mut articles: Vec<(u64, Article)> = self
            .articles
            .values()
            .filter(|(count, article)| *count > 0 && article.tax.is_some())
            .copied()
            .collect();
        articles.sort_by_key(|(count, article)| (std::cmp::Reverse(*count), article.sku));
        articles.truncate(ARTICLES_MAX);
        let mut rates: Vec<u64> = articles.iter().filter_map(|(_, article)| article.tax).collect();
        rates.sort_unstable();
        rates.dedup();
        push_len(out, rates.len());
        for rate in &rates {
            push(out, *rate);
        }
        push_len(out, articles.len());
        let mut before = 0_u64;
        for (_, article) in articles {
            push(out, zigzag(article.sku.wrapping_sub(before).cast_signed()));
            before = article.sku;
            push(out, zigzag(article.price.unwrap_or(0)));
            let rate =
                article.tax.and_then(|rate| rates.iter().position(|found| *found == rate)).unwrap_or(0);
            push_len(out, 4 * rate + usize::from(article.sold_by));
        }
    }
}

/// Bits that knowing a node from the start saves, about.
fn worth(node: Node) -> f64 {
    let one = (f64::from(node.one) / 65_536.0).clamp(0.001, 0.999);
    let bits = -one * one.log2() - (1.0 - one) * (1.0 - one).log2();
    f64::from(node.seen) * (1.05 - bits)
}

fn write_statistics(state: &State<'_>, out: &mut Vec<u8>) {
    let mut nodes: Vec<(f64, usize, usize, usize, Node)> = Vec::new();
    for (column, situations) in state.numbers().iter().enumerate() {
        for (situation, number) in situations.iter().enumerate() {
            for (at, node) in number.iter().flat_map(|number| &number.nodes).copied().enumerate() {
                if node.seen >= 4 {
                    nodes.push((worth(node), column, situation, at, node));
                }
            }
        }
    }
    nodes.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    let begin = out.clone();
    loop {
        let mut chosen: BTreeMap<(usize, usize), BTreeMap<usize, Node>> = BTreeMap::new();
        for (_, column, situation, at, node) in &nodes {
            chosen.entry((*column, *situation)).or_default().insert(*at, *node);
        }
        out.clone_from(&begin);
        push_len(out, chosen.len());
        for ((column, situation), nodes) in chosen {
            push_len(out, column);
            push_len(out, situation);
            push_len(out, nodes.len());
            let mut next = 0;
            for (at, node) in nodes {
                push_len(out, at - next);
                out.push(u8::try_from(node.one >> 8).unwrap_or(u8::MAX));
                out.push(node.seen.min(SEEN_MAX));
                next = at + 1;
            }
        }
        if out.len() <= DICTIONARY_BYTES_MAX || nodes.is_empty() {
            return;
        }
        let surplus = (out.len() - DICTIONARY_BYTES_MAX).div_ceil(5);
        nodes.truncate(nodes.len().saturating_sub(surplus));
    }
}
