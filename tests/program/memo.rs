//! The memo can be looked into, and pruned.

use crate::common::{counts, done, folder, obvert};

const PIPELINE: &str = concat!(
    r#"
name = "chat"

[model.user]
kind = "scripted"
[[model.user.rule]]
match = "."
reply = "Hello, what about {{ turn }}?"

"#,
    sessions!(),
    r#"
[stage.play]
type = "persona-play"
from = "session"
model = "user"

[stage.turns]
type = "jsonl"
from = "play"
"#
);

fn prepared() -> tempfile::TempDir {
    let profiles = "{\"id\": \"p1\", \"text\": \"A baker.\"}\n{\"id\": \"p2\", \"text\": \"A cook.\"}\n";
    let personas = "{\"id\": \"u1\", \"text\": \"Likes tea.\"}\n";
    folder(&[("chat.toml", PIPELINE), ("profiles.jsonl", profiles), ("personas.jsonl", personas)])
}

#[test]
fn a_record_says_which_calls_it_made_and_what_would_change_them() {
    let folder = prepared();
    let explain = |more: &[&str]| done(folder.path(), &[&["explain", "chat.toml", "--out", "out"], more].concat()).out;
    assert_eq!(obvert(folder.path(), &["explain", "chat.toml", "p1", "--out", "out"]).code, 2);
    done(folder.path(), &["run", "chat.toml", "--out", "out"]);
    let known = explain(&["p1"]);
    assert!(known.contains("play  dialogue p1+u1 turn 0  user sample 0: in the memo since"), "{known}");
    assert!(known.contains("1 calls, 1 in the memo, 0 to be made"), "{known}");
    assert!(explain(&["u1"]).contains("2 calls, 2 in the memo"));
    let changed = explain(&["p1", "--set", "run.seed=1"]);
    assert!(changed.contains("in its place differs in the sampling"), "{changed}");
    let profiles = folder.path().join("profiles.jsonl");
    std::fs::write(&profiles, std::fs::read_to_string(&profiles).unwrap().replace("A baker", "A smith")).unwrap();
    let edited = explain(&["p1"]);
    assert!(edited.contains("differs in the messages") && edited.contains("1 to be made"), "{edited}");
    let refused = |words: &[&str], cause: &str| {
        let ran = obvert(folder.path(), &[words, &["--out", "out"]].concat());
        assert!(ran.code == 2 && ran.err.contains(cause), "{words:?}: {}", ran.err);
    };
    refused(&["explain", "chat.toml", "nobody"], "`nobody`: no record has this id or text");
    refused(&["explain", "chat.toml"], "the id of a record is missing behind `chat.toml`");
    refused(&["trace"], "the id of a record is missing");
    refused(&["trace", "chat.toml", ""], "the id of a record is empty");
    refused(&["trace", "p1", "chat.toml"], "did you mean `chat.toml p1`?");
    // To look at calls makes none.
    assert_eq!(counts(&done(folder.path(), &["run", "chat.toml", "--out", "out"]), "play")[4..], [1, 1]);
}

#[test]
fn what_is_pruned_is_paid_again() {
    let folder = prepared();
    let paid = || counts(&done(folder.path(), &["run", "chat.toml", "--out", "out"]), "play")[4];
    let memo = |more: &[&str]| done(folder.path(), &[&["memo", "out"], more].concat()).out;
    assert_eq!(paid(), 2);
    let table = memo(&[]);
    let row = table.lines().find(|line| line.starts_with("chat")).unwrap();
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["chat", "play", "user", "2"]);
    for keeps in [&["--older-than", "1d"][..], &["--pipeline", "other"], &["--stage", "judge"], &["--model", "policy"]]
    {
        assert!(memo(&[&["--prune"], keeps].concat()).contains("0 calls are forgotten"), "{keeps:?}");
    }
    assert_eq!(paid(), 0);
    assert!(memo(&["--prune", "--pipeline", "chat"]).contains("2 calls are forgotten"));
    assert_eq!(paid(), 2);
    assert_eq!(obvert(folder.path(), &["memo", "out", "--older-than", "soon"]).code, 2);
}
