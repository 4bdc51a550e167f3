//! What a dialogue is about: the system's profile with its constraints, and the simulated user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Record;
use crate::Json;

/// One demand of a system prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Unique within its profile.
    pub id: String,
    /// The demand as an imperative sentence.
    pub text: String,
    /// The trigger, as the continuation of "When ..."; `None` is always in force.
    #[serde(default)]
    pub when: Option<String>,
    /// How a program decides it (the JSON form of obvert-constraints); `None` leaves it to a judge model.
    #[serde(default)]
    pub check: Option<Json>,
    /// Ids of constraints that must be reversed together with this one.
    #[serde(default)]
    pub depends: Vec<String>,
}

impl Constraint {
    /// The line that stands for this constraint in a system prompt.
    pub fn line(&self) -> String {
        match &self.when {
            Some(when) => format!("When {when}: {}", self.text),
            None => self.text.clone(),
        }
    }
}

/// A system prompt in parts: who the system is and what it must obey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Unique among the profiles of a pipeline.
    pub id: String,
    /// The role's name; may be empty.
    #[serde(default)]
    pub name: String,
    /// Who the system is, as it stands at the head of the system prompt.
    #[serde(alias = "text")]
    pub description: String,
    /// What the system can do; may be empty.
    #[serde(default)]
    pub skills: Vec<String>,
    /// What the system must obey.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
}

impl Record for Profile {
    const NAME: &'static str = "Profile";
}

impl Profile {
    /// The system prompt x, every constraint in its own polarity.
    pub fn system(&self) -> String {
        self.system_with(&BTreeMap::new())
    }

    /// The system prompt x_S: constraints whose id is in `replaced` give way to their reversal, all others stay.
    pub fn system_with(&self, replaced: &BTreeMap<&str, &Constraint>) -> String {
        let mut text = self.description.clone();
        if !self.skills.is_empty() {
            text.push_str("\nSkills:");
            for skill in &self.skills {
                text.push_str("\n- ");
                text.push_str(skill);
            }
        }
        if !self.constraints.is_empty() {
            text.push_str("\nRules:");
        }
        for constraint in &self.constraints {
            let shown = replaced.get(constraint.id.as_str()).copied().unwrap_or(constraint);
            text.push_str("\n- ");
            text.push_str(&shown.line());
        }
        text
    }

    /// The constraint with this id.
    pub fn constraint(&self, id: &str) -> Option<&Constraint> {
        self.constraints.iter().find(|c| c.id == id)
    }
}

/// The simulated user of a dialogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// Unique among the personas of a pipeline.
    pub id: String,
    /// Traits, background and interests in prose; may be empty.
    #[serde(default)]
    pub text: String,
    /// Queries to ask turn by turn; where they are given no model plays the user and the dialogue ends with them.
    #[serde(default)]
    pub queries: Vec<String>,
}

impl Record for Persona {
    const NAME: &'static str = "Persona";
}

/// The complement of one constraint: satisfied by exactly those responses that violate the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reversal {
    /// Id of the profile that holds the original.
    pub profile: String,
    /// The original as it stood when it was reversed.
    pub original: Constraint,
    /// Its complement, under the same id.
    pub reversed: Constraint,
}

impl Record for Reversal {
    const NAME: &'static str = "Reversal";
}
