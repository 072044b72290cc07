//! Our simulated Modbus devices against mbpoll, a master that nobody here wrote (libmodbus inside), over TCP and on a
//! pseudo-terminal: what the drivers are tested with is itself understood by others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use drv_protocol::modbus::Table;
use drv_sim::{Bank, ModbusSim};
use hil_rig::modbus_tcp::ModbusTcp;
use hil_rig::processes::find_program;
use hil_rig::pty::FarEnd;

/// Unit 1 looks like our node: 4.0 °C, 61.5 %, -18.5 °C in its limits, a coil and a discrete input.
fn devices() -> Arc<Mutex<ModbusSim>> {
    let mut bank = Bank::new();
    for (address, word) in (0..).zip([40, 615, 2, 1, 24_525]) {
        bank.set(Table::Input, address, word);
    }
    for (address, word) in (0..).zip([7, 50, 65_351]) {
        bank.set(Table::Holding, address, word);
    }
    (0..3).for_each(|address| bank.set(Table::Coil, address, u16::from(address == 1)));
    (0..3).for_each(|address| bank.set(Table::Discrete, address, u16::from(address != 1)));
    let mut sim = ModbusSim::new(7);
    sim.add_bank(1, bank);
    Arc::new(Mutex::new(sim))
}

/// Runs mbpoll once; `Err` is what it said when it failed.
fn mbpoll(arguments: &[&str]) -> Result<BTreeMap<u16, String>, String> {
    let program = find_program("mbpoll").expect("mbpoll is installed (apt-get install mbpoll)");
    let output = Command::new(program).args(["-0", "-1", "-o", "5"]).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(text);
    }
    // "[2]: 	65351 (-185)"
    let row = |line: &str| {
        let (address, value) = line.strip_prefix('[')?.split_once("]:")?;
        Some((address.trim().parse().ok()?, value.split_whitespace().next()?.to_owned()))
    };
    Ok(text.lines().filter_map(row).collect())
}

fn words(found: &BTreeMap<u16, String>) -> Vec<&str> {
    found.values().map(String::as_str).collect()
}

/// The same questions over any wire.
fn ask_everything(wire: &[&str], bus: &Mutex<ModbusSim>) {
    let ask = |more: &[&str]| {
        let (options, target) = wire.split_at(wire.len() - 1);
        let mut arguments = options.to_vec();
        let at = more.iter().position(|word| *word == "--").unwrap_or(more.len());
        arguments.extend(&more[..at]);
        arguments.extend(target);
        arguments.extend(&more[at..]);
        mbpoll(&arguments)
    };
    let input = ask(&["-a", "1", "-t", "3", "-r", "0", "-c", "5"]).unwrap();
    assert_eq!(words(&input), ["40", "615", "2", "1", "24525"]);
    let holding = ask(&["-a", "1", "-t", "4", "-r", "0", "-c", "3"]).unwrap();
    assert_eq!(words(&holding), ["7", "50", "65351"]);
    let coils = ask(&["-a", "1", "-t", "0", "-r", "0", "-c", "3"]).unwrap();
    assert_eq!(words(&coils), ["0", "1", "0"]);
    let discrete = ask(&["-a", "1", "-t", "1", "-r", "0", "-c", "3"]).unwrap();
    assert_eq!(words(&discrete), ["1", "0", "1"]);

    let refused = ask(&["-a", "1", "-t", "3", "-r", "90", "-c", "1"]).unwrap_err();
    assert!(refused.contains("Illegal data address"), "{refused}");

    // One register is written with FC 6, several with FC 16, coils with FC 5 and 15.
    ask(&["-a", "1", "-t", "4", "-r", "1", "--", "80"]).unwrap();
    ask(&["-a", "1", "-t", "4", "-r", "1", "--", "81", "65000"]).unwrap();
    ask(&["-a", "1", "-t", "0", "-r", "0", "--", "1"]).unwrap();
    ask(&["-a", "1", "-t", "0", "-r", "1", "--", "0", "1"]).unwrap();
    let mut bus = bus.lock().unwrap();
    let bank = bus.bank_mut(1).unwrap();
    assert_eq!((bank.get(Table::Holding, 1), bank.get(Table::Holding, 2)), (Some(81), Some(65_000)));
    let coils: Vec<_> = (0..3).map(|address| bank.get(Table::Coil, address)).collect();
    assert_eq!(coils, [Some(1), Some(0), Some(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbpoll_over_tcp() {
    let bus = devices();
    let server = ModbusTcp::start(0, bus.clone()).await.unwrap();
    let port = server.address().port().to_string();
    let asked = bus.clone();
    let asking = move || ask_everything(&["-m", "tcp", "-p", &port, "127.0.0.1"], &asked);
    tokio::task::spawn_blocking(asking).await.unwrap();
    let absent = server.address().port().to_string();
    let asking = move || mbpoll(&["-m", "tcp", "-p", &absent, "-a", "9", "-t", "3", "-r", "0", "127.0.0.1"]);
    let silent = tokio::task::spawn_blocking(asking).await.unwrap().unwrap_err();
    assert!(silent.contains("Target device failed to respond"), "{silent}");
}

#[test]
fn mbpoll_on_a_pseudo_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let bus = devices();
    let step = |bus: &mut ModbusSim, now: u64, bytes: &[u8]| -> Vec<u8> {
        bus.receive_rtu(bytes, now).into_iter().flat_map(|answer| answer.bytes).collect()
    };
    let line = FarEnd::plug(&folder.path().join("line"), bus.clone(), step).unwrap();
    let path = line.path().to_string_lossy().into_owned();
    ask_everything(&["-m", "rtu", "-b", "19200", "-P", "none", &path], &bus);
}
