//! Plays the user: asks the next query of a dialogue and says which constraints it triggers.

mod query;
mod similar;
mod traits;
mod triggers;

use obvert_api::form::{Stop, Talk, answered};
use obvert_api::prompt::Language;
use obvert_api::record::{Session, Turn};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply, plugin};

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct PersonaPlay {
    /// The model that plays the user; not needed where personas bring their queries.
    model: Option<ModelName>,
    /// The model that says which conditional constraints a query triggers; needed where a profile has such.
    judge: Option<ModelName>,
    /// How often a malformed list of triggered constraints is sent back with its error before the session is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    /// How freely the user speaks.
    #[serde(default = "temperature")]
    temperature: f32,
    /// Traits of character that are drawn for a dialogue, beside the persona, from a list of 180.
    #[serde(default = "traits")]
    #[schemars(range(max = 20))]
    traits: usize,
    /// Share of queries that are small talk.
    #[serde(default = "chat")]
    #[schemars(range(min = 0.0, max = 1.0))]
    chat: f64,
    /// A query that is more similar than this to an earlier one of the dialogue is asked for again, once: share of the runs of three
    /// characters that both hold, of those that either does. 1 takes any.
    #[serde(default = "similarity")]
    #[schemars(range(min = 0.0, max = 1.0))]
    max_similarity: f64,
    /// The language of the prompts; that of the profile, unless it is set.
    language: Option<Language>,
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

fn temperature() -> f32 {
    1.0
}

fn traits() -> usize {
    10
}

fn chat() -> f64 {
    0.1
}

fn similarity() -> f64 {
    0.6
}

impl Map for PersonaPlay {
    const NAME: &'static str = "persona-play";
    type In = Session;
    type Out = Turn;

    fn map(&self, session: Session, replies: &[Reply], out: &mut Output<Turn>) -> Result<(), Error> {
        let given = &session.persona.queries;
        if !given.is_empty() && session.turn as usize >= given.len() {
            return Ok(());
        }
        if let Some(turn) = answered(self.turn(session, &mut out.talk(replies)))? {
            out.emit(turn);
        }
        Ok(())
    }
}

impl PersonaPlay {
    /// The next turn of a dialogue.
    fn turn(&self, session: Session, talk: &mut Talk) -> Result<Turn, Stop> {
        let query = match session.persona.queries.get(session.turn as usize) {
            Some(query) => query.clone(),
            None => self.query(&session, talk)?,
        };
        let triggered = self.triggered(&session, &query, talk)?;
        let active = session.profile.constraints.iter().filter(|c| c.when.is_none() || triggered.contains(&c.id));
        let active = active.map(|c| c.id.clone()).collect();
        Ok(Turn { session, query, active })
    }

    fn language(&self, session: &Session) -> Language {
        self.language.unwrap_or_else(|| Language::of(&session.profile.system()))
    }
}

plugin!("obvert_plugin_v1_obvert_persona_play": PersonaPlay);

#[cfg(test)]
mod tests;
