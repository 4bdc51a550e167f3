//! A stage in a process of its own: what crashes or hangs there costs one item, and the process is started again.

use std::io::BufWriter;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use obvert_api::erased::Kind;
use obvert_api::frame::{self, Writer};
use obvert_api::{Error, Manifest, Operation, Outcome};
use serde_json::Value;

use super::pipe::{receive, send};
use super::process::{Hello, PROTOCOL, Welcome};
use super::{Library, Runner, Work};

/// How often an item is tried that ends the process, or takes too long.
const ATTEMPTS: u32 = 2;
/// How long a process may take to create the stage.
const START: Duration = Duration::from_secs(60);

/// Runs a library's stage; as many processes as there are threads that use it at once.
pub struct Isolated {
    manifest: Manifest,
    library: PathBuf,
    settings: Value,
    /// How long it may be at an item.
    timeout: Option<Duration>,
    idle: Mutex<Vec<Process>>,
}

/// A process of the stage. It ends with this value.
struct Process {
    child: Child,
    to: BufWriter<ChildStdin>,
    answers: Receiver<Vec<u8>>,
}

impl Isolated {
    /// Starts the stage in a process.
    ///
    /// # Errors
    /// It cannot be started, or the stage refuses its settings.
    pub fn start(library: &Library, settings: &Value, timeout: Option<Duration>) -> Result<Self, Error> {
        let (manifest, path, idle) = (library.manifest.clone(), library.path.clone(), Mutex::default());
        let stage = Isolated { manifest, library: path, settings: settings.clone(), timeout, idle };
        let first = stage.process().map_err(Error)?;
        stage.give_back(first);
        Ok(stage)
    }

    /// Has all items answered that `put` writes, by their numbers.
    fn answers(
        &self,
        operation: Operation,
        count: usize,
        put: impl Fn(&mut Writer, usize) -> Result<(), Error>,
    ) -> Vec<Result<Outcome, Error>> {
        let (mut answers, mut attempts) = (Vec::with_capacity(count), 0);
        while answers.len() < count {
            let before = answers.len();
            let mut batch = Writer::new(operation, &self.manifest.input);
            if let Err(error) = (before..count).try_for_each(|item| put(&mut batch, item)) {
                answers.resize(count, Err(error));
                break;
            }
            let Err(cause) = self.attempt(&batch.finish(), count, &mut answers) else { break };
            // The item behind the last answer is at fault.
            attempts = if answers.len() > before { 1 } else { attempts + 1 };
            if attempts == ATTEMPTS {
                answers.push(Err(Error(format!("{cause} ({ATTEMPTS} attempts)"))));
                attempts = 0;
            }
        }
        answers
    }

    /// Sends a batch, and takes answers until there are `count`; why there are no more, if a process ended or hung.
    fn attempt(&self, batch: &[u8], count: usize, answers: &mut Vec<Result<Outcome, Error>>) -> Result<(), String> {
        let mut process = self.process()?;
        // A process that has ended says so by giving no answer.
        let _ = send(&mut process.to, batch);
        while answers.len() < count {
            answers.push(frame::decode_answer(&process.answer(self.timeout)?));
        }
        self.give_back(process);
        Ok(())
    }

    /// A process that is idle, or a new one.
    fn process(&self) -> Result<Process, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.start_process(), Ok)
    }

    fn give_back(&self, process: Process) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    fn start_process(&self) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("its process cannot be started: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("stage-process").arg(&self.library).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::of(command.spawn().map_err(failed)?).ok_or("its process has no pipes")?;
        let (stage, settings) = (self.manifest.name.clone(), self.settings.clone());
        let hello = serde_json::to_vec(&Hello { protocol: PROTOCOL, stage, settings }).map_err(|e| e.to_string())?;
        let _ = send(&mut process.to, &hello);
        let welcome = process.answer(Some(START))?;
        match serde_json::from_slice(&welcome) {
            Ok(Welcome::Ready) => Ok(process),
            Ok(Welcome::Refused(cause)) => Err(cause),
            Err(error) => Err(format!("its process speaks another language: {error}")),
        }
    }
}

impl Runner for Isolated {
    fn run(&self, batch: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        self.answers(Operation::Run, batch.len(), |writer, item| match self.manifest.kind {
            Kind::Map => writer.run_map(batch[item].item, batch[item].replies),
            Kind::Group => writer.run_group(batch[item].item, batch[item].replies),
        })
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let put = |writer: &mut Writer, item: usize| {
            writer.record(records[item]);
            Ok(())
        };
        self.answers(operation, records.len(), put)
    }
}

impl Process {
    fn of(mut child: Child) -> Option<Self> {
        let (to, mut from) = (BufWriter::new(child.stdin.take()?), child.stdout.take()?);
        let (send, answers) = channel();
        std::thread::spawn(move || {
            while let Ok(Some(message)) = receive(&mut from)
                && send.send(message).is_ok()
            {}
        });
        Some(Process { child, to, answers })
    }

    fn answer(&mut self, timeout: Option<Duration>) -> Result<Vec<u8>, String> {
        let answer = match timeout {
            Some(timeout) => self.answers.recv_timeout(timeout),
            None => self.answers.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        answer.map_err(|error| match (error, timeout) {
            (RecvTimeoutError::Timeout, Some(timeout)) => format!("no answer within {} s", timeout.as_secs_f64()),
            _ => match self.child.wait() {
                Ok(status) => format!("its process ended: {status}"),
                Err(error) => format!("its process is lost: {error}"),
            },
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
