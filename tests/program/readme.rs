//! What README says to type does what it says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::{Ran, done, folder, repository, rows};
use crate::served::server::{Manner, Server};

const HEADING: &str = "## From your own prompts to a served adapter";

/// The lines of the block below the heading, for this machine: our server, a model that is here, fewer updates.
fn script(server: &Server) -> Vec<String> {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, below) = readme.split_once(HEADING).unwrap();
    let block = below.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let model = repository("pipelines/quickstart/model").display().to_string();
    let for_here = [("http://localhost:8000/v1", &*server.url), ("MODEL", &*model), ("--steps 40", "--steps 2")];
    assert!(for_here.iter().all(|(there, _)| block.contains(there)));
    for_here
        .iter()
        .fold(block.to_owned(), |text, (there, here)| text.replace(there, here))
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Prompts with demands that the test's server can follow and judge.
const PROFILES: &str = r#"{"id": "baker", "name": "Leo", "description": "You are Leo, a baker.", "constraints": [{"id": "c1", "text": "The answer must contain the word amber."}, {"id": "c2", "text": "The answer must contain the word basil."}]}
{"id": "guide", "name": "Mia", "description": "You are Mia, a guide.", "constraints": [{"id": "c1", "text": "The answer must contain the word cedar."}, {"id": "c2", "text": "The answer must not contain the word delta."}]}
"#;

fn sh(folder: &Path, lines: &[String]) -> Ran {
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    let script = lines.join("\n");
    Command::new("sh").current_dir(folder).env("PATH", path).args(["-ec", &script]).output().unwrap().into()
}

#[test]
fn the_way_from_prompts_to_a_served_adapter_is_as_readme_says() {
    let server = Server::start(Manner { open: true, ..Manner::default() });
    let folder = folder(&[("profiles.jsonl", PROFILES)]);
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_obvert"), folder.path().join("bin/obvert")).unwrap();
    let mut lines = script(&server);
    let at = lines.iter().position(|line| line.starts_with("cd mine")).unwrap();
    lines.insert(at + 1, "cp ../profiles.jsonl .".into());
    // Before the prompt changes, and all of it: a state that is there goes on.
    let changes = lines.iter().position(|line| line.starts_with("perl ")).unwrap();
    let before = sh(folder.path(), &lines[..changes]);
    assert!(before.code == 0, "{}\n{}", before.out, before.err);
    let mine = folder.path().join("mine");
    let pairs = || rows(&mine.join("out/pairs/pairs.jsonl"));
    let first = pairs();
    for file in [
        "trl/train.py",
        "trl/rpo_trl.py",
        "served/adapter_model.safetensors",
        "served/tokenizer.json",
        "served/vllm.md",
    ] {
        assert!(mine.join(file).is_file(), "{file}");
    }
    assert!(before.out.contains("expected, from 3 rows") && before.out.contains("against the plan"), "{}", before.out);
    // The lineage of a pair reaches back to who worded the opposite of a constraint.
    let id = first.iter().find(|pair| pair["reversed"] != serde_json::json!([])).unwrap()["id"].as_str().unwrap();
    let traced = done(&mine, &["trace", "pipeline.toml", id, "--out", "out"]).out;
    let (_, reversed) = traced.split_once("reverse (reverse)\n").unwrap();
    let of_reverse = reversed.lines().take_while(|line| line.starts_with("  ")).collect::<Vec<_>>().join("\n");
    assert!(
        of_reverse.contains(" → ") && of_reverse.contains("call: ") && of_reverse.contains("in the memo"),
        "{traced}"
    );
    let calls = server.calls();
    let after = sh(&mine, &[&["PATH=$(cd ../bin && pwd):$PATH".to_owned()], &lines[changes..]].concat());
    assert!(
        after.code == 0,
        "{}
{}",
        after.out,
        after.err
    );
    // The changed prompt's pairs are others, the other one's the same and not paid for again.
    let of = |pairs: &[serde_json::Value], profile: &str| -> Vec<String> {
        pairs.iter().filter(|pair| pair["profile"] == profile).map(ToString::to_string).collect()
    };
    let second = pairs();
    assert!(!of(&first, "guide").is_empty() && of(&first, "guide") == of(&second, "guide"));
    assert!(!of(&second, "baker").is_empty() && of(&second, "baker").iter().all(|pair| pair.contains("You are Lea")));
    assert!(server.calls() > calls && server.calls() < 2 * calls, "{} then {}", calls, server.calls());
    let gone = after.out.lines().filter(|line| line.contains("\"diff\":-1")).count();
    assert_eq!(gone, of(&first, "baker").len(), "{}", after.out);
}
