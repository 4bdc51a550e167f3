//! Verdicts by program.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use obvert_api::{Error, Json};
use obvert_constraints::Constraint;

/// Constraints by their JSON text: building one compiles regular expressions, so each is built once.
#[derive(Default)]
pub(crate) struct Checks(Mutex<HashMap<String, Constraint>>);

impl Checks {
    /// Whether the text satisfies the constraint.
    pub(crate) fn satisfied(&self, check: &Json, text: &str) -> Result<bool, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = check.0.to_string();
        if let Some(constraint) = known.get(&key) {
            return Ok(constraint.check(text));
        }
        let constraint = Constraint::from_json(&check.0).map_err(Error::new)?;
        let satisfied = constraint.check(text);
        known.insert(key, constraint);
        Ok(satisfied)
    }
}
