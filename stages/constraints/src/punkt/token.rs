//! One token with what is decided about it.

use super::parameters::{Case, Parameters};
use super::patterns::Patterns;

/// What stands for every number.
const NUMBER: &str = "##number##";
/// Marks that no sentence begins with.
const INNER_MARKS: [&str; 6] = [";", ":", ",", ".", "!", "?"];

/// A token.
pub struct Token<'t> {
    text: &'t str,
    /// In lower case; [`NUMBER`] for a number.
    kind: String,
    /// A single letter with a full stop.
    initial: bool,
    abbreviation: bool,
    ellipsis: bool,
    /// Whether a sentence ends after it.
    pub ends: bool,
}

impl<'t> Token<'t> {
    /// Reads a token and decides by its type alone (Kiss and Strunk 2006, section 3).
    pub fn new(text: &'t str, patterns: &Patterns, parameters: &Parameters) -> Self {
        let lower = text.to_lowercase();
        let stem = lower.strip_suffix('.').filter(|_| !text.ends_with(".."));
        let abbreviation = stem.is_some_and(|stem| parameters.is_abbreviation(stem));
        let mark = ["?", "!", "."].contains(&text);
        let ends = mark || stem.is_some() && !abbreviation;
        Self {
            initial: patterns.initial.is_match(text),
            abbreviation: abbreviation && !mark,
            ellipsis: text.len() > 1 && text.bytes().all(|byte| byte == b'.'),
            ends,
            kind: if patterns.number.is_match(&lower) { NUMBER.into() } else { lower },
            text,
        }
    }

    /// Decides again by the token that follows (section 4).
    pub fn review(&mut self, next: &Self, parameters: &Parameters) {
        if !self.text.ends_with('.') {
            return;
        }
        let (kind, next_kind) = (self.kind_without_stop(), next.kind_in_context());
        if parameters.is_collocation(kind, next_kind) {
            self.ends = false;
            return;
        }
        let starts = next.starts_sentence(parameters);
        if (self.abbreviation || self.ellipsis) && !self.initial {
            let starter = next.is_capitalised() && parameters.is_starter(next_kind);
            if starts == Some(true) || starter {
                self.ends = true;
                return;
            }
        }
        if self.initial || kind == NUMBER {
            // An initial before a word that is known with a capital only is part of a name.
            let name = self.initial && next.is_capitalised() && !parameters.context(next_kind).any(Case::LOWER);
            if starts == Some(false) || starts.is_none() && name {
                self.ends = false;
            }
        }
    }

    /// Whether the token starts a sentence, as far as its case and the cases it is known in tell (section 4.1.1).
    fn starts_sentence(&self, parameters: &Parameters) -> Option<bool> {
        if INNER_MARKS.contains(&self.text) {
            return Some(false);
        }
        let context = parameters.context(self.kind_in_context());
        if self.is_capitalised() && context.any(Case::LOWER) && !context.any(Case::UPPER_INSIDE) {
            return Some(true);
        }
        let small = self.text.starts_with(char::is_lowercase);
        (small && (context.any(Case::UPPER) || !context.any(Case::LOWER_FIRST))).then_some(false)
    }

    fn is_capitalised(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }

    fn kind_without_stop(&self) -> &str {
        self.kind.strip_suffix('.').filter(|stem| !stem.is_empty()).unwrap_or(&self.kind)
    }

    fn kind_in_context(&self) -> &str {
        if self.ends { self.kind_without_stop() } else { &self.kind }
    }
}
