//! The four accuracies that IFEval and Multi-IF share: strict and loose, by prompt and by instruction.

use obvert_constraints::Constraint;
use serde::Serialize;

use crate::bootstrap::Estimate;

/// The four accuracies of some answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracies {
    /// Answers.
    pub prompts: u64,
    /// Instructions of their prompts.
    pub instructions: u64,
    /// Prompts with every instruction satisfied, strictly.
    pub prompt_strict: Estimate,
    /// Instructions satisfied, strictly.
    pub instruction_strict: Estimate,
    /// Prompts with every instruction satisfied, loosely.
    pub prompt_loose: Estimate,
    /// Instructions satisfied, loosely.
    pub instruction_loose: Estimate,
}

/// What is satisfied of an answer, and out of how much, in the order of the accuracies. Counts of several answers add up.
pub(crate) type Counts = [(f64, f64); 4];

/// The counts of one answer from the verdicts on its instructions.
pub(crate) fn counts(strict: &[bool], loose: &[bool]) -> Counts {
    let of = |said: &[bool]| {
        let met = said.iter().filter(|met| **met).count();
        [(f64::from(u8::from(met == said.len())), 1.0), (met as f64, said.len() as f64)]
    };
    let ([prompt, instruction], [loosely, each_loosely]) = (of(strict), of(loose));
    [prompt, instruction, loosely, each_loosely]
}

impl Accuracies {
    /// Of so many answers with so many instructions, in the order of the counts.
    pub(crate) fn new(prompts: u64, instructions: u64, estimates: [Estimate; 4]) -> Self {
        let [prompt_strict, instruction_strict, prompt_loose, instruction_loose] = estimates;
        Accuracies { prompts, instructions, prompt_strict, instruction_strict, prompt_loose, instruction_loose }
    }
}

/// Whether an answer satisfies each instruction, strictly and loosely. One that cannot be decided (`None`) no answer does.
pub(crate) fn said<'c>(
    instructions: impl Iterator<Item = Option<&'c Constraint>>,
    text: &str,
) -> (Vec<bool>, Vec<bool>) {
    let both = |constraint: Option<&Constraint>| {
        constraint.map_or((false, false), |constraint| (constraint.check(text), constraint.check_loose(text)))
    };
    instructions.map(both).unzip()
}
