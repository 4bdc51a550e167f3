//! `run --plan`: what a sample foretells, and what the run does against it.

use std::fs;

use tempfile::TempDir;

use crate::common::{Ran, counts, done, folder, obvert, repository};

/// Ten dialogues of two turns, answered twice by a model that has a price; a judge of the program's own, and the same dialogues as an
/// examination of the base model and of what is trained.
const PIPELINE: &str = concat!(
    r#"
name = "planned"

[model.tiny]
kind = "local"
path = "MODEL"

[model.policy]
kind = "scripted"
price = { prompt = 1000.0, reply = 2000.0 }
[[model.policy.rule]]
match = "."
reply = '{{ "One two three" if sample else "Bread" }}'

[model.user]
kind = "scripted"
[[model.user.rule]]
match = "."
reply = "And bread?"
"#,
    sessions!(),
    r#"
[stage.play]
type = "persona-play"
from = ["session", "next"]
model = "user"

[stage.respond]
type = "respond"
from = "play"
model = "policy"
samples = 2

[stage.judge]
type = "judge"
from = "respond"

[stage.next]
type = "next"
from = "judge"
turns = 2

[stage.reverse]
type = "reverse"
from = "profiles"

[stage.pair]
type = "pair"
from = "judge"
with = "reverse"

[stage.train]
type = "train"
from = "pair"
model = "tiny"
updates = 1
batch_size = 2

[stage.exam]
type = "exam"
from = "session"
with = "train"

[stage.exam-play]
type = "persona-play"
from = "exam"
model = "user"

[stage.exam-respond]
type = "respond"
from = "exam-play"
model = "tiny"
samples = 1
max_tokens = 4
"#
);

/// The numbers of a line, behind its name.
fn row(text: &str, name: &str) -> Vec<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
    line[name.len()..].split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// So many profiles and personas.
fn prepared(personas: usize) -> TempDir {
    let model = repository("pipelines/quickstart/model").to_string_lossy().into_owned();
    let profile = |number: usize| {
        format!(
            r#"{{"id": "p{number}", "name": "", "description": "Shop {number}.", "constraints": [{{"id": "c", "text": "Write at least 3 words.", "check": {{"type": "words", "at_least": 3}}}}]}}"#
        )
    };
    let persona = |number: usize| format!(r#"{{"id": "u{number}", "queries": ["Hello?", "And then?"]}}"#);
    let lines = |all: Vec<String>| all.join("\n");
    folder(&[
        ("planned.toml", &PIPELINE.replace("MODEL", &model)),
        ("profiles.jsonl", &lines((0..10).map(profile).collect())),
        ("personas.jsonl", &lines((0..personas).map(persona).collect())),
    ])
}

#[test]
fn a_plan_is_what_the_run_then_does() {
    let folder = prepared(1);
    let plan = done(folder.path(), &["run", "planned.toml", "--plan", "--out", "out"]).out;
    for (stage, records) in [("profiles", 10.0), ("play", 20.0), ("judge", 40.0), ("exam-respond", 20.0)] {
        assert_eq!(row(&plan, stage), [records], "{stage}");
    }
    let asked = row(&plan, "policy, for respond");
    assert_eq!(asked[0], 40.0);
    assert!((asked[3] - (asked[1] + 2.0 * asked[2]) / 1000.0).abs() < 0.01, "{asked:?}");
    assert_eq!(row(&plan, "tiny, for exam-respond")[0], 20.0);
    assert!(!plan.contains("\ntrain ") && plan.contains("run it with  obvert run planned.toml --out out"), "{plan}");
    // Nothing of the run itself is there yet; asked again, it costs nothing.
    let left: Vec<_> =
        fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
    let again = done(folder.path(), &["run", "planned.toml", "--plan", "--out", "out"]).out;
    assert!(again.contains("(0 calls were made for it"), "{again}");
    let early = obvert(folder.path(), &["trace", "planned.toml", "p0", "--out", "out"]);
    assert!(early.code == 2 && early.err.contains("no run has been here"), "{}", early.err);
    let same = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(same(&again), same(&plan));
    let tried = plan.split_once(" calls were made for it; the run does not make them again").expect(&plan).0;
    let tried: i64 = tried.rsplit_once('(').unwrap().1.parse().unwrap();
    let ran = done(folder.path(), &["run", "planned.toml", "--out", "out"]);
    // What the sample has paid for is not paid again.
    let calls = |at: usize| {
        ["play", "respond", "exam-play", "exam-respond"].map(|stage| counts(&ran, stage)[at]).iter().sum::<i64>()
    };
    assert!(tried > 0 && calls(5) >= tried, "{tried} calls were tried: {}", ran.out);
    let ran = ran.out;
    let (_, compared) = ran.split_once("against the plan").unwrap_or_else(|| panic!("{ran}"));
    for name in ["profiles", "play", "judge", "exam-respond", "calls"] {
        let both = row(compared, name);
        assert!(both.len() == 2 && both[0] == both[1], "{name}: {compared}");
    }
    for name in ["tokens in", "tokens out", "money"] {
        let both = row(compared, name);
        assert!((both[0] / both[1] - 1.0).abs() < 0.2, "{name}: {compared}");
    }
    // Of another pipeline it was not a plan.
    let set = ["--set", "run.seed=1"];
    let other = done(folder.path(), &[&["run", "planned.toml", "--out", "out"], &set[..]].concat()).out;
    assert!(!other.contains("against the plan"), "{other}");
    // A plan does not pay for what a run has paid for.
    let known = done(folder.path(), &[&["run", "planned.toml", "--plan", "--out", "out"], &set[..]].concat()).out;
    assert!(known.contains("(0 calls were made for it"), "{known}");
    // Where a run has been, too, what is tried for another one is not paid again.
    let set = ["--set", "run.seed=2"];
    let tried = done(folder.path(), &[&["run", "planned.toml", "--plan", "--out", "out"], &set[..]].concat()).out;
    assert!(tried.contains("the run does not make them again"), "{tried}");
    let respond = |ran: &Ran, at: usize| counts(ran, "respond")[at];
    let ran = done(folder.path(), &[&["run", "planned.toml", "--out", "out"], &set[..]].concat());
    assert_eq!((respond(&ran, 4), respond(&ran, 5)), (28, 12), "{}", ran.out);
}

/// What is read beside a source is there as a whole; what is set for the plan is in the command that it ends with.
#[test]
fn a_plan_takes_all_that_is_read_beside_its_rows() {
    let folder = prepared(5);
    let set = ["--set", "session.personas_per_profile=4"];
    let plan = done(folder.path(), &[&["run", "planned.toml", "--plan", "--out", "out"], &set[..]].concat()).out;
    for (stage, records) in [("personas", 5.0), ("session", 40.0), ("respond", 160.0)] {
        assert_eq!(row(&plan, stage), [records], "{stage}: {plan}");
    }
    assert!(plan.contains("obvert run planned.toml --set session.personas_per_profile=4 --out out"), "{plan}");
}
