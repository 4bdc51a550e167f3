//! What a stage makes just now, as lines of JSON, for as long as somebody asks for it.
//!
//! Whoever wants to see keeps a file `state/taps/STAGE.asked` young; each process of the run writes to `state/taps/STAGE.NUMBER.jsonl`, and takes
//! both away when nobody asks any more while it goes on; else the next run does.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use obvert_engine::{Observer, ToJson};

use crate::board::Board;

/// A request that has not been repeated for so long is none.
const YOUNG: Duration = Duration::from_secs(5);
/// Between two looks at what has come, and two requests.
const EVERY: Duration = Duration::from_millis(200);
/// Bytes that are written for those who ask, at most: a stage may be faster than anybody reads. What comes later is not shown.
const MOST: u64 = 256 << 20;

fn asked(out: &Path, stage: &str) -> PathBuf {
    folder(out).join(format!("{stage}.asked"))
}

fn lines(out: &Path, stage: &str, process: usize) -> PathBuf {
    folder(out).join(format!("{stage}.{process}.jsonl"))
}

fn folder(out: &Path) -> PathBuf {
    out.join("state").join("taps")
}

/// Takes away the lines of an earlier run.
pub(crate) fn clear(out: &Path) {
    let files = fs::read_dir(folder(out)).into_iter().flatten().flatten().map(|file| file.path());
    // What is asked for is asked for anew, often; lines that cannot be taken away are written over.
    files
        .filter(|file| file.extension().is_some_and(|end| end == "jsonl"))
        .for_each(|file| drop(fs::remove_file(file)));
}

/// The run's side: a stage that may be asked for.
pub(crate) struct Tap {
    asked: PathBuf,
    lines: PathBuf,
    to_json: ToJson,
    looks: AtomicBool,
    file: Mutex<Option<(File, u64)>>,
}

impl Tap {
    pub(crate) fn of(out: &Path, stage: &str, process: usize, to_json: ToJson) -> Self {
        let (asked, lines) = (asked(out, stage), lines(out, stage, process));
        Tap { asked, lines, to_json, looks: AtomicBool::new(false), file: Mutex::new(None) }
    }

    /// Looks whether it is asked for.
    pub(crate) fn heed(&self) {
        let age = self.asked.metadata().and_then(|known| known.modified()).map(|at| at.elapsed().unwrap_or_default());
        let asked = age.is_ok_and(|age| age < YOUNG);
        if asked == self.looks.load(Relaxed) {
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = if asked { File::create(&self.lines).ok().map(|file| (file, 0)) } else { None };
        if !asked {
            // Nobody reads them any more; who did may have taken them away.
            let _ = (fs::remove_file(&self.asked), fs::remove_file(&self.lines));
        }
        self.looks.store(asked, Relaxed);
    }

    /// `{"diff": 1, "record": …}`, as in `changes.jsonl`.
    fn line(&self, record: &[u8], copies: isize) -> Vec<u8> {
        let json = (self.to_json)(record).unwrap_or_else(|cause| serde_json::json!(cause).to_string().into_bytes());
        [format!("{{\"diff\": {copies}, \"record\": ").as_bytes(), &json, b"}\n"].concat()
    }
}

impl Observer for Tap {
    fn looks(&self) -> bool {
        self.looks.load(Relaxed)
    }

    fn see(&self, record: &[u8], copies: isize) {
        let line = self.line(record, copies);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, written)) = file.as_mut().filter(|(_, written)| *written < MOST) {
            // What cannot be written is not seen; the run does not depend on it.
            let _ = file.write_all(&line);
            *written += line.len() as u64;
        }
    }
}

/// The other side: hands each line of what a stage makes to `show`, until it says that it has seen enough or the run is over.
///
/// # Errors
/// No run has been there; it has no such stage; what the file system reports.
pub fn tap(out: &Path, stage: &str, mut show: impl FnMut(&str) -> bool) -> io::Result<()> {
    let board = Board::read(out)?;
    if !board.stages.iter().any(|known| known.count.name == stage) {
        let names: Vec<&str> = board.stages.iter().map(|stage| stage.count.name.as_str()).collect();
        let missing = format!("the run has no stage `{stage}`: it has {}", names.join(", "));
        return Err(io::Error::new(io::ErrorKind::NotFound, missing));
    }
    fs::create_dir_all(folder(out))?;
    // Others may look at the same stage: what they have seen is not for this one.
    let mut seen: Vec<Seen> =
        (0..board.processes.max(1)).map(|process| Seen::from_now(lines(out, stage, process))).collect();
    loop {
        fs::write(asked(out, stage), "")?;
        let over = !Board::read(out)?.state.goes_on();
        for seen in &mut seen {
            if !seen.more()?.iter().all(|line| show(line)) {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(EVERY);
    }
}

/// What has been read of a process's lines.
struct Seen {
    lines: PathBuf,
    at: u64,
    /// The beginning of a line that has no end yet.
    open: Vec<u8>,
}

impl Seen {
    fn from_now(lines: PathBuf) -> Self {
        Seen { at: lines.metadata().map_or(0, |known| known.len()), lines, open: Vec::new() }
    }

    /// The whole lines that have come. Where the run has begun anew, so does the file.
    fn more(&mut self) -> io::Result<Vec<String>> {
        let Ok(mut file) = File::open(&self.lines) else {
            (self.at, self.open) = Default::default();
            return Ok(Vec::new());
        };
        if file.metadata()?.len() < self.at {
            (self.at, self.open) = Default::default();
        }
        file.seek(SeekFrom::Start(self.at))?;
        self.at += file.read_to_end(&mut self.open)? as u64;
        let whole = self.open.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.open.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect())
    }
}
