//! Looks through the constraints of a profile: by a model, and by program where their forms tell.

use std::collections::BTreeMap;

use obvert_api::form::{by_id, list, object, unfenced};
use obvert_api::prompt::Language;
use obvert_api::record::{Constraint, Profile};
use obvert_api::serde::Deserialize;
use obvert_api::serde_json::{self, Value, json};
use obvert_constraints::Constraint as Verifiable;

use crate::expand::listed;

/// A constraint that cannot stay, and why.
pub(crate) struct Wrong {
    pub(crate) id: String,
    pub(crate) why: String,
}

/// What the model says of a constraint.
#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
pub(crate) struct Review {
    id: String,
    checkable: bool,
    excludes: Vec<String>,
    depends: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
struct Reviews {
    reviews: Vec<Review>,
}

/// The question and the form of its reply.
pub(crate) fn prompt(constraints: &[Constraint], language: Language) -> (String, Value) {
    let templates = [include_str!("../prompts/review.en.txt"), include_str!("../prompts/review.zh.txt")];
    (language.fill(templates, &[("constraints", &listed(constraints))]), schema(constraints))
}

fn schema(constraints: &[Constraint]) -> Value {
    let ids: Vec<&str> = constraints.iter().map(|constraint| constraint.id.as_str()).collect();
    let some = json!({ "type": "array", "items": { "enum": ids } });
    let row = json!({
        "id": { "enum": ids },
        "checkable": { "type": "boolean" },
        "excludes": some,
        "depends": some,
        "reason": { "type": "string" },
    });
    object(json!({ "reviews": list(object(row), ids.len(), ids.len()) }))
}

/// The reviews of a reply by id; one of each constraint, of and about constraints that there are.
pub(crate) fn read(constraints: &[Constraint], reply: &str) -> Result<BTreeMap<String, Review>, String> {
    let Reviews { reviews } = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let ids: Vec<&str> = constraints.iter().map(|constraint| constraint.id.as_str()).collect();
    let mut named = reviews.iter().flat_map(|review| review.excludes.iter().chain(&review.depends));
    if let Some(id) = named.find(|id| !ids.contains(&id.as_str())) {
        return Err(format!("there is no constraint `{id}`"));
    }
    by_id(reviews.into_iter().map(|review| (review.id.clone(), review)), &ids)
}

/// The constraints that cannot stay, of several that exclude each other all but the first; the others learn what they depend on.
pub(crate) fn take(profile: &mut Profile, mut reviews: BTreeMap<String, Review>) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = Vec::new();
    for (index, constraint) in profile.constraints.iter().enumerate() {
        let stays = |other: &&Constraint| !wrong.iter().any(|wrong| wrong.id == other.id);
        let before = profile.constraints[..index].iter().filter(stays);
        if let Some(why) = why(constraint, before, &reviews) {
            wrong.push(Wrong { id: constraint.id.clone(), why });
        }
    }
    for constraint in &mut profile.constraints {
        constraint.depends = reviews.remove(&constraint.id).map(|review| review.depends).unwrap_or_default();
        constraint.depends.retain(|id| *id != constraint.id);
    }
    wrong
}

fn why<'p>(
    constraint: &Constraint,
    mut before: impl Iterator<Item = &'p Constraint> + Clone,
    reviews: &BTreeMap<String, Review>,
) -> Option<String> {
    let review = reviews.get(&constraint.id)?;
    if !review.checkable {
        return Some(format!("cannot be checked: {}", review.reason));
    }
    if let Some(same) = before.clone().find(|other| other.text == constraint.text && other.when == constraint.when) {
        return Some(format!("says what `{}` says", same.id));
    }
    let excludes = |other: &&Constraint| {
        let said = |one: &Review, other: &str| one.excludes.iter().any(|id| id == other);
        said(review, &other.id)
            || reviews.get(&other.id).is_some_and(|theirs| said(theirs, &constraint.id))
            || contradicts(constraint, other)
    };
    before.find(excludes).map(|other| format!("excludes `{}`: {}", other.id, review.reason))
}

/// Whether a program can tell that no answer obeys both where both are in force.
fn contradicts(one: &Constraint, other: &Constraint) -> bool {
    let together = one.when.is_none() || other.when.is_none() || one.when == other.when;
    let [one, other] = [one, other].map(|constraint| Verifiable::recognise(&constraint.text));
    together && one.zip(other).is_some_and(|(one, other)| one.contradicts(&other))
}
