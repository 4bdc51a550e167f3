//! Maps each constraint of a profile to its complement, once per profile.

use std::collections::BTreeMap;

use obvert_api::form::{Form, answered, by_id, object, unfenced};
use obvert_api::prompt::Language;
use obvert_api::record::{Constraint, Message, Profile, Reversal};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::de::{MapAccess, Visitor};
use obvert_api::serde::{Deserialize, Deserializer};
use obvert_api::serde_json::{self, json};
use obvert_api::{Error, Json, Map, ModelName, Output, Reply, Request, plugin};

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Reverse {
    /// The model that words complements; not needed where a program knows every complement exactly.
    model: Option<ModelName>,
    /// How often a malformed reply is sent back with its error before the profile is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    /// The language of the question; that of the constraints, unless it is set.
    language: Option<Language>,
}

impl Map for Reverse {
    const NAME: &'static str = "reverse";
    type In = Profile;
    type Out = Reversal;

    fn map(&self, profile: Profile, replies: &[Reply], out: &mut Output<Reversal>) -> Result<(), Error> {
        sound(&profile)?;
        let asked: Vec<&Constraint> = profile.constraints.iter().filter(|c| c.check.is_none()).collect();
        let mut worded = BTreeMap::new();
        if !asked.is_empty() {
            let (request, read) = (self.request(&asked)?, |text: &str| read(text, &asked));
            let form = Form { what: "the reversals are", request, read: &read, repairs: self.repairs };
            let Some(texts) = answered(out.talk(replies).ask(form))? else { return Ok(()) };
            worded = texts;
        }
        for original in &profile.constraints {
            let reversed = match &original.check {
                Some(check) => exact(original, check)?,
                None => Constraint { text: worded.remove(&original.id).unwrap_or_default(), ..original.clone() },
            };
            out.emit(Reversal { profile: profile.id.clone(), original: original.clone(), reversed });
        }
        Ok(())
    }
}

/// Ids are there once, and those that constraints depend on are there.
fn sound(profile: &Profile) -> Result<(), Error> {
    for (index, constraint) in profile.constraints.iter().enumerate() {
        let id = &constraint.id;
        if profile.constraints[..index].iter().any(|other| other.id == *id) {
            return Err(Error(format!("two constraints of the profile have the id `{id}`")));
        }
        if let Some(other) = constraint.depends.iter().find(|other| profile.constraint(other).is_none()) {
            return Err(Error(format!("constraint `{id}` depends on `{other}`, which is not in the profile")));
        }
    }
    Ok(())
}

fn exact(original: &Constraint, check: &Json) -> Result<Constraint, Error> {
    let reversed = obvert_constraints::Constraint::from_json(&check.0)
        .map_err(|e| Error(format!("constraint `{}`: {e}", original.id)))?
        .reverse();
    Ok(Constraint { text: reversed.text(), check: Some(Json(reversed.to_json())), ..original.clone() })
}

impl Reverse {
    fn request(&self, asked: &[&Constraint]) -> Result<Request, Error> {
        let model = self.model.as_ref().ok_or_else(|| {
            Error(format!("no program reverses `{}` and the stage has no `model` to ask", asked[0].id))
        })?;
        let demands: String = asked.iter().map(|c| format!("{}: {}\n", c.id, c.text)).collect();
        let templates = [include_str!("../prompts/reverse.en.txt"), include_str!("../prompts/reverse.zh.txt")];
        let language = self.language.unwrap_or_else(|| Language::of(&demands));
        let text = language.fill(templates, &[("demands", &demands)]);
        let mut request = Request::new(&model.0, vec![Message::new("user", text)]);
        request.schema = Some(Json(schema(asked)));
        Ok(request)
    }
}

fn schema(asked: &[&Constraint]) -> serde_json::Value {
    let texts = asked.iter().map(|c| (c.id.clone(), json!({ "type": "string" })));
    object(serde_json::Value::Object(texts.collect()))
}

/// Texts with their ids, as they stand: JSON's own tables take the last of several texts for one id.
struct Texts(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Texts(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Texts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Texts, A::Error> {
        while let Some(entry) = map.next_entry()? {
            self.0.push(entry);
        }
        Ok(self)
    }
}

/// The texts of a reply by id; every asked id exactly once, and no other.
fn read(reply: &str, asked: &[&Constraint]) -> Result<BTreeMap<String, String>, String> {
    let Texts(texts) = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let texts = by_id(texts, &asked.iter().map(|c| c.id.as_str()).collect::<Vec<_>>())?;
    for constraint in asked {
        match &texts[&constraint.id] {
            text if text.trim().is_empty() => return Err(format!("`{}` is empty", constraint.id)),
            text if *text == constraint.text => return Err(format!("`{}` is not reversed", constraint.id)),
            _ => {}
        }
    }
    Ok(texts)
}

plugin!("obvert_plugin_v1_obvert_reverse": Reverse);

#[cfg(test)]
mod tests;
