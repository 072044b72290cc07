//! Codes as others read them: pictures of whole labels and of single codes, decoded by `zbarimg` (Debian `zbar-tools`); QR codes are
//! compared in size with `qrencode`'s.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use drv_protocol::gicisky::{self, MODELS, Model};
use drv_protocol::gs1::{Elements, Measured, Pattern};
use drv_protocol::unit::Grams;
use drv_render::symbol::{QR_QUIET, code128, ean13, qr};
use drv_render::{Canvas, Ink, Money, Renderer, Template, Values};

const SHELF: &str = include_str!("../../../configs/templates/shelf.toml");
const PROMOTION: &str = include_str!("../../../configs/templates/promotion.toml");

/// What `zbarimg` reads in a picture enlarged to a scanner's resolution, as `SYMBOLOGY:content` lines.
fn scan(width: usize, pixels: &[bool]) -> BTreeSet<String> {
    // Modules of large panels have two pixels and more already.
    let zoom = if width < 300 { 4 } else { 2 };
    let wide = |row: &[bool]| -> Vec<u8> {
        row.iter().flat_map(|dark| std::iter::repeat_n(if *dark { 0 } else { 255 }, zoom)).collect()
    };
    let rows: Vec<u8> = pixels.chunks(width).flat_map(|row| wide(row).repeat(zoom)).collect();
    let mut image = format!("P5 {} {} 255\n", width * zoom, rows.len() / (width * zoom)).into_bytes();
    image.extend(rows);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("label.pgm");
    std::fs::File::create(&file).unwrap().write_all(&image).unwrap();
    let output = Command::new("zbarimg")
        .args(["--quiet", "--nodbus"])
        .arg(&file)
        .stderr(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("zbarimg (apt-get install zbar-tools): {error}"));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn scan_canvas(canvas: &Canvas) -> BTreeSet<String> {
    let dark: Vec<bool> = canvas.pixels().iter().map(|ink| *ink == Ink::Black).collect();
    scan(canvas.width().into(), &dark)
}

fn scan_bars(modules: &[bool]) -> BTreeSet<String> {
    let quiet = [false; 12];
    let row = [&quiet, modules, &quiet].concat();
    scan(row.len(), &row.repeat(40))
}

fn template(text: &str) -> Template {
    let template: Template = toml::from_str(text).unwrap();
    template.check().unwrap();
    template
}

fn values(code: &str, link: &str) -> Values {
    Values {
        name: "五花肉 Pork belly".into(),
        sku: code.into(),
        code: code.into(),
        unit: "/kg".into(),
        currency: "¥".into(),
        link: link.into(),
        old_price: Some(Money { minor: 1_990, decimals: 2 }),
        ..Values::of_price(Money { minor: 1_280, decimals: 2 })
    }
}

#[test]
fn the_codes_of_every_models_label_scan() {
    let link = "https://shop.example/a/690";
    let values = values("6901234567892", link);
    let mut renderer = Renderer::new();
    for text in [SHELF, PROMOTION] {
        let template = template(text);
        for model in MODELS.into_iter().filter(|model| template.fits(model.width, model.height)) {
            let picture = renderer.render(&template, &values, model).unwrap();
            let found = scan_canvas(&picture.canvas);
            assert!(found.contains("EAN-13:6901234567892"), "model {:#x}: {found:?}", model.id);
            let has_qr = model.height >= 300;
            let read = found.contains(&format!("QR-Code:{link}"));
            assert_eq!(read, has_qr, "model {:#x}: {found:?}", model.id);
        }
    }
}

#[test]
fn the_planes_that_a_tag_gets_scan_too() {
    let model = Model::find(0x10B).unwrap();
    let (planes, _) = Renderer::new().planes(&template(PROMOTION), &values("1001", ""), model).unwrap();
    let points = (0..model.height).flat_map(|y| (0..model.width).map(move |x| (x, y)));
    let dark: Vec<bool> = points.map(|(x, y)| planes.ink(x, y) == Some(gicisky::Ink::Black)).collect();
    let found = scan(model.width.into(), &dark);
    assert!(found.contains("CODE-128:1001"), "{found:?}");
}

/// In-store numbers that we make are read by another's scanner and mean the same again.
#[test]
fn minted_numbers_scan_and_read_back() {
    let pattern: Pattern = "02IIIIVWWWWWC".parse().unwrap();
    let portion = Measured { item: 1234, weight: Some(Grams(1_250)), amount: None };
    let code = pattern.mint(&portion).unwrap();
    let found = scan_bars(&ean13(&code).unwrap().modules);
    assert_eq!(found, BTreeSet::from([format!("EAN-13:{code}")]));
    let long: Pattern = "26PPPPPMMMMMWWWWWC".parse().unwrap();
    let portion = Measured { item: 123, weight: Some(Grams(250)), amount: Some(313) };
    let code = long.mint(&portion).unwrap();
    let found = scan_bars(&code128(&code).unwrap().modules);
    assert_eq!(found, BTreeSet::from([format!("CODE-128:{code}")]));
    assert_eq!(long.read(&code), Ok(portion));
}

#[test]
fn code_128_of_every_kind_scans() {
    let long = "9".repeat(47);
    for text in ["A", "12", "123", "AB1234", "1234567", "x12345678y9", "Wt 0.250 kg; {~}", &long] {
        let found = scan_bars(&code128(text).unwrap().modules);
        assert_eq!(found, BTreeSet::from([format!("CODE-128:{text}")]));
    }
    // zbar leaves FNC1 at the start out and gives the separator as ASCII 29.
    let elements = Elements::from_bracketed("(01)96287654321010(3922)313(3103)001250").unwrap();
    let found = scan_bars(&code128(&format!("\u{1D}{}", elements.encode())).unwrap().modules);
    let read = found.first().and_then(|line| line.strip_prefix("CODE-128:")).unwrap_or_default();
    assert_eq!(Elements::read(read), Ok(elements), "{found:?}");
}

#[test]
fn qr_codes_scan_and_are_no_larger_than_qrencodes() {
    let long = "z".repeat(200);
    for text in ["1", "HTTPS://A.EXAMPLE/1", "https://shop.example/a/6901234567892?w=250", "五花肉", &long]
    {
        let modules = qr(text).unwrap();
        let side = modules.width() + 2 * QR_QUIET;
        let points = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        let dark: Vec<bool> = points
            .map(|(x, y)| modules.is_black(x.wrapping_sub(QR_QUIET), y.wrapping_sub(QR_QUIET)))
            .collect();
        assert_eq!(scan(side.into(), &dark), BTreeSet::from([format!("QR-Code:{text}")]));
        let other = Command::new("qrencode")
            .args(["--level", "M", "--margin", "0", "--type", "ASCII", "--8bit", "--output", "-", text])
            .output()
            .unwrap_or_else(|error| panic!("qrencode (apt-get install qrencode): {error}"));
        // In byte mode nobody needs a smaller symbol; ours may choose a shorter mode.
        let lines = String::from_utf8(other.stdout).unwrap().lines().count();
        assert!(lines > 0 && usize::from(modules.width()) <= lines, "{text}");
    }
}
