//! How far a trainer has come in the sequence of pairs.

use std::collections::HashMap;
use std::sync::Arc;

use obvert_api::record::{Pair, id_of};
use obvert_trainer::Trainer;
use obvert_trainer::checkpoint::State;
use obvert_trainer::checkpoints::Checkpoints;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mirrors::Unit;
use super::replay::Batch;
use super::settings::Train;
use crate::findings::{Skipped, Training};
use crate::policy::Policy;

/// The number of pairs trained on, replayed ones not counted, and a hash over all of them in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) pairs: u64,
    pub(super) chain: String,
    /// Pairs that could not be trained on, and why the first of them could not.
    pub(super) skipped: Skipped,
    /// Pairs that lost turns of their history.
    #[serde(default)]
    pub(super) shortened: u64,
    /// Pairs that came after the last update.
    #[serde(default)]
    pub(super) unused: u64,
    /// What the adapter depends on besides the pairs.
    #[serde(default)]
    pub(super) settings: String,
}

impl Cursor {
    /// The beginning.
    pub(super) fn new(settings: &Train, policy: &Policy) -> Self {
        Cursor { settings: id_of(&[&settings.identity(), policy.identity()]), ..Cursor::default() }
    }

    /// Goes past pairs.
    pub(super) fn pass<'a>(&mut self, pairs: impl Iterator<Item = &'a Arc<Pair>>) {
        for pair in pairs {
            self.pairs += 1;
            // All of the pair counts, not its id alone: a reversal may be worded anew.
            self.chain = id_of(&[&self.chain, &serde_json::to_string(pair).unwrap_or_default()]);
        }
    }

    /// The same with more pairs skipped.
    pub(super) fn and_skipped(&self, more: &Skipped) -> Self {
        Cursor { skipped: self.skipped.and(more), ..self.clone() }
    }

    /// What became of the pairs that so many updates of those planned were made of.
    pub(super) fn training(&self, updates: u64, planned: u64) -> Training {
        let Cursor { shortened, unused, .. } = *self;
        Training { updates, planned, skipped: self.skipped.clone(), shortened, unused }
    }
}

/// The trainer of the newest checkpoint that can be used, if it is one for these settings; else a new one.
pub(super) fn resume(
    stage: &str,
    settings: &Train,
    policy: &Policy,
    checkpoints: &Checkpoints,
) -> Result<(Trainer<f32>, Cursor), String> {
    let new = Cursor::new(settings, policy);
    let mut trainer = settings.trainer(policy)?;
    let found = checkpoints.find().map_err(|e| e.to_string())?;
    let unusable = |error| tracing::warn!(stage, %error, "a checkpoint cannot be used: the one before it is");
    found.damaged.iter().for_each(unusable);
    let Some((state, cursor)) = found.newest else { return Ok((trainer, new)) };
    match Cursor::deserialize(cursor) {
        Ok(cursor) if cursor.settings == new.settings => {
            trainer.resume(state).map_err(|e| e.to_string())?;
            Ok((trainer, cursor))
        }
        _ => {
            tracing::warn!(stage, "the settings of `train` or its model changed: training starts over");
            Ok((trainer, new))
        }
    }
}

/// The newest checkpoint on the way through these batches, and how many of them are before it.
pub(super) fn find_on(
    batches: &[Batch<Unit>],
    beginning: &Cursor,
    checkpoints: &Checkpoints,
) -> Result<Option<(State<f32>, Cursor, usize)>, String> {
    let (mut passed, mut ends) = (beginning.clone(), HashMap::new());
    for (index, batch) in batches.iter().enumerate() {
        passed.pass(batch.new.iter().flatten());
        ends.insert(passed.chain.clone(), index + 1);
    }
    let place = |cursor: &Value| {
        let cursor = Cursor::deserialize(cursor).ok().filter(|cursor| cursor.settings == beginning.settings)?;
        Some((*ends.get(&cursor.chain)?, cursor))
    };
    let found = checkpoints.find_where(|cursor| place(cursor).is_some()).map_err(|e| e.to_string())?;
    Ok(found.newest.and_then(|(state, cursor)| place(&cursor).map(|(batches, cursor)| (state, cursor, batches))))
}
