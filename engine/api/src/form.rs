//! Replies of a given form, taken without trust: one that cannot be read is sent back with what is wrong with it, so many times at most.

use crate::record::Message;
use crate::{Error, Reply, Request};

/// A question whose reply is to be of a form.
pub struct Form<'a, T> {
    /// What is unusable where the reply is, for people: "the judge's reply is".
    pub what: &'a str,
    /// The question, as it is asked first.
    pub request: Request,
    /// Reads a reply, or says what is wrong with it.
    pub read: &'a dyn Fn(&str) -> Result<T, String>,
    /// How often a reply that cannot be read is sent back.
    pub repairs: usize,
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub enum Step<T> {
    /// This is to be asked.
    Ask(Request),
    /// What the reply says.
    Read(T),
}

impl<T> Form<'_, T> {
    /// What is to be done, with the replies to this question so far.
    ///
    /// # Errors
    /// The last reply cannot be read, however often one was sent back.
    pub fn step(self, replies: &[Reply]) -> Result<Step<T>, Error> {
        match replies.last().map(|reply| (self.read)(&reply.text)) {
            None => Ok(Step::Ask(self.request)),
            Some(Ok(read)) => Ok(Step::Read(read)),
            Some(Err(wrong)) if replies.len() > self.repairs => Err(Error(format!("{} unusable: {wrong}", self.what))),
            Some(Err(_)) => Ok(Step::Ask(self.again(replies))),
        }
    }

    /// The question again, each reply followed by what is wrong with it.
    fn again(self, replies: &[Reply]) -> Request {
        let mut request = self.request;
        for reply in replies {
            let wrong = (self.read)(&reply.text).err().unwrap_or_default();
            let text = format!("That cannot be used: {wrong}. Reply again, JSON only.");
            request.messages.push(Message::new("assistant", reply.text.clone()));
            request.messages.push(Message::new("user", text));
        }
        request
    }
}

/// How often a malformed reply is sent back, unless settings say otherwise.
pub fn repairs() -> usize {
    1
}

/// The JSON of a reply, which models like to fence.
pub fn unfenced(reply: &str) -> &str {
    let text = reply.trim();
    text.strip_prefix("```json").and_then(|text| text.strip_suffix("```")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(repairs: usize, replies: &[&str]) -> Result<Step<u32>, Error> {
        let read = |text: &str| unfenced(text).trim().parse::<u32>().map_err(|error| error.to_string());
        let request = Request::new("m", vec![Message::new("user", "how many?")]);
        let reply = |text: &&str| Reply { text: (*text).into(), prompt_tokens: 1, reply_tokens: 1, finished: true };
        let replies: Vec<Reply> = replies.iter().map(reply).collect();
        Form { what: "the number is", request, read: &read, repairs }.step(&replies)
    }

    fn asked(step: Result<Step<u32>, Error>) -> Vec<String> {
        match step {
            Ok(Step::Ask(request)) => request.messages.into_iter().map(|message| message.content).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_is_sent_back_until_it_can_be_read() {
        assert_eq!(asked(step(1, &[])), ["how many?"]);
        let again = asked(step(1, &["five"]));
        assert_eq!(again[..2], ["how many?", "five"]);
        assert!(again.len() == 3 && again[2].contains("invalid digit"), "{again:?}");
        assert_eq!(asked(step(2, &["five", "six"])).len(), 5);
        assert_eq!(step(1, &["five", "```json\n6\n```"]), Ok(Step::Read(6)));
        assert_eq!(step(0, &["7"]), Ok(Step::Read(7)));
        let unusable = step(1, &["five", "six"]).unwrap_err();
        assert!(unusable.0.starts_with("the number is unusable: invalid digit"), "{unusable}");
    }
}
