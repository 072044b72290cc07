//! Dictionaries: what both ends know before the first block.
//!
//! Contract: a dictionary never changes once its number was used; a better one gets the next number. Number 0 is the
//! empty one. Layout of a file (numbers are LEB128):
//!
//! ```text
//! "SYD1" | number | length, zstd dictionary | per text group: count, (length, text)*
//! tax rates: count, rate* | articles, most sold first: count, (zigzag of number less the number before, zigzag of
//!   price, 4 x place of tax rate + sold by)* | statistics: count, (column, situation, count, (gap to the node before,
//!   probability / 256, seen)*)*
//! ```

use crate::CodecError;
use crate::articles::List;
use crate::number::{Number, unzigzag};
use crate::range::Node;
use crate::row::Reader;
use crate::schema::GROUPS;
use std::collections::HashMap;
use std::sync::OnceLock;

/// First bytes of a dictionary file.
pub(crate) const MAGIC: &[u8; 4] = b"SYD1";
/// Largest dictionary file.
pub const DICTIONARY_BYTES_MAX: usize = 32 * 1024;
/// Nodes of one column and situation that a file may name.
const NODES_MAX: usize = 1 << 16;

/// Texts, articles and statistics that are known from the start.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    pub(crate) number: u32,
    pub(crate) zstd: Vec<u8>,
    pub(crate) texts: Vec<Vec<Vec<u8>>>,
    pub(crate) articles: List,
    pub(crate) nodes: HashMap<(usize, usize), Vec<Node>>,
}

impl Dictionary {
    /// The empty dictionary, number 0.
    pub fn empty() -> &'static Self {
        static EMPTY: OnceLock<Dictionary> = OnceLock::new();
        EMPTY.get_or_init(Self::default)
    }

    /// The dictionary that this build writes with, number 1.
    pub fn shipped() -> &'static Self {
        static SHIPPED: OnceLock<Dictionary> = OnceLock::new();
        SHIPPED.get_or_init(|| {
            Self::parse(include_bytes!("../data/dictionary-1.bin")).expect("a test reads the shipped file")
        })
    }

    /// The dictionary with this number.
    pub fn with_number(number: u32) -> Result<&'static Self, CodecError> {
        match number {
            0 => Ok(Self::empty()),
            1 => Ok(Self::shipped()),
            other => Err(CodecError::Dictionary(other)),
        }
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(CodecError::DictionaryFile);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(CodecError::DictionaryFile)?;
        let mut file = File(Reader(rest));
        let mut dictionary = Self { number: file.at_most(u32::MAX)?, ..Self::default() };
        dictionary.zstd = file.sized()?;
        for _ in 0..GROUPS {
            let count = file.count()?;
            dictionary.texts.push((0..count).map(|_| file.sized()).collect::<Result<_, _>>()?);
        }
        let count = file.count()?;
        let rates: Vec<u64> = (0..count).map(|_| file.number()).collect::<Result<_, _>>()?;
        let mut sku = 0_u64;
        let count = file.count()?;
        let mut articles = List::new(rates, count);
        for _ in 0..count {
            sku = sku.wrapping_add_signed(unzigzag(file.number()?));
            let price = unzigzag(file.number()?);
            let mixed = file.at_most::<u32>(u32::MAX)?;
            articles.push(sku, price, mixed / 4, u8::try_from(mixed % 4).unwrap_or(0).min(2));
        }
        articles.finish();
        dictionary.articles = articles;
        for _ in 0..file.count()? {
            let key = (file.at_most::<u16>(u16::MAX)?.into(), file.at_most::<u16>(u16::MAX)?.into());
            let nodes = file.nodes()?;
            dictionary.nodes.insert(key, nodes);
        }
        if file.0.0.is_empty() { Ok(dictionary) } else { Err(CodecError::DictionaryFile) }
    }

    /// Statistics that a column has in a situation before the first value.
    pub(crate) fn number_at(&self, column: usize, situation: usize, depth: u32) -> Number {
        match self.nodes.get(&(column, situation)) {
            Some(nodes) => Number::from(depth, nodes),
            None => Number::new(depth),
        }
    }
}

struct File<'a>(Reader<'a>);

impl File<'_> {
    fn number(&mut self) -> Result<u64, CodecError> {
        self.0.number().ok_or(CodecError::DictionaryFile)
    }

    fn at_most<T: TryFrom<u64> + PartialOrd>(&mut self, most: T) -> Result<T, CodecError> {
        let found = T::try_from(self.number()?).map_err(|_| CodecError::DictionaryFile)?;
        if found > most { Err(CodecError::DictionaryFile) } else { Ok(found) }
    }

    /// A count: each of the counted things has at least one byte.
    fn count(&mut self) -> Result<usize, CodecError> {
        let count = usize::try_from(self.number()?).map_err(|_| CodecError::DictionaryFile)?;
        if count > self.0.0.len() { Err(CodecError::DictionaryFile) } else { Ok(count) }
    }

    fn sized(&mut self) -> Result<Vec<u8>, CodecError> {
        let count = self.count()?;
        self.0.bytes(count).map(<[u8]>::to_vec).ok_or(CodecError::DictionaryFile)
    }

    fn nodes(&mut self) -> Result<Vec<Node>, CodecError> {
        let mut nodes = Vec::new();
        for _ in 0..self.count()? {
            let gap = usize::try_from(self.number()?).map_err(|_| CodecError::DictionaryFile)?;
            if gap > NODES_MAX || nodes.len() + gap > NODES_MAX {
                return Err(CodecError::DictionaryFile);
            }
            nodes.resize(nodes.len() + gap, Node::default());
            match self.0.bytes(2) {
                Some([one, seen]) => nodes.push(Node { one: u16::from(*one) << 8 | 0x80, seen: *seen }),
                _ => return Err(CodecError::DictionaryFile),
            }
        }
        Ok(nodes)
    }
}
