//! What flows along the edges.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// A record as bytes, shared between the operators that hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bytes(pub(crate) Arc<[u8]>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes.into())
    }
}

/// A group's key: most are so short that they need no memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) SmallVec<[u8; 16]>);

impl Key {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Key(SmallVec::from_slice(bytes))
    }
}

/// As serde knows bytes, and not as a list of numbers.
macro_rules! as_bytes {
    ($($type:ident),+) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes: serde_bytes::ByteBuf = serde::Deserialize::deserialize(deserializer)?;
                Ok(bytes.into_vec().into())
            }
        })+
    };
}

as_bytes!(Bytes, Key);

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Key::of(&bytes)
    }
}

/// Where an item belongs in the order of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The source row that it all came from; later rows have larger roots.
    pub(crate) root: u64,
    /// How often it went around the loop.
    pub(crate) lap: u32,
}

impl Place {
    /// Roots that one row of a source takes: it may begin so many dialogues.
    pub(crate) const ROW: u64 = 256;

    /// The place of a source's row.
    pub(crate) fn of_row(source: usize, row: u64) -> Self {
        Place { root: ((source as u64) << 48) + row * Self::ROW, lap: 0 }
    }
}

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) bytes: Bytes,
}

impl Item {
    /// A hash of its bytes: with its place it stands for the item.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = [0; 8];
        hash.copy_from_slice(&blake3::hash(&self.bytes.0).as_bytes()[..8]);
        u64::from_le_bytes(hash)
    }
}

/// By what an item of a stage is named in logs, in `rejected.jsonl`, and by people who ask for it: 16 hexadecimal digits of the hash
/// of its bytes.
pub(crate) fn record_id(item: &[u8]) -> String {
    blake3::hash(item).to_hex()[..16].to_string()
}

/// Something whose outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub(crate) place: Place,
    /// Tells it from others in its place.
    pub(crate) what: u64,
    /// Whether its row's credit waits for it.
    pub(crate) credited: bool,
}

impl Busy {
    /// An item that waits, for replies or to be let in.
    pub(crate) fn with(item: &Item) -> Self {
        Busy { place: item.place, what: item.hash(), credited: true }
    }
}

/// An item set aside, with the reason.
pub(crate) type Rejected = (Item, String);

/// A rejection on its way to `rejected.jsonl`: index of the stage, the item's bytes, the reason.
pub(crate) type Rejection = (usize, Vec<u8>, String);
