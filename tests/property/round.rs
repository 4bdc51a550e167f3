//! One pipeline, its inputs edited again and again; runs to the end, runs that are paused, drained or killed, runs that follow the edits.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use obvert_engine::registry::own_library;
use obvert_live::{Ask, Board, State, ask};
use obvert_trainer::random::SplitMix64;
use serde_json::Value;
use tempfile::TempDir;

use crate::naive::{Left, Replies, evaluate, sorted};
use crate::pipeline::{Does, Pipeline, SOURCES};
use crate::script::{Lines, Script};

/// Calls of a run that is to be told something take longer than it takes to hear of it.
const SLOW: [&str; 2] = ["--set", "model.m.latency_ms=700"];

/// Calls that are in flight at most in a run that is killed.
const IN_FLIGHT: usize = 4;

/// What has become of runs that were told something.
#[derive(Default)]
pub struct Held {
    pub paused: usize,
    pub drained: usize,
}

struct Round {
    held: Held,
    seed: u64,
    folder: TempDir,
    pipeline: Pipeline,
    script: Script,
    replies: Replies,
    kills: usize,
}

/// How many of its runs were held in truth: one that is told too late ends by itself.
///
/// # Panics
/// With the seed, where something differs.
pub fn play(seed: u64) -> Held {
    let mut random = SplitMix64(seed);
    let pipeline = Pipeline::random(&mut random);
    let repeats = !pipeline.stages.iter().any(|stage| stage.does == Does::Collect);
    let folder = tempfile::tempdir().unwrap();
    let library = own_library("obvert_toys").unwrap();
    let text = pipeline.toml(library.to_str().unwrap(), [1, 2, 7, 4096][random.below(4)]);
    fs::write(folder.path().join("toys.toml"), text).unwrap();
    let script = Script::new(random.next_bits(), repeats, seed.is_multiple_of(2));
    let mut round = Round { held: Held::default(), seed, folder, pipeline, script, replies: Replies::new(), kills: 0 };
    (0..SOURCES.len()).for_each(|source| round.write(source));
    for _ in 0..5 {
        round.step();
    }
    round.finish();
    round.check_calls();
    std::mem::take(&mut round.held)
}

impl Round {
    fn below(&mut self, count: usize) -> usize {
        self.script.random.below(count)
    }

    fn pause(&mut self, most_ms: usize) {
        let pause = self.below(most_ms);
        std::thread::sleep(Duration::from_millis(pause as u64));
    }

    /// Replaces a source's file at once, as editors do.
    fn write(&self, source: usize) {
        let path = self.folder.path().join(format!("{}.jsonl", SOURCES[source]));
        fs::write(path.with_extension("new"), self.script.lines[source].join("\n")).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn edit(&mut self) {
        let source = self.script.edit();
        self.write(source);
    }

    fn start(&mut self, more: &[&str]) -> Child {
        let workers = (1 + self.below(3)).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_obvert"));
        command.args(["run", "toys.toml", "--out", "out", "--workers", &workers]).args(more);
        command.current_dir(self.folder.path()).env_remove("OBVERT_LOG");
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn step(&mut self) {
        (0..1 + self.below(3)).for_each(|_| self.edit());
        match self.below(6) {
            0 => self.finish(),
            1 => self.paused(),
            2 => self.drained(),
            3 => {
                let child = self.start(&[]);
                self.pause(400);
                self.kill(child);
            }
            _ => self.follow(),
        }
    }

    /// A run to its end.
    fn finish(&mut self) {
        let processes = if self.below(4) == 0 { &["--processes", "2"][..] } else { &[] };
        let child = self.start(processes);
        self.whole(child);
    }

    /// What a run leaves at its end is what its inputs make.
    fn whole(&mut self, child: Child) {
        let (code, errors) = self.ended(child);
        assert_eq!(code, Some(0), "seed {}: {errors}", self.seed);
        let lines = self.script.lines.clone();
        self.compare(&[lines]);
    }

    /// A run to its end that is told to pause, and to go on.
    fn paused(&mut self) {
        let mut child = self.start(&SLOW);
        self.pause(400);
        self.ask(Ask::Pause);
        let goes_on = |child: &mut Child| child.try_wait().unwrap().is_none();
        while goes_on(&mut child) && self.state() != Some(State::Paused) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if goes_on(&mut child) {
            self.holds();
        }
        self.ask(Ask::Resume);
        self.whole(child);
    }

    /// A run that is paused begins no call.
    fn holds(&mut self) {
        // What it was told came to all of its parts.
        std::thread::sleep(Duration::from_millis(200));
        let before = self.calls().lines().count();
        self.pause(600);
        assert_eq!(
            self.calls().lines().count(),
            before,
            "seed {}: a call was begun by a run that is paused",
            self.seed
        );
        self.held.paused += 1;
    }

    fn state(&self) -> Option<State> {
        Board::read(&self.folder.path().join("out")).ok().map(|board| board.state)
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls.log")).unwrap_or_default()
    }

    /// A run that is told to drain: the next one has the rest to do, and nothing to pay again.
    fn drained(&mut self) {
        let child = self.start(&SLOW);
        self.pause(400);
        self.ask(Ask::Drain);
        let (code, errors) = self.ended(child);
        assert_eq!(code, Some(0), "seed {}: {errors}", self.seed);
        self.held.drained += usize::from(self.state() == Some(State::Drained));
    }

    /// One that has not begun forgets it.
    fn ask(&self, what: Ask) {
        ask(&self.folder.path().join("out"), what).unwrap();
    }

    /// A run that follows what is edited while it goes on, until it is killed or told to stop.
    fn follow(&mut self) {
        let child = self.start(&["--watch"]);
        let mut history = vec![self.script.lines.clone()];
        for _ in 0..self.below(3) {
            self.pause(300);
            self.edit();
            history.push(self.script.lines.clone());
        }
        if self.below(2) == 0 {
            self.pause(400);
            return self.kill(child);
        }
        std::thread::sleep(Duration::from_millis(700));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let (code, errors) = self.ended(child);
        match code {
            // Whole: of the inputs as they were at some time.
            Some(0) => self.compare(&history),
            // It was told before it listened.
            None => self.kills += 1,
            _ => assert!(errors.contains("interrupted"), "seed {}: {errors}", self.seed),
        }
    }

    fn kill(&mut self, mut child: Child) {
        self.kills += 1;
        // Fails where it has come to its end.
        let _ = child.kill();
        let (code, errors) = self.ended(child);
        assert!(code.is_none_or(|code| code == 0), "seed {}: it ended by itself: {errors}", self.seed);
    }

    fn ended(&self, mut child: Child) -> (Option<i32>, String) {
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "seed {}: the run does not end", self.seed);
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn compare(&mut self, history: &[Lines]) {
        let left = self.left();
        self.learn(&left);
        let expected: Vec<_> = history.iter().map(|lines| evaluate(&self.pipeline, lines, &self.replies)).collect();
        let (seed, pipeline, lines) = (self.seed, &self.pipeline, &history[history.len() - 1]);
        let last = &expected[expected.len() - 1];
        assert!(
            expected.contains(&left),
            "seed {seed}: {pipeline:#?} makes of {lines:#?}\n{left:#?}\ninstead of\n{last:#?}"
        );
    }

    fn left(&self) -> Left {
        let out = self.folder.path().join("out");
        let records = self.pipeline.ends().into_iter().map(|index| {
            let found = rows(&out.join(format!("out{index}.jsonl")));
            (index, sorted(found.iter().map(Value::to_string)))
        });
        let reason = |row: &Value| {
            let reason = row["reason"].as_str().unwrap();
            let known = ["not JSON", "no rule"].into_iter().find(|known| reason.contains(known));
            (row["stage"].as_str().unwrap().to_owned(), known.unwrap_or(reason).to_owned())
        };
        let mut rejected: Vec<_> = rows(&out.join("rejected.jsonl")).iter().map(reason).collect();
        rejected.sort();
        Left { records: records.collect(), rejected }
    }

    /// Takes in what the model has said; it was asked everything once only.
    fn learn(&mut self, left: &Left) {
        for record in left.records.values().flatten() {
            let record: Value = serde_json::from_str(record).unwrap();
            for said in record["said"].as_array().unwrap() {
                let Some((question, answer)) = said.as_str().unwrap().split_once("? ") else { continue };
                let known = self.replies.entry(question.to_owned()).or_insert_with(|| answer.to_owned());
                assert_eq!(known, answer, "seed {}: two answers to {question}", self.seed);
            }
        }
    }

    /// A call is paid twice only if it was in flight at a kill.
    fn check_calls(&self) {
        // A call that fails is made again by the next run.
        if !self.script.knows_all {
            return;
        }
        let log = self.calls();
        let distinct = log.lines().collect::<HashSet<_>>().len();
        let twice = log.lines().count() - distinct;
        assert!(
            twice <= self.kills * IN_FLIGHT,
            "seed {}: {twice} calls paid twice in {} kills",
            self.seed,
            self.kills
        );
    }
}

/// What failed can be looked at.
impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("see {}", self.folder.path().display());
        }
    }
}

/// The lines of a file that may not be there yet.
fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
