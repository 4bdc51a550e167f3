//! A pipeline run by several processes: the same results, and what happens when one is lost.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use obvert_live::records::{Name, Reader, logs};

use crate::common::{assert_accounted, counts, done, ended, hosts, one_of, program, rows};
use crate::slow::{prepared, results, wait_for};

fn calls(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("calls.log")).unwrap().lines().map(str::to_owned).collect()
}

/// One of the processes that `hosts` lists.
fn start(folder: &Path, index: usize, more: &[&str]) -> Child {
    one_of(folder, index, &[&["run", "slow.toml", "--out", "out"], more].concat())
}

#[test]
fn processes_and_workers_change_the_speed_and_nothing_else() {
    let alone = prepared();
    done(alone.path(), &["run", "slow.toml", "--out", "out"]);
    let (expected, all) = (results(alone.path()), calls(alone.path()).len());
    for (processes, workers) in [("2", "1"), ("3", "2")] {
        let folder = prepared();
        let ran =
            done(folder.path(), &["run", "slow.toml", "--out", "out", "--processes", processes, "--workers", workers]);
        assert!(results(folder.path()) == expected, "{processes} processes made something else");
        assert_accounted(&ran);
        assert_eq!(counts(&ran, "respond")[4], all as i64, "{}", ran.out);
        assert_eq!(calls(folder.path()).len(), all);
        // Another number of processes finds what those have paid for.
        for again in [&["--processes", "2"][..], &[], &["--processes", "3"]] {
            done(folder.path(), &[&["run", "slow.toml", "--out", "out"], again].concat());
            assert!(results(folder.path()) == expected);
        }
        assert_eq!(calls(folder.path()).len(), all, "calls were paid twice");
        let ran = done(folder.path(), &["memo", "out"]);
        assert!(ran.out.contains(&format!(" {all} ")), "not all calls are shown: {}", ran.out);
    }
}

#[test]
fn what_each_process_makes_is_kept_and_seen() {
    let folder = prepared();
    let command = ["run", "slow.toml", "--out", "out"];
    // Of three there are two left: what the third one kept before is none of theirs.
    done(folder.path(), &[&command[..], &["--processes", "3"]].concat());
    let out = folder.path().join("out");
    let kept = || logs(&out).into_iter().filter(|log| log.stage == "pair").collect::<Vec<_>>();
    assert_eq!(kept().iter().map(|log| log.process).collect::<Vec<_>>(), [0, 1, 2]);
    let again = [&command[..], &["--set", "run.seed=1", "--processes", "2"]].concat();
    let mut child = program(folder.path(), &again).stdout(Stdio::null()).spawn().unwrap();
    while !done(folder.path(), &["top", "out"]).out.starts_with("slow: running") {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it was seen");
    }
    // It goes on when all who are to see it do.
    done(folder.path(), &["steer", "pause", "out"]);
    let tap = program(folder.path(), &["tap", "respond", "out"]).stdout(Stdio::piped()).spawn().unwrap();
    let heed = |process: usize| out.join(format!("state/taps/respond.{process}.jsonl")).exists();
    let asked = (0..400).any(|_| heed(0) && heed(1) || (std::thread::sleep(Duration::from_millis(50)), false).1);
    done(folder.path(), &["steer", "resume", "out"]);
    let tapped = ended(tap).out;
    assert!(child.wait().unwrap().success());
    let lines = |process: usize| rows(&out.join(format!("state/taps/respond.{process}.jsonl"))).len();
    assert!(asked && lines(0) + lines(1) > 0, "{tapped}");
    assert_eq!(tapped.lines().count(), lines(0) + lines(1));
    assert!(!out.join("state/taps/respond.2.jsonl").exists());
    let number = |log: &Name| {
        let mut reader = Reader::new(&out, log);
        reader.follow().unwrap();
        reader.len()
    };
    let numbers: Vec<usize> = kept().iter().map(number).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(|number| *number > 0), "{numbers:?}");
    assert_eq!(numbers.iter().sum::<usize>(), rows(&out.join("pairs/pairs.jsonl")).len());
}

#[test]
fn a_lost_process_ends_the_others_and_the_run_goes_on() {
    let alone = prepared();
    done(alone.path(), &["run", "slow.toml", "--out", "out"]);
    let (expected, all) = (results(alone.path()), calls(alone.path()).len());
    let folder = prepared();
    for (lost, lines) in [(0, 10), (1, 40), (2, 70)] {
        hosts(folder.path(), 3);
        let mut processes: Vec<_> = (0..3).map(|index| start(folder.path(), index, &[])).collect();
        wait_for(&mut processes[lost], &folder.path().join("calls.log"), lines);
        let killed = Instant::now();
        let mut child = processes.remove(lost);
        child.kill().unwrap();
        child.wait().unwrap();
        for process in processes {
            let ran = ended(process);
            assert_eq!(ran.code, 1, "{}", ran.err);
            assert!(ran.err.contains(&format!("process {lost} (127.0.0.1:")), "{}", ran.err);
        }
        assert!(killed.elapsed() < Duration::from_secs(20), "they went on for {:?}", killed.elapsed());
    }
    done(folder.path(), &["run", "slow.toml", "--out", "out", "--processes", "2"]);
    assert!(results(folder.path()) == expected, "the losses changed the results");
    let paid = calls(folder.path());
    let distinct = paid.iter().collect::<HashSet<_>>().len();
    assert_eq!(distinct, all);
    // Four calls are in flight at once in each of three processes.
    assert!(paid.len() - distinct <= 3 * 3 * 4, "{} calls were paid twice", paid.len() - distinct);
}

#[test]
fn processes_that_run_something_else_are_refused() {
    let folder = prepared();
    hosts(folder.path(), 2);
    let first = start(folder.path(), 0, &[]);
    let second = start(folder.path(), 1, &["--set", "next.turns=2"]);
    let (first, second) = (ended(first), ended(second));
    assert_eq!([first.code, second.code], [1, 1], "{}{}", first.err, second.err);
    // The other one may be gone before it has said what it does.
    assert!((first.err.clone() + &second.err).contains("does other work"), "{}{}", first.err, second.err);
}
