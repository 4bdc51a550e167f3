//! `metrics.jsonl`: one line per logged step, appended while a trainer runs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Error;

/// The log, open for appending.
///
/// Every line goes to the system in one write as soon as it is logged, so that it survives the process. A line
/// that a crash tore in two is dropped when the file is opened again.
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the log, creating it and its folder if need be.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(Error::io(path))?;
        let log = MetricsFile { path: path.to_path_buf(), file };
        let content = fs::read(path).map_err(Error::io(path))?;
        let whole = content.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        if whole < content.len() {
            log.cut(whole)?;
        }
        Ok(log)
    }

    /// Logs the values of one step. A value that is not finite is written as null; one called `step` gives way.
    pub fn append(&mut self, step: u64, values: &BTreeMap<String, f64>) -> Result<(), Error> {
        let mut row = Map::from_iter([("step".to_string(), Value::from(step))]);
        row.extend(values.iter().filter(|(name, _)| *name != "step").map(|(name, v)| (name.clone(), Value::from(*v))));
        let line = format!("{}\n", Value::Object(row));
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }

    /// Drops everything from the first line whose step is greater than `step`: what a trainer that resumes from
    /// its checkpoint at `step` is about to log again.
    pub fn truncate(&mut self, step: u64) -> Result<(), Error> {
        let text = fs::read_to_string(&self.path).map_err(Error::io(&self.path))?;
        let mut kept = 0;
        for (i, line) in text.split_inclusive('\n').enumerate() {
            if step_of(&parse(&self.path, i, line)?) > step as f64 {
                return self.cut(kept);
            }
            kept += line.len();
        }
        Ok(())
    }

    fn cut(&self, bytes: usize) -> Result<(), Error> {
        self.file.set_len(bytes as u64).and_then(|()| self.file.sync_all()).map_err(Error::io(&self.path))
    }
}

/// Reads a log; every map holds `step`, and null is NaN. A torn last line is left out.
pub fn read(path: &Path) -> Result<Vec<BTreeMap<String, f64>>, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.enumerate().map(|(i, line)| parse(path, i, line)).collect()
}

/// The line with index `i` from 0.
fn parse(path: &Path, i: usize, line: &str) -> Result<BTreeMap<String, f64>, Error> {
    let wrong = |cause: String| Error::Line { path: path.to_path_buf(), line: i + 1, cause };
    let row: BTreeMap<String, Option<f64>> = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
    if !matches!(row.get("step"), Some(Some(_))) {
        return Err(wrong("no step".to_string()));
    }
    Ok(row.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

fn step_of(row: &BTreeMap<String, f64>) -> f64 {
    row.get("step").copied().unwrap_or(f64::NAN)
}
