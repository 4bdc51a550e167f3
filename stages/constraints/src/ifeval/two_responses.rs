//! `combination:two_responses`: two different responses.

use super::number_paragraphs::filled;
use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "combination:two_responses", fields: &[], build };

/// Exactly two different parts between `******` dividers. A blank part may stand first and last only, where it does not count.
struct TwoResponses;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(TwoResponses.into())
}

impl Rule for TwoResponses {
    fn holds(&self, text: &str) -> bool {
        let parts: Vec<&str> = text.split("******").map(strip).collect();
        let mut responses = parts.iter().filter(|part| !part.is_empty());
        filled(&parts) == Some(2) && responses.next() != responses.next()
    }

    fn text(&self, negated: bool) -> String {
        demand("Give exactly two different responses separated by six asterisks: ******.", negated)
    }
}
