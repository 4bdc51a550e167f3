//! Plays the user: asks the next query of a dialogue and says which constraints it triggers.

use obvert_api::form::{self, Form, unfenced};
use obvert_api::record::{Message, Session, Turn};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply, Request, Sampling, plugin, serde_json};

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
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

fn temperature() -> f32 {
    1.0
}

/// Messages of the history that the user remembers.
const REMEMBERED: usize = 10;

impl Map for PersonaPlay {
    const NAME: &'static str = "persona-play";
    type In = Session;
    type Out = Turn;

    fn map(&self, session: Session, replies: &[Reply], out: &mut Output<Turn>) -> Result<(), Error> {
        let (query, rest) = match self.query(&session, replies)? {
            Step::Known(query, rest) => (query, rest),
            Step::Ask(request) => {
                out.request(request);
                return Ok(());
            }
            Step::Over => return Ok(()),
        };
        let triggered = if session.profile.constraints.iter().any(|c| c.when.is_some()) {
            let (request, read) = (self.ask_triggers(&session, &query)?, |text: &str| triggers(&session, text));
            let what = "the judge's list of triggered constraints is";
            match (Form { what, request, read: &read, repairs: self.repairs }).step(rest)? {
                form::Step::Ask(request) => {
                    out.request(request);
                    return Ok(());
                }
                form::Step::Read(triggered) => triggered,
            }
        } else {
            Vec::new()
        };
        let always = session.profile.constraints.iter().filter(|c| c.when.is_none() || triggered.contains(&c.id));
        let active = always.map(|c| c.id.clone()).collect();
        out.emit(Turn { session, query, active });
        Ok(())
    }
}

enum Step<'a> {
    Known(String, &'a [Reply]),
    Ask(Request),
    Over,
}

impl PersonaPlay {
    fn query<'a>(&self, session: &Session, replies: &'a [Reply]) -> Result<Step<'a>, Error> {
        let given = &session.persona.queries;
        if !given.is_empty() {
            let query = given.get(session.turn as usize);
            return Ok(query.map_or(Step::Over, |query| Step::Known(query.clone(), replies)));
        }
        match replies {
            [] => Ok(Step::Ask(self.ask_query(session)?)),
            [reply, rest @ ..] if !reply.text.trim().is_empty() => Ok(Step::Known(reply.text.trim().into(), rest)),
            _ => Err(Error::new("the model that plays the user said nothing")),
        }
    }

    fn ask_query(&self, session: &Session) -> Result<Request, Error> {
        let model = self.model.as_ref().ok_or_else(|| {
            Error(format!("persona `{}` has no queries and the stage no `model` to play it", session.persona.id))
        })?;
        let instruction = format!(
            "Play this user of an assistant, and stay in character.\nUser: {}\nAssistant: {}\n\
             Write the user's next message and nothing else: at most 20 words, natural, without emoji, opening in \
             another way than before, and such that the assistant's rules matter.",
            session.persona.text,
            session.profile.system(),
        );
        let mut messages = vec![Message::new("system", instruction)];
        let skipped = session.history.len().saturating_sub(REMEMBERED);
        // Seen from the user's side the assistant is the one who asks.
        messages.extend(session.history.iter().skip(skipped).map(|message| {
            let role = if message.role == "user" { "assistant" } else { "user" };
            Message::new(role, message.content.clone())
        }));
        if messages.len() == 1 {
            messages.push(Message::new("user", "Begin."));
        }
        let mut request = Request::new(&model.0, messages);
        request.sampling = Sampling { temperature: self.temperature, top_p: 1.0, max_tokens: 64, seed: self.seed };
        Ok(request)
    }

    fn ask_triggers(&self, session: &Session, query: &str) -> Result<Request, Error> {
        let judge = self.judge.as_ref().ok_or_else(|| {
            Error(format!("profile `{}` has conditional constraints and the stage no `judge`", session.profile.id))
        })?;
        let conditions: String = session
            .profile
            .constraints
            .iter()
            .filter_map(|c| c.when.as_ref().map(|when| format!("{}: when {when}\n", c.id)))
            .collect();
        let text = format!(
            "A user says:\n{query}\n\nWhich of these conditions does the message meet? A condition on the answer \
             rather than on the message counts as met.\n{conditions}\nReply with a JSON list of the ids that are met."
        );
        Ok(Request::new(&judge.0, vec![Message::new("user", text)]))
    }
}

/// The ids of a reply, each of a constraint that has a condition, and once.
fn triggers(session: &Session, reply: &str) -> Result<Vec<String>, String> {
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

plugin!(PersonaPlay);
