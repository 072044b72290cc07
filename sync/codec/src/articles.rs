//! The table of articles: what a dictionary lists, and what a block adds to it and changes in it.
//!
//! A dictionary lists thousands of articles and a block meets a few dozen of them. So a block does not begin with a copy of
//! the list: it keeps what it adds and what it changes, and the list stays one, small, for all blocks.

use std::collections::HashMap;

/// What is known of an article.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Article {
    /// Its number.
    pub(crate) sku: u64,
    /// The price expected next.
    pub(crate) price: Option<i64>,
    /// Another price seen lately.
    pub(crate) other: Option<i64>,
    /// Tax rate.
    pub(crate) tax: Option<u64>,
    /// Lot seen last, as a number of the pool.
    pub(crate) lot: Option<u64>,
    /// 0 unknown, 1 sold by the piece, 2 by weight.
    pub(crate) sold_by: u8,
}

/// An article of a list.
#[derive(Clone, Copy, Debug)]
struct Entry {
    sku: u64,
    price: i64,
    /// Place of its tax rate.
    rate: u32,
    sold_by: u8,
}

/// The articles of a dictionary, most sold first.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    rates: Vec<u64>,
    entries: Vec<Entry>,
    /// Places in the order of article numbers; of equal ones the last counts.
    by_sku: Vec<u32>,
}

impl List {
    /// An empty list with these tax rates.
    pub(crate) fn new(rates: Vec<u64>, count: usize) -> Self {
        Self { rates, entries: Vec::with_capacity(count), by_sku: Vec::new() }
    }

    /// Appends an article; a rate that the list does not have is none.
    pub(crate) fn push(&mut self, sku: u64, price: i64, rate: u32, sold_by: u8) {
        self.entries.push(Entry { sku, price, rate, sold_by });
    }

    /// After the last article.
    pub(crate) fn finish(&mut self) {
        let entries = &self.entries;
        self.by_sku = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        self.by_sku.sort_by_key(|at| index(*at).and_then(|at| entries.get(at)).map(|entry| entry.sku));
    }

    fn at(&self, at: usize) -> Option<Article> {
        let entry = self.entries.get(at)?;
        let tax = index(entry.rate).and_then(|at| self.rates.get(at)).copied();
        Some(Article {
            sku: entry.sku,
            price: Some(entry.price),
            tax,
            sold_by: entry.sold_by,
            ..Article::default()
        })
    }

    fn place(&self, sku: u64) -> Option<usize> {
        let sku_at = |at: u32| index(at).and_then(|at| self.entries.get(at)).map(|entry| entry.sku);
        let end = self.by_sku.partition_point(|at| sku_at(*at) <= Some(sku));
        let last = *self.by_sku.get(end.checked_sub(1)?)?;
        index(last).filter(|_| sku_at(last) == Some(sku))
    }
}

fn index(at: u32) -> Option<usize> {
    usize::try_from(at).ok()
}

/// The table of one block.
#[derive(Debug)]
pub(crate) struct Articles<'d> {
    list: &'d List,
    /// Articles of the list of which more is known by now, by place.
    changed: HashMap<usize, Article>,
    /// Articles that the list does not have.
    added: Vec<Article>,
    /// Their places in the table.
    places: HashMap<u64, usize>,
}

impl<'d> Articles<'d> {
    pub(crate) fn new(list: &'d List) -> Self {
        Self { list, changed: HashMap::new(), added: Vec::new(), places: HashMap::new() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.entries.len() + self.added.len()
    }

    /// The place of an article.
    pub(crate) fn place(&self, sku: u64) -> Option<usize> {
        self.places.get(&sku).copied().or_else(|| self.list.place(sku))
    }

    /// The article at a place.
    pub(crate) fn at(&self, at: usize) -> Option<Article> {
        match at.checked_sub(self.list.entries.len()) {
            Some(added) => self.added.get(added).copied(),
            None => self.changed.get(&at).copied().or_else(|| self.list.at(at)),
        }
    }

    /// Changes the article at a place, if there is one.
    pub(crate) fn change(&mut self, at: usize, change: impl FnOnce(&mut Article)) {
        let article = match at.checked_sub(self.list.entries.len()) {
            Some(added) => self.added.get_mut(added),
            None => {
                let Some(listed) = self.list.at(at) else { return };
                Some(self.changed.entry(at).or_insert(listed))
            }
        };
        if let Some(article) = article {
            change(article);
        }
    }

    /// Adds an article unless it is there.
    pub(crate) fn add(&mut self, sku: u64) {
        if self.place(sku).is_none() {
            self.places.insert(sku, self.len());
            self.added.push(Article { sku, ..Article::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same as a copy of the whole list that grows.
    #[derive(Default)]
    struct Plain {
        articles: Vec<Article>,
        places: HashMap<u64, usize>,
    }

    impl Plain {
        fn push(&mut self, article: Article) {
            self.places.insert(article.sku, self.articles.len());
            self.articles.push(article);
        }
    }

    proptest! {
        #[test]
        fn it_is_the_list_with_what_was_added_and_changed(
            listed in proptest::collection::vec((0_u64..40, any::<i64>(), 0_u32..4, 0_u8..3), 0..30),
            steps in proptest::collection::vec((0_u64..60, any::<i64>(), any::<bool>()), 0..60),
        ) {
            let rates = vec![900, 1300, 0];
            let (mut list, mut plain) = (List::new(rates.clone(), listed.len()), Plain::default());
            for (sku, price, rate, sold_by) in listed {
                list.push(sku, price, rate, sold_by);
                let tax = rates.get(rate as usize).copied();
                plain.push(Article { sku, price: Some(price), tax, sold_by, ..Article::default() });
            }
            list.finish();
            let mut table = Articles::new(&list);
            for (sku, price, add) in steps {
                if add {
                    table.add(sku);
                    if !plain.places.contains_key(&sku) {
                        plain.push(Article { sku, ..Article::default() });
                    }
                }
                let place = table.place(sku);
                prop_assert_eq!(place, plain.places.get(&sku).copied());
                if let Some(at) = place {
                    table.change(at, |article| article.other = Some(price));
                    plain.articles[at].other = Some(price);
                }
            }
            prop_assert_eq!(table.len(), plain.articles.len());
            for at in 0..=plain.articles.len() {
                prop_assert_eq!(table.at(at), plain.articles.get(at).copied());
            }
        }
    }
}
