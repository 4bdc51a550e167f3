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
    compiled_with(folder, source, library, "engine/api/include")
}

/// The same with the header of a folder of the repository.
fn compiled_with(folder: &Path, source: &Path, library: &str, header: &str) -> bool {
    let include = repository(header);
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
    let versions = ["engine/api/include", "engine/api/tests/v1"];
    for (isolation, version) in [("", 0), ("isolation = \"process\"", 0), ("", 1)] {
        let settings = format!("most = 5\n{isolation}");
        let folder = folder(&[
            ("foreign.toml", &pipeline("libshorten.so", "shorten", &settings)),
            ("rows.jsonl", &lines(&given)),
        ]);
        let source = repository("engine/api/examples/shorten.c");
        if !compiled_with(folder.path(), &source, "libshorten.so", versions[version]) {
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

/// A process that reads nothing, or closes its output and goes on, is given up in time.
#[test]
fn a_program_that_does_not_listen_or_speak_costs_its_item() {
    for (act, said) in [
        ("sys.stdin.close(); time.sleep(60)", "no answer within 1 s"),
        ("os.close(3); time.sleep(60)", "has closed its output"),
    ] {
        let settings = "by = \"topic\"\nisolation = \"process\"\ntimeout_s = 1";
        let given = [json!({"topic": "bad", "text": "x".repeat(1 << 20)}), json!({"topic": "tea", "text": "green"})];
        let folder =
            folder(&[("foreign.toml", &pipeline("longest.py", "longest", settings)), ("rows.jsonl", &lines(&given))]);
        let act = format!("def run(settings, group):\n    if group[\"key\"] == \"bad\":\n        {act}\n");
        python(folder.path(), "longest.py", |source| {
            let source =
                source.replace("def run(settings, group):\n", &act).replace("import sys", "import sys\nimport time");
            source
                .replace("os.fdopen(os.dup(1), \"w\")", "os.fdopen(os.dup2(1, 3), \"w\")")
                .replace("os.dup2(2, 1)", "os.dup2(2, 1); os.set_inheritable(3, False)")
        });
        let ran = done(folder.path(), &["run", "foreign.toml", "--out", "out"]);
        assert_accounted(&ran);
        let (made, aside) = outcome(folder.path());
        assert_eq!(made, [json!({"topic": "tea", "text": "green"})]);
        assert!(
            aside.len() == 1 && aside[0].1.contains(said),
            "{said} is not in {:?}",
            aside.iter().map(|(_, reason)| reason).collect::<Vec<_>>()
        );
    }
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

    // A line among the answers that is none costs the item that it comes before, and never another one's answer.
    let chatty = "def run(settings, group):\n    if group[\"key\"] == \"odd\":\n        os.write(3, b'{}\\n')\n";
    python(folder.path(), "longest.py", |source| {
        source.replace("def run(settings, group):\n", chatty).replace("os.dup(1)", "os.dup2(1, 3)")
    });
    let ran = done(folder.path(), &["run", "foreign.toml", "--out", "chatty"]);
    assert_accounted(&ran);
    let mut made = rows(&folder.path().join("chatty/out.jsonl"));
    made.sort_by_key(Value::to_string);
    assert_eq!(made.iter().map(|row| row["topic"].as_str().unwrap()).collect::<Vec<_>>(), ["exit", "sea", "tea"]);
    let aside = rows(&folder.path().join("chatty/rejected.jsonl"));
    assert!(aside.len() == 1 && aside[0]["reason"].as_str().unwrap().contains("missing field `item`"), "{aside:?}");
}

/// All that is wrong with the plugins is told at once, and none takes the place of another.
#[test]
fn plugins_that_cannot_be_are_all_named() {
    let names = ["longest.py", "other.py", "longst.py", "plain.txt"];
    let pipeline = pipeline("longest.py", "longest", "by = \"topic\"");
    let pipeline = pipeline.replace("[\"longest.py\"]", &format!("{names:?}"));
    let folder = folder(&[("foreign.toml", &pipeline), ("rows.jsonl", ""), ("plain.txt", "text")]);
    names[..2].iter().for_each(|name| python(folder.path(), name, |source| source));
    let refused = obvert(folder.path(), &["check", "foreign.toml"]);
    let said = [
        "other.py: its stage type `longest` is there already (",
        "foreign.toml:3:26",
        "longst.py: No such file or directory (os error 2); did you mean `",
        "/longest.py`?",
        "foreign.toml:3:38",
        "plain.txt: its process cannot be started: Permission denied (os error 13): is it executable (chmod +x)?",
    ];
    for said in said {
        assert!(refused.code == 2 && refused.err.contains(said), "{said} is not in {}", refused.err);
    }
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

/// A library whose stage does one thing with every row; ACT stands for it.
const HOSTILE: &str = r#"
#include "obvert.h"
static obvert_bytes lent(const char *text, size_t length) { obvert_bytes bytes = {(const uint8_t *)text, length}; return bytes; }
static void *create(const obvert_plugin *plugin, const obvert_host *host, obvert_bytes settings, void *call) { (void)plugin; (void)host; (void)settings; return call; }
static void destroy(void *instance) { (void)instance; }
static int32_t process(void *instance, const obvert_host *host, void *call, obvert_bytes batch) {
    obvert_reader items = {batch};
    obvert_bytes payload, key, row = {0, 0};
    uint8_t operation;
    uint32_t count, records;
    (void)instance, (void)host, (void)call, (void)lent;
    if (!obvert_read_batch(&items, OBVERT_CODEC_JSON, &operation, &count)) return 1;
    for (uint32_t item = 0; item < count && obvert_read_item(&items, &payload); item++) {
        obvert_reader run = {payload};
        obvert_read_item(&run, &key);
        obvert_read_u32(&run, &records);
        obvert_read_item(&run, &row);
        ACT
    }
    return 0;
}
static const char MANIFEST[] = "{\"name\": \"hostile\", \"version\": \"1\", \"kind\": \"map\", \"input\": \"INPUT\", \"with\": null,"
    " \"output\": \"Json\", \"settings\": {\"type\": \"object\"}}";
static const obvert_plugin PLUGIN = {sizeof PLUGIN, 1, 0, OBVERT_UNWINDS | OBVERT_JSON, {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1},
    create, process, destroy, 0};
const obvert_plugin *obvert_plugin_v1(uint32_t index) { return index ? 0 : &PLUGIN; }
"#;

/// Whatever a library says of its items, each ends with records or a reason that says what was wrong.
#[test]
fn a_library_that_misuses_the_border_is_told_of_it() {
    let acts = [
        ("host->refuse(call, item);", "the plugin called `refuse`, which is for chains only"),
        ("host->pass(call, item, 0);", "the plugin called `pass`, which is for chains only"),
        ("host->made(call, &count, 1);", "the plugin called `made`, which is for chains only"),
        ("host->emit(call, item, lent(\"x\", (size_t)1 << 62));", "it makes more than 64 MiB of one item"),
        (
            "host->fail(call, item, lent(\"no\", 2)); host->emit(call, item, row);",
            "no (what it made of the item after that is dropped)",
        ),
        ("host->emit(call, item, lent(0, 5));", "it passed a null pointer to 5 bytes"),
        ("host->fail(call, item, lent(0, 7));", "it passed a null pointer to 7 bytes"),
        ("host->emit(call, item + 7, row);", "answered for item 7 of a batch of 1"),
        ("return 3;", "refused the batch with code 3"),
        ("host->emit(call, item, lent(\"{\", 1));", "not a Json: EOF while parsing"),
        ("host->request(call, item, lent(\"{}\", 2));", "its request is unreadable: missing field `model`"),
    ];
    let made = |act: &str, input: &str| {
        let folder =
            folder(&[("foreign.toml", &pipeline("libhostile.so", "hostile", "")), ("rows.jsonl", "{\"id\": 1}\n")]);
        fs::write(folder.path().join("hostile.c"), HOSTILE.replace("ACT", act).replace("INPUT", input)).unwrap();
        compiled(folder.path(), Path::new("hostile.c"), "libhostile.so").then_some(folder)
    };
    for (act, said) in acts {
        let Some(folder) = made(act, "Json") else { return };
        let ran = done(folder.path(), &["run", "foreign.toml", "--out", "out"]);
        assert_accounted(&ran);
        let (made, aside) = outcome(folder.path());
        assert!(made.is_empty() && aside.len() == 1 && aside[0].1.contains(said), "{act}: {said} is not in {aside:?}");
    }
    let Some(folder) = made("", "Json") else { return };
    let endless = HOSTILE
        .replace("ACT", "")
        .replace("INPUT", "Json")
        .replace("return index ? 0 : &PLUGIN;", "(void)index; return &PLUGIN;");
    fs::write(folder.path().join("hostile.c"), endless).unwrap();
    compiled(folder.path(), Path::new("hostile.c"), "libhostile.so");
    let refused = obvert(folder.path(), &["check", "foreign.toml"]);
    assert!(refused.code == 2 && refused.err.contains("describes more than 1024 stages"), "{}", refused.err);
    let Some(folder) = made("", "Cup") else { return };
    let refused = obvert(folder.path(), &["check", "foreign.toml"]);
    let all = ["libhostile.so", "stage `hostile`: its input: `Cup` is not a record type", "foreign.toml:3:12"];
    assert!(refused.code == 2 && all.iter().all(|said| refused.err.contains(said)), "{}", refused.err);
    let Some(folder) = made("", "Turn") else { return };
    let refused = obvert(folder.path(), &["check", "foreign.toml"]);
    assert!(
        refused.code == 2 && refused.err.contains("takes Turn, but stage `rows` (`rows`) outputs Json"),
        "{}",
        refused.err
    );
}
