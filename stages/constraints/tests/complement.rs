//! Exact complements, round trips and wordings, for every type.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use obvert_constraints::{Constraint, is_blank};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Constraints of every type, with arguments that the texts below can meet and miss.
fn forms() -> Vec<Value> {
    vec![
        json!({"type": "change_case:capital_word_frequency", "capital_frequency": 1, "capital_relation": "less than"}),
        json!({"type": "change_case:capital_word_frequency", "capital_frequency": 3, "capital_relation": "at least"}),
        json!({"type": "change_case:english_capital"}),
        json!({"type": "change_case:english_lowercase"}),
        json!({"type": "combination:repeat_prompt", "prompt_to_repeat": "A river"}),
        json!({"type": "combination:two_responses"}),
        json!({"type": "detectable_content:number_placeholders", "num_placeholders": 1}),
        json!({"type": "detectable_content:number_placeholders", "num_placeholders": 2}),
        json!({"type": "detectable_content:postscript", "postscript_marker": "P.P.S"}),
        json!({"type": "detectable_content:postscript", "postscript_marker": "P.S."}),
        json!({"type": "detectable_content:postscript", "postscript_marker": "Section"}),
        json!({"type": "detectable_format:constrained_response"}),
        json!({"type": "detectable_format:json_format"}),
        json!({"type": "detectable_format:multiple_sections", "num_sections": 1, "section_spliter": "Section"}),
        json!({"type": "detectable_format:multiple_sections", "num_sections": 2, "section_spliter": "Section"}),
        json!({"type": "detectable_format:number_bullet_lists", "num_bullets": 1}),
        json!({"type": "detectable_format:number_highlighted_sections", "num_highlights": 1}),
        json!({"type": "detectable_format:number_highlighted_sections", "num_highlights": 3}),
        json!({"type": "detectable_format:title"}),
        json!({"type": "keywords:existence", "keywords": ["river"]}),
        json!({"type": "keywords:existence", "keywords": ["river", r"W\w+l(?=[,.!]|\s|$)"]}),
        json!({"type": "keywords:forbidden_words", "forbidden_words": ["river"]}),
        json!({"type": "keywords:forbidden_words", "forbidden_words": ["river", "well|yes"]}),
        json!({"type": "keywords:frequency", "frequency": 1, "keyword": "river", "relation": "less than"}),
        json!({"type": "keywords:frequency", "frequency": 2, "keyword": r"\bé?\w", "relation": "at least"}),
        json!({"type": "keywords:letter_frequency", "letter": "#", "let_frequency": 1, "let_relation": "at least"}),
        json!({"type": "keywords:letter_frequency", "letter": "E", "let_frequency": 3, "let_relation": "less than"}),
        json!({"type": "language:response_language", "language": "de"}),
        json!({"type": "language:response_language", "language": "en"}),
        json!({"type": "length_constraints:nth_paragraph_first_word", "first_word": "Well", "nth_paragraph": 1, "num_paragraphs": 2}),
        json!({"type": "length_constraints:number_paragraphs", "num_paragraphs": 2}),
        json!({"type": "length_constraints:number_sentences", "num_sentences": 2, "relation": "at least"}),
        json!({"type": "length_constraints:number_sentences", "num_sentences": 3, "relation": "less than"}),
        json!({"type": "length_constraints:number_sentences", "num_sentences": 2, "relation": "at least", "reading": "multi_if"}),
        json!({"type": "length_constraints:number_words", "num_words": 5, "relation": "less than", "reading": "multi_if"}),
        json!({"type": "length_constraints:number_words", "num_words": 4, "relation": "at least"}),
        json!({"type": "length_constraints:number_words", "num_words": 1, "relation": "less than"}),
        json!({"type": "punctuation:no_comma"}),
        json!({"type": "startend:end_checker", "end_phrase": "that is all."}),
        json!({"type": "startend:quotation"}),
        json!({"type": "startend:quotation", "reading": "multi_if"}),
        json!({"type": "begins_with", "word": "Well"}),
        json!({"type": "comma"}),
        json!({"type": "contains", "word": "river"}),
        json!({"type": "digit"}),
        json!({"type": "ends_with", "phrase": "that is all"}),
        json!({"type": "exclamation"}),
        json!({"type": "lines", "at_least": 2}),
        json!({"type": "lines", "at_most": 1}),
        json!({"type": "lower_case"}),
        json!({"type": "question"}),
        json!({"type": "sentences", "at_least": 2}),
        json!({"type": "sentences", "at_most": 2}),
        json!({"type": "upper_case"}),
        json!({"type": "words", "at_least": 3}),
        json!({"type": "words", "at_most": 5}),
    ]
}

/// Pieces that make and break every feature.
const PIECES: &[&str] = &[
    "Well",
    "well,",
    "A river",
    "river",
    "riverbed",
    "that is all.",
    "that is all",
    "it's",
    "Yes",
    "no",
    "one 1",
    "½",
    "²",
    "été",
    "e\u{301}",
    "ß",
    "İ",
    "ı",
    "日本",
    "👍🏽",
    "\u{200d}",
    "_",
    "__x__",
    "\u{301}",
    "#",
    " ",
    " ",
    " ",
    " ",
    "\n",
    "\n",
    "\n\n",
    "\t",
    "\u{a0}",
    "\u{1c}",
    "\r\n",
    "* ",
    "*",
    "**",
    "***",
    "******",
    "*bold*",
    "**bold**",
    "- ",
    "---",
    "\n- item",
    "\n* item",
    ",",
    "،",
    ".",
    "!",
    "?",
    "?!",
    "...",
    "\"",
    "\"",
    "'",
    "“",
    "[name]",
    "[",
    "]",
    "[]",
    "<<",
    ">>",
    "<<Title>>",
    "Section 1",
    "Section 2",
    "SECTION",
    "P.S.",
    "p. s. x",
    "P.P.S",
    "My answer is yes.",
    "```json",
    "```",
    "{\"a\": 1}",
    "{",
    "}",
    "NaN",
    "-Infinity",
    "[1, 2]",
    "null",
];

/// Whole texts that features about the entire response need.
const WHOLE: &[&str] = &[
    "{\"a\": [1, NaN]}",
    "```json\n{\"a\": \"\\ud800\"}\n```",
    "\"A river, quoted.\"",
    "One answer.\n******\nAnother one.",
    "One.\n***\nTwo.",
    "Well, yes.\n\nSecond paragraph.",
    "A river is wide. that is all.",
    "the river is wide and the bridge is old.",
    "THE RIVER IS WIDE AND THE BRIDGE IS OLD.",
    "Der Fluss ist breit. Niemand weiß, wie alt die Brücke ist.",
    "河流很宽。桥很旧！真的吗？",
    "नदी चौड़ी है। पुल पुराना है।",
    "“A river, quoted.”",
    "Mr. Smith met J. Bach of NASA. They DON'T agree.",
];

fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 1..14).prop_map(|pieces| pieces.concat());
    let whole = prop::sample::select(WHOLE).prop_map(str::to_owned);
    let sandwich = (prop::sample::select(PIECES), whole.clone(), prop::sample::select(PIECES));
    prop_oneof![
        6 => pieces,
        2 => whole,
        1 => sandwich.prop_map(|(before, text, after)| format!("{before}{text}{after}")),
        2 => any::<String>(),
    ]
    .prop_filter("not blank", |text| !is_blank(text))
}

fn constraints() -> Vec<Constraint> {
    forms().iter().map(|form| Constraint::from_json(form).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Whether a language has to be detected, which takes a thousand times as long as anything else.
fn is_slow(constraint: &Constraint) -> bool {
    let form = constraint.to_json();
    form["reading"] == "multi_if" || constraint.kind().contains("english") || constraint.kind().contains("language")
}

fn check_complement(constraint: &Constraint, text: &str) -> Result<(), TestCaseError> {
    let satisfied = constraint.check(text);
    prop_assert!(satisfied ^ constraint.reverse().check(text), "{:?} on {:?}", constraint, text);
    prop_assert!(!satisfied || constraint.check_loose(text));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_one_of_a_constraint_and_its_reverse_holds(text in texts()) {
        for constraint in constraints_once().iter().filter(|constraint| !is_slow(constraint)) {
            check_complement(constraint, &text)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_one_of_a_constraint_on_language_and_its_reverse_holds(text in texts()) {
        for constraint in constraints_once().iter().filter(|constraint| is_slow(constraint)) {
            check_complement(constraint, &text)?;
        }
    }
}

/// The constraints, compiled once.
fn constraints_once() -> &'static [Constraint] {
    static CONSTRAINTS: std::sync::LazyLock<Vec<Constraint>> = std::sync::LazyLock::new(constraints);
    &CONSTRAINTS
}

#[test]
fn the_texts_satisfy_and_violate_every_constraint() {
    let mut runner = TestRunner::deterministic();
    let samples: Vec<String> = (0..4000).map(|_| texts().new_tree(&mut runner).unwrap().current()).collect();
    for constraint in constraints_once() {
        let samples = if is_slow(constraint) { &samples[..800] } else { &samples };
        let satisfied = samples.iter().filter(|text| constraint.check(text)).count();
        assert!((10..=samples.len() - 10).contains(&satisfied), "{constraint:?}: {satisfied} of {}", samples.len());
    }
}

#[test]
fn every_type_is_covered() {
    let covered: BTreeSet<&str> = constraints_once().iter().map(Constraint::kind).collect();
    assert_eq!(covered, Constraint::types().collect());
}

#[test]
fn reversing_twice_changes_nothing() {
    for constraint in constraints_once() {
        assert_ne!(&constraint.reverse(), constraint);
        assert_eq!(&constraint.reverse().reverse(), constraint);
    }
}

#[test]
fn json_goes_round() {
    for (form, constraint) in forms().iter().zip(constraints_once()) {
        assert_eq!(&constraint.to_json(), form);
        let reverse = constraint.reverse();
        assert_eq!(Constraint::from_json(&reverse.to_json()), Ok(reverse));
        let mut negated = form.clone();
        negated["negated"] = true.into();
        assert_eq!(Constraint::from_json(&negated), Ok(constraint.reverse()));
    }
}

#[test]
fn a_blank_response_satisfies_nothing() {
    for constraint in constraints_once() {
        for blank in ["", " \n\t", "\u{a0}\u{1c}"] {
            assert!(!constraint.check_loose(blank), "{constraint:?}");
            // To Multi-IF's strict score only an empty response is none.
            if blank.is_empty() || constraint.to_json()["reading"].is_null() {
                assert!(!constraint.check(blank) && !constraint.reverse().check(blank), "{constraint:?}");
            } else {
                assert!(constraint.check(blank) ^ constraint.reverse().check(blank), "{constraint:?}");
            }
        }
    }
}

#[test]
fn each_polarity_has_a_sentence_of_its_own() {
    for constraint in constraints_once() {
        let texts = [constraint.text(), constraint.reverse().text()];
        assert_ne!(texts[0], texts[1]);
        for text in texts {
            assert!(text.starts_with(char::is_uppercase) && text.ends_with('.'), "{text}");
            assert!(!text.split_whitespace().any(|word| word == "may"), "{text}");
        }
    }
}
