//! Which conditional constraints a query triggers, by a judge.

use obvert_api::form::{Form, Stop, Talk, unfenced};
use obvert_api::prompt::fenced;
use obvert_api::record::{Message, Session};
use obvert_api::{Error, Request, serde_json};

use crate::PersonaPlay;

impl PersonaPlay {
    /// Ids of the conditional constraints that the query triggers.
    pub(crate) fn triggered(&self, session: &Session, query: &str, talk: &mut Talk) -> Result<Vec<String>, Stop> {
        if session.profile.constraints.iter().all(|c| c.when.is_none()) {
            return Ok(Vec::new());
        }
        let (request, read) = (self.ask_triggers(session, query)?, |text: &str| read(session, text));
        let what = "the judge's list of triggered constraints is";
        talk.ask(Form { what, request, read: &read, repairs: self.repairs })
    }

    fn ask_triggers(&self, session: &Session, query: &str) -> Result<Request, Error> {
        let judge = self.judge.as_ref().ok_or_else(|| {
            Error(format!("profile `{}` has conditional constraints and the stage no `judge`", session.profile.id))
        })?;
        let conditional = session.profile.constraints.iter().filter_map(|c| Some((&c.id, c.when.as_ref()?)));
        let conditions: String = conditional.map(|(id, when)| format!("{id}: when {when}\n")).collect();
        let templates = [include_str!("../prompts/triggers.en.txt"), include_str!("../prompts/triggers.zh.txt")];
        let text = self.language(session).fill(templates, &[("query", &fenced(query)), ("conditions", &conditions)]);
        Ok(Request::new(&judge.0, vec![Message::new("user", text)]))
    }
}

/// The ids of a reply, each of a constraint that has a condition, and once.
fn read(session: &Session, reply: &str) -> Result<Vec<String>, String> {
    let ids: Vec<String> = serde_json::from_str(unfenced(reply)).map_err(|error| error.to_string())?;
    for (index, id) in ids.iter().enumerate() {
        match session.profile.constraint(id) {
            None => return Err(format!("`{id}` is no constraint of the profile")),
            Some(constraint) if constraint.when.is_none() => return Err(format!("`{id}` has no condition")),
            Some(_) if ids[..index].contains(id) => return Err(format!("`{id}` is there twice")),
            Some(_) => {}
        }
    }
    Ok(ids)
}
