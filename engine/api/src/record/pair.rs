//! What training consumes and makes: preference pairs and adapters.

use serde::{Deserialize, Serialize};

use super::{Message, Record};
use crate::{Error, Json};

/// One constraint of a pair's instruction x_S, with both verdicts on the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairConstraint {
    /// Id of the constraint.
    pub id: String,
    /// The demand as it stands in x_S.
    pub text: String,
    /// The demand as it stood in the profile; equals `text` unless reversed.
    pub original: String,
    /// Whether x_S holds the reversal.
    pub reversed: bool,
    /// How a program decides `text`, if one can.
    pub check: Option<Json>,
    /// Whether the constraint is active in the pair's turn (an inactive one stays in x_S but counts for nothing).
    pub active: bool,
    /// Verdict on the chosen response, of the original.
    pub chosen: Option<bool>,
    /// Verdict on the rejected response, of the original.
    pub rejected: Option<bool>,
    /// Whether the verdict on the chosen response was put right from outside: nobody judges it again.
    #[serde(default)]
    pub corrected: bool,
}

/// A preference pair: under `prompt` the chosen response satisfies every active constraint, the rejected one all but g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Stable id from turn and both responses.
    pub id: String,
    /// Id of the dialogue.
    pub dialogue: String,
    /// Index of the turn, from 0.
    pub turn: u32,
    /// Id of the profile.
    pub profile: String,
    /// The system prompt x_S, the history and the query.
    pub prompt: Vec<Message>,
    /// The response that is perfect under `prompt`.
    pub chosen: String,
    /// The response that violates g of its constraints.
    pub rejected: String,
    /// Difference: number of constraints decided in both responses and differing.
    pub g: u32,
    /// Case 1 to 6 of the paper's noise analysis, before reversal.
    pub case: u8,
    /// All constraints of the profile, as they stand in x_S.
    pub constraints: Vec<PairConstraint>,
    /// Sample index of the chosen response.
    pub chosen_sample: u32,
    /// Sample index of the rejected response.
    pub rejected_sample: u32,
    /// The model that wrote the chosen response.
    pub chosen_model: String,
    /// The model that wrote the rejected response.
    pub rejected_model: String,
    /// Whether the chosen response was ended by its model; training teaches no end of an answer that was cut.
    #[serde(default = "super::whole")]
    pub chosen_finished: bool,
    /// Whether the rejected response was ended by its model.
    #[serde(default = "super::whole")]
    pub rejected_finished: bool,
}

impl Record for Pair {
    const NAME: &'static str = "Pair";
}

impl Pair {
    /// Whether by its own verdicts the chosen response satisfies all of `prompt`, as far as it is decided.
    ///
    /// # Errors
    /// It does not; names a constraint that it violates.
    pub fn clean(&self) -> Result<(), Error> {
        self.whole()?;
        match self.constraints.iter().find(|constraint| !constraint.reversed && constraint.chosen == Some(false)) {
            None => Ok(()),
            Some(PairConstraint { id, .. }) => Err(Error(format!("the chosen response violates `{id}` of x_S"))),
        }
    }

    /// Whether nothing is reversed that the chosen response satisfies. Constraints that depend on each other are reversed together,
    /// so it may be.
    ///
    /// # Errors
    /// It is; names the constraint.
    pub fn whole(&self) -> Result<(), Error> {
        match self.constraints.iter().find(|constraint| constraint.reversed && constraint.chosen == Some(true)) {
            None => Ok(()),
            Some(PairConstraint { id, .. }) => Err(Error(format!(
                "`{id}` had to be reversed with what depends on it, and the chosen response satisfies the original"
            ))),
        }
    }
}

/// A version of the adapter that a trainer made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Hash of the adapter's weights, behind the stage's name where several train; `"base"` for the model without an adapter.
    pub version: String,
    /// Folder that holds it in PEFT's layout; empty for `"base"`.
    pub path: String,
    /// Updates it was trained for.
    pub steps: u64,
}

impl Record for Adapter {
    const NAME: &'static str = "Adapter";
}
