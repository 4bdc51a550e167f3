//! `at_least` n and its complement `at_most` n − 1.

use serde_json::{Map, Value};

use crate::args::Args;
use crate::error::Error;
use crate::wording::counted;

/// The two fields, of which exactly one is given.
pub const FIELDS: &[&str] = &["at_least", "at_most"];

/// Reads the least count wanted, and whether the complement is asked for.
pub fn parse(args: &Args) -> Result<(usize, bool), Error> {
    match (args.has("at_least"), args.has("at_most")) {
        (true, true) => Err(args.refuse("at_most", "cannot stand beside `at_least`: give two constraints")),
        (false, true) => {
            let most = args.integer("at_most", 0)?;
            let least = most.checked_add(1).ok_or_else(|| args.refuse("at_most", "is too large"))?;
            Ok((least, true))
        }
        _ => Ok((args.count("at_least")?, false)),
    }
}

/// Writes the bound into `args`.
pub fn state(args: &mut Map<String, Value>, least: usize, negated: bool) {
    args.retain(|field, _| !FIELDS.contains(&field.as_str()));
    match negated {
        true => args.insert("at_most".into(), (least - 1).into()),
        false => args.insert("at_least".into(), least.into()),
    };
}

/// "Write at least 13 words." or "Write at most 12 words.".
pub fn text(least: usize, noun: &str, negated: bool) -> String {
    match negated {
        true => format!("Write at most {}.", counted(least - 1, noun)),
        false => format!("Write at least {}.", counted(least, noun)),
    }
}
