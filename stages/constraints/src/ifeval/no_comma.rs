//! `punctuation:no_comma`: no comma.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "punctuation:no_comma", fields: &[], build };

/// No ASCII comma.
struct NoComma;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(NoComma.into())
}

impl Rule for NoComma {
    fn holds(&self, text: &str) -> bool {
        !text.contains(',')
    }

    fn text(&self, negated: bool) -> String {
        if negated { "Use at least one comma." } else { "Do not use any commas." }.into()
    }
}
