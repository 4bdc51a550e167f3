//! The settings that `[model.NAME]` tables of every kind have: how a model may be used.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls of a process that may be under way at once.
    #[schemars(range(min = 1))]
    pub max_in_flight: usize,
    /// Seconds that a call may take.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout_s: Option<f64>,
    /// How often a call that failed is made again; by default never, and 5 times where it goes to a server.
    #[schemars(range(max = 100))]
    pub retries: Option<u32>,
    /// Calls that may begin in a minute.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub requests_per_minute: Option<f64>,
    /// Tokens, read and written, that calls may take in a minute.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub tokens_per_minute: Option<f64>,
    /// What one run may use; when that is used up the run stops, and a later one goes on.
    pub budget: Budget,
    /// What tokens cost.
    pub price: Option<Price>,
}

/// What one run may use of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Calls, each attempt counted.
    pub calls: Option<u64>,
    /// Tokens, read and written. Calls that are under way when they are used up are not broken off.
    pub tokens: Option<u64>,
    /// Money, in the unit of `price`. As for `tokens`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub money: Option<f64>,
}

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of those that the model reads.
    #[schemars(range(min = 0.0))]
    pub prompt: f64,
    /// Of those that it writes.
    #[schemars(range(min = 0.0))]
    pub reply: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_in_flight: 64,
            timeout_s: None,
            retries: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            budget: Budget::default(),
            price: None,
        }
    }
}

impl Limits {
    /// How long a call may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// The part of one of so many processes, which share the calls. What may be under way is of each.
    pub(crate) fn part_of(&self, processes: usize) -> Self {
        let rate = |limit: Option<f64>| limit.map(|limit| limit / processes as f64);
        let count = |limit: Option<u64>| limit.map(|limit| (limit / processes as u64).max(1));
        let Budget { calls, tokens, money } = self.budget;
        Limits {
            requests_per_minute: rate(self.requests_per_minute),
            tokens_per_minute: rate(self.tokens_per_minute),
            budget: Budget { calls: count(calls), tokens: count(tokens), money: rate(money) },
            ..self.clone()
        }
    }

    /// What so many tokens cost; nothing where no price is given.
    pub(crate) fn cost(&self, prompt_tokens: u64, reply_tokens: u64) -> f64 {
        let price = self.price.unwrap_or_default();
        (prompt_tokens as f64 * price.prompt + reply_tokens as f64 * price.reply) / 1e6
    }
}
