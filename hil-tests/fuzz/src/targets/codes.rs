//! Targets of codes that scanners read, answers of label printers, and templates of shelf tags.

use drv_protocol::gs1::{Elements, Pattern, check};
use drv_protocol::label::zpl;
use drv_render::Template;

const PATTERNS: [&str; 4] = ["20PPPPPWWWWWC", "02IIIIVWWWWWC", "02IIIIIVWWWWC", "26PPPPPMMMMMWWWWWC"];

/// A text as every pattern reads it, as element string, with brackets, and as a pattern of its own.
pub(crate) fn gs1(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for pattern in PATTERNS {
        let pattern: Pattern = pattern.parse().unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let Ok(measured) = pattern.read(&text) else { continue };
        assert!(check::is_checked(text.as_bytes()), "a code without its check digit");
        assert_eq!(pattern.mint(&measured).as_deref(), Ok(&*text));
    }
    for read in [Elements::read(&text), Elements::from_bracketed(&text)] {
        let Ok(elements) = read else { continue };
        assert_eq!(Elements::read(&elements.encode()), Ok(elements));
    }
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.to_string(), text);
    }
}

/// devices.md 1.9.
pub(crate) fn gs1_seeds() -> Vec<Vec<u8>> {
    [
        "2001234012508",
        "0212347012503",
        "0212345312506",
        "260012300313002504",
        "(01)96287654321010(3103)001250(3922)313",
        "019628765432101031030012503922313",
        "20PPPPPWWWWWC",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(crate) const GS1_WORDS: &[&[u8]] =
    &[b"(01)", b"(3103)", b"3922", b"\x1D", b"]C1", b"]e0", b"PPPPP", b"WWWWW"];

/// A printer's answer to `~HS`.
pub(crate) fn zpl_status(bytes: &[u8]) {
    std::hint::black_box(zpl::Status::read(bytes).map(zpl::Status::is_ready).is_ok());
}

pub(crate) fn zpl_status_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\x02030,0,0,1245,000,0,0,0,000,0,0,0\x03\r\n\x02000,0,0,0,0,2,4,0,00000000,1,000\x03\r\n\x021234,0\x03\r\n".to_vec(),
    ]
}

/// A template that its check accepts has a layout for the panels that it says it fits.
pub(crate) fn template(bytes: &[u8]) {
    let Ok(template) = toml::from_str::<Template>(&String::from_utf8_lossy(bytes)) else { return };
    if template.check().is_ok() {
        for (width, height) in [(212, 104), (250, 122), (296, 128), (400, 300), (1, 1), (u16::MAX, u16::MAX)]
        {
            assert_eq!(template.fits(width, height), template.layout_for(width, height).is_some());
        }
    }
}

pub(crate) fn template_seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../../../configs/templates/shelf.toml").to_vec(),
        include_bytes!("../../../../configs/templates/promotion.toml").to_vec(),
    ]
}

pub(crate) const TEMPLATE_WORDS: &[&[u8]] =
    &[b"[[layout]]", b"[[layout.text]]", b"size = ", b"schema = 1", b"\"red\""];
