//! Tokenizers built from GGUF metadata, and read from tokenizer.json.

use std::fs;

use obvert_trainer::load::Tokenizer;
use serde_json::json;

use crate::gguf::{Gguf, Meta, add_tokenizer};

const MERGED: [(&str, &str); 8] =
    [("1", "2"), ("12", "3"), ("123", "4"), ("t", "h"), ("th", "e"), (" ", "the"), ("'", "S"), ("!", "\n")];

fn tokenizer(pre: &str) -> Result<Tokenizer, obvert_trainer::Error> {
    let mut gguf = Gguf::default();
    add_tokenizer(&mut gguf, pre, &MERGED);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    fs::write(&file, gguf.bytes().0).unwrap();
    Tokenizer::open(&file)
}

/// The text of each token.
fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().iter().map(|id| tokenizer.decode_with_special(&[*id]).unwrap()).collect()
}

#[test]
fn texts_are_cut_as_the_model_cuts_them() {
    let cases = [
        ("smollm", "1234 the", vec!["1", "2", "3", "4", " the"]),
        ("gpt-2", "1234 the", vec!["1234", " the"]),
        ("llama-bpe", "1234 the", vec!["123", "4", " the"]),
        ("qwen2", "1234 the", vec!["1", "2", "3", "4", " the"]),
        ("default", "1234 the", vec!["123", "4", " the"]),
        // Only these two take contractions in capitals, and line ends after punctuation.
        ("llama-bpe", "'S!\n", vec!["'S", "!\n"]),
        ("qwen2", "'S!\n", vec!["'S", "!\n"]),
        ("smollm", "'S!\n", vec!["'", "S", "!", "\n"]),
        // Marks are recognised anywhere; other text in brackets is text.
        ("smollm", "<|im_start|>the<|im_end|>", vec!["<|im_start|>", "the", "<|im_end|>"]),
        ("smollm", "<|x|>", vec!["<", "|", "x", "|", ">"]),
    ];
    for (pre, text, expected) in cases {
        assert_eq!(pieces(&tokenizer(pre).unwrap(), text), expected, "{pre} {text:?}");
    }
}

#[test]
fn any_text_survives() {
    let tokenizer = tokenizer("smollm").unwrap();
    for text in ["", "the  the\n\n\tthe", "Grüße, 世界 🦀 \u{0}", "a\u{301} é", " leading and trailing "] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
    }
    let marked = tokenizer.encode("<|im_start|>the<|im_end|>").unwrap();
    assert_eq!(tokenizer.decode(&marked).unwrap(), "the");
    assert_eq!(tokenizer.decode_with_special(&marked).unwrap(), "<|im_start|>the<|im_end|>");
}

#[test]
fn composed_characters_are_the_same_to_qwen2_only() {
    let same = |pre| {
        let tokenizer = tokenizer(pre).unwrap();
        tokenizer.encode("e\u{301}").unwrap() == tokenizer.encode("é").unwrap()
    };
    assert!(same("qwen2"));
    assert!(!same("llama-bpe"));
}

#[test]
fn marks_have_numbers() {
    let tokenizer = tokenizer("smollm").unwrap();
    let end = 256 + MERGED.len() as u32 + 1;
    assert_eq!(tokenizer.token("<|im_end|>"), Some(end));
    assert_eq!(tokenizer.eos(), [end]);
    assert!(tokenizer.is_special(end) && !tokenizer.is_special(65));
    assert_eq!(tokenizer.token("nothing"), None);
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    let message = tokenizer("tekken").map(drop).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.pre = tekken is not supported"), "{message}");
    let mut gguf = Gguf::default();
    add_tokenizer(&mut gguf, "smollm", &MERGED);
    gguf.set("tokenizer.ggml.model", Meta::Text("llama".into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    fs::write(&file, gguf.bytes().0).unwrap();
    let message = Tokenizer::open(&file).map(drop).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.model = llama is not supported"), "{message}");
}

#[test]
fn merges_outside_the_vocabulary_are_an_error() {
    let mut gguf = Gguf::default();
    add_tokenizer(&mut gguf, "smollm", &MERGED);
    gguf.set("tokenizer.ggml.merges", Meta::Texts(vec!["<|im_start|> <|im_end|>".into()]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    fs::write(&file, gguf.bytes().0).unwrap();
    let message = Tokenizer::open(&file).map(drop).unwrap_err().to_string();
    assert!(message.contains("tiny.gguf: tokenizer"), "{message}");
}

#[test]
fn a_folder_gives_the_same_tokens() {
    let original = tokenizer("llama-bpe").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&original.to_json().unwrap()).unwrap();
    json["truncation"] = json!({ "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0 });
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let config = json!({ "eos_token": { "content": "<|im_end|>" }, "chat_template": "" });
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    fs::write(folder.path().join("generation_config.json"), json!({ "eos_token_id": [3] }).to_string()).unwrap();
    let read = Tokenizer::open(folder.path()).unwrap();
    let text = "1234 the 'S <|im_start|> longer than three tokens";
    assert_eq!(read.encode(text).unwrap(), original.encode(text).unwrap());
    assert_eq!(read.eos(), [original.token("<|im_end|>").unwrap(), 3]);
}
