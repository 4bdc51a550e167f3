//! Loss and gradient of a batch of pairs, a few pairs at a time.

use crate::backward::Pending;
use crate::error::Error;
use crate::forward::Pass;
use crate::lora::Adapter;
use crate::loss::{PairLogps, PreferenceLoss};
use crate::model::Model;
use crate::pack::Pack;
use crate::pair::{TokenPair, check_all};
use crate::real::Real;

/// Pairs per forward pass when no activations are kept.
const PAIRS_PER_PASS: usize = 8;

/// Summed log-probs of a pair's two responses, in nats.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ResponseLogps {
    /// Of the chosen response.
    pub chosen: f64,
    /// Of the rejected response.
    pub rejected: f64,
}

/// A batch's losses, log-probs and gradient.
#[derive(Clone, Debug)]
pub struct BatchGradient<F> {
    /// The mean loss.
    pub loss: f64,
    /// The policy's log-probs, pair by pair.
    pub logps: Vec<ResponseLogps>,
    /// ∂(mean loss)/∂adapter.
    pub gradient: Adapter<F>,
}

/// The log-probs of every pair's responses, with or without an adapter.
///
/// # Errors
/// A pair that does not fit the model, or an adapter that does not.
pub fn logprobs<F: Real>(
    model: &Model<F>,
    adapter: Option<&Adapter<F>>,
    pairs: &[TokenPair],
) -> Result<Vec<ResponseLogps>, Error> {
    adapter.map_or(Ok(()), |adapter| adapter.check(&model.config))?;
    check_all(pairs, &model.config)?;
    let logps = pairs.chunks(PAIRS_PER_PASS).flat_map(|pairs| {
        let pack = pack(pairs);
        let pass = Pass::new(model, adapter, &pack);
        let tokens = pass.target_logps(&pass.run(drop), false);
        responses(&pass.by_sequence(&tokens.logps))
    });
    Ok(logps.collect())
}

/// Mean loss and gradient of a batch, `micro_batch` pairs at a time.
///
/// # Errors
/// A pair or an adapter that does not fit the model, or a number of reference log-probs other than that of pairs.
pub fn batch_gradient<F: Real>(
    model: &Model<F>,
    adapter: &Adapter<F>,
    pairs: &[TokenPair],
    reference: &[ResponseLogps],
    loss: &dyn PreferenceLoss,
    micro_batch: usize,
) -> Result<BatchGradient<F>, Error> {
    adapter.check(&model.config)?;
    check_all(pairs, &model.config)?;
    if reference.len() != pairs.len() {
        let reason = format!("{} log-probs for {} pairs", reference.len(), pairs.len());
        return Err(Error::field("reference", reason));
    }
    let weight = 1.0 / pairs.len() as f64;
    let mut batch = BatchGradient { loss: 0.0, logps: Vec::with_capacity(pairs.len()), gradient: adapter.zeros_like() };
    let chunk = micro_batch.max(1);
    for (pairs, reference) in pairs.chunks(chunk).zip(reference.chunks(chunk)) {
        let pack = pack(pairs);
        let pending = Pending::forward(Pass::new(model, Some(adapter), &pack));
        let logps = responses(&pending.logps);
        let mut coefficients = Vec::with_capacity(pending.logps.len());
        for ((pair, policy), reference) in pairs.iter().zip(&logps).zip(reference) {
            let result = loss.pair(&pair_logps(policy, reference, pair.gap));
            batch.loss += weight * result.loss;
            coefficients.extend([weight * result.d_chosen, weight * result.d_rejected]);
        }
        pending.backward(&coefficients, &mut batch.gradient);
        batch.logps.extend(logps);
    }
    Ok(batch)
}

fn pack(pairs: &[TokenPair]) -> Pack {
    let mut pack = Pack::default();
    for pair in pairs {
        pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]);
    }
    pack
}

/// The pack's sequences are chosen and rejected in turn.
fn responses(sums: &[f64]) -> Vec<ResponseLogps> {
    let (pairs, _) = sums.as_chunks::<2>();
    pairs.iter().map(|[chosen, rejected]| ResponseLogps { chosen: *chosen, rejected: *rejected }).collect()
}

fn pair_logps(policy: &ResponseLogps, reference: &ResponseLogps, gap: f32) -> PairLogps {
    PairLogps {
        chosen: policy.chosen,
        rejected: policy.rejected,
        reference_chosen: reference.chosen,
        reference_rejected: reference.rejected,
        gap: f64::from(gap),
    }
}
