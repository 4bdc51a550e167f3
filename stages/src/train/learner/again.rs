//! A learner that is told what it knows already, after a restart or because the pairs changed: it passes over the batches that
//! agree with where its trainer stands, and where they do not goes back to before they part.

use super::super::cursor::{Cursor, find_on};
use super::super::mirrors::Unit;
use super::super::refreshed::Met;
use super::super::replay::Batch;
use super::super::stream::Stream;
use super::{Learner, Passed};
use crate::pair_set::number;

impl Learner {
    /// The pairs are told from the first: as to a resumed run, which finds out how far it agrees with them.
    pub(super) fn begin_again(&mut self) -> Result<(), String> {
        self.go_back()?;
        self.stream = Stream::new(&self.stage, &self.settings);
        self.passed = (self.cursor.pairs > 0).then(Default::default);
        self.refreshed.begin_again();
        self.trained.clear();
        Ok(())
    }

    /// Takes the next batch: as long as it is behind the trainer, to compare it.
    pub(super) fn take(&mut self, batch: Batch<Unit>) -> Result<(), String> {
        let below = self.below;
        let Some(Passed { batches, ends, cursor }) = &mut self.passed else { return self.advance(&batch, below) };
        cursor.pass(batch.new.iter().flatten());
        // As good as every batch has a pair that can be trained on, and is an update.
        let update = batches.len() as u64 + 1;
        if update <= self.settings.updates {
            self.trained.extend(batch.new.iter().flatten().map(|pair| (number(&pair.id), update)));
        }
        batches.push(batch);
        ends.push(below);
        let (pairs, agrees) = (cursor.pairs, cursor.chain == self.cursor.chain);
        match self.refreshed.meet(cursor) {
            Met::Nothing => {}
            Met::Again(adapter) => self.hand_out(below, adapter),
            Met::Others => return self.restart("the inputs now make other pairs"),
        }
        if pairs < self.cursor.pairs {
            return Ok(());
        }
        if !agrees {
            return self.restart("the inputs now make other pairs");
        }
        self.passed = None;
        self.tell();
        self.diary.recall()
    }

    /// Begins again where the batches so far agree with a checkpoint, or from nothing, and learns them from there.
    pub(super) fn restart(&mut self, why: &str) -> Result<(), String> {
        let Passed { batches, ends, .. } = self.passed.take().unwrap_or_default();
        let learned = self.agree(&batches)?;
        let step = self.trainer.steps();
        self.refreshed.go_back(step).map_err(|e| e.to_string())?;
        tracing::warn!(stage = self.stage, why, after_update = step, "training starts over");
        self.diary.go_back(step)?;
        for (batch, below) in batches.iter().zip(ends).skip(learned) {
            if self.stopped() {
                break;
            }
            self.advance(batch, below)?;
        }
        Ok(())
    }

    /// Puts the trainer where it agrees with the beginning of the batches; how many of them are behind it then.
    fn agree(&mut self, batches: &[Batch<Unit>]) -> Result<usize, String> {
        let beginning = Cursor::new(&self.settings, &self.policy);
        let Some((state, cursor, learned)) = find_on(batches, &beginning, &self.checkpoints)? else {
            // The model may fill a device: there is room for one trainer.
            let adapter = self.settings.adapter(&self.policy).map_err(|e| e.to_string())?;
            self.trainer.start_over(adapter).map_err(|e| e.to_string())?;
            self.cursor = beginning;
            return Ok(0);
        };
        self.trainer.resume(state).map_err(|e| e.to_string())?;
        self.cursor = cursor;
        Ok(learned)
    }
}
