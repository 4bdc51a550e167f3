//! A pair as a row of a data set: the columns that JSONL, Parquet and the card share.
//!
//! Explicit prompt, conversational, as TRL's preference trainers read it. No column is ever null or missing:
//! loaders infer a column's type from the first rows, and a null there breaks the rest.

use obvert_api::record::{Message, Pair, PairConstraint};
use serde::Serialize;

/// One directed pair; the fields are the columns, in their order.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    /// The system prompt x_S, the history and the query; ends with the user.
    pub prompt: &'a [Message],
    /// One assistant message.
    pub chosen: [Said<'a>; 1],
    /// One assistant message.
    pub rejected: [Said<'a>; 1],
    pub id: &'a str,
    pub g: u32,
    /// 1 to 6, before reversal.
    pub case: u8,
    /// `g` under the name that per-pair margin trainers look for.
    pub margin_g: u32,
    pub dialogue: &'a str,
    pub turn: u32,
    pub profile: &'a str,
    /// The reversed constraints as they stand in x_S; empty where the chosen response was perfect already.
    pub reversed: Vec<&'a str>,
    pub constraints: Vec<ConstraintRow<'a>>,
    pub provenance: Provenance<'a>,
}

/// A message of the assistant.
#[derive(Serialize)]
pub(crate) struct Said<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

/// One constraint; `chosen` and `rejected` are the verdicts on the original: `yes`, `no` or `n/a`.
#[derive(Serialize)]
pub(crate) struct ConstraintRow<'a> {
    pub id: &'a str,
    /// As it stands in x_S.
    pub text: &'a str,
    pub original: &'a str,
    pub reversed: bool,
    pub active: bool,
    pub chosen: &'static str,
    pub rejected: &'static str,
}

/// Where the two responses come from.
#[derive(Serialize)]
pub(crate) struct Provenance<'a> {
    pub chosen_model: &'a str,
    pub chosen_sample: u32,
    /// Whether the model ended the response itself, rather than the limit of tokens.
    pub chosen_finished: bool,
    pub rejected_model: &'a str,
    pub rejected_sample: u32,
    pub rejected_finished: bool,
}

impl<'a> From<&'a Pair> for Row<'a> {
    fn from(pair: &'a Pair) -> Self {
        Row {
            prompt: &pair.prompt,
            chosen: [Said { role: "assistant", content: &pair.chosen }],
            rejected: [Said { role: "assistant", content: &pair.rejected }],
            id: &pair.id,
            g: pair.g,
            case: pair.case,
            margin_g: pair.g,
            dialogue: &pair.dialogue,
            turn: pair.turn,
            profile: &pair.profile,
            reversed: pair.constraints.iter().filter(|c| c.reversed).map(|c| c.text.as_str()).collect(),
            constraints: pair.constraints.iter().map(ConstraintRow::from).collect(),
            provenance: Provenance {
                chosen_model: &pair.chosen_model,
                chosen_sample: pair.chosen_sample,
                chosen_finished: pair.chosen_finished,
                rejected_model: &pair.rejected_model,
                rejected_sample: pair.rejected_sample,
                rejected_finished: pair.rejected_finished,
            },
        }
    }
}

impl<'a> From<&'a PairConstraint> for ConstraintRow<'a> {
    fn from(constraint: &'a PairConstraint) -> Self {
        ConstraintRow {
            id: &constraint.id,
            text: &constraint.text,
            original: &constraint.original,
            reversed: constraint.reversed,
            active: constraint.active,
            chosen: verdict(constraint.chosen),
            rejected: verdict(constraint.rejected),
        }
    }
}

/// A verdict as a word.
pub(super) fn verdict(satisfied: Option<bool>) -> &'static str {
    match satisfied {
        Some(true) => "yes",
        Some(false) => "no",
        None => "n/a",
    }
}
