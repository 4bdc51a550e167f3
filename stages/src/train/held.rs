//! Dialogues that are held out of training, to measure it on.

use obvert_api::record::hash_of;
use obvert_trainer::random::SplitMix64;
use obvert_trainer::reference::ReferenceCache;
use obvert_trainer::{Measures, ResponseLogps, TokenPair, Trainer};

use super::mirrors::Unit;
use crate::findings::Skipped;

/// The share of dialogues that is held out, and their pairs so far. A dialogue's id decides, not when it comes.
#[derive(Clone)]
pub(super) struct Held {
    /// By which name its lines go in the log.
    stage: String,
    share: f64,
    seed: u64,
    /// Not measured yet.
    waiting: Vec<(Unit, Vec<TokenPair>)>,
    pairs: Vec<TokenPair>,
    reference: Vec<ResponseLogps>,
    /// Those that cannot be measured. They are found again when the sequence is told again, and so are not in a checkpoint.
    pub(super) skipped: Skipped,
}

impl Held {
    /// Such a share of the dialogues, for the stage of this name.
    pub(super) fn new(stage: &str, share: f64, seed: u64) -> Self {
        let (waiting, pairs, reference) = (Vec::new(), Vec::new(), Vec::new());
        Held { stage: stage.to_owned(), share, seed, waiting, pairs, reference, skipped: Skipped::default() }
    }

    /// Takes the pairs of a dialogue that is held out, and counts those that have no tokens; gives others back.
    pub(super) fn push(
        &mut self,
        unit: Unit,
        encode: impl FnOnce(&Unit) -> Result<Vec<TokenPair>, String>,
    ) -> Option<Unit> {
        if !unit.first().is_some_and(|pair| self.holds(&pair.dialogue)) {
            return Some(unit);
        }
        match encode(&unit) {
            Ok(tokens) => self.waiting.push((unit, tokens)),
            Err(cause) => unit.iter().for_each(|pair| self.skip(&pair.id, &cause)),
        }
        None
    }

    fn skip(&mut self, id: &str, cause: &str) {
        tracing::warn!(stage = self.stage, record = id, cause, "a held-out pair is not measured");
        self.skipped.count(&format!("{id}: held out, but not measured: {cause}"));
    }

    /// Drops a pair that was withdrawn before it was measured.
    pub(super) fn forget(&mut self, id: &str) {
        self.waiting.retain(|(unit, _)| unit.iter().all(|pair| pair.id != id));
    }

    fn holds(&self, dialogue: &str) -> bool {
        SplitMix64::stream(self.seed, hash_of(&[dialogue])).unit() < self.share
    }

    /// The pairs so far under the trainer's adapter, and how many they are; nothing if there are none.
    pub(super) fn measure(
        &mut self,
        trainer: &mut Trainer<f32>,
        reference: &mut ReferenceCache,
    ) -> Result<Option<(Measures, usize)>, String> {
        let waiting: Vec<TokenPair> = self.waiting.drain(..).flat_map(|(_, tokens)| tokens).collect();
        self.reference.extend(reference.logps(trainer, &waiting).map_err(|e| e.to_string())?);
        self.pairs.extend(waiting);
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
            let mut held = Held::new("train", 0.2, seed);
            let unit = |n: &u32| vec![Arc::new(pair(&format!("p{n}"), &format!("d{}", n / 3)))];
            names.iter().for_each(|n| drop(held.push(unit(n), |_| Ok(Vec::new()))));
            let mut ids: Vec<String> = held.waiting.iter().map(|(unit, _)| unit[0].id.clone()).collect();
            ids.sort();
            ids
        };
        let (forth, back): (Vec<u32>, Vec<u32>) = ((0..900).collect(), (0..900).rev().collect());
        let ids = held(&forth, 1);
        assert_eq!(ids, held(&back, 1));
        assert_ne!(ids, held(&forth, 2));
        assert!(ids.len().is_multiple_of(3) && (120..240).contains(&ids.len()), "{} of 900", ids.len());
        assert!(Held::new("train", 0.0, 1).push(vec![Arc::new(pair("p", "d"))], |_| Ok(Vec::new())).is_some());
    }

    #[test]
    fn what_cannot_be_measured_is_counted_with_its_cause() {
        let mut held = Held::new("train", 1.0, 1);
        for ids in [&["1"][..], &["2", "3"], &["4"]] {
            let unit = ids.iter().map(|id| Arc::new(pair(id, "d"))).collect();
            let encode = |unit: &Unit| if unit.len() == 2 { Err("too long".to_owned()) } else { Ok(Vec::new()) };
            assert!(held.push(unit, encode).is_none());
        }
        let first = "2: held out, but not measured: too long".to_owned();
        assert_eq!((held.waiting.len(), held.skipped), (2, Skipped { pairs: 2, first }));
    }
}
