//! A dialogue as it grows: session, turn, responses, verdicts.

use serde::{Deserialize, Serialize};

use super::{Adapter, Persona, Profile, Record, id_of};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Message { role: role.to_string(), content: content.into() }
    }
}

/// A dialogue between two turns: one profile × one persona and what was said so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Id of the dialogue.
    pub dialogue: String,
    /// The system's side.
    pub profile: Profile,
    /// The user's side.
    pub persona: Persona,
    /// Index of the turn to be played next, from 0.
    #[serde(default)]
    pub turn: u32,
    /// User and assistant messages so far, without the system prompt.
    #[serde(default)]
    pub history: Vec<Message>,
    /// The adapter that answers in this dialogue; `None` leaves the policy as its model is configured.
    #[serde(default)]
    pub adapter: Option<Adapter>,
}

impl Record for Session {
    const NAME: &'static str = "Session";
}

/// One turn: the user's query in its context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The dialogue up to this turn.
    pub session: Session,
    /// What the user says.
    pub query: String,
    /// Ids of the constraints that this query triggers or that always apply, in the profile's order.
    pub active: Vec<String>,
}

impl Record for Turn {
    const NAME: &'static str = "Turn";
}

impl Turn {
    /// Stable id from lineage and content: two versions of a turn (an edited profile, another history) differ.
    pub fn id(&self) -> String {
        let mut parts = vec![self.session.dialogue.clone(), self.session.turn.to_string(), self.query.clone()];
        parts.push(self.session.profile.system());
        parts.extend(self.session.history.iter().map(|m| m.content.clone()));
        parts.extend(self.active.iter().cloned());
        parts.extend(self.session.adapter.iter().map(|a| a.version.clone()));
        id_of(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// History and query behind the given system prompt: what a policy is asked. An empty one is no message: then a model's
    /// chat template decides what stands in its place.
    pub fn messages(&self, system: String) -> Vec<Message> {
        let system = Some(system).filter(|text| !text.is_empty());
        let mut messages: Vec<Message> = system.map(|text| Message::new("system", text)).into_iter().collect();
        messages.extend(self.session.history.iter().cloned());
        messages.push(Message::new("user", self.query.clone()));
        messages
    }
}

/// One sampled answer to a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// What was asked.
    pub turn: Turn,
    /// Index of the sample, from 0.
    pub sample: u32,
    /// The answer.
    pub text: String,
    /// The model that answered, with the version of its adapter if it has one.
    pub model: String,
    /// Whether the model ended the answer itself; false where the limit of tokens cut it.
    #[serde(default = "super::whole")]
    pub finished: bool,
}

impl Record for Response {
    const NAME: &'static str = "Response";
}

/// Whether a response satisfies one active constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Id of the constraint.
    pub constraint: String,
    /// `None` where the constraint cannot apply to the response: it is then left out of the adherence vector.
    pub satisfied: Option<bool>,
    /// The judge's reason; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Who decided: `program`, the judge model's name, or [`Verdict::CORRECTION`].
    pub by: String,
}

impl Verdict {
    /// Who decided, where a verdict was put right from outside.
    pub const CORRECTION: &'static str = "correction";
}

/// A response with the verdicts on all active constraints, in the order of `Turn::active`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// What was judged.
    pub response: Response,
    /// One verdict per active constraint.
    pub verdicts: Vec<Verdict>,
}

impl Record for Judged {
    const NAME: &'static str = "Judged";
}

impl Judged {
    /// The adherence vector S_y, one entry per active constraint.
    pub fn adherence(&self) -> Vec<Option<bool>> {
        self.verdicts.iter().map(|v| v.satisfied).collect()
    }

    /// Share of the constraints decided that are satisfied; all of none.
    pub fn share(&self) -> f64 {
        match self.verdicts.iter().filter(|verdict| verdict.satisfied.is_some()).count() {
            0 => 1.0,
            decided => self.score() as f64 / decided as f64,
        }
    }

    /// Of several responses to a turn the first sampled of those that satisfy most.
    pub fn best(all: &[Judged]) -> Option<&Judged> {
        all.iter().min_by_key(|judged| (std::cmp::Reverse(judged.score()), judged.response.sample))
    }

    /// Number of satisfied constraints.
    pub fn score(&self) -> usize {
        self.verdicts.iter().filter(|v| v.satisfied == Some(true)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_system_prompt_is_no_message() {
        let (id, text) = (String::from("d"), String::new);
        let profile =
            Profile { id: id.clone(), name: text(), description: text(), skills: Vec::new(), constraints: Vec::new() };
        let persona = Persona { id: id.clone(), text: text(), queries: Vec::new() };
        let history = vec![Message::new("user", "Tea?"), Message::new("assistant", "Yes.")];
        let session = Session { dialogue: id, profile, persona, turn: 1, history, adapter: None };
        let turn = Turn { session, query: "And bread?".into(), active: Vec::new() };
        let roles = |system: String| turn.messages(system).into_iter().map(|message| message.role).collect::<Vec<_>>();
        assert_eq!(roles(turn.session.profile.system()), ["user", "assistant", "user"]);
        assert_eq!(roles("You are Leo.".into()), ["system", "user", "assistant", "user"]);
    }
}
