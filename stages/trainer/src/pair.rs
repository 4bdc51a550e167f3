//! Preference pairs as token ids.

use std::path::Path;

use crate::config::Config;
use crate::error::Error;
use crate::loss::Sides;

/// A prompt and two responses. Prompt followed by response is a sequence. For losses that allow it one of the responses
/// may be missing, that is empty.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TokenPair {
    /// Everything before the response, special tokens included.
    pub prompt: Vec<u32>,
    /// The preferred response, with the token that ends it.
    pub chosen: Vec<u32>,
    /// The other response, with the token that ends it.
    pub rejected: Vec<u32>,
    /// The difference g: active constraints whose verdicts differ.
    pub gap: f32,
}

impl TokenPair {
    /// Checks that a model can be trained on the pair.
    ///
    /// # Errors
    /// Says of pair number `index` what is wrong.
    pub fn check(&self, index: usize, config: &Config) -> Result<(), Error> {
        self.fault(config).map_or(Ok(()), |reason| Err(Error::Pair { index, reason }))
    }

    /// What keeps a model from being trained on the pair, if anything does.
    pub fn fault(&self, config: &Config) -> Option<String> {
        if self.prompt.is_empty() {
            return Some("prompt is empty".into());
        }
        for (part, tokens) in [("prompt", &self.prompt), ("chosen", &self.chosen), ("rejected", &self.rejected)] {
            if let Some(at) = tokens.iter().position(|token| *token as usize >= config.vocab_size) {
                return Some(format!("{part}[{at}] is token {}, the vocabulary has {}", tokens[at], config.vocab_size));
            }
        }
        let longest = self.longest();
        if longest > config.max_positions {
            return Some(format!("{longest} tokens long, the model takes at most {}", config.max_positions));
        }
        (!self.gap.is_finite()).then(|| format!("gap is {}", self.gap))
    }

    /// Checks that the pair has the responses that a loss needs.
    ///
    /// # Errors
    /// Says of pair number `index` which one is missing.
    pub fn check_sides(&self, index: usize, sides: Sides) -> Result<(), Error> {
        self.missing(sides).map_or(Ok(()), |reason| Err(Error::Pair { index, reason }))
    }

    /// Which response a loss needs that the pair does not have.
    pub fn missing(&self, sides: Sides) -> Option<String> {
        let missing = match (self.chosen.is_empty(), self.rejected.is_empty(), sides) {
            (true, true, Sides::Either) => "chosen and rejected are",
            (true, _, Sides::Both | Sides::Chosen) => "chosen is",
            (false, true, Sides::Both) => "rejected is",
            _ => return None,
        };
        Some(format!("{missing} empty"))
    }

    /// Tokens of the longer sequence.
    pub fn longest(&self) -> usize {
        self.prompt.len() + self.chosen.len().max(self.rejected.len())
    }

    /// Tokens of both sequences, the prompt counted once for each response that there is.
    pub fn tokens(&self) -> usize {
        let sequence = |response: &[u32]| if response.is_empty() { 0 } else { self.prompt.len() + response.len() };
        sequence(&self.chosen) + sequence(&self.rejected)
    }

    /// Tokens of both sequences, the prompt counted once: about the rows that the pair takes in a pack.
    pub fn packed_tokens(&self) -> usize {
        self.prompt.len() + self.chosen.len() + self.rejected.len()
    }
}

/// Checks every pair of a batch.
///
/// # Errors
/// Names the first pair that cannot be trained on; an empty batch is one too.
pub fn check_all(pairs: &[TokenPair], config: &Config) -> Result<(), Error> {
    if pairs.is_empty() {
        return Err(Error::field("pairs", "a batch needs at least one pair"));
    }
    pairs.iter().enumerate().try_for_each(|(index, pair)| pair.check(index, config))
}

/// A file of pairs: `{"beta": .., "gamma": .., "pairs": [..]}`; other fields are left to other readers.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Batch {
    /// β of the run that the batch belongs to.
    pub beta: f64,
    /// γ of the run that the batch belongs to.
    pub gamma: f64,
    /// The pairs.
    pub pairs: Vec<TokenPair>,
}

impl Batch {
    /// Reads a batch and checks its pairs against a model's configuration.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path, config: &Config) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let batch: Self = serde_json::from_str(&text).map_err(|error| Error::malformed(path, error))?;
        check_all(&batch.pairs, config).map_err(|error| Error::malformed(path, error))?;
        Ok(batch)
    }
}
