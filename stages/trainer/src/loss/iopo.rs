//! Input-Output Preference Optimization (arXiv 2411.06208): −log σ(β(r(x₁,y₁) + r(x₂,y₂) − r(x₁,y₂) − r(x₂,y₁))), r the
//! policy-to-reference log-ratio, over two instructions and the response to each.
//!
//! Such a quadruple is two pairs that mirror each other, one after the other in the batch: what is chosen in one is
//! rejected in the other. Its loss is −log σ(β(D₁ + D₂)), and each of the two pairs carries it as its term.

use std::collections::{HashMap, VecDeque};

use super::{BatchLogps, PairLoss, PreferenceLoss, Scope, neg_log_sigmoid, sigmoid};
use crate::pair::TokenPair;

/// IOPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iopo {
    /// β.
    pub beta: f64,
}

impl PreferenceLoss for Iopo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        // 2k and 2k + 1 mirror each other.
        let x = self.beta * (batch.pairs[at].difference() + batch.pairs[at ^ 1].difference());
        // The quadruple's loss is in the sum twice, once for each of its pairs.
        PairLoss::of_difference(neg_log_sigmoid(x), -2.0 * self.beta * sigmoid(-x))
    }

    fn scope(&self) -> Scope {
        Scope::Batch
    }

    fn units(&self, pairs: &[TokenPair]) -> (Vec<Vec<usize>>, Vec<usize>) {
        let mut waiting: HashMap<(&[u32], &[u32]), VecDeque<usize>> = HashMap::new();
        let mut couples = Vec::new();
        for (at, pair) in pairs.iter().enumerate() {
            let mirror = waiting.get_mut(&(pair.rejected.as_slice(), pair.chosen.as_slice()));
            match mirror.and_then(VecDeque::pop_front) {
                Some(mirror) => couples.push(vec![mirror, at]),
                None => waiting.entry((&pair.chosen, &pair.rejected)).or_default().push_back(at),
            }
        }
        let mut single: Vec<usize> = waiting.into_values().flatten().collect();
        single.sort_unstable();
        (couples, single)
    }

    fn check_batch(&self, pairs: &[TokenPair]) -> Result<(), String> {
        let mirrored = |[a, b]: &[TokenPair; 2]| a.chosen == b.rejected && a.rejected == b.chosen;
        let (couples, rest) = pairs.as_chunks::<2>();
        match couples.iter().position(|couple| !mirrored(couple)) {
            Some(at) => Err(format!(
                "iopo takes pairs two by two, and pairs {} and {} do not mirror each other",
                2 * at,
                2 * at + 1
            )),
            None if !rest.is_empty() => Err("iopo takes pairs two by two, and their number is odd".into()),
            None => Ok(()),
        }
    }
}
