//! Kills at any moment, whatever a run is at, leave no trace: what comes of the next run to its end is what an undisturbed one makes.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use obvert_trainer::random::SplitMix64;
use tempfile::TempDir;

use crate::changelog::{held, replayed};
use crate::common::{done, program, rows};
use crate::watch::{editable_with, edited, left, write};

/// Kills of the short form, which CI runs.
const KILLS: usize = 24;

/// With a trainer that goes back wherever what it was told does not hold.
fn folder() -> (TempDir, Vec<String>) {
    editable_with("withdrawn = \"rollback\"\n")
}

/// Starts a run that follows its inputs or not, edits them in the middle or not, and kills it.
fn disturb(folder: &Path, variants: &[&[String]], random: &mut SplitMix64) {
    write(folder, variants[random.below(variants.len())]);
    let watch: &[&str] = if random.below(2) == 0 { &["--watch"] } else { &[] };
    let mut command = program(folder, &[&["run", "slow.toml", "--out", "out"], watch].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(random.below(1500) as u64));
    if random.below(2) == 0 {
        write(folder, variants[random.below(variants.len())]);
        std::thread::sleep(Duration::from_millis(random.below(800) as u64));
    }
    // Fails where it has come to its end.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code().is_none_or(|code| code == 0), "it ended by itself: {errors}");
}

/// What a run leaves behind: pairs, adapter, what was set aside, and the changelog read from its beginning.
fn compare(found: &Path, expected: &Path) {
    assert!(left(found, "out") == left(expected, "out"), "pairs or adapter differ");
    let rejected = |folder: &Path| rows(&folder.join("out/rejected.jsonl"));
    assert_eq!(rejected(found), rejected(expected));
    assert!(replayed(&found.join("out")).0 == held(&found.join("out")), "the changelog does not add up to the pairs");
}

fn chaos(kills: usize, seed: u64) {
    let ((folder, profiles), (fresh, _)) = (self::folder(), self::folder());
    let edited = edited(&profiles);
    let variants: [&[String]; 4] = [&profiles[..3], &profiles[..5], &edited[..3], &profiles[1..4]];
    let mut random = SplitMix64(seed);
    // Rows come in the order of the last variant, so that all of them have the places that a fresh run gives them.
    write(folder.path(), &profiles[..5]);
    disturb_first(folder.path());
    for _ in 0..kills {
        disturb(folder.path(), &variants, &mut random);
    }
    for folder in [folder.path(), fresh.path()] {
        write(folder, &profiles[..5]);
        done(folder, &["run", "slow.toml", "--out", "out"]);
    }
    compare(folder.path(), fresh.path());
}

/// A run that is killed once all rows have their places.
fn disturb_first(folder: &Path) {
    let mut child = program(folder, &["run", "slow.toml", "--out", "out"]).stdout(Stdio::null()).spawn().unwrap();
    let places = folder.join("out/state/rows/profiles.keys");
    let begin = Instant::now();
    while fs::metadata(&places).map_or(0, |known| known.len()) < 5 * 16 {
        assert!(begin.elapsed() < Duration::from_secs(60), "rows get no places");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn kills_leave_no_trace() {
    chaos(KILLS, 1);
}

/// `OBVERT_SOAK_MINUTES=20 cargo test --release --workspace --test program -- --ignored soak`
#[test]
#[ignore = "takes as long as OBVERT_SOAK_MINUTES says"]
fn soak() {
    let minutes = std::env::var("OBVERT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < Duration::from_secs(60 * minutes) {
        chaos(KILLS, 100 + rounds);
        rounds += 1;
    }
    eprintln!("{rounds} rounds of {KILLS} kills in {} s", begin.elapsed().as_secs());
}
