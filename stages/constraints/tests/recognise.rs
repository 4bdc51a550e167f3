//! Demands that are recognised by their wording, and such that only look like them.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use obvert_constraints::Constraint;
use serde_json::{Value, json};

fn recognised(demand: &str) -> Value {
    Constraint::recognise(demand).unwrap_or_else(|| panic!("{demand} is not recognised")).to_json()
}

#[test]
fn what_is_worded_here_is_recognised_in_both_polarities() {
    for form in [
        json!({"type": "words", "at_least": 3}),
        json!({"type": "sentences", "at_most": 2}),
        json!({"type": "lines", "at_least": 1}),
        json!({"type": "comma"}),
        json!({"type": "digit"}),
        json!({"type": "exclamation"}),
        json!({"type": "question"}),
        json!({"type": "contains", "word": "river"}),
        json!({"type": "begins_with", "word": "Well"}),
        json!({"type": "ends_with", "phrase": "that is all"}),
    ] {
        let constraint = Constraint::from_json(&form).unwrap();
        for constraint in [constraint.reverse(), constraint] {
            assert_eq!(Constraint::recognise(&constraint.text()), Some(constraint.clone()), "{}", constraint.text());
        }
    }
}

#[test]
fn other_wordings_are_recognised() {
    for (demand, form) in [
        ("Your answer must contain at most 50 words.", json!({"type": "words", "at_most": 50})),
        ("Use fewer than 50 words", json!({"type": "words", "at_most": 49})),
        ("Keep the answer under 50 words.", json!({"type": "words", "at_most": 49})),
        ("Limit your response to no more than three sentences.", json!({"type": "sentences", "at_most": 3})),
        ("Respond with more than two lines.", json!({"type": "lines", "at_least": 3})),
        ("Always use at least ten words in total!", json!({"type": "words", "at_least": 10})),
        ("Avoid commas.", json!({"type": "comma", "negated": true})),
        ("The response must contain no digits.", json!({"type": "digit", "negated": true})),
        (
            "You must not mention the word \u{201c}price\u{201d}.",
            json!({"type": "contains", "word": "price", "negated": true}),
        ),
        ("Never mention the word \"price\".", json!({"type": "contains", "word": "price", "negated": true})),
        ("The answer must contain the word \"amber\".", json!({"type": "contains", "word": "amber"})),
        (
            "The answer must not contain the word \"amber\".",
            json!({"type": "contains", "word": "amber", "negated": true}),
        ),
        ("The answer must not contain any commas.", json!({"type": "comma", "negated": true})),
        ("Start every reply with the word \"Ahoy\".", json!({"type": "begins_with", "word": "Ahoy"})),
        ("Answer in all lowercase letters.", json!({"type": "lower_case"})),
        ("Write entirely in capital letters.", json!({"type": "upper_case"})),
        ("Give the entire response as valid JSON.", json!({"type": "detectable_format:json_format"})),
        (
            "Use exactly 3 markdown bullet points.",
            json!({"type": "detectable_format:number_bullet_lists", "num_bullets": 3}),
        ),
    ] {
        assert_eq!(recognised(demand), Constraint::from_json(&form).unwrap().to_json(), "{demand}");
    }
}

#[test]
fn what_only_looks_like_one_is_left_to_a_judge() {
    for demand in [
        "Use at most 50 words per paragraph.",
        "Write at least 3 words of French.",
        "Use exactly 50 words.",
        "When asked about tea, use at most 50 words.",
        "Do not use commas in lists.",
        "Use the word \"river\" twice.",
        "Mention the word \"river\" or the word \"sea\".",
        "Begin with the words of a poem.",
        "End with the phrase \"Yours, Leo.\"",
        "Do not write in capital letters.",
        "Use at least one comma and one digit.",
        "Ask at least two questions.",
        "Ask any questions.",
        "Include the word count.",
        "Do not mention the word limit.",
        "Write over three lines.",
        "Write with capital letters.",
        "Use the exact word \"NASA\".",
        "Use the word \"你好\".",
        "Use exactly 3 bullet points.",
        "",
    ] {
        assert_eq!(Constraint::recognise(demand), None, "{demand}");
    }
}

#[test]
fn contradictions_are_seen_where_forms_tell() {
    let check = |one: Value, two: Value| {
        let [one, two] = [one, two].map(|form| Constraint::from_json(&form).unwrap());
        assert_eq!(one.contradicts(&two), two.contradicts(&one));
        one.contradicts(&two)
    };
    assert!(check(json!({"type": "words", "at_least": 30}), json!({"type": "words", "at_most": 20})));
    assert!(!check(json!({"type": "words", "at_least": 10}), json!({"type": "words", "at_most": 20})));
    assert!(!check(json!({"type": "words", "at_least": 30}), json!({"type": "lines", "at_most": 20})));
    assert!(check(json!({"type": "comma"}), json!({"type": "comma", "negated": true})));
    assert!(!check(json!({"type": "comma"}), json!({"type": "comma"})));
    assert!(check(json!({"type": "contains", "word": "a"}), json!({"type": "contains", "word": "a", "negated": true})));
    assert!(!check(
        json!({"type": "contains", "word": "a"}),
        json!({"type": "contains", "word": "b", "negated": true})
    ));
}
