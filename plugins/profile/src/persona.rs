//! Makes a vivid persona of a line.

use obvert_api::form::answered;
use obvert_api::prompt::Language;
use obvert_api::record::{Message, Persona};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply, Request, Sampling};

/// Settings of the stage. A persona that brings its queries passes as it is: nobody plays it.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct ExpandPersona {
    /// The model that writes.
    model: ModelName,
    /// How freely it writes.
    #[serde(default = "temperature")]
    temperature: f32,
    /// The language of the persona; that of the line, unless it is set.
    language: Option<Language>,
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

fn temperature() -> f32 {
    1.0
}

impl Map for ExpandPersona {
    const NAME: &'static str = "expand-persona";
    type In = Persona;
    type Out = Persona;

    fn map(&self, mut persona: Persona, replies: &[Reply], out: &mut Output<Persona>) -> Result<(), Error> {
        if persona.queries.is_empty() {
            let Some(reply) = answered(out.talk(replies).say(self.request(&persona)))? else { return Ok(()) };
            persona.text = match reply.text.trim() {
                "" => return Err(Error::new("the model wrote nothing")),
                _ if !reply.finished => return Err(Error::new("the model did not come to an end")),
                text => text.into(),
            };
        }
        out.emit(persona);
        Ok(())
    }
}

impl ExpandPersona {
    fn request(&self, persona: &Persona) -> Request {
        let language = self.language.unwrap_or_else(|| Language::of(&persona.text));
        let templates = [include_str!("../prompts/persona.en.txt"), include_str!("../prompts/persona.zh.txt")];
        let text = language.fill(templates, &[("persona", &persona.text)]);
        let mut request = Request::new(&self.model.0, vec![Message::new("user", text)]);
        request.sampling =
            Sampling { temperature: self.temperature, seed: self.seed, max_tokens: 512, ..Sampling::default() };
        request
    }
}
