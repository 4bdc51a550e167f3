//! `startend:quotation`: double quotes around everything.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "startend:quotation", fields: &[], build };

/// The text begins and ends with a double quote, and these are two.
struct Quotation;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(Quotation.into())
}

impl Rule for Quotation {
    fn holds(&self, text: &str) -> bool {
        strip(text).strip_prefix('"').is_some_and(|rest| rest.ends_with('"'))
    }

    fn text(&self, negated: bool) -> String {
        demand("Wrap the entire response in double quotation marks.", negated)
    }
}
