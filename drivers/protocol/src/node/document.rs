//! `firmware/REGISTERS.md`, written from the table.

use alloc::format;
use alloc::string::{String, ToString};

use super::{
    Access, Command, CommandResult, Entry, MAP_VERSION, NO_READING, Quality, REGISTERS, ResetReason,
    SLOT_WORDS, SLOTS, WINDOW,
};
use crate::modbus::Table;
use crate::profile::Kind;

/// The whole document.
#[must_use]
pub fn markdown() -> String {
    let mut text = format!(
        "# Registers of the cold-cabinet node, map {MAP_VERSION}\n\n\
         Written from `drv_protocol::node`; a test keeps it up to date (`UPDATE_REGISTERS=1 cargo test -p drv-protocol node` writes it).\n\n\
         Modbus RTU, 19200 8N1, unit 1 when delivered. Functions 3, 4, 6, 16 and 43/14 (device identification). Addresses count from zero; 32-bit \
         values take two registers, high word first. {NO_READING:04X}h in a temperature or humidity means that there is none. Settings act at once \
         and are kept over a restart only after the command that saves them. A write is refused as a whole (exception 3) when one of its values is.\n"
    );
    for (table, title) in [
        (Table::Input, "Input registers (function 4)"),
        (Table::Holding, "Holding registers (functions 3, 6, 16)"),
    ] {
        text.push_str(&format!(
            "\n## {title}\n\n| Address | Name | Type | Step | Range (raw) | Write | Meaning |\n|---|---|---|---|---|---|---|\n"
        ));
        REGISTERS.iter().filter(|entry| entry.table == table).for_each(|entry| text.push_str(&line(entry)));
    }
    text.push_str(
        "\n## Status bits, input register 2\n\n\
         0 probe 1 has no reading, 1 door open, 2 above the upper limit, 3 below the lower limit, 4 started anew since this register was last read. \
         5 to 15 are 0. Bits 2 and 3 stay until the temperature is back inside by the hysteresis and the register has been read.\n",
    );
    text.push_str(&format!(
        "\n## Buffered samples, input registers {WINDOW} to {}\n\n\
         {SLOTS} slots of {SLOT_WORDS} registers; sample n lies in slot n mod {SLOTS}: sequence (2), uptime in seconds (2), probes 1 to 4 in tenths, status bits, \
         quality (4 bits a probe, probe 1 lowest). A slot that holds nothing, or what has been acknowledged, may read as zeros; sequences count from 1. One \
         read never mixes two states of a slot. The master reads from the oldest sequence to the newest, compares each slot's own sequence, \
         stores, and writes the last one's low word to holding register 5.\n",
        WINDOW + SLOTS * SLOT_WORDS - 1
    ));
    let codes = |title: &str, rows: &mut dyn Iterator<Item = (u16, &str)>| {
        let rows: String = rows.map(|(code, name)| format!("| {code} | {name} |\n")).collect();
        format!("\n## {title}\n\n| Code | Meaning |\n|---|---|\n{rows}")
    };
    text.push_str(&codes(
        "Quality of a probe",
        &mut Quality::ALL.into_iter().map(|one| (one.code(), one.name())),
    ));
    text.push_str(&codes(
        "Reasons of a start",
        &mut ResetReason::ALL.into_iter().map(|one| (one.code(), one.name())),
    ));
    text.push_str(&codes(
        "Commands, holding register 15",
        &mut Command::ALL.into_iter().map(|one| (one.code(), one.name())),
    ));
    text.push_str(&codes(
        "Results of a command",
        &mut CommandResult::ALL.into_iter().map(|one| (one.code(), one.name())),
    ));
    text
}

fn line(entry: &Entry) -> String {
    let words = entry.kind.words();
    let address = if words == 1 {
        entry.address.to_string()
    } else {
        format!("{}, {}", entry.address, entry.address + 1)
    };
    let kind = match entry.kind {
        Kind::S16 => "s16",
        Kind::U16 => "u16",
        Kind::S32 => "s32",
        Kind::U32 => "u32",
        Kind::Bits => "bits",
    };
    let step = match (entry.step_milli, entry.unit) {
        (None, unit) => unit.to_string(),
        (Some(1000), unit) => format!("1 {unit}"),
        (Some(100), unit) => format!("0.1 {unit}"),
        (Some(10), unit) => format!("0.01 {unit}"),
        (Some(step), unit) => format!("0.001 x {step} {unit}"),
    };
    let none = if entry.may_fail { ", 8000h" } else { "" };
    let write = match entry.access {
        Access::Read => "",
        Access::Setting => "setting",
        Access::Action => "action",
    };
    format!(
        "| {address} | {} | {kind} | {step} | {} to {}{none} | {write} | {} |\n",
        entry.name, entry.least, entry.most, entry.meaning
    )
}
