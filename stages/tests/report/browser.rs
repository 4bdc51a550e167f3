//! The page in a real browser, on a phone, on a desk and on paper.

use std::fs;

use obvert_stages::output::report::ReportFacts;
use serde_json::json;
use tempfile::tempdir;

use crate::chromium::Chromium;
use crate::facts::{large, small, written};

const WIDTHS: [u32; 4] = [320, 360, 820, 1280];

/// What is wrong with a page at some width, printed, or on its console.
fn faults(chromium: &Chromium, page: &str) -> Vec<String> {
    let folder = tempdir().unwrap();
    let quoted = serde_json::to_string(page).unwrap().replace("</", "<\\/");
    let script = format!("const PAGE = {quoted}, WIDTHS = {};\n{}", json!(WIDTHS), include_str!("measure.js"));
    let around = format!("<!DOCTYPE html><meta charset=\"utf-8\"><body><script>{script}</script>");
    fs::write(folder.path().join("around.html"), around).unwrap();
    fs::write(folder.path().join("report.html"), page).unwrap();
    let measured = chromium.open(folder.path(), "around.html");
    let found = measured.dom.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (found, _) = found.unwrap_or_else(|| panic!("the measurement failed: {:?}", measured.console));
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&");
    let mut found: Vec<String> = serde_json::from_str(&found).unwrap();
    found.extend(chromium.open(folder.path(), "report.html").console);
    found
}

#[test]
fn a_browser_shows_all_of_it_at_any_width() {
    let Some(chromium) = Chromium::find("a_browser_shows_all_of_it_at_any_width") else { return };
    for (name, facts) in [("small", small()), ("large", large()), ("empty", ReportFacts::default())] {
        let found = faults(&chromium, &written(&facts));
        assert!(found.is_empty(), "{name}, {} faults:\n{}", found.len(), found.join("\n"));
    }
}

#[test]
fn it_is_printed_whole() {
    let Some(chromium) = Chromium::find("it_is_printed_whole") else { return };
    let folder = tempdir().unwrap();
    let printed = |facts: &ReportFacts| {
        fs::write(folder.path().join("report.html"), written(facts)).unwrap();
        let pdf = chromium.print(folder.path(), "report.html");
        assert!(pdf.starts_with(b"%PDF"));
        pdf.windows(11).filter(|bytes| bytes == b"/Type /Page").count()
    };
    let (none, large) = (printed(&ReportFacts::default()), printed(&large()));
    assert!((1..=2).contains(&none) && large > 5, "{none} and {large} pages");
}

/// The test is able to fail: in a page with every kind of fault each is found.
#[test]
fn what_is_wrong_is_found() {
    let Some(chromium) = Chromium::find("what_is_wrong_is_found") else { return };
    let wrong = [
        ("</main>", "<div style=\"width: 1500px\">wide</div></main>", "1280: sticks out: div. \"wide\""),
        (
            "</main>",
            "<p style=\"width: 200px\"><svg style=\"width: 250px\"></svg></p></main>",
            "1280: wider than its box: p.",
        ),
        ("<polyline class=\"l1\"", "<rect x=\"400\" width=\"9\" height=\"9\"/><polyline class=\"l1\"", "drawn outside"),
        ("62.5% (+12.5)", "NaN% (+12.5)", "says \"NaN\""),
        (">56.2 (+11.2)</td>", "></td>", "empty: #evaluation td.n"),
        (" data-label=\"Turns\">40", ">40", "without a label"),
        ("stroke-dasharray: 5 3;", "", "two lines alike"),
        ("text-anchor=\"middle\"", "text-anchor=\"start\"", "no steps"),
        (".text { max-height: none; overflow: visible; }", "", "cut off in print"),
        ("::details-content", "::before", "not printed"),
        ("--soft: #5b5b57", "--soft: #b0b0b0", "faint: "),
        ("</main>", "<script>console.error('oh')</script></main>", "oh"),
    ];
    let mut page = written(&small());
    for (from, to, _) in wrong {
        assert!(page.contains(from), "no {from}");
        page = if from == "</main>" { page.replacen(from, to, 1) } else { page.replace(from, to) };
    }
    let found = faults(&chromium, &page);
    for (_, to, said) in wrong {
        assert!(found.iter().any(|text| text.contains(said)), "{said:?} is not found by {to:?}: {}", found.join("\n"));
    }
}
