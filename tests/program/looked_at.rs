//! `preview` and `test`: what stages make is shown and compared, and nothing is written.

use serde_json::Value;

use crate::common::{Ran, folder, obvert, repository};

const PIPELINE: &str = concat!(
    r#"
name = "small"

[model.policy]
kind = "scripted"
[[model.policy.rule]]
match = "."
reply = "Today there is bread."

"#,
    sessions!(),
    r#"
[stage.play]
type = "persona-play"
from = ["session", "next"]

[stage.respond]
type = "respond"
from = "play"
model = "policy"
samples = 2

[stage.judged]
type = "judge"
from = "respond"

[stage.next]
type = "next"
from = "judged"
turns = 2

[stage.out]
type = "jsonl"
from = "judged"
"#
);

const TESTS: &str = r#"
[[test]]
name = "the first word is judged"
rows.profiles = [{ id = "p", description = "A baker.", constraints = [
    { id = "c1", text = "Begin with Today.", check = { type = "begins_with", word = "Today" } },
] }]
rows.personas = [{ id = "u", queries = ["Hello?", "And now?"] }]
models.policy.rule = [{ match = "And now", reply = "Well, no." }, { match = ".", reply = "Today, yes." }]
records.play = [{ query = "Hello?" }, { query = "And now?" }]
records.judged = [
    { response = { text = "Well, no." }, verdicts = [{ satisfied = false }] },
    { response = { text = "Well, no." }, verdicts = [{ satisfied = false }] },
    { response = { text = "Today, yes.", sample = 1 }, verdicts = [{ satisfied = true }] },
    { response = { text = "Today, yes." }, verdicts = [{ constraint = "c1", by = "program" }] },
]

[[test]]
name = "a row that is no profile is set aside"
rows.profiles = [{ name = "nobody" }]
rejected.profiles = ["missing field `id`"]
records.session = []
"#;

fn profiles() -> String {
    let row = |n| format!("{{\"id\": \"p{n}\", \"description\": \"A shop.\"}}\n");
    (0..5).map(row).collect()
}

fn ran(pipeline: &str, arguments: &[&str]) -> (tempfile::TempDir, Ran) {
    let personas = r#"{"id": "u1", "queries": ["Hello?", "And?"]}"#;
    let folder = folder(&[("small.toml", pipeline), ("profiles.jsonl", &profiles()), ("personas.jsonl", personas)]);
    let ran = obvert(folder.path(), arguments);
    (folder, ran)
}

#[test]
fn a_preview_shows_what_stages_make_of_a_few_rows() {
    let (folder, ran) = ran(PIPELINE, &["preview", "small.toml", "-n", "2", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen: Value = serde_json::from_str(&ran.out).unwrap();
    let count = |stage: &str| seen[stage].as_array().unwrap().len();
    assert_eq!(["profiles", "personas", "session", "play", "judged"].map(count), [2, 1, 2, 4, 8]);
    assert_eq!(seen["judged"][0]["response"]["text"], "Today there is bread.");
    assert!(seen.get("out").is_none() && !folder.path().join("runs/small/out.jsonl").exists());
    let shown = obvert(folder.path(), &["preview", "small.toml", "-n", "1"]).out;
    assert!(shown.contains("play (persona-play): 2 records") && shown.contains("\"query\":\"Hello?\""), "{shown}");
}

#[test]
fn a_pipeline_is_tested_on_rows_and_replies_of_its_own() {
    let pipeline = format!("{PIPELINE}\n{TESTS}");
    let (_, passed) = ran(&pipeline, &["test", "small.toml"]);
    assert!(passed.code == 0 && passed.out.matches("ok     ").count() == 2, "{}{}", passed.out, passed.err);
    let (_, one) = ran(&pipeline, &["test", "small.toml", "first word"]);
    assert_eq!(one.out, "ok     the first word is judged\n");
    // Each of these is told, with its place.
    for (change, to, said) in [
        ("satisfied = true", "satisfied = false", "`judged` does not make"),
        ("records.session = []", "records.session = [{}]", "`session` does not make {}"),
        ("query = \"And now?\"", "query = \"And then?\"", "`play` makes"),
        ("missing field `id`", "missing field `ids`", "does not set aside with \"missing field `ids`\""),
        ("rejected.profiles", "rejected.personas", "`profiles` sets aside with"),
        ("match = \".\", reply = \"Today, yes.\"", "match = \"Nobody\", reply = \"\"", "`respond` sets aside with"),
    ] {
        assert!(pipeline.contains(change));
        let (_, failed) = ran(&pipeline.replace(change, to), &["test", "small.toml"]);
        let told = failed.out.lines().any(|line| line.contains(said) && line.contains("small.toml:"));
        assert!(failed.code == 1 && told, "{said} is not in\n{}{}", failed.out, failed.err);
    }
    let (_, none) = ran(PIPELINE, &["test", "small.toml"]);
    assert!(none.code == 2 && none.err.contains("small.toml has no [[test]]"), "{}", none.err);
    let (_, sink) = ran(&pipeline.replace("records.session = []", "records.out = []"), &["check", "small.toml"]);
    assert!(sink.code == 2 && sink.err.contains("`out` makes no records"), "{}", sink.err);
    let (_, wrong) = ran(&pipeline.replace("rows.personas", "rows.session"), &["check", "small.toml"]);
    assert!(wrong.code == 2 && wrong.err.contains("`session` is no source"), "{}", wrong.err);
    let (_, wrong) = ran(&pipeline.replace("rows.personas", "rows.persons"), &["check", "small.toml"]);
    assert!(wrong.code == 2 && wrong.err.contains("did you mean `personas`?"), "{}", wrong.err);
}

#[test]
fn pipelines_of_the_repository_pass_their_tests() {
    let (folder, _) = ran(PIPELINE, &["check", "small.toml"]);
    let quickstart = repository("pipelines/quickstart.toml").display().to_string();
    let tested = obvert(folder.path(), &["test", &quickstart]);
    assert!(tested.code == 0 && tested.out.starts_with("ok "), "{}{}", tested.out, tested.err);
}
