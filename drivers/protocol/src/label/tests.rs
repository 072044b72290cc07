//! Published vectors, whole labels, and texts that try to be commands.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::escpos::{Paper, StatusError};
use super::*;

fn text(content: &str) -> Caption {
    Caption::Text(content.into())
}

fn bun() -> PortionLabel {
    PortionLabel {
        media: Media { width_mm: 40, height_mm: 30, gap_mm: 2 },
        name: text("Pork bun"),
        unit_price: text("12.52/kg"),
        weight: text("0.250 kg"),
        total: text("3.13"),
        packed: text("2026-11-28"),
        best_before: text("2026-12-01"),
        code: Code::Ean13("2001234012508".into()),
        copies: 1,
    }
}

fn placed(code: &Code) -> PlacedCode<'_> {
    PlacedCode { x: 20, y: 100, height: 60, module: 2, code }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// devices.md 1.10: the bar code commands of all three languages. Its TSPL and ZPL lines carry the twelve digits 200123401250
/// and leave the check digit to the printer; its ESC/POS line carries all thirteen.
#[test]
fn published_bar_codes() {
    let code = Code::Ean13("2001234012508".into());
    let tspl = tspl::barcode(&placed(&code)).unwrap();
    assert_eq!(tspl, "BARCODE 20,100,\"EAN13\",60,1,0,2,2,\"200123401250\"");
    assert_eq!(zpl::barcode(&placed(&code)), "^FO20,100^BY2^BEN,60,Y,N^FD200123401250^FS");
    let escpos = escpos::barcode(&placed(&code)).unwrap();
    assert_eq!(escpos[..6], [0x1D, 0x68, 60, 0x1D, 0x77, 2]);
    assert_eq!(escpos[6..10], [0x1D, 0x6B, 0x43, 0x0D]);
    assert_eq!(escpos[10..], *b"2001234012508");
}

/// devices.md 1.10: `SIZE … GAP … CLS … PRINT`, each line ended by CR LF.
#[test]
fn a_whole_label_in_tspl() {
    let stream = lossy(&tspl::encode(&bun()).unwrap());
    assert_eq!(
        stream,
        "\r\nSIZE 40 mm,30 mm\r\nGAP 2 mm,0\r\nCLS\r\n\
         TEXT 16,8,\"3\",0,1,1,\"Pork bun\"\r\n\
         TEXT 16,38,\"3\",0,1,1,\"12.52/kg\"\r\n\
         TEXT 144,38,\"3\",0,1,1,\"0.250 kg\"\r\n\
         TEXT 16,68,\"2\",0,1,1,\"2026-11-28\"\r\n\
         TEXT 16,98,\"2\",0,1,1,\"2026-12-01\"\r\n\
         TEXT 144,68,\"3\",0,2,2,\"3.13\"\r\n\
         BARCODE 16,150,\"EAN13\",60,1,0,2,2,\"200123401250\"\r\n\
         PRINT 1\r\n"
    );
}

#[test]
fn a_whole_label_in_zpl() {
    let mut label = bun();
    label.name = Caption::Picture(Picture { width: 9, height: 2, rows: vec![0xFF, 0x80, 0x01, 0x00] });
    let stream = lossy(&zpl::encode(&label).unwrap());
    assert_eq!(
        stream,
        "^XZ^XA^CI28^PW320^LL240^LH0,0\
         ^FO16,8^GFA,4,4,2,FF800100^FS\
         ^FO16,38^A0N,24,16^FH_^FD12.52/kg^FS\
         ^FO144,38^A0N,24,16^FH_^FD0.250 kg^FS\
         ^FO16,68^A0N,20,12^FH_^FD2026-11-28^FS\
         ^FO16,98^A0N,20,12^FH_^FD2026-12-01^FS\
         ^FO144,68^A0N,48,32^FH_^FD3.13^FS\
         ^FO16,150^BY2^BEN,60,Y,N^FD200123401250^FS^PQ1^XZ"
    );
}

#[test]
fn a_whole_label_in_escpos() {
    let mut label = bun();
    label.name = Caption::Picture(Picture { width: 9, height: 2, rows: vec![0xFF, 0x80, 0x01, 0x00] });
    label.copies = 2;
    let stream = escpos::encode(&label).unwrap();
    let (one, two) = stream.split_at(stream.len() / 2);
    assert_eq!(one, two);
    let head = [0x1B, 0x40, 0x1D, 0x76, 0x30, 0, 2, 0, 2, 0, 0xFF, 0x80, 0x01, 0x00, 0x1D, 0x21, 0];
    assert_eq!(one[..17], head);
    let total = one.windows(8).any(|bytes| bytes == b"\x1D\x21\x113.13\n");
    assert!(total, "the total is twice as large");
    assert!(one.ends_with(b"\x1Dk\x43\x0D2001234012508\n\n"));
}

/// As one public program sends a TSPL `BITMAP`: a bit of 0 is a black dot; columns that fill up a byte are white.
#[test]
fn tspl_pictures_are_inverted() {
    let mut label = bun();
    label.name = Caption::Picture(Picture { width: 9, height: 2, rows: vec![0xF0, 0xFF, 0x01, 0x00] });
    let stream = tspl::encode(&label).unwrap();
    let command = b"BITMAP 16,8,2,2,0,\x0F\x7F\xFE\xFF\r\n";
    assert!(stream.windows(command.len()).any(|bytes| bytes == command));
}

#[test]
fn gs1_128_and_code_128_in_every_language() {
    let gs1 = Code::Gs1(Elements::from_bracketed("(01)96287654321010(3922)313(3103)001250").unwrap());
    assert_eq!(
        zpl::barcode(&placed(&gs1)),
        "^FO20,100^BY2^BCN,60,Y,N,N^FH_^FD>:>801962876543210103922313>83103001250^FS"
    );
    let escpos = escpos::barcode(&placed(&gs1)).unwrap();
    assert!(lossy(&escpos).ends_with("{B{101962876543210103922313{13103001250"));
    assert_eq!(usize::from(escpos[9]), escpos.len() - 10);
    assert!(matches!(tspl::barcode(&placed(&gs1)), Err(LabelError::Code { .. })));
    let last = Code::Gs1(Elements::from_bracketed("(01)96287654321010(3103)001250(3922)313").unwrap());
    let command = tspl::barcode(&placed(&last)).unwrap();
    assert_eq!(command, "BARCODE 20,100,\"EAN128\",60,1,0,2,2,\"019628765432101031030012503922313\"");
    let odd = Code::Code128("a>b{c\"^d_".into());
    assert_eq!(zpl::barcode(&placed(&odd)), "^FO20,100^BY2^BCN,60,Y,N,N^FH_^FD>:a>0b{c\"_5Ed_5F^FS");
    assert!(lossy(&escpos::barcode(&placed(&odd)).unwrap()).ends_with("{Ba>b{{c\"^d_"));
    assert!(tspl::barcode(&placed(&odd)).unwrap().ends_with("\"a>b{c\\[\"]^d_\""));
}

#[test]
fn what_does_not_fit_or_is_no_text_is_refused() {
    let refused = |change: fn(&mut PortionLabel)| {
        let mut label = bun();
        change(&mut label);
        let errors =
            [tspl::encode(&label), zpl::encode(&label), escpos::encode(&label)].map(Result::unwrap_err);
        assert_eq!(errors[0], errors[1]);
        assert_eq!(errors[0], errors[2]);
        errors[0].to_string()
    };
    assert!(
        refused(|label| label.name = text("包子")).starts_with("name: expected printable ASCII or a picture")
    );
    assert!(refused(|label| label.name = text("x\r\nPRINT 9")).starts_with("name: expected printable"));
    assert_eq!(
        refused(|label| label.name = text("a name that is too long")),
        "name: 368 dots wide or high, room for 288"
    );
    assert_eq!(refused(|label| label.total = text("123.45")), "total: 192 dots wide or high, room for 160");
    let picture = |width, height, bytes| Caption::Picture(Picture { width, height, rows: vec![0; bytes] });
    let mut label = bun();
    label.name = picture(16, 2, 3);
    assert_eq!(tspl::encode(&label), Err(LabelError::Picture { field: "name", found: 3, expected: 4 }));
    label.name = picture(8, 31, 31);
    assert_eq!(tspl::encode(&label), Err(LabelError::Room { field: "name", found: 31, room: 30 }));
    assert!(
        refused(|label| label.code = Code::Ean13("2001234012509".into()))
            .starts_with("code: expected 13 digits")
    );
    assert!(refused(|label| label.code = Code::Code128("包".into())).starts_with("code: expected 1 to 48"));
    assert!(refused(|label| label.code = Code::Code128("x".repeat(40))).starts_with("code: "));
    assert_eq!(refused(|label| label.copies = 0), "copies: expected 1 to 999, found 0");
    assert_eq!(refused(|label| label.media.width_mm = 39), "width: expected 40 to 120 mm, found 39");
}

/// Gprinter GP-2120T manual, `<ESC>!?`: the table of bits.
#[test]
fn tspl_status_bits() {
    assert!(tspl::Status::of(0x00).is_ready() && tspl::Status::of(0x20).is_ready());
    let table =
        [(0x01, "head"), (0x02, "jam"), (0x04, "paper"), (0x08, "ribbon"), (0x10, "pause"), (0x80, "other")];
    for (byte, what) in table {
        assert!(!tspl::Status::of(byte).is_ready(), "{what}");
    }
    let both = tspl::Status::of(0x05);
    assert!(both.paper_out && both.head_open && !both.jam);
    assert_eq!(tspl::STATUS_QUERY, [0x1B, b'!', b'?']);
}

/// Zebra ZPL II programming guide, `~HS`: the order of the fields.
#[test]
fn zpl_status_lines() {
    let fine = "\u{2}030,0,0,1245,000,0,0,0,000,0,0,0\u{3}\r\n\u{2}000,0,0,0,0,2,4,0,00000000,1,000\u{3}\r\n\u{2}1234,0\u{3}\r\n";
    assert_eq!(zpl::Status::read(fine.as_bytes()), Ok(zpl::Status::default()));
    assert!(zpl::Status::default().is_ready());
    let out = fine.replacen("030,0,0", "030,1,1", 1).replacen("000,0,0,0,0,2", "000,0,1,1,0,2", 1);
    let status = zpl::Status::read(out.as_bytes()).unwrap();
    assert!(status.paper_out && status.paused && status.head_open && status.ribbon_out && !status.is_ready());
    let odd = fine.replacen("030,0,0", "030,7,0", 1);
    assert_eq!(
        zpl::Status::read(odd.as_bytes()).unwrap_err().to_string(),
        "line 1, field 2: expected 0 or 1, found 37"
    );
    for broken in ["", "\u{2}030,0\u{3}", "030,0,0,1245,000,0,0,0,000,0,0,0"] {
        assert!(matches!(zpl::Status::read(broken.as_bytes()), Err(zpl::StatusError::Shape { .. })));
    }
}

/// Custom TG02H manual, `DLE EOT 1` and `4`: bits 1 and 4 fixed on, 0 and 7 fixed off.
#[test]
fn escpos_status_bytes() {
    assert_eq!((escpos::is_online(0x16), escpos::is_online(0x1A)), (Ok(true), Ok(false)));
    let table = [(0x12, Paper::Present), (0x1E, Paper::NearEnd), (0x72, Paper::Out), (0x7E, Paper::Out)];
    for (byte, state) in table {
        assert_eq!(escpos::paper(byte), Ok(state));
    }
    for byte in [0x00, 0xFF, 0x02, 0x92] {
        assert_eq!(escpos::paper(byte), Err(StatusError(byte)));
    }
}

/// The commands of a stream, with quoted texts left out.
fn tspl_words(stream: &[u8]) -> Vec<String> {
    let text = lossy(stream);
    text.lines().map(|line| line.split(' ').next().unwrap_or("").to_string()).collect()
}

proptest! {
    /// Whatever a name and a code say, the printers see the same commands as for a harmless label.
    #[test]
    fn no_text_becomes_a_command(name in "[ -~]{1,18}", code in "[ -~]{1,8}", odd in ".{0,20}") {
        let plain = PortionLabel { name: text("x"), code: Code::Code128("x".into()), ..bun() };
        let label = PortionLabel { name: text(&name), code: Code::Code128(code), ..bun() };
        let expected = tspl_words(&tspl::encode(&plain).unwrap());
        let found = tspl_words(&tspl::encode(&label).unwrap());
        prop_assert_eq!(found, expected);
        let carets = |stream: &[u8]| stream.iter().filter(|byte| matches!(byte, b'^' | b'~')).count();
        let zpl = zpl::encode(&label).unwrap();
        prop_assert_eq!(carets(&zpl), carets(&zpl::encode(&plain).unwrap()));
        let controls = |stream: &[u8]| stream.iter().filter(|byte| matches!(byte, 0x1B | 0x1D | 0x10)).count();
        let escpos = escpos::encode(&label).unwrap();
        prop_assert_eq!(controls(&escpos), controls(&escpos::encode(&plain).unwrap()));
        let odd = PortionLabel { name: text(&odd), ..bun() };
        for stream in [tspl::encode(&odd), zpl::encode(&odd), escpos::encode(&odd)].into_iter().flatten() {
            prop_assert!(stream.is_ascii());
        }
    }

    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), shaped in "[\u{2}\u{3}01,\r\n]{0,120}") {
        for answer in [bytes.as_slice(), shaped.as_bytes()] {
            prop_assert!(zpl::Status::read(answer).is_err() || answer.contains(&2));
        }
        for byte in bytes {
            prop_assert_eq!(escpos::paper(byte).is_ok(), escpos::is_online(byte).is_ok());
            prop_assert!(tspl::Status::of(byte & 0x20).is_ready());
        }
    }
}
