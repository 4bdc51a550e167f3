//! Dialogues that are held out of training, to measure it on.

use obvert_api::record::id_of;
use obvert_trainer::random::SplitMix64;
use obvert_trainer::reference::ReferenceCache;
use obvert_trainer::{Measures, ResponseLogps, TokenPair, Trainer};

use super::mirrors::Unit;

/// The share of dialogues that is held out, and their pairs so far. A dialogue's id decides, not when it comes.
pub(super) struct Held {
    share: f64,
    seed: u64,
    /// Not encoded yet.
    waiting: Vec<Unit>,
    pairs: Vec<TokenPair>,
    reference: Vec<ResponseLogps>,
}

impl Held {
    pub(super) fn new(share: f64, seed: u64) -> Self {
        Held { share, seed, waiting: Vec::new(), pairs: Vec::new(), reference: Vec::new() }
    }

    /// Takes the pairs of a dialogue that is held out; gives others back.
    pub(super) fn push(&mut self, unit: Unit) -> Option<Unit> {
        if !unit.first().is_some_and(|pair| self.holds(&pair.dialogue)) {
            return Some(unit);
        }
        self.waiting.push(unit);
        None
    }

    /// Drops a pair that was withdrawn before it was measured.
    pub(super) fn forget(&mut self, id: &str) {
        self.waiting.retain(|unit| unit.iter().all(|pair| pair.id != id));
    }

    fn holds(&self, dialogue: &str) -> bool {
        let hash = u64::from_str_radix(&id_of(&[dialogue]), 16).unwrap_or_default();
        SplitMix64::stream(self.seed, hash).unit() < self.share
    }

    /// The pairs so far under the trainer's adapter, and how many they are; nothing if there are none.
    pub(super) fn measure(
        &mut self,
        trainer: &Trainer<f32>,
        reference: &mut ReferenceCache,
        encode: impl Fn(&Unit) -> Result<Vec<TokenPair>, String>,
    ) -> Result<Option<(Measures, usize)>, String> {
        for unit in std::mem::take(&mut self.waiting) {
            match encode(&unit) {
                Ok(tokens) => {
                    self.reference.extend(reference.logps(trainer, &tokens).map_err(|e| e.to_string())?);
                    self.pairs.extend(tokens);
                }
                Err(cause) => tracing::warn!(pair = unit[0].id, cause, "a held-out pair is not measured"),
            }
        }
        if self.pairs.is_empty() {
            return Ok(None);
        }
        let measures = trainer.evaluate(&self.pairs, &self.reference).map_err(|e| e.to_string())?;
        Ok(Some((measures, self.pairs.len())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::pair;
    use super::*;

    #[test]
    fn a_dialogue_is_held_out_as_a_whole_whenever_it_comes() {
        let held = |names: &[u32], seed| {
            let mut held = Held::new(0.2, seed);
            let unit = |n: &u32| vec![Arc::new(pair(&format!("p{n}"), &format!("d{}", n / 3)))];
            names.iter().for_each(|n| drop(held.push(unit(n))));
            let mut ids: Vec<String> = held.waiting.iter().map(|unit| unit[0].id.clone()).collect();
            ids.sort();
            ids
        };
        let (forth, back): (Vec<u32>, Vec<u32>) = ((0..900).collect(), (0..900).rev().collect());
        let ids = held(&forth, 1);
        assert_eq!(ids, held(&back, 1));
        assert_ne!(ids, held(&forth, 2));
        assert!(ids.len().is_multiple_of(3) && (120..240).contains(&ids.len()), "{} of 900", ids.len());
        assert!(Held::new(0.0, 1).push(vec![Arc::new(pair("p", "d"))]).is_some());
    }
}
