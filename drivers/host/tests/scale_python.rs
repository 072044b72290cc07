//! The simulated MT-SICS scale under a master that nobody here wrote: mettler-toledo-device 1.5.0 from PyPI.
//!
//! It shows that the simulator which the driver is tested with speaks MT-SICS as others understand it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};

use drv_protocol::Grams;
use drv_protocol::scales::ScaleKind;
use drv_sim::{ScaleConfig, ScaleFaults, ScaleSim};
use hil_rig::clock::now_ms;
use hil_rig::pty::FarEnd;
use hil_rig::python::Venv;
use serde_json::{Value, json};

/// The master; its end of input ends it.
struct Master {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Master {
    fn ask(&mut self, command: &str) -> Value {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{command}").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the master ended at {command}");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}

#[test]
fn a_master_of_others_reads_and_zeroes_the_simulated_scale() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let config = ScaleConfig { kind: ScaleKind::MtSics, settle_ms: 50, ..ScaleConfig::default() };
    let sim = Arc::new(Mutex::new(ScaleSim::new(config)));
    let step = |sim: &mut ScaleSim, now: u64, bytes: &[u8]| sim.receive(bytes, now);
    let _far = FarEnd::plug(&port, sim.clone(), step).unwrap();
    let mut command = Venv::for_scales().unwrap().mettler_master(&port);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
    let mut master = Master { child, input, output };

    assert_eq!(master.ask("serial"), json!({"ok": "B012345678"}));
    assert_eq!(master.ask("level")["ok"][0], "01");
    assert_eq!(master.ask("data"), json!({"ok": ["STEELYARD-SIM", "15.000", "kg"]}));
    assert_eq!(master.ask("software"), json!({"ok": ["1.00"]}));
    sim.lock().unwrap().place(Grams(1_250), now_ms());
    assert_eq!(master.ask("stable"), json!({"ok": [1.25, "kg"]}), "waits for rest");
    assert_eq!(master.ask("weight"), json!({"ok": [1.25, "kg", "S"]}));
    assert!(sim.lock().unwrap().load_shown());
    sim.lock().unwrap().set_faults(ScaleFaults { always_moving: true, ..ScaleFaults::default() });
    assert_eq!(master.ask("weight"), json!({"ok": [1.25, "kg", "D"]}));
    sim.lock().unwrap().set_faults(ScaleFaults::default());
    let refused = master.ask("zero");
    assert!(refused["error"].as_str().unwrap().contains("Upper limit of zero setting range"), "{refused}");
    sim.lock().unwrap().place(Grams(100), now_ms());
    assert_eq!(master.ask("zero-stable"), json!({"ok": true}));
    assert_eq!(master.ask("stable"), json!({"ok": [0.0, "kg"]}));
    sim.lock().unwrap().place(Grams(20_000), now_ms());
    let over = master.ask("weight");
    assert!(over["error"].as_str().unwrap().contains("overload"), "{over}");
}
