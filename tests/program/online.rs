//! The policy that answers is the one that learns: its adapters come back to the dialogues, and a run makes the same whatever
//! happens to it on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{Ran, assert_accounted, done, obvert, program, repository, rows};
use crate::served::server::{KEY, Manner, Server};
use crate::slow::{changed, results, start, wait_for};
use crate::watch::{interrupt, left, start as follow, wait_for as wait_until, write};

/// The slow pipeline, answered by the model that is trained.
fn prepared(staleness: u64) -> TempDir {
    let online =
        format!("[stage.online]\ntype = \"online\"\nfrom = \"session\"\nwith = \"train\"\nstaleness = {staleness}\n\n");
    changed(|pipeline| {
        pipeline
            .replace("from = [\"session\", \"next\"]", "from = [\"online\", \"next\"]")
            .replace("from = \"play\"\nmodel = \"policy\"", "from = \"play\"\nmodel = \"tiny\"\nmax_tokens = 40")
            .replace("[stage.play]", &(online.clone() + "[stage.play]"))
            .replace("updates = 6", "updates = 60\nrefresh_every = 3")
            .replace("limit = 10", "limit = 7")
    })
}

fn run(folder: &Path, more: &[&str]) -> Ran {
    done(folder, &[&["run", "slow.toml", "--out", "out"], more].concat())
}

/// The adapter that answered in each dialogue, in the order of their rows, as the number of updates that it had.
fn versions(folder: &Path) -> Vec<u64> {
    let made = rows(&folder.join("out/state/train.versions.jsonl"));
    let steps: BTreeMap<&str, u64> = made
        .iter()
        .map(|row| (row["adapter"]["version"].as_str().unwrap(), row["adapter"]["steps"].as_u64().unwrap()))
        .chain([("base", 0)])
        .collect();
    let mut by_row: BTreeMap<usize, u64> = BTreeMap::new();
    let profiles: Vec<String> = rows(&repository("pipelines/quickstart/profiles.jsonl"))
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    for pair in rows(&folder.join("out/pairs/pairs.jsonl")) {
        let row = profiles.iter().position(|id| *id == pair["profile"].as_str().unwrap()).unwrap();
        let (_, version) = pair["provenance"]["chosen_model"].as_str().unwrap().split_once('@').unwrap();
        let known = by_row.insert(row, steps[version]);
        assert!(known.is_none_or(|known| known == steps[version]), "a dialogue was answered by two adapters");
    }
    by_row.into_values().collect()
}

#[test]
fn dialogues_are_answered_by_the_adapter_that_the_rows_before_them_made() {
    let folder = prepared(2);
    let ran = run(folder.path(), &[]);
    assert_accounted(&ran);
    let answered = versions(folder.path());
    assert_eq!(answered[..2], [0, 0]);
    assert!(answered.is_sorted() && answered.last() > Some(&12), "{answered:?}");
    // Whoever only looks trains nothing, and waits for nothing.
    let looked = done(folder.path(), &["preview", "slow.toml", "-n", "1"]).out;
    assert!(looked.contains("online (online): 1 records") && looked.contains("judge (judge): 15 records"), "{looked}");
    let explained = done(folder.path(), &["explain", "slow.toml", "p001", "--out", "out"]).out;
    assert!(explained.contains("calls"), "{explained}");
    // Neither the number of workers nor that of dialogues in play matters.
    let other = prepared(2);
    run(other.path(), &["--workers", "2", "--set", "run.dialogues=8"]);
    assert_eq!(versions(other.path()), answered);
    assert!(results(other.path()) == results(folder.path()), "workers changed the results");
    // Who may be less stale is.
    let fresh = prepared(1);
    run(fresh.path(), &[]);
    let answered_fresh = versions(fresh.path());
    assert!(answered_fresh[1] > 0 && answered_fresh.iter().zip(&answered).all(|(fresh, stale)| fresh >= stale));
}

#[test]
fn a_killed_online_run_goes_on_with_the_same_adapters() {
    let expected = prepared(2);
    run(expected.path(), &[]);
    let folder = prepared(2);
    for (file, lines) in [("out/metrics.jsonl", 1), ("out/state/train.versions.jsonl", 1), ("out/metrics.jsonl", 8)] {
        let mut child = start(folder.path());
        wait_for(&mut child, &folder.path().join(file), lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = run(folder.path(), &[]);
    assert_eq!(versions(folder.path()), versions(expected.path()));
    assert!(results(folder.path()) == results(expected.path()), "the kills changed the results");
    // A run of it all asks for nothing.
    let again = run(folder.path(), &[]);
    assert_eq!(crate::common::counts(&again, "respond")[4], 0, "{}", ran.out);
    assert!(results(folder.path()) == results(expected.path()));
    // An adapter that is gone is made again.
    fs::remove_dir_all(folder.path().join("out/state/adapters")).unwrap();
    run(folder.path(), &[]);
    assert!(results(folder.path()) == results(expected.path()));
}

/// Rows that come after others do not change what those were answered by, and are answered as in a run that had all of them: the
/// adapters of the end of the first run, which had fewer, are not handed to them.
#[test]
fn rows_that_come_later_make_what_a_run_with_all_of_them_makes() {
    let folder = prepared(2);
    let original = repository("pipelines/quickstart/profiles.jsonl").display().to_string();
    let pipeline = folder.path().join("slow.toml");
    let text = fs::read_to_string(&pipeline).unwrap();
    fs::write(&pipeline, text.replace(&original, "profiles.jsonl").replace("refresh_every = 3", "refresh_every = 2"))
        .unwrap();
    let profiles: Vec<String> = fs::read_to_string(original).unwrap().lines().take(7).map(str::to_owned).collect();
    let run = |rows: &[String], out: &str| {
        write(folder.path(), rows);
        done(folder.path(), &["run", "slow.toml", "--out", out]);
        left(folder.path(), out).unwrap()
    };
    let all = run(&profiles, "all");
    run(&profiles[..4], "grown");
    assert!(run(&profiles, "grown") == all, "rows that came between two runs were answered otherwise");
    run(&profiles[..4], "out");
    let mut child = follow(folder.path());
    // It is told what it knows, and then more.
    std::thread::sleep(Duration::from_secs(2));
    write(folder.path(), &profiles);
    wait_until(&mut child, || left(folder.path(), "out").is_some_and(|found| found == all));
    interrupt(child);
}

/// A server is handed each adapter once, and again where it has forgotten it.
#[test]
fn a_server_answers_with_the_adapters_that_it_is_handed() {
    const SAID: [&str; 4] = ["Bread is good.", "bread is good", "Bread, is it good? 5 say so!", "well, 3 loaves"];
    let server = Server::start(Manner { says: &SAID, ..Manner::default() });
    let folder = prepared(2);
    let path = folder.path().join("slow.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("[model.policy]").unwrap();
    let (_, rest) = rest.split_once("[stage.profiles]").unwrap();
    let served = format!(
        "[model.policy]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"good\"\nkey = \"${{env:OBVERT_TEST_KEY}}\"\n\
         adapters = \"vllm\"\n\n",
        server.url
    );
    let rest = rest.replace("from = \"play\"\nmodel = \"tiny\"", "from = \"play\"\nmodel = \"policy\"");
    fs::write(&path, format!("{before}{served}[stage.profiles]{rest}")).unwrap();
    let mut command = program(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let ran: Ran = command.env("OBVERT_TEST_KEY", KEY).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let aside = folder.path().join("out/rejected.jsonl");
    assert!(!aside.exists() || rows(&aside).is_empty(), "{:?}", rows(&aside).first());
    let answered = versions(folder.path());
    assert!(answered.is_sorted() && answered.last() > Some(&3), "{answered:?}");
    let models = server.seen.models.lock().unwrap();
    let distinct: std::collections::BTreeSet<u64> = answered.iter().copied().collect();
    assert_eq!(models.len(), distinct.len(), "{models:?}");
    // Answers to whole dialogues, of three turns with five samples each.
    assert!(models.values().all(|calls| calls % 15 == 0) && models.values().sum::<u32>() == 105, "{models:?}");
    let loads = server.seen.loads.load(std::sync::atomic::Ordering::Relaxed);
    assert!(loads >= distinct.len() as u64 - 1, "{loads} adapters were loaded");
}

#[test]
fn an_online_stage_that_is_not_in_step_is_refused() {
    let refused = |from: &str, to: &str, said: &str| {
        let folder = prepared(2);
        let path = folder.path().join("slow.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        let ran = obvert(folder.path(), &["check", "slow.toml"]);
        assert!(ran.code == 2 && ran.err.contains(said), "{said} is not in {}", ran.err);
    };
    refused("refresh_every = 3", "", "`train` is not of type `train` with `refresh_every`");
    refused("[\"online\", \"next\"]", "[\"online\", \"session\", \"next\"]", "`session` is read by `play` too");
    refused("[\"online\", \"next\"]", "[\"next\"]", "no pair of `train` comes of what it makes");
    refused("refresh_every = 3", "refresh_every = 3\nwithdrawn = \"rollback\"", "cannot be \"rollback\" beside");
    refused("staleness = 2", "staleness = 0", "staleness");
}
