//! The board: all figures of a run at one moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::{ModelCount, Progress, StageCount};
use obvert_stages::Found;
use serde::{Deserialize, Serialize};

/// A run that has not written its board for so long is not there any more.
const SILENT: Duration = Duration::from_secs(10);
/// Rows of a log in which the newest value of a metric is looked for.
const RECENT: usize = 50;

/// Figures of a run. Its folder has them in `state/board.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Board {
    /// The pipeline's name.
    pub name: String,
    /// When the run began: Unix time, in seconds.
    pub began: f64,
    /// When this was written, likewise.
    pub written: f64,
    /// What the run does.
    pub state: State,
    /// Why it failed.
    pub cause: Option<String>,
    /// Processes that share the run.
    pub processes: usize,
    /// Worker threads of all of them.
    pub workers: usize,
    /// In the order of the file.
    pub stages: Vec<Stage>,
    /// In the order of their names.
    pub models: Vec<ModelCount>,
    /// By the stage that trains.
    pub trainings: BTreeMap<String, Training>,
    /// Files of JSON lines that people add to, where the pipeline reads such: pairs that are not to be used.
    pub vetoes: Option<PathBuf>,
    /// Verdicts in the place of the judge's.
    pub corrections: Option<PathBuf>,
}

/// What a run does, or how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It goes on.
    #[default]
    Running,
    /// It lets nothing in and begins no call.
    Paused,
    /// It finishes what is under way.
    Draining,
    /// It came to its end.
    Done,
    /// It was told to drain and has done so.
    Drained,
    /// It was stopped.
    Interrupted,
    /// It could not go on.
    Failed,
    /// It ended without a word: killed, or its machine lost.
    Lost,
}

impl State {
    /// What people call it, and the board.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Draining => "draining",
            State::Done => "done",
            State::Drained => "drained",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
            State::Lost => "lost",
        }
    }

    /// Whether more is to come.
    pub fn goes_on(self) -> bool {
        matches!(self, State::Running | State::Paused | State::Draining)
    }
}

/// A stage and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What it has done.
    #[serde(flatten)]
    pub count: StageCount,
    /// Stages whose records it reads.
    pub from: Vec<String>,
    /// Stages whose records it looks up.
    pub with: Vec<String>,
}

impl Stage {
    /// Items that it has taken in and is not done with.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.count.inputs - self.count.done - self.count.rejected).unwrap_or_default()
    }
}

/// A training, as far as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// What became of the pairs.
    #[serde(flatten)]
    pub of: obvert_stages::Training,
    /// The folder of `metrics.jsonl`, in the run's.
    pub folder: PathBuf,
    /// The newest value of each metric.
    pub last: BTreeMap<String, f64>,
}

/// Where the board of a run is.
fn path(out: &Path) -> PathBuf {
    out.join("state").join("board.json")
}

/// Unix time, in seconds.
pub(crate) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}

impl Board {
    /// The figures of a plan at this moment, which so many processes share; the rest is to be filled in. Without progress it has not
    /// begun.
    pub(crate) fn of(plan: &Plan, processes: usize, progress: Option<&Progress>, found: &Found) -> Self {
        let none = |stage: &StagePlan| StageCount {
            name: stage.name.clone(),
            kind: stage.kind.clone(),
            ..StageCount::default()
        };
        let counts = progress.map_or_else(|| plan.stages.iter().map(none).collect(), Progress::stages);
        let stages = plan.stages.iter().zip(counts).map(|(stage, count)| place(plan, stage, count));
        Board {
            name: plan.name.clone(),
            processes,
            workers: plan.run.workers * processes,
            written: now(),
            stages: stages.collect(),
            models: progress.map(Progress::models).unwrap_or_default(),
            trainings: trainings(plan, found),
            vetoes: lines_of(plan, "vetoes"),
            corrections: lines_of(plan, "corrections"),
            ..Board::default()
        }
    }

    /// The board of the run in a folder; one that goes on and has been silent for long is lost.
    ///
    /// # Errors
    /// No run has been there, or its board cannot be read.
    pub fn read(out: &Path) -> io::Result<Self> {
        let mut board: Board = serde_json::from_slice(&fs::read(path(out))?)?;
        if board.state.goes_on() && now() - board.written > SILENT.as_secs_f64() {
            board.state = State::Lost;
        }
        Ok(board)
    }

    /// Writes it, as a whole. It need not survive a power cut.
    pub(crate) fn write(&self, out: &Path) -> io::Result<()> {
        let (path, text) = (path(out), serde_json::to_vec(self)?);
        let temporary = path.with_extension("json.tmp");
        fs::write(&temporary, text)?;
        fs::rename(temporary, path)
    }

    /// Seconds from the beginning of the run to this board.
    pub fn elapsed_s(&self) -> f64 {
        (self.written - self.began).max(0.0)
    }
}

fn place(plan: &Plan, stage: &StagePlan, count: StageCount) -> Stage {
    let names = |nodes: &[usize]| nodes.iter().filter_map(|node| Some(plan.stages.get(*node)?.name.clone())).collect();
    Stage { count, from: names(&stage.from), with: names(&stage.with) }
}

/// The file of JSON lines that the first source of a type reads.
fn lines_of(plan: &Plan, kind: &str) -> Option<PathBuf> {
    let source = plan.stages.iter().find(|stage| stage.kind == kind)?;
    let path = PathBuf::from(source.settings.get("path")?.as_str()?);
    path.extension().is_some_and(|end| end == "jsonl").then_some(path)
}

fn trainings(plan: &Plan, found: &Found) -> BTreeMap<String, Training> {
    let training = |(stage, of): (&String, &obvert_stages::Training)| {
        let mut last = BTreeMap::new();
        // Measurements of held-out pairs are rows of their own, between those of updates.
        for row in found.metrics.get(stage).into_iter().flat_map(|rows| rows.iter().rev().take(RECENT)) {
            for (name, value) in row {
                last.entry(name.clone()).or_insert(*value);
            }
        }
        (stage.clone(), Training { of: of.clone(), folder: plan.folder(stage), last })
    };
    found.trainings.iter().map(training).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_been_silent_for_long_is_lost() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("state")).unwrap();
        assert!(Board::read(out.path()).is_err());
        let read = |state, age| {
            Board { state, written: now() - age, ..Board::default() }.write(out.path()).unwrap();
            Board::read(out.path()).unwrap().state
        };
        assert_eq!(read(State::Paused, 1.0), State::Paused);
        assert_eq!([read(State::Running, 60.0), read(State::Done, 60.0)], [State::Lost, State::Done]);
    }
}
