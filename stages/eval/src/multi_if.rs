//! Multi-IF's scores: conversations of three turns, whose instructions add up from turn to turn.
//!
//! A step is a turn of all conversations that go so far. Its score is the mean of the four accuracies of the answers to that turn,
//! which must follow the instructions of it and of all before; the overall score is the mean over steps. Both are pooled over all
//! languages, and given for each. What is decided otherwise than in IFEval: see `Constraint::from_multi_if`.

mod conversation;

use std::collections::{BTreeMap, BTreeSet};

use obvert_constraints::Constraint;
use serde::{Deserialize, Serialize};

pub use conversation::{Conversation, Instruction, Turn};

use crate::Error;
use crate::accuracies::{Accuracies, counts, said};
use crate::bootstrap::{Estimate, estimates_of, share};

/// Turns of a conversation at most.
const STEPS: usize = 3;
/// Accuracies of a step.
const OF_STEP: usize = 4;
/// Accuracies of all steps.
const ACCURACIES: usize = STEPS * OF_STEP;
/// Accuracies of all steps, the score of each, and that of all.
const FIGURES: usize = ACCURACIES + STEPS + 1;

/// A model's answer to a turn.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// The model that answered; `model` where the rows do not say.
    #[serde(default = "unnamed")]
    pub model: String,
    /// The conversation.
    pub key: String,
    /// The turn, from 1.
    pub turn: usize,
    /// The answer; null for a call that failed, which follows nothing.
    pub response: Option<String>,
}

fn unnamed() -> String {
    "model".into()
}

/// The verdicts on an answer, one for each instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// The model that answered.
    pub model: String,
    /// The conversation.
    pub key: String,
    /// Its language.
    pub language: String,
    /// The turn, from 1.
    pub turn: usize,
    /// Whether there is an answer. Of a conversation that a model has begun each turn counts, answered or not.
    pub answered: bool,
    /// The type of each instruction.
    pub instructions: Vec<String>,
    /// As the answer stands.
    pub strict: Vec<bool>,
    /// Whether any of eight readings of it passes: without its first line, its last one, its asterisks.
    pub loose: Vec<bool>,
}

/// A model's scores. Intervals are over conversations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Turns without an answer, in conversations that the model has begun.
    pub unanswered: u64,
    /// Over all languages.
    #[serde(flatten)]
    pub all: Pooled,
    /// Of each language.
    pub languages: BTreeMap<String, Pooled>,
    /// Of each type of instruction, over all languages and steps.
    pub by_type: BTreeMap<String, OfType>,
}

/// Instructions of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OfType {
    /// How many.
    pub instructions: u64,
    /// Those that are satisfied, strictly, of all.
    pub strict: f64,
    /// The same, loosely.
    pub loose: f64,
}

/// The scores of some conversations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pooled {
    /// Conversations.
    pub conversations: u64,
    /// The mean over steps.
    pub overall: Estimate,
    /// Those that any conversation reaches, from the first.
    pub steps: Vec<Step>,
}

/// The scores of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The mean of the four accuracies.
    pub score: Estimate,
    /// These.
    #[serde(flatten)]
    pub accuracies: Accuracies,
}

impl Scores {
    /// What is to be known of the scores of a model of this name: how much of so many conversations they are of.
    pub fn notes(&self, model: &str, conversations: u64) -> Vec<String> {
        let (missing, unanswered) = (conversations.saturating_sub(self.all.conversations), self.unanswered);
        let notes = [
            (
                missing,
                format!(
                    "{model} has answered nothing of {missing} of {conversations} conversations: they count for nothing"
                ),
            ),
            (unanswered, format!("{model} has not answered {unanswered} turns of the others: they follow nothing")),
        ];
        notes.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note).collect()
    }
}

/// The instructions of each turn, ready to be decided.
type Checks = Vec<Vec<Option<Constraint>>>;

/// The verdicts on every turn of each conversation that a model has begun: by model, conversation, turn.
///
/// # Errors
/// A conversation is there twice or has an instruction of an unknown type, or an answer is to no turn, or to one that was answered.
pub fn verdicts(conversations: &[Conversation], responses: &[Response]) -> Result<Vec<Verdicts>, Error> {
    let answers = answers(responses)?;
    let begun: BTreeSet<&str> = answers.keys().map(|(_, key)| *key).collect();
    let mut known = BTreeMap::new();
    for conversation in conversations {
        let checks = if begun.contains(&*conversation.key) { checks(conversation)? } else { Vec::new() };
        if known.insert(&*conversation.key, (conversation, checks)).is_some() {
            return Err(Error::of(format!("conversation {}", conversation.key), "it is there twice"));
        }
    }
    let mut all = Vec::new();
    for ((model, key), turns) in answers {
        let row = |turn: usize| format!("the response of {model} to conversation {key}, turn {turn}");
        let last = turns.last_key_value().map_or(0, |(turn, _)| *turn);
        let (conversation, checks) =
            known.get(key).ok_or_else(|| Error::of(row(last), "there is no such conversation"))?;
        if let Some(turn) = turns.keys().find(|turn| !(1..=checks.len()).contains(turn)) {
            return Err(Error::of(row(*turn), "there is no such turn"));
        }
        all.extend((1..).zip(checks).map(|(turn, checks)| decided(model, conversation, turn, checks, &turns)));
    }
    Ok(all)
}

/// Answers turn by turn.
type Turns<'r> = BTreeMap<usize, Option<&'r str>>;

/// By model and conversation.
fn answers(responses: &[Response]) -> Result<BTreeMap<(&str, &str), Turns<'_>>, Error> {
    let mut answers: BTreeMap<(&str, &str), Turns> = BTreeMap::new();
    for Response { model, key, turn, response } in responses {
        if answers.entry((model, key)).or_default().insert(*turn, response.as_deref()).is_some() {
            let row = format!("the response of {model} to conversation {key}, turn {turn}");
            return Err(Error::of(row, "the turn has been answered already"));
        }
    }
    Ok(answers)
}

fn checks(conversation: &Conversation) -> Result<Checks, Error> {
    let of = |(turn, Turn { instructions, .. }): (usize, &Turn)| {
        let row = || format!("conversation {}, turn {turn}", conversation.key);
        let read = |instruction: &Instruction| instruction.constraint().map_err(|e| Error::of(row(), e.to_string()));
        instructions.iter().map(read).collect()
    };
    (1..).zip(&conversation.turns).map(of).collect()
}

fn decided(
    model: &str,
    conversation: &Conversation,
    turn: usize,
    checks: &[Option<Constraint>],
    answers: &Turns,
) -> Verdicts {
    let answer = answers.get(&turn).copied().flatten();
    let (strict, loose) = said(checks.iter().map(Option::as_ref), answer.unwrap_or_default());
    let (key, language) = (conversation.key.clone(), conversation.language.clone());
    let asked = conversation.turns.get(turn - 1).into_iter().flat_map(|turn| &turn.instructions);
    let instructions = asked.map(|instruction| instruction.id.clone()).collect();
    Verdicts { model: model.to_owned(), key, language, turn, answered: answer.is_some(), instructions, strict, loose }
}

/// The scores of every model.
pub fn scores(verdicts: &[Verdicts]) -> BTreeMap<String, Scores> {
    let mut models: BTreeMap<&str, Vec<&Verdicts>> = BTreeMap::new();
    for row in verdicts {
        models.entry(&row.model).or_default().push(row);
    }
    models.into_iter().map(|(model, rows)| (model.to_owned(), of_model(&rows))).collect()
}

fn of_model(rows: &[&Verdicts]) -> Scores {
    let languages: BTreeSet<&str> = rows.iter().map(|row| &*row.language).collect();
    let spoken = |language: &str| pooled(rows.iter().copied().filter(|row| row.language == language));
    Scores {
        unanswered: rows.iter().filter(|row| !row.answered).count() as u64,
        all: pooled(rows.iter().copied()),
        languages: languages.into_iter().map(|language| (language.to_owned(), spoken(language))).collect(),
        by_type: by_type(rows),
    }
}

fn by_type(rows: &[&Verdicts]) -> BTreeMap<String, OfType> {
    let mut types: BTreeMap<&str, (u64, [u64; 2])> = BTreeMap::new();
    for row in rows {
        for ((kind, strict), loose) in row.instructions.iter().zip(&row.strict).zip(&row.loose) {
            let (count, met) = types.entry(kind).or_default();
            (*count, *met) = (*count + 1, [met[0] + u64::from(*strict), met[1] + u64::from(*loose)]);
        }
    }
    let of = |(kind, (instructions, met)): (&str, (u64, [u64; 2]))| {
        let [strict, loose] = met.map(|met| met as f64 / instructions as f64);
        (kind.to_owned(), OfType { instructions, strict, loose })
    };
    types.into_iter().map(of).collect()
}

/// What is satisfied of a conversation, step by step.
type Unit = [(f64, f64); ACCURACIES];

fn pooled<'v>(rows: impl Iterator<Item = &'v Verdicts>) -> Pooled {
    let mut units: BTreeMap<&str, Unit> = BTreeMap::new();
    for row in rows {
        let unit = units.entry(&row.key).or_insert([(0.0, 0.0); ACCURACIES]);
        let at = (row.turn - 1) * OF_STEP;
        unit[at..at + OF_STEP].copy_from_slice(&counts(&row.strict, &row.loose));
    }
    let units: Vec<Unit> = units.into_values().collect();
    let estimates = estimates_of(&units, figures);
    let step = |at: usize| step(at, &units, &estimates);
    Pooled {
        conversations: units.len() as u64,
        overall: estimates[FIGURES - 1],
        steps: (0..STEPS).map(step).take_while(|step| step.accuracies.prompts > 0).collect(),
    }
}

/// The accuracies of all steps, the score of each, and that of all: the mean over the steps that there are.
fn figures(sums: Unit) -> [f64; FIGURES] {
    let mut figures = [0.0; FIGURES];
    let (mut score, mut steps) = (0.0, 0.0);
    for (at, sum) in sums.into_iter().enumerate() {
        figures[at] = share(sum);
        figures[ACCURACIES + at / OF_STEP] += share(sum) / OF_STEP as f64;
    }
    for at in (0..STEPS).filter(|at| sums[at * OF_STEP].1 > 0.0) {
        (score, steps) = (score + figures[ACCURACIES + at], steps + 1.0);
    }
    figures[FIGURES - 1] = share((score, steps));
    figures
}

fn step(at: usize, units: &[Unit], estimates: &[Estimate; FIGURES]) -> Step {
    let whole = |place: usize| units.iter().map(|unit| unit[at * OF_STEP + place].1).sum::<f64>() as u64;
    let of: [Estimate; OF_STEP] = std::array::from_fn(|place| estimates[at * OF_STEP + place]);
    Step { score: estimates[ACCURACIES + at], accuracies: Accuracies::new(whole(0), whole(1), of) }
}

#[cfg(test)]
mod tests;
