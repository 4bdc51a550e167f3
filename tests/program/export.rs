//! `export`: rows in, checked by the rules of each tool, and what the tool needs out.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Ran, done, folder, obvert, rows};
use crate::slow::prepared;

const TOOLS: [&str; 4] = ["trl", "llama-factory", "axolotl", "openrlhf"];

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A row that all tools take.
fn good() -> Value {
    json!({
        "prompt": [said("system", "Be brief."), said("user", "And tea?")],
        "chosen": [said("assistant", "Tea is sweet!")],
        "rejected": [said("assistant", "Tea, which I like.")],
        "g": 2, "id": "p1", "dialogue": "d1", "reversed": ["Do not be kind."], "case": 1,
    })
}

/// A good row but for one column.
fn with(column: &str, value: Value) -> String {
    let mut row = good();
    row[column] = value;
    row.to_string()
}

/// Rows, each with what trl, llama-factory, axolotl and openrlhf have against it.
fn cases() -> Vec<(String, [&'static str; 4])> {
    let ask = said("user", "And tea?");
    let tea = said("assistant", "Tea is sweet!");
    vec![
        (good().to_string(), [""; 4]),
        ("{".into(), ["not JSON"; 4]),
        (with("prompt", json!(3)), ["`prompt` is not a list of messages"; 4]),
        (with("chosen", json!([{"role": "assistant"}])), ["a message of `chosen` has no role or no content"; 4]),
        (with("prompt", json!([])), ["`prompt` has no message"; 4]),
        (with("prompt", json!([ask, tea])), ["`prompt` ends with a message of the assistant"; 4]),
        (with("rejected", json!([said("user", "Tea")])), ["`rejected` begins with a message of the user"; 4]),
        (with("chosen", json!([tea, ask, tea])), ["", "`chosen` is 3 messages", "`chosen` is 3 messages", ""]),
        (with("prompt", json!([ask, ask])), ["", "message 2 is from \"human\"", "", ""]),
        (
            with("prompt", json!([said("critic", "Hm."), ask])),
            ["the role `critic`", "message 1 is from \"critic\"", "the role `critic`", "the role `critic`"],
        ),
        (with("prompt", json!([said("user", "What is on <image>?")])), ["", "`<image>` in a message", "", ""]),
        (with("chosen", json!([said("assistant", "")])), ["", "", "`chosen` is empty", ""]),
        (with("rejected", json!([said("assistant", " Tea.\n")])), ["", "", "`rejected` has white space around it", ""]),
        (with("rejected", json!([said("assistant", "user")])), ["", "", "`rejected` is also part of", ""]),
        (with("g", json!("high")), ["`g` is not a whole number from 0"; 4]),
        (with("g", Value::Null), [""; 4]),
        (String::new(), [""; 4]),
    ]
}

fn export(folder: &Path, pairs: &str, to: &str, more: &[&str]) -> Ran {
    obvert(folder, &[&["export", pairs, "--to", to, "--out", to], more].concat())
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn data(folder: &Path, to: &str) -> Vec<Value> {
    rows(&folder.join(to).join(if to == "llama-factory" { "rpo.jsonl" } else { "pairs.jsonl" }))
}

#[test]
fn every_row_is_exported_or_set_aside_with_the_rule_that_it_breaks() {
    let cases = cases();
    let lines: Vec<&str> = cases.iter().map(|(line, _)| line.as_str()).collect();
    let folder = folder(&[("pairs.jsonl", &lines.join("\n"))]);
    let files = [
        ["README.md", "pairs.parquet", "rejected.jsonl", "rpo_trl.py", "train.py"].as_slice(),
        &["README.md", "dataset_info.json", "rejected.jsonl", "rpo.jsonl", "rpo.yaml"],
        &["README.md", "pairs.jsonl", "rejected.jsonl", "rpo.yaml"],
        &["README.md", "pairs.jsonl", "rejected.jsonl", "train.sh"],
    ];
    for (index, to) in TOOLS.into_iter().enumerate() {
        let ran = export(folder.path(), "pairs.jsonl", to, &[]);
        let against: Vec<(usize, &str)> = cases.iter().enumerate().map(|(at, case)| (at + 1, case.1[index])).collect();
        let against: Vec<_> = against.into_iter().filter(|(_, rule)| !rule.is_empty()).collect();
        // The last line is empty, and no row.
        let all = cases.len() - 1;
        let told = format!("in {all} = out {} + rejected {}\n", all - against.len(), against.len());
        assert!(ran.code == 0 && ran.out.starts_with(&told), "{to}: {told} {} {}", ran.out, ran.err);
        assert!(ran.err.contains(" 1 of "), "{to}: {}", ran.err);
        let aside = rows(&folder.path().join(to).join("rejected.jsonl"));
        assert_eq!(aside.len(), against.len(), "{to}");
        for (row, (line, rule)) in aside.iter().zip(against) {
            let found = row["rule"].as_str().unwrap();
            assert!(row["line"] == line && row["file"] == "pairs.jsonl" && found.contains(rule), "{to}: {row} {rule}");
        }
        assert_eq!(names(&folder.path().join(to)), files[index]);
    }
}

#[test]
fn rows_are_as_each_tool_reads_them() {
    let folder = folder(&[("pairs.jsonl", &format!("{}\n{}\n{}", good(), with("g", json!(1)), with("id", json!(7))))]);
    for to in TOOLS {
        let ran = export(folder.path(), "pairs.jsonl", to, &["--model", "it's/a \"model\""]);
        assert!(
            ran.code == 0 && ran.err.is_empty() && ran.out.starts_with("in 3 = out 3 + rejected 0\n"),
            "{}",
            ran.err
        );
        assert!(!folder.path().join(to).join("rejected.jsonl").exists(), "{to}");
    }
    let [prompt, chosen, rejected, reversed] =
        ["prompt", "chosen", "rejected", "reversed"].map(|key| good()[key].clone());
    let named = json!({"margin_g": 2, "id": "p1", "dialogue": "d1", "reversed": reversed});
    let with = |mut row: Value| {
        row.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        row
    };
    let openrlhf = with(json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}));
    assert_eq!(data(folder.path(), "openrlhf")[0], openrlhf);
    let axolotl = with(json!({"messages": prompt, "chosen": chosen[0], "rejected": rejected[0]}));
    assert_eq!(data(folder.path(), "axolotl")[0], axolotl);
    let llama_factory = json!({
        "conversations": [{"from": "human", "value": "And tea?"}], "system": "Be brief.",
        "chosen": {"from": "gpt", "value": "Tea is sweet!"}, "rejected": {"from": "gpt", "value": "Tea, which I like."},
        "id": "p1", "g": 2,
    });
    assert_eq!(data(folder.path(), "llama-factory")[0], llama_factory);
    assert_eq!(data(folder.path(), "axolotl")[2]["id"], "7");
    let said = [
        ("trl/train.py", r#"else "it's/a \"model\"""#),
        ("trl/train.py", "gradient_accumulation_steps=2,"),
        ("axolotl/rpo.yaml", r#"base_model: "it's/a \"model\"""#),
        ("llama-factory/rpo.yaml", r#"model_name_or_path: "it's/a \"model\"""#),
        ("llama-factory/dataset_info.json", r#""file_name": "rpo.jsonl""#),
        ("openrlhf/train.sh", r#"--model.model_name_or_path 'it'\''s/a "model"' \"#),
        ("openrlhf/train.sh", "--train.batch_size 2 "),
        ("openrlhf/README.md", "# 3 pairs for OpenRLHF"),
    ];
    for (file, text) in said {
        let found = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(found.contains(text), "{file}: {found}");
    }
}

#[test]
fn a_folder_is_one_tools_and_what_cannot_be_exported_says_so() {
    let folder = folder(&[("pairs.jsonl", &good().to_string()), ("bad.jsonl", "{\n3\n"), ("axolotl/mine.txt", "")]);
    let ran = |pairs, to| export(folder.path(), pairs, to, &[]);
    let told =
        |ran: &Ran, code: i32, text: &str| assert!(ran.code == code && ran.err.contains(text), "{text}: {}", ran.err);
    told(&ran("pairs.jsonl", "axolotl"), 2, "`mine.txt` is in it");
    assert_eq!(names(&folder.path().join("axolotl")), ["mine.txt"]);
    told(
        &ran("pairs.jsonl", "torchtune"),
        2,
        "it can be trl, llama-factory, axolotl, openrlhf, vllm, llama.cpp, ollama",
    );
    told(&ran("none.jsonl", "trl"), 1, "none.jsonl: ");
    told(&ran("axolotl", "trl"), 1, "axolotl: no pairs.jsonl in it");
    let nothing = ran("bad.jsonl", "openrlhf");
    told(&nothing, 1, "bad.jsonl: no row can be exported to openrlhf");
    assert!(nothing.out.starts_with("in 2 = out 0 + rejected 2\n"), "{}", nothing.out);
    assert_eq!(names(&folder.path().join("openrlhf")), ["rejected.jsonl"]);
    fs::write(folder.path().join("odd.jsonl"), [good().to_string().as_bytes(), b"\n\"\xff\"\n"].concat()).unwrap();
    assert!(ran("odd.jsonl", "openrlhf").out.starts_with("in 2 = out 1 + rejected 1\n"));
    // What is there of the same tool is replaced, and what it made stays.
    fs::create_dir(folder.path().join("openrlhf/out")).unwrap();
    assert_eq!(ran("pairs.jsonl", "openrlhf").code, 0);
    assert_eq!(names(&folder.path().join("openrlhf")), ["README.md", "out", "pairs.jsonl", "train.sh"]);
}

/// Reads the pairs of a run as a Hugging Face data set.
const BACK: &str = r#"
name = "back"

[stage.pairs]
type = "rows"
path = "out/pairs"

[stage.kept]
type = "jsonl"
from = "pairs"
"#;

/// The pairs of a run, from its folder or theirs, in one file or several; and what the card says of them.
#[test]
fn a_runs_pairs_are_exported() {
    let folder = prepared();
    fs::write(folder.path().join("back.toml"), BACK).unwrap();
    let set = ["pairs.license=mit", "pairs.languages=[\"en\", \"de\"]", "train.updates=1"];
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
    done(folder.path(), &[&["run", "slow.toml", "--out", "out"], &set[..]].concat());
    let card = fs::read_to_string(folder.path().join("out/pairs/README.md")).unwrap();
    for text in ["license: \"mit\"\nlanguage:\n- \"en\"\n- \"de\"\n", "obvert export --to trl . --out DIR"] {
        assert!(card.contains(text), "{card}");
    }
    let refused = obvert(folder.path(), &["check", "slow.toml", "--set", "pairs.license=Apache 2"]);
    assert!(refused.code == 2 && refused.err.contains("`Apache 2` is not an identifier"), "{}", refused.err);
    let expected = rows(&folder.path().join("out/pairs/pairs.jsonl"));
    // Data set in: what the card names is Parquet.
    done(folder.path(), &["run", "back.toml", "--out", "back"]);
    assert_eq!(rows(&folder.path().join("back/kept.jsonl")), expected);
    for pairs in ["out", "out/pairs", "out/pairs/pairs.jsonl"] {
        let ran = export(folder.path(), pairs, "openrlhf", &[]);
        let found = data(folder.path(), "openrlhf");
        assert!(ran.code == 0 && found.len() == expected.len() && ran.err.is_empty(), "{pairs}: {}", ran.err);
        let same = |column: &str| found.iter().zip(&expected).all(|(a, b)| a[column] == b[column]);
        assert!(["prompt", "chosen", "rejected", "margin_g", "id", "dialogue", "reversed"].into_iter().all(same));
    }
    let parts = ["pairs-00000-of-00002.jsonl", "pairs-00001-of-00002.jsonl"];
    fs::create_dir(folder.path().join("set")).unwrap();
    parts.iter().for_each(|name| fs::write(folder.path().join("set").join(name), good().to_string()).unwrap());
    assert!(export(folder.path(), "set", "openrlhf", &[]).out.starts_with("in 2 = out 2 + rejected 0\n"));
}
