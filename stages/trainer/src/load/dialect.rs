//! How a model speaks: conversations to tokens.

use std::path::Path;

use super::{ChatTemplate, Message, Tokenizer, folder, python};
use crate::Error;

/// A token, and the byte of the text where it begins.
type Placed = (u32, usize);

/// A tokenizer and the chat template that goes with it.
pub struct Dialect {
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text.
    pub template: ChatTemplate,
    stop: Vec<u32>,
}

impl Dialect {
    /// Reads both from a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// As [`Tokenizer::open`] and [`ChatTemplate::open`]; or an end of text in config.json that is no token id.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (tokenizer, template) = (Tokenizer::open(path)?, ChatTemplate::open(path)?);
        let named = if path.is_dir() { folder::eos(path)? } else { Vec::new() };
        let mut dialect = Self { stop: tokenizer.eos().to_vec(), tokenizer, template };
        named.into_iter().for_each(|id| dialect.add_stop(id));
        // A template that refuses this conversation has no end of turn to be learnt from it.
        if let Ok((_, answer)) = dialect.pair(&[Message::new("user", "Hi")], "Yes") {
            answer.last().into_iter().for_each(|id| dialect.add_stop(*id));
        }
        Ok(dialect)
    }

    fn add_stop(&mut self, id: u32) {
        if !self.stop.contains(&id) {
            self.stop.push(id);
        }
    }

    /// The tokens that end an answer: those which the model's files name as ends of a text ([`Tokenizer::eos`],
    /// config.json), and the one that the template writes after an answer.
    pub fn stop(&self) -> &[u32] {
        &self.stop
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
        let (prompt, rest, end) = self.tokens(messages, answer)?;
        let is_end = |(id, start): &Placed| self.is_mark(*id) && *start >= end;
        let last = rest.iter().position(is_end).ok_or_else(|| mismatch("no end-of-turn token follows the answer"))?;
        Ok((prompt, rest.into_iter().take(last + 1).map(|(id, _)| id).collect()))
    }

    /// As [`Dialect::pair`], for an answer that was cut at its limit of tokens: the model never ended it, so it ends
    /// with its last token of text. White space at its end is left out, and an answer of nothing else has no tokens.
    ///
    /// # Errors
    /// As [`Dialect::pair`], which also asks for an end of turn.
    pub fn pair_cut(&self, messages: &[Message], answer: &str) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let (prompt, rest, end) = self.tokens(messages, answer)?;
        Ok((prompt, rest.into_iter().take_while(|(_, start)| *start < end).map(|(id, _)| id).collect()))
    }

    /// The prompt's tokens, those after it, and the byte where the answer ends.
    fn tokens(&self, messages: &[Message], answer: &str) -> Result<(Vec<u32>, Vec<Placed>, usize), Error> {
        let prompt_text = self.template.render(messages, true)?;
        let mut turns = messages.to_vec();
        turns.push(Message::new("assistant", answer));
        let text = self.template.render(&turns, false)?;
        let end = answer_end(&prompt_text, &text, answer)?;
        let encoding = self.tokenizer.encoding(&text)?;
        let prompt = self.tokenizer.encode(&prompt_text)?;
        if !encoding.get_ids().starts_with(&prompt) {
            return Err(mismatch("the prompt's tokens change when the answer follows them"));
        }
        let starts = encoding.get_offsets().iter().map(|(start, _)| *start);
        let rest = encoding.get_ids().iter().copied().zip(starts).skip(prompt.len()).collect();
        Ok((prompt, rest, end))
    }

    fn is_mark(&self, token: u32) -> bool {
        self.tokenizer.is_special(token) || self.stop.contains(&token)
    }
}

/// Where the answer ends in the rendered text (bytes). Templates may trim it, nothing else.
fn answer_end(prompt: &str, text: &str, answer: &str) -> Result<usize, Error> {
    let rest = text
        .strip_prefix(prompt)
        .ok_or_else(|| mismatch("the prompt's text is not how the text with the answer begins"))?;
    let answer = python::strip(answer);
    // White space before an answer of nothing would be the template's, after it.
    let rest = if answer.is_empty() { rest } else { python::strip_start(rest) };
    match rest.starts_with(answer) {
        true => Ok(text.len() - rest.len() + answer.len()),
        false => Err(mismatch("the answer is not rendered as it is")),
    }
}

fn mismatch(reason: &str) -> Error {
    Error::field("chat template", reason)
}
