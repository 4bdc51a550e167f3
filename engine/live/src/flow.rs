//! What two boards say together: how fast each stage is, what holds the others up, how long it will take.

use obvert_engine::ModelCount;
use serde::Serialize;

use crate::board::{Board, Stage, State};

/// A stage is at work without pause from this share of all workers' time on.
const FULL: f64 = 0.9;
/// From this share of the work on the rest is estimated.
const ENOUGH: f64 = 0.05;

/// How a run goes, from one board to a later one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Of each stage, in the order of the board.
    pub stages: Vec<Pace>,
    /// What the rest waits for.
    pub held_up: Option<HeldUp>,
    /// Seconds to the end, at the pace so far; nothing where that cannot be told.
    pub left_s: Option<f64>,
}

/// How a stage goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pace {
    /// Items that it has handled in a second.
    pub per_s: f64,
    /// Share of one worker's time that was spent in it; more than 1 on several workers.
    pub busy: f64,
    /// Share of the time in which a source had a row and could not let it in.
    pub blocked: f64,
}

/// What the rest of a run waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldUp {
    /// It is paused.
    Paused,
    /// A model, for which most calls wait, and the stage with most items that wait.
    Model(String, String),
    /// A stage that a worker is at all the time.
    Stage(String),
    /// A trainer that still has updates to make.
    Training(String),
}

impl HeldUp {
    /// The stage at which the rest is held up.
    pub fn stage(&self) -> Option<&str> {
        match self {
            HeldUp::Paused => None,
            HeldUp::Model(_, stage) | HeldUp::Stage(stage) | HeldUp::Training(stage) => Some(stage),
        }
    }
}

impl Flow {
    /// From one board to a later one of the same run; `earlier` may be an empty one.
    pub fn between(earlier: &Board, later: &Board) -> Self {
        let seconds = (later.written - earlier.written.max(later.began)).max(1e-9);
        let before = |at: usize| earlier.stages.get(at).cloned().unwrap_or_default();
        let paces = later.stages.iter().enumerate().map(|(at, stage)| pace(&before(at), stage, seconds));
        let stages: Vec<Pace> = paces.collect();
        let held_up = if later.state.goes_on() { held_up(later, &stages) } else { None };
        Flow { stages, held_up, left_s: left(later) }
    }
}

fn pace(before: &Stage, now: &Stage, seconds: f64) -> Pace {
    let handled = |stage: &Stage| (stage.count.done + stage.count.rejected) as f64;
    Pace {
        per_s: (handled(now) - handled(before)).max(0.0) / seconds,
        busy: (now.count.busy_s - before.count.busy_s).max(0.0) / seconds,
        blocked: ((now.count.blocked_s - before.count.blocked_s) / seconds).clamp(0.0, 1.0),
    }
}

fn held_up(board: &Board, paces: &[Pace]) -> Option<HeldUp> {
    if board.state == State::Paused {
        return Some(HeldUp::Paused);
    }
    let calls = |model: &&ModelCount| model.queued + model.in_flight;
    let model = board.models.iter().filter(|model| calls(model) > 0).max_by_key(calls);
    if let Some(held_up) = model.and_then(|model| by_model(board, model)) {
        return Some(held_up);
    }
    let busiest = board.stages.iter().zip(paces).max_by(|(_, a), (_, b)| a.busy.total_cmp(&b.busy));
    let busiest = busiest.filter(|(_, pace)| pace.busy >= FULL * board.workers.max(1) as f64);
    let trains = board.trainings.iter().find(|(_, training)| training.of.updates < training.of.planned);
    let stage = busiest.map(|(stage, _)| HeldUp::Stage(stage.count.name.clone()));
    stage.or_else(|| trains.map(|(stage, _)| HeldUp::Training(stage.clone())))
}

fn by_model(board: &Board, model: &ModelCount) -> Option<HeldUp> {
    let asks = |stage: &&Stage| model.usage.contains_key(&*stage.count.name) && stage.waiting() > 0;
    let stage = board.stages.iter().filter(asks).max_by_key(|stage| stage.waiting())?;
    Some(HeldUp::Model(model.name.clone(), stage.count.name.clone()))
}

/// What is done of all rows and updates says how much is left; nothing as long as it is too little to say so, or more rows may come.
fn left(board: &Board) -> Option<f64> {
    let sources = board.stages.iter().filter(|stage| stage.from.is_empty());
    let read = sources.clone().all(|stage| stage.count.complete);
    let rows = sources.map(|stage| {
        let taken = stage.count.inputs as f64;
        (taken - stage.count.outstanding as f64, taken + stage.count.queued as f64)
    });
    let updates = board.trainings.values().map(|training| (training.of.updates as f64, training.of.planned as f64));
    let (done, all) = rows.chain(updates).fold((0.0, 0.0), |(done, all), more| (done + more.0, all + more.1));
    let share = done / all;
    let known = board.state.goes_on() && read && share >= ENOUGH;
    known.then(|| board.elapsed_s() * (1.0 - share) / share)
}

#[cfg(test)]
mod tests {
    use obvert_engine::StageCount;

    use super::*;

    fn stage(name: &str, inputs: i64, done: i64, busy_s: f64) -> Stage {
        let count = StageCount { name: name.into(), inputs, done, busy_s, ..StageCount::default() };
        Stage { count, from: vec!["rows".into()], ..Stage::default() }
    }

    fn board(written: f64, stages: Vec<Stage>) -> Board {
        Board { began: 100.0, written, stages, ..Board::default() }
    }

    #[test]
    fn rates_are_those_between_two_boards() {
        let earlier = board(110.0, vec![stage("judge", 50, 40, 2.0)]);
        let later = board(112.0, vec![stage("judge", 60, 50, 3.0)]);
        let flow = Flow::between(&earlier, &later);
        assert_eq!(flow.stages, [Pace { per_s: 5.0, busy: 0.5, blocked: 0.0 }]);
        // Without an earlier one, those since the beginning.
        assert_eq!(Flow::between(&Board::default(), &later).stages[0].per_s, 50.0 / 12.0);
    }

    #[test]
    fn what_holds_the_rest_up_is_found() {
        let mut later = board(101.0, vec![stage("play", 9, 9, 0.1), stage("respond", 40, 10, 0.95)]);
        assert_eq!(Flow::between(&Board::default(), &later).held_up, Some(HeldUp::Stage("respond".into())));
        let usage = [("respond".into(), Default::default())].into();
        later.models = vec![ModelCount { name: "policy".into(), queued: 20, in_flight: 8, usage }];
        let model = Some(HeldUp::Model("policy".into(), "respond".into()));
        assert_eq!(Flow::between(&Board::default(), &later).held_up, model);
        later.state = State::Paused;
        assert_eq!(Flow::between(&Board::default(), &later).held_up, Some(HeldUp::Paused));
        later.state = State::Done;
        assert_eq!(Flow::between(&Board::default(), &later).held_up, None);
    }

    #[test]
    fn what_is_left_is_told_from_rows_that_are_done() {
        let mut later = board(130.0, vec![stage("rows", 40, 40, 0.0)]);
        later.stages[0].from.clear();
        (later.stages[0].count.outstanding, later.stages[0].count.queued) = (10, 20);
        // Nobody knows how many rows there are.
        assert_eq!(Flow::between(&Board::default(), &later).left_s, None);
        later.stages[0].count.complete = true;
        assert_eq!(Flow::between(&Board::default(), &later).left_s, Some(30.0));
    }
}
