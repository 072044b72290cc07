//! What a template must satisfy before labels are drawn with it.

use alloc::format;
use alloc::string::String;

use super::{Amount, Edges, Layout, SCHEMA, Template};
use crate::font::{Face, SIZE_MAX, SIZE_MIN};

/// Layouts of a template.
pub(super) const LAYOUTS_MAX: usize = 16;
/// Elements of one kind in a layout.
pub(super) const ELEMENTS_MAX: usize = 48;
/// Panels from this size on.
const SIDE_MIN: u16 = 64;
/// Panels up to this size.
const SIDE_MAX: u16 = 2_000;
const LINES_MAX: u16 = 8;

/// A template that is refused: where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct TemplateError {
    /// The key, as in `layout[0].text[2].box`.
    pub path: String,
    /// What is wrong.
    pub fault: TemplateFault,
}

/// What is wrong with a template; the text says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// Written for other code.
    #[error("schema {SCHEMA}")]
    Schema,
    /// None or too many.
    #[error("1 to {LAYOUTS_MAX} layouts")]
    Layouts,
    /// A size that no panel has.
    #[error("width and height of {SIDE_MIN} to {SIDE_MAX} pixels")]
    Min,
    /// Two layouts for one size.
    #[error("a size that no other layout has")]
    Twice,
    /// Too many elements.
    #[error("at most {ELEMENTS_MAX} elements of a kind")]
    Elements,
    /// A box that is empty or not on the layout's smallest panel.
    #[error("left < right and top < bottom within the layout's smallest panel")]
    Area,
    /// A font size out of range.
    #[error("{SIZE_MIN} to {SIZE_MAX} pixels, min_size not above size; multiples of 16 for font pixel")]
    Size,
    /// A count out of range.
    #[error("1 to {LINES_MAX}")]
    Count,
    /// The price must be seen whatever else a label says.
    #[error("a price with value = \"price\" and no when")]
    NoPrice,
}

impl Template {
    /// Checks everything that reading could not.
    ///
    /// # Errors
    /// The first fault, with the key it concerns.
    pub fn check(&self) -> Result<(), TemplateError> {
        if self.schema != SCHEMA {
            return refuse("schema", TemplateFault::Schema);
        }
        if !(1..=LAYOUTS_MAX).contains(&self.layout.len()) {
            return refuse("layout", TemplateFault::Layouts);
        }
        for (index, layout) in self.layout.iter().enumerate() {
            let path = format!("layout[{index}]");
            if self.layout.iter().take(index).any(|before| before.min == layout.min) {
                return refuse(&format!("{path}.min"), TemplateFault::Twice);
            }
            check_layout(layout, &path)?;
        }
        Ok(())
    }
}

fn refuse(path: &str, fault: TemplateFault) -> Result<(), TemplateError> {
    Err(TemplateError { path: path.into(), fault })
}

fn check_layout(layout: &Layout, path: &str) -> Result<(), TemplateError> {
    if layout.min.iter().any(|side| !(SIDE_MIN..=SIDE_MAX).contains(side)) {
        return refuse(&format!("{path}.min"), TemplateFault::Min);
    }
    let kinds: [(&str, usize, &mut dyn Iterator<Item = Edges>); 6] = [
        ("fill", layout.fill.len(), &mut layout.fill.iter().map(|e| e.area)),
        ("frame", layout.frame.len(), &mut layout.frame.iter().map(|e| e.area)),
        ("barcode", layout.barcode.len(), &mut layout.barcode.iter().map(|e| e.area)),
        ("qr", layout.qr.len(), &mut layout.qr.iter().map(|e| e.area)),
        ("text", layout.text.len(), &mut layout.text.iter().map(|e| e.area)),
        ("price", layout.price.len(), &mut layout.price.iter().map(|e| e.area)),
    ];
    for (kind, count, areas) in kinds {
        if count > ELEMENTS_MAX {
            return refuse(&format!("{path}.{kind}"), TemplateFault::Elements);
        }
        for (index, edges) in areas.enumerate() {
            if !lies_within(edges, layout.min) {
                return refuse(&format!("{path}.{kind}[{index}].box"), TemplateFault::Area);
            }
        }
    }
    check_numbers(layout, path)?;
    let shown = layout.price.iter().any(|price| price.value == Amount::Price && price.when.is_none());
    if shown { Ok(()) } else { refuse(&format!("{path}.price"), TemplateFault::NoPrice) }
}

fn lies_within(edges: Edges, [width, height]: [u16; 2]) -> bool {
    let area = edges.on(width, height);
    let ordered = area.left < area.right && area.top < area.bottom;
    ordered && area.left >= 0 && area.top >= 0 && area.right <= width.into() && area.bottom <= height.into()
}

fn check_numbers(layout: &Layout, path: &str) -> Result<(), TemplateError> {
    for (index, frame) in layout.frame.iter().enumerate() {
        if !(1..=LINES_MAX).contains(&frame.thickness) {
            return refuse(&format!("{path}.frame[{index}].thickness"), TemplateFault::Count);
        }
    }
    for (index, text) in layout.text.iter().enumerate() {
        let least = text.min_size.unwrap_or(text.size);
        if !is_size(text.font, least, text.size) {
            return refuse(&format!("{path}.text[{index}].size"), TemplateFault::Size);
        }
        if !(1..=LINES_MAX).contains(&text.lines) {
            return refuse(&format!("{path}.text[{index}].lines"), TemplateFault::Count);
        }
    }
    for (index, price) in layout.price.iter().enumerate() {
        // Digits of the bitmap font come in whole sizes only, which the search for a fitting one would not hit.
        let outlines = price.font != Face::Pixel;
        if !outlines || !is_size(price.font, price.min_size, price.size.unwrap_or(SIZE_MAX)) {
            return refuse(&format!("{path}.price[{index}].size"), TemplateFault::Size);
        }
    }
    Ok(())
}

fn is_size(font: Face, least: u16, most: u16) -> bool {
    let whole = font != Face::Pixel || (least.is_multiple_of(16) && most.is_multiple_of(16));
    whole && (SIZE_MIN..=SIZE_MAX).contains(&least) && (least..=SIZE_MAX).contains(&most)
}
