//! `pairs/changes.jsonl`: what a reader of it holds is what the files hold, over edits and kills.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::common::{done, rows};
use crate::watch::{editable, edited, start, wait_for, write};

/// What a reader of the changelog holds at its end, and the number of the last commit.
pub fn replayed(out: &Path) -> (BTreeMap<String, Value>, u64) {
    let (mut held, mut last) = (BTreeMap::new(), 0);
    for mut row in rows(&out.join("pairs/changes.jsonl")) {
        let line = row.as_object_mut().unwrap();
        let (commit, diff) = (line.remove("commit").unwrap(), line.remove("diff").unwrap());
        last = commit.as_u64().unwrap();
        let id = line["id"].as_str().unwrap().to_owned();
        let known = if diff == 1 { held.insert(id, row).is_some() } else { held.remove(&id).is_none() };
        assert!(!known, "a change came twice");
    }
    (held, last)
}

pub fn held(out: &Path) -> BTreeMap<String, Value> {
    rows(&out.join("pairs/pairs.jsonl")).into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect()
}

#[test]
fn the_changelog_says_what_the_files_hold() {
    let (folder, profiles) = editable();
    let out = folder.path().join("out");
    let mut expected = Vec::new();
    for (name, rows) in [("before", &profiles[..5]), ("after", &edited(&profiles)), ("less", &profiles[..4])] {
        write(folder.path(), rows);
        done(folder.path(), &["run", "slow.toml", "--out", name]);
        expected.push(held(&folder.path().join(name)));
    }
    write(folder.path(), &profiles[..5]);
    let mut child = start(folder.path());
    wait_for(&mut child, || out.join("pairs/pairs.jsonl").exists() && held(&out) == expected[0]);
    let (found, first) = replayed(&out);
    assert!(found == expected[0]);
    write(folder.path(), &edited(&profiles));
    wait_for(&mut child, || held(&out) == expected[1]);
    let (found, second) = replayed(&out);
    assert!(found == expected[1] && second > first);
    child.kill().unwrap();
    child.wait().unwrap();
    // Nothing is told again, and what was edited meanwhile is one commit.
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert_eq!(replayed(&out).1, second);
    write(folder.path(), &profiles[..4]);
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert!(replayed(&out) == (expected[2].clone(), second + 1) && held(&out) == expected[2]);
}
