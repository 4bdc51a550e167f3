//! What a server answers, read strictly.

use obvert_api::{Reply, Request};
use obvert_engine::model::{Failure, Then};
use serde::Deserialize;
use serde_json::Value;

/// Characters that are taken for a token where the server does not count them.
const CHARACTERS: usize = 4;

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Value>,
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

/// The replies to samples of one request, from the body of a good answer, in which each has a choice.
///
/// # Errors
/// It is no answer. Of the samples one may fail alone.
pub(crate) fn read(body: &[u8], request: &Request, samples: usize) -> Result<Vec<Result<Reply, Failure>>, Failure> {
    let completion: Completion = serde_json::from_slice(body).map_err(|error| {
        Failure::new(format!("the server's answer is no completion: {error}: {}", excerpt(body)), Then::Again)
    })?;
    let (usage, mut choices) = (completion.usage.unwrap_or_default(), completion.choices.into_iter());
    let reply = |sample| of_choice(choices.next(), &usage.of(sample, samples), request);
    Ok((0..samples).map(reply).collect())
}

fn of_choice(choice: Option<Choice>, usage: &Usage, request: &Request) -> Result<Reply, Failure> {
    let guessed = |length: usize| length.div_ceil(CHARACTERS) as u32;
    let asked = || guessed(request.messages.iter().map(|message| message.content.len()).sum());
    let finish_reason = choice.as_ref().and_then(|choice| choice.finish_reason.clone());
    let none = || Failure::new("the server's answer has no choices", Then::Again);
    let text = choice.ok_or_else(none).and_then(|choice| text(choice.message, finish_reason.as_deref()));
    // What the server says that it has counted is paid for, whatever comes of it.
    let paid = [usage.prompt_tokens, usage.completion_tokens].map(Option::unwrap_or_default);
    let text = text.map_err(|failure| failure.taking(paid))?;
    Ok(Reply {
        prompt_tokens: usage.prompt_tokens.unwrap_or_else(asked),
        reply_tokens: usage.completion_tokens.unwrap_or_else(|| guessed(text.len())),
        finished: finish_reason.as_deref() != Some("length"),
        text,
    })
}

impl Usage {
    /// The part of a sample: the prompt is the first one's, what was written is shared evenly.
    fn of(&self, sample: usize, samples: usize) -> Usage {
        let (sample, samples) = (sample as u32, samples as u32);
        let share = |all: u32| all / samples + u32::from(sample < all % samples);
        Usage {
            prompt_tokens: self.prompt_tokens.map(|all| if sample == 0 { all } else { 0 }),
            completion_tokens: self.completion_tokens.map(share),
        }
    }
}

fn text(message: Message, finish_reason: Option<&str>) -> Result<String, Failure> {
    if finish_reason == Some("content_filter") {
        return Err(Failure::new("the server's filter has held the reply back", Then::Leave));
    }
    match (message.content, message.refusal) {
        (Some(Value::String(text)), _) => Ok(text),
        (Some(Value::Array(parts)), _) => Ok(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        (_, Some(refusal)) => Err(Failure::new(format!("the model refuses: {refusal}"), Then::Leave)),
        // It has thought for as long as it may, and would again.
        _ if finish_reason == Some("length") => Ok(String::new()),
        _ => Err(Failure::new("the server's reply has no text", Then::Again)),
    }
}

/// The beginning of an answer that is not what it should be.
pub(crate) fn excerpt(body: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = line.chars().take(SHOWN).collect();
    if shown.is_empty() { "nothing".into() } else { format!("`{shown}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_prompt_share_an_answer() {
        let request = Request::new("m", Vec::new());
        let body = r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":null}},{"message":{"content":"c"}}],"usage":{"prompt_tokens":7,"completion_tokens":9}}"#;
        let replies = read(body.as_bytes(), &request, 4).unwrap();
        let used = |reply: &Result<Reply, Failure>| match reply {
            Ok(reply) => (reply.text.clone(), [reply.prompt_tokens, reply.reply_tokens]),
            Err(failure) => (failure.cause.clone(), failure.used),
        };
        let said = |text: &str, used| (text.to_string(), used);
        assert_eq!(
            replies.iter().map(used).collect::<Vec<_>>(),
            [
                said("a", [7, 3]),
                said("the server's reply has no text", [0, 2]),
                said("c", [0, 2]),
                said("the server's answer has no choices", [0, 2]),
            ]
        );
    }

    #[test]
    fn replies_are_read_or_told_why_not() {
        let mut request = Request::new("m", vec![obvert_api::record::Message::new("user", "12345678")]);
        request.sampling.max_tokens = 9;
        let read = |body: &str| read(body.as_bytes(), &request, 1).and_then(|mut replies| replies.remove(0));
        let whole = read(
            r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
        );
        assert_eq!(whole, Ok(Reply { text: "hi".into(), prompt_tokens: 7, reply_tokens: 1, finished: true }));
        let bare = read(
            r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"length"}]}"#,
        );
        assert_eq!(bare, Ok(Reply { text: "ab".into(), prompt_tokens: 2, reply_tokens: 1, finished: false }));
        let thought = read(
            r#"{"choices":[{"message":{"content":null},"finish_reason":"length"}],"usage":{"completion_tokens":9}}"#,
        );
        assert_eq!(thought, Ok(Reply { text: String::new(), prompt_tokens: 2, reply_tokens: 9, finished: false }));
        let paid = read(r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9}}"#).unwrap_err();
        assert_eq!(paid.used, [7, 9]);
        for (body, said, then) in [
            (
                "<!doctype html>\n<title>Bad gateway</title>",
                "`<!doctype html> <title>Bad gateway</title>`",
                Then::Again,
            ),
            ("", "no completion", Then::Again),
            (r#"{"choices":[{"mess"#, "no completion", Then::Again),
            (r#"{"choices":[]}"#, "no choices", Then::Again),
            (r#"{"object":"list"}"#, "missing field `choices`", Then::Again),
            (r#"{"choices":[{"message":{"content":null}}]}"#, "no text", Then::Again),
            (
                r#"{"choices":[{"message":{"content":null,"refusal":"I cannot"}}]}"#,
                "the model refuses: I cannot",
                Then::Leave,
            ),
            (r#"{"choices":[{"message":{"content":""},"finish_reason":"content_filter"}]}"#, "filter", Then::Leave),
        ] {
            let failed = read(body).unwrap_err();
            assert!(failed.cause.contains(said) && failed.then == then, "{body}: {failed:?}");
        }
    }
}
