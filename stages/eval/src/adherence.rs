//! How well dialogues' turns satisfy their constraints, in all and in parts.
//!
//! CSR: satisfied constraints / constraints. ISR: turns with every constraint satisfied / turns. SSR: mean over dialogues of the
//! length of the initial run of such turns / turns of the dialogue. (SysBench's definitions, as its scorer executes them.)
//! Constraints that cannot apply are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sysbench::initial_run;

/// The verdicts on an answer, where they are decided: the type of each constraint, and whether it is satisfied.
pub type Answer = Vec<(String, bool)>;

/// Some of the turns, or of their constraints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which: the number of the turn, from 1; the number of constraints; or the type of the constraints.
    pub of: String,
    /// Satisfied constraints of all, 0 to 1.
    pub csr: f64,
    /// Turns with every constraint satisfied, 0 to 1; in a part by type: every one of that type.
    pub isr: f64,
    /// Turns.
    pub turns: u64,
    /// Constraints.
    pub constraints: u64,
}

/// The shares of all answers of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Constraint satisfaction rate, 0 to 1.
    pub csr: f64,
    /// Instruction satisfaction rate, 0 to 1.
    pub isr: f64,
    /// Session stability rate, 0 to 1.
    pub ssr: f64,
    /// Turns judged.
    pub turns: u64,
    /// Constraints judged.
    pub constraints: u64,
    /// The first turns, the second ones, …
    pub by_turn: Vec<Part>,
    /// Turns with so many constraints.
    pub by_number: Vec<Part>,
    /// Constraints of each type.
    pub by_type: Vec<Part>,
}

/// The scores of dialogues: answers in order, each with the number of its turn, from 1.
pub fn scores<'a>(dialogues: impl IntoIterator<Item = &'a [(u64, Answer)]>) -> Scores {
    let (mut whole, mut runs, mut count) = (Sum::default(), 0.0, 0);
    let (mut by_turn, mut by_number, mut by_type) = (Sums::new(), Sums::new(), Sums::new());
    for answers in dialogues {
        count += 1;
        runs += initial_run(&answers.iter().map(|(_, answer)| answer.iter().all(|said| said.1)).collect::<Vec<_>>());
        for (turn, answer) in answers {
            let sum = Sum::of(answer.iter());
            whole.add(sum);
            by_turn.entry((*turn, String::new())).or_default().add(sum);
            by_number.entry((answer.len() as u64, String::new())).or_default().add(sum);
            for (kind, sum) in kinds(answer) {
                by_type.entry((0, kind.to_owned())).or_default().add(sum);
            }
        }
    }
    Scores {
        csr: whole.csr(),
        isr: whole.isr(),
        ssr: share(runs, f64::from(count)),
        turns: whole.turns,
        constraints: whole.constraints,
        by_turn: parts(by_turn),
        by_number: parts(by_number),
        by_type: parts(by_type),
    }
}

/// An answer's sums by type.
fn kinds(answer: &Answer) -> BTreeMap<&str, Sum> {
    let mut kinds: BTreeMap<&str, Vec<&(String, bool)>> = BTreeMap::new();
    answer.iter().for_each(|said| kinds.entry(&said.0).or_default().push(said));
    kinds.into_iter().map(|(kind, said)| (kind, Sum::of(said.into_iter()))).collect()
}

/// Sums by number, or by name.
type Sums = BTreeMap<(u64, String), Sum>;

fn parts(sums: Sums) -> Vec<Part> {
    let part = |((number, name), sum): ((u64, String), Sum)| Part {
        of: if name.is_empty() { number.to_string() } else { name },
        csr: sum.csr(),
        isr: sum.isr(),
        turns: sum.turns,
        constraints: sum.constraints,
    };
    sums.into_iter().map(part).collect()
}

/// Counts over turns.
#[derive(Clone, Copy, Default)]
struct Sum {
    turns: u64,
    perfect: u64,
    constraints: u64,
    satisfied: u64,
}

impl Sum {
    /// Of one turn.
    fn of<'a>(said: impl Iterator<Item = &'a (String, bool)>) -> Sum {
        let (constraints, satisfied) = said.fold((0, 0), |(all, met), said| (all + 1, met + u64::from(said.1)));
        Sum { turns: 1, perfect: u64::from(constraints == satisfied), constraints, satisfied }
    }

    fn add(&mut self, more: Sum) {
        self.turns += more.turns;
        self.perfect += more.perfect;
        self.constraints += more.constraints;
        self.satisfied += more.satisfied;
    }

    fn csr(self) -> f64 {
        share(self.satisfied as f64, self.constraints as f64)
    }

    fn isr(self) -> f64 {
        share(self.perfect as f64, self.turns as f64)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of constraints of type `a` or `b`; capitals are satisfied.
    fn answer(said: &str) -> Answer {
        said.chars().map(|c| (c.to_lowercase().to_string(), c.is_uppercase())).collect()
    }

    fn dialogue(said: &[&str]) -> Vec<(u64, Answer)> {
        (1..).zip(said.iter().map(|said| answer(said))).collect()
    }

    #[test]
    fn shares_are_those_counted_by_hand() {
        let dialogues = [dialogue(&["AAb", "AB"]), dialogue(&["A", "A", "bB"]), dialogue(&[])];
        let scores = scores(dialogues.iter().map(Vec::as_slice));
        assert_eq!((scores.turns, scores.constraints), (5, 9));
        assert_eq!((scores.csr, scores.isr), (7.0 / 9.0, 3.0 / 5.0));
        assert_eq!(scores.ssr, (0.0 + 2.0 / 3.0 + 0.0) / 3.0);
        let part = |of: &str, csr, isr, turns, constraints| Part { of: of.into(), csr, isr, turns, constraints };
        assert_eq!(scores.by_turn[1], part("2", 1.0, 1.0, 2, 3));
        assert_eq!(scores.by_turn.len(), 3);
        let by_number = [part("1", 1.0, 1.0, 2, 2), part("2", 0.75, 0.5, 2, 4), part("3", 2.0 / 3.0, 0.0, 1, 3)];
        assert_eq!(scores.by_number, by_number);
        assert_eq!(scores.by_type, [part("a", 1.0, 1.0, 4, 5), part("b", 0.5, 1.0 / 3.0, 3, 4)]);
    }

    #[test]
    fn of_nothing_nothing_is_satisfied() {
        assert_eq!(scores([]), Scores::default());
    }
}
