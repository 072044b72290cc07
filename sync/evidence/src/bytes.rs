//! Reading and writing of the fixed layouts: big-endian integers, counted rows, nothing optional, nothing left over.

use alloc::vec::Vec;

/// Why bytes do not follow a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The first bytes are not those of the form.
    #[error("not a {0}: the first bytes are others")]
    Magic(&'static str),
    /// The bytes end inside a field.
    #[error("{what} ends inside {field}")]
    Short {
        /// The form.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Bytes after the last field.
    #[error("{what} has {bytes} bytes too many")]
    Trailing {
        /// The form.
        what: &'static str,
        /// Bytes left over.
        bytes: usize,
    },
    /// A field with a value that its range does not hold.
    #[error("{what}: {field} has an impossible value")]
    Value {
        /// The form.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Rows that are not in ascending order, or twice there.
    #[error("{what}: rows of {field} are not in ascending order")]
    Order {
        /// The form.
        what: &'static str,
        /// The rows.
        field: &'static str,
    },
}

/// Takes fields off the front of a slice.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Checks the magic and stands behind it.
    pub(crate) fn new(what: &'static str, magic: &[u8], bytes: &'a [u8]) -> Result<Self, FormError> {
        let rest = bytes.strip_prefix(magic).ok_or(FormError::Magic(what))?;
        Ok(Self { what, rest })
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FormError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(FormError::Short { what: self.what, field })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, FormError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, FormError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, FormError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, FormError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, FormError> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, FormError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// `count` rows in strictly ascending order of their key. Allocates as rows are read, not as `count` claims.
    pub(crate) fn rows<T, K: Ord>(
        &mut self,
        field: &'static str,
        count: u32,
        mut read: impl FnMut(&mut Self) -> Result<T, FormError>,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, FormError> {
        let mut rows: Vec<T> = Vec::new();
        for _ in 0..count {
            let row = read(self)?;
            if rows.last().is_some_and(|before| key(before) >= key(&row)) {
                return Err(FormError::Order { what: self.what, field });
            }
            rows.push(row);
        }
        Ok(rows)
    }

    pub(crate) fn value<T>(&self, field: &'static str, value: Option<T>) -> Result<T, FormError> {
        value.ok_or(FormError::Value { what: self.what, field })
    }

    /// Whatever is left, for a form that follows.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), FormError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FormError::Trailing { what: self.what, bytes: self.rest.len() })
        }
    }
}

/// Number of rows as the layouts count them. Rows are bounded by what made them: a store has fewer than 2^32 of anything.
pub(crate) fn count(rows: usize) -> [u8; 4] {
    u32::try_from(rows).unwrap_or(u32::MAX).to_be_bytes()
}
