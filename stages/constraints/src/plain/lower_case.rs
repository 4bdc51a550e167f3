//! `lower_case`: no capital letter.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "lower_case", fields: &[], build };

/// No upper-case letter of any script.
struct LowerCase;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(LowerCase.into())
}

impl Rule for LowerCase {
    fn holds(&self, text: &str) -> bool {
        !text.contains(char::is_uppercase)
    }

    fn text(&self, negated: bool) -> String {
        if negated { "Use at least one capital letter." } else { "Write only in lower case." }.into()
    }
}
