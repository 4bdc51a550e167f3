//! What a constraint type has to provide.

use std::sync::Arc;

use serde_json::{Map, Value};

/// Counts something in a text.
pub type Count = Box<dyn Fn(&str) -> usize + Send + Sync>;

/// The feature that a constraint type looks for, with its arguments.
///
/// A rule states the positive polarity; [`Constraint`](crate::Constraint) compares the outcome with
/// the polarity it wants, so the complement is exact by construction.
pub trait Rule: Send + Sync {
    /// Whether `text`, which is not empty, shows the feature. Must be deterministic.
    fn holds(&self, text: &str) -> bool;

    /// One imperative English sentence that demands the feature, or where `negated` its absence.
    fn text(&self, negated: bool) -> String;

    /// Puts the polarity into the arguments `args`, which are those the constraint was built from.
    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        if negated {
            args.insert("negated".into(), true.into());
        }
    }
}

/// A rule read from JSON, with the polarity that its arguments state.
pub struct Parsed {
    /// The rule, in its positive polarity.
    pub rule: Arc<dyn Rule>,
    /// Whether the arguments ask for the complement ("less than", "at most").
    pub negated: bool,
}

impl<R: Rule + 'static> From<R> for Parsed {
    fn from(rule: R) -> Self {
        Self::stated(rule, false)
    }
}

impl Parsed {
    /// `rule` with the polarity that its arguments state.
    pub fn stated(rule: impl Rule + 'static, negated: bool) -> Self {
        Self { rule: Arc::new(rule), negated }
    }
}
