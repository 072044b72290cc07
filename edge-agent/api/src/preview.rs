//! A shelf tag's picture before it is sent.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    Preview = "tag-preview";
}

/// Most pixels of a picture: more than any panel has.
const PIXELS_MAX: usize = 4_000_000;

/// `POST /v1/tags/preview`: draws a label and sends it nowhere.
///
/// A tag gives article and model, an article gives name, unit and the price that the tills charge; what is named here besides
/// takes the place of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviewRequest {
    /// A configured tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// An article.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<u64>,
    /// Model number of the panel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<u16>,
    /// Template; otherwise the configured one, or that for promotions when there is an old price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The article's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_minor: Option<i64>,
    /// The price before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_price_minor: Option<i64>,
    /// The price per unit of measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_minor: Option<i64>,
    /// The unit of measure, as in `/500g`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// What the price is for, as in `/kg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A line of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Content of the QR code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Where the article comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The color of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixel {
    /// Paper.
    White,
    /// Black.
    Black,
    /// Red.
    Red,
    /// Yellow.
    Yellow,
}

impl Pixel {
    const LETTERS: [(char, Self); 4] =
        [('w', Self::White), ('k', Self::Black), ('r', Self::Red), ('y', Self::Yellow)];

    fn letter(self) -> char {
        match self {
            Self::White => 'w',
            Self::Black => 'k',
            Self::Red => 'r',
            Self::Yellow => 'y',
        }
    }
}

/// The picture, exactly as its planes have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Model number of the panel.
    pub model: u16,
    /// The template.
    pub template: String,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Row by row, runs of `w`hite, blac`k`, `r`ed and `y`ellow: `12w3k` is 12 white pixels, then 3 black ones.
    pub rows: Vec<String>,
    /// The hash that a tag showing it would confirm, hexadecimal; absent for panels that are not written by this daemon.
    #[serde(default)]
    pub hash: Option<String>,
    /// What was shortened, left out or has no glyph.
    pub warnings: Vec<String>,
}

impl Preview {
    /// One row as runs.
    pub fn row(pixels: &[Pixel]) -> String {
        let runs = pixels.chunk_by(|a, b| a == b);
        runs.filter_map(|run| Some(format!("{}{}", run.len(), run.first()?.letter()))).collect()
    }

    /// All pixels, row by row. The error says what is wrong with the answer.
    pub fn pixels(&self) -> Result<Vec<Pixel>, String> {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        if self.rows.len() != height || width * height > PIXELS_MAX {
            return Err(format!("expected {height} rows, found {}", self.rows.len()));
        }
        let mut pixels = Vec::with_capacity(width * height);
        for (index, row) in self.rows.iter().enumerate() {
            let wrong = || format!("row {index}: expected runs of {width} pixels in all");
            let (mut count, mut left) = (0_usize, width);
            for character in row.chars() {
                if let Some(digit) = character.to_digit(10) {
                    count = count.saturating_mul(10).saturating_add(digit.try_into().unwrap_or(0));
                    continue;
                }
                let (_, pixel) =
                    Pixel::LETTERS.iter().find(|(letter, _)| *letter == character).ok_or_else(wrong)?;
                left = left.checked_sub(count).ok_or_else(wrong)?;
                pixels.extend(std::iter::repeat_n(*pixel, count));
                count = 0;
            }
            if left != 0 || count != 0 {
                return Err(wrong());
            }
        }
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(width: u16, rows: &[&str]) -> Preview {
        Preview {
            model: 11,
            template: "shelf".into(),
            width,
            height: u16::try_from(rows.len()).unwrap(),
            rows: rows.iter().map(|row| (*row).into()).collect(),
            hash: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn runs_become_pixels_and_back() {
        use Pixel::{Black, Red, White, Yellow};
        let pixels = [White, White, Black, Red, Yellow, Yellow];
        assert_eq!(Preview::row(&pixels), "2w1k1r2y");
        assert_eq!(preview(6, &["2w1k1r2y"]).pixels().unwrap(), pixels);
        assert_eq!(preview(0, &[]).pixels().unwrap(), []);
    }

    #[test]
    fn runs_that_are_no_row_are_refused() {
        for row in ["", "5w", "7w", "6x", "6w1", "99999999999999999999999w"] {
            assert_eq!(
                preview(6, &[row]).pixels().unwrap_err(),
                "row 0: expected runs of 6 pixels in all",
                "{row}"
            );
        }
        assert!(Preview { height: 2, ..preview(6, &["6w"]) }.pixels().is_err());
    }
}
