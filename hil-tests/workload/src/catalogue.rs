//! Articles of a retailer.

use crate::random::Random;

/// One article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Article {
    pub(crate) sku: u64,
    pub(crate) price: i64,
    pub(crate) tax_rate: u16,
    pub(crate) weighed: bool,
    pub(crate) lot: bool,
}

/// Articles in order of popularity, with the running sums of their weights.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(crate) articles: Vec<Article>,
    pub(crate) sums: Vec<u64>,
}

impl Catalogue {
    /// The articles of retailer number `seed`.
    pub fn new(seed: u64, count: u32) -> Self {
        let mut random = Random::new(seed ^ 0x00CA_7A10_6E00);
        let mut skus: Vec<u64> = (0..u64::from(count)).map(|at| 10_000 + at).collect();
        for at in (1..skus.len()).rev() {
            let other = random.below(u64::try_from(at).unwrap_or(0) + 1);
            skus.swap(at, usize::try_from(other).unwrap_or(at));
        }
        let articles = skus
            .into_iter()
            .map(|sku| {
                let weighed = random.chance(150);
                // Prices that end in 0 or 9 are what shops print.
                let price = 10 * random.between(15, 60) * if random.chance(250) { 5 } else { 1 };
                let price = if random.chance(700) { price - 1 } else { price };
                let tax_rate = if weighed || random.chance(300) { 900 } else { 1_300 };
                Article { sku, price, tax_rate, weighed, lot: !weighed && random.chance(50) }
            })
            .collect();
        let mut sum = 0;
        let sums = (1..=u64::from(count))
            .map(|rank| {
                sum += (1 << 40) / rank;
                sum
            })
            .collect();
        Self { articles, sums }
    }
}
