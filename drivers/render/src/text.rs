//! Lines of text: measuring, breaking, shortening.

use alloc::string::String;
use alloc::vec::Vec;

use crate::canvas::{Canvas, Ink};
use crate::font::{Face, Fonts, baseline};

/// Shown in place of what was cut.
pub const ELLIPSIS: char = '…';
/// Characters that may not begin a line.
const CLOSING: &str = "，。、；：！？）】》」』％％,.;:!?)]}%";

/// Width of a text in one line, in pixels.
#[must_use]
pub fn width(fonts: &Fonts, face: Face, size: u16, text: &str) -> i32 {
    text.chars().map(|character| fonts.advance(face, size, character)).sum()
}

/// Texts broken into lines of at most `room` pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The lines.
    pub lines: Vec<String>,
    /// Characters left over when there were more lines than allowed.
    pub left_over: usize,
}

/// Breaks a text at spaces and between Chinese characters, else anywhere, into at most `most` lines. When something is left over, the
/// last line ends with an ellipsis.
#[must_use]
pub fn break_lines(fonts: &Fonts, face: Face, size: u16, text: &str, (room, most): (i32, usize)) -> Broken {
    let characters: Vec<char> = text.chars().collect();
    let (mut lines, mut at, mut start) = (Vec::new(), 0, 0);
    while at < characters.len() && lines.len() < most {
        let rest = characters.get(at..).unwrap_or(&[]);
        let fitting = fitting(fonts, face, size, rest, room);
        let end = if fitting == rest.len() { fitting } else { break_at(rest, fitting) };
        if end == 0 {
            break;
        }
        let line: String = rest.iter().take(end).collect();
        lines.push(String::from(line.trim_end()));
        start = at;
        at += end;
        at += characters.iter().skip(at).take_while(|character| **character == ' ').count();
    }
    if at >= characters.len() || most == 0 {
        return Broken { lines, left_over: characters.len().saturating_sub(at) };
    }
    // The last line is filled as far as it goes, breaks or not, to end with the ellipsis.
    lines.pop();
    let rest = characters.get(start..).unwrap_or(&[]);
    let kept = fitting(fonts, face, size, rest, room - fonts.advance(face, size, ELLIPSIS));
    let mut line: String = rest.iter().take(kept).collect();
    line.truncate(line.trim_end().len());
    line.push(ELLIPSIS);
    lines.push(line);
    Broken { lines, left_over: rest.len() - kept }
}

/// How many characters have room.
fn fitting(fonts: &Fonts, face: Face, size: u16, characters: &[char], room: i32) -> usize {
    let mut used = 0;
    characters
        .iter()
        .take_while(|character| {
            used += fonts.advance(face, size, **character);
            used <= room
        })
        .count()
}

/// Where to break before `fitting` at the latest.
fn break_at(characters: &[char], fitting: usize) -> usize {
    let ideographic = |character: char| u32::from(character) >= 0x2E80;
    let may_break = |at: &usize| {
        let (Some(before), Some(after)) = (characters.get(at - 1), characters.get(*at)) else { return false };
        if CLOSING.contains(*after) {
            return false;
        }
        *before == ' ' || *after == ' ' || ideographic(*before) || ideographic(*after)
    };
    (1..=fitting).rev().find(may_break).unwrap_or(fitting)
}

/// Draws one line with its top left corner at a point. Gives characters that no font has.
pub fn draw(
    canvas: &mut Canvas,
    fonts: &mut Fonts,
    (face, size, ink): (Face, u16, Ink),
    text: &str,
    (left, top): (i32, i32),
) -> Vec<char> {
    let (mut pen, line) = (left, top + baseline(face, size));
    let mut missing = Vec::new();
    for character in text.chars() {
        let glyph = fonts.glyph(face, size, character);
        canvas.stamp(&glyph.bitmap, pen + glyph.left, line - glyph.rise, ink);
        pen += glyph.advance;
        if glyph.missing {
            missing.push(character);
        }
    }
    missing
}
