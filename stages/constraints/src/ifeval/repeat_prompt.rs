//! `combination:repeat_prompt`: the request, repeated first.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "combination:repeat_prompt", fields: &["prompt_to_repeat"], build };

/// The text begins with `prompt`, without regard to case.
struct RepeatPrompt {
    prompt: String,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    Ok(RepeatPrompt { prompt: strip(args.string("prompt_to_repeat")?).to_owned() }.into())
}

impl Rule for RepeatPrompt {
    fn holds(&self, text: &str) -> bool {
        strip(text).to_lowercase().starts_with(&self.prompt.to_lowercase())
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("Begin by repeating this request word for word: \"{}\".", self.prompt), negated)
    }
}
