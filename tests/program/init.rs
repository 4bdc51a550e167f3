//! Folders to begin with: what `init` makes runs at once.

use std::fs;

use tempfile::TempDir;

use crate::common::{counts, done, obvert, rows};

fn made(template: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ran = done(folder.path(), &["init", "demo", "--template", template]);
    assert!(ran.out.contains("cd demo"), "{}", ran.out);
    folder
}

#[test]
fn every_template_is_sound_and_its_tests_hold() {
    for template in ["quickstart", "endpoint", "pairs", "watch"] {
        let folder = made(template);
        let demo = folder.path().join("demo");
        // Without a name the file is the one that `init` has made; its schema is beside it.
        assert!(done(&demo, &["validate"]).out.contains("no errors"), "{template}");
        assert!(done(&demo, &["test", "pipeline.toml"]).out.starts_with("ok"), "{template}");
        let text = fs::read_to_string(demo.join("pipeline.toml")).unwrap();
        assert!(text.starts_with("#:schema ./pipeline.schema.json\n"), "{text}");
        let schema: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(demo.join("pipeline.schema.json")).unwrap()).unwrap();
        assert!(schema["definitions"]["stage.judge"].is_object(), "its own plugins are in it");
        // Beside a reference draft-07 sees nothing: `type` and `from` would be unknown there.
        let tables = schema["definitions"].as_object().unwrap().iter().filter(|(name, _)| name.starts_with("stage."));
        tables.for_each(|(name, table)| {
            assert!(table.get("$ref").is_none() && table["properties"]["type"].is_object(), "{name}")
        });
    }
}

#[test]
fn pairs_are_made_of_a_folder_and_a_model_is_trained_on_them() {
    let folder = made("watch");
    let demo = folder.path().join("demo");
    let ran = done(&demo, &["run"]);
    assert_eq!(counts(&ran, "profiles")[0], 12);
    let pairs = rows(&demo.join("runs/watch/pairs/pairs.jsonl"));
    assert!(pairs.len() > 100, "{}", ran.out);
    // Every verb takes the file that is there where none is named.
    let id = pairs[0]["id"].as_str().unwrap();
    assert!(done(&demo, &["trace", id]).out.contains("\npair (pair)\n"));
    let explained = done(&demo, &["explain", "--out", "runs/watch", id]).out;
    let asked = |stage: &str| explained.lines().filter(|line| line.split("  ").next() == Some(stage)).count();
    assert!(asked("play") >= 1 && asked("respond") >= 2, "{explained}");
    assert!(explained.contains("in the memo, 0 to be made\n"), "{explained}");
    assert!(done(&demo, &["preview", "-n", "1"]).out.contains("profiles (profiles): 1 records"));
    assert!(obvert(&demo, &["test", "no such"]).err.contains("pipeline.toml has no such [[test]]"));
    // A run that cannot begin takes the place of the one before it for those who look.
    let top = || done(&demo, &["top", "runs/watch"]).out;
    assert!(top().contains("watch: done"), "{}", top());
    fs::remove_dir_all(demo.join("runs/watch/pairs")).unwrap();
    fs::write(demo.join("runs/watch/pairs"), "in the way").unwrap();
    assert_eq!(obvert(&demo, &["run"]).code, 1);
    assert!(top().contains("watch: failed") && top().contains("stage `pairs`"), "{}", top());
    let state = demo.join("runs/watch/state");
    fs::remove_dir_all(state.join("memo")).unwrap();
    fs::write(state.join("memo"), "in the way").unwrap();
    assert_eq!(obvert(&demo, &["run"]).code, 1);
    assert!(top().contains("watch: failed") && top().contains("state/memo"), "{}", top());
    // One that finds another run there leaves that one's place alone.
    let (held, before) = (fs::File::options().append(true).open(state.join("lock")).unwrap(), top());
    held.lock().unwrap();
    let ran = obvert(&demo, &["run"]);
    assert!(ran.code == 1 && ran.err.contains("another run is using this folder"), "{}", ran.err);
    assert_eq!(top(), before);
    let refused = |arguments: &[&str], cause: &str| {
        let ran = obvert(&demo, arguments);
        assert!(ran.code == 2 && ran.err.contains(cause), "{arguments:?}: {}", ran.err);
    };
    refused(&["ui", "nowhere"], "nowhere: there is no such folder");
    refused(&["memo", "nowhere"], "nowhere: no run has been here");
    // A folder is no pipeline file.
    refused(&["test", "runs"], "pipeline.toml has no such [[test]]");
    let folder = made("train");
    let demo = folder.path().join("demo");
    // As `init` says, but for the length.
    let train = "train --model quickstart/model --pairs pairs.jsonl --out adapter --lr 4e-3";
    assert!(done(folder.path(), &["init", "again", "--template", "train"]).out.contains(train));
    done(&demo, &train.split(' ').collect::<Vec<_>>());
    assert!(demo.join("adapter/adapter_model.safetensors").exists());
}

#[test]
fn a_file_that_is_not_there_is_explained() {
    let folder = made("watch");
    let said = |arguments: &[&str]| {
        let ran = obvert(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{}", ran.err);
        ran.err
    };
    assert!(said(&["run"]).contains("`obvert init demo` makes a folder with a pipeline"));
    assert!(said(&["run", "demo"]).contains("did you mean `demo/pipeline.toml`?"));
    assert!(said(&["check", "demo/pipelin.toml"]).contains("did you mean `demo/pipeline.toml`?"));
}

#[test]
fn the_endpoint_is_the_one_that_is_named_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["init", "demo", "--template", "endpoint", "--base-url", "http://tea:9/v1", "--model", "milk"];
    done(folder.path(), &arguments);
    let pipeline = fs::read_to_string(folder.path().join("demo/pipeline.toml")).unwrap();
    assert!(pipeline.contains("base_url = \"http://tea:9/v1\"\nmodel = \"milk\"") && !pipeline.contains('@'));
    let again = obvert(folder.path(), &arguments);
    assert!(again.code == 2 && again.err.contains("demo is there already, and not empty"), "{}", again.err);
}
