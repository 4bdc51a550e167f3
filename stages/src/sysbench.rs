//! SysBench: its sessions of five turns under a system prompt, whose turns each have criteria.

mod exam;
mod judge;
mod published;
#[cfg(test)]
mod tests;

use obvert_api::record::{Message, Persona, Profile, Session};
use serde::Deserialize;

pub(crate) use exam::{SysbenchSessions, SysbenchVerdicts};
pub(crate) use judge::SysbenchJudge;
pub(crate) use published::{SysbenchJudged, SysbenchProfiles};

/// A row of the benchmark.
#[derive(Deserialize)]
struct SessionRow {
    system_id: u64,
    system_prompt: String,
    scenario: Option<String>,
    turns: Vec<TurnRow>,
}

#[derive(Deserialize)]
struct TurnRow {
    /// From 1.
    turn: u32,
    user: String,
    gold: Option<String>,
    criteria: Vec<Criterion>,
}

#[derive(Deserialize)]
struct Criterion {
    id: u64,
    text: String,
    #[serde(rename = "type")]
    kind: String,
}

impl SessionRow {
    fn id(&self) -> String {
        format!("sysbench-{}", self.system_id)
    }

    /// The system prompt as it is, criteria apart.
    fn profile(&self) -> Profile {
        Profile {
            id: self.id(),
            name: self.scenario.clone().unwrap_or_default(),
            description: self.system_prompt.clone(),
            skills: Vec::new(),
            constraints: Vec::new(),
        }
    }

    /// A dialogue before turn `number`, counted from 1, in which the user has these queries.
    fn session(&self, number: u32, profile: Profile, queries: Vec<String>, history: Vec<Message>) -> Session {
        let persona = Persona { id: self.id(), text: String::new(), queries };
        let turn = number.saturating_sub(1);
        Session { dialogue: self.id(), profile, persona, turn, history, adapter: None }
    }

    /// What the file has said before a turn, from behind the last answer that it lacks; the number of the turn with that.
    fn before(&self, number: u32) -> (Vec<Message>, Option<u32>) {
        let (mut history, mut lacking) = (Vec::new(), None);
        for turn in self.turns.iter().filter(|turn| turn.turn < number) {
            match &turn.gold {
                Some(gold) => history.extend([Message::new("user", &turn.user), Message::new("assistant", gold)]),
                None => (history, lacking) = (Vec::new(), Some(turn.turn)),
            }
        }
        (history, lacking)
    }
}
