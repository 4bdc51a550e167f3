//! What a model has been asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use obvert_api::Reply;
use serde::{Deserialize, Serialize};

use super::{Failure, Limits, used};

/// What a model has been asked so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls that it answered.
    pub calls: u64,
    /// Calls that failed, each attempt counted.
    pub failures: u64,
    /// Replies taken from the memo.
    pub memo_hits: u64,
    /// Tokens, read and written, of those replies.
    #[serde(default)]
    pub memo_tokens: [u64; 2],
    /// Tokens read in calls.
    pub prompt_tokens: u64,
    /// Tokens written in calls.
    pub reply_tokens: u64,
    /// What they cost, in the unit of the model's price.
    pub cost: f64,
    /// Time spent in calls, summed over concurrent ones.
    pub time: Duration,
}

/// The same by stage.
pub type ByStage = BTreeMap<Arc<str>, Usage>;

impl Usage {
    /// Adds what the same model was asked by others.
    pub(crate) fn add(&mut self, other: &Usage) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.memo_hits += other.memo_hits;
        self.memo_tokens = [0, 1].map(|at| self.memo_tokens[at] + other.memo_tokens[at]);
        self.prompt_tokens += other.prompt_tokens;
        self.reply_tokens += other.reply_tokens;
        self.cost += other.cost;
        self.time += other.time;
    }

    /// Adds a reply that the memo had.
    pub(crate) fn count_known(&mut self, reply: &Reply) {
        self.memo_hits += 1;
        self.memo_tokens[0] += u64::from(reply.prompt_tokens);
        self.memo_tokens[1] += u64::from(reply.reply_tokens);
    }

    /// Adds a call.
    pub(crate) fn count(&mut self, answer: &Result<Reply, Failure>, time: Duration, limits: &Limits) {
        self.time += time;
        match answer {
            Ok(_) => self.calls += 1,
            Err(_) => self.failures += 1,
        }
        self.count_tokens(answer, limits);
    }

    /// Adds what a call took, and not the call.
    pub(crate) fn count_tokens(&mut self, answer: &Result<Reply, Failure>, limits: &Limits) {
        let [read, written] = used(answer);
        self.prompt_tokens += read;
        self.reply_tokens += written;
        self.cost += limits.cost(read, written);
    }
}
