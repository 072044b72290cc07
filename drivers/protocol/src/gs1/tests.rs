//! Published vectors and properties of variable-measure codes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::check::{check_digit, is_checked, verifier};
use super::*;
use crate::unit::Grams;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// devices.md 1.9: 2875→9, 1250→3, 14685→6, 00125→1, 01234→1, 01250→7.
#[test]
fn published_verifiers() {
    let rows = [("2875", 9), ("1250", 3), ("14685", 6), ("00125", 1), ("01234", 1), ("01250", 7)];
    for (field, digit) in rows {
        assert_eq!(verifier(field.as_bytes()), Some(digit), "{field}");
    }
    assert_eq!((verifier(b"123"), verifier(b"12345 "), verifier(b"12a4")), (None, None, None));
}

/// devices.md 1.9, the table of codes: layout, article, grams, minor units.
#[test]
fn published_codes_read_and_are_made() {
    let rows = [
        ("20PPPPPWWWWWC", "2001234012508", 1234, Some(1_250), None),
        ("02IIIIVWWWWWC", "0212347012503", 1234, Some(1_250), None),
        ("02IIIIIVWWWWC", "0212345312506", 12_345, Some(1_250), None),
        ("22PPPPPWWWWWC", "2201234012342", 1234, Some(1_234), None),
        ("26PPPPPMMMMMWWWWWC", "260012300313002504", 123, Some(250), Some(313)),
    ];
    for (layout, code, item, weight, amount) in rows {
        let measured = Measured { item, weight: weight.map(Grams), amount };
        assert_eq!(pattern(layout).read(code), Ok(measured), "{code}");
        assert_eq!(pattern(layout).mint(&measured).as_deref(), Ok(code), "{layout}");
        assert!(pattern(layout).claims(code) && !pattern(layout).claims(&code.replacen('2', "3", 1)));
        assert!(is_checked(code.as_bytes()));
    }
}

#[test]
fn every_single_wrong_digit_is_found_and_named() {
    let layout = pattern("02IIIIVWWWWWC");
    let code = "0212347012503";
    for at in 0..code.len() {
        for digit in b'0'..=b'9' {
            let mut bytes = code.as_bytes().to_vec();
            if bytes[at] == digit {
                continue;
            }
            bytes[at] = digit;
            let wrong = String::from_utf8(bytes).unwrap();
            let error = layout.read(&wrong).unwrap_err();
            let prefix = at < 2;
            assert!(matches!(
                (error, prefix),
                (CodeError::Prefix { .. }, true) | (CodeError::Check { .. }, false)
            ));
        }
    }
    // The verifier finds what the check digit of the whole cannot: two faults that cancel out.
    let mut bytes = b"021234701350".to_vec();
    let check = check_digit(&bytes).unwrap();
    bytes.push(b'0' + check);
    let doubly = String::from_utf8(bytes).unwrap();
    assert!(matches!(layout.read(&doubly), Err(CodeError::Verifier { found: 7, .. })));
    assert!(matches!(layout.read("021234701250"), Err(CodeError::Length { expected: 13, .. })));
    assert!(matches!(layout.read("02123470125O3"), Err(CodeError::Digit { .. })));
    assert_eq!(
        layout.read("0212347012504").unwrap_err().to_string(),
        "check digit 4, expected 3: 30 32 31 32 33 34 37 30 31 32 35 30 34"
    );
}

#[test]
fn a_layout_that_cannot_work_is_refused() {
    let rows = [
        ("20PPPPPWWWWC", PatternError::Length { found: 12 }),
        ("30PPPPPWWWWWC", PatternError::Prefix { found: 30 }),
        ("2PPPPPPWWWWWC", PatternError::Prefix { found: 100 }),
        ("20PPPPPWWWWWW", PatternError::Character { character: 'W', at: 12 }),
        ("20PPPPPCWWWWC", PatternError::Character { character: 'C', at: 7 }),
        ("20PPPWWPPWWWC", PatternError::Split { character: 'P' }),
        ("20PPPIIWWWWWC", PatternError::Split { character: 'I' }),
        ("20PPPPPPPPPPC", PatternError::Missing { character: 'W' }),
        ("20WWWWWMMMMMC", PatternError::Missing { character: 'I' }),
        ("20PPPPVPWWWWC", PatternError::Split { character: 'P' }),
        ("20VPPPPPWWWWC", PatternError::Verifier),
        ("20PPVWWWWWWWC", PatternError::Verifier),
        ("20PPP重WWWWWWC", PatternError::Character { character: '重', at: 5 }),
    ];
    for (text, error) in rows {
        assert_eq!(text.parse::<Pattern>(), Err(error), "{text}");
    }
    assert_eq!(pattern("20PPPPPWWWWWC").with_grams(5), Err(PatternError::Step { found: 5 }));
}

#[test]
fn a_value_is_exact_or_refused() {
    let tens = pattern("20PPPPPWWWWWC").with_grams(10).unwrap();
    let portion = |grams| Measured { item: 7, weight: Some(Grams(grams)), amount: None };
    assert_eq!(tens.read(&tens.mint(&portion(12_340)).unwrap()), Ok(portion(12_340)));
    for grams in [12_345, -10, 1_000_000] {
        assert!(matches!(tens.mint(&portion(grams)), Err(CodeError::Value { field: 'W', step: 10, .. })));
    }
    assert_eq!(
        tens.mint(&Measured { amount: Some(1), ..portion(10) }),
        Err(CodeError::Field { field: 'M', wanted: false })
    );
    assert_eq!(
        tens.mint(&Measured::default()).unwrap_err().to_string(),
        "field W: the pattern has it, the value is missing"
    );
}

/// devices.md 1.9: DataBar Expanded, 1.250 kg, 3.13.
#[test]
fn the_published_element_string_reads_and_is_made() {
    let text = "(01)96287654321010(3103)001250(3922)313";
    let elements = Elements::from_bracketed(text).unwrap();
    assert_eq!(elements.gtin(), Some("96287654321010"));
    assert_eq!(elements.net_kilograms().unwrap().scaled(3), Some(1_250));
    assert_eq!(elements.price(), Some(Decimal { value: 313, decimals: 2 }));
    assert_eq!(elements.encode(), "019628765432101031030012503922313");
    assert_eq!(Elements::read("]e0019628765432101031030012503922313").as_ref(), Ok(&elements));
    assert_eq!(elements.to_string(), text);
    let made = Elements::of_portion("96287654321010", Grams(1_250), Some((313, 2)));
    assert_eq!(made, Ok(elements));
}

#[test]
fn open_elements_end_at_a_separator() {
    let text = "(01)96287654321010(3922)313(3103)001250(10)A-7(17)261231";
    let elements = Elements::from_bracketed(text).unwrap();
    let code = elements.encode();
    assert_eq!(code, "01962876543210103922313\u{1D}310300125010A-7\u{1D}17261231");
    assert_eq!(Elements::read(&code).as_ref(), Ok(&elements));
    // A separator after an element of fixed length, and one before the first, are allowed.
    assert_eq!(
        Elements::read("]C1\u{1D}0196287654321010\u{1D}3103001250").unwrap().to_string(),
        "(01)96287654321010(3103)001250"
    );
    // Without the separator the price swallows what follows and becomes too long.
    assert!(matches!(
        Elements::read("01962876543210103922313310300125010A"),
        Err(ElementError::Data { ai: "392", .. })
    ));
}

#[test]
fn broken_element_strings_are_named() {
    let error = |code: &str| Elements::read(code).unwrap_err();
    assert!(matches!(error(""), ElementError::Length { .. }));
    assert!(matches!(error("]C1"), ElementError::Length { .. }));
    assert!(matches!(error(&"1".repeat(97)), ElementError::Length { .. }));
    assert!(matches!(error("0196287654321011"), ElementError::Check { ai: "01", .. }));
    assert!(matches!(error("019628765432101"), ElementError::Data { ai: "01", .. }));
    assert_eq!(error("3103001250"), ElementError::NoGtin { ai: "310" });
    assert!(matches!(error("01062876543210173103001250"), ElementError::NotVariable { ai: "310", .. }));
    assert!(matches!(error("01962876543210103106001250"), ElementError::Unknown { at: 16, .. }));
    assert!(matches!(error("99ABC"), ElementError::Unknown { at: 0, .. }));
    assert_eq!(error("01962876543210100196287654321010"), ElementError::Twice { ai: "01" });
    assert!(matches!(error("10重"), ElementError::Data { ai: "10", .. }));
    assert!(matches!(Elements::from_bracketed("01)1"), Err(ElementError::Bracket { at: 0, .. })));
    assert!(matches!(Elements::from_bracketed("(0112)1"), Err(ElementError::Unknown { at: 0, .. })));
    assert!(Elements::of_portion("96287654321010", Grams(-5), None).is_err());
    assert!(Elements::of_portion("96287654321010", Grams(1_000_000), None).is_err());
}

#[test]
fn scaling_never_rounds() {
    assert_eq!(Decimal { value: 1_250, decimals: 3 }.scaled(2), Some(125));
    assert_eq!(Decimal { value: 1_251, decimals: 3 }.scaled(2), None);
    assert_eq!(Decimal { value: 5, decimals: 0 }.scaled(3), Some(5_000));
    assert_eq!(Decimal { value: u64::MAX, decimals: 0 }.scaled(0), None);
    assert_eq!(Decimal { value: 1, decimals: 0 }.scaled(200), None);
}

proptest! {
    #[test]
    fn what_is_made_is_read_back(item in 0_u64..10_000, weight in 0_i64..100_000, amount in 0_i64..100_000) {
        let rows = [
            ("02IIIIVWWWWWC", Measured { item, weight: Some(Grams(weight)), amount: None }),
            ("29IIIIVMMMMMC", Measured { item, weight: None, amount: Some(amount) }),
            ("26PPPPPMMMMMWWWWWC", Measured { item, weight: Some(Grams(weight)), amount: Some(amount) }),
        ];
        for (layout, measured) in rows {
            let code = pattern(layout).mint(&measured).unwrap();
            prop_assert_eq!(pattern(layout).read(&code), Ok(measured));
        }
        let elements = Elements::of_portion("96287654321010", Grams(weight), Some((amount, 2))).unwrap();
        prop_assert_eq!(Elements::read(&elements.encode()), Ok(elements));
    }

    #[test]
    fn no_text_panics(code in ".{0,120}", digits in "[0-9()\u{1D}]{0,60}") {
        let layout = pattern("02IIIIVWWWWWC");
        for text in [&code, &digits] {
            drop(text.parse::<Pattern>());
            assert!(layout.read(text).is_err() || text.len() == 13);
            for read in [Elements::read(text), Elements::from_bracketed(text)].into_iter().flatten() {
                // What was accepted means the same in both forms.
                prop_assert_eq!(Elements::read(&read.encode()), Ok(read.clone()));
            }
        }
    }

    #[test]
    fn only_one_check_digit_fits(body in proptest::collection::vec(b'0'..=b'9', 1..18)) {
        let fitting: Vec<u8> = (b'0'..=b'9')
            .filter(|digit| is_checked(&[body.as_slice(), &[*digit]].concat()))
            .collect();
        prop_assert_eq!(fitting, [b'0' + check_digit(&body).unwrap()]);
    }
}
