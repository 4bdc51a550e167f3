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
    #[serde(rename = "type", default)]
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

    /// The dialogue before turn `number`, counted from 1, on the file's own history.
    fn before(&self, number: u32, profile: Profile) -> Session {
        let before = self.turns.iter().filter(|turn| turn.turn < number);
        let said = |turn: &TurnRow| {
            [Message::new("user", &turn.user), Message::new("assistant", turn.gold.clone().unwrap_or_default())]
        };
        let queries = self.turns.iter().map(|turn| turn.user.clone()).collect();
        Session {
            dialogue: self.id(),
            profile,
            persona: Persona { id: self.id(), text: String::new(), queries },
            turn: number.saturating_sub(1),
            history: before.flat_map(said).collect(),
            adapter: None,
        }
    }
}
