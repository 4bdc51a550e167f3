//! IFEval's scores: prompts with verifiable instructions, strict and loose, by prompt and by instruction.

use std::collections::BTreeMap;

use obvert_constraints::Constraint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::accuracies::{Accuracies, counts, said};
use crate::bootstrap::estimates;

/// A prompt as the benchmark has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Prompt {
    /// Its number.
    pub key: u64,
    /// The types of its instructions.
    pub instruction_id_list: Vec<String>,
    /// The arguments of each.
    pub kwargs: Vec<Value>,
}

/// A model's answer to a prompt.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// The prompt's number.
    pub key: u64,
    /// The answer; null for a call that failed, which satisfies nothing.
    pub response: Option<String>,
}

/// The verdicts on an answer, one for each instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// The prompt's number.
    pub key: u64,
    /// As the answer stands.
    pub strict: Vec<bool>,
    /// Whether any of eight readings of it passes: without its first line, its last one, its asterisks.
    pub loose: Vec<bool>,
}

/// The verdicts on every answer, in the order of the answers.
///
/// # Errors
/// A prompt is there twice or has an instruction that cannot be read, or an answer is to no prompt, or to one that was answered.
pub fn verdicts(prompts: &[Prompt], responses: &[Response]) -> Result<Vec<Verdicts>, Error> {
    let mut known: BTreeMap<u64, (Vec<Constraint>, bool)> = BTreeMap::new();
    for prompt in prompts {
        if known.insert(prompt.key, (constraints(prompt)?, false)).is_some() {
            return Err(Error::of(format!("prompt {}", prompt.key), "it is there twice"));
        }
    }
    let of = |response: &Response| {
        let row = || format!("the response to prompt {}", response.key);
        let (constraints, answered) =
            known.get_mut(&response.key).ok_or_else(|| Error::of(row(), "there is no such prompt"))?;
        if std::mem::replace(answered, true) {
            return Err(Error::of(row(), "the prompt has been answered already"));
        }
        let text = response.response.as_deref().unwrap_or_default();
        let (strict, loose) = said(constraints.iter().map(Some), text);
        Ok(Verdicts { key: response.key, strict, loose })
    };
    responses.iter().map(of).collect()
}

fn constraints(prompt: &Prompt) -> Result<Vec<Constraint>, Error> {
    let row = |index: usize| format!("prompt {}, instruction {}", prompt.key, index + 1);
    if prompt.instruction_id_list.len() != prompt.kwargs.len() {
        let cause = format!("{} types, {} arguments", prompt.instruction_id_list.len(), prompt.kwargs.len());
        return Err(Error::of(format!("prompt {}", prompt.key), cause));
    }
    let of = |(index, (id, kwargs)): (usize, (&String, &Value))| {
        Constraint::from_ifeval(id, kwargs).map_err(|error| Error::of(row(index), error.to_string()))
    };
    prompt.instruction_id_list.iter().zip(&prompt.kwargs).enumerate().map(of).collect()
}

/// The four accuracies of verdicts. Intervals are over prompts.
pub fn scores(verdicts: &[Verdicts]) -> Accuracies {
    let units: Vec<_> = verdicts.iter().map(|verdicts| counts(&verdicts.strict, &verdicts.loose)).collect();
    let instructions = verdicts.iter().map(|verdicts| verdicts.strict.len() as u64).sum();
    Accuracies::new(verdicts.len() as u64, instructions, estimates(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts() -> Vec<Prompt> {
        let rows = serde_json::json!([
            { "key": 1, "instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}] },
            { "key": 2, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [null] },
        ]);
        serde_json::from_value(rows).unwrap()
    }

    fn response(key: u64, response: Option<&str>) -> Response {
        Response { key, response: response.map(str::to_owned) }
    }

    #[test]
    fn prompts_and_instructions_are_counted_apart() {
        let said = [response(1, Some("Here it is:\n\"Tea and bread\"")), response(2, None)];
        let verdicts = verdicts(&prompts(), &said).unwrap();
        assert_eq!((&verdicts[0].strict, &verdicts[0].loose), (&vec![true, false], &vec![true, true]));
        assert_eq!((&verdicts[1].strict, &verdicts[1].loose), (&vec![false], &vec![false]));
        let scores = scores(&verdicts);
        assert_eq!((scores.prompts, scores.instructions), (2, 3));
        assert_eq!((scores.prompt_strict.value, scores.prompt_loose.value), (0.0, 0.5));
        assert_eq!((scores.instruction_strict.value, scores.instruction_loose.value), (1.0 / 3.0, 2.0 / 3.0));
    }

    #[test]
    fn rows_that_do_not_fit_are_named() {
        let of = |said: &[Response]| verdicts(&prompts(), said).unwrap_err().to_string();
        assert_eq!(of(&[response(3, None)]), "the response to prompt 3: there is no such prompt");
        assert_eq!(
            of(&[response(2, None), response(2, None)]),
            "the response to prompt 2: the prompt has been answered already"
        );
        let mut wrong = prompts();
        wrong[1].instruction_id_list[0] = "punctuation:no_comas".into();
        let error = verdicts(&wrong, &[]).unwrap_err();
        assert_eq!(error.row, "prompt 2, instruction 1");
    }
}
