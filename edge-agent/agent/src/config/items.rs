//! The elements of an array of the configuration tree.
//!
//! A store has thousands of `[[tag]]` tables of a few keys each, and as nodes of a tree they take many times what they say. So
//! the tables of a long file are packed as soon as they are read, and unpacked one at a time by whoever wants one:
//! the deserializer, and a complaint that looks for its place.

use super::tree::{Entry, Node, Place, Table, Value};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The elements in their order.
#[derive(Clone, Default)]
pub(super) struct Items {
    pieces: Vec<Piece>,
}

#[derive(Clone)]
enum Piece {
    Plain(Vec<Node>),
    Packed(Packed),
}

impl From<Vec<Node>> for Items {
    fn from(nodes: Vec<Node>) -> Self {
        Self { pieces: vec![Piece::Plain(nodes)] }
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Items {
    pub(super) fn len(&self) -> usize {
        let count = |piece: &Piece| match piece {
            Piece::Plain(nodes) => nodes.len(),
            Piece::Packed(packed) => packed.starts.len(),
        };
        self.pieces.iter().map(count).sum()
    }

    /// Appends the elements of another array.
    pub(super) fn append(&mut self, mut more: Self) {
        self.pieces.append(&mut more.pieces);
    }

    /// Whether there is something in it, and nothing but tables.
    pub(super) fn is_tables(&self) -> bool {
        let tables = |piece: &Piece| match piece {
            Piece::Plain(nodes) => is_tables(nodes),
            // Nothing else is packed.
            Piece::Packed(_) => true,
        };
        self.len() > 0 && self.pieces.iter().all(tables)
    }

    /// The same, with tables packed; as it is where it cannot be.
    pub(super) fn packed(self, file: &Arc<str>) -> Self {
        let pack = |piece| match piece {
            Piece::Plain(nodes) if is_tables(&nodes) => {
                Packed::new(file, &nodes).map_or(Piece::Plain(nodes), Piece::Packed)
            }
            other => other,
        };
        Self { pieces: self.pieces.into_iter().map(pack).collect() }
    }

    /// One of them. A configuration may have a complaint about each of thousands: what is before it is not unpacked.
    pub(super) fn get(&self, index: usize) -> Option<Cow<'_, Node>> {
        let mut index = index;
        for piece in &self.pieces {
            match piece {
                Piece::Plain(nodes) if index < nodes.len() => return nodes.get(index).map(Cow::Borrowed),
                Piece::Packed(packed) if index < packed.starts.len() => {
                    return packed.get(index).map(Cow::Owned);
                }
                Piece::Plain(nodes) => index -= nodes.len(),
                Piece::Packed(packed) => index -= packed.starts.len(),
            }
        }
        None
    }

    /// One after the other.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { items: self, next: 0 }
    }
}

fn is_tables(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node.value, Value::Table(_)))
}

/// See [`Items::iter`].
pub(super) struct Iter<'i> {
    items: &'i Items,
    next: usize,
}

impl<'i> Iterator for Iter<'i> {
    type Item = Cow<'i, Node>;

    fn next(&mut self) -> Option<Cow<'i, Node>> {
        let node = self.items.get(self.next);
        self.next += 1;
        node
    }
}

/// Elements as bytes.
#[derive(Clone)]
struct Packed {
    file: Arc<str>,
    keys: Box<[Arc<str>]>,
    /// Where each element begins.
    starts: Box<[u32]>,
    bytes: Box<[u8]>,
}

/// A node with keys as numbers and lines counted from its parent's.
#[derive(Serialize, Deserialize)]
struct Flat {
    below: u32,
    column: u32,
    value: FlatValue,
}

#[derive(Serialize, Deserialize)]
enum FlatValue {
    String(Box<str>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Box<str>),
    Array(Vec<Flat>),
    Table(Vec<FlatEntry>),
}

#[derive(Serialize, Deserialize)]
struct FlatEntry {
    key: u32,
    below: u32,
    column: u32,
    node: Flat,
}

impl Packed {
    /// `None`: something in it stands in another file, or above what it belongs to, or cannot be read back.
    fn new(file: &Arc<str>, nodes: &[Node]) -> Option<Self> {
        let (mut keys, mut bytes, mut starts) = (Vec::new(), Vec::new(), Vec::with_capacity(nodes.len()));
        for node in nodes {
            let flat = flat(node, file, 0, &mut keys)?;
            starts.push(u32::try_from(bytes.len()).ok()?);
            bytes.extend(postcard::to_allocvec(&flat).ok()?);
        }
        let packed =
            Self { file: Arc::clone(file), keys: keys.into(), starts: starts.into(), bytes: bytes.into() };
        (0..nodes.len()).all(|index| packed.get(index).is_some()).then_some(packed)
    }

    fn get(&self, index: usize) -> Option<Node> {
        let start = usize::try_from(*self.starts.get(index)?).ok()?;
        let (flat, _) = postcard::take_from_bytes::<Flat>(self.bytes.get(start..)?).ok()?;
        self.node(flat, 0)
    }

    fn node(&self, flat: Flat, above: u32) -> Option<Node> {
        let place = self.place(above, flat.below, flat.column)?;
        let line = place.line;
        let value = match flat.value {
            FlatValue::String(text) => Value::String(text),
            FlatValue::Integer(number) => Value::Integer(number),
            FlatValue::Float(number) => Value::Float(number),
            FlatValue::Boolean(flag) => Value::Boolean(flag),
            FlatValue::Datetime(text) => Value::Datetime(text),
            FlatValue::Array(items) => {
                let items: Option<Vec<Node>> = items.into_iter().map(|item| self.node(item, line)).collect();
                Value::Array(items?.into())
            }
            FlatValue::Table(entries) => {
                let entries: Option<Vec<_>> =
                    entries.into_iter().map(|entry| self.entry(entry, line)).collect();
                Value::Table(Table(entries?))
            }
        };
        Some(Node { place, value })
    }

    fn entry(&self, flat: FlatEntry, above: u32) -> Option<(Arc<str>, Entry)> {
        let key = self.keys.get(usize::try_from(flat.key).ok()?)?;
        let place = self.place(above, flat.below, flat.column)?;
        let node = self.node(flat.node, place.line)?;
        Some((Arc::clone(key), Entry { key: place, node }))
    }

    fn place(&self, above: u32, below: u32, column: u32) -> Option<Place> {
        Some(Place { file: Arc::clone(&self.file), line: above.checked_add(below)?, column })
    }
}

fn flat(node: &Node, file: &Arc<str>, above: u32, keys: &mut Vec<Arc<str>>) -> Option<Flat> {
    let below = below(&node.place, file, above)?;
    let line = node.place.line;
    let value = match &node.value {
        Value::String(text) => FlatValue::String(text.clone()),
        Value::Integer(number) => FlatValue::Integer(*number),
        Value::Float(number) => FlatValue::Float(*number),
        Value::Boolean(flag) => FlatValue::Boolean(*flag),
        Value::Datetime(text) => FlatValue::Datetime(text.clone()),
        Value::Array(items) => {
            let items: Option<Vec<Flat>> = items.iter().map(|item| flat(&item, file, line, keys)).collect();
            FlatValue::Array(items?)
        }
        Value::Table(table) => {
            let mut entries = Vec::new();
            for (key, entry) in table.iter() {
                let number = keys.iter().position(|known| known == key).unwrap_or_else(|| {
                    keys.push(Arc::clone(key));
                    keys.len() - 1
                });
                entries.push(FlatEntry {
                    key: u32::try_from(number).ok()?,
                    below: self::below(&entry.key, file, line)?,
                    column: entry.key.column,
                    node: flat(&entry.node, file, entry.key.line, keys)?,
                });
            }
            FlatValue::Table(entries)
        }
    };
    Some(Flat { below, column: node.place.column, value })
}

fn below(place: &Place, file: &Arc<str>, above: u32) -> Option<u32> {
    place.line.checked_sub(above).filter(|_| place.file == *file)
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn items(text: &str) -> Items {
        let root = tree::parse("a.toml", text).unwrap();
        let Value::Table(table) = root.value else { panic!("a table") };
        let Value::Array(items) = &table.get("tag").unwrap().node.value else { panic!("an array") };
        items.clone()
    }

    #[test]
    fn packed_is_as_it_was() {
        let text = "\n[[tag]]\nid = \"a\"\nsku = 7\nnet = 0.5\nled = true\nsince = 2026-01-02\nsizes = [1, [\n\"x\"]]\n[tag.more]\nb = -1\n\n[[tag]]\n\"the id\" = \"ö\"\n";
        let plain = items(text);
        let packed = plain.clone().packed(&"a.toml".into());
        assert!(matches!(packed.pieces.as_slice(), [Piece::Packed(_)]));
        assert_eq!((format!("{packed:?}"), packed.len()), (format!("{plain:?}"), 2));
        assert!(packed.is_tables());
        let mut both = packed.clone();
        both.append(plain.clone());
        assert_eq!(both.iter().count(), 4);
    }

    #[test]
    fn what_cannot_be_packed_stays() {
        let other = items("[[tag]]\nid = 1\n").packed(&"b.toml".into());
        assert!(matches!(other.pieces.as_slice(), [Piece::Plain(_)]), "it stands in another file");
        assert!(!Items::default().is_tables());
    }

    #[test]
    fn one_is_found_whatever_it_is_in() {
        let text: String = (0..50).map(|n| format!("[[tag]]\nid = \"tag-{n}\"\n")).collect();
        let plain = items(&text);
        let mut all = plain.clone().packed(&"a.toml".into());
        all.append(plain.clone());
        all.append(plain.packed(&"a.toml".into()));
        let nodes: Vec<Node> = all.iter().map(Cow::into_owned).collect();
        assert_eq!(nodes.len(), 150);
        for (index, node) in nodes.iter().enumerate() {
            assert_eq!(format!("{:?}", all.get(index).unwrap()), format!("{node:?}"));
            assert_eq!(node.place.line, u32::try_from(index % 50 * 2 + 1).unwrap());
        }
        assert!(all.get(150).is_none());
    }

    #[test]
    fn packed_takes_less_than_a_fifth_of_its_nodes() {
        let text: String = (0..50)
            .map(|n| format!("[[tag]]\nid = \"tag-{n}\"\naddress = \"FF:FF:92:00:00:{n:02X}\"\nsku = {n}\n"))
            .collect();
        let packed = items(&text).packed(&"a.toml".into());
        let [Piece::Packed(packed)] = packed.pieces.as_slice() else { panic!("packed") };
        // Each is a node with three entries, without what their texts take.
        let nodes = 50 * (3 * size_of::<(Arc<str>, Entry)>() + size_of::<Node>());
        assert!(packed.bytes.len() * 5 < nodes, "{} of {nodes}", packed.bytes.len());
    }
}
