//! Models that follow their instructions: a policy, a judge, and one that words opposites. Demands are `must contain the word X` and
//! `must not contain the word X`, so a program can tell whether they do.

use serde_json::{Value, json};

/// Words that demands are about.
pub const WORDS: [&str; 6] = ["amber", "basil", "cedar", "delta", "ember", "fjord"];

/// Numbers that depend on texts alone.
pub fn number(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

/// Whether it is one of so many in a thousand.
pub fn falls(parts: &[&str], permille: u64) -> bool {
    number(parts) % 1000 < permille
}

/// Whether a text satisfies a demand.
pub fn satisfies(demand: &str, text: &str) -> bool {
    let (wanted, word) = match demand.split_once("must not contain the word ") {
        Some((_, word)) => (false, word),
        None => (true, demand.rsplit("must contain the word ").next().unwrap()),
    };
    text.contains(word.trim_end_matches('.')) == wanted
}

/// The answer to a chat; so many in a thousand of a judge's verdicts are lies.
pub fn answer(body: &Value, lies: u64) -> String {
    let prompt = body["messages"].as_array().unwrap().iter().find(|message| message["role"] == "user");
    let prompt = prompt.unwrap()["content"].as_str().unwrap();
    match prompt {
        text if text.contains("Does the answer satisfy") => judge(text, lies),
        text if text.contains("Write the opposite") => reverse(text),
        _ => respond(body),
    }
}

/// Half of the words, and a number that no other answer has.
fn respond(body: &Value) -> String {
    let seed = body.to_string();
    let words = WORDS.into_iter().filter(|word| falls(&[&seed, word], 500)).collect::<Vec<_>>().join(" ");
    format!("{words} {:x}", number(&[&seed]))
}

/// The demands of a prompt by id.
fn demands(prompt: &str) -> impl Iterator<Item = (&str, &str)> {
    prompt.lines().filter(|line| line.contains("the word ")).filter_map(|line| line.split_once(": "))
}

fn judge(prompt: &str, lies: u64) -> String {
    let (_, rest) = prompt.split_once("An assistant answered:\n").unwrap();
    let (text, _) = rest.split_once("\n\nDoes the answer").unwrap();
    let verdict = |(id, demand): (&str, &str)| {
        let lie = falls(&[prompt, demand, "lie"], lies);
        json!({ "id": id, "reason": "looked", "satisfied": satisfies(demand, text) != lie })
    };
    json!({ "verdicts": demands(prompt).map(verdict).collect::<Vec<_>>() }).to_string()
}

fn reverse(prompt: &str) -> String {
    let opposite = |demand: &str| match demand.contains("must not") {
        true => demand.replace("must not", "must"),
        false => demand.replace("must", "must not"),
    };
    let all = demands(prompt).map(|(id, demand)| (id.to_string(), json!(opposite(demand))));
    Value::Object(all.collect()).to_string()
}
