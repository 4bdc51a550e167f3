//! What a sound file means.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{GOOD, check};
use crate::pipeline::{RunSettings, parse};

#[test]
fn a_sound_file_resolves() {
    let plan = check(GOOD, &[]).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(plan.name, "quickstart");
    assert_eq!(plan.run, RunSettings { workers: 2, ..RunSettings::default() });
    let models: Vec<_> = plan.models.iter().map(|model| (model.name.as_str(), model.limits.max_in_flight)).collect();
    assert_eq!(models, [("policy", 64), ("strong", 8)]);
    assert_eq!(plan.models[0].settings, json!({ "path": "/pipelines/tiny" }));
    let wiring: Vec<_> = plan.stages.iter().map(|stage| (stage.name.as_str(), stage.from.as_slice())).collect();
    let expected: [(&str, &[usize]); 8] = [
        ("profiles", &[]),
        ("personas", &[]),
        ("sessions", &[0]),
        ("play", &[2, 6]),
        ("respond", &[3]),
        ("judge", &[4]),
        ("next", &[5]),
        ("pairs", &[5]),
    ];
    assert_eq!(wiring, expected);
    assert_eq!(plan.stages[2].with, [1]);
    assert_eq!((plan.stages[2].location.line, plan.stages[2].location.column), (23, 8));
    assert_eq!(plan.stages[7].settings, json!({ "folders": ["/pipelines/out", "/abs"] }));
    assert_eq!(plan.stages[4].settings["sampling"], json!({ "temperature": 0.7, "stop": ["\n\n", "</s>"] }));
}

#[test]
fn arguments_replace_what_the_file_says() {
    let here = |path: &str| std::path::absolute(path).unwrap();
    let set = [
        "name=other",
        "run.seed=18446744073709551615",
        "sessions.turns=7",
        "stage.respond.sampling.top_p=0.9",
        "respond.schedule.cosine.warmup=3",
        "respond.device=\"cpu\"",
        "model.policy.path=here",
        "pairs.folders=[\"a\"]",
        "sessions.note=a = b",
    ];
    let plan = check(GOOD, &set).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((plan.name.as_str(), plan.run.seed), ("other", u64::MAX));
    assert_eq!(plan.stages[2].settings, json!({ "turns": 7, "note": "a = b" }));
    let respond = &plan.stages[4].settings;
    assert_eq!(respond["sampling"]["top_p"], 0.9);
    assert_eq!(respond["schedule"], json!({ "cosine": { "warmup": 3 } }));
    assert_eq!(respond["device"], "cpu");
    assert_eq!(plan.models[0].settings, json!({ "path": here("here") }));
    assert_eq!(plan.stages[7].settings, json!({ "folders": [here("a")] }));
}

#[test]
fn plugins_are_found_beside_the_file() {
    let text = "plugins = [\"lib/a.so\", 3, \"/b.so\"]";
    let document = parse(Path::new("/pipelines/p.toml"), text, &[]).unwrap();
    let paths: Vec<_> = document.plugins().into_iter().map(|plugin| plugin.path).collect();
    assert_eq!(paths, [PathBuf::from("/pipelines/lib/a.so"), PathBuf::from("/b.so")]);
    let hashes = ["aa".to_owned(), "bb".to_owned()];
    let pinned = document.pinned(&hashes).unwrap();
    let again = parse(Path::new("/pipelines/p.toml"), &pinned, &[]).unwrap();
    let found: Vec<_> = again.plugins().into_iter().map(|plugin| (plugin.path, plugin.blake3.unwrap())).collect();
    assert_eq!(found, paths.into_iter().zip(hashes).collect::<Vec<_>>());
    assert_eq!(again.pinned(&["aa".to_owned(), "bb".to_owned()]), Some(pinned));
    let spread = parse(Path::new("/p.toml"), "name = \"p\"\n[[plugins]]\npath = \"a.so\"\n", &[]).unwrap();
    assert_eq!((spread.plugins().len(), spread.pinned(&["aa".to_owned()])), (1, None));
    let accent = parse(Path::new("/p.toml"), "plugins = [\"e\u{301} \\\"b\\\".so\"]", &[]).unwrap();
    assert!(accent.pinned(&["aa".to_owned()]).is_some());
}
