//! Every strict and loose verdict of the public IFEval scorer on real responses is reproduced.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use obvert_constraints::{Constraint, Error};
use serde_json::Value;

/// The oracle holds more verdicts than this for the supported types, strict and loose together.
const VERDICTS: usize = 11_000;

/// Keys whose letter is outside a to z: the oracle's older scorer drew a random letter instead.
const RANDOM_LETTER: [u64; 2] = [1122, 1129];

fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("OBVERT_SHARED").map_or(default, PathBuf::from);
    path.join("data").is_dir().then_some(path)
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The constraints of every prompt, by key; `None` for a type that is not supported.
fn prompts(shared: &Path) -> HashMap<u64, Vec<Option<Constraint>>> {
    let text = std::fs::read_to_string(shared.join("data/ifeval/input_data.jsonl")).unwrap();
    lines(&text).map(|prompt| (prompt["key"].as_u64().unwrap(), constraints(&prompt))).collect()
}

fn constraints(prompt: &Value) -> Vec<Option<Constraint>> {
    let ids = prompt["instruction_id_list"].as_array().unwrap();
    let kwargs = prompt["kwargs"].as_array().unwrap();
    ids.iter().zip(kwargs).map(|(id, kwargs)| constraint(id.as_str().unwrap(), kwargs)).collect()
}

fn constraint(id: &str, kwargs: &Value) -> Option<Constraint> {
    match Constraint::from_ifeval(id, kwargs) {
        Ok(constraint) => Some(constraint),
        Err(Error::Unsupported { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn responses(shared: &Path) -> Vec<Value> {
    let file = std::fs::File::open(shared.join("data/ifeval/oracle.jsonl.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    lines(&text).collect()
}

fn skip(key: u64, constraint: &Constraint) -> bool {
    constraint.kind() == "keywords:letter_frequency" && RANDOM_LETTER.contains(&key)
}

#[test]
fn every_verdict_of_the_public_scorer_agrees() {
    let Some(shared) = shared() else {
        eprintln!("SKIPPED: every_verdict_of_the_public_scorer_agrees: no shared data");
        return;
    };
    let prompts = prompts(&shared);
    let (mut compared, mut satisfied, mut wrong) = (0, 0, Vec::new());
    for entry in responses(&shared) {
        let (key, Some(response)) = (entry["key"].as_u64().unwrap(), entry["response"].as_str()) else {
            continue;
        };
        for (index, constraint) in prompts[&key].iter().enumerate() {
            let Some(constraint) = constraint.as_ref().filter(|c| !skip(key, c)) else {
                continue;
            };
            let verdicts = [("strict", constraint.check(response)), ("loose", constraint.check_loose(response))];
            for (mode, verdict) in verdicts {
                compared += 1;
                satisfied += usize::from(verdict);
                if Some(u64::from(verdict)) != entry[mode][index].as_u64() {
                    wrong.push(format!("{} {key} {mode}: {constraint:?}", entry["model"]));
                }
            }
        }
    }
    eprintln!("compared {compared} verdicts, {satisfied} satisfied, {} disagree", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > VERDICTS && satisfied > VERDICTS / 2 && satisfied < compared);
}
