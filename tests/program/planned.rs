//! `run --plan`: what a sample foretells, and what the run does against it.

use std::fs;

use crate::common::{Ran, done, folder};

/// Ten dialogues of two turns, answered twice by a model that has a price; a judge of the program's own, and an examination of four
/// conversations, with the base model and with what is trained.
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

fn row(ran: &Ran, name: &str) -> Vec<f64> {
    let line = ran.out.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name}: {}", ran.out));
    line[name.len()..].split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_plan_is_what_the_run_then_does() {
    let model = crate::common::repository("pipelines/quickstart/model").to_string_lossy().into_owned();
    let profile = |number: usize| {
        format!(
            r#"{{"id": "p{number}", "name": "", "description": "Shop {number}.", "constraints": [{{"id": "c", "text": "Write at least 3 words.", "check": {{"type": "words", "at_least": 3}}}}]}}"#
        )
    };
    let profiles: Vec<String> = (0..10).map(profile).collect();
    let folder = folder(&[
        ("planned.toml", &PIPELINE.replace("MODEL", &model)),
        ("profiles.jsonl", &profiles.join("\n")),
        ("personas.jsonl", "{\"id\": \"u1\", \"queries\": [\"Hello?\", \"And then?\"]}\n"),
    ]);
    let plan = done(folder.path(), &["run", "planned.toml", "--plan", "--out", "out"]);
    for (stage, records) in [("profiles", 10.0), ("play", 20.0), ("judge", 40.0), ("exam-respond", 20.0)] {
        assert_eq!(row(&plan, &format!("{stage} ")), [records], "{stage}");
    }
    let asked = row(&plan, "policy, for respond");
    assert_eq!(asked[0], 40.0);
    assert!((asked[3] - (asked[1] + 2.0 * asked[2]) / 1000.0).abs() < 0.01, "{asked:?}");
    assert_eq!(row(&plan, "tiny, for exam-respond")[0], 20.0);
    assert!(
        !plan.out.contains("train  ") && plan.out.contains("run it with  obvert run planned.toml --out out"),
        "{}",
        plan.out
    );
    // Nothing of the run itself is there yet; asked again, it costs nothing.
    let left: Vec<_> =
        fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
    let again = done(folder.path(), &["run", "planned.toml", "--plan", "--out", "out"]);
    assert!(again.out.contains("(0 calls were made for it)"), "{}", again.out);
    let same = |ran: &Ran| ran.out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(same(&again), same(&plan));
    let ran = done(folder.path(), &["run", "planned.toml", "--out", "out"]);
    assert!(ran.out.contains("against the plan"), "{}", ran.out);
    let (planned, did) = (row(&ran, "planned"), row(&ran, "done"));
    assert_eq!(planned[0], did[0], "{}", ran.out);
    assert!(planned.iter().zip(&did).all(|(planned, did)| (planned / did - 1.0).abs() < 0.2), "{}", ran.out);
    // Of another pipeline it was not a plan.
    let other = done(folder.path(), &["run", "planned.toml", "--out", "out", "--set", "respond.samples=1"]);
    assert!(!other.out.contains("against the plan"), "{}", other.out);
}
