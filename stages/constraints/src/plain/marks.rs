//! `comma`, `digit`, `exclamation` and `question`: a mark that must occur.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};

pub const COMMA: Kind = Kind { id: "comma", fields: &[], build: |args| build(args, COMMAS) };
pub const DIGIT: Kind = Kind { id: "digit", fields: &[], build: |args| build(args, DIGITS) };
pub const EXCLAMATION: Kind = Kind { id: "exclamation", fields: &[], build: |args| build(args, EXCLAMATIONS) };
pub const QUESTION: Kind = Kind { id: "question", fields: &[], build: |args| build(args, QUESTIONS) };

/// At least one character of one sort.
#[derive(Clone, Copy)]
struct Mark {
    is: fn(char) -> bool,
    /// The wordings: wanted, not wanted.
    texts: [&'static str; 2],
}

const COMMAS: Mark = Mark { is: |c| c == ',', texts: ["Use at least one comma.", "Do not use any commas."] };
const DIGITS: Mark = Mark { is: |c| c.is_ascii_digit(), texts: ["Use at least one digit.", "Do not use any digits."] };
const EXCLAMATIONS: Mark =
    Mark { is: |c| c == '!', texts: ["Use at least one exclamation mark.", "Do not use any exclamation marks."] };
const QUESTIONS: Mark = Mark { is: |c| c == '?', texts: ["Ask at least one question.", "Do not ask any questions."] };

fn build(_: &Args, mark: Mark) -> Result<Parsed, Error> {
    Ok(mark.into())
}

impl Rule for Mark {
    fn holds(&self, text: &str) -> bool {
        text.contains(self.is)
    }

    fn text(&self, negated: bool) -> String {
        self.texts[usize::from(negated)].into()
    }
}
