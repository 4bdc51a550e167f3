//! Keeps what a view makes and what is made with it in step: a record of row n waits until the view has taken in all that comes of
//! rows up to n − lag, and gets the version that was made of those. So which version a record gets depends on the rows alone,
//! never on which call was the faster, and so many rows are under way beside each other.
//!
//! The view stands downstream of the records, and its versions go back to them beside the dataflow, as credits do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_api::frame;
use timely::scheduling::SyncActivator;

use super::ending::Ending;
use super::gate::gate;
use super::item::{Bytes, Item, Place};
use super::view::Version;
use super::{Items, Made};

/// A version's record, shared by all that it is given to.
type Shared = Arc<[u8]>;

/// The versions of one view. Lives on the first worker, as views and gates do.
#[derive(Default)]
pub(super) struct Versions(Mutex<State>);

#[derive(Default)]
struct State {
    /// Roots below this one have been taken in.
    below: u64,
    versions: Vec<(u64, Option<Shared>)>,
    gates: Vec<SyncActivator>,
}

impl Versions {
    /// Those of a view that is not there: nothing waits, and nothing gets one.
    pub(super) fn absent() -> Arc<Self> {
        let state = State { below: u64::MAX, versions: vec![(0, None)], gates: Vec::new() };
        Arc::new(Versions(Mutex::new(state)))
    }

    /// Takes what the view tells.
    pub(super) fn tell(&self, versions: Vec<Version>, below: Option<u64>) {
        if versions.is_empty() && below.is_none() {
            return;
        }
        let mut state = self.lock();
        state.versions.extend(versions.into_iter().map(|version| (version.below, Some(version.record.into()))));
        state.below = below.unwrap_or(state.below);
        for gate in &state.gates {
            // Fails only when the dataflow has ended.
            let _ = gate.activate();
        }
    }

    /// The newest version made of nothing but roots below the bound, if there is any to come, once all of those have been taken in.
    fn of(&self, bound: u64) -> Option<Option<Shared>> {
        let state = self.lock();
        let made = state.versions.iter().filter(|(below, _)| *below <= bound).max_by_key(|(below, _)| *below);
        made.filter(|_| state.below >= bound).map(|(_, record)| record.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first root that is too near to a record's row, so many rows before it, for its version to be made of.
fn bound(place: Place, lag: u64) -> u64 {
    (place.root / Place::ROW + 1).saturating_sub(lag) * Place::ROW
}

/// The operator. Each item of the result is an invocation on a record and its version.
pub(super) fn in_step<'s>(input: Items<'s>, versions: Arc<Versions>, lag: u64, ending: Ending) -> Made<'s> {
    let given = Arc::clone(&versions);
    let wake = |gate| versions.lock().gates.push(gate);
    let pass = move |item: &Item, _| given.of(bound(item.place, lag));
    gate(input, "in step", wake, pass, with_version, ending)
}

fn with_version(item: Item, version: &Option<Shared>) -> Result<Item, String> {
    let with: Vec<&[u8]> = version.iter().map(|version| &version[..]).collect();
    let bytes = frame::encode_invocation("", &[&item.bytes.0[..]], &with, &[]);
    Ok(Item { place: item.place, bytes: Bytes::from(bytes.map_err(|error| error.to_string())?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_made_of_rows_far_enough_before() {
        let versions = Versions::default();
        let of = |row: u64, lag| {
            versions.of(bound(Place { root: row * Place::ROW + 3, lap: 0 }, lag)).flatten().map(|v| v[0])
        };
        assert_eq!(of(0, 2), None);
        let version = |below, name| Version { below, record: vec![name] };
        versions.tell(vec![version(0, 0)], None);
        assert_eq!([of(0, 2), of(1, 2), of(2, 2)], [Some(0), Some(0), None]);
        // Of row 0 and a part of row 1; all of row 0 and no more has been taken in.
        versions.tell(vec![version(7, 1), version(Place::ROW + 5, 2)], Some(Place::ROW));
        assert_eq!([of(1, 2), of(2, 2), of(3, 2)], [Some(0), Some(1), None]);
        versions.tell(vec![], Some(5 * Place::ROW));
        assert_eq!([of(2, 2), of(3, 2), of(6, 2), of(7, 2)], [Some(1), Some(2), Some(2), None]);
        assert_eq!([of(5, 1), of(6, 1)], [Some(2), None]);
    }
}
