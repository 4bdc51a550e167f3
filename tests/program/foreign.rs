//! Stages in other languages: the examples as they stand in the repository, in C over the border and in Python over a pipe.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{assert_accounted, counts, done, folder, obvert, repository, rows};

const PIPELINE: &str = r#"
name = "foreign"
plugins = ["PLUGIN"]

[stage.rows]
type = "rows"
path = "rows.jsonl"

[stage.act]
type = "TYPE"
from = "rows"
SETTINGS

[stage.out]
type = "jsonl"
from = "act"
"#;

fn pipeline(plugin: &str, kind: &str, settings: &str) -> String {
    PIPELINE.replace("PLUGIN", plugin).replace("TYPE", kind).replace("SETTINGS", settings)
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Compiles a C file of the repository's into a library in the folder; without a compiler the test says that it skips.
fn compiled(folder: &Path, source: &Path, library: &str) -> bool {
    let include = repository("engine/api/include");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(include).args(["-o", library]);
    match cc.arg(source).current_dir(folder).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => eprintln!("SKIPPED: no C compiler"),
    }
    folder.join(library).exists()
}

/// Rows that came through, and those that were set aside with the reason.
fn outcome(folder: &Path) -> (Vec<Value>, Vec<(Value, String)>) {
    let aside = rows(&folder.join("out/rejected.jsonl")).into_iter();
    let aside = aside.map(|row| (row["item"].clone(), row["reason"].as_str().unwrap().to_owned()));
    (rows(&folder.join("out/out.jsonl")), aside.collect())
}

#[test]
fn a_stage_in_c_runs_within_the_program_and_beside_it() {
    let given = [
        json!({"id": 1, "text": "a long text"}),
        json!({"id": 2, "text": "é\"\"é"}),
        json!({"id": 3}),
        json!({"id": 4, "text": ""}),
    ];
    for isolation in ["", "isolation = \"process\""] {
        let settings = format!("most = 5\n{isolation}");
        let folder = folder(&[
            ("foreign.toml", &pipeline("libshorten.so", "shorten", &settings)),
            ("rows.jsonl", &lines(&given)),
        ]);
        if !compiled(folder.path(), &repository("engine/api/examples/shorten.c"), "libshorten.so") {
            return;
        }
        let ran = done(folder.path(), &["run", "foreign.toml", "--out", "out"]);
        assert_accounted(&ran);
        let (made, aside) = outcome(folder.path());
        assert_eq!(
            made,
            [json!({"id": 1, "text": "a lon"}), json!({"id": 2, "text": "é\""}), json!({"id": 4, "text": ""})]
        );
        assert_eq!(aside, [(json!({"id": 3}), "the row has no `text`".into())]);
    }
    let folder = folder(&[("foreign.toml", &pipeline("libshorten.so", "shorten", "mots = 5")), ("rows.jsonl", "")]);
    assert!(compiled(folder.path(), &repository("engine/api/examples/shorten.c"), "libshorten.so"));
    let refused = obvert(folder.path(), &["check", "foreign.toml"]);
    assert!(refused.code == 2 && refused.err.contains("did you mean `most`?"), "{}", refused.err);
}

fn python(folder: &Path, name: &str, change: impl FnOnce(String) -> String) {
    let source = fs::read_to_string(repository("engine/api/examples/longest.py")).unwrap();
    let path = folder.join(name);
    fs::write(&path, change(source)).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, permissions).unwrap();
}

#[test]
fn a_stage_in_python_groups_rows() {
    let row = |topic: &str, text: &str| json!({"topic": topic, "text": text});
    let given = [
        row("tea", "green"),
        row("sea", "wide"),
        row("tea", "a cup"),
        row("tea", "white tea"),
        json!({"text": "of nothing"}),
        json!({"topic": "bad"}),
    ];
    let folder = folder(&[
        ("foreign.toml", &pipeline("longest.py", "longest", "by = \"topic\"")),
        ("rows.jsonl", &lines(&given)),
    ]);
    python(folder.path(), "longest.py", |source| source);
    let ran = done(folder.path(), &["run", "foreign.toml", "--out", "out", "--workers", "2"]);
    assert_accounted(&ran);
    let (mut made, aside) = outcome(folder.path());
    made.sort_by_key(Value::to_string);
    assert_eq!(made, [row("sea", "wide"), row("tea", "white tea")]);
    let reasons: Vec<_> = aside.iter().map(|(_, reason)| reason.as_str()).collect();
    assert!(reasons.contains(&"KeyError: 'topic'") && reasons.contains(&"KeyError: 'text'"), "{reasons:?}");
    assert_eq!(counts(&ran, "act")[2], 2);
}

/// A program that does not keep to the protocol costs its items, or is refused before the run.
#[test]
fn a_program_that_does_not_speak_is_named() {
    type Change = fn(String) -> String;
    let refused: [(Change, &str); 5] = [
        (|_| "#!/bin/sh\necho hello\n".into(), "it does not speak the protocol"),
        (|_| "#!/bin/sh\nexit 3\n".into(), "its process ended: exit status: 3"),
        (|_| "no interpreter".into(), "its process cannot be started"),
        (|source| source.replace("\"input\": \"Json\"", "\"input\": \"Cup\""), "its input: `Cup` is not a record type"),
        (|source| source.replace("say({})", "say({\"failed\": \"not today\"})"), "not today"),
    ];
    for (change, said) in refused {
        let folder =
            folder(&[("foreign.toml", &pipeline("longest.py", "longest", "by = \"topic\"")), ("rows.jsonl", "")]);
        python(folder.path(), "longest.py", change);
        let ran = obvert(folder.path(), &["check", "foreign.toml"]);
        assert!(ran.code == 2 && ran.err.contains("longest") && ran.err.contains(said), "{said} is not in {}", ran.err);
    }
    let given = [
        json!({"topic": "tea", "text": "green"}),
        json!({"topic": "exit", "text": ""}),
        json!({"topic": "odd", "text": ""}),
        json!({"topic": "sea", "text": "wide"}),
    ];
    let folder = folder(&[
        ("foreign.toml", &pipeline("longest.py", "longest", "by = \"topic\"")),
        ("rows.jsonl", &lines(&given)),
    ]);
    let misbehave = "def run(settings, group):\n    if group[\"key\"] == \"exit\":\n        os._exit(5)\n    if group[\"key\"] == \"odd\":\n        return {\"records\": [1], \"unknown\": 2}\n";
    python(folder.path(), "longest.py", |source| source.replace("def run(settings, group):\n", misbehave));
    let ran = done(folder.path(), &["run", "foreign.toml", "--out", "out"]);
    assert_accounted(&ran);
    let (made, aside) = outcome(folder.path());
    assert_eq!(made.len(), 2);
    let reasons: String = aside.iter().map(|(_, reason)| format!("{reason}\n")).collect();
    assert!(reasons.contains("its process ended: exit status: 5 (2 attempts)"), "{reasons}");
    assert!(reasons.contains("unknown field `unknown`"), "{reasons}");
}

/// A plugin that is pinned is refused, before it is run, once it is another; with `--locked` only those that are pinned are used.
#[test]
fn a_pinned_plugin_is_what_it_was() {
    let pipeline = format!("# Ä\n{}", pipeline("longest.py", "longest", "by = \"topic\""));
    let folder = folder(&[("foreign.toml", &pipeline), ("rows.jsonl", "")]);
    python(folder.path(), "longest.py", |source| source);
    let check = |locked: &[&str]| obvert(folder.path(), &[&["check", "foreign.toml"], locked].concat());
    let unpinned = check(&["--locked"]);
    assert!(
        unpinned.code == 2 && unpinned.err.contains("is not pinned") && unpinned.err.contains("foreign.toml:4:12"),
        "{}",
        unpinned.err
    );
    let locked = done(folder.path(), &["lock", "foreign.toml"]).out;
    let pinned = fs::read_to_string(folder.path().join("foreign.toml")).unwrap();
    assert!(
        pinned.contains(&format!("plugins = [{{ path = \"longest.py\", blake3 = \"{}\" }}]", &locked[..64])),
        "{pinned}"
    );
    assert_eq!(check(&["--locked"]).code, 0);
    done(folder.path(), &["lock", "foreign.toml"]);
    assert_eq!(fs::read_to_string(folder.path().join("foreign.toml")).unwrap(), pinned);
    // It would leave a trace if it were run.
    python(folder.path(), "longest.py", |source| source.replace("import json\n", "import json\nopen('trace', 'w')\n"));
    for locked in [&[][..], &["--locked"]] {
        let changed = check(locked);
        assert!(changed.code == 2 && changed.err.contains("is not what it is pinned to"), "{}", changed.err);
    }
    assert!(!folder.path().join("trace").exists());
    done(folder.path(), &["lock", "foreign.toml"]);
    assert_eq!(check(&["--locked"]).code, 0);
    assert!(folder.path().join("trace").exists());
}
