//! What a pair passes on its way to an update: its mirror, the held-out dialogues, the shuffle, the batches.
//!
//! All of it is a function of the settings and of the pairs in their order: a sequence that is told again from its
//! beginning makes the same batches, so none of it has to be kept for a run that goes on.

use std::sync::Arc;

use obvert_api::record::Pair;

use super::encode::Encoder;
use super::held::Held;
use super::mirrors::{Mirrors, Unit};
use super::replay::{Batch, Replay};
use super::settings::Train;
use super::shuffle::Shuffle;

/// The way.
#[derive(Clone)]
pub(super) struct Stream {
    /// Where pairs wait for their mirrors, if the loss takes them two by two.
    mirrors: Option<Mirrors>,
    /// What leaves the stream to be measured.
    pub(super) held: Held,
    window: Shuffle<Unit>,
    batches: Replay<Unit>,
}

impl Stream {
    /// Of the stage of this name.
    pub(super) fn new(stage: &str, settings: &Train) -> Self {
        Stream {
            mirrors: (settings.unit() == 2).then(Mirrors::default),
            held: Held::new(stage, settings.validation, settings.seed),
            window: Shuffle::new(settings.shuffle, settings.seed),
            batches: settings.batches(),
        }
    }

    /// Lets a pair in; a batch may come out.
    pub(super) fn push(&mut self, pair: Arc<Pair>, encoder: &Encoder) -> Option<Batch<Unit>> {
        let unit = match &mut self.mirrors {
            Some(mirrors) => mirrors.push(pair)?,
            None => vec![pair],
        };
        let unit = self.held.push(unit, |unit| encoder.encode(unit).map(|(tokens, _)| tokens))?;
        let unit = self.window.push(unit)?;
        self.batches.push(unit)
    }

    /// The next whole batch of what is left, when no pair comes any more.
    pub(super) fn pop(&mut self) -> Option<Batch<Unit>> {
        std::iter::from_fn(|| self.window.pop()).find_map(|unit| self.batches.push(unit))
    }

    /// The short batch at the end.
    pub(super) fn rest(&mut self) -> Option<Batch<Unit>> {
        self.batches.rest()
    }

    /// The pairs whose mirror did not come.
    pub(super) fn single(&mut self) -> Vec<Arc<Pair>> {
        self.mirrors.as_mut().map(Mirrors::rest).unwrap_or_default()
    }

    /// Lets a pair that was withdrawn come no more. What is in the window already is trained on.
    pub(super) fn forget(&mut self, id: &str) {
        self.mirrors.iter_mut().for_each(|mirrors| mirrors.forget(id));
        self.held.forget(id);
        self.batches.forget(|unit| unit.iter().any(|pair| pair.id == id));
    }
}
