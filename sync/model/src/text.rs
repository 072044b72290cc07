//! Bounded text: no field of a fact can grow without limit, and none carries control characters.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// UTF-8 text of at most `N` bytes without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const N: usize>(String);

/// Why a string is not a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More bytes than the field takes.
    #[error("text has {found} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A control character would corrupt logs and labels.
    #[error("text has a control character at byte {at}")]
    Control {
        /// Byte offset of the first control character.
        at: usize,
    },
}

impl<const N: usize> Text<N> {
    /// Checks and wraps `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > N {
            return Err(TextError::TooLong { found: text.len(), max: N });
        }
        match text.char_indices().find(|(_, c)| c.is_control()) {
            Some((at, _)) => Err(TextError::Control { at }),
            None => Ok(Self(text)),
        }
    }

    /// Like [`Text::new`], but shortens and cleans instead of refusing: for diagnostics, never for identifiers.
    pub fn lossy(text: &str) -> Self {
        let mut out = String::new();
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if out.len() + c.len_utf8() > N {
                break;
            }
            out.push(c);
        }
        Self(out)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> TryFrom<String> for Text<N> {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<const N: usize> From<Text<N>> for String {
    fn from(text: Text<N>) -> Self {
        text.0
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
