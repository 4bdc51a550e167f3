//! What a stage asks of models, question after question, and replies of a given form, taken without trust: one that cannot be
//! read is sent back with what is wrong with it, so many times at most.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::record::Message;
use crate::{Error, Reply, Request};

/// The questions of a stage on one item. A stage runs again with each reply and goes through its questions anew: those that have
/// been answered give their answer, the first that has not is asked, and [`Stop::Asked`] ends the run.
///
/// ```
/// use obvert_api::form::{Form, Stop, Talk, answered};
/// use obvert_api::{Error, Json, Output, Reply, Request};
/// use obvert_api::record::Message;
///
/// fn story(talk: &mut Talk) -> Result<Json, Stop> {
///     let ask = |text: &str| Request::new("strong", vec![Message::new("user", text)]);
///     let title = talk.say(ask("A title for a story, please."))?;
///     let read = |text: &str| text.trim().parse::<u32>().map_err(|error| error.to_string());
///     let pages = Form { what: "the number of pages is", request: ask("How many pages?"), read: &read, repairs: 1 };
///     let pages = talk.ask(pages)?;
///     Ok(Json(obvert_api::serde_json::json!({ "title": title.text, "pages": pages })))
/// }
///
/// fn longer(replies: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
///     if let Some(story) = answered(story(&mut out.talk(replies)))? {
///         out.emit(story);
///     }
///     Ok(())
/// }
///
/// let reply = |text: &str| Reply { text: text.into(), prompt_tokens: 1, reply_tokens: 1, finished: true };
/// let mut out = Output::default();
/// longer(&[reply("Rain"), reply("many"), reply("12")], &mut out)?;
/// assert_eq!(out.emitted()[0].0["pages"], 12);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Talk<'r, 'o> {
    /// What was said to the questions that come.
    replies: &'r [Reply],
    asks: &'o mut Vec<Request>,
}

/// Why a talk does not go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// A question was only asked now: the stage runs again when it is answered.
    Asked,
    /// The item cannot be handled.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// What a talk came to; `None` as long as a question is open.
///
/// # Errors
/// The item cannot be handled.
pub fn answered<T>(talk: Result<T, Stop>) -> Result<Option<T>, Error> {
    match talk {
        Ok(all) => Ok(Some(all)),
        Err(Stop::Asked) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

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

impl<'r, 'o> Talk<'r, 'o> {
    pub(crate) fn new(replies: &'r [Reply], asks: &'o mut Vec<Request>) -> Self {
        Talk { replies, asks }
    }

    /// The reply to a question, whatever it says.
    ///
    /// # Errors
    /// It is only asked now.
    pub fn say(&mut self, request: Request) -> Result<&'r Reply, Stop> {
        let Some((reply, rest)) = self.replies.split_first() else {
            self.asks.push(request);
            return Err(Stop::Asked);
        };
        self.replies = rest;
        Ok(reply)
    }

    /// What the reply to a question says.
    ///
    /// # Errors
    /// It is only asked now; or the reply cannot be read, however often it was sent back: then it is quoted.
    pub fn ask<T>(&mut self, form: Form<'_, T>) -> Result<T, Stop> {
        self.ask_times(form, 1)?.pop().ok_or(Stop::Asked)
    }

    /// What so many replies to the same question say, each another sample of it.
    ///
    /// # Errors
    /// As of [`Talk::ask`], for each of them.
    pub fn ask_times<T>(&mut self, form: Form<'_, T>, times: u32) -> Result<Vec<T>, Stop> {
        // Of each sample what was said so far: every round asks those again whose last reply could not be read, in order.
        let mut said: Vec<Vec<&Reply>> = (0..times).map(|_| Vec::new()).collect();
        let mut open: Vec<usize> = (0..said.len()).collect();
        while !open.is_empty() {
            let Some((round, rest)) = self.replies.split_at_checked(open.len()) else {
                self.asks.extend(open.into_iter().map(|sample| form.again(sample as u32, &said[sample])));
                return Err(Stop::Asked);
            };
            self.replies = rest;
            open.iter().zip(round).for_each(|(sample, reply)| said[*sample].push(reply));
            open.retain(|sample| form.last(&said[*sample]).is_err());
            open.iter().try_for_each(|sample| form.may_be_sent_back(&said[*sample]))?;
        }
        Ok(said.iter().filter_map(|said| form.last(said).ok()).collect())
    }
}

impl<T> Form<'_, T> {
    fn last(&self, said: &[&Reply]) -> Result<T, String> {
        said.last().map_or_else(|| Err("nothing was said".into()), |reply| (self.read)(&reply.text))
    }

    fn may_be_sent_back(&self, said: &[&Reply]) -> Result<(), Error> {
        match (said.last(), self.last(said)) {
            (Some(reply), Err(wrong)) if said.len() > self.repairs => {
                Err(Error(format!("{} unusable: {wrong}: {}", self.what, reply.text)))
            }
            _ => Ok(()),
        }
    }

    /// The question, each reply to it followed by what is wrong with that.
    fn again(&self, sample: u32, said: &[&Reply]) -> Request {
        let mut request = self.request.clone();
        request.sample += sample;
        for reply in said {
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

/// Rows of a reply by their ids: one of each that was asked for, and no other.
///
/// # Errors
/// Says which is there twice, missing, or was not asked for.
pub fn by_id<T>(rows: impl IntoIterator<Item = (String, T)>, asked: &[&str]) -> Result<BTreeMap<String, T>, String> {
    let mut found = BTreeMap::new();
    for (id, row) in rows {
        if !asked.contains(&id.as_str()) {
            return Err(format!("`{id}` was not asked for"));
        }
        if found.contains_key(&id) {
            return Err(format!("`{id}` is there twice"));
        }
        found.insert(id, row);
    }
    match asked.iter().find(|id| !found.contains_key(**id)) {
        Some(id) => Err(format!("`{id}` is missing")),
        None => Ok(found),
    }
}

/// The JSON schema of an object with these fields, all of them and no others.
pub fn object(fields: Value) -> Value {
    let names: Vec<&String> = fields.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    json!({ "type": "object", "required": names, "properties": fields, "additionalProperties": false })
}

/// The JSON schema of a list of so many of these.
pub fn list(of: Value, least: usize, most: usize) -> Value {
    json!({ "type": "array", "items": of, "minItems": least, "maxItems": most })
}

/// The JSON of a reply, which models like to fence.
pub fn unfenced(reply: &str) -> &str {
    let text = reply.trim();
    let inner = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, what is asked, and how many replies are left for other questions.
    type Asked = (Option<Vec<u32>>, Vec<Request>, usize);

    /// What comes of so many samples with the replies so far.
    fn asked(times: u32, repairs: usize, replies: &[&str]) -> Result<Asked, Error> {
        let read = |text: &str| unfenced(text).parse::<u32>().map_err(|error| error.to_string());
        let request = Request::new("m", vec![Message::new("user", "how many?")]);
        let reply = |text: &&str| Reply { text: (*text).into(), prompt_tokens: 1, reply_tokens: 1, finished: true };
        let (replies, mut asks): (Vec<Reply>, _) = (replies.iter().map(reply).collect(), Vec::new());
        let mut talk = Talk::new(&replies, &mut asks);
        let said = answered(talk.ask_times(Form { what: "the number is", request, read: &read, repairs }, times))?;
        let left = talk.replies.len();
        Ok((said, asks, left))
    }

    /// Sample and messages of each request.
    fn requests(times: u32, repairs: usize, replies: &[&str]) -> Vec<(u32, usize)> {
        let (said, asks, _) = asked(times, repairs, replies).unwrap();
        assert_eq!(said, None);
        asks.iter().map(|request| (request.sample, request.messages.len())).collect()
    }

    #[test]
    fn a_reply_is_sent_back_until_it_can_be_read() {
        assert_eq!(requests(1, 1, &[]), [(0, 1)]);
        let (_, asks, _) = asked(1, 1, &["five"]).unwrap();
        let texts: Vec<&str> = asks[0].messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(texts[..2], ["how many?", "five"]);
        assert!(texts.len() == 3 && texts[2].contains("invalid digit"), "{texts:?}");
        assert_eq!(requests(1, 2, &["five", "six"]), [(0, 5)]);
        assert_eq!(asked(1, 1, &["five", "```json\n6\n```"]).unwrap().0, Some(vec![6]));
        let (said, asks, left) = asked(1, 0, &["7", "to another question"]).unwrap();
        assert_eq!((said, asks.len(), left), (Some(vec![7]), 0, 1));
        let unusable = asked(1, 1, &["five", "six"]).unwrap_err().0;
        assert!(unusable.starts_with("the number is unusable: invalid digit") && unusable.ends_with(": six"));
    }

    #[test]
    fn rows_are_matched_by_their_ids() {
        let of = |ids: &[&str]| by_id(ids.iter().map(|id| (id.to_string(), ())), &["a", "b"]).map(|rows| rows.len());
        assert_eq!(of(&["b", "a"]), Ok(2));
        for (ids, wrong) in [
            (&["a"][..], "`b` is missing"),
            (&["a", "b", "a"], "`a` is there twice"),
            (&["a", "b", "c"], "`c` was not asked for"),
        ] {
            assert_eq!(of(ids), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn each_of_several_samples_is_asked_until_it_can_be_read() {
        assert_eq!(requests(3, 1, &[]), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(requests(3, 1, &["5", "five", "6"]), [(1, 3)]);
        let (said, _, left) = asked(3, 1, &["5", "five", "6", "7", "to another question"]).unwrap();
        assert_eq!((said, left), (Some(vec![5, 7, 6]), 1));
        assert!(asked(3, 1, &["5", "five", "6", "seven"]).unwrap_err().0.ends_with(": seven"));
    }
}
