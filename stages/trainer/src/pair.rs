//! Preference pairs as token ids.

use std::path::Path;

use crate::config::Config;
use crate::error::Error;

/// A prompt and two responses. Prompt followed by response is a sequence.
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
        let wrong = |reason: String| Err(Error::Pair { index, reason });
        for (part, tokens) in [("prompt", &self.prompt), ("chosen", &self.chosen), ("rejected", &self.rejected)] {
            if tokens.is_empty() {
                return wrong(format!("{part} is empty"));
            }
            if let Some(at) = tokens.iter().position(|token| *token as usize >= config.vocab_size) {
                let reason = format!("{part}[{at}] is token {}, the vocabulary has {}", tokens[at], config.vocab_size);
                return wrong(reason);
            }
        }
        let longest = self.prompt.len() + self.chosen.len().max(self.rejected.len());
        if longest > config.max_positions {
            return wrong(format!("{longest} tokens long, the model takes at most {}", config.max_positions));
        }
        if !self.gap.is_finite() {
            return wrong(format!("gap is {}", self.gap));
        }
        Ok(())
    }

    /// Tokens of both sequences, the prompt counted twice.
    pub fn tokens(&self) -> usize {
        2 * self.prompt.len() + self.chosen.len() + self.rejected.len()
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
