//! Plan to timely: one differential collection per edge, the turn loop as a cycle, effects that land late but never early.
//!
//! Time is a `u64` tick that says nothing but "these changes belong together". A stage that waits for a model holds no
//! tick open: its replies land at the newest tick (`apply`). So at every tick the replies present answer a subset of
//! the requests present, and no slow call delays anything but what depends on it. Whether something is still at work is
//! therefore data too: the collection of [`Busy`] rows, by root (the source row that it all came from) and lap (how often it
//! went around the turn loop).

mod admit;
mod apply;
mod build;
mod chain;
mod credit;
mod ending;
mod fuse;
mod gate;
mod group;
mod item;
mod keyed;
mod ledger;
mod members;
mod port;
mod settle;
mod version;
mod view;

pub(crate) use apply::{Applied, Trace, Traced, Within};
pub(crate) use build::{Built, Graph, Node, Operator, Source, build};
pub(crate) use credit::Limit;
pub(crate) use ending::Ending;
pub(crate) use item::{Busy, Item, Place, Rejected, Rejection, record_id};
pub(crate) use settle::Settlement;
pub(crate) use view::OnFailure;
pub use view::{Change, Poll, Settled, Version, View, Waker};

/// The engine's clock: a counter, never wall time.
pub(crate) type Tick = u64;
/// A change: of what, when, by how many copies.
pub(crate) type Update<D> = (D, Tick, isize);
/// A collection of items with their multiplicities.
pub(crate) type Items<'s> = differential_dataflow::VecCollection<'s, Tick, Item, isize>;
/// A collection of what is at work.
pub(crate) type Busys<'s> = differential_dataflow::VecCollection<'s, Tick, Busy, isize>;
/// A collection of items that were set aside.
pub(crate) type Rejects<'s> = differential_dataflow::VecCollection<'s, Tick, Rejected, isize>;

/// What an operator makes.
pub(crate) struct Made<'s> {
    pub(crate) items: Items<'s>,
    pub(crate) busy: Busys<'s>,
    pub(crate) rejected: Rejects<'s>,
}

impl<'s> Made<'s> {
    /// What another operator makes of the records, with all else of both.
    fn then(self, next: impl FnOnce(Items<'s>) -> Made<'s>) -> Made<'s> {
        let Made { items, busy, rejected } = next(self.items);
        Made { items, busy: busy.concat(self.busy), rejected: rejected.concat(self.rejected) }
    }
}
