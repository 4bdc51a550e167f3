//! The two shapes of tokens that Punkt treats apart.

use crate::pattern::{Flags, Pattern};

/// Compiled once.
pub struct Patterns {
    /// Digits with points, commas and dashes.
    pub number: Pattern,
    /// A letter and a full stop.
    pub initial: Pattern,
}

impl Patterns {
    pub fn new() -> Result<Self, String> {
        let number = Pattern::compile(r"\A-?[.,]?\d[\d,.\-]*\Z", Flags::default())?;
        let initial = Pattern::compile(r"\A[^\W\d]\.\Z", Flags::default())?;
        Ok(Self { number, initial })
    }
}
