//! The responses of real models with the public IFEval scorer's verdicts.

// A helper that fails fails its test; not every test uses all of them.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use obvert_constraints::Constraint;
use serde_json::Value;

/// Keys whose letter is outside a to z: the oracle's older scorer drew a random letter instead.
const RANDOM_LETTER: [u64; 2] = [1122, 1129];

/// The shared data, if there are any.
pub fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("OBVERT_SHARED").map_or(default, PathBuf::from);
    path.join("data").is_dir().then_some(path)
}

/// What came out for one type.
#[derive(Default)]
pub struct Agreement {
    pub compared: usize,
    pub satisfied: usize,
    /// One line each.
    pub wrong: Vec<String>,
}

/// The share of verdicts that agree.
pub fn share<'a>(agreements: impl IntoIterator<Item = &'a Agreement>) -> f64 {
    let counts = agreements.into_iter().map(|agreement| (agreement.compared, agreement.wrong.len()));
    let (compared, wrong) = counts.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    1.0 - wrong as f64 / compared as f64
}

/// Compares strict and loose verdicts, by type; prints the figures.
pub fn agreements(shared: &Path, wanted: impl Fn(&str) -> bool) -> BTreeMap<&'static str, Agreement> {
    let prompts = prompts(shared);
    let mut agreements: BTreeMap<&str, Agreement> = BTreeMap::new();
    for entry in responses(shared) {
        let (key, Some(response)) = (entry["key"].as_u64().unwrap(), entry["response"].as_str()) else {
            continue;
        };
        for (index, constraint) in prompts[&key].iter().enumerate() {
            if !wanted(constraint.kind()) || is_random(key, constraint) {
                continue;
            }
            let agreement = agreements.entry(constraint.kind()).or_default();
            for (mode, verdict) in [("strict", constraint.check(response)), ("loose", constraint.check_loose(response))]
            {
                agreement.compared += 1;
                agreement.satisfied += usize::from(verdict);
                if Some(u64::from(verdict)) != entry[mode][index].as_u64() {
                    agreement.wrong.push(format!("{} {key} {mode}: {constraint:?}", entry["model"]));
                }
            }
        }
    }
    for (kind, agreement) in &agreements {
        let (compared, wrong) = (agreement.compared, agreement.wrong.len());
        eprintln!("{kind}: {compared} verdicts, {wrong} disagree, {:.2} % agree", 100.0 * share([agreement]));
    }
    agreements
}

fn is_random(key: u64, constraint: &Constraint) -> bool {
    constraint.kind() == "keywords:letter_frequency" && RANDOM_LETTER.contains(&key)
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The constraints of every prompt, by key.
fn prompts(shared: &Path) -> HashMap<u64, Vec<Constraint>> {
    let text = std::fs::read_to_string(shared.join("data/ifeval/input_data.jsonl")).unwrap();
    lines(&text).map(|prompt| (prompt["key"].as_u64().unwrap(), constraints(&prompt))).collect()
}

fn constraints(prompt: &Value) -> Vec<Constraint> {
    let ids = prompt["instruction_id_list"].as_array().unwrap();
    let kwargs = prompt["kwargs"].as_array().unwrap();
    ids.iter().zip(kwargs).map(|(id, kwargs)| Constraint::from_ifeval(id.as_str().unwrap(), kwargs).unwrap()).collect()
}

/// Each `{model, key, response, strict, loose}`.
pub fn responses(shared: &Path) -> Vec<Value> {
    let file = std::fs::File::open(shared.join("data/ifeval/oracle.jsonl.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    lines(&text).collect()
}
