//! How a model speaks: conversations to tokens.

use std::path::Path;

use super::{ChatTemplate, Message, Tokenizer};
use crate::Error;

/// A tokenizer and the chat template that goes with it.
pub struct Dialect {
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text.
    pub template: ChatTemplate,
}

impl Dialect {
    /// Reads both from a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// As [`Tokenizer::open`] and [`ChatTemplate::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { tokenizer: Tokenizer::open(path)?, template: ChatTemplate::open(path)? })
    }

    /// The tokens after which the model answers a conversation.
    ///
    /// # Errors
    /// What the template refuses.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(&self.template.render(messages, true)?)
    }

    /// The tokens of a conversation and of the assistant's answer to it, as the model would have written them: the
    /// answer ends with the template's end-of-turn token. Both are rendered and tokenized as one text.
    ///
    /// # Errors
    /// Where the template or the tokenizer does not keep the prompt, or the answer, as it is: such a pair would train
    /// the model on tokens that it will never see, or never be asked for.
    pub fn pair(&self, messages: &[Message], answer: &str) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let prompt_text = self.template.render(messages, true)?;
        let mut turns = messages.to_vec();
        turns.push(Message::new("assistant", answer));
        let text = self.template.render(&turns, false)?;
        let answer_end = answer_end(&prompt_text, &text, answer)?;
        let encoding = self.tokenizer.encoding(&text)?;
        let prompt = self.tokenizer.encode(&prompt_text)?;
        if !encoding.get_ids().starts_with(&prompt) {
            return Err(mismatch("the prompt's tokens change when the answer follows them"));
        }
        let marks = encoding.get_ids().iter().zip(encoding.get_offsets());
        let is_end = |(id, (start, _)): (&u32, &(usize, usize))| self.tokenizer.is_special(*id) && *start >= answer_end;
        let end = marks.skip(prompt.len()).position(is_end);
        let end = end.ok_or_else(|| mismatch("no end-of-turn token follows the answer"))?;
        let response = encoding.get_ids().iter().skip(prompt.len()).take(end + 1).copied().collect();
        Ok((prompt, response))
    }
}

/// Where the answer ends in the rendered text (bytes). Templates may trim it, nothing else.
fn answer_end(prompt: &str, text: &str, answer: &str) -> Result<usize, Error> {
    let rest = text
        .strip_prefix(prompt)
        .ok_or_else(|| mismatch("the prompt's text is not how the text with the answer begins"))?;
    let trimmed = rest.trim_start();
    match trimmed.starts_with(answer.trim()) {
        true => Ok(text.len() - trimmed.len() + answer.trim().len()),
        false => Err(mismatch("the answer is not rendered as it is")),
    }
}

fn mismatch(reason: &str) -> Error {
    Error::field("chat template", reason)
}
