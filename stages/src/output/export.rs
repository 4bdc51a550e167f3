//! Pairs for other trainers: a folder with the rows that a tool reads, a configuration that trains on them, and a page that says
//! how.
//!
//! Tools skip rows that break their rules with a warning, stop at them, or train on something else than they say. So each row is
//! checked here by the tool's own rules, and one that breaks a rule is set aside with it. A tool is a file below: its rules, how it
//! wants a row, and what else it needs.

mod axolotl;
mod given;
mod llama_factory;
mod openrlhf;
mod row;
#[cfg(feature = "parquet")]
mod table;
mod trl;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Error, atomic, jsonl, template};
use given::Given;
use row::Row;

/// Rows that break a rule, where there are any.
const REJECTED: &str = "rejected.jsonl";

/// A trainer that pairs can be exported to.
#[derive(Debug)]
pub struct Tool {
    /// As arguments name it.
    pub name: &'static str,
    /// The command that trains, in the exported folder.
    pub command: &'static str,
    /// The file of rows.
    data: &'static str,
    /// The rule that a row breaks, if it breaks one.
    check: fn(&Row) -> Result<(), String>,
    /// A row as the tool reads it.
    shown: fn(&Row) -> Value,
    /// The other files: their names and templates.
    files: &'static [(&'static str, &'static str)],
}

/// All of them.
pub static TOOLS: [&Tool; 4] = [&trl::TOOL, &llama_factory::TOOL, &axolotl::TOOL, &openrlhf::TOOL];

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that the tool takes.
    pub exported: u64,
    /// Rows that break one of its rules.
    pub rejected: u64,
    /// Rows among those exported that have no margin: they name no `g`, or 0.
    pub without_margin: u64,
}

/// What templates see.
#[derive(Serialize)]
struct View<'a> {
    model: &'a str,
    command: &'a str,
    data: &'a str,
    rows: u64,
    rejected: u64,
    /// Pairs of an update: no more than there are.
    batch: u64,
}

/// Writes what a tool needs to train on the rows of these files into a folder, each file replaced as a whole. Where no row can be
/// exported only the rejected ones are written.
///
/// # Errors
/// A file that could not be read or written; a folder in which something else is.
pub fn export(tool: &Tool, files: &[PathBuf], model: &str, out: &Path) -> Result<Counts, Error> {
    let own = |name: &str| name == REJECTED || name == tool.data || tool.files.iter().any(|(file, _)| name == *file);
    check_folder(tool.name, own, out)?;
    let rejected = out.join(REJECTED);
    let mut counts = Counts::default();
    atomic::write(&rejected, |aside| {
        let set_aside = |value: &Value| jsonl::line(&rejected, aside, value);
        let mut rows = Given::new(files, tool.check, &mut counts, set_aside).peekable();
        if rows.peek().is_none() { Ok(()) } else { write_rows(tool, &out.join(tool.data), rows) }
    })?;
    if counts.rejected == 0 {
        fs::remove_file(&rejected).map_err(Error::io(&rejected))?;
    }
    if counts.exported > 0 {
        write_files(tool, model, counts, out)?;
    }
    Ok(counts)
}

/// A tool reads what lies in its folder: there is nothing else in it but what an export to it writes, and folders that it makes.
pub(super) fn check_folder(tool: &str, own: impl Fn(&str) -> bool, out: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(out) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(Error::io(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !own(&name) && !name.starts_with('.') {
            let cause = format!("`{name}` is in it, which is not of an export to {tool}: choose a folder of its own");
            return Err(Error::Refused { path: out.into(), cause });
        }
    }
    Ok(())
}

fn write_rows(tool: &Tool, path: &Path, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<(), Error> {
    #[cfg(feature = "parquet")]
    if path.extension().is_some_and(|extension| extension == "parquet") {
        return table::write(path, rows);
    }
    atomic::write(path, |out| rows.into_iter().try_for_each(|row| jsonl::line(path, out, &(tool.shown)(&row?))))
}

fn write_files(tool: &Tool, model: &str, counts: Counts, out: &Path) -> Result<(), Error> {
    let Counts { exported: rows, rejected, .. } = counts;
    // The greatest power of two among them, so that it can be shared by GPUs.
    let batch = 32.min(1 << rows.ilog2());
    for (name, text) in tool.files {
        let view = View { model, command: tool.command, data: tool.data, rows, rejected, batch };
        // As of Markdown nothing is escaped: templates quote what they have to.
        template::write(&out.join(name), &[("plain.md", text)], view)?;
    }
    Ok(())
}
