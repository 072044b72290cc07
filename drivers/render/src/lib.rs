//! Pictures of shelf tags: a declarative template and an article's values become the exact pixels of a panel.
//!
//! | module | what |
//! |---|---|
//! | [`template`] | the layout as read from TOML, and what it must satisfy |
//! | [`values`] | what a label can say |
//! | [`Renderer`] | draws one with the other |
//! | [`canvas`] | pixels, and the planes of a panel |
//! | [`symbol`] | EAN-13, Code 128, QR |
//! | [`font`], [`text`] | glyphs, lines |
//!
//! Contract
//! * The same template, values and panel give the same pixels on every machine: integers only, sorted collections, fonts linked in.
//! * A price is drawn whole or the label is refused ([`RenderError::Price`]). Everything else that does not fit, is shortened or has
//!   no glyph is a named [`Warning`] beside the picture; a missing glyph is drawn as a box. Nothing is clipped silently.
//! * No IO, no clock, no panic; bounded time and memory: texts are cut at [`values::FIELD_CHARS_MAX`], the glyph cache at
//!   [`font::CACHE_GLYPHS_MAX`].
#![no_std]

extern crate alloc;

pub mod canvas;
mod draw;
pub mod font;
mod price;
pub mod symbol;
pub mod template;
pub mod text;
pub mod values;

pub use canvas::{Canvas, Ink};
pub use draw::{RenderError, Rendered, Renderer, Warning};
pub use template::{Template, TemplateError};
pub use values::{Money, Values};

#[cfg(test)]
mod tests;
