//! Multi-IF's reading of the types.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use obvert_constraints::Constraint;
use serde_json::{Value, json};

fn read(id: &str, kwargs: &Value) -> Constraint {
    Constraint::from_multi_if(id, kwargs).unwrap_or_else(|error| panic!("{error}"))
}

/// The number that the constraint counts.
fn count(id: &str, field: &str, text: &str) -> usize {
    let least = |n: usize| read(id, &json!({field: n, "relation": "at least"}));
    (1..).find(|n| !least(*n).check(text)).unwrap() - 1
}

/// What Multi-IF's functions count.
#[test]
fn sentences_and_words_are_counted_by_language() {
    for (text, sentences, words) in [
        ("こんにちは、ジェイソンさん、Jason? Nice to meet you☺ ❤", 2, 19),
        ("河流很宽。桥很旧！真的吗？", 3, 10),
        ("他说：“河流很宽”。\n桥 很旧", 2, 9),
        ("नदी चौड़ी है। पुल पुराना है।", 2, 10),
        ("Mr. Smith came. He left.", 2, 5),
        ("แม่น้ำกว้าง สะพานเก่า", 2, 5),
    ] {
        assert_eq!(count("length_constraints:number_sentences", "num_sentences", text), sentences, "{text}");
        assert_eq!(count("length_constraints:number_words", "num_words", text), words, "{text}");
    }
}

#[test]
fn quotation_marks_of_chinese_and_japanese_count() {
    let (quotation, ifeval) =
        (read("startend:quotation", &json!({})), Constraint::from_ifeval("startend:quotation", &Value::Null).unwrap());
    for (text, verdict) in
        [("“河”", true), ("「河」", true), ("\"a\"", true), ("“河\"", false), ("”河“", false), ("“", false)]
    {
        assert_eq!(quotation.check(text), verdict, "{text}");
        assert_eq!(ifeval.check(text), text == "\"a\"", "{text}");
    }
}

#[test]
fn a_blank_response_is_checked_strictly() {
    let no_comma = read("punctuation:no_comma", &json!({}));
    assert!(no_comma.check(" ") && !no_comma.reverse().check(" ") && !no_comma.check_loose(" "));
    assert!(!no_comma.check("") && !no_comma.reverse().check(""));
}

#[test]
fn the_reading_is_part_of_the_form() {
    let quotation = read("startend:quotation", &json!({}));
    assert_eq!(quotation.to_json(), json!({"type": "startend:quotation", "reading": "multi_if"}));
    assert_eq!(Constraint::from_json(&quotation.to_json()).unwrap(), quotation);
    assert_ne!(Constraint::from_ifeval("startend:quotation", &Value::Null).unwrap(), quotation);
    assert!(Constraint::from_multi_if("words", &json!({"at_least": 3})).is_err());
}

/// Every instruction of the English conversations is one that can be decided.
#[test]
fn every_instruction_can_be_read() {
    let Some(shared) = common::shared() else {
        eprintln!("SKIPPED: every_instruction_can_be_read: no shared data");
        return;
    };
    let mut rows = csv::Reader::from_path(shared.join("data/multi_if/english.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let mut instructions = BTreeSet::new();
    for row in rows.records().map(Result::unwrap) {
        let list = |turn: usize, name: &str| -> Vec<String> {
            let column = columns.iter().position(|column| column == format!("turn_{turn}_{name}")).unwrap();
            serde_json::from_str(&row[column]).unwrap_or_default()
        };
        for turn in 1..=3 {
            instructions.extend(list(turn, "instruction_id_list").into_iter().zip(list(turn, "kwargs")));
        }
    }
    let build = |id: &str, kwargs: &str| Constraint::from_multi_if(id, &serde_json::from_str(kwargs).unwrap());
    let errors: Vec<_> = instructions.iter().filter_map(|(id, kwargs)| build(id, kwargs).err()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(instructions.len() > 400, "{}", instructions.len());
}
