//! Pairs of the stream as token ids.

use std::sync::Arc;

use obvert_api::record::Pair;
use obvert_trainer::TokenPair;
use obvert_trainer::conversation::{Answer, Conversation, Fitted, Limits};
use obvert_trainer::loss::PreferenceLoss;

use super::mirrors::Unit;
use super::settings::Train;
use crate::policy::{Policy, chat};

/// Makes token ids of what can be trained on.
pub(super) struct Encoder {
    policy: Arc<Policy>,
    max_length: Option<usize>,
    loss: Box<dyn PreferenceLoss>,
}

impl Encoder {
    pub(super) fn new(settings: &Train, policy: Arc<Policy>) -> Self {
        Encoder { policy, max_length: settings.max_length, loss: settings.training().preference_loss() }
    }

    /// A unit as token ids, if the model can be trained on it, and how many of its pairs lost turns of their history.
    pub(super) fn encode(&self, unit: &Unit) -> Result<(Vec<TokenPair>, u64), String> {
        let fitted = unit.iter().map(|pair| self.fit(pair)).collect::<Result<Vec<_>, String>>()?;
        let shortened = fitted.iter().filter(|fitted| fitted.shortened).count() as u64;
        let tokens: Vec<TokenPair> = fitted.into_iter().map(|fitted| fitted.tokens).collect();
        self.loss.check_batch(&tokens)?;
        Ok((tokens, shortened))
    }

    fn fit(&self, pair: &Pair) -> Result<Fitted, String> {
        let limits =
            Limits { config: &self.policy.model.config, max_length: self.max_length, sides: self.loss.sides() };
        let (prompt, gap) = (chat(&pair.prompt), pair.g as f32);
        let chosen = Some(Answer { text: &pair.chosen, finished: pair.chosen_finished });
        let rejected = Some(Answer { text: &pair.rejected, finished: pair.rejected_finished });
        let conversation = Conversation { prompt: &prompt, chosen, rejected, gap };
        limits.fit(&conversation, &self.policy.dialect).map_err(|e| e.to_string())
    }
}
