//! Conversations that are too long, with the quickstart's tokenizer and template.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use obvert_trainer::conversation::{Answer, Conversation, Fitted, Limits};
use obvert_trainer::load::{Checkpoint, Dialect, Message};
use obvert_trainer::loss::Sides;
use obvert_trainer::{Config, Error};

fn model() -> (Config, Dialect) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/quickstart/model");
    (Checkpoint::open(&path).unwrap().config, Dialect::open(&path).unwrap())
}

fn talk() -> Vec<Message> {
    let said = [
        ("system", "You are Leo."),
        ("user", "What do you know about bread?"),
        ("assistant", "Bread is warm."),
        ("user", "And tea?"),
        ("assistant", "Tea is sweet!"),
        ("user", "And the sea?"),
    ];
    said.map(|(role, content)| Message::new(role, content)).into()
}

const SHORT: Answer = Answer { text: "The sea is cold.", finished: true };
const LONG: Answer = Answer { text: "The sea is cold and I like it in the kitchen every day.", finished: true };

fn fit(max_length: Option<usize>, chosen: Answer, rejected: Answer, sides: Sides) -> Result<Fitted, Error> {
    let (config, dialect) = model();
    let prompt = talk();
    let conversation = Conversation { prompt: &prompt, chosen: Some(chosen), rejected: Some(rejected), gap: 1.0 };
    Limits { config: &config, max_length, sides }.fit(&conversation, &dialect)
}

/// Whatever the limit, the prompt is the system's words and whole last turns, the same whichever answer is the longer,
/// no answer is cut, and no turn is dropped that would have fitted.
#[test]
fn whole_turns_are_dropped_and_no_answer_is_cut() {
    let (_, dialect) = model();
    let prompts = [0, 2, 4].map(|dropped| [&talk()[..1], &talk()[1 + dropped..]].concat());
    let tokens = |prompt: &[Message], answer: Answer| dialect.pair(prompt, answer.text).unwrap();
    let lengths = prompts.each_ref().map(|prompt| {
        let (prompt, long) = tokens(prompt, LONG);
        prompt.len() + long.len()
    });
    let mut refused = 0;
    for limit in 1..lengths[0] + 2 {
        let expected = lengths.iter().position(|length| *length <= limit);
        let found = fit(Some(limit), SHORT, LONG, Sides::Both);
        let Some(dropped) = expected else {
            let error = found.unwrap_err().to_string();
            assert!(error.starts_with("max_length: ") && error.contains(&format!("at most {limit} fit")), "{error}");
            refused += 1;
            continue;
        };
        let Fitted { tokens: pair, shortened } = found.unwrap();
        assert_eq!(shortened, dropped > 0);
        assert_eq!((pair.prompt.clone(), pair.chosen.clone()), tokens(&prompts[dropped], SHORT));
        assert_eq!(pair.rejected, tokens(&prompts[dropped], LONG).1);
        let mirror = fit(Some(limit), LONG, SHORT, Sides::Both).unwrap().tokens;
        assert_eq!((mirror.prompt, mirror.chosen, mirror.rejected), (pair.prompt, pair.rejected, pair.chosen));
    }
    assert_eq!(refused, lengths[2] - 1);
}

#[test]
fn the_model_s_own_limit_holds_and_what_is_not_read_does_not_count() {
    assert!(!fit(None, SHORT, LONG, Sides::Both).unwrap().shortened);
    let words = "bread ".repeat(1200);
    let endless = Answer { text: words.trim(), finished: false };
    let error = fit(Some(1_000_000), SHORT, endless, Sides::Both).unwrap_err().to_string();
    assert!(error.contains("at most 1024 fit"), "{error}");
    let chosen = fit(None, SHORT, endless, Sides::Chosen).unwrap();
    assert!(!chosen.shortened && chosen.tokens.rejected.is_empty());
}
