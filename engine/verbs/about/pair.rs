//! What a pair was made of.

use obvert_engine::{Explained, mentions};
use serde_json::Value;

use super::find;

/// A pair, as far as it tells what it was made of.
#[derive(Clone)]
pub(super) struct Pair {
    id: String,
    dialogue: String,
    turn: u64,
    samples: [u64; 2],
    profile: String,
    persona: String,
}

impl Pair {
    /// The pair of this id, if a record is that.
    pub(super) fn of(record: &Value, id: &str) -> Option<Self> {
        let text = |key: &str| Some(record[key].as_str()?.to_owned());
        (record["id"] == id).then_some(())?;
        let (dialogue, profile) = (text("dialogue")?, text("profile")?);
        Some(Pair {
            id: id.to_owned(),
            turn: record["turn"].as_u64()?,
            samples: [record["chosen_sample"].as_u64()?, record["rejected_sample"].as_u64()?],
            // `session` names dialogues so.
            persona: dialogue.strip_prefix(&format!("{profile}+")).unwrap_or_default().to_owned(),
            profile,
            dialogue,
        })
    }

    /// Whether a record is one that it was made of, or made from.
    pub(super) fn needs(&self, record: &Value) -> bool {
        let is_pair = record.get("chosen").is_some();
        mentions(record, &self.id) || !is_pair && (self.begins_with(record) || self.went_through(record))
    }

    /// A row that its dialogue began with, or what was made of that.
    fn begins_with(&self, record: &Value) -> bool {
        record["profile"] == *self.profile || record["id"] == *self.profile || record["id"] == *self.persona
    }

    /// A record of its dialogue up to its turn; of that, one of its samples.
    fn went_through(&self, record: &Value) -> bool {
        let turn = find(record, "turn").and_then(Value::as_u64);
        let sample = record.get("sample").or_else(|| record["response"].get("sample")).and_then(Value::as_u64);
        mentions(record, &self.dialogue)
            && turn.is_none_or(|turn| turn <= self.turn)
            && sample.is_none_or(|sample| self.has(sample, turn))
    }

    /// Whether a call is one of its own: what is asked of a turn is asked for each of its samples.
    pub(super) fn asks(&self, call: &Explained) -> bool {
        let turn = find(&call.item, "turn").and_then(Value::as_u64);
        call.item.get("query").is_none() || self.has(u64::from(call.sample), turn)
    }

    fn has(&self, sample: u64, turn: Option<u64>) -> bool {
        turn != Some(self.turn) || self.samples.contains(&sample)
    }
}
