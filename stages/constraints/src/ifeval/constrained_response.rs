//! `detectable_format:constrained_response`: one of three fixed answers.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};
use crate::wording::quoted;

pub const KIND: Kind = Kind { id: "detectable_format:constrained_response", fields: &[], build };

const OPTIONS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

/// One of the options occurs anywhere, to the letter.
struct ConstrainedResponse;

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(ConstrainedResponse.into())
}

impl Rule for ConstrainedResponse {
    fn holds(&self, text: &str) -> bool {
        OPTIONS.iter().any(|option| text.contains(option))
    }

    fn text(&self, negated: bool) -> String {
        let options = quoted(&OPTIONS.map(str::to_owned), "or");
        if negated {
            format!("Do not include any of the answers {options}.")
        } else {
            format!("Include one of the answers {options}.")
        }
    }
}
