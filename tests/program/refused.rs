//! What is wrong is said clearly, with its place, and nothing panics.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Ran, assert_accounted, counts, done, folder, obvert, repository, rows};

/// One source and one plugin stage, with lines to change.
const PIPELINE: &str = concat!(
    r#"
name = "small"

[model.judge]
kind = "scripted"
[[model.judge.rule]]
match = "good"
reply = '{"verdicts": [{"id": "c1", "reason": "", "satisfied": true}]}'
[[model.judge.rule]]
match = "."
reply = "I think it is fine."

[model.policy]
kind = "scripted"
[[model.policy.rule]]
match = "."
reply = '{{ ["good", "bad"] | pick }}'

"#,
    sessions!(),
    r#"
[stage.play]
type = "persona-play"
from = "session"

[stage.respond]
type = "respond"
from = "play"
model = "policy"
samples = 8

[stage.judged]
type = "judge"
from = "respond"
model = "judge"
"#
);

const PROFILES: &str =
    r#"{"id": "p1", "name": "", "description": "A shop.", "constraints": [{"id": "c1", "text": "Be kind."}]}"#;
const PERSONAS: &str = r#"{"id": "u1", "queries": ["Hello?"]}"#;

fn run_with(pipeline: &str, more: &[(&str, &str)]) -> (tempfile::TempDir, Ran) {
    let files =
        [&[("small.toml", pipeline), ("profiles.jsonl", PROFILES), ("personas.jsonl", PERSONAS)], more].concat();
    let folder = folder(&files);
    let ran = obvert(folder.path(), &["run", "small.toml", "--out", "out"]);
    (folder, ran)
}

/// The program refuses (exit code 2) and says all of `said`.
fn assert_refused(ran: &Ran, said: &[&str]) {
    assert_eq!(ran.code, 2, "{}\n{}", ran.out, ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    for text in said {
        assert!(ran.err.contains(text), "{text} is not in\n{}", ran.err);
    }
}

#[test]
fn replies_that_are_no_verdicts_set_the_response_aside() {
    let (folder, ran) = run_with(PIPELINE, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    let [inputs, done, rejected, ..] = counts(&ran, "judged");
    assert!(inputs == 8 && done > 0 && rejected > 0, "{}", ran.out);
    let aside = rows(&folder.path().join("out/rejected.jsonl"));
    assert_eq!(aside.len() as i64, rejected);
    for row in aside {
        assert_eq!((row["stage"].as_str(), row["item"]["text"].as_str()), (Some("judged"), Some("bad")));
        assert!(row["reason"].as_str().unwrap().starts_with("the judge's reply is unusable"), "{row}");
    }
}

#[test]
fn all_errors_of_a_pipeline_are_shown_with_their_places() {
    let broken = PIPELINE.replace("samples = 8", "sample = 8").replace("from = \"session\"", "from = \"sesion\"");
    let (_, ran) = run_with(&broken, &[]);
    assert_refused(&ran, &["small.toml:34:8", "did you mean `session`?", "small.toml:40:1", "did you mean `samples`?"]);
}

#[test]
fn what_is_missing_is_named_before_anything_runs() {
    let (_, ran) = run_with(&PIPELINE.replace("profiles.jsonl", "nowhere.jsonl"), &[]);
    assert_refused(&ran, &["small.toml:", "stage `profiles`", "nowhere.jsonl", "No such file"]);
    let local =
        PIPELINE.replace("[model.policy]", "[model.tiny]\nkind = \"local\"\npath = \"nothing\"\n\n[model.policy]");
    let (_, ran) = run_with(&local, &[]);
    assert_refused(&ran, &["small.toml:15:8", "model `tiny`", "nothing"]);
    let (_, ran) = run_with(&PIPELINE.replace("\"good\"\n", "\"(good\"\n"), &[]);
    assert_refused(&ran, &["model `judge`", "rule 1", "unclosed group"]);
    let (_, ran) = run_with(&PIPELINE.replace("with = \"personas\"\n", ""), &[]);
    assert_refused(&ran, &["needs `with`", "Persona"]);
    let ran = obvert(Path::new("."), &["run", "nowhere.toml"]);
    assert_refused(&ran, &["nowhere.toml"]);
    let sinks = "\n[stage.a]\ntype = \"jsonl\"\nfrom = \"session\"\nfile = \"o.jsonl\"\n";
    let both = format!("{PIPELINE}{sinks}{}", sinks.replace("stage.a", "stage.b"));
    let (_, ran) = run_with(&both, &[]);
    assert_refused(&ran, &["stage `b` (`jsonl`): `a` would write the same file, `o.jsonl`"]);
    let default = sinks.replace("stage.a", "stage.metrics").replace("file = \"o.jsonl\"\n", "");
    let (_, ran) = run_with(&format!("{PIPELINE}{default}"), &[]);
    assert_refused(&ran, &["`metrics.jsonl` is what the run itself writes"]);
    let (_, ran) = run_with(&format!("{PIPELINE}{}", sinks.replace("o.jsonl", "rejected.jsonl")), &[]);
    assert_refused(&ran, &["`rejected.jsonl` is what the run itself writes"]);
}

#[test]
fn bad_rows_are_set_aside_and_the_rest_goes_on() {
    let profiles = format!("{PROFILES}\n{{\"id\": 3}}\nnot json\n{}", PROFILES.replace("p1", "p2"));
    let folder = folder(&[("small.toml", PIPELINE), ("profiles.jsonl", &profiles), ("personas.jsonl", PERSONAS)]);
    let ran = done(folder.path(), &["run", "small.toml", "--out", "out"]);
    assert_accounted(&ran);
    assert_eq!(counts(&ran, "profiles")[..3], [4, 2, 2]);
    assert_eq!(counts(&ran, "session")[3], 2);
    let aside = rows(&folder.path().join("out/rejected.jsonl"));
    let reasons: String = aside.iter().map(|row| row["reason"].to_string()).collect();
    assert!(reasons.contains("profiles.jsonl:2") && reasons.contains("profiles.jsonl:3"), "{reasons}");
    let stopped = obvert(folder.path(), &["run", "small.toml", "--out", "out2", "--set", "run.max_failures=1"]);
    assert_eq!(stopped.code, 1);
    assert!(stopped.err.contains("max_failures"), "{}", stopped.err);
}

/// Copies the tiny model and damages one of its files.
fn damaged_model(folder: &Path, file: &str, damage: impl FnOnce(&mut Vec<u8>)) {
    let (from, to) = (repository("pipelines/quickstart/model"), folder.join("model"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let mut bytes = fs::read(to.join(file)).unwrap();
    damage(&mut bytes);
    fs::write(to.join(file), bytes).unwrap();
}

#[test]
fn damaged_models_are_named() {
    let local = PIPELINE
        .replace("[model.policy]\nkind = \"scripted\"\n", "[model.policy]\nkind = \"local\"\npath = \"model\"\n");
    let (start, end) = (local.find("[[model.policy.rule]]").unwrap(), local.find("[stage.profiles]").unwrap());
    let local = [&local[..start], &local[end..]].concat();
    let files = [("small.toml", local.as_str()), ("profiles.jsonl", PROFILES), ("personas.jsonl", PERSONAS)];
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("model.safetensors", |bytes| bytes.truncate(1000)),
        ("model.safetensors", |bytes| bytes[..8].fill(0xff)),
        ("config.json", |bytes| bytes.truncate(20)),
        ("tokenizer.json", |bytes| bytes.truncate(2000)),
    ];
    for (file, damage) in damages {
        let folder = folder(&files);
        damaged_model(folder.path(), file, damage);
        assert_refused(&obvert(folder.path(), &["run", "small.toml"]), &["small.toml:15:8", "model `policy`", file]);
    }
    let folder = folder(&files);
    fs::write(folder.path().join("model.gguf"), b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    let ran = obvert(folder.path(), &["run", "small.toml", "--set", "model.policy.path=model.gguf"]);
    assert_refused(&ran, &["model `policy`", "model.gguf"]);
}

/// Builds a plugin library in C; without a compiler the test says that it skips.
fn compiled(folder: &Path, name: &str, source: &str) -> Option<()> {
    fs::write(folder.join("plugin.c"), source).unwrap();
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o", name, "plugin.c"]).current_dir(folder).status();
    match compiler {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            eprintln!("SKIPPED: no C compiler");
            return None;
        }
    }
    Some(())
}

const PLUGIN: &str = r#"
#include <stddef.h>
#include <stdint.h>
struct bytes { const uint8_t *ptr; size_t len; };
struct plugin { size_t size; uint32_t major, minor; uint64_t flags; struct bytes manifest; void *create, *process, *destroy, *chain; };
static struct plugin plugin = { sizeof plugin, MAJOR, 0, FLAGS, { 0, 0 }, 0, 0, 0, 0 };
const struct plugin *SYMBOL(uint32_t index) { return index ? 0 : &plugin; }
"#;

#[test]
fn libraries_that_are_no_plugins_of_this_version_are_refused() {
    let pipeline = format!("plugins = [\"libodd.so\"]\n{PIPELINE}").replace("\nname = \"small\"", "");
    let pipeline = format!("name = \"small\"\n{pipeline}");
    let make = |major: &str, flags: &str, symbol: &str| {
        PLUGIN.replace("MAJOR", major).replace("FLAGS", flags).replace("SYMBOL", symbol)
    };
    let cases = [
        (make("9", "1", "obvert_plugin_v1"), "ABI version 9, this program speaks 1"),
        (make("1", "0", "obvert_plugin_v1"), "panic=abort"),
        (make("1", "1", "obvert_plugin_v2"), "exports no `obvert_plugin_v1`"),
        (make("1", "1", "obvert_plugin_v1"), "manifest is unreadable"),
        (make("1", "1", "obvert_plugin_v1").replace("sizeof plugin,", "8,"), "has 8 bytes"),
    ];
    for (source, said) in cases {
        let folder = folder(&[("small.toml", &pipeline), ("profiles.jsonl", PROFILES), ("personas.jsonl", PERSONAS)]);
        let Some(()) = compiled(folder.path(), "libodd.so", &source) else { return };
        assert_refused(&obvert(folder.path(), &["check", "small.toml"]), &["small.toml:2:12", "libodd.so", said]);
    }
    let (_, ran) = run_with(&pipeline, &[("libodd.so", "not a library")]);
    assert_refused(&ran, &["libodd.so"]);
}
