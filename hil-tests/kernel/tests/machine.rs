//! The machine itself: what happens inside comes out, and one that hangs is ended with everything in it.
//! Runs where the kernel lies in the cache; elsewhere it says why not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "says why it does not run")]

use hil_kernel::machine;
use hil_kernel::uml::{self, Found};
use hil_trials::{Bench, Place, Rig};
use std::path::Path;
use std::time::{Duration, Instant};

/// Processes whose command line has this text.
fn with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[test]
fn a_result_comes_out_and_a_machine_that_hangs_is_killed() {
    let cache = hil_rig::python::cache_dir().unwrap();
    if let Found::Missing(why) = uml::kernel(&cache).unwrap() {
        eprintln!("not run: {why}");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (programs, evidence) = (home.path().join("programs"), home.path().join("evidence"));
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_kernel-guest"), programs.join("kernel-guest")).unwrap();
    // The machine wants to see them; these trials start none.
    for name in ["edge-agent", "sync-hq", "drv-probe"] {
        std::fs::write(programs.join(name), "").unwrap();
    }
    let rig = Rig::parse("name = \"kernel\"\nsummary = \"s\"\n", "test").unwrap();
    let place = Place { root: home.path().into(), programs, cache, evidence: evidence.clone() };
    let run = |trial: &str, limit| {
        let folder = evidence.join(trial);
        std::fs::create_dir_all(&folder).unwrap();
        let text = folder.to_str().unwrap().to_owned();
        (machine::run(&Bench { place: &place, rig: &rig, folder }, trial, Duration::from_secs(limit)), text)
    };
    let (unknown, _) = run("nothing", 60);
    let text = format!("{:#}", unknown.unwrap_err());
    assert!(text.contains("there is no trial \"nothing\""), "{text}");

    let begun = Instant::now();
    let (hung, folder) = run("hang", 4);
    let text = format!("{:#}", hung.unwrap_err());
    assert!(text.contains("killed after 4 s"), "{text}");
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert!(Path::new(&folder).join("console.log").is_file());
    while with(&folder) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} processes go on", with(&folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}
