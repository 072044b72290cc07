//! Serde deserializer over the merged tree. Each error carries the place and key path of the innermost value it concerns,
//! in the form "expected X, found Y".

use super::ConfigError;
use super::items;
use super::tree::{Entry, Node, Place, Value, join};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use std::fmt;
use std::sync::Arc;

/// Reads `T` from the tree.
pub(super) fn read<T: de::DeserializeOwned>(root: &Node) -> Result<T, ConfigError> {
    T::deserialize(At { node: root, path: String::new() }).map_err(|error| error.resolve(root))
}

/// A complaint that may not know its place yet. Boxed: it travels through every return of the deserializer.
#[derive(Debug)]
struct Complaint(Box<Parts>);

#[derive(Debug)]
struct Parts {
    expected: String,
    found: Option<String>,
    place: Option<Place>,
    key: String,
    /// A key below the place, for missing fields.
    below: Option<String>,
}

impl Complaint {
    fn new(expected: String, found: Option<String>) -> Self {
        Self(Box::new(Parts { expected, found, place: None, key: String::new(), below: None }))
    }

    /// Fills in the place unless a deeper value did.
    fn at(mut self, place: &Place, path: &str, found: impl FnOnce() -> String) -> Self {
        let parts = self.0.as_mut();
        if parts.place.is_none() {
            parts.place = Some(place.clone());
            parts.key = match parts.below.take() {
                Some(field) => join(path, &field),
                None => path.into(),
            };
            parts.found.get_or_insert_with(found);
        }
        self
    }

    fn resolve(self, root: &Node) -> ConfigError {
        let located = *self.at(&root.place, "", || root.value.describe()).0;
        ConfigError {
            place: located.place.unwrap_or_else(|| root.place.clone()),
            key: located.key,
            expected: located.expected,
            found: located.found.unwrap_or_default(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0.expected)?;
        match &self.0.found {
            Some(found) => write!(f, ", found {found}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Complaint {}

impl de::Error for Complaint {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(expected.to_string(), Some(found.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(expected.to_string(), Some(found.to_string()))
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Self::new(expected.to_string(), Some(found.to_string()))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(one_of(expected), Some(format!("\"{variant}\"")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut complaint = Self::new(one_of(expected), Some(format!("unknown key `{field}`")));
        complaint.0.below = Some(field.into());
        complaint
    }

    fn missing_field(field: &'static str) -> Self {
        let mut complaint = Self::new("a value".into(), Some("nothing".into()));
        complaint.0.below = Some(field.into());
        complaint
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "no key at all".into(),
        [only] => format!("`{only}`"),
        _ => {
            format!("one of {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A node being read.
struct At<'n> {
    node: &'n Node,
    path: String,
}

impl At<'_> {
    fn locate<T>(&self, result: Result<T, Complaint>) -> Result<T, Complaint> {
        result.map_err(|error| error.at(&self.node.place, &self.path, || self.node.value.describe()))
    }
}

impl<'de> de::Deserializer<'de> for At<'_> {
    type Error = Complaint;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        let result = match &self.node.value {
            Value::String(text) | Value::Datetime(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter(),
                path: &self.path,
                index: 0,
                count: items.len(),
            }),
            Value::Table(table) => {
                visitor.visit_map(Entries { entries: table.iter(), path: &self.path, value: None })
            }
        };
        self.locate(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        let (place, path) = (self.node.place.clone(), self.path.clone());
        let described = self.node.value.describe();
        visitor.visit_newtype_struct(self).map_err(|error: Complaint| error.at(&place, &path, || described))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        let result = match &self.node.value {
            Value::String(text) => {
                let plain: StrDeserializer<'_, Complaint> = text.as_ref().into_deserializer();
                plain.deserialize_enum(name, variants, visitor)
            }
            other => Err(Complaint::new(one_of(variants), Some(other.describe()))),
        };
        self.locate(result)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'n> {
    items: items::Iter<'n>,
    path: &'n str,
    index: usize,
    count: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Complaint;

    fn size_hint(&self) -> Option<usize> {
        self.count.checked_sub(self.index)
    }

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Complaint> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.index);
        self.index += 1;
        let (place, described) = (node.place.clone(), node.value.describe());
        let located = path.clone();
        seed.deserialize(At { node: &node, path })
            .map(Some)
            .map_err(|error| error.at(&place, &located, || described))
    }
}

struct Entries<'n> {
    entries: std::slice::Iter<'n, (Arc<str>, Entry)>,
    path: &'n str,
    value: Option<(&'n str, &'n Entry)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Complaint;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Complaint> {
        let Some((key, entry)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, entry));
        let plain: StrDeserializer<'_, Complaint> = key.as_ref().into_deserializer();
        seed.deserialize(plain).map(Some).map_err(|mut error| {
            // An unknown key is reported at the key itself, under its own path.
            error.0.below = None;
            error.at(&entry.key, &join(self.path, key), || format!("`{key}`"))
        })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Complaint> {
        let Some((key, entry)) = self.value.take() else {
            return Err(Complaint::new("a key before its value".into(), None));
        };
        let path = join(self.path, key);
        let described = entry.node.value.describe();
        seed.deserialize(At { node: &entry.node, path: path.clone() })
            .map_err(|error| error.at(&entry.node.place, &path, || described))
    }
}
