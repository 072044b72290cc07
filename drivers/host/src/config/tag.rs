//! What the configuration says of a tag beyond its name: family, packing, panel, keys.

use core::fmt;

use drv_protocol::advert::Address;
use drv_protocol::esl::KeyMaterial;
use drv_protocol::gicisky::{Model, Scan};
use serde::Deserialize;

use super::TagConfig;

/// The protocol a tag speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagFamily {
    /// Gicisky / PICKSMART.
    #[default]
    Gicisky,
    /// Bluetooth SIG Electronic Shelf Label service.
    Esl,
    /// `OpenEPaperLink` firmware.
    Oepl,
}

impl TagFamily {
    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gicisky => "gicisky",
            Self::Esl => "esl",
            Self::Oepl => "oepl",
        }
    }
}

/// How an image is packed for a tag; firmware families differ, and a wrong one leaves the panel unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagEncoding {
    /// As public writers do for what the tag advertises; `lines` for a tag that was not heard.
    Auto,
    /// Planes as they are.
    Raw,
    /// One literal chunk per panel line, header counting the whole stream.
    #[default]
    Lines,
    /// Compressed chunks of 64 bytes, header counting one plane ("compression 2").
    Chunks,
}

/// What the header of a packed stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagHeader {
    /// One plane, unpacked.
    Plane,
    /// What follows it.
    Following,
    /// Everything, itself included.
    Total,
}

/// The order in which a panel's memory runs over the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagScan {
    /// Rows, top to bottom.
    Rows,
    /// Rows, bottom to top.
    RowsUpward,
    /// Columns, left to right.
    Columns,
    /// Columns, right to left.
    ColumnsLeftward,
}

impl From<TagScan> for Scan {
    fn from(scan: TagScan) -> Self {
        match scan {
            TagScan::Rows => Self::Rows,
            TagScan::RowsUpward => Self::RowsUpward,
            TagScan::Columns => Self::Columns,
            TagScan::ColumnsLeftward => Self::ColumnsLeftward,
        }
    }
}

/// Where an ESL label is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EslAddress {
    /// The label's number in its group, 0 to 254.
    pub id: u8,
    /// The group, 0 to 127.
    #[serde(default)]
    pub group: u8,
}

/// The address of a tag as it was configured. [`super::HostConfig::check`] refuses what is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum TagAddress {
    /// An address.
    Is(Address),
    /// Another text.
    Not(Box<String>),
}

impl TagAddress {
    /// The address.
    #[must_use]
    pub fn get(&self) -> Option<Address> {
        match self {
            Self::Is(address) => Some(*address),
            Self::Not(_) => None,
        }
    }
}

impl From<String> for TagAddress {
    fn from(text: String) -> Self {
        Address::parse(&text).map_or_else(|| Self::Not(Box::new(text)), Self::Is)
    }
}

impl fmt::Display for TagAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(address) => address.fmt(f),
            Self::Not(text) => f.write_str(text),
        }
    }
}

/// A key and its vector as 48 hex digits. Its debug text hides it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
// Of one word: thousands of tags have none.
pub struct KeyText(Box<Box<str>>);

impl KeyText {
    /// The key material; `None` for anything but 48 hex digits.
    #[must_use]
    pub fn material(&self) -> Option<KeyMaterial> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let digits: Vec<u32> = self.0.as_bytes().iter().map(digit).collect::<Option<_>>()?;
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        });
        KeyMaterial::parse(&pairs.collect::<Option<Vec<u8>>>()?)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(hidden)")
    }
}

impl TagConfig {
    /// The panel that images are drawn for; `None` for a model that is not in the table, or for an ESL label.
    #[must_use]
    pub fn panel(&self) -> Option<Model> {
        let model = Model::find(self.model).filter(|_| self.family != TagFamily::Esl)?;
        Some(Model { scan: self.scan.map_or(model.scan, Into::into), ..model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_48_hex_digits_and_never_printed() {
        let key = KeyText(Box::new("57A9DA12D12E6E131E20612AD10A6A199e7a00efb17ae746".into()));
        let material = key.material().unwrap();
        assert_eq!((material.key[0], material.iv), (0x57, [0x9E, 0x7A, 0x00, 0xEF, 0xB1, 0x7A, 0xE7, 0x46]));
        assert_eq!(format!("{key:?}"), "KeyText(hidden)");
        for bad in ["", "57A9", &"0".repeat(47), &"0".repeat(49), &"g".repeat(48), &"é".repeat(24)] {
            assert!(KeyText(Box::new(bad.into())).material().is_none(), "{bad}");
        }
    }
}
