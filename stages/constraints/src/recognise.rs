//! Demands in plain English that a program can decide, recognised by their wording.
//!
//! Only what is understood to its last word is recognised: "Write at most 50 words." is, "Write at most 50 words per paragraph." is
//! not. What is missed is left to a judge; what were recognised wrongly would be judged wrongly for ever.

use std::sync::LazyLock;

use fancy_regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::constraint::Constraint;

/// What may stand before a demand without changing it.
const LEAD: &str = "(?:please |always |you (?:must|should) |(?:the|your|each|every) (?:answer|response|reply) \
                    (?:must|should) |make sure to |be sure to )*";
const NUMBER: &str = "(?<n>[0-9]{1,6}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)";
const ANSWER: &str = "(?:(?:the|your|each|every) (?:entire |whole )?(?:answer|response|reply) )?";
const QUOTED: &str = "[\"\u{201c}](?<word>[^\"\u{201c}\u{201d}]+)[\"\u{201d}]";
const NOT: &str = "(?<not>do not |don't |never |not )?";
const VERB: &str = "(?:write|use|have|contain|be|answer (?:with|in)|respond (?:with|in)|reply (?:with|in))";
const LEAST: &str = "at least|no fewer than|no less than|a minimum of|more than";
const MOST: &str = "at most|no more than|not more than|a maximum of|up to|fewer than|less than|under";
const MARK: &str = "(?<mark>commas?|digits?|numerals?|exclamation marks?|question marks?)";

/// Makes the JSON form of a constraint of what was found; `None` where it is none.
type Build = fn(&Captures) -> Option<Value>;

/// Wordings in lower case, each with the constraint that it is.
fn wordings() -> [(String, Build); 13] {
    let bound = format!(
        "(?:{VERB} |keep {ANSWER}(?:to |under )?|limit {ANSWER}to )?(?:(?<least>{LEAST})|(?<most>{MOST})) {NUMBER}"
    );
    let no_mark = "(?:(?:do not|don't|never|not) (?:use|contain|include)|avoid(?: using)?|use no|contain no)(?: any)?";
    let case = "(?:write|answer|respond|reply|be)(?: only| entirely)? in (?:all )?";
    let begin = format!("(?:begin|start|open) {ANSWER}with the word {QUOTED}");
    let end = format!("(?:end|finish|close|conclude) {ANSWER}with the (?:words?|phrase) {QUOTED}");
    [
        (format!("{bound} (?<unit>word|sentence|line)s?(?: long| in total| in all)?"), counted),
        (format!("{no_mark} {MARK}"), |found| mark_of(found, true)),
        (format!("(?:use|include|contain) at least (?:one|1) {MARK}"), |found| mark_of(found, false)),
        ("(?:do not|don't|never) ask (?:any )?questions?".into(), |_| {
            Some(json!({ "type": "question", "negated": true }))
        }),
        ("ask (?:at least (?:one|1)|a) question".into(), |_| Some(json!({ "type": "question" }))),
        (format!("{NOT}(?:use|include|contain|mention) the (?:word|keyword) {QUOTED}"), |found| {
            worded("contains", "word", found)
        }),
        (format!("{NOT}{begin}"), |found| worded("begins_with", "word", found)),
        (format!("{NOT}{end}"), |found| worded("ends_with", "phrase", found)),
        (format!("{case}(?:lower ?case|small letters)(?: letters)?(?: only)?"), |_| {
            Some(json!({ "type": "lower_case" }))
        }),
        (format!("{case}(?:upper ?case|capital letters|capitals|caps)(?: letters)?(?: only)?"), |_| {
            Some(json!({ "type": "upper_case" }))
        }),
        (format!("(?:give|write|wrap|return) {ANSWER}(?:as|in) valid json"), |_| {
            Some(json!({ "type": "detectable_format:json_format" }))
        }),
        (format!("wrap {ANSWER}in double quotation marks"), |_| Some(json!({ "type": "startend:quotation" }))),
        (format!("{VERB} exactly {NUMBER} markdown bullet points?"), |found| {
            Some(json!({ "type": "detectable_format:number_bullet_lists", "num_bullets": number(found)? }))
        }),
    ]
}

static RULES: LazyLock<Vec<(Regex, Build)>> = LazyLock::new(|| {
    let whole = |wording: &str| Regex::new(&format!("^(?i:{LEAD}{wording})[.!]?$")).ok();
    wordings().into_iter().filter_map(|(wording, build)| Some((whole(&wording)?, build))).collect()
});

impl Constraint {
    /// The constraint that a demand in plain English is, if it is one that a program can decide and is understood to its last word.
    ///
    /// ```
    /// use obvert_constraints::Constraint;
    ///
    /// let found = Constraint::recognise("Your answer must contain at most 50 words.").expect("it is a limit of words");
    /// assert_eq!(found.to_json(), serde_json::json!({"type": "words", "at_most": 50}));
    /// assert_eq!(Constraint::recognise("Use at most 50 words per paragraph."), None);
    /// ```
    pub fn recognise(demand: &str) -> Option<Self> {
        let demand = demand.trim();
        let form = RULES.iter().find_map(|(wording, build)| build(&wording.captures(demand).ok()??))?;
        Self::from_json(&form).ok()
    }

    /// Whether no text satisfies both, as far as their forms tell: the one is the other's reverse, or their bounds leave nothing.
    pub fn contradicts(&self, other: &Self) -> bool {
        let (one, two) = (self.to_json(), other.to_json());
        let crossed = |low: &Value, high: &Value| match (low["at_least"].as_u64(), high["at_most"].as_u64()) {
            (Some(least), Some(most)) => least > most,
            _ => false,
        };
        self.reverse() == *other || one["type"] == two["type"] && (crossed(&one, &two) || crossed(&two, &one))
    }
}

fn number(found: &Captures) -> Option<u64> {
    const WORDS: [&str; 12] =
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    let text = found.name("n")?.as_str().to_lowercase();
    let word = WORDS.iter().position(|word| *word == text).map(|index| index as u64 + 1);
    word.or_else(|| text.parse().ok())
}

fn counted(found: &Captures) -> Option<Value> {
    let (n, unit) = (number(found)?, found.name("unit")?.as_str().to_lowercase());
    let strict = |group: &str| found.name(group).map(|bound| bound.as_str().to_lowercase());
    let (field, n) = match (strict("least"), strict("most")) {
        (Some(bound), _) if bound == "more than" => ("at_least", n + 1),
        (Some(_), _) => ("at_least", n),
        (_, Some(bound)) if ["fewer than", "less than", "under"].contains(&bound.as_str()) => {
            ("at_most", n.checked_sub(1)?)
        }
        _ => ("at_most", n),
    };
    Some(json!({ "type": unit + "s", field: n }))
}

fn mark_of(found: &Captures, negated: bool) -> Option<Value> {
    let mark = found.name("mark")?.as_str().to_lowercase();
    let kind = match mark.trim_end_matches('s') {
        "comma" => "comma",
        "digit" | "numeral" => "digit",
        "exclamation mark" => "exclamation",
        "question mark" => "question",
        _ => return None,
    };
    Some(if negated { json!({ "type": kind, "negated": true }) } else { json!({ "type": kind }) })
}

fn worded(kind: &str, field: &str, found: &Captures) -> Option<Value> {
    // Where words are not set apart, as in Chinese, none would be found.
    let word = found.name("word").map(|word| word.as_str()).filter(|word| !word.chars().any(|c| c >= '\u{2e80}'))?;
    Some(match found.name("not") {
        Some(_) => json!({ "type": kind, field: word, "negated": true }),
        None => json!({ "type": kind, field: word }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wording_is_one() {
        assert_eq!(RULES.len(), wordings().len());
    }
}
