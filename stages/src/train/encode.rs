//! Pairs of the stream as token ids.

use obvert_api::record::Pair;
use obvert_trainer::TokenPair;
use obvert_trainer::conversation::{Answer, Conversation, Fitted, Limits};
use obvert_trainer::loss::PreferenceLoss;

use super::mirrors::Unit;
use crate::policy::{Policy, chat};

/// A unit as token ids, if the model can be trained on it, and how many of its pairs lost turns of their history.
pub(super) fn encode(
    unit: &Unit,
    policy: &Policy,
    max_length: Option<usize>,
    loss: &dyn PreferenceLoss,
) -> Result<(Vec<TokenPair>, u64), String> {
    let limits = Limits { config: &policy.model.config, max_length, sides: loss.sides() };
    let fitted = unit.iter().map(|pair| fit(pair, &limits, policy)).collect::<Result<Vec<_>, String>>()?;
    let shortened = fitted.iter().filter(|fitted| fitted.shortened).count() as u64;
    let tokens: Vec<TokenPair> = fitted.into_iter().map(|fitted| fitted.tokens).collect();
    loss.check_batch(&tokens)?;
    Ok((tokens, shortened))
}

fn fit(pair: &Pair, limits: &Limits<'_>, policy: &Policy) -> Result<Fitted, String> {
    let (prompt, gap) = (chat(&pair.prompt), pair.g as f32);
    let chosen = Some(Answer { text: &pair.chosen, finished: pair.chosen_finished });
    let rejected = Some(Answer { text: &pair.rejected, finished: pair.rejected_finished });
    let conversation = Conversation { prompt: &prompt, chosen, rejected, gap };
    limits.fit(&conversation, &policy.dialect).map_err(|e| e.to_string())
}
