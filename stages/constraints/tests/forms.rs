//! Single facts: wordings to the letter, refusals, and verdicts of Python's own engine.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use obvert_constraints::Constraint;
use serde_json::{Value, json};

fn read(form: &Value) -> Constraint {
    Constraint::from_json(form).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn plain_wordings_are_to_the_letter() {
    let wordings = [
        (json!({"type": "words", "at_least": 13}), "Write at least 13 words.", "Write at most 12 words."),
        (json!({"type": "words", "at_most": 12}), "Write at most 12 words.", "Write at least 13 words."),
        (json!({"type": "sentences", "at_least": 3}), "Write at least 3 sentences.", "Write at most 2 sentences."),
        (json!({"type": "sentences", "at_least": 2}), "Write at least 2 sentences.", "Write at most 1 sentence."),
        (json!({"type": "lines", "at_least": 2}), "Write at least 2 lines.", "Write at most 1 line."),
        (json!({"type": "upper_case"}), "Write only in capital letters.", "Use at least one small letter."),
        (json!({"type": "lower_case"}), "Write only in lower case.", "Use at least one capital letter."),
        (
            json!({"type": "begins_with", "word": "Well"}),
            "Begin with the word \"Well\".",
            "Do not begin with the word \"Well\".",
        ),
        (
            json!({"type": "ends_with", "phrase": "that is all"}),
            "End with the words \"that is all\".",
            "Do not end with the words \"that is all\".",
        ),
        (json!({"type": "contains", "word": "river"}), "Use the word \"river\".", "Do not use the word \"river\"."),
        (json!({"type": "comma"}), "Use at least one comma.", "Do not use any commas."),
        (
            count("river.", 1),
            "Use the keyword \"river.\" at least 1 time.",
            "Do not use the keyword \"river.\", not even inside a longer word.",
        ),
        (
            count("river", 3),
            "Use the keyword \"river\" at least 3 times.",
            "Use the keyword \"river\" fewer than 3 times, counting it inside longer words too.",
        ),
        (json!({"type": "digit"}), "Use at least one digit.", "Do not use any digits."),
        (json!({"type": "exclamation"}), "Use at least one exclamation mark.", "Do not use any exclamation marks."),
        (json!({"type": "question"}), "Ask at least one question.", "Do not ask any questions."),
        (language("de"), "Write the entire response in German.", "Write in a language other than German."),
        (
            json!({"type": "change_case:english_capital"}),
            "Write the entire response in English and in capital letters only.",
            "Do not write the entire response in English and in capital letters only.",
        ),
        (
            json!({"type": "change_case:english_lowercase"}),
            "Write the entire response in English and in small letters only.",
            "Do not write the entire response in English and in small letters only.",
        ),
        (capitals(3), "Use at least 3 all-capital words.", "Use fewer than 3 all-capital words."),
        (capitals(1), "Use at least 1 all-capital word.", "Use no all-capital words."),
        (english_sentences(3), "Write at least 3 sentences.", "Write fewer than 3 sentences."),
    ];
    for (form, text, reverse) in wordings {
        assert_eq!(read(&form).text(), text);
        assert_eq!(read(&form).reverse().text(), reverse);
    }
}

#[test]
fn refusals_name_type_field_and_cause() {
    let refusals = [
        (json!([]), "found an array"),
        (json!({"word": "x"}), "field `type`"),
        (json!({"type": "word"}), "unknown constraint type `word`; the nearest known type is `words`"),
        (json!({"type": "keywords:existance"}), "nearest known type is `keywords:existence`"),
        (json!({"type": "language:response_language", "language": "xx"}), "field `language`: must be a code"),
        (json!({"type": "comma", "reading": "multi_if"}), "field `reading`: only the types of IFEval"),
        (json!({"type": "startend:quotation", "reading": "ifeval"}), "must be \"multi_if\" or not there"),
        (json!({"type": "comma", "n": 1}), "`comma` has no field `n`; it takes no arguments"),
        (json!({"type": "comma", "negated": 1}), "`comma`, field `negated`: must be true or false"),
        (json!({"type": "contains"}), "`contains` needs the field `word`"),
        (json!({"type": "contains", "word": 3}), "`contains`, field `word`: must be a string"),
        (json!({"type": "contains", "word": "C++"}), "must begin and end with a letter"),
        (json!({"type": "begins_with", "word": "New York"}), "must be one word"),
        (json!({"type": "ends_with", "phrase": "all."}), "are ignored at the end"),
        (json!({"type": "words"}), "needs the field `at_least`"),
        (json!({"type": "words", "at_least": 0}), "must be an integer of at least 1, found 0"),
        (json!({"type": "words", "at_most": -1}), "must be an integer of at least 0, found -1"),
        (json!({"type": "words", "at_least": 2, "at_most": 3}), "cannot stand beside"),
        (json!({"type": "words", "at_most": u64::MAX}), "too large"),
        (json!({"type": "keywords:existence", "keywords": []}), "list of one or more strings"),
        (json!({"type": "keywords:existence", "keywords": ["("]}), "field `keywords`: `(` is not a regular expression"),
        (json!({"type": "keywords:existence", "keywords": ["a**"]}), "nothing to repeat"),
        (json!({"type": "keywords:existence", "keywords": ["a*"]}), "matches the empty text"),
        (json!({"type": "keywords:existence", "keywords": [r"(a)\1"]}), "cannot be carried over"),
        (json!({"type": "keywords:existence", "keywords": [r"(\w{1000}){1000}"]}), "field `keywords`"),
        (
            json!({"type": "length_constraints:number_words", "num_words": 3, "relation": "at most"}),
            "must be \"at least\" or \"less than\", found \"at most\"",
        ),
        (
            json!({"type": "length_constraints:nth_paragraph_first_word", "num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}),
            "field `nth_paragraph`: is 3",
        ),
    ];
    for (form, message) in refusals {
        let error = Constraint::from_json(&form).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn ifeval_ignores_arguments_that_are_false_in_python() {
    let kwargs = json!({"keyword": null, "num_words": 20, "relation": "less than", "language": "", "frequency": 0});
    let constraint = Constraint::from_ifeval("length_constraints:number_words", &kwargs).unwrap();
    assert_eq!(
        constraint.to_json(),
        json!({"type": "length_constraints:number_words", "num_words": 20, "relation": "less than"})
    );
    assert!(Constraint::from_ifeval("punctuation:no_comma", &Value::Null).is_ok());
    assert!(Constraint::from_ifeval("words", &json!({"at_least": 3})).is_err());
}

fn keyword(pattern: &str) -> Value {
    json!({"type": "keywords:existence", "keywords": [pattern]})
}

fn ending(phrase: &str) -> Value {
    json!({"type": "ends_with", "phrase": phrase})
}

fn count(pattern: &str, n: usize) -> Value {
    json!({"type": "keywords:frequency", "keyword": pattern, "frequency": n, "relation": "at least"})
}

fn words(n: usize) -> Value {
    json!({"type": "length_constraints:number_words", "num_words": n, "relation": "at least"})
}

fn forbidden(word: &str) -> Value {
    json!({"type": "keywords:forbidden_words", "forbidden_words": [word]})
}

fn language(code: &str) -> Value {
    json!({"type": "language:response_language", "language": code})
}

fn capitals(n: usize) -> Value {
    json!({"type": "change_case:capital_word_frequency", "capital_frequency": n, "capital_relation": "at least"})
}

fn english_sentences(n: usize) -> Value {
    json!({"type": "length_constraints:number_sentences", "num_sentences": n, "relation": "at least"})
}

fn sentences(n: usize) -> Value {
    json!({"type": "sentences", "at_least": n})
}

#[test]
fn verdicts_are_those_of_python() {
    let (json_format, paragraphs) = (
        json!({"type": "detectable_format:json_format"}),
        json!({"type": "length_constraints:number_paragraphs", "num_paragraphs": 2}),
    );
    let verdicts = [
        // A combining mark splits a word, a fraction and a superscript are words.
        (words(2), "e\u{301}t", true),
        (words(2), "½ ²", true),
        (words(2), "x\u{200d}", false),
        // A last word is not the end of a longer one, save for IFEval.
        (ending("all"), "That is all.", true),
        (ending("all"), "ALL", true),
        (ending("all"), "I like football.", false),
        (ending("all"), "my_all!", false),
        (ending("all"), "non-all", true),
        (ending("all"), "\u{301}all", true),
        (ending("-all"), "non-all", true),
        (ending("all of it"), "football of it", false),
        (ending("ÉTÉ"), "un été \"", true),
        (ending("ÉTÉ"), "l½été", false),
        (json!({"type": "startend:end_checker", "end_phrase": "all"}), "I like football", true),
        // Boundaries follow the same notion of a word.
        (forbidden("caf"), "caf\u{301}e", false),
        (forbidden("river"), "riverbed rivers", true),
        (forbidden("river"), "The RIVER.", false),
        (forbidden("a|b"), "xb", false),
        (forbidden("a|b"), "bx", true),
        // Case-insensitive letters.
        (keyword("i"), "İ", true),
        (keyword("[a-k]"), "ı", true),
        (keyword("ss"), "ß", false),
        (keyword("k"), "\u{212a}", true),
        // Syntax that other engines read otherwise.
        (keyword("a{b"), "a{b", true),
        (keyword("a{,2}b"), "b", true),
        (keyword("[[a]"), "[", true),
        (keyword("[a&&b]"), "&", true),
        (keyword("[]x]"), "]", true),
        (keyword(r"end$"), "the end\n", true),
        (keyword(r"end$"), "the end\n\n", false),
        (keyword(r"end\Z"), "the end\n", false),
        (keyword(r"\x41\u00e9"), "aÉ", true),
        (keyword(r"a\sb"), "a\u{1c}b", true),
        (keyword("(?P<n>a)b"), "AB", true),
        (keyword("eco-friendly"), "Eco-Friendly", true),
        (count("aa", 2), "aaaa", true),
        (count("aa", 2), "aaa", false),
        (count(r"\b", 4), "a b", true),
        (count(r"\b", 5), "a b", false),
        // JSON as Python reads it.
        (json_format.clone(), "[NaN, -Infinity, 1e999, \"\\ud800 NaN\"]", true),
        (json_format.clone(), "-NaN", false),
        (json_format.clone(), "1NaN", false),
        (json_format.clone(), "```JSON\n{\"a\": \"\\\"NaN\"}\n```", true),
        (json_format.clone(), "{'a': 1}", false),
        (json_format, "\"a\nb\"", false),
        (paragraphs.clone(), "a***b***", true),
        (paragraphs.clone(), "***a\n***\nb", true),
        (paragraphs.clone(), "a******b", false),
        (paragraphs, "a***b***c", false),
        // What langdetect fails on passes for every language.
        (language("de"), "12, 34!", true),
        (language("de"), "Der Fluss ist breit.", true),
        (language("de"), "The river is wide and the bridge is old.", false),
        (json!({"type": "change_case:english_capital"}), "THE RIVER IS WIDE AND THE BRIDGE IS OLD.", true),
        (json!({"type": "change_case:english_capital"}), "The River is wide and the bridge is old.", false),
        (json!({"type": "change_case:english_capital"}), "РЕКА ШИРОКА, А МОСТ СТАР.", false),
        (json!({"type": "change_case:english_capital"}), "12, 34!", false),
        (json!({"type": "change_case:english_lowercase"}), "the river is wide and the bridge is old.", true),
        (json!({"type": "change_case:english_lowercase"}), "der fluss ist breit und die brücke ist alt.", false),
        // Words as the Treebank sets them apart.
        (capitals(2), "DON'T", true),
        (capitals(3), "DON'T", false),
        (capitals(3), "CANNOT \"NASA\"", true),
        (capitals(1), "NASA's.", true),
        (capitals(1), "Nasa 12 NASAs AT&t", true),
        (capitals(2), "Nasa 12 NASAs AT&t", false),
        (capitals(1), "x-RAY", false),
        (capitals(1), "T-1000", true),
        (capitals(2), "A:B", true),
        (capitals(2), "A:1B", false),
        // Sentences as Punkt splits them.
        (english_sentences(2), "Mr. Smith came. He left.", true),
        (english_sentences(3), "Mr. Smith came. He left.", false),
        (english_sentences(2), "One.Two", false),
        // Sentences of the plain type.
        (sentences(2), "One. Two", true),
        (sentences(2), "One.Two", false),
        (sentences(2), "One?! ... (Two) ", true),
        (sentences(2), "One. ... !", false),
        (sentences(3), "1.5 is it. \"Is it?\" Yes. No!", true),
        (sentences(4), "1.5 is it. \"Is it?\" Yes. No!", false),
    ];
    for (form, text, verdict) in verdicts {
        assert_eq!(read(&form).check(text), verdict, "{form} on {text:?}");
    }
}

/// A search that would take exponential time ends, and the two polarities stay complements.
#[test]
fn a_costly_pattern_ends() {
    let constraint = read(&keyword(r"(?:(?=a)a+)+\bz"));
    let text = "a".repeat(2000);
    assert!(!constraint.check(&text));
    assert!(constraint.reverse().check(&text));
}
