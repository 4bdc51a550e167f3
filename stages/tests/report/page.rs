//! What stands in the page.

use std::collections::BTreeMap;

use obvert_stages::output::report::{ReportFacts, StageCount};

use crate::facts::{large, pair, set, small, written};

/// Fails unless every element is closed in order; void elements must close themselves.
fn assert_well_formed(page: &str) {
    let body = page.trim_start().strip_prefix("<!DOCTYPE html>\n").unwrap();
    let mut open: Vec<&str> = Vec::new();
    for tag in body.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("<{tag} does not end"));
        assert!(!text.contains('>') || open.last() == Some(&"style") || tag.starts_with("style"), "stray > in {text}");
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "</{name}> closes another"),
            (false, true) => {}
            (false, false) => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn the_report_is_well_formed_and_escapes_everything() {
    for facts in [small(), large(), ReportFacts::default()] {
        let page = written(&facts);
        assert_well_formed(&page);
        assert!(!page.contains("<script"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("), "not self-contained");
    }
    assert!(written(&large()).contains("&lt;script&gt;"), "the hostile text is not shown");
}

fn assert_says(page: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(page.contains(text), "no {text:?}");
    }
}

#[test]
fn the_report_shows_what_it_was_told() {
    let page = written(&small());
    assert_says(
        &page,
        &[
            "1 h 02 min",
            "<span class=\"tag\">REVERSED</span>",
            "data-label=\"Chosen\">no → yes</td>",
            "data-label=\"Rejected\">yes → no</td>",
            "62.5% (+12.5)",
            "<small>0123456789abcdef</small>",
            "Rewards over training steps: chosen from 0.000 to 0.980, rejected from −0.500 to −0.500",
            // Of a type, before and after.
            "data-label=\"base, before\">45.0</td><td class=\"n\" data-label=\"train, after\">56.2 (+11.2)</td>",
            "<summary>A pair of case 6, g = 2</summary>",
            "data-label=\"ISR, all yes\">61.2 <small>(45.6 to 100.0)</small></td>",
            "data-label=\"Left over\">1,234</td>",
        ],
    );
    assert!(!page.contains("Too few pairs"));
    assert!(!page.contains("unaccounted"));
    let lost = StageCount { inputs: 1234567, handled: 4, rejected: 1, ..StageCount::default() };
    let page = written(&ReportFacts { stages: vec![lost], ..ReportFacts::default() });
    assert_says(&page, &["1,234,567 in, but 4 handled + 1 rejected", "Nothing was trained", "Nothing was evaluated"]);
}

#[test]
fn a_comparison_shows_errors_and_marks_clear_differences() {
    let page = written(&large());
    assert_says(
        &page,
        &[
            // Of 30, 32 and 34 hundredths: the mean, and a deviation of two over the root of three.
            "data-label=\"CSR\">32.0 ± 1.2",
            "data-label=\"ISR, turn 5\"",
            "data-label=\"ISR, constraints: 12\"",
            "rpo less each other method",
            "<span class=\"mark\">*</span></b>",
            "Methods over 1 run:",
            "<summary>Curves of stage-lr-23e-3</summary>",
            "data-label=\"Updates\">2</td><td class=\"n\" data-label=\"Planned\">7,000</td>",
            ", stage-lr-05e-3.</strong>",
        ],
    );
    // One run has no error, so nothing in it is clear.
    let facts = large();
    let only = facts.tables.into_iter().filter(|(_, table)| table.runs == 1).collect();
    let page = written(&ReportFacts { tables: only, ..ReportFacts::default() });
    assert!(page.contains("Methods over 1 run<") && !page.contains(" ± ") && !page.contains("*</span>"));
}

#[test]
fn nothing_is_said_to_be_reversed_that_is_not() {
    let of = |pairs| written(&ReportFacts { pairs: BTreeMap::from([("pairs".into(), set(pairs))]), ..small() });
    assert_says(
        &of(vec![pair(2, false)]),
        &[
            "Nothing is reversed in any of them",
            "In 0 of them the chosen response satisfies every constraint of its own prompt, in 1 it does not",
            "The chosen response violates a part of its prompt.",
        ],
    );
    assert_says(
        &of(vec![pair(2, true), pair(1, true)]),
        &[
            "In the prompt of each of them something is reversed",
            "In all of them the chosen response satisfies every constraint",
        ],
    );
    assert!(of(Vec::new()).contains("No pairs were made in this run."));
}
