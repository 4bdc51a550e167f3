//! What models write before there is anything to answer: profiles, personas, queries; and revisions.

use serde_json::{Value, json};

use super::{WORDS, falls, fenced, number};

/// A profile for a role: four words to say, one of them only when it is asked for, a limit, and now and then what cannot stay.
pub fn profile(prompt: &str) -> String {
    let contain = |word: &str| format!("Somewhere the answer must contain the word {word}.");
    let mut rows: Vec<Value> =
        WORDS[..4].iter().map(|word| json!({ "group": "content", "text": contain(word), "when": null })).collect();
    rows[3]["when"] = "the user asks about prices".into();
    rows.push(json!({ "group": "format", "text": "Write at most 7 words.", "when": null }));
    let sixth = if falls(&[prompt], 500) { "Write at least 20 words." } else { "Write at least 2 words." };
    rows.push(json!({ "group": "format", "text": sixth, "when": null }));
    rows.push(json!({ "group": "style", "text": if falls(&[prompt, "wise"], 500) { "Be wise." } else { "Somewhere the answer must contain the word ember." }, "when": null }));
    let description = format!(
        "You are number {:x} of a long row of shops, in which all that is said is said in words that are counted by somebody else.",
        number(&[prompt])
    );
    json!({ "name": "Shop", "description": description, "skills": ["selling"], "constraints": rows }).to_string()
}

/// Finds fault with what nobody can check.
pub fn review(prompt: &str) -> String {
    let rows =
        prompt.lines().filter_map(|line| line.split_once(": ")).filter(|(id, _)| id.contains('-') && !id.contains(' '));
    let row = |(id, text): (&str, &str)| json!({ "id": id, "checkable": !text.contains("wise"), "excludes": [], "depends": [], "reason": "Who is to say?" });
    json!({ "reviews": rows.map(row).collect::<Vec<_>>() }).to_string()
}

/// Writes other constraints in place of those that are named.
pub fn mend(prompt: &str) -> String {
    let (_, wrong) = prompt.split_once("cannot stay as they are:\n").unwrap();
    let ids =
        wrong.lines().filter_map(|line| line.split_once(": ")).filter(|(id, _)| id.contains('-') && !id.contains(' '));
    let word = |id: &str| if id.starts_with("style") { "ember" } else { "fjord" };
    let row = |(id, _): (&str, &str)| json!({ "id": id, "text": format!("Somewhere the answer must contain the word {}.", word(id)), "when": null });
    json!({ "constraints": ids.map(row).collect::<Vec<_>>() }).to_string()
}

pub fn persona(prompt: &str) -> String {
    format!("Somebody with a past, number {:x}.", number(&[prompt]))
}

pub fn query(body: &Value) -> String {
    let seed = body.to_string();
    let word = WORDS[number(&[&seed]) as usize % WORDS.len()];
    let price = if falls(&[&seed, "price"], 500) { "What is the price of" } else { "What do you know of" };
    format!("{price} {word} number {:x}?", number(&[&seed, "query"]))
}

pub fn triggers(prompt: &str) -> String {
    let met = fenced(prompt, "A user says:\n").contains("price");
    let conditions = prompt.lines().filter_map(|line| line.split_once(": when "));
    json!(conditions.filter(|_| met).map(|(id, _)| id).collect::<Vec<_>>()).to_string()
}

/// The answer with what it misses.
pub fn revise(prompt: &str) -> String {
    let text = fenced(prompt, "An assistant answered:\n");
    let (_, rest) = prompt.split_once("\n\nThe answer does not do").unwrap();
    let (missing, _) = rest.split_once("Rewrite the answer").unwrap();
    let words = missing.lines().filter_map(|line| line.split_once("must contain the word ")?.1.split('.').next());
    let missed: Vec<&str> = words.filter(|word| !text.contains(word)).collect();
    format!("{} {text}", missed.join(" "))
}
