//! Records in lines.

use obvert_api::Record;
use obvert_api::record::{Judged, Pair, Response, Reversal, Session, Turn};
use serde_json::Value;

use crate::verbs::about::label;

/// Characters of a record's text that are shown.
const SHOWN: usize = 120;

/// A record of a type in a line: what tells it from others, and what it says.
pub(super) fn shown(kind: &str, record: &Value) -> String {
    let told = match kind {
        Judged::NAME => format!(" sample {}: {}", record["response"]["sample"], verdicts(&record["verdicts"])),
        Response::NAME => format!(" sample {}: {}", record["sample"], text(&record["text"])),
        Turn::NAME => format!(": {}", text(&record["query"])),
        Session::NAME => {
            format!(": profile {}, persona {}", text(&record["profile"]["id"]), text(&record["persona"]["id"]))
        }
        Pair::NAME => pair_said(record),
        Reversal::NAME => {
            let [original, reversed] = ["original", "reversed"].map(|side| text(&record[side]["text"]));
            return format!("{}: {original} → {reversed}", text(&record["original"]["id"]));
        }
        _ => format!(": {record}"),
    };
    let cut: String = told.chars().take(SHOWN).collect();
    let more = if cut.len() < told.len() { "…" } else { "" };
    format!("{}{cut}{more}", label(record))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `c1 yes, c2 no`.
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
