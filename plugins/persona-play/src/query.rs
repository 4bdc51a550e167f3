//! The user's next message, by a model that plays the user.

use obvert_api::form::{Stop, Talk};
use obvert_api::record::{Message, Session, draw};
use obvert_api::{Error, ModelName, Reply, Request, Sampling};

use crate::PersonaPlay;
use crate::similar::similarity;
use crate::traits::traits_of;

/// Messages of the history that the user remembers.
const REMEMBERED: usize = 10;

impl PersonaPlay {
    /// What the user says; what resembles something that was said before is asked for again, once.
    pub(crate) fn query(&self, session: &Session, talk: &mut Talk) -> Result<String, Stop> {
        let request = self.ask_query(session)?;
        let query = said(talk.say(request.clone())?)?;
        let earlier = session.history.iter().filter(|message| message.role == "user");
        let Some(earlier) = earlier.map(|message| &message.content).find(|earlier| self.resembles(earlier, &query))
        else {
            return Ok(query);
        };
        Ok(said(talk.say(self.ask_again(session, request, &query, earlier))?)?)
    }

    fn resembles(&self, earlier: &str, query: &str) -> bool {
        similarity(earlier, query) > self.max_similarity
    }

    fn ask_query(&self, session: &Session) -> Result<Request, Error> {
        let model = self.model.as_ref().ok_or_else(|| {
            Error(format!("persona `{}` has no queries and the stage no `model` to play it", session.persona.id))
        })?;
        let mut messages = vec![Message::new("system", self.instruction(session))];
        let skipped = session.history.len().saturating_sub(REMEMBERED);
        // Seen from the user's side the assistant is the one who asks.
        messages.extend(session.history.iter().skip(skipped).map(|message| {
            let role = if message.role == "user" { "assistant" } else { "user" };
            Message::new(role, message.content.clone())
        }));
        if messages.len() == 1 {
            messages.push(Message::new("user", self.language(session).pick("Begin.", "请开始。")));
        }
        Ok(self.request(model, messages))
    }

    fn instruction(&self, session: &Session) -> String {
        let language = self.language(session);
        let traits = traits_of(session, self.traits, self.seed, language);
        let play = [include_str!("../prompts/play.en.txt"), include_str!("../prompts/play.zh.txt")];
        let places =
            [("persona", session.persona.text.as_str()), ("traits", &traits), ("profile", &session.profile.system())];
        let text = language.fill(play, &places);
        if !self.chats(session) {
            return text;
        }
        let chat = language.pick(include_str!("../prompts/chat.en.txt"), include_str!("../prompts/chat.zh.txt"));
        format!("{text}\n{}", chat.trim_end())
    }

    /// Whether this turn is small talk: drawn from the dialogue and the turn.
    fn chats(&self, session: &Session) -> bool {
        draw(&["chat", &session.dialogue, &session.turn.to_string(), &self.seed.to_string()]) < self.chat
    }

    fn ask_again(&self, session: &Session, mut request: Request, query: &str, earlier: &str) -> Request {
        let again = [include_str!("../prompts/again.en.txt"), include_str!("../prompts/again.zh.txt")];
        let again = self.language(session).fill(again, &[("earlier", earlier)]);
        request.messages.push(Message::new("assistant", query));
        request.messages.push(Message::new("user", again));
        request
    }

    fn request(&self, model: &ModelName, messages: Vec<Message>) -> Request {
        let mut request = Request::new(&model.0, messages);
        request.sampling = Sampling { temperature: self.temperature, top_p: 1.0, max_tokens: 64, seed: self.seed };
        request
    }
}

fn said(reply: &Reply) -> Result<String, Error> {
    match reply.text.trim() {
        "" => Err(Error::new("the model that plays the user said nothing")),
        text => Ok(text.into()),
    }
}
