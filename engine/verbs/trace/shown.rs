//! Records in lines.

use serde_json::Value;

use crate::verbs::explain::label;

/// Characters of a record's text that are shown.
const SHOWN: usize = 120;

/// A record in a line: what tells it from others, and what it says.
pub(super) fn shown(record: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (said, sample) = (&record["response"], &record["sample"]);
    let told = match record {
        _ if record.get("verdicts").is_some() => {
            format!(" sample {}: {}", said["sample"], verdicts(&record["verdicts"]))
        }
        _ if record.get("chosen_sample").is_some() => pair_said(record),
        _ if record.get("original").is_some() => {
            let [original, reversed] = ["original", "reversed"].map(|side| text(&record[side]["text"]));
            return format!("{}: {original} → {reversed}", text(&record["original"]["id"]));
        }
        _ if record["profile"].is_object() => {
            format!(": profile {}, persona {}", text(&record["profile"]["id"]), text(&record["persona"]["id"]))
        }
        _ if record.get("text").is_some() && !sample.is_null() => {
            format!(" sample {sample}: {}", text(&record["text"]))
        }
        _ => ["query", "text", "description"]
            .iter()
            .find_map(|key| Some(format!(": {}", text(record.get(key)?))))
            .unwrap_or_default(),
    };
    let cut: String = told.chars().take(SHOWN).collect();
    let more = if cut.len() < told.len() { "…" } else { "" };
    format!("{}{cut}{more}", label(record))
}

/// `c1 yes, c2 no (program)`.
fn verdicts(verdicts: &Value) -> String {
    let said = |verdict: &Value| {
        let answer = match verdict["satisfied"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "undecided",
        };
        format!("{} {answer}", verdict["constraint"].as_str().unwrap_or_default())
    };
    verdicts.as_array().into_iter().flatten().map(said).collect::<Vec<_>>().join(", ")
}

fn pair_said(pair: &Value) -> String {
    let reversed =
        pair["constraints"].as_array().into_iter().flatten().filter(|constraint| constraint["reversed"] == true);
    let reversed: Vec<&str> = reversed.filter_map(|constraint| constraint["id"].as_str()).collect();
    let [chosen, rejected] = [&pair["chosen_sample"], &pair["rejected_sample"]];
    format!(": sample {chosen} chosen, {rejected} rejected, g {}, reversed {}", pair["g"], reversed.join(" "))
}
