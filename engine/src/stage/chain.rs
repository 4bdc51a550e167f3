//! Stages that follow each other, run as one: what enters and what leaves is bytes, what is between them stays where the
//! stages are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use obvert_api::chain::{self, Keys, Links};
use obvert_api::erased::Erased;
use smallvec::SmallVec;

use super::Runner;
use super::answers::MOST;
use super::library::Instance;

/// What a stage can be run together with.
pub struct Link<'a>(pub(super) Kind<'a>);

#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// Other stages of its library.
    Library(&'a Instance),
    /// Other stages that are linked in.
    Linked(&'a dyn Erased),
    /// Nothing.
    Alone,
}

impl Link<'_> {
    /// A stage that is run by itself.
    pub const ALONE: Link<'static> = Link(Kind::Alone);
}

/// Several maps, and the group that they lead to.
#[derive(Clone)]
pub(crate) struct Chain {
    maps: Vec<Arc<dyn Runner>>,
    group: Option<Arc<dyn Runner>>,
}

/// A key.
type Short = SmallVec<[u8; 16]>;

/// A record at the end of a chain.
#[derive(Debug, PartialEq)]
pub(crate) struct Passed {
    /// The number of the item that it comes of.
    pub(crate) item: u32,
    pub(crate) record: Arc<[u8]>,
    /// Its keys, where the chain leads to a group.
    pub(crate) keys: Option<(Short, Option<Short>)>,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Items that have to be run stage by stage.
    pub(crate) refused: Vec<bool>,
    /// Records by item, in order; what is of a refused one does not count.
    pub(crate) passed: Vec<Passed>,
    /// Bytes of the records of each.
    sizes: Vec<usize>,
    made: Vec<u32>,
    /// Whether something was said of an item that there is not.
    strayed: bool,
}

impl Batch {
    pub(super) fn of(items: usize) -> Self {
        let (refused, sizes) = (vec![false; items], vec![0; items]);
        Batch { refused, sizes, passed: Vec::with_capacity(items), made: Vec::new(), strayed: false }
    }

    /// Whether as many records came out as the last map is said to have made, of each item that counts, with keys where there is a
    /// group. A library that does not keep count is not believed.
    pub(super) fn adds_up(&self, maps: usize, grouped: bool) -> bool {
        let items = self.refused.len();
        if self.strayed || self.made.len() != items * maps {
            return false;
        }
        let mut left = self.made[items * (maps - 1)..].to_vec();
        let counted = self.passed.iter().filter(|passed| !self.refused[passed.item as usize]).all(|passed| {
            let left = &mut left[passed.item as usize];
            let one = *left > 0 && passed.keys.is_some() == grouped;
            *left = left.saturating_sub(1);
            one
        });
        let all = || left.iter().zip(&self.refused).all(|(left, refused)| *left == 0 || *refused);
        counted && all()
    }

    /// How many records the stages made of each item: one stage after the other.
    pub(crate) fn made(&self) -> impl Iterator<Item = &[u32]> {
        self.made.chunks_exact(self.refused.len().max(1))
    }
}

impl Links for Batch {
    fn refuse(&mut self, item: u32) {
        if let Some(refused) = self.refused.get_mut(item as usize) {
            *refused = true;
        }
    }

    fn record(&mut self, item: u32, record: &[u8], keys: Option<Keys<'_>>) {
        let Some(size) = self.sizes.get_mut(item as usize) else {
            self.strayed = true;
            return;
        };
        *size = size.saturating_add(record.len());
        // What becomes too much is said where the item is run by itself.
        if *size > MOST {
            self.refuse(item);
        } else {
            let keys = keys.map(|(key, wants)| (Short::from_slice(key), wants.map(Short::from_slice)));
            self.passed.push(Passed { item, record: record.into(), keys });
        }
    }

    fn made(&mut self, counts: &[u32]) {
        self.made = counts.to_vec();
    }
}

impl Chain {
    /// Stages that can be run together.
    pub(crate) fn of(maps: Vec<Arc<dyn Runner>>, group: Option<Arc<dyn Runner>>) -> Option<Self> {
        let chain = Chain { maps, group };
        // Records that only have the same name are found out without any.
        (!chain.maps.is_empty() && chain.run(&[]).is_some()).then_some(chain)
    }

    /// Runs all stages on records; nothing where that has to be done stage by stage.
    pub(crate) fn run(&self, records: &[&[u8]]) -> Option<Batch> {
        let links = || self.maps.iter().chain(&self.group).map(|runner| runner.link().0);
        if let Some(stages) = links().map(Kind::linked).collect::<Option<Vec<_>>>() {
            return self.run_linked(&stages, records);
        }
        let stages = links().map(Kind::library).collect::<Option<Vec<_>>>()?;
        let (maps, group) = stages.split_at(self.maps.len());
        Instance::chain(maps, group.first().copied(), records)
    }

    fn run_linked(&self, stages: &[&dyn Erased], records: &[&[u8]]) -> Option<Batch> {
        let (maps, group) = stages.split_at(self.maps.len());
        let mut batch = Batch::of(records.len());
        let run = || chain::run(maps, group.first().copied(), records, &mut batch);
        let done = catch_unwind(AssertUnwindSafe(run));
        matches!(done, Ok(Ok(()))).then_some(batch)
    }
}

impl<'a> Kind<'a> {
    fn linked(self) -> Option<&'a dyn Erased> {
        match self {
            Kind::Linked(stage) => Some(stage),
            _ => None,
        }
    }

    fn library(self) -> Option<&'a Instance> {
        match self {
            Kind::Library(instance) => Some(instance),
            _ => None,
        }
    }
}
