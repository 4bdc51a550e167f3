//! `eval`: benchmarks' scores of files.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::common::{done, folder, obvert, rows, shared};

const PROMPTS: &str = r#"{"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
{"key": 2, "prompt": "?", "instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"relation": "at least", "num_words": 3}]}
"#;

#[test]
fn ifevals_four_accuracies_and_its_verdicts() {
    let folder = folder(&[("prompts.jsonl", PROMPTS)]);
    let packed = fs::File::create(folder.path().join("responses.jsonl.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(b"{\"key\": 2, \"response\": \"Two words.\"}\n{\"key\": 1, \"response\": \"Here:\\n\\\"Tea and bread\\\"\"}\n").unwrap();
    packed.finish().unwrap();
    let files = ["--prompts", "prompts.jsonl", "--responses", "responses.jsonl.gz", "--verdicts", "out.jsonl"];
    let ran = done(folder.path(), &[&["eval", "ifeval"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    let value = |name: &str| scores[name]["value"].as_f64().unwrap();
    assert_eq!([value("prompt_strict"), value("prompt_loose")], [0.0, 0.5]);
    assert_eq!([value("instruction_strict"), value("instruction_loose")], [1.0 / 3.0, 2.0 / 3.0]);
    let verdicts = rows(&folder.path().join("out.jsonl"));
    assert_eq!(verdicts[1].to_string(), r#"{"key":1,"strict":[true,false],"loose":[true,true]}"#);
}

#[test]
fn rows_that_do_not_fit_are_named_and_nothing_is_printed() {
    let folder = folder(&[
        ("prompts.jsonl", PROMPTS),
        ("other.jsonl", "{\"key\": 9, \"response\": \"\"}\n"),
        ("bad.jsonl", "{\"key\": 1}\n{\n"),
    ]);
    let failed = |responses: &str, said: &str| {
        let ran = obvert(folder.path(), &["eval", "ifeval", "--prompts", "prompts.jsonl", "--responses", responses]);
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(said), "{said} is not in {}", ran.err);
    };
    failed("other.jsonl", "the response to prompt 9: there is no such prompt");
    failed("bad.jsonl", "bad.jsonl:2: not JSON");
    failed("nothing.jsonl", "nothing.jsonl: not a");
}

#[test]
fn sysbenchs_figures_by_model() {
    let Some(sessions) = shared("data/sysbench/sessions.jsonl.gz") else { return };
    let verdicts = shared("data/sysbench/verdicts_own_history.jsonl.gz").unwrap();
    let folder = folder(&[]);
    let files = ["--sessions", sessions.to_str().unwrap(), "--verdicts", verdicts.to_str().unwrap()];
    let ran = done(folder.path(), &[&["eval", "sysbench"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(scores.as_object().unwrap().len(), 14);
    let model = &scores["gpt4o"];
    assert!(model["sessions"] == 250 && model["csr"]["value"].as_f64().unwrap() > 0.8, "{model}");
    assert!(model["no_no"]["isr"]["value"].as_f64() >= model["all_yes"]["isr"]["value"].as_f64());
}
