//! `detectable_format:number_bullet_lists`: the exact number of bullet points.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::counted;

pub const KIND: Kind = Kind { id: "detectable_format:number_bullet_lists", fields: &["num_bullets"], build };

/// Exactly `bullets` bullet points, of both marks together.
struct NumberBulletLists {
    bullets: usize,
    marks: [Pattern; 2],
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let marks = [args.fixed(r"^\s*\*[^\*].*$")?, args.fixed(r"^\s*-.*$")?];
    Ok(NumberBulletLists { bullets: args.count("num_bullets")?, marks }.into())
}

impl Rule for NumberBulletLists {
    fn holds(&self, text: &str) -> bool {
        self.marks.iter().map(|mark| mark.count(text)).sum::<usize>() == self.bullets
    }

    fn text(&self, negated: bool) -> String {
        match negated {
            true => format!("Use any number of markdown bullet points other than {}.", self.bullets),
            false => format!("Use exactly {}.", counted(self.bullets, "markdown bullet point")),
        }
    }
}
