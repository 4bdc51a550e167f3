//! Models that follow their instructions: a policy, a judge, and one that words opposites. Demands are `must contain the word X` and
//! `must not contain the word X`, so a program can tell whether they do.

#[path = "author.rs"]
mod author;

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
    if let Some((_, most)) = demand.split_once("rite at most ") {
        return text.split_whitespace().count() <= most.split(' ').next().unwrap().parse().unwrap();
    }
    if let Some((_, least)) = demand.split_once("rite at least ") {
        return text.split_whitespace().count() >= least.split(' ').next().unwrap().parse().unwrap();
    }
    let (wanted, word) = match demand.split_once("must not contain the word ") {
        Some((_, word)) => (false, word),
        None => (true, demand.rsplit("must contain the word ").next().unwrap()),
    };
    text.contains(word.trim_end_matches('.')) == wanted
}

/// The answer to a chat; so many in a thousand of a judge's verdicts are lies.
pub fn answer(body: &Value, lies: u64) -> String {
    let messages = body["messages"].as_array().unwrap();
    let said = |role: &str| messages.iter().find(|message| message["role"] == role);
    let prompt = said("user").unwrap()["content"].as_str().unwrap();
    match prompt {
        text if text.contains("Does the answer satisfy") => judge(text, lies),
        text if text.contains("Write the opposite") => reverse(text),
        text if text.contains("Write its profile") => author::profile(text),
        text if text.contains("Look at each of them") => author::review(text),
        text if text.contains("cannot stay as they are") => author::mend(text),
        text if text.contains("Here is someone in one line") => author::persona(text),
        text if text.contains("Rewrite the answer") => author::revise(text),
        text if text.contains("Which of these conditions") => author::triggers(text),
        _ if said("system").is_some_and(|system| system["content"].as_str().unwrap().contains("Play this user")) => {
            author::query(body)
        }
        _ => respond(body),
    }
}

/// Half of the words, and a number that no other answer has. Who is told what is in force does most of it.
fn respond(body: &Value) -> String {
    let seed = body.to_string();
    let last = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let told = |word: &str| {
        let rule = last.lines().find(|line| line.contains(&format!("the word {word}")))?;
        Some(rule.contains("must not") == falls(&[&seed, word, "slip"], 150))
    };
    let said = |word: &&str| told(word).unwrap_or_else(|| falls(&[&seed, word], 500));
    let words = WORDS.into_iter().filter(said).collect::<Vec<_>>().join(" ");
    format!("{words} {:x}", number(&[&seed]))
}

/// The demands of a prompt by id.
fn demands(prompt: &str) -> impl Iterator<Item = (&str, &str)> {
    prompt.lines().filter(|line| line.contains("the word ")).filter_map(|line| line.split_once(": "))
}

/// What stands between marks behind a line.
fn fenced<'p>(prompt: &'p str, line: &str) -> &'p str {
    let (_, rest) = prompt.split_once(line).unwrap();
    let (mark, rest) = rest.strip_prefix("<<").unwrap().split_once('\n').unwrap();
    rest.split_once(&format!("\n{mark}>>")).unwrap().0
}

fn judge(prompt: &str, lies: u64) -> String {
    let text = fenced(prompt, "An assistant answered:\n");
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
