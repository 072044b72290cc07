//! The merged configuration tree: TOML values that remember file, line and column, so that every later complaint can
//! name the place a technician has to look at.
//!
//! Merge rules for drop-ins, in name order: tables merge key by key, arrays of tables append, any other value of the later
//! file replaces the earlier one, and a change of type is an error that names both places.

use super::ConfigError;
use std::collections::BTreeMap;
use std::fmt;
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
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
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

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
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
        matches!(self, Self::Array(items) if !items.is_empty()
            && items.iter().all(|item| matches!(item.value, Self::Table(_))))
    }
}

/// Finds lines and columns in one file's text.
struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(file: &str, text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        Place { file: self.file.clone(), line, column }
    }
}

/// Parses one file into a tree.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ConfigError> {
    let lines = Lines::new(file, text);
    let document = DeTable::parse(text).map_err(|error| ConfigError {
        place: lines.place(error.span().map_or(0, |span| span.start)),
        key: String::new(),
        expected: "TOML".into(),
        found: error.message().replace('\n', ", "),
    })?;
    let place = Place { file: lines.file.clone(), line: 1, column: 1 };
    Ok(Node { place, value: Value::Table(table(&lines, document.get_ref(), "", 0)?) })
}

fn table(lines: &Lines<'_>, source: &DeTable<'_>, path: &str, depth: usize) -> Result<Table, ConfigError> {
    let mut out = Table::new();
    for (key, value) in source {
        let place = lines.place(key.span().start);
        let path = join(path, key.get_ref());
        let node = node(lines, value, &path, depth + 1)?;
        out.insert(key.get_ref().to_string(), Entry { key: place, node });
    }
    Ok(out)
}

fn node(
    lines: &Lines<'_>,
    source: &toml::Spanned<DeValue<'_>>,
    path: &str,
    depth: usize,
) -> Result<Node, ConfigError> {
    let place = lines.place(source.span().start);
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
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| refuse("an integer of 64 bits", format!("`{}`", number.as_str())))?,
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map(Value::Float)
            .map_err(|_| refuse("a floating point number", format!("`{}`", number.as_str())))?,
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(text) => Value::Datetime(text.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| node(lines, item, &format!("{path}[{index}]"), depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(inner) => Value::Table(table(lines, inner, path, depth)?),
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
            for (key, entry) in over {
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
                items.extend(more);
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

/// Walks a key path such as `api.listen` or `cabinet[2].high_mc` as far as it exists.
fn walk<'n>(root: &'n Node, path: &str) -> (&'n Node, bool) {
    let mut at = root;
    for step in path.split('.') {
        let (key, index) = match step.split_once('[') {
            Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Value::Table(table) = &at.value else { return (at, false) };
        let Some(entry) = table.get(key) else { return (at, false) };
        at = &entry.node;
        if let (Some(index), Value::Array(items)) = (index, &at.value) {
            let Some(item) = items.get(index) else { return (at, false) };
            at = item;
        }
    }
    (at, true)
}

/// The place of a key path; the nearest table that exists otherwise.
pub(super) fn find(root: &Node, path: &str) -> Place {
    walk(root, path).0.place.clone()
}

/// What stands at a key path, for the "found" part of a complaint.
pub(super) fn found(root: &Node, path: &str) -> String {
    match walk(root, path) {
        (node, true) => node.value.describe(),
        (_, false) => "nothing".into(),
    }
}
