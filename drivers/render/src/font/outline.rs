//! TrueType outlines filled to black and white with integers alone.
//!
//! Coordinates are 256ths of a pixel. A pixel's coverage is measured on four lines through it, exactly along each line; it is black
//! from 7/16 on, so that thin strokes of small sizes survive. Curves become a fixed number of lines by size. ttf-parser hands out
//! f32, but every coordinate of a TrueType glyph is a whole number of half font units: the conversion is exact.

use alloc::vec;
use alloc::vec::Vec;

pub(super) use ttf_parser::GlyphId;
use ttf_parser::OutlineBuilder;

use crate::canvas::Bitmap;

/// Coordinate units of a pixel.
const ONE: i32 = 256;
/// Lines through a pixel.
const LINES: i32 = 4;
/// Covered units from which a pixel is black, of `ONE * LINES`.
const BLACK_FROM: i32 = ONE * LINES * 7 / 16;

/// A font of outlines.
pub(super) struct Outlines(ttf_parser::Face<'static>);

impl Outlines {
    pub(super) fn open(file: &'static [u8]) -> Option<Self> {
        ttf_parser::Face::parse(file, 0).ok().map(Self)
    }

    pub(super) fn find(&self, character: char) -> Option<GlyphId> {
        self.0.glyph_index(character).filter(|glyph| glyph.0 != 0)
    }

    /// The pen's way at a size, rounded to the nearest pixel.
    pub(super) fn advance(&self, glyph: GlyphId, size: u16) -> i32 {
        let units = i32::from(self.0.glyph_hor_advance(glyph).unwrap_or(0));
        let em = i32::from(self.0.units_per_em()).max(1);
        (units * i32::from(size) + em / 2) / em
    }

    /// The glyph's pixels, its left edge from the pen and its top edge above the baseline.
    pub(super) fn draw(&self, glyph: GlyphId, size: u16) -> (Bitmap, i32, i32) {
        let em = i64::from(self.0.units_per_em()).max(1);
        let mut path = Path { scale: i64::from(size) * i64::from(ONE), em, ..Path::default() };
        path.steps = 3 + i64::from(size) / 24;
        self.0.outline_glyph(glyph, &mut path);
        path.fill()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Point {
    x: i32,
    y: i32,
}

/// Straight edges of a glyph, y downwards from the baseline.
#[derive(Default)]
struct Path {
    scale: i64,
    em: i64,
    steps: i64,
    start: Point,
    at: Point,
    edges: Vec<(Point, Point)>,
}

/// Twice the coordinate, which is a whole number.
#[allow(clippy::cast_possible_truncation, reason = "a whole number of half font units, at most 2^17")]
fn doubled(coordinate: f32) -> i64 {
    (coordinate * 2.0) as i64
}

impl Path {
    fn point(&self, x: f32, y: f32) -> Point {
        let scaled = |coordinate: f32| {
            i32::try_from((doubled(coordinate) * self.scale).div_euclid(2 * self.em)).unwrap_or(0)
        };
        Point { x: scaled(x), y: -scaled(y) }
    }

    fn line(&mut self, to: Point) {
        if to.y != self.at.y {
            self.edges.push((self.at, to));
        }
        self.at = to;
    }

    /// A Bézier curve by its control points, the first being where the pen is.
    fn curve<const N: usize>(&mut self, weights: fn(i64, i64) -> [i64; N], points: [Point; N]) {
        for step in 1..=self.steps {
            let factors = weights(self.steps - step, step);
            let total: i64 = factors.iter().sum();
            let mix = |of: fn(&Point) -> i32| {
                let sum: i64 = factors.iter().zip(&points).map(|(f, p)| f * i64::from(of(p))).sum();
                i32::try_from(sum.div_euclid(total.max(1))).unwrap_or(0)
            };
            let to = Point { x: mix(|p| p.x), y: mix(|p| p.y) };
            self.line(to);
        }
    }

    fn fill(&self) -> (Bitmap, i32, i32) {
        let points = || self.edges.iter().flat_map(|(from, to)| [*from, *to]);
        let ends = (points().map(|p| p.x).min(), points().map(|p| p.x).max());
        let rows = (points().map(|p| p.y).min(), points().map(|p| p.y).max());
        let ((Some(left), Some(right)), (Some(top), Some(bottom))) = (ends, rows) else {
            return (Bitmap::default(), 0, 0);
        };
        let (left, top) = (left.div_euclid(ONE), top.div_euclid(ONE));
        let (right, bottom) = (right.div_euclid(ONE) + 1, bottom.div_euclid(ONE) + 1);
        let size = (u16::try_from(right - left).unwrap_or(0), u16::try_from(bottom - top).unwrap_or(0));
        let mut bitmap = Bitmap::blank(size.0, size.1);
        let mut covered = vec![0_i32; usize::from(size.0)];
        let mut crossings = Vec::new();
        for y in 0..size.1 {
            covered.fill(0);
            for line in 0..LINES {
                let height = (top + i32::from(y)) * ONE + ONE / (2 * LINES) + line * (ONE / LINES);
                self.cross(height, left * ONE, &mut crossings);
                cover(&crossings, &mut covered);
            }
            for (x, _) in (0..size.0).zip(&covered).filter(|(_, units)| **units >= BLACK_FROM) {
                bitmap.blacken(x, y);
            }
        }
        (bitmap, left, -top)
    }

    /// Where edges cross a horizontal line, from the left, each with its direction.
    fn cross(&self, height: i32, left: i32, crossings: &mut Vec<(i32, i32)>) {
        crossings.clear();
        for (from, to) in &self.edges {
            let down = from.y <= height && height < to.y;
            let up = to.y <= height && height < from.y;
            if down || up {
                let (run, rise) = (i64::from(to.x - from.x), i64::from(to.y - from.y));
                let along = (i64::from(height - from.y) * run).div_euclid(rise);
                let x = from.x + i32::try_from(along).unwrap_or(0);
                crossings.push((x - left, if down { 1 } else { -1 }));
            }
        }
        crossings.sort_unstable();
    }
}

/// Adds what lies between crossings with a winding number other than zero.
fn cover(crossings: &[(i32, i32)], covered: &mut [i32]) {
    let mut winding = 0;
    for pair in crossings.windows(2) {
        let [(from, direction), (to, _)] = pair else { continue };
        winding += direction;
        if winding == 0 {
            continue;
        }
        let first = usize::try_from(from / ONE).unwrap_or(0);
        for (pixel, units) in covered.iter_mut().enumerate().skip(first) {
            let edge = i32::try_from(pixel).unwrap_or(0) * ONE;
            if edge >= *to {
                break;
            }
            *units += ((*to).min(edge + ONE) - (*from).max(edge)).max(0);
        }
    }
}

impl OutlineBuilder for Path {
    fn move_to(&mut self, x: f32, y: f32) {
        self.at = self.point(x, y);
        self.start = self.at;
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let to = self.point(x, y);
        self.line(to);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let points = [self.at, self.point(x1, y1), self.point(x, y)];
        self.curve(|a, b| [a * a, 2 * a * b, b * b], points);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let points = [self.at, self.point(x1, y1), self.point(x2, y2), self.point(x, y)];
        self.curve(|a, b| [a * a * a, 3 * a * a * b, 3 * a * b * b, b * b * b], points);
    }

    fn close(&mut self) {
        let start = self.start;
        self.line(start);
    }
}
