//! `top`, `tap` and `steer`: a run is looked at, and told something, by way of its folder.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use obvert_live::{Ask, Board, Flow, ask, figures};

use super::Refused;

/// Arguments of `top`.
#[derive(clap::Args)]
pub struct Top {
    /// Folder of the results; by default that of the run in `runs` that was heard of last.
    folder: Option<PathBuf>,
    /// Print the figures of this moment and end; so it is done where there is no terminal.
    #[arg(long)]
    once: bool,
}

/// Arguments of `tap`.
#[derive(clap::Args)]
pub struct Tap {
    /// Name of the stage.
    stage: String,
    /// Folder of the results; by default that of the run in `runs` that was heard of last.
    folder: Option<PathBuf>,
    /// End after so many records.
    #[arg(short = 'n', long)]
    records: Option<usize>,
}

/// Arguments of `steer`.
#[derive(clap::Args)]
pub struct Steer {
    /// `pause`: let in no row and no dialogue and begin no call, until it is told to `resume`. `drain`: finish what is under way, as if the
    /// sources ended where they are, and end.
    #[arg(value_parser = PossibleValuesParser::new(Ask::ALL.map(Ask::name)).try_map(|name| Ask::named(&name).ok_or("unknown")))]
    what: Ask,
    /// Folder of the results; by default that of the run in `runs` that was heard of last.
    folder: Option<PathBuf>,
}

/// Shows the figures.
pub fn top(arguments: &Top) -> anyhow::Result<()> {
    let folder = folder(arguments.folder.as_deref())?;
    if arguments.once || !std::io::stdout().is_terminal() {
        let board = board(&folder)?;
        figures::lines(&board, &Flow::between(&Board::default(), &board)).iter().for_each(|line| println!("{line}"));
        return Ok(());
    }
    obvert_live::top(&folder).with_context(|| folder.display().to_string())
}

/// Shows what a stage makes.
pub fn tap(arguments: &Tap) -> anyhow::Result<()> {
    let folder = folder(arguments.folder.as_deref())?;
    let mut left = arguments.records.unwrap_or(usize::MAX);
    let show = |line: &str| {
        println!("{line}");
        left = left.saturating_sub(1);
        left > 0
    };
    board(&folder)?;
    obvert_live::tap(&folder, &arguments.stage, show).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Refused(format!("error: {error}")).into(),
        _ => anyhow::Error::from(error).context(folder.display().to_string()),
    })
}

/// Tells it.
pub fn steer(arguments: &Steer) -> anyhow::Result<()> {
    let folder = folder(arguments.folder.as_deref())?;
    let board = board(&folder)?;
    if !board.state.goes_on() {
        return Err(Refused(format!("error: {}: the run is over", folder.display())).into());
    }
    ask(&folder, arguments.what).with_context(|| folder.display().to_string())
}

/// The board of a run that was there.
pub(super) fn board(folder: &Path) -> anyhow::Result<Board> {
    let missing = |error| Refused(format!("error: {}: no run has been here ({error})", folder.display()));
    Ok(Board::read(folder).map_err(missing)?)
}

/// The folder that is meant.
pub(super) fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    // Those of a series lie in folders of their own.
    let within = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = within("runs".into()).flat_map(|run| within(run.clone()).chain([run]));
    let heard = folders.filter_map(|folder| Some((Board::read(&folder).ok()?.written, folder)));
    let newest = heard.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, folder)| folder);
    newest.ok_or_else(|| Refused("error: there is no run in `runs`: name the folder of one".into()).into())
}
