//! `next`: picks a turn's best judged response as the history of the next turn. Its output closes the turn loop.

use obvert_api::record::{Judged, Message, Session};
use obvert_api::{Error, Group, Nothing, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `next`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Next {
    /// Turns of a dialogue at most.
    #[serde(default = "five")]
    #[schemars(range(min = 1))]
    turns: u32,
    /// Share of the active constraints decided that the best response must satisfy for the dialogue to go on.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    min_satisfied: f64,
}

fn five() -> u32 {
    5
}

impl Group for Next {
    const NAME: &'static str = "next";
    type In = Judged;
    type With = Nothing;
    type Out = Session;
    const WITHIN_ROW: bool = true;

    fn key(&self, judged: &Judged) -> String {
        judged.response.turn.id()
    }

    fn group(
        &self,
        _: &str,
        responses: Vec<Judged>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Session>,
    ) -> Result<(), Error> {
        let Some(best) = Judged::best(&responses).filter(|best| best.share() >= self.min_satisfied) else {
            return Ok(());
        };
        let turn = &best.response.turn;
        if turn.session.turn + 1 >= self.turns {
            return Ok(());
        }
        let mut session = turn.session.clone();
        session.turn += 1;
        session.history.push(Message::new("user", turn.query.clone()));
        session.history.push(Message::new("assistant", best.response.text.clone()));
        out.emit(session);
        Ok(())
    }
}
