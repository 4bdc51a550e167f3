//! The record types of this crate by their names, and how they are written: what stages in other languages take and make.

use super::{
    Adapter, Correction, Judged, Nothing, Pair, Persona, Profile, Record, Response, Reversal, Session, Turn, Veto,
};
use crate::erased::{from_json, to_json};
use crate::{Error, Json};

/// Writes a record in another encoding.
pub type Translate = fn(&[u8]) -> Result<Vec<u8>, Error>;

/// A record type that can be told by its name.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// [`Record::NAME`].
    pub name: &'static str,
    /// From bincode to JSON.
    pub to_json: Translate,
    /// From JSON to bincode.
    pub from_json: Translate,
}

const fn of<R: Record>() -> Standard {
    Standard { name: R::NAME, to_json: to_json::<R>, from_json: from_json::<R> }
}

/// All of them.
pub const STANDARD: [Standard; 13] = [
    of::<Json>(),
    of::<Nothing>(),
    of::<Profile>(),
    of::<Persona>(),
    of::<Session>(),
    of::<Turn>(),
    of::<Response>(),
    of::<Judged>(),
    of::<Reversal>(),
    of::<Pair>(),
    of::<Adapter>(),
    of::<Correction>(),
    of::<Veto>(),
];

/// The type of that name.
///
/// # Errors
/// There is none; names those that there are.
pub fn standard(name: &str) -> Result<Standard, Error> {
    let found = STANDARD.iter().find(|standard| standard.name == name);
    found.copied().ok_or_else(|| {
        let names = STANDARD.map(|standard| standard.name).join(", ");
        Error(format!("`{name}` is not a record type of the program; they are {names}"))
    })
}
