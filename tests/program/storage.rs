//! A disk that is full, or may not be written to: an error that says so, and what is there stays whole.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::{Ran, done};
use crate::slow::{prepared, results};

const RUN: [&str; 6] = ["run", "slow.toml", "--out", "out", "--set", "model.policy.latency_ms=1"];

/// Runs a script with a small file system of its own at `out`, which it may resize; what is there at its end is copied to `kept`.
/// Says that it skips where that is not allowed.
fn on_a_small_disk(folder: &Path, kib: usize, script: &str) -> Option<Ran> {
    let disk = format!("mkdir -p out && mount -t tmpfs -o size={kib}k tmpfs out || exit 77");
    let run = format!("run() {{ {} {}; }}", env!("CARGO_BIN_EXE_obvert"), RUN.join(" "));
    let script = [&disk, &run, script, "cp -r out kept"].join("\n");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).current_dir(folder);
    let ran = command.output().ok().map(Ran::from);
    let able = ran.filter(|ran| ran.code != 77 && !ran.err.starts_with("unshare:"));
    if able.is_none() {
        eprintln!("SKIPPED: no file system of one's own can be had here");
    }
    able
}

/// Puts what was kept where it was.
fn keep(folder: &Path) {
    fs::remove_dir(folder.join("out")).unwrap();
    fs::rename(folder.join("kept"), folder.join("out")).unwrap();
}

/// What an undisturbed run leaves.
fn expected() -> TempDir {
    let folder = prepared();
    done(folder.path(), &RUN);
    folder
}

#[test]
fn a_full_disk_ends_a_run_and_room_lets_it_go_on() {
    let whole = expected();
    // There is no room for a state, for a model's adapter, for the last checkpoint.
    for kib in [16, 64, 400, 1_500] {
        let folder = prepared();
        let script = "run >first.out 2>first.err; echo $? >first.code; mount -o remount,size=1g out; run";
        let Some(ran) = on_a_small_disk(folder.path(), kib, script) else { return };
        assert_eq!(ran.code, 0, "{kib} KiB: {}", ran.err);
        let first = |what: &str| fs::read_to_string(folder.path().join(format!("first.{what}"))).unwrap();
        assert_eq!(first("code").trim(), "1", "{kib} KiB: {}", first("err"));
        assert!(first("err").contains("No space left on device"), "{kib} KiB: {}", first("err"));
        assert!(!first("err").contains("panicked"), "{kib} KiB: {}", first("err"));
        keep(folder.path());
        assert!(results(folder.path()) == results(whole.path()), "{kib} KiB changed the results");
    }
}

#[test]
fn a_state_that_may_not_be_written_to_is_an_error_and_stays_as_it_is() {
    let whole = expected();
    let folder = prepared();
    let script = "run || exit; mount -o remount,ro out; run 2>second.err; echo $? >second.code";
    let Some(ran) = on_a_small_disk(folder.path(), 1 << 20, script) else { return };
    assert_eq!(ran.code, 0, "{}", ran.err);
    let second = |what: &str| fs::read_to_string(folder.path().join(format!("second.{what}"))).unwrap();
    assert_eq!(second("code").trim(), "1");
    assert!(
        second("err").contains("Read-only file system") && second("err").contains("out/state"),
        "{}",
        second("err")
    );
    keep(folder.path());
    assert!(results(folder.path()) == results(whole.path()));
    // What was left can be gone on with.
    done(folder.path(), &RUN);
}
