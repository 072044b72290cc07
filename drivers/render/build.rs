//! Turns `fonts/unifont.hex` into two tables of fixed records: code point (u16, big-endian), then the rows of the glyph.

use std::error::Error;
use std::fs;
use std::path::Path;

const HEX: &str = "fonts/unifont.hex";

fn main() -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(HEX)?;
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let malformed = || format!("{HEX}:{}: expected XXXX:rows with 32 or 64 hex digits", index + 1);
        let (code, rows) = line.split_once(':').ok_or_else(malformed)?;
        let table = match rows.len() {
            32 => &mut narrow,
            64 => &mut wide,
            _ => return Err(malformed().into()),
        };
        let record = [code, rows].concat();
        let mut pairs = (0..record.len()).step_by(2).map(|at| record.get(at..at + 2).unwrap_or_default());
        let bytes: Result<Vec<u8>, _> = pairs.by_ref().map(|pair| u8::from_str_radix(pair, 16)).collect();
        table.push(bytes.map_err(|_| malformed())?);
    }
    let out = std::env::var("OUT_DIR")?;
    for (name, mut table) in [("narrow.bin", narrow), ("wide.bin", wide)] {
        table.sort();
        fs::write(Path::new(&out).join(name), table.concat())?;
    }
    println!("cargo::rerun-if-changed={HEX}");
    Ok(())
}
