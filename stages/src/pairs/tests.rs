//! Scripts of changes, commits and kills against a naive set.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use obvert_api::erased::encode;
use obvert_api::record::id_of;
use obvert_trainer::random::SplitMix64;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::output::row::Row;
use crate::train::tests::pair;

/// Versions of pairs, by root and number.
type Set = BTreeMap<(u64, u64), u64>;

/// A version of a pair.
fn version((root, number): (u64, u64), version: u64) -> Pair {
    let id = id_of(&[&root.to_string(), &number.to_string()]);
    let prompt = vec![obvert_api::record::Message::new("user", format!("version {version}"))];
    Pair { prompt, ..pair(&id, &format!("d{root}")) }
}

fn change(key: (u64, u64), of: u64, diff: isize) -> Change {
    Change { root: key.0, record: encode(&version(key, of)).unwrap().into(), diff }
}

fn open(folder: &Path) -> Pairs {
    try_open(folder, &Findings::default()).unwrap()
}

fn try_open(folder: &Path, findings: &Findings) -> Result<Pairs, String> {
    let told = Told { findings: findings.clone(), stage: "pairs".into() };
    Pairs::open(&folder.join("pairs"), &folder.join("state/pairs"), told).map_err(|e| e.to_string())
}

fn tell(view: &mut Pairs, changes: Vec<Change>) {
    view.update(changes, Settled::All).unwrap();
}

/// Tells a view that has just been opened the whole set.
fn replay(view: &mut Pairs, set: &Set) {
    let mut changes: Vec<Change> = set.iter().map(|(key, of)| change(*key, *of, 1)).collect();
    changes.reverse();
    changes.chunks(3).for_each(|some| tell(view, some.to_vec()));
}

/// The text of the whole file.
fn text(set: &Set) -> String {
    let mut pairs: Vec<(u64, Pair)> = set.iter().map(|(key, of)| (key.0, version(*key, *of))).collect();
    pairs.sort_by(|(root, pair), (other, before)| (root, &pair.id).cmp(&(other, &before.id)));
    pairs.iter().map(|(_, pair)| serde_json::to_string(&Row::from(pair)).unwrap() + "\n").collect()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a reader of the changelog holds at its end; every change is one, and none comes twice.
fn replayed(folder: &Path) -> BTreeMap<String, Value> {
    let (mut held, mut last) = (BTreeMap::new(), 1);
    for mut row in rows(&fs::read_to_string(folder.join("pairs/changes.jsonl")).unwrap()) {
        let line = row.as_object_mut().unwrap();
        let (commit, diff) = (line.remove("commit").unwrap().as_u64().unwrap(), line.remove("diff").unwrap());
        let id = line["id"].as_str().unwrap().to_owned();
        assert!(commit == last || commit == last + 1, "{commit} after {last}");
        last = commit;
        if diff == 1 {
            assert!(held.insert(id, row).is_none(), "a pair came twice");
        } else {
            let gone = held.remove(&id).unwrap();
            let named = ["id", "dialogue", "turn"].map(|name| (name.to_owned(), gone[name].clone()));
            assert_eq!((diff, row), (json!(-1), Value::Object(named.into_iter().collect())));
        }
    }
    held
}

fn expect(folder: &Path, set: &Set) {
    let by_id = rows(&text(set)).into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(replayed(folder), by_id);
}

/// Random edits of a set, and what a view is told of them, in ticks.
fn edit(set: &mut Set, random: &mut SplitMix64) -> Vec<Vec<Change>> {
    let key = (random.below(3) as u64, random.below(5) as u64);
    let of = random.below(3) as u64;
    match set.remove(&key) {
        None => {
            set.insert(key, of);
            vec![vec![change(key, of, 1)]]
        }
        Some(old) if old == of => vec![vec![change(key, old, -1)]],
        Some(old) => {
            set.insert(key, of);
            let (come, gone) = (change(key, of, 1), change(key, old, -1));
            // A new version may come before the old one goes, in the same tick, or after it.
            match random.below(3) {
                0 => vec![vec![come], vec![gone]],
                1 => vec![vec![gone], vec![come]],
                _ => vec![vec![gone, come]],
            }
        }
    }
}

/// The files of a run, and their bytes.
struct Files([PathBuf; 3], [Vec<u8>; 3]);

impl Files {
    fn read(folder: &Path) -> Self {
        let paths = ["pairs/changes.jsonl", "state/pairs.commits", "pairs/pairs.jsonl"].map(|name| folder.join(name));
        let bytes = paths.each_ref().map(|path| fs::read(path).unwrap_or_default());
        Files(paths, bytes)
    }

    /// Leaves the files as a kill does on the way from this state to `after`; whether the commit was made.
    fn kill(&self, after: &Files, random: &mut SplitMix64) -> bool {
        let cut = |at: usize, length: usize| {
            let (before, after) = (&self.1[at], &after.1[at]);
            assert!(after.starts_with(before));
            fs::write(&self.0[at], &after[..before.len() + length.min(after.len() - before.len())]).unwrap();
        };
        let grown = [0, 1].map(|at| after.1[at].len() - self.1[at].len());
        match random.below(3) {
            0 => {
                cut(0, random.below(grown[0] + 1));
                cut(1, random.below(grown[1].max(1)));
            }
            1 => cut(1, random.below(grown[1].max(1))),
            _ => return true,
        }
        fs::write(&self.0[2], &self.1[2]).unwrap();
        grown[1] == 0
    }
}

#[test]
fn whatever_happens_the_changelog_says_what_the_files_hold() {
    for seed in 0..20 {
        let (folder, mut random, mut set) = (tempdir().unwrap(), SplitMix64(seed), Set::new());
        let (mut view, mut committed) = (open(folder.path()), Set::new());
        for _ in 0..25 {
            for _ in 0..random.below(6) {
                edit(&mut set, &mut random).into_iter().for_each(|tick| tell(&mut view, tick));
            }
            let before = Files::read(folder.path());
            view.commit().unwrap();
            view.finish().unwrap();
            let after = Files::read(folder.path());
            assert_eq!(after.1[0].len() > before.1[0].len(), committed != set, "seed {seed}");
            assert_eq!(String::from_utf8(after.1[2].clone()).unwrap(), text(&set));
            expect(folder.path(), &set);
            if random.below(3) > 0 {
                committed = set.clone();
                continue;
            }
            drop(view);
            if before.kill(&after, &mut random) {
                committed = set.clone();
            }
            // Inputs may be others now, or be edited while they are told again.
            (0..random.below(3)).for_each(|_| drop(edit(&mut set, &mut random)));
            view = open(folder.path());
            expect(folder.path(), &committed);
            replay(&mut view, &set);
        }
    }
}

/// The lines of every file that the set is split into, and which files of the file system these are.
fn split(folder: &Path) -> (Vec<String>, BTreeMap<String, u64>) {
    let (mut lines, mut files) = (Vec::new(), BTreeMap::new());
    for entry in fs::read_dir(folder.join("pairs")).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("pairs") && name.ends_with(".jsonl") {
            lines.extend(fs::read_to_string(entry.path()).unwrap().lines().map(str::to_owned));
            files.insert(name, entry.metadata().unwrap().ino());
        }
    }
    lines.sort();
    (lines, files)
}

#[test]
fn a_large_set_is_split_by_dialogues_and_only_files_that_changed_are_written() {
    let folder = tempdir().unwrap();
    let findings = Findings::default();
    let mut view = try_open(folder.path(), &findings).unwrap();
    view.bounds = Bounds { whole: 8, shard: 4 };
    let (mut set, mut before) = (Set::new(), BTreeMap::new());
    // Rows grow to 40, change in one dialogue, and are withdrawn again.
    let grow = (0..10).map(|root| ((0..4).map(|number| ((root, number), Some(0))).collect::<Vec<_>>(), root == 5));
    let edit = [(vec![((3, 0), Some(1))], true), (vec![((3, 0), None)], true)];
    let shrink = (1..10).map(|root| ((0..4).map(|number| ((root, number), None)).collect::<Vec<_>>(), false));
    for (step, (edits, in_place)) in grow.chain(edit).chain(shrink).enumerate() {
        for (key, of) in edits {
            let old = set.remove(&key).map(|old| change(key, old, -1));
            let new = of.map(|of| change(key, of, 1));
            of.map(|of| set.insert(key, of));
            tell(&mut view, old.into_iter().chain(new).collect());
        }
        view.commit().unwrap();
        view.finish().unwrap();
        let (lines, files) = split(folder.path());
        let mut expected: Vec<String> = text(&set).lines().map(str::to_owned).collect();
        expected.sort();
        assert_eq!((lines, files.len()), (expected, view.bounds.files(set.len()) as usize), "step {step}");
        assert_eq!(findings.lock().pairs["pairs"].summary.pairs, set.len() as u64);
        let same = files.iter().filter(|(name, file)| before.get(*name) == Some(*file)).count();
        assert!(!in_place || same == files.len() - 1, "step {step}: {same} of {} files stayed", files.len());
        before = files;
    }
    assert_eq!(before.into_keys().collect::<Vec<_>>(), ["pairs.jsonl"]);
}

#[test]
fn a_commit_of_nothing_replaces_files_that_are_older_and_adds_no_line() {
    let (folder, set) = (tempdir().unwrap(), Set::from([((0, 1), 1), ((1, 1), 2)]));
    let run = || {
        let findings = Findings::default();
        let mut view = try_open(folder.path(), &findings).unwrap();
        replay(&mut view, &set);
        view.commit().unwrap();
        view.finish().unwrap();
        let found = &findings.lock().pairs["pairs"];
        assert!(found.summary.pairs == 2 && found.examples.len() == 1);
        Files::read(folder.path())
    };
    let whole = run();
    fs::write(&whole.0[2], "older").unwrap();
    assert_eq!(run().1, whole.1);
}

#[test]
fn a_reader_sees_whole_sets_only() {
    let (folder, allowed, done) = (tempdir().unwrap(), Mutex::new(HashSet::new()), AtomicBool::new(false));
    let path = folder.path().join("pairs/pairs.jsonl");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut sets = HashSet::new();
            while !done.load(Relaxed) {
                let Ok(found) = fs::read_to_string(&path) else { continue };
                assert!(allowed.lock().unwrap().contains(&found), "half a file, or of no commit");
                sets.insert(found);
            }
            sets.len()
        });
        let (mut view, mut set, mut random) = (open(folder.path()), Set::new(), SplitMix64(5));
        for _ in 0..60 {
            edit(&mut set, &mut random).into_iter().for_each(|tick| tell(&mut view, tick));
            allowed.lock().unwrap().insert(text(&set));
            view.commit().unwrap();
            view.poll().unwrap();
            edit(&mut set, &mut random).into_iter().for_each(|tick| tell(&mut view, tick));
            view.poll().unwrap();
        }
        allowed.lock().unwrap().insert(text(&set));
        view.commit().unwrap();
        view.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text(&set));
        done.store(true, Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
}

/// A folder with one commit of two pairs.
fn committed() -> (TempDir, Set) {
    let (folder, set) = (tempdir().unwrap(), Set::from([((0, 1), 1), ((1, 1), 2)]));
    let mut view = open(folder.path());
    replay(&mut view, &set);
    view.commit().unwrap();
    view.finish().unwrap();
    (folder, set)
}

#[test]
fn a_changelog_that_does_not_hold_what_was_committed_is_refused() {
    let damage = [
        ("pairs/changes.jsonl", Some(""), "pairs/changes.jsonl: 0 bytes instead of "),
        ("state/pairs.commits", None, "state/pairs.commits is not there"),
        ("state/pairs.commits", Some(""), "state/pairs.commits:1: "),
        ("state/pairs.commits", Some("d9"), "state/pairs.commits:2: it was changed"),
    ];
    for (file, other, cause) in damage {
        let (folder, _) = committed();
        let path = folder.path().join(file);
        match other {
            None => fs::remove_file(path).unwrap(),
            Some("") => fs::write(path, "").unwrap(),
            Some(other) => fs::write(&path, fs::read_to_string(&path).unwrap().replacen("d0", other, 1)).unwrap(),
        }
        let error = try_open(folder.path(), &Findings::default()).err().unwrap();
        assert!(error.contains(cause) && error.contains("delete changes.jsonl and the list"), "{error}");
    }
}

#[test]
fn a_changelog_that_was_deleted_begins_anew() {
    let (folder, set) = committed();
    fs::remove_dir_all(folder.path().join("pairs")).unwrap();
    let mut view = open(folder.path());
    replay(&mut view, &set);
    view.commit().unwrap();
    view.finish().unwrap();
    let changes = rows(&fs::read_to_string(folder.path().join("pairs/changes.jsonl")).unwrap());
    assert!(changes.len() == 2 && changes.iter().all(|row| row["commit"] == 2 && row["diff"] == 1), "{changes:?}");
    assert_eq!(fs::read_to_string(folder.path().join("pairs/pairs.jsonl")).unwrap(), text(&set));
}

#[test]
fn a_long_list_of_commits_is_shortened() {
    let (folder, kept) = committed();
    let mut view = open(folder.path());
    replay(&mut view, &kept);
    let many: Vec<(u64, u64)> = (0..8_000).map(|number| (7, number)).collect();
    for diff in [1, -1] {
        tell(&mut view, many.iter().map(|key| change(*key, 0, diff)).collect());
        view.commit().unwrap();
    }
    drop(view);
    let before = Files::read(folder.path());
    let mut view = open(folder.path());
    let after = Files::read(folder.path());
    assert!(before.1[1].len() > 1 << 20 && after.1[1].len() < 1000 && before.1[0] == after.1[0]);
    replay(&mut view, &kept);
    tell(&mut view, vec![change((0, 1), 1, -1)]);
    view.commit().unwrap();
    drop(view);
    let mut view = open(folder.path());
    view.commit().unwrap();
    assert!(replayed(folder.path()).is_empty());
}

#[test]
fn a_file_that_cannot_be_replaced_is_named() {
    let folder = tempdir().unwrap();
    fs::create_dir_all(folder.path().join("pairs/pairs.jsonl/x")).unwrap();
    let mut view = open(folder.path());
    tell(&mut view, vec![change((0, 0), 0, 1)]);
    view.commit().unwrap();
    let error = view.finish().unwrap_err();
    assert!(error.contains("pairs/pairs.jsonl: "), "{error}");
}

/// `cargo test --release -p obvert-stages -- --ignored --nocapture a_large_set`
#[test]
#[ignore = "writes gigabytes; prints figures"]
fn a_large_set() {
    let (folder, begin) = (tempdir().unwrap(), std::time::Instant::now());
    let mut view = open(folder.path());
    let told = |number: u64, of: u64, diff: isize| {
        let pair = version((number / 40, number), of);
        let record = encode(&Pair { chosen: varied(number, 1500), rejected: varied(number + 1, 1500), ..pair });
        Change { root: number / 40, record: record.unwrap().into(), diff }
    };
    let memory = resident();
    for tick in 0..4_000 {
        tell(&mut view, (0..100).map(|n| told(tick * 100 + n, 0, 1)).collect());
    }
    println!("400,000 pairs told: {:.1?}", begin.elapsed());
    let mut timed = |name: &str, work: &mut dyn FnMut(&mut Pairs)| {
        let begin = std::time::Instant::now();
        work(&mut view);
        println!("{name}: {:.1?}", begin.elapsed());
    };
    timed("first commit", &mut |view| view.commit().unwrap());
    println!("{:.0} bytes a pair are held", (resident() - memory) * 1024.0 / 400_000.0);
    timed("poll that begins to replace the files", &mut |view| view.poll().map(drop).unwrap());
    for number in [100_000, 200_000, 300_000] {
        timed("4 pairs edited", &mut |view| {
            tell(view, (0..4).flat_map(|n| [told(number + n, 0, -1), told(number + n, 1, 1)]).collect());
        });
        timed("their commit, while the files are replaced", &mut |view| view.commit().unwrap());
    }
    timed("the rest of the replacement of all files", &mut |view| view.replacing.wait().unwrap());
    timed("the replacement of the files of these 12 pairs", &mut |view| view.finish().unwrap());
    timed("4 pairs edited and committed", &mut |view| {
        tell(view, (0..4).flat_map(|n| [told(n, 0, -1), told(n, 1, 1)]).collect());
        view.commit().unwrap();
    });
    timed("poll that begins to replace their file", &mut |view| view.poll().map(drop).unwrap());
    timed("its replacement", &mut |view| view.finish().unwrap());
    drop(view);
    let begin = std::time::Instant::now();
    drop(open(folder.path()));
    println!("opened again: {:.1?}", begin.elapsed());
    let sizes = |name: &str| {
        let entries = fs::read_dir(folder.path().join(name)).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| entry.metadata().unwrap().len()).sum::<u64>() >> 20
    };
    println!("pairs/: {} MB, of LLaMA-Factory: {} MB", sizes("pairs"), sizes("pairs/llama-factory/rpo-00064"));
    println!("state/: {} MB", sizes("state"));
}

/// Words that do not repeat, as text does not.
fn varied(seed: u64, length: usize) -> String {
    let mut random = SplitMix64(seed);
    let mut text: String = (0..length / 6).map(|_| format!("{:05} ", random.below(100_000))).collect();
    text.truncate(length);
    text
}

/// Kilobytes of memory that the process has.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}
