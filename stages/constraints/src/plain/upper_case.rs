//! `upper_case`: no small letter.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "upper_case", fields: &[], build };

/// No lower-case letter of any script.
struct UpperCase;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(UpperCase.into())
}

impl Rule for UpperCase {
    fn holds(&self, text: &str) -> bool {
        !text.contains(char::is_lowercase)
    }

    fn text(&self, negated: bool) -> String {
        if negated { "Use at least one small letter." } else { "Write only in capital letters." }.into()
    }
}
