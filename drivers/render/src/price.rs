//! Prices: large digits, small decimals, a sign before, a unit under the decimals, a stroke through what it was.

use alloc::string::String;

use crate::canvas::Area;
use crate::draw::{RenderError, Sheet, Warning, aligned};
use crate::font::{Face, Fonts, SIZE_MAX, baseline};
use crate::template::{Amount, Decimals, Price};
use crate::text::width;

/// Digits of the outlines are 0.711 em high; rounded up.
fn digit_height(size: u16) -> i32 {
    (i32::from(size) * 73 + 99) / 100
}

/// The texts of a price.
struct Parts {
    prefix: String,
    whole: String,
    /// Between large and small digits.
    point: &'static str,
    fraction: String,
    suffix: String,
}

/// Where the parts are at a size.
struct Measure {
    size: u16,
    dot: u16,
    small: u16,
    unit: u16,
    prefix: i32,
    whole: i32,
    point: i32,
    /// The wider of decimals and suffix.
    column: i32,
    gap: i32,
    /// Below the digits, for descenders of the suffix.
    below: i32,
}

impl Measure {
    fn of(fonts: &Fonts, face: Face, size: u16, parts: &Parts) -> Self {
        let (dot, small) = (size * 3 / 5, (size / 2).max(10));
        let unit = (size / 4).clamp(11, 64);
        let gap = i32::from(size / 24).max(1);
        let of = |size, text: &str| if text.is_empty() { 0 } else { width(fonts, face, size, text) + gap };
        let point = width(fonts, face, dot, parts.point);
        let column = of(small, &parts.fraction).max(of(unit, &parts.suffix));
        let below = if parts.suffix.is_empty() { 0 } else { i32::from(unit / 4) };
        Self {
            size,
            dot,
            small,
            unit,
            prefix: of(small, &parts.prefix),
            whole: of(size, &parts.whole),
            point,
            column,
            gap,
            below,
        }
    }

    fn width(&self) -> i32 {
        self.prefix + self.whole + self.point + self.column - self.gap
    }

    fn height(&self) -> i32 {
        digit_height(self.size) + self.below
    }
}

pub(crate) fn draw_price(
    sheet: &mut Sheet<'_>,
    wanted: &Price,
    area: Area,
    element: &str,
) -> Result<(), RenderError> {
    let amount = match wanted.value {
        Amount::Price => Some(sheet.values.price),
        Amount::OldPrice => sheet.values.old_price,
        Amount::UnitPrice => sheet.values.unit_price,
    };
    let Some(amount) = amount else { return Ok(()) };
    let (whole, fraction) = amount.parts();
    let point = if fraction.is_empty() { "" } else { "." };
    let (whole, point, fraction) = match wanted.decimals {
        Decimals::Small => (whole, point, fraction),
        Decimals::Full => (whole + point + &fraction, "", String::new()),
    };
    let (prefix, suffix) = (sheet.phrase(&wanted.prefix, element), sheet.phrase(&wanted.suffix, element));
    let parts = Parts { prefix, whole, point, fraction, suffix };
    let most = area.height() * 100 / 73;
    let most = u16::try_from(most).unwrap_or(SIZE_MAX).min(wanted.size.unwrap_or(SIZE_MAX)).min(SIZE_MAX);
    let mut sizes = (wanted.min_size..=most).rev();
    let fitting = sizes.find_map(|size| {
        let measure = Measure::of(sheet.fonts, wanted.font, size, &parts);
        (measure.width() <= area.width() && measure.height() <= area.height()).then_some(measure)
    });
    match fitting {
        Some(measure) => {
            place(sheet, wanted, area, &parts, &measure, element);
            Ok(())
        }
        None if wanted.value == Amount::Price => {
            let (width, height) = (area.width(), area.height());
            Err(RenderError::Price {
                element: element.into(),
                price: alloc::format!("{amount}"),
                width,
                height,
            })
        }
        None => {
            sheet.warnings.push(Warning::NoRoom { element: element.into() });
            Ok(())
        }
    }
}

fn place(sheet: &mut Sheet<'_>, wanted: &Price, area: Area, parts: &Parts, measure: &Measure, element: &str) {
    let (face, ink) = (wanted.font, wanted.color.on(sheet.colors));
    let left = aligned(area, wanted.align, measure.width());
    let line = area.bottom - measure.below;
    let top = line - digit_height(measure.size);
    let mut put = |text: &str, size: u16, x: i32, base: i32| {
        if !text.is_empty() {
            sheet.write((face, size, ink), text, (x, base - baseline(face, size)), element);
        }
    };
    put(&parts.prefix, measure.small, left, line);
    put(&parts.whole, measure.size, left + measure.prefix, line);
    let point = left + measure.prefix + measure.whole;
    put(parts.point, measure.dot, point, line);
    let column = point + measure.point;
    put(&parts.fraction, measure.small, column, top + digit_height(measure.small));
    put(&parts.suffix, measure.unit, column, line);
    if let Some(stroke) = &wanted.strike {
        let thickness = (digit_height(measure.size) / 8).max(2);
        let middle = top + digit_height(measure.size) / 2 - thickness / 2;
        let right = left + measure.width();
        let ink = stroke.on(sheet.colors);
        sheet.canvas.fill(Area { left, right, top: middle, bottom: middle + thickness }, ink);
    }
}
