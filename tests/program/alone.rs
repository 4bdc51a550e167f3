//! The program without anything beside it, as `cargo install` leaves it.

use std::fs;
use std::process::Command;

use crate::common::{Ran, folder, repository, rows};

#[test]
fn the_program_alone_has_its_plugins() {
    let folder = folder(&[]);
    let alone = folder.path().join("obvert");
    let built = env!("CARGO_BIN_EXE_obvert");
    fs::hard_link(built, &alone).or_else(|_| fs::copy(built, &alone).map(drop)).unwrap();
    let ran = |arguments: &[&str]| -> Ran {
        Command::new(&alone).current_dir(folder.path()).args(arguments).output().unwrap().into()
    };
    let pipeline = repository("pipelines/quickstart.toml").to_string_lossy().into_owned();
    let small = [
        "--set",
        "profiles.limit=4",
        "--set",
        "heldout.limit=2",
        "--set",
        "train.updates=1",
        "--set",
        "train.batch_size=4",
    ];
    let run = ran(&[&["run", &pipeline, "--out", "out"], &small[..]].concat());
    // A slow machine sees its progress, and nothing else is said.
    assert!(run.code == 0 && run.err.lines().all(|line| line.contains("s  profiles ")), "{}", run.err);
    assert!(!rows(&folder.path().join("out/pairs/pairs.jsonl")).is_empty());
}
