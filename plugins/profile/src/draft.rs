//! The first draft of a profile, by a model.

use obvert_api::form::{list, object, unfenced};
use obvert_api::prompt::Language;
use obvert_api::record::{Constraint, Profile};
use obvert_api::serde::Deserialize;
use obvert_api::serde_json::{self, Value, json};

use crate::expand::ExpandProfile;

/// Groups of constraints, of which ids tell: `style-4`.
const GROUPS: [&str; 6] = ["content", "format", "style", "role", "logic", "action"];

/// A profile as the model writes it.
#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
pub(crate) struct Draft {
    name: String,
    description: String,
    skills: Vec<String>,
    constraints: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
struct Row {
    group: String,
    text: String,
    when: Option<String>,
}

impl Draft {
    /// As the profile of a role, whose id and name it keeps.
    pub(crate) fn of(self, role: Profile) -> Profile {
        let constraint = |(index, row): (usize, Row)| Constraint {
            id: format!("{}-{}", row.group, index + 1),
            text: row.text.trim().into(),
            when: row.when.map(|when| when.trim().into()),
            check: None,
            depends: Vec::new(),
        };
        Profile {
            id: role.id,
            name: if role.name.is_empty() { self.name } else { role.name },
            description: self.description,
            skills: if role.skills.is_empty() { self.skills } else { role.skills },
            constraints: self.constraints.into_iter().enumerate().map(constraint).collect(),
        }
    }
}

/// The question and the form of its reply.
pub(crate) fn prompt(settings: &ExpandProfile, role: &Profile, language: Language) -> (String, Value) {
    let ExpandProfile { min_constraints, max_constraints, min_description, .. } = settings;
    let (min, max, least) = (min_constraints.to_string(), max_constraints.to_string(), min_description.to_string());
    let about =
        if role.name.is_empty() { role.description.clone() } else { format!("{}: {}", role.name, role.description) };
    let places = [("role", about.as_str()), ("min", &min), ("max", &max), ("least", &least)];
    let templates = [include_str!("../prompts/write.en.txt"), include_str!("../prompts/write.zh.txt")];
    (language.fill(templates, &places), schema(*min_constraints, *max_constraints))
}

fn schema(min: usize, max: usize) -> Value {
    let row =
        json!({ "group": { "enum": GROUPS }, "text": { "type": "string" }, "when": { "type": ["string", "null"] } });
    object(json!({
        "name": { "type": "string" },
        "description": { "type": "string" },
        "skills": { "type": "array", "items": { "type": "string" } },
        "constraints": list(object(row), min, max),
    }))
}

/// The draft of a reply.
pub(crate) fn read(settings: &ExpandProfile, reply: &str) -> Result<Draft, String> {
    let draft: Draft = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let ExpandProfile { min_constraints, max_constraints, min_description, .. } = settings;
    let (written, length) = (draft.constraints.len(), draft.description.trim().chars().count());
    if length < *min_description {
        return Err(format!("the description has {length} characters, not {min_description}"));
    }
    if !(*min_constraints..=*max_constraints).contains(&written) {
        return Err(format!("there are {written} constraints, not {min_constraints} to {max_constraints}"));
    }
    for (index, row) in draft.constraints.iter().enumerate() {
        let at = format!("constraint {}", index + 1);
        if !GROUPS.contains(&row.group.as_str()) {
            return Err(format!("{at} is of the group `{}`; groups are {}", row.group, GROUPS.join(", ")));
        }
        sound(&row.text, row.when.as_deref()).map_err(|wrong| format!("{at} {wrong}"))?;
    }
    Ok(draft)
}

/// Whether a constraint is one line of text, with a trigger that says something where it has one.
pub(crate) fn sound(text: &str, when: Option<&str>) -> Result<(), String> {
    match (text.trim(), when.map(str::trim)) {
        ("", _) => Err("is empty".into()),
        (text, _) if text.contains('\n') => Err("has several lines".into()),
        (_, Some(when)) if when.contains('\n') => Err("has a `when` of several lines".into()),
        (_, Some("")) => Err("has an empty `when`; it is null where the constraint is always in force".into()),
        _ => Ok(()),
    }
}
