//! Text to tokens and back, by the `tokenizers` crate.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::Encoding;

use super::chat::token_text;
use super::folder::{read_json, read_limited};
use super::gguf::GgufFile;
use super::{gguf_model, gguf_tokenizer};
use crate::Error;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Tokens that stand for themselves, such as `<|im_end|>`.
    special: HashSet<u32>,
    eos: Vec<u32>,
}

impl Tokenizer {
    /// Reads a Hugging Face folder, a tokenizer.json, or a GGUF file.
    ///
    /// # Errors
    /// Names the file, and the kind of tokenizer where it is not supported.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Self::from_json(&path.join("tokenizer.json"));
        }
        match path.extension() {
            Some(extension) if extension == "json" => Self::from_json(path),
            _ => Self::from_gguf(path),
        }
    }

    fn from_json(path: &Path) -> Result<Self, Error> {
        let inner = parse(path, &read_limited(path)?)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        let generation = read_json(&folder.join("generation_config.json"))?.unwrap_or_default();
        let text = config.get("eos_token").and_then(token_text);
        let mut eos: Vec<u32> = text.and_then(|text| inner.token_to_id(&text)).into_iter().collect();
        for id in eos_ids(&generation) {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        Self::new(inner, eos)
    }

    fn from_gguf(path: &Path) -> Result<Self, Error> {
        let file = GgufFile::open(path)?;
        let json = gguf_tokenizer::tokenizer_json(&file)?;
        let bytes = serde_json::to_vec(&json).map_err(|e| Error::malformed(path, e))?;
        Self::new(parse(path, &bytes)?, gguf_model::eos(&file))
    }

    /// Truncation and padding that a tokenizer.json may ask for are left out: a text is encoded whole.
    fn new(mut inner: tokenizers::Tokenizer, eos: Vec<u32>) -> Result<Self, Error> {
        inner.with_padding(None).with_truncation(None).map_err(failure)?;
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        Ok(Self { inner, special, eos })
    }

    /// The tokens of a text. Special tokens written in it are recognised; none are added.
    ///
    /// # Errors
    /// Where a pattern of the tokenizer cannot be matched within its limits.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.encoding(text)?.get_ids().to_vec())
    }

    /// Tokens with the bytes of the text that each stands for.
    pub(super) fn encoding(&self, text: &str) -> Result<Encoding, Error> {
        self.inner.encode(text, false).map_err(failure)
    }

    /// The text of some tokens, special ones left out.
    ///
    /// # Errors
    /// Where the tokenizer's decoder refuses.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        self.inner.decode(tokens, true).map_err(failure)
    }

    /// The text of some tokens, special ones included.
    ///
    /// # Errors
    /// Where the tokenizer's decoder refuses.
    pub fn decode_with_special(&self, tokens: &[u32]) -> Result<String, Error> {
        self.inner.decode(tokens, false).map_err(failure)
    }

    /// The number of a token, by its text in the vocabulary.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// The tokens that end a text or a turn, as the model's files name them.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Whether a token is special: a mark, not text.
    pub fn is_special(&self, token: u32) -> bool {
        self.special.contains(&token) || self.eos.contains(&token)
    }

    /// The tokenizer.json that gives this tokenizer.
    ///
    /// # Errors
    /// Where a part of it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(false).map_err(failure)
    }
}

/// The crate indexes without checks when merges do not fit the vocabulary; a damaged file must not end the program.
fn parse(path: &Path, bytes: &[u8]) -> Result<tokenizers::Tokenizer, Error> {
    let parsed = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(bytes)));
    let parsed = parsed.map_err(|_| Error::malformed(path, "tokenizer: merges do not fit the vocabulary"))?;
    parsed.map_err(|e| Error::malformed(path, format!("tokenizer: {e}")))
}

fn failure(error: tokenizers::Error) -> Error {
    Error::field("tokenizer", error)
}

fn eos_ids(generation: &Value) -> Vec<u32> {
    let ids = generation.get("eos_token_id");
    let number = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    match ids {
        Some(Value::Array(list)) => list.iter().filter_map(number).collect(),
        Some(id) => number(id).into_iter().collect(),
        None => Vec::new(),
    }
}
