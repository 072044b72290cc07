//! Shelf tags: pictures of labels as PNG files.

use super::{Ended, Session};
use crate::args::PreviewArguments;
use crate::exit::Exit;
use crate::screen::complain;
use edge_api::{Pixel, Preview, PreviewRequest};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// The colors of a panel as seen, by [`index`].
const PALETTE: [[u8; 3]; 4] = [[255, 255, 255], [0, 0, 0], [200, 20, 30], [250, 205, 0]];

impl Session {
    pub(super) async fn preview(&self, arguments: &PreviewArguments) -> Ended {
        let reply = self.client.post("/v1/tags/preview", &request(arguments), None).await?;
        let preview: Preview = reply.parse()?;
        let out = &arguments.out;
        let written = preview.pixels().and_then(|pixels| {
            write_png(out, &preview, &pixels, u32::from(arguments.zoom)).map_err(|e| e.to_string())
        });
        if let Err(reason) = written {
            complain(&format!("{}: {reason}", out.display()));
            return Ok(Exit::Error);
        }
        match self.json {
            true => self.line(&reply.text)?,
            false => self.screen.put(&said(&preview, out))?,
        }
        Ok(if preview.warnings.is_empty() { Exit::Ok } else { Exit::Degraded })
    }
}

fn request(arguments: &PreviewArguments) -> PreviewRequest {
    let PreviewArguments { tag, article, model, template, name, price, was, unit_price, .. } =
        arguments.clone();
    PreviewRequest {
        tag,
        sku: article,
        model,
        template,
        name,
        price_minor: price,
        old_price_minor: was,
        unit_price_minor: unit_price,
        measure: arguments.measure.clone(),
        unit: arguments.unit.clone(),
        note: arguments.note.clone(),
        link: arguments.link.clone(),
        origin: arguments.origin.clone(),
    }
}

fn said(preview: &Preview, out: &Path) -> String {
    let Preview { model, template, width, height, warnings, .. } = preview;
    let mut text = format!("{}: {width}x{height}, model {model:#x}, template {template}\n", out.display());
    for warning in warnings {
        text.push_str(&format!("warning: {}\n", crate::table::clean(warning)));
    }
    text
}

fn index(pixel: Pixel) -> u8 {
    match pixel {
        Pixel::White => 0,
        Pixel::Black => 1,
        Pixel::Red => 2,
        Pixel::Yellow => 3,
    }
}

/// Every pixel a square of `zoom`, four colors at two bits.
fn write_png(out: &Path, preview: &Preview, pixels: &[Pixel], zoom: u32) -> Result<(), png::EncodingError> {
    let file = BufWriter::new(File::create(out)?);
    let mut encoder =
        png::Encoder::new(file, u32::from(preview.width) * zoom, u32::from(preview.height) * zoom);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Two);
    encoder.set_palette(PALETTE.concat());
    let mut image = Vec::new();
    for row in pixels.chunks(usize::from(preview.width).max(1)) {
        let wide = row.iter().flat_map(|pixel| (0..zoom).map(|_| index(*pixel)));
        let wide: Vec<u8> = wide.collect();
        let packed = wide
            .chunks(4)
            .map(|four| (0..4).fold(0, |byte, place| byte << 2 | four.get(place).copied().unwrap_or(0)));
        let packed: Vec<u8> = packed.collect();
        (0..zoom).for_each(|_| image.extend_from_slice(&packed));
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image)?;
    writer.finish()
}
