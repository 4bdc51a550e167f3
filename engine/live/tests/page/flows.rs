//! What people do with the page, by pointer and by keys, at any width, bright and dark.

use std::fs;
use std::time::Duration;

use obvert_api::erased::encode;
use obvert_engine::Observer;
use obvert_live::State;
use obvert_live::records::{Log, Name};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::site::{board, page, pair, run};

const ESCAPE: &str = "\u{e00c}";
const ENTER: &str = "\u{e007}";

/// Waits until the run is asked that.
fn asked(out: &TempDir, what: &str) {
    let file = out.path().join("state/asked").join(what);
    let there = |_: &u32| file.exists() || (std::thread::sleep(Duration::from_millis(20)), false).1;
    assert!((0..500).any(|n| there(&n)), "nobody asks to {what}");
}

#[test]
fn a_run_is_seen_and_told_what_to_do() {
    let Some(browser) = Browser::find("a_run_is_seen_and_told_what_to_do") else { return };
    let out = run(40);
    browser.show(1280, "light");
    browser.open(&page(out.path(), None));
    // The graph has all stages, and says what the others wait for.
    browser.wait_for("document.querySelectorAll('#graph g').length === 8");
    assert_eq!(browser.value("document.querySelectorAll('#graph path.edge').length"), 9);
    assert_eq!(browser.value("document.querySelector('#graph .held text').textContent"), "respond");
    let headline = browser.value("document.getElementById('headline').textContent");
    assert!(headline.as_str().unwrap().contains("waits for model policy, asked by respond"), "{headline}");
    browser.click("#pause");
    asked(&out, "pause");
    // What the run writes is seen.
    board(out.path(), |board| board.state = State::Paused);
    browser.wait_for("document.getElementById('pause').textContent.startsWith('Resume')");
    browser.type_in("p");
    asked(&out, "resume");
    board(out.path(), |board| (board.state, board.cause) = (State::Failed, Some("stage `judge`: no".into())));
    browser.wait_for("document.getElementById('alert').textContent === 'stage `judge`: no'");
    assert_eq!(browser.value("document.getElementById('pause').disabled"), true);
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn records_are_looked_through_and_set_right() {
    let Some(browser) = Browser::find("records_are_looked_through_and_set_right") else { return };
    let out = run(100);
    browser.show(1280, "light");
    browser.open(&page(out.path(), None));
    browser.wait_for("document.querySelectorAll('#graph g').length === 8");
    // By keys alone: to the search, a text, the second one found.
    browser.type_in("/");
    browser.wait_for("document.activeElement.id === 'text'");
    browser.wait_for("document.querySelectorAll('#log option').length === 2");
    browser.value("(document.getElementById('log').value = 'pair.Pair', document.getElementById('log').dispatchEvent(new Event('change')), true)");
    browser.type_in("number 9");
    browser.wait_for("document.getElementById('found').textContent === '11 of 100'");
    browser.type_in(&format!("{ESCAPE}jj"));
    browser.wait_for("document.querySelector('#shown h2')?.textContent.startsWith('d98, turn 1')");
    let rules = "[...document.querySelectorAll('#shown .rules li')].map((rule) => [rule.querySelector('del')?.textContent, rule.querySelector('ins')?.textContent])";
    assert_eq!(browser.value(rules), serde_json::json!([["Mention tea.", "Do not mention tea."], [null, null]]));
    assert_eq!(browser.value("document.querySelector('#shown .two mark').textContent"), "number 9");
    browser.click("#shown input");
    browser.type_in("not this one");
    browser.click("#shown button");
    browser.wait_for("document.querySelector('#shown [role=status]').textContent.startsWith('Noted in')");
    let vetoes = fs::read_to_string(out.path().join("vetoes.jsonl")).unwrap();
    assert_eq!(vetoes, "{\"pair\":\"0000000000000062\",\"reason\":\"not this one\"}\n");
    // Whoever comes later sees it, and takes it back.
    browser.type_in("k");
    browser.wait_for("document.querySelector('#shown h2')?.textContent.startsWith('d99, turn 1')");
    browser.type_in("j");
    browser.wait_for(
        "document.querySelector('#shown [role=status]').textContent.startsWith('Noted before: not this one')",
    );
    let buttons = "[...document.querySelectorAll('#shown button')].map((button) => button.textContent)";
    assert_eq!(browser.value(buttons), serde_json::json!(["Take it back"]));
    browser.click("#shown button");
    browser.wait_for("document.querySelector('#shown [role=status]').textContent.startsWith('Taken back')");
    assert_eq!(browser.value(buttons), serde_json::json!(["Veto this pair"]));
    assert_eq!(fs::read_to_string(out.path().join("vetoes.jsonl")).unwrap(), "");
    // A verdict.
    browser.value("(document.getElementById('text').value = '', document.getElementById('log').value = 'judge.Judged', document.getElementById('log').dispatchEvent(new Event('change')), true)");
    browser.wait_for("document.getElementById('found').textContent === '30 and more of 40'");
    browser.click("#list li:last-child button");
    browser.wait_for("document.getElementById('found').textContent === '40 of 40'");
    browser.click("#list li:last-child button");
    browser.wait_for("document.querySelector('#shown h2').textContent === 'd0, turn 1, sample 1'");
    browser.click("#shown .rules button");
    // The focus stays with what was said: by keys alone it is taken back, and said again.
    for (status, next) in [("Noted in", "Take it back"), ("Taken back", "It is satisfied")] {
        browser.wait_for(&format!("document.querySelector('#shown [role=status]').textContent.startsWith('{status}')"));
        assert_eq!(browser.value("document.activeElement.textContent"), next);
        browser.type_in(ENTER);
    }
    browser.wait_for("document.querySelector('#shown [role=status]').textContent.startsWith('Noted in')");
    let corrected: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.path().join("corrections.jsonl")).unwrap()).unwrap();
    let wanted = serde_json::json!({ "dialogue": "d0", "turn": 0, "sample": 0, "constraint": "tea", "satisfied": true, "reason": "", "response": "Only milk 0." });
    assert_eq!(corrected, wanted);
    // Who looks at it again may take it back; where that fails it is said, and may be tried again.
    browser.type_in("k");
    browser.wait_for("document.querySelector('#shown h2').textContent === 'd1, turn 1, sample 1'");
    browser.type_in("j");
    browser.wait_for(
        "document.querySelector('#shown [role=status]')?.textContent.startsWith('Noted before as satisfied')",
    );
    assert_eq!(browser.value(buttons), serde_json::json!(["Take it back"]));
    let [file, elsewhere] = ["corrections.jsonl", "elsewhere"].map(|name| out.path().join(name));
    fs::rename(&file, &elsewhere).unwrap();
    fs::create_dir(&file).unwrap();
    browser.click("#shown .rules button");
    browser.wait_for("document.querySelector('#shown [role=status]').textContent.includes('directory')");
    fs::remove_dir(&file).unwrap();
    fs::rename(&elsewhere, &file).unwrap();
    browser.click("#shown .rules button");
    browser.wait_for("document.querySelector('#shown [role=status]').textContent.startsWith('Taken back')");
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    // The browser says what was refused: that is what was to be seen.
    let said = browser.console();
    assert!(said.len() == 1 && said[0].contains("api/correct") && said[0].contains("500"), "{said:?}");
}

#[test]
fn records_of_each_process_can_be_chosen() {
    let Some(browser) = Browser::find("records_of_each_process_can_be_chosen") else { return };
    let out = run(3);
    board(out.path(), |board| board.processes = 2);
    let log = Log::begin(out.path(), &Name::read("pair.Pair@1").unwrap()).unwrap();
    (10..12).for_each(|n| log.see(&encode(&pair(n)).unwrap(), 1));
    log.flush();
    browser.show(1280, "light");
    browser.open(&page(out.path(), None));
    browser.type_in("/");
    browser.wait_for("document.getElementById('found').textContent === '3 of 3, those of one of 2 processes'");
    let logs = browser.value("[...document.querySelectorAll('#log option')].map((option) => option.textContent)");
    let expected = ["pair (pairs, process 1)", "pair (pairs, process 2)", "judge (judged responses, process 1)"];
    assert_eq!(logs, serde_json::json!(expected));
    browser.value("(document.getElementById('log').selectedIndex = 1, document.getElementById('log').dispatchEvent(new Event('change')), true)");
    browser.wait_for("document.getElementById('found').textContent === '2 of 2, those of one of 2 processes'");
    assert!(browser.console().is_empty());
}

/// What sticks out, at some width.
const STICKS_OUT: &str = "[...document.querySelectorAll('body *')].filter((element) => !element.closest('.scroll > *, #list > *, .text > *, option, [hidden]') && element.getBoundingClientRect().right > innerWidth + 1).map((element) => element.tagName + '#' + element.id + ' ' + element.textContent.slice(0, 40))";

#[test]
fn nothing_sticks_out_at_any_width_bright_or_dark() {
    let Some(browser) = Browser::find("nothing_sticks_out_at_any_width_bright_or_dark") else { return };
    let out = run(40);
    let address = page(out.path(), None);
    let pictures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&pictures).unwrap();
    for (width, scheme) in [(320, "light"), (400, "dark"), (820, "light"), (1280, "dark"), (1280, "light")] {
        browser.show(width, scheme);
        browser.open(&address);
        browser.wait_for("document.querySelectorAll('#graph g').length === 8");
        for (key, ready) in [
            ("1", "document.querySelectorAll('#stages td').length === 88"),
            (
                "2",
                "document.querySelectorAll('#curves figure').length === 4 && document.querySelectorAll('#curves .grid').length === 12",
            ),
            (
                "3",
                "document.querySelectorAll('#list button').length > 20 && document.getElementById('log').value === 'pair.Pair'",
            ),
            ("j", "document.querySelectorAll('#shown h2').length > 0"),
            ("4", "document.querySelectorAll('#asked td').length === 11"),
        ] {
            browser.type_in(key);
            browser.wait_for(ready);
            assert_eq!(browser.value(STICKS_OUT), serde_json::json!([]), "at {width} after {key}");
            assert_eq!(
                browser.value("document.documentElement.scrollWidth <= innerWidth"),
                true,
                "at {width} after {key}"
            );
            fs::write(pictures.join(format!("{width}-{scheme}-{key}.png.base64")), browser.picture()).unwrap();
        }
    }
    assert_eq!(browser.console(), [""; 0]);
    // The test is able to fail.
    let wide = "((wide) => (wide.append('wide'), (wide.style.width = '2000px'), document.querySelector('main').append(wide), true))(document.createElement('p'))";
    browser.value(wide);
    assert_eq!(browser.value(STICKS_OUT), serde_json::json!(["P# wide"]));
}
