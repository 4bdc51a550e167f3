//! `lines`: the number of lines.

use serde_json::{Map, Value};

use super::bound;
use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "lines", fields: bound::FIELDS, build };

/// At least `least` lines that are not blank.
struct Lines {
    least: usize,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (least, negated) = bound::parse(args)?;
    Ok(Parsed::stated(Lines { least }, negated))
}

impl Rule for Lines {
    fn holds(&self, text: &str) -> bool {
        text.lines().filter(|line| !line.trim().is_empty()).count() >= self.least
    }

    fn text(&self, negated: bool) -> String {
        bound::text(self.least, "line", negated)
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        bound::state(args, self.least, negated);
    }
}
