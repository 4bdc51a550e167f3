//! What a stage makes just now, as lines of JSON, for as long as somebody asks for it.
//!
//! Whoever wants to see keeps a file `state/taps/STAGE.asked` young; the run writes to `state/taps/STAGE.jsonl`. Both go when nobody asks.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
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
/// Bytes that are written for one who asks, at most: a stage may be faster than anybody reads.
const MOST: u64 = 256 << 20;

fn paths(out: &Path, stage: &str) -> [PathBuf; 2] {
    let folder = out.join("state").join("taps");
    [folder.join(format!("{stage}.asked")), folder.join(format!("{stage}.jsonl"))]
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
    pub(crate) fn of(out: &Path, stage: &str, to_json: ToJson) -> Self {
        let [asked, lines] = paths(out, stage);
        Tap { asked, lines, to_json, looks: AtomicBool::new(false), file: Mutex::new(None) }
    }

    /// Looks whether it is asked for.
    pub(crate) fn heed(&self) {
        let age = self.asked.metadata().and_then(|known| known.modified()).map(|at| at.elapsed().unwrap_or_default());
        let asked = age.is_ok_and(|age| age < YOUNG);
        if asked == self.looks.load(Relaxed) {
            return;
        }
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) =
            if asked { File::create(&self.lines).ok().map(|file| (file, 0)) } else { None };
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
            // Who looks is told by the end of what there is to see.
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
    let [asked, lines] = paths(out, stage);
    fs::create_dir_all(out.join("state").join("taps"))?;
    let _ = fs::remove_file(&lines);
    let shown = follow(out, &asked, &lines, &mut show);
    let _ = (fs::remove_file(&asked), fs::remove_file(&lines));
    shown
}

fn follow(out: &Path, asked: &Path, lines: &Path, show: &mut impl FnMut(&str) -> bool) -> io::Result<()> {
    let (mut reader, mut line) = (None, String::new());
    loop {
        fs::write(asked, "")?;
        let over = !Board::read(out)?.state.goes_on();
        reader = reader.or_else(|| File::open(lines).ok().map(BufReader::new));
        // A line that is being written has no end yet.
        while let Some(read) = reader.as_mut().map(|reader| reader.read_line(&mut line)) {
            if read? == 0 || !line.ends_with('\n') {
                break;
            }
            if !show(line.trim_end()) {
                return Ok(());
            }
            line.clear();
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(EVERY);
    }
}
