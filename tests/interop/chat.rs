//! Chat templates and tokens are those of transformers.

use std::collections::BTreeMap;
use std::path::Path;

use obvert_trainer::load::{ChatTemplate, Dialect, Message};
use serde_json::Value;

use crate::common::{folder, rows};
use crate::python::python;

fn messages(row: &Value) -> Vec<Message> {
    serde_json::from_value(row["messages"].clone()).unwrap()
}

fn ids(rendered: &Value) -> Vec<u32> {
    serde_json::from_value(rendered["ids"].clone()).unwrap()
}

/// What differs, if anything does: the prompt's text or tokens, or the tokens of prompt and answer together.
fn difference(dialect: &Dialect, row: &Value) -> Option<String> {
    let messages = messages(row);
    let expected = row["prompt"]["text"].as_str().unwrap();
    let text = dialect.template.render(&messages, true).unwrap();
    if text != expected {
        return Some(format!("text {text:?}, in transformers {expected:?}"));
    }
    if dialect.prompt(&messages).unwrap() != ids(&row["prompt"]) {
        return Some(format!("tokens of {text:?}"));
    }
    let pair = dialect.pair(&messages, row["answer"].as_str().unwrap());
    match (pair, row["kept"].as_bool().unwrap()) {
        (Ok(pair), true) => differing_pair(pair, row),
        (Ok(_), false) => Some("a pair that should be refused".into()),
        (Err(error), true) => Some(format!("refused: {error}")),
        (Err(_), false) => None,
    }
}

fn differing_pair((prompt, response): (Vec<u32>, Vec<u32>), row: &Value) -> Option<String> {
    let (whole, found) = (ids(&row["whole"]), [&prompt[..], &response].concat());
    let same = prompt == ids(&row["prompt"]) && whole.starts_with(&found);
    (!same).then(|| format!("prompt and response {found:?}, in transformers {whole:?}"))
}

fn assert_alike(name: &str, path: &Path, expected: &[Value]) {
    let dialect = Dialect::open(path).unwrap();
    let differences: Vec<_> = expected
        .iter()
        .filter_map(|row| Some(format!("{} + {}: {}", row["messages"], row["answer"], difference(&dialect, row)?)))
        .collect();
    assert!(differences.is_empty(), "{name}: {} differ\n{}", differences.len(), differences.join("\n"));
    eprintln!("{name}: {} conversations give the same text and tokens", expected.len());
}

#[test]
fn conversations_give_the_text_and_tokens_of_transformers() {
    let Some(python) = python("conversations_give_the_text_and_tokens_of_transformers") else { return };
    let scratch = folder(&[]);
    python.run("chat.py", &[scratch.path().to_str().unwrap()]);
    let mut models: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows(&scratch.path().join("rows.jsonl")) {
        models.entry(row["model"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    models.iter().for_each(|(name, rows)| assert_alike(name, &scratch.path().join(name), rows));
    if let (Some(rows), Some(gguf)) = (models.get("smollm2"), python.smollm2()) {
        assert_alike("smollm2, from GGUF", &gguf, rows);
    }
    assert_templates(&rows(&scratch.path().join("templates.jsonl")));
}

/// Every template says the same, or refuses the same conversations.
fn assert_templates(rows: &[Value]) {
    let variables = || BTreeMap::from([("bos_token".into(), "<s>".into()), ("eos_token".into(), "</s>".into())]);
    let mut differences = Vec::new();
    for row in rows {
        let template = ChatTemplate::new(row["source"].as_str().unwrap(), variables());
        let found = template.and_then(|template| template.render(&messages(row), true));
        let found = found.map_err(|error| error.to_string());
        let same = match (&found, row["text"].as_str()) {
            (Ok(found), Some(text)) => found == text,
            (Err(_), None) => true,
            _ => false,
        };
        if !same {
            let expected = row["text"].as_str().unwrap_or(row["error"].as_str().unwrap_or_default());
            differences
                .push(format!("{}: {}\n  found {found:?}\n  expected {expected:?}", row["name"], row["messages"]));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ\n{}", differences.len(), rows.len(), differences.join("\n"));
    eprintln!("{} conversations under published templates give the same text", rows.len());
}
