//! SysBench's scores: how many constraints of system prompts a model satisfies over turns of dialogues.
//!
//! CSR: verdicts "yes" of all verdicts. ISR: turns with every constraint satisfied, of all turns. SSR: mean over sessions of the
//! length of the initial run of such turns, of the session's turns; it is the mean of R1 to R5, the shares of sessions whose first r
//! turns are such. A judge may say neither yes nor no. The benchmark's own table then counts a turn as satisfied where no verdict
//! is "no", its own CSR where all are "yes": both readings are given by name.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bootstrap::{Estimate, estimates};

/// A session as the benchmark has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    /// Its number.
    pub system_id: u64,
    /// Whether turns depend on earlier ones.
    pub dependent: bool,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
}

/// A turn of a session.
#[derive(Clone, Debug, Deserialize)]
pub struct Turn {
    /// Its number, from 1.
    pub turn: u32,
    /// Whether the user wants what the system prompt wants.
    pub alignment: Alignment,
    /// What the answer must satisfy.
    pub criteria: Vec<Criterion>,
}

/// Whether the user wants what the system prompt wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alignment {
    /// The same.
    Align,
    /// Something else.
    Misalign,
}

/// A constraint of a turn.
#[derive(Clone, Debug, Deserialize)]
pub struct Criterion {
    /// Its type, such as `format`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A judge's verdicts on a model's answer to a turn.
#[derive(Clone, Debug, Deserialize)]
pub struct Judged {
    /// The model that answered.
    pub model: String,
    /// The session.
    pub system_id: u64,
    /// The turn, from 1.
    pub turn: u32,
    /// One for each criterion: 1 yes, 0 no, null neither.
    pub verdict: Vec<Option<u8>>,
}

/// A model's scores. Intervals are over sessions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Sessions with verdicts on every turn: those that are scored.
    pub sessions: u64,
    /// Sessions with verdicts on some turns only: they have no length of the initial run, and are left out.
    pub cut_off: u64,
    /// Sessions without any verdict.
    pub missing: u64,
    /// Verdicts that are counted.
    pub verdicts: u64,
    /// Those of them that are neither yes nor no.
    pub undecided: u64,
    /// Verdicts "yes" of all.
    pub csr: Estimate,
    /// The same by type of constraint.
    pub csr_by_type: BTreeMap<String, f64>,
    /// Where a turn is satisfied if all verdicts are "yes".
    pub all_yes: Reading,
    /// Where a turn is satisfied if no verdict is "no".
    pub no_no: Reading,
}

/// Scores of whole turns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Satisfied turns of all.
    pub isr: Estimate,
    /// The same of turns in which the user wants what the system prompt wants.
    pub isr_aligned: f64,
    /// The same of those in which the user wants something else.
    pub isr_misaligned: f64,
    /// The initial run of satisfied turns, of all turns of a session.
    pub ssr: Estimate,
    /// The same of sessions whose turns depend on each other.
    pub ssr_dependent: f64,
    /// The same of those whose turns do not.
    pub ssr_parallel: f64,
    /// R1, R2, …: sessions whose first r turns are satisfied, of all.
    pub r: Vec<f64>,
}

/// A session's answers by one model: verdicts turn by turn.
type Answers<'a> = (&'a Session, Vec<&'a [Option<u8>]>);

/// The scores of every model that answered.
///
/// # Errors
/// A verdict is of no session, turn or criterion, or is none, or a model has answered a turn twice.
pub fn scores(sessions: &[Session], judged: &[Judged]) -> Result<BTreeMap<String, Scores>, Error> {
    let sessions: BTreeMap<u64, &Session> = sessions.iter().map(|session| (session.system_id, session)).collect();
    let mut models: BTreeMap<&str, BTreeMap<(u64, u32), &Judged>> = BTreeMap::new();
    for answer in judged {
        let row = || format!("the verdicts on {}, session {}, turn {}", answer.model, answer.system_id, answer.turn);
        let turn = sessions.get(&answer.system_id).and_then(|s| s.turns.iter().find(|turn| turn.turn == answer.turn));
        let turn = turn.ok_or_else(|| Error::of(row(), "there is no such turn"))?;
        if turn.criteria.len() != answer.verdict.len() {
            let cause = format!("they are {}, of {} criteria", answer.verdict.len(), turn.criteria.len());
            return Err(Error::of(row(), cause));
        }
        if let Some(number) = answer.verdict.iter().flatten().find(|number| **number > 1) {
            return Err(Error::of(row(), format!("{number} is none of 1, 0 and null")));
        }
        if models.entry(&answer.model).or_default().insert((answer.system_id, answer.turn), answer).is_some() {
            return Err(Error::of(row(), "they are there twice"));
        }
    }
    let of = |(model, answers): (&str, _)| (model.to_owned(), of_model(&sessions, &answers));
    Ok(models.into_iter().map(of).collect())
}

impl Scores {
    /// What is to be known of the scores of a model of this name: which sessions are not part of them, and verdicts that decide nothing.
    pub fn notes(&self, model: &str) -> Vec<String> {
        let Scores { sessions, cut_off, missing, verdicts, undecided, .. } = self;
        let all = sessions + cut_off + missing;
        let notes = [
            (missing, format!("{model}: {missing} of {all} sessions have no verdicts and count for nothing")),
            (
                cut_off,
                format!("{model}: {cut_off} of {all} sessions lack verdicts on some turns and count for nothing"),
            ),
            (undecided, format!("{model}: {undecided} of {verdicts} verdicts are neither yes nor no")),
        ];
        notes.into_iter().filter(|(count, _)| **count > 0).map(|(_, note)| note).collect()
    }
}

/// The answers to a session's turns, in their order; none where it lacks one.
fn whole<'a>(session: &'a Session, answers: &BTreeMap<(u64, u32), &'a Judged>) -> Option<Answers<'a>> {
    let said = |turn: &Turn| answers.get(&(session.system_id, turn.turn)).map(|answer| &answer.verdict[..]);
    Some((session, session.turns.iter().map(said).collect::<Option<_>>()?))
}

fn of_model(sessions: &BTreeMap<u64, &Session>, judged: &BTreeMap<(u64, u32), &Judged>) -> Scores {
    let begun: BTreeSet<u64> = judged.keys().map(|(session, _)| *session).collect();
    let answers: Vec<Answers> =
        begun.iter().filter_map(|session| whole(sessions.get(session).copied()?, judged)).collect();
    Scores {
        cut_off: (begun.len() - answers.len()) as u64,
        missing: (sessions.len() - begun.len()) as u64,
        ..of_whole(&answers)
    }
}

/// Of sessions that are answered to their end.
fn of_whole(answers: &[Answers]) -> Scores {
    let verdicts = || answers.iter().flat_map(|(session, turns)| session.turns.iter().zip(turns));
    let all = || verdicts().flat_map(|(turn, said)| turn.criteria.iter().zip(said.iter()));
    let units: Vec<[(f64, f64); 1]> =
        answers.iter().map(|(_, turns)| [counted(turns.iter().copied().flatten())]).collect();
    let mut by_type: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (criterion, said) in all() {
        let (yes, count) = by_type.entry(criterion.kind.clone()).or_default();
        (*yes, *count) = (*yes + f64::from(u8::from(*said == Some(1))), *count + 1.0);
    }
    Scores {
        sessions: answers.len() as u64,
        cut_off: 0,
        missing: 0,
        verdicts: all().count() as u64,
        undecided: all().filter(|(_, said)| !matches!(said, Some(0 | 1))).count() as u64,
        csr: estimates(&units)[0],
        csr_by_type: by_type.into_iter().map(|(kind, (yes, count))| (kind, yes / count)).collect(),
        all_yes: reading(answers, |said| said == Some(1)),
        no_no: reading(answers, |said| said != Some(0)),
    }
}

/// Verdicts "yes", and all.
fn counted<'a>(said: impl Iterator<Item = &'a Option<u8>> + Clone) -> (f64, f64) {
    (said.clone().filter(|said| **said == Some(1)).count() as f64, said.count() as f64)
}

fn reading(answers: &[Answers], satisfies: fn(Option<u8>) -> bool) -> Reading {
    let satisfied = |said: &[Option<u8>]| said.iter().all(|said| satisfies(*said));
    let turns: Vec<(&Session, Vec<bool>)> =
        answers.iter().map(|(session, turns)| (*session, turns.iter().map(|said| satisfied(said)).collect())).collect();
    let unit = |(_, met): &(&Session, Vec<bool>)| [(trues(met), met.len() as f64), (initial_run(met), 1.0)];
    let [isr, ssr] = estimates(&turns.iter().map(unit).collect::<Vec<_>>());
    let aligned = |wanted: Alignment| {
        let of = turns.iter().flat_map(|(session, met)| session.turns.iter().zip(met));
        mean(of.filter(|(turn, _)| turn.alignment == wanted).map(|(_, met)| f64::from(u8::from(*met))))
    };
    let dependent = |wanted| mean(turns.iter().filter(|(s, _)| s.dependent == wanted).map(|(_, met)| initial_run(met)));
    let longest = turns.iter().map(|(_, met)| met.len()).max().unwrap_or_default();
    let first = |r: usize| mean(turns.iter().map(|(_, met)| f64::from(u8::from(met.iter().take(r).all(|met| *met)))));
    Reading {
        isr,
        isr_aligned: aligned(Alignment::Align),
        isr_misaligned: aligned(Alignment::Misalign),
        ssr,
        ssr_dependent: dependent(true),
        ssr_parallel: dependent(false),
        r: (1..=longest).map(first).collect(),
    }
}

fn trues(met: &[bool]) -> f64 {
    met.iter().filter(|met| **met).count() as f64
}

/// The share of a session's turns before the first that is not satisfied: the mean over sessions is SSR.
pub fn initial_run(met: &[bool]) -> f64 {
    met.iter().take_while(|met| **met).count() as f64 / met.len().max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}
