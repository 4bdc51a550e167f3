//! A process at the other end of a pipe, and the messages that go over it.

use std::io::{self, BufReader, BufWriter, Read};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::pipe::Framing;

/// A process. It ends with this value.
pub(super) struct Child {
    process: std::process::Child,
    to: BufWriter<ChildStdin>,
    answers: Receiver<io::Result<Vec<u8>>>,
    framing: Framing,
}

impl Child {
    /// Starts it, with its messages framed so.
    pub(super) fn start(mut command: Command, framing: Framing) -> Result<Self, String> {
        let failed = |error: io::Error| format!("its process cannot be started: {error}");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (Some(to), Some(from)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("its process has no pipes".into());
        };
        let answers = listen(from, framing);
        Ok(Child { process, to: BufWriter::new(to), answers, framing })
    }

    /// Has the system refuse it more memory than so many bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn limit(&mut self, memory: Option<u64>) -> Result<(), String> {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let Some(memory) = memory else { return Ok(()) };
        let limit = Rlimit { current: Some(memory), maximum: Some(memory) };
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        prlimit(pid, Resource::Data, limit).map(drop).map_err(|error| format!("its memory cannot be limited: {error}"))
    }

    /// As on Linux, where it can be done.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn limit(&mut self, memory: Option<u64>) -> Result<(), String> {
        memory.map_or(Ok(()), |_| Err("`memory_mb` works on Linux only".into()))
    }

    /// Sends a message. A process that has ended says so by giving no answer.
    pub(super) fn tell(&mut self, message: &[u8]) {
        let _ = self.framing.send(&mut self.to, message);
    }

    /// Its next message, or why there is none.
    pub(super) fn answer(&mut self, timeout: Option<Duration>) -> Result<Vec<u8>, String> {
        let answer = match timeout {
            Some(timeout) => self.answers.recv_timeout(timeout),
            None => self.answers.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match (answer, timeout) {
            (Ok(message), _) => message.map_err(|error| format!("its answer cannot be read: {error}")),
            (Err(RecvTimeoutError::Timeout), Some(timeout)) => {
                Err(format!("no answer within {} s", timeout.as_secs_f64()))
            }
            (Err(_), _) => Err(match self.process.wait() {
                Ok(status) => format!("its process ended: {status}"),
                Err(error) => format!("its process is lost: {error}"),
            }),
        }
    }
}

/// Takes messages until there are no more, on a thread of its own.
fn listen(from: impl Read + Send + 'static, framing: Framing) -> Receiver<io::Result<Vec<u8>>> {
    let (send, answers) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        while let Some(message) = framing.receive(&mut from).transpose() {
            let last = message.is_err();
            if send.send(message).is_err() || last {
                return;
            }
        }
    });
    answers
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
