//! Conversations with two answers, as token pairs that fit the model.
//!
//! A history that is too long loses its oldest turns, whole ones, and the same ones for both answers: no answer is cut,
//! and what is chosen and what is rejected are compared under one prompt.

use crate::config::Config;
use crate::error::Error;
use crate::load::{Dialect, Message};
use crate::loss::Sides;
use crate::pair::TokenPair;

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What it says.
    pub text: &'a str,
    /// Whether its model ended it: the end of an answer that was cut is no end to learn.
    pub finished: bool,
}

/// A prompt and the answers to it, of which one may be missing for losses that allow it.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// System prompt, history and query.
    pub prompt: &'a [Message],
    /// The preferred answer.
    pub chosen: Option<Answer<'a>>,
    /// The other one.
    pub rejected: Option<Answer<'a>>,
    /// The difference g.
    pub gap: f32,
}

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The tokens.
    pub tokens: TokenPair,
    /// Whether the prompt lost turns.
    pub shortened: bool,
}

/// What a pair has to be so that a model can be trained on it.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The model's shape.
    pub config: &'a Config,
    /// Tokens of a prompt and its longer answer at most; the model's own limit where it is not given, or lower.
    pub max_length: Option<usize>,
    /// The answers that the loss reads.
    pub sides: Sides,
}

impl Limits<'_> {
    /// Checks a pair that is tokens already.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self, pair: &TokenPair) -> Result<(), Error> {
        let (longest, most) = (pair.longest(), self.most());
        if longest > most {
            let reason = format!("{longest} tokens, at most {most} fit, and no earlier turn is left to drop");
            return Err(Error::field("max_length", reason));
        }
        let fault = pair.fault(self.config).or_else(|| pair.missing(self.sides));
        fault.map_or(Ok(()), |reason| Err(Error::field("pair", reason)))
    }

    /// The tokens of a conversation, with as many of its last turns as fit: the system prompt and the last turn always
    /// stay.
    ///
    /// # Errors
    /// Where even those do not fit, where the template or the tokenizer does not keep prompt and answers as they are, or
    /// as [`Limits::check`].
    pub fn fit(&self, conversation: &Conversation<'_>, dialect: &Dialect) -> Result<Fitted, Error> {
        let mut tokens = self.tokens(conversation, conversation.prompt, dialect)?;
        let (mut starts, mut shortened) = (turns(conversation.prompt).into_iter(), false);
        while tokens.longest() > self.most()
            && let Some(start) = starts.next()
        {
            tokens = self.tokens(conversation, &from_turn(conversation.prompt, start), dialect)?;
            shortened = true;
        }
        self.check(&tokens).map(|()| Fitted { tokens, shortened })
    }

    fn most(&self) -> usize {
        self.max_length.unwrap_or(usize::MAX).min(self.config.max_positions)
    }

    fn tokens(&self, of: &Conversation<'_>, prompt: &[Message], dialect: &Dialect) -> Result<TokenPair, Error> {
        let tokens = |answer: Option<Answer<'_>>| match answer {
            Some(Answer { text, finished: true }) => dialect.pair(prompt, text).map(Some),
            Some(Answer { text, finished: false }) => dialect.pair_cut(prompt, text).map(Some),
            None => Ok(None),
        };
        let rejected = of.rejected.filter(|_| self.sides != Sides::Chosen || of.chosen.is_none());
        let (chosen, rejected) = (tokens(of.chosen)?, tokens(rejected)?);
        let prompt = chosen.as_ref().or(rejected.as_ref()).map(|(prompt, _)| prompt.clone()).unwrap_or_default();
        let answer = |side: Option<(Vec<u32>, Vec<u32>)>| side.map(|(_, answer)| answer).unwrap_or_default();
        Ok(TokenPair { prompt, chosen: answer(chosen), rejected: answer(rejected), gap: of.gap })
    }
}

/// Where a prompt may begin instead of at its beginning: at every later message of the user that opens a turn.
fn turns(prompt: &[Message]) -> Vec<usize> {
    let first = prompt.iter().position(|message| message.role != "system").unwrap_or_default();
    let opens = |at: &usize| prompt[*at].role == "user" && prompt[at - 1].role != "user";
    (first + 1..prompt.len()).filter(opens).collect()
}

/// The prompt without the turns before a message; what the system says stays.
fn from_turn(prompt: &[Message], start: usize) -> Vec<Message> {
    let kept = |(at, message): &(usize, &Message)| *at >= start || message.role == "system";
    prompt.iter().enumerate().filter(kept).map(|(_, message)| message.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(roles: &str) -> Vec<Message> {
        let role = |letter| match letter {
            's' => "system",
            'u' => "user",
            _ => "assistant",
        };
        roles.chars().enumerate().map(|(at, letter)| Message::new(role(letter), at.to_string())).collect()
    }

    #[test]
    fn turns_begin_where_the_user_speaks_again() {
        let cases: [(&str, &[usize]); 7] = [
            ("suauau", &[3, 5]),
            ("uau", &[2]),
            ("su", &[]),
            ("s", &[]),
            ("", &[]),
            // A greeting goes before the first turn does; messages of the user in a row are one turn.
            ("sauau", &[2, 4]),
            ("suuauu", &[4]),
        ];
        for (roles, expected) in cases {
            assert_eq!(turns(&prompt(roles)), expected, "{roles}");
        }
    }

    #[test]
    fn what_the_system_says_stays() {
        let kept = |roles: &str, start| {
            let prompt = prompt(roles);
            from_turn(&prompt, start).iter().map(|message| message.content.clone()).collect::<String>()
        };
        assert_eq!([kept("suau", 3), kept("suasuau", 6)], ["03", "036"]);
    }
}
