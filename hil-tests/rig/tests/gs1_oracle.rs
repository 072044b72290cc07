//! GS1 codes beside biip, which nobody here wrote: check digits, verifiers, element strings.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use drv_protocol::gs1::check::{check_digit, verifier};
use drv_protocol::gs1::{Elements, Measured, Pattern};
use drv_protocol::unit::Grams;
use hil_rig::python::Venv;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// biip's answers, one a question.
fn ask(questions: &[String]) -> Vec<Value> {
    let python = Venv::for_codes().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/gs1_oracle.py");
    let mut child = Command::new(python.python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = questions.join("\n") + "\n";
    // Written beside the reading: both pipes are bounded.
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

#[test]
fn every_verifier_and_many_check_digits_are_biips() {
    let fields: Vec<String> = (0..10_000)
        .map(|number| format!("{number:04}"))
        .chain((0..100_000).step_by(11).map(|number| format!("{number:05}")))
        .collect();
    let bodies: Vec<String> = (1..=17_u32)
        .flat_map(|length| (1..60_u64).map(move |seed| (length, seed)))
        .map(|(length, seed)| {
            let digits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 10_u64.pow(length);
            format!("{digits:0width$}", width = usize::try_from(length).unwrap())
        })
        .collect();
    let mut questions: Vec<String> = fields.iter().map(|field| format!("verify {field}")).collect();
    questions.extend(bodies.iter().map(|body| format!("check {body}")));
    let ours = fields.iter().map(|field| verifier(field.as_bytes()));
    let ours = ours.chain(bodies.iter().map(|body| check_digit(body.as_bytes())));
    for ((question, answer), ours) in questions.iter().zip(ask(&questions)).zip(ours) {
        assert_eq!(json!(ours), answer, "{question}");
    }
}

/// A code that we mint ends with the digit that biip computes, and carries the verifier that biip computes.
#[test]
fn minted_numbers_have_biips_digits() {
    let pattern: Pattern = "02IIIIVWWWWWC".parse().unwrap();
    let codes: Vec<String> = (0..500)
        .map(|number| {
            let weight = Some(Grams(number * 199 % 100_000));
            let item = u64::try_from(number * 37 % 10_000).unwrap();
            pattern.mint(&Measured { item, weight, amount: None }).unwrap()
        })
        .collect();
    let questions: Vec<String> = codes
        .iter()
        .flat_map(|code| {
            [format!("check {}", digits(code, 0, 12)), format!("verify {}", digits(code, 7, 12))]
        })
        .collect();
    for (code, answers) in codes.iter().zip(ask(&questions).chunks(2)) {
        assert_eq!(answers, [json!(number(code, 12)), json!(number(code, 6))], "{code}");
    }
}

fn digits(code: &str, from: usize, to: usize) -> String {
    code.chars().skip(from).take(to - from).collect()
}

fn number(code: &str, at: usize) -> u32 {
    code.chars().nth(at).and_then(|digit| digit.to_digit(10)).unwrap()
}

#[test]
fn element_strings_mean_the_same_to_biip() {
    let gtin = "96287654321010";
    let codes = [
        format!("]e001{gtin}31030012503922313"),
        format!("]C101{gtin}3922313\u{1D}3103001250"),
        // biip 5.2.0 misreads an amount with more decimals than digits, so none is here.
        format!("01{gtin}310000001239231234567"),
        format!("01{gtin}17261231310500001010LOT-7\u{1D}3920500"),
        format!("01{gtin}3103001250392012\u{1D}21A1"),
    ];
    let questions: Vec<String> = codes.iter().map(|code| format!("elements {}", json!(code))).collect();
    for (code, answer) in codes.iter().zip(ask(&questions)) {
        let ours = Elements::read(code).unwrap();
        let rows = answer.as_array().unwrap();
        assert_eq!(rows.len(), ours.as_slice().len(), "{code}");
        for (element, row) in ours.as_slice().iter().zip(rows) {
            let ai =
                element.decimals.map_or(element.ai.into(), |decimals| format!("{}{decimals}", element.ai));
            assert_eq!((json!(ai), json!(element.data)), (row[0].clone(), row[1].clone()), "{code}");
            if let Some(decimals) = element.decimals {
                let value: u64 = element.data.parse().unwrap();
                let text = format!("{value:0width$}", width = usize::from(decimals) + 1);
                let (whole, fraction) = text.split_at(text.len() - usize::from(decimals));
                let exact = if fraction.is_empty() { whole.into() } else { format!("{whole}.{fraction}") };
                assert_eq!(row[2], json!(exact), "{code}");
            }
        }
    }
    // What we refuse because its length is wrong, biip refuses too.
    let broken = [format!("01{gtin}310300125"), "01123".into(), format!("01{gtin}392")];
    let questions: Vec<String> = broken.iter().map(|code| format!("elements {}", json!(code))).collect();
    for (code, answer) in broken.iter().zip(ask(&questions)) {
        assert!(Elements::read(code).is_err() && answer.is_null(), "{code}: {answer}");
    }
}
