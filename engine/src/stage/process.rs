//! The process of a stage: what `isolation = "process"` starts.
//!
//! It is told the stage and its settings, says whether it could create it, and then answers batches, item by item, until its
//! input ends. What the stage's code prints goes to the error output, so that it cannot disturb the answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use obvert_api::frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::library::{Instance, load_in_place};
use super::pipe::Framing;
use super::said::in_stage;

/// What the process is told first, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Version of what is spoken.
    pub(super) protocol: u32,
    /// Name of the stage type.
    pub(super) stage: String,
    /// What the pipeline calls it, where one does: its lines in the log go by that.
    pub(super) name: Option<Arc<str>>,
    /// Its settings.
    pub(super) settings: Value,
}

/// The version that this program speaks.
pub(super) const PROTOCOL: u32 = 1;

/// What the process says of that, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Welcome {
    /// The stage is created.
    Ready,
    /// It is not, for this reason.
    Refused(String),
}

/// Arguments with which processes of stages are started, in front of all others.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();

/// Has processes of stages started with these arguments of the program: how they are to say what they say. The first ones stand.
pub fn start_with(arguments: &[&str]) {
    ARGUMENTS.get_or_init(|| arguments.iter().map(|argument| argument.to_string()).collect());
}

pub(super) fn arguments() -> &'static [String] {
    ARGUMENTS.get().map(Vec::as_slice).unwrap_or_default()
}

/// Runs a stage of a library for the program at the other end of standard input and output, until that closes them.
///
/// # Errors
/// They cannot be read or written.
pub fn serve(library: &Path) -> io::Result<()> {
    let answers = File::from(rustix::io::dup(io::stdout())?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    // Else a stage that hangs would outlive a program that was killed.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    answer(library, &mut BufReader::new(io::stdin()), &mut io::BufWriter::new(answers))
}

fn answer(library: &Path, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let framing = Framing::Lengths;
    let Some(hello) = framing.receive(from)? else { return Ok(()) };
    let hello: Result<Hello, String> = serde_json::from_slice(&hello).map_err(|error| error.to_string());
    let name = hello.as_ref().ok().and_then(|hello| hello.name.clone());
    in_stage(name.as_ref(), || speak(library, hello, from, to))
}

fn speak(library: &Path, hello: Result<Hello, String>, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let framing = Framing::Lengths;
    let created = hello.and_then(|hello| create(library, hello));
    let welcome = created.as_ref().map_or_else(|cause| Welcome::Refused(cause.clone()), |_| Welcome::Ready);
    framing.send(to, &serde_json::to_vec(&welcome)?)?;
    let Ok(stage) = created else { return Ok(()) };
    while let Some(batch) = framing.receive(from)? {
        let (operation, _, items) = frame::decode(&batch).map_err(io::Error::other)?;
        for item in items {
            framing.send(to, &frame::encode_answer(&stage.answer(operation, item)))?;
        }
    }
    Ok(())
}

fn create(library: &Path, hello: Hello) -> Result<Instance, String> {
    let Hello { protocol, stage, settings, .. } = hello;
    if protocol != PROTOCOL {
        return Err(format!("the program speaks version {protocol} of the protocol, this is {PROTOCOL}"));
    }
    let stages = load_in_place(library)?;
    let library = stages.into_iter().find(|library| library.manifest.name == stage);
    library.ok_or_else(|| format!("it has no stage `{stage}`"))?.instance(&settings).map_err(|error| error.0)
}
