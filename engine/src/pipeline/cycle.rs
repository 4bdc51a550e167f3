//! Cycles that no stage closes: a record would go round in them for ever.

use super::report::Problem;
use super::wiring::Draft;

/// Every cycle that passes through no stage made to close loops, each stage in one cycle at most. A stage of unknown
/// type may be one that closes loops.
pub(super) fn unclosed(drafts: &[Draft<'_>]) -> Vec<Problem> {
    let may_close = |draft: &Draft<'_>| draft.kind.is_none_or(|kind| kind.closes_loop);
    let mut search = Search { drafts, states: vec![State::New; drafts.len()], path: Vec::new(), cycles: Vec::new() };
    for (state, draft) in search.states.iter_mut().zip(drafts) {
        if may_close(draft) {
            *state = State::Done;
        }
    }
    (0..drafts.len()).for_each(|index| search.visit(index));
    search.cycles.iter().filter_map(|cycle| problem(drafts, cycle)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    OnPath,
    Done,
}

/// A depth-first search from each stage to those that it reads.
struct Search<'d, 'a> {
    drafts: &'d [Draft<'a>],
    states: Vec<State>,
    path: Vec<usize>,
    cycles: Vec<Vec<usize>>,
}

impl Search<'_, '_> {
    fn visit(&mut self, stage: usize) {
        match self.states[stage] {
            State::Done => {}
            State::OnPath => self.close(stage),
            State::New => {
                self.states[stage] = State::OnPath;
                self.path.push(stage);
                let drafts = self.drafts;
                drafts[stage].flows().for_each(|(_, input)| self.visit(input));
                self.path.pop();
                self.states[stage] = State::Done;
            }
        }
    }

    /// The path from `stage` on leads back to it.
    fn close(&mut self, stage: usize) {
        let cycle: Vec<usize> = self.path.iter().copied().skip_while(|other| *other != stage).collect();
        let known = self.cycles.iter().flatten().any(|other| cycle.contains(other));
        if !known {
            self.cycles.push(cycle);
        }
    }
}

/// The problem of a cycle, each stage of which reads the next, the last one the first.
fn problem(drafts: &[Draft<'_>], cycle: &[usize]) -> Option<Problem> {
    let (first, last) = (*cycle.first()?, *cycle.get(1).or(cycle.first())?);
    // Records flow against the order of reading.
    let flow = std::iter::once(first).chain(cycle.iter().rev().copied());
    let names: Vec<&str> = flow.filter_map(|index| drafts.get(index)).map(|draft| draft.name).collect();
    let (place, _) = drafts.get(first)?.flows().find(|(_, input)| *input == last)?;
    let message = format!("the cycle {} passes through no stage that closes loops", names.join(" -> "));
    Some(Problem::new(place, message))
}
