//! One pair explained as plain text, for the terminal.

use std::borrow::Cow;

use obvert_api::record::{Pair, PairConstraint};
use textwrap::core::display_width;

use super::row::verdict;

/// Between two columns.
const RULE: &str = " | ";
/// As wide as "no → yes" and "Rejected".
const VERDICT_WIDTH: usize = 8;
/// Narrower than this, words break in every line.
const LEAST_WIDTH: usize = 48;

/// A pair as text of at most `width` columns: every constraint as the profile has it and as x_S has it with both
/// verdicts, the query, and the two responses beside each other. Control characters are shown as U+FFFD, so that a
/// response cannot steer the terminal.
pub fn side_by_side(pair: &Pair, width: usize) -> String {
    let width = width.max(LEAST_WIDTH);
    let mut text = format!("{}\n\n", wrapped(&heading(pair), width).join("\n"));
    text.push_str(&constraints(pair, width));
    let query = pair.prompt.last().map_or("", |message| message.content.as_str());
    text.push_str(&format!("\n{}\n\n", wrapped(&format!("User: {query}"), width).join("\n")));
    text.push_str(&responses(pair, width));
    text
}

fn heading(pair: &Pair) -> String {
    let Pair { id, dialogue, turn, profile, case, g, .. } = pair;
    format!("Pair {id}: profile {profile}, dialogue {dialogue}, turn {turn}; case {case}, g = {g}")
}

/// The verdict on the original and, if it was reversed, what that makes of the verdict under x_S; `-` where the
/// turn does not trigger the constraint.
pub(super) fn under_both(constraint: &PairConstraint, satisfied: Option<bool>) -> String {
    match (constraint.active, constraint.reversed) {
        (false, _) => "-".to_string(),
        (true, false) => verdict(satisfied).to_string(),
        (true, true) => format!("{} → {}", verdict(satisfied), verdict(satisfied.map(|s| !s))),
    }
}

fn constraints(pair: &Pair, width: usize) -> String {
    let texts = width - 2 * VERDICT_WIDTH - 3 * RULE.len();
    let widths = [texts - texts / 2, texts / 2, VERDICT_WIDTH, VERDICT_WIDTH];
    let mut table = line(&["In the profile", "In this prompt", "Chosen", "Rejected"].map(Cow::from), &widths);
    table.push_str(&ruler(&widths));
    for c in &pair.constraints {
        let shown = match (c.reversed, c.active) {
            (true, _) => format!("REVERSED: {}", c.text),
            (false, true) => "the same".to_string(),
            (false, false) => "the same (not triggered)".to_string(),
        };
        let verdicts = [c.chosen, c.rejected].map(|satisfied| Cow::from(under_both(c, satisfied)));
        let [chosen, rejected] = verdicts;
        table.push_str(&line(&[Cow::from(c.original.as_str()), Cow::from(shown), chosen, rejected], &widths));
    }
    if pair.constraints.iter().any(|c| c.reversed) {
        let key = "no → yes: violates what the profile says, satisfies what this prompt says";
        table.push_str(&format!("{}\n", wrapped(key, width).join("\n")));
    }
    table
}

fn responses(pair: &Pair, width: usize) -> String {
    let texts = width - RULE.len();
    let widths = [texts - texts / 2, texts / 2];
    let chosen = format!("Chosen ({}, sample {})", pair.chosen_model, pair.chosen_sample);
    let rejected = format!("Rejected ({}, sample {})", pair.rejected_model, pair.rejected_sample);
    let heads = line(&[chosen.into(), rejected.into()], &widths);
    let bodies = line(&[pair.chosen.as_str().into(), pair.rejected.as_str().into()], &widths);
    heads + &ruler(&widths) + &bodies
}

/// One row of a table, each cell wrapped to its width.
fn line<const N: usize>(cells: &[Cow<str>; N], widths: &[usize; N]) -> String {
    let columns: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let row = |i: usize| {
        let at = |column: &Vec<String>, width: usize| padded(column.get(i).map_or("", String::as_str), width);
        let cells: Vec<String> = columns.iter().zip(widths).map(|(column, width)| at(column, *width)).collect();
        format!("{}\n", cells.join(RULE).trim_end())
    };
    (0..height).map(row).collect()
}

fn ruler(widths: &[usize]) -> String {
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    format!("{}\n", dashes.join("-+-"))
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let visible = |c: char| {
        if c.is_control() && c != '\n' { '\u{fffd}' } else { c }
    };
    let clean: String = text.replace('\t', "    ").replace("\r\n", "\n").chars().map(visible).collect();
    textwrap::wrap(&clean, width).into_iter().map(Cow::into_owned).collect()
}

/// Filled up with spaces, by columns of the terminal rather than characters.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(display_width(text))))
}
