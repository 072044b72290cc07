//! Pictures: what is drawn, what is refused, what is warned of, and that it is always the same.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use drv_protocol::gicisky::{self, Colors, MODELS, Model};
use proptest::prelude::*;

use super::font::{Face, Fonts};
use super::symbol::{SymbolError, code128, ean13, qr};
use super::template::{TemplateError, TemplateFault};
use super::text::{break_lines, width};
use super::*;

const SHELF: &str = include_str!("../../../configs/templates/shelf.toml");
const PROMOTION: &str = include_str!("../../../configs/templates/promotion.toml");

fn template(text: &str) -> Template {
    let template: Template = toml::from_str(text).unwrap();
    template.check().unwrap();
    template
}

fn model(id: u16) -> Model {
    Model::find(id).unwrap()
}

fn belly() -> Values {
    Values {
        name: "五花肉 Pork belly".into(),
        sku: "6901234567892".into(),
        code: "6901234567892".into(),
        unit: "/kg".into(),
        currency: "¥".into(),
        origin: "四川成都".into(),
        note: "至12月31日".into(),
        link: "https://shop.example/a/690".into(),
        unit_price: Some(Money { minor: 640, decimals: 2 }),
        measure: "/500g".into(),
        old_price: Some(Money { minor: 1_990, decimals: 2 }),
        ..Values::of_price(Money { minor: 1_280, decimals: 2 })
    }
}

/// A layout of 200x100 with a price and some more lines.
fn with(more: &str) -> Template {
    template(&alloc::format!(
        "schema = 1\n[[layout]]\nmin = [200, 100]\n[[layout.price]]\nbox = [0, 60, 0, 0]\n{more}"
    ))
}

fn inks(canvas: &Canvas, ink: Ink) -> usize {
    canvas.pixels().iter().filter(|pixel| **pixel == ink).count()
}

#[test]
fn every_model_has_a_label_without_a_warning() {
    let mut renderer = Renderer::new();
    for (text, highlight) in [(SHELF, false), (PROMOTION, true)] {
        let template = template(text);
        for model in MODELS.into_iter().filter(|model| template.fits(model.width, model.height)) {
            let picture = renderer.render(&template, &belly(), model).unwrap();
            assert_eq!(picture.warnings, [], "{:#x}", model.id);
            assert_eq!((picture.canvas.width(), picture.canvas.height()), (model.width, model.height));
            assert!(inks(&picture.canvas, Ink::Black) > 500);
            let red = highlight && Ink::Red.is_of(model.colors);
            assert_eq!(inks(&picture.canvas, Ink::Red) > 500, red, "{:#x}", model.id);
            if gicisky::Planes::blank(model).is_some() {
                assert_planes(&picture.canvas, model);
            }
            let four = model.colors == Colors::BlackWhiteYellowRed;
            assert_eq!(picture.canvas.two_bits(model).is_some(), four);
        }
    }
}

/// A picture has inks of its panel only, so planes and picture name the same ink everywhere.
fn assert_planes(canvas: &Canvas, model: Model) {
    let planes = canvas.planes(model).unwrap();
    let points = (0..model.height).flat_map(|y| (0..model.width).map(move |x| (x, y)));
    for (x, y) in points.step_by(3) {
        let wanted = canvas.ink(x.into(), y.into()).unwrap();
        assert_eq!(
            alloc::format!("{:?}", planes.ink(x, y).unwrap()),
            alloc::format!("{wanted:?}"),
            "{x} {y}"
        );
    }
    // The padding of a line is paper, as in a blank image.
    let blank = Canvas::blank(model.width, model.height).planes(model).unwrap();
    assert_eq!(Some(blank), gicisky::Planes::blank(model));
}

/// The pictures of a fixed label, by their FNV hash: any change of fonts, templates or drawing is a change of every tag of every
/// store, so it is made knowingly. The values hold on every target: nothing here depends on a float or on a map's order.
#[test]
fn pictures_are_the_same_everywhere() {
    let mut renderer = Renderer::new();
    let hash = |renderer: &mut Renderer, text, id| {
        let (planes, _) = renderer.planes(&template(text), &belly(), model(id)).unwrap();
        u64::from_be_bytes(planes.hash())
    };
    let found = [(SHELF, 0x10B), (SHELF, 0x4B), (PROMOTION, 0x33), (PROMOTION, 0x8B)]
        .map(|(text, id)| hash(&mut renderer, text, id));
    assert_eq!(found, GOLDEN, "{found:#018x?}");
    // A renderer that has drawn other things draws the same.
    assert_eq!(hash(&mut Renderer::new(), SHELF, 0x4B), GOLDEN[1]);
}

const GOLDEN: [u64; 4] =
    [0x53F1_F4DA_E839_23C7, 0xFE18_CE74_B4B7_2EDF, 0x249C_D4EB_84D5_5D46, 0x6021_6A64_28EB_66DE];

#[test]
fn a_price_is_whole_or_refused() {
    let mut renderer = Renderer::new();
    let narrow =
        template("schema = 1\n[[layout]]\nmin = [200, 100]\n[[layout.price]]\nbox = [0, 60, 60, 0]\n");
    let mut values = Values::of_price(Money { minor: 1, decimals: 2 });
    assert!(renderer.render(&narrow, &values, model(0x0B)).is_ok());
    values.price.minor = i64::MAX;
    let refused = renderer.render(&narrow, &values, model(0x0B)).unwrap_err();
    assert_eq!(refused.to_string(), "price[0]: price 92233720368547758.07 does not fit 60x44 pixels");
    let tiny =
        Model { id: 1, width: 199, height: 100, colors: Colors::BlackWhite, scan: gicisky::Scan::Rows };
    values.price.minor = 1;
    assert_eq!(
        renderer.render(&narrow, &values, tiny),
        Err(RenderError::NoLayout { width: 199, height: 100 })
    );
    let four = renderer.planes(&narrow, &values, model(0x4E));
    assert_eq!(four.is_ok(), model(0x4E).planes().is_some());
}

#[test]
fn money_has_exact_digits() {
    let rows = [
        (1_280, 2, "12.80"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (7, 0, "7"),
        (i64::MIN, 3, "-9223372036854775.808"),
    ];
    for (minor, decimals, text) in rows {
        assert_eq!(Money { minor, decimals }.to_string(), text);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let mut renderer = Renderer::new();
    let mut warnings = |more: &str, values: &Values| {
        let picture = renderer.render(&with(more), values, model(0x0B)).unwrap();
        picture.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let name = "[[layout.text]]\nbox = [0, 0, 60, 20]\ntext = \"{name}\"\nsize = 16\n";
    let mut values = belly();
    assert_eq!(warnings(name, &values), ["text[0]: 11 characters left out"]);
    values.name = "\u{1F35C}面".into();
    assert_eq!(warnings(name, &values), ["text[0]: no font has '🍜' (U+1F35C)"]);
    values.name = "x".repeat(500);
    assert_eq!(warnings(name, &values)[0], "text[0]: 380 characters left out");
    values.name.clear();
    assert!(warnings(name, &values).is_empty());
    let low = "[[layout.text]]\nbox = [0, 0, 60, 9]\ntext = \"x\"\nsize = 16\n";
    assert_eq!(warnings(low, &values), ["text[0]: no room, left out"]);
    let bars = "[[layout.barcode]]\nbox = [0, 0, 100, 20]\n";
    assert_eq!(
        warnings(bars, &values),
        ["barcode[0]: 113 modules with quiet zones do not fit 100 pixels, left out"]
    );
    values.code = "猪肉".into();
    assert_eq!(warnings(bars, &values), ["barcode[0]: Code 128 has no character '猪', left out"]);
    let code = "[[layout.qr]]\nbox = [0, 0, 30, 30]\n";
    assert_eq!(
        warnings(code, &values),
        ["qr[0]: 33 modules with quiet zones do not fit 30 pixels, left out"]
    );
    let old = "[[layout.price]]\nvalue = \"old_price\"\nbox = [0, 0, 20, 20]\n";
    assert_eq!(warnings(old, &values), ["price[1]: no room, left out"]);
}

#[test]
fn a_condition_and_an_empty_field_leave_an_element_out() {
    let mut renderer = Renderer::new();
    let fill = |when: &str| {
        with(&alloc::format!("[[layout.fill]]\nbox = [0, 0, 9, 9]\ncolor = \"red\"\nwhen = \"{when}\"\n"))
    };
    let mut red = |when: &str, values: &Values| {
        inks(&renderer.render(&fill(when), values, model(0x0B)).unwrap().canvas, Ink::Red)
    };
    let plain = Values::of_price(Money { minor: 100, decimals: 2 });
    assert_eq!((red("old_price", &belly()), red("old_price", &plain)), (81, 0));
    assert_eq!((red("!old_price", &belly()), red("!old_price", &plain)), (0, 81));
}

#[test]
fn inks_follow_the_panel() {
    let mut renderer = Renderer::new();
    let fill = with("[[layout.fill]]\nbox = [0, 0, 9, 9]\ncolor = [\"yellow\", \"red\"]\n");
    let values = Values::of_price(Money { minor: 100, decimals: 2 });
    let mut first = |id| renderer.render(&fill, &values, model(id)).unwrap().canvas.ink(0, 0).unwrap();
    assert_eq!([first(0x2E), first(0x0B), first(0x28)], [Ink::Yellow, Ink::Red, Ink::Black]);
}

#[test]
fn a_template_that_cannot_work_is_refused_where_it_is_wrong() {
    let fault = |more: &str| {
        let text = alloc::format!("schema = 1\n[[layout]]\nmin = [200, 100]\n{more}");
        toml::from_str::<Template>(&text).unwrap().check().unwrap_err()
    };
    let price = "[[layout.price]]\nbox = [0, 0, 0, 0]\n";
    let rows = [
        ("", "layout[0].price", TemplateFault::NoPrice),
        (
            "[[layout.price]]\nbox = [0, 0, 0, 0]\nwhen = \"name\"\n",
            "layout[0].price",
            TemplateFault::NoPrice,
        ),
        ("[[layout.fill]]\nbox = [5, 0, 5, 9]\n", "layout[0].fill[0].box", TemplateFault::Area),
        ("[[layout.fill]]\nbox = [0, 0, 201, 9]\n", "layout[0].fill[0].box", TemplateFault::Area),
        ("[[layout.qr]]\nbox = [-201, 0, 0, 0]\n", "layout[0].qr[0].box", TemplateFault::Area),
        (
            "[[layout.text]]\nbox = [0, 0, 0, 0]\ntext = \"\"\nsize = 7\n",
            "layout[0].text[0].size",
            TemplateFault::Size,
        ),
        (
            "[[layout.text]]\nbox = [0, 0, 0, 0]\ntext = \"\"\nfont = \"pixel\"\nsize = 20\n",
            "layout[0].text[0].size",
            TemplateFault::Size,
        ),
        (
            "[[layout.text]]\nbox = [0, 0, 0, 0]\ntext = \"\"\nsize = 20\nlines = 0\n",
            "layout[0].text[0].lines",
            TemplateFault::Count,
        ),
        (
            "[[layout.frame]]\nbox = [0, 0, 0, 0]\nthickness = 0\n",
            "layout[0].frame[0].thickness",
            TemplateFault::Count,
        ),
    ];
    for (more, path, fault_wanted) in rows {
        assert_eq!(fault(more), TemplateError { path: path.into(), fault: fault_wanted }, "{more}");
    }
    let twice = alloc::format!("{price}[[layout]]\nmin = [200, 100]\n{price}");
    assert_eq!(fault(&twice).to_string(), "layout[1].min: a size that no other layout has");
    let small = toml::from_str::<Template>("schema = 2").unwrap().check().unwrap_err();
    assert_eq!(small.to_string(), "schema: schema 1");
    for (line, wanted) in [
        ("text = \"{nmae}\"", "a field of the label"),
        ("text = \"{name\"", "in pairs around a field's name"),
        ("text = \"\"\ncolor = \"green\"", "unknown variant"),
        ("text = \"\"\nwhen = \"weather\"", "found `weather`"),
        ("text = \"\"\nbold = true", "unknown field"),
    ] {
        let text = alloc::format!(
            "schema = 1\n[[layout]]\nmin = [200, 100]\n[[layout.text]]\nbox = [0, 0, 0, 0]\nsize = 9\n{line}\n"
        );
        let error = toml::from_str::<Template>(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn every_font_is_whole_and_common_characters_are_there() {
    let mut fonts = Fonts::new();
    assert!(fonts.are_whole());
    let common = "ABCxyz0123456789éüßñ€¥£.,/-()猪肉牛羊鸡蛋包子饺馄饨蒸特价元斤克产地会员促销，。（）";
    for (face, size) in [(Face::Pixel, 16), (Face::Sans, 20), (Face::Bold, 40)] {
        for character in common.chars() {
            let glyph = fonts.glyph(face, size, character);
            assert!(!glyph.missing && glyph.advance > 0, "{face:?} {character}");
            assert!(!glyph.bitmap.rows().iter().all(|byte| *byte == 0), "{face:?} {character}");
            assert!(i32::from(glyph.bitmap.width()) <= glyph.advance + 4, "{face:?} {character}");
            assert_eq!(glyph.advance, fonts.advance(face, size, character));
        }
        let missing = fonts.glyph(face, size, '🍜');
        assert!(missing.missing && missing.bitmap.is_black(0, 0) && !missing.bitmap.is_black(5, 5));
    }
}

#[test]
fn lines_break_where_people_break_them() {
    let fonts = Fonts::new();
    let lines = |text: &str, room: i32, most: usize| {
        let broken = break_lines(&fonts, Face::Pixel, 16, text, (room, most));
        (broken.lines.join("|"), broken.left_over)
    };
    assert_eq!(lines("Steamed bun with pork", 104, 3), ("Steamed bun|with pork".into(), 0));
    assert_eq!(lines("猪肉白菜饺子", 48, 3), ("猪肉白|菜饺子".into(), 0));
    assert_eq!(lines("猪肉馅，白菜", 48, 3), ("猪肉|馅，白|菜".into(), 0));
    assert_eq!(lines("Donaudampfschiff", 64, 3), ("Donaudam|pfschiff".into(), 0));
    assert_eq!(lines("Steamed bun with pork", 104, 1), ("Steamed bun…".into(), 9));
    assert_eq!(lines("abc", 0, 3), ("…".into(), 3));
    assert_eq!(lines("abc", 100, 0), (String::new(), 3));
}

fn modules(bars: &[bool]) -> String {
    bars.iter().map(|dark| if *dark { '1' } else { '0' }).collect()
}

/// GS1 General Specifications, the structure of EAN-13: the number 5901234123457 of many textbooks.
#[test]
fn ean13_has_its_guards_and_parity() {
    let bars = ean13("5901234123457").unwrap();
    let text = modules(&bars.modules);
    assert_eq!(
        text,
        "10100010110100111011001100100110111101001110101010110011011011001000010101110010011101000100101"
    );
    assert_eq!((bars.width(), bars.quiet_left, bars.quiet_right), (113, 11, 7));
    assert_eq!(ean13("5901234123458"), Err(SymbolError::Check));
    assert_eq!(ean13("590123412345"), Err(SymbolError::Digits));
    assert_eq!(ean13("59012341234571"), Err(SymbolError::Digits));
    assert_eq!(ean13("590123412345x"), Err(SymbolError::Digits));
}

#[test]
fn code128_pairs_digits_and_refuses_what_it_lacks() {
    // Start, values, check, stop: 11 modules each, the stop 13.
    assert_eq!(code128("12345678").unwrap().modules.len(), 11 * 6 + 13);
    assert_eq!(code128("AB").unwrap().modules.len(), 11 * 4 + 13);
    assert_eq!(code128("AB123456C").unwrap().modules.len(), 11 * (2 + 2 + 1 + 3 + 1 + 1) + 13);
    assert!(modules(&code128("1").unwrap().modules).starts_with("11010010000"));
    assert!(modules(&code128("1234").unwrap().modules).starts_with("11010011100"));
    assert_eq!(code128("重"), Err(SymbolError::Character { character: '重' }));
    assert_eq!(code128(""), Err(SymbolError::Length { chars: 0, max: 48 }));
    assert_eq!(code128(&"1".repeat(49)), Err(SymbolError::Length { chars: 49, max: 48 }));
}

#[test]
fn qr_codes_grow_with_their_content_up_to_a_limit() {
    assert_eq!(qr("a").unwrap().width(), 21);
    assert_eq!(qr(&"a".repeat(213)).unwrap().width(), 57);
    assert_eq!(qr(&"a".repeat(214)), Err(SymbolError::Length { chars: 214, max: 213 }));
    assert!(qr("").is_err());
}

#[test]
fn a_line_for_a_printer_is_as_wide_as_its_text() {
    let mut renderer = Renderer::new();
    let (bitmap, missing) = renderer.line(Face::Sans, 24, "五花肉 🍜");
    assert_eq!(bitmap.height(), 27);
    assert_eq!(i32::from(bitmap.width()), width(&Fonts::new(), Face::Sans, 24, "五花肉 🍜"));
    assert_eq!(missing, ['🍜']);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_label_panics_and_all_ink_is_a_panel_color(
        name in ".{0,140}", code in "[ -~]{0,60}", link in ".{0,200}", note in "\\PC{0,40}",
        minor in any::<i64>(), old in proptest::option::of(any::<i64>()), decimals in 0_u8..=4,
        which in 0_usize..MODELS.len(),
    ) {
        let mut renderer = Renderer::new();
        let values = Values {
            name, code, link, note, old_price: old.map(|minor| Money { minor, decimals }),
            ..Values::of_price(Money { minor, decimals })
        };
        let panel = MODELS[which];
        for text in [SHELF, PROMOTION] {
            if let Ok(picture) = renderer.render(&template(text), &values, panel) {
                prop_assert!(picture.canvas.pixels().iter().all(|ink| ink.is_of(panel.colors)));
            }
        }
    }

    #[test]
    fn no_template_text_panics(text in "(schema|layout|min|box|text|price|\\[\\[|\\]\\]|=|[0-9,\\[\\]\\-]|\"|\\{|\\}|\n| ){0,60}") {
        if let Ok(template) = toml::from_str::<Template>(&text) {
            drop(template.check());
        }
    }

    /// Any checked template of one element draws without a panic on every model.
    #[test]
    fn any_box_draws(edges in proptest::array::uniform4(-200_i16..=200), size in 8_u16..=80, lines in 1_u16..=8) {
        let text = alloc::format!(
            "schema = 1\n[[layout]]\nmin = [200, 100]\n[[layout.price]]\nbox = [0, 0, 0, 0]\n\
             [[layout.text]]\nbox = {edges:?}\ntext = \"{{name}}\"\nsize = {size}\nmin_size = 8\nlines = {lines}\n\
             [[layout.qr]]\nbox = {edges:?}\n[[layout.barcode]]\nbox = {edges:?}\n[[layout.frame]]\nbox = {edges:?}\n"
        );
        let template: Template = toml::from_str(&text).unwrap();
        if template.check().is_ok() {
            for id in [0x0B, 0x28, 0x2E] {
                prop_assert!(Renderer::new().render(&template, &belly(), model(id)).is_ok());
            }
        }
    }
}
