//! What people say about a run's records from outside: a verdict is wrong, a pair must not be used.

use serde::{Deserialize, Serialize};

use super::{Record, Response, id_of};

/// A verdict that takes the place of the judge's, on one constraint of one response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Id of the dialogue.
    pub dialogue: String,
    /// Index of the turn, from 0.
    pub turn: u32,
    /// Index of the sample, from 0.
    pub sample: u32,
    /// Id of the constraint.
    pub constraint: String,
    /// The verdict; `None` where the constraint cannot apply to the response.
    pub satisfied: Option<bool>,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: String,
    /// The response that was looked at: where another one has come in its place, the correction says nothing of it. Without it
    /// the correction is of whatever stands there.
    #[serde(default)]
    pub response: Option<String>,
}

impl Record for Correction {
    const NAME: &'static str = "Correction";
}

impl Correction {
    /// Whether it is of this response.
    pub fn is_of(&self, response: &Response) -> bool {
        self.place() == response.place() && self.response.as_ref().is_none_or(|text| *text == response.text)
    }

    /// A key over dialogue, turn and sample.
    pub fn place(&self) -> String {
        place(&self.dialogue, self.turn, self.sample)
    }
}

impl Response {
    /// A key over dialogue, turn and sample: what a [`Correction`] finds it by.
    pub fn place(&self) -> String {
        place(&self.turn.session.dialogue, self.turn.session.turn, self.sample)
    }
}

fn place(dialogue: &str, turn: u32, sample: u32) -> String {
    id_of(&[dialogue, &turn.to_string(), &sample.to_string()])
}

/// A pair that must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// Id of the pair.
    pub pair: String,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: String,
}

impl Record for Veto {
    const NAME: &'static str = "Veto";
}
