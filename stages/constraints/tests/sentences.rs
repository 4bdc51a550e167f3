//! The types that split sentences, with the crate's own parameters: how often they agree with the public scorer, and with NLTK.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use obvert_constraints::Punkt;

/// Least share of verdicts that agree.
const VERDICTS: f64 = 0.995;
/// Sentences that NLTK 3.9.1 finds in all responses.
const NLTK: usize = 59_743;
/// Least share of responses that are split into as many sentences as with NLTK's parameters.
const COUNTS: f64 = 0.98;

const TYPES: [&str; 2] = ["change_case:capital_word_frequency", "length_constraints:number_sentences"];

#[test]
fn verdicts_agree_without_the_parameters_of_nltk() {
    let Some(shared) = common::shared() else {
        eprintln!("SKIPPED: verdicts_agree_without_the_parameters_of_nltk: no shared data");
        return;
    };
    let agreements = common::agreements(&shared, |kind| TYPES.contains(&kind));
    for agreement in agreements.values() {
        assert!(common::share([agreement]) >= VERDICTS, "{}", agreement.wrong.join("\n"));
    }
    assert_eq!(agreements.len(), TYPES.len());
}

#[test]
fn the_parameters_come_near_those_of_nltk() {
    let Some(shared) = common::shared() else {
        eprintln!("SKIPPED: the_parameters_come_near_those_of_nltk: no shared data");
        return;
    };
    let [own, nltk] =
        [Punkt::english(), Punkt::from_file(shared.join("data/nlp/punkt_english_params.json"))].map(Result::unwrap);
    let responses = common::responses(&shared);
    let texts: Vec<&str> = responses.iter().filter_map(|entry| entry["response"].as_str()).collect();
    assert_eq!(texts.iter().map(|text| nltk.sentences(text).len()).sum::<usize>(), NLTK);
    let alike = texts.iter().filter(|text| own.sentences(text).len() == nltk.sentences(text).len()).count();
    eprintln!("{alike} of {} responses have as many sentences", texts.len());
    assert!(alike as f64 / texts.len() as f64 >= COUNTS);
}

#[test]
fn parameters_are_chosen_once() {
    assert!(Punkt::from_file("there/is/no.json").err().unwrap().to_string().contains("there/is/no.json"));
    let form = serde_json::json!({"type": TYPES[1], "num_sentences": 2, "relation": "at least"});
    assert!(obvert_constraints::Constraint::from_json(&form).unwrap().check("A Mr. Smith came. He left."));
    let late = Punkt::english().unwrap().use_everywhere();
    assert!(late.unwrap_err().to_string().contains("in use already"));
}

#[test]
fn english_is_split_where_sentences_end() {
    let punkt = Punkt::english().unwrap();
    for (text, sentences) in [
        (
            "Mr. Smith met J. Bach at 5 p.m. on Oct. 3. He left.",
            &["Mr. Smith met J. Bach at 5 p.m. on Oct. 3.", "He left."][..],
        ),
        ("He lives in the U.S. The river is there.", &["He lives in the U.S.", "The river is there."]),
        ("Is it? (Yes.) \"It is!\" ... and more", &["Is it?", "(Yes.)", "\"It is!\"", "... and more"]),
        ("It costs 3.50 at no. 5, etc., at x.org", &["It costs 3.50 at no.", "5, etc., at x.org"]),
        ("1. One\n2. Two\n\nThree", &["1.", "One\n2.", "Two\n\nThree"]),
        (" \n", &[]),
    ] {
        assert_eq!(punkt.sentences(text), sentences, "{text}");
    }
    // In a time that grows with the square of the length this would take a minute.
    assert_eq!(punkt.sentences(&"...".repeat(100_000)).len(), 1);
}
