//! The merged configuration tree: TOML values that remember file, line and column, so that every later complaint can
//! name the place a technician has to look at.
//!
//! Merge rules for drop-ins, in name order: tables merge key by key, arrays of tables append, any other value of the later
//! file replaces the earlier one, and a change of type is an error that names both places.
//!
//! Memory: a store has thousands of `[[tag]]` tables, and this tree would be what a start of the daemon needs most memory for. So
//! keys are shared, tables are sorted lists, a long file is handed to the TOML parser in parts ([`in_parts`]), and the tables of
//! a part are packed ([`Items`]).

use super::ConfigError;
use super::items::Items;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Tables nested deeper than this are refused: no key of ours is deeper, and recursion stays bounded.
const DEPTH_MAX: usize = 16;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A key with its place and value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// Entries in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<(Arc<str>, Entry)>);

impl Table {
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.place(key).ok().and_then(|at| self.0.get(at)).map(|(_, entry)| entry)
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        let at = self.place(key).ok()?;
        self.0.get_mut(at).map(|(_, entry)| entry)
    }

    fn insert(&mut self, key: Arc<str>, entry: Entry) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = entry,
            Err(at) => self.0.insert(at, (key, entry)),
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, (Arc<str>, Entry)> {
        self.0.iter()
    }
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(Box<str>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Box<str>),
    Array(Items),
    Table(Table),
}

impl Value {
    /// What a reader would call it, with the value where it is short.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::String(text) if text.len() <= 60 => format!("string \"{}\"", text.escape_debug()),
            Self::String(text) => format!("string of {} bytes", text.len()),
            Self::Integer(number) => format!("integer `{number}`"),
            Self::Float(number) => format!("floating point `{number}`"),
            Self::Boolean(flag) => format!("boolean `{flag}`"),
            Self::Datetime(text) => format!("date-time `{text}`"),
            Self::Array(items) => format!("array of {}", items.len()),
            Self::Table(_) => "table".into(),
        }
    }

    fn is_table_array(&self) -> bool {
        matches!(self, Self::Array(items) if items.is_tables())
    }
}

/// Finds lines and columns in one file's text.
struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
    /// Keys seen: most are those of thousands of tables alike.
    keys: RefCell<BTreeSet<Arc<str>>>,
}

impl<'t> Lines<'t> {
    fn new(file: &str, text: &'t str) -> Self {
        let mut starts = Vec::with_capacity(text.matches('\n').count() + 1);
        starts.extend(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)));
        Self { file: file.into(), text, starts, keys: RefCell::default() }
    }

    fn key(&self, key: &str) -> Arc<str> {
        let mut keys = self.keys.borrow_mut();
        if let Some(known) = keys.get(key) {
            return Arc::clone(known);
        }
        let new: Arc<str> = key.into();
        keys.insert(Arc::clone(&new));
        new
    }

    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: number(line), column: number(column) }
    }

    /// The text of a line.
    fn line(&self, line: u32) -> &'t str {
        let start = usize::try_from(line).ok().and_then(|line| self.starts.get(line.checked_sub(1)?));
        start
            .and_then(|start| self.text.get(*start..))
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default()
    }
}

/// Parses one file into a tree.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ConfigError> {
    let lines = Lines::new(file, text);
    let place = Place { file: lines.file.clone(), line: 1, column: 1 };
    let table = match in_parts(&lines) {
        Some(table) => table,
        None => part(&lines, 0..text.len())?,
    };
    Ok(Node { place, value: Value::Table(table) })
}

/// A part is at least so long, if the file has so much.
const PART_BYTES: usize = 16 * 1024;

/// A long file, cut before lines like `[[tag]]` and parsed in parts, because the parser takes about fifty times the memory of what
/// it parses at once.
///
/// `None`: the file is short, or the parts do not fit together by themselves; then the file has to be parsed as a whole, which
/// also gives the error. The parts mean what the whole means when each is TOML and nothing stands in two of them but arrays
/// of tables: a cut inside a text or an array leaves a part that is no TOML (texts of several lines are not cut at all), and a
/// table header that meant an element of an earlier part is a plain table in its own, which is something in two parts.
fn in_parts(lines: &Lines<'_>) -> Option<Table> {
    if lines.text.len() < 2 * PART_BYTES || lines.text.contains("\"\"\"") || lines.text.contains("'''") {
        return None;
    }
    let mut table = Table::default();
    let mut start = 0;
    while start < lines.text.len() {
        let end = cut(lines, start);
        for (key, mut entry) in part(lines, start..end).ok()?.0 {
            if let Value::Array(items) = &mut entry.node.value {
                *items = std::mem::take(items).packed(&lines.file);
            }
            let Some(known) = table.get_mut(&key) else {
                table.insert(key, entry);
                continue;
            };
            let by_header = |entry: &Entry| lines.line(entry.key.line).trim_start().starts_with("[[");
            if !by_header(known) || !by_header(&entry) {
                return None;
            }
            match (&mut known.node.value, entry.node.value) {
                (Value::Array(items), Value::Array(more)) => items.append(more),
                _ => return None,
            }
        }
        start = end;
    }
    Some(table)
}

/// Where a part that begins at `start` ends.
fn cut(lines: &Lines<'_>, start: usize) -> usize {
    let first = lines.starts.partition_point(|at| *at < start.saturating_add(PART_BYTES));
    let plain = |line: &str| {
        let name = line.strip_prefix("[[").and_then(|rest| rest.split_once("]]")).map(|(name, _)| name);
        let bare =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        name.is_some_and(|name| !name.is_empty() && bare(name))
    };
    let cuts = lines.starts.iter().skip(first).copied();
    let mut cuts =
        cuts.filter(|at| lines.text.get(*at..).is_some_and(|rest| plain(rest.lines().next().unwrap_or(""))));
    cuts.next().unwrap_or(lines.text.len())
}

fn part(lines: &Lines<'_>, range: Range<usize>) -> Result<Table, ConfigError> {
    let base = range.start;
    let text = lines.text.get(range).unwrap_or_default();
    let document = DeTable::parse(text).map_err(|error| ConfigError {
        place: lines.place(base + error.span().map_or(0, |span| span.start)),
        key: String::new(),
        expected: "TOML".into(),
        found: error.message().replace('\n', ", "),
    })?;
    table(lines, base, document.get_ref(), "", 0)
}

fn table(
    lines: &Lines<'_>,
    base: usize,
    source: &DeTable<'_>,
    path: &str,
    depth: usize,
) -> Result<Table, ConfigError> {
    let mut out = Table(Vec::with_capacity(source.len()));
    for (key, value) in source {
        let place = lines.place(base + key.span().start);
        let path = join(path, key.get_ref());
        let node = node(lines, base, value, &path, depth + 1)?;
        out.insert(lines.key(key.get_ref()), Entry { key: place, node });
    }
    Ok(out)
}

fn node(
    lines: &Lines<'_>,
    base: usize,
    source: &toml::Spanned<DeValue<'_>>,
    path: &str,
    depth: usize,
) -> Result<Node, ConfigError> {
    let place = lines.place(base + source.span().start);
    let refuse = |expected: &str, found: String| ConfigError {
        place: place.clone(),
        key: path.into(),
        expected: expected.into(),
        found,
    };
    if depth > DEPTH_MAX {
        return Err(refuse("at most 16 levels of tables", "a deeper one".into()));
    }
    let value = match source.get_ref() {
        DeValue::String(text) => Value::String(text.as_ref().into()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| refuse("an integer of 64 bits", format!("`{}`", number.as_str())))?,
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map(Value::Float)
            .map_err(|_| refuse("a floating point number", format!("`{}`", number.as_str())))?,
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(text) => Value::Datetime(text.to_string().into()),
        DeValue::Array(items) => {
            let node = |(index, item)| node(lines, base, item, &format!("{path}[{index}]"), depth + 1);
            Value::Array(items.iter().enumerate().map(node).collect::<Result<Vec<_>, _>>()?.into())
        }
        DeValue::Table(inner) => Value::Table(table(lines, base, inner, path, depth)?),
    };
    Ok(Node { place, value })
}

/// `outer.inner`, or `inner` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// Lays `over` onto `base`.
pub(super) fn merge(base: &mut Node, over: Node, path: &str) -> Result<(), ConfigError> {
    match (&mut base.value, over.value) {
        (Value::Table(base), Value::Table(over)) => {
            for (key, entry) in over.0 {
                match base.get_mut(&key) {
                    Some(existing) => merge(&mut existing.node, entry.node, &join(path, &key))?,
                    None => {
                        base.insert(key, entry);
                    }
                }
            }
        }
        (base_value, over_value) if base_value.is_table_array() && over_value.is_table_array() => {
            if let (Value::Array(items), Value::Array(more)) = (base_value, over_value) {
                items.append(more);
            }
        }
        (base_value, over_value) => {
            if std::mem::discriminant(base_value) != std::mem::discriminant(&over_value) {
                return Err(ConfigError {
                    place: over.place,
                    key: path.into(),
                    expected: format!("the same type as at {}: {}", base.place, base_value.describe()),
                    found: over_value.describe(),
                });
            }
            *base_value = over_value;
            base.place = over.place;
        }
    }
    Ok(())
}

/// Walks a key path such as `api.listen` or `cabinet[2].high_mc` as far as it exists; whether that is the whole path.
fn walk<'n>(root: &'n Node, path: &str) -> (Cow<'n, Node>, bool) {
    let mut at = Cow::Borrowed(root);
    for step in path.split('.') {
        let (key, index) = match step.split_once('[') {
            Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        // What is in a packed array has to be taken out of it to be looked at.
        let below = match &at {
            Cow::Borrowed(node) => node.below(key).map(Cow::Borrowed),
            Cow::Owned(node) => node.below(key).cloned().map(Cow::Owned),
        };
        let Some(below) = below else { return (at, false) };
        at = below;
        let Some(index) = index else { continue };
        let item = match &at {
            Cow::Borrowed(Node { value: Value::Array(items), .. }) => items.get(index),
            Cow::Owned(Node { value: Value::Array(items), .. }) => {
                items.get(index).map(|item| Cow::Owned(item.into_owned()))
            }
            _ => continue,
        };
        let Some(item) = item else { return (at, false) };
        at = item;
    }
    (at, true)
}

impl Node {
    fn below(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(table) => table.get(key).map(|entry| &entry.node),
            _ => None,
        }
    }
}

/// The place of a key path; the nearest table that exists otherwise.
pub(super) fn find(root: &Node, path: &str) -> Place {
    walk(root, path).0.place.clone()
}

/// What stands at a key path, for the "found" part of a complaint.
pub(super) fn found(root: &Node, path: &str) -> String {
    look(root, path).1
}

/// [`find`] and [`found`] in one.
pub(super) fn look(root: &Node, path: &str) -> (Place, String) {
    let (node, whole) = walk(root, path);
    let there = if whole { node.value.describe() } else { "nothing".into() };
    (node.place.clone(), there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: u32) -> String {
        (0..count).map(|number| format!("[[tag]]\nid = \"tag-{number}\"\nsku = {number}\n\n")).collect()
    }

    /// What a tree says, with every place.
    fn shown(parsed: &Result<Node, ConfigError>) -> String {
        format!("{parsed:?}")
    }

    fn whole(text: &str) -> Result<Node, ConfigError> {
        let lines = Lines::new("a.toml", text);
        let place = Place { file: "a.toml".into(), line: 1, column: 1 };
        part(&lines, 0..text.len()).map(|table| Node { place, value: Value::Table(table) })
    }

    #[test]
    fn a_long_file_means_the_same_in_parts() {
        let text = format!("[store]\nid = 1\n\n{}[[bus]]\nid = \"b\"\n{}", tags(900), tags(900));
        let lines = Lines::new("a.toml", &text);
        assert!(in_parts(&lines).is_some(), "it is long enough to be cut");
        assert_eq!(shown(&parse("a.toml", &text)), shown(&whole(&text)));
        assert_eq!(find(&parse("a.toml", &text).unwrap(), "tag[1799].sku").line, 7_204);
    }

    #[test]
    fn what_only_the_whole_can_tell_is_told_by_the_whole() {
        let many = tags(2_000);
        for text in [
            format!("tag = [{{ id = \"x\" }}]\n{many}"),
            format!("{many}[tag.more]\na = 1\n"),
            format!("[store]\na = 1\n{many}[[x]]\nb = 1\n[store]\na = 2\n"),
            format!("{many}[store]\na = [\n[[1]],\n[[2]],\n]\n"),
            format!("{many}[[tag]]\nid = \n"),
            format!("a = \"\"\"\n[[b]]\n{many}\"\"\"\n"),
            format!("[a]\nb = [\n{}1]\n", "[[tag]],\n".repeat(4_000)),
        ] {
            assert_eq!(shown(&parse("a.toml", &text)), shown(&whole(&text)), "{text:.40}");
        }
    }
}
