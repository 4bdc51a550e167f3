//! A stage in a process of its own: what crashes or hangs there costs one item, and the process is started again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use obvert_api::{Error, Operation, Outcome};

use super::child::Child;
use super::{Runner, Work};

/// How often an item is tried that ends the process, or takes too long.
const ATTEMPTS: u32 = 2;
/// How long a process may take to create the stage.
const START: Duration = Duration::from_secs(60);

/// What a process may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// How long it may be at an item.
    pub timeout: Option<Duration>,
    /// Bytes of memory that it may write to.
    pub memory: Option<u64>,
}

/// How a stage's process is started and spoken to.
pub(super) trait Speech: Send + Sync {
    /// A process, told nothing yet.
    fn start(&self) -> Result<Child, String>;
    /// What it is told first.
    fn hello(&self) -> Result<Vec<u8>, String>;
    /// Whether it says that it has created the stage.
    fn welcome(&self, message: &[u8]) -> Result<(), String>;
    /// Items to be answered, as one message.
    fn batch(&self, items: Items<'_>) -> Result<Vec<u8>, Error>;
    /// What it says of the item of that number in the batch; or what is wrong with a process that says such a thing.
    fn answer(&self, operation: Operation, item: usize, message: &[u8]) -> Result<Result<Outcome, Error>, String>;
}

/// Items of one operation.
#[derive(Clone, Copy)]
pub(super) enum Items<'a> {
    Run(&'a [Work<'a>]),
    Ask(Operation, &'a [&'a [u8]]),
}

impl Items<'_> {
    fn len(&self) -> usize {
        match self {
            Items::Run(work) => work.len(),
            Items::Ask(_, records) => records.len(),
        }
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Items::Run(_) => Operation::Run,
            Items::Ask(operation, _) => *operation,
        }
    }

    /// Those from the one of that number on.
    fn from(self, first: usize) -> Self {
        match self {
            Items::Run(work) => Items::Run(&work[first..]),
            Items::Ask(operation, records) => Items::Ask(operation, &records[first..]),
        }
    }
}

/// Runs a stage in as many processes as there are threads that use it at once.
pub(super) struct Isolated<S> {
    speech: S,
    limits: Limits,
    idle: Mutex<Vec<Child>>,
}

impl<S: Speech> Isolated<S> {
    /// Starts the stage in a process.
    ///
    /// # Errors
    /// It cannot be started, or the stage refuses its settings.
    pub(super) fn start(speech: S, limits: Limits) -> Result<Self, Error> {
        let stage = Isolated { speech, limits, idle: Mutex::default() };
        let first = stage.process().map_err(Error)?;
        stage.give_back(first);
        Ok(stage)
    }

    /// Has all items answered; one that is at fault too often gets the cause for an answer.
    fn answers(&self, items: Items<'_>) -> Vec<Result<Outcome, Error>> {
        let (count, mut answers, mut attempts) = (items.len(), Vec::with_capacity(items.len()), 0);
        while answers.len() < count {
            let before = answers.len();
            let batch = match self.speech.batch(items.from(before)) {
                Ok(batch) => batch,
                Err(error) => {
                    answers.resize(count, Err(error));
                    break;
                }
            };
            let Err(cause) = self.attempt(items.operation(), batch, count, &mut answers) else { break };
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
    fn attempt(
        &self,
        operation: Operation,
        batch: Vec<u8>,
        count: usize,
        answers: &mut Vec<Result<Outcome, Error>>,
    ) -> Result<(), String> {
        let (mut process, first) = (self.process()?, answers.len());
        process.tell(batch);
        while answers.len() < count {
            let message = self.heard(&mut process, self.limits.timeout)?;
            answers.push(self.speech.answer(operation, answers.len() - first, &message)?);
        }
        self.give_back(process);
        Ok(())
    }

    /// A process that is idle, or a new one.
    fn process(&self) -> Result<Child, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // One that has gone on speaking would be taken to answer what it is asked now.
        idle.filter(|process| !process.has_more()).map_or_else(|| self.start_process(), Ok)
    }

    fn give_back(&self, process: Child) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    fn start_process(&self) -> Result<Child, String> {
        let mut process = self.speech.start()?;
        process.limit(self.limits.memory)?;
        process.tell(self.speech.hello()?);
        let welcome = self.heard(&mut process, Some(START))?;
        self.speech.welcome(&welcome)?;
        Ok(process)
    }

    /// What a process says; where it has ended, with what may have ended it.
    fn heard(&self, process: &mut Child, timeout: Option<Duration>) -> Result<Vec<u8>, String> {
        let limit = self.limits.memory.map(|bytes| format!("; `memory_mb` lets it have {} MiB", bytes >> 20));
        process.answer(timeout).map_err(|cause| {
            let ended = cause.starts_with(Child::ENDED);
            cause + &limit.filter(|_| ended).unwrap_or_default()
        })
    }
}

impl<S: Speech> Runner for Isolated<S> {
    fn run(&self, batch: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        self.answers(Items::Run(batch))
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        self.answers(Items::Ask(operation, records))
    }
}
