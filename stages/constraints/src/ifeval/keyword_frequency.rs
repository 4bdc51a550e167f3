//! `keywords:frequency`: how often a keyword occurs.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::{Flags, Pattern};
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::use_times;

pub const KIND: Kind = Kind { id: "keywords:frequency", fields: &["keyword", "frequency", "relation"], build };

/// The keyword occurs at least `least` times, also inside longer words, without regard to case. It is a regular expression.
struct KeywordFrequency {
    keyword: String,
    occurrence: Pattern,
    least: usize,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let keyword = strip(args.string("keyword")?).to_owned();
    let occurrence = args.pattern("keyword", &keyword, Flags::IGNORE_CASE)?;
    let rule = KeywordFrequency { keyword, occurrence, least: args.count("frequency")? };
    Ok(Parsed::stated(rule, args.less_than("relation")?))
}

impl Rule for KeywordFrequency {
    fn holds(&self, text: &str) -> bool {
        self.occurrence.find_all(text).take(self.least).count() == self.least
    }

    fn text(&self, negated: bool) -> String {
        let demand = use_times(&format!("the keyword \"{}\"", self.keyword), self.least, negated);
        let inside = match (negated, self.least) {
            (false, _) => return demand,
            (true, 1) => "not even inside a longer word",
            (true, _) => "counting it inside longer words too",
        };
        format!("{}, {inside}.", demand.trim_end_matches('.'))
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "relation", negated);
    }
}
