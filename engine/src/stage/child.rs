//! A process at the other end of two pipes, and the messages that go over them.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::pipe::Framing;

/// Answers that are taken before anybody wants them, at most.
const AHEAD: usize = 64;
/// How long a process may go on that has closed its output.
const GRACE: Duration = Duration::from_secs(1);

/// A process, and those that it starts. They end with this value.
pub(super) struct Child {
    process: std::process::Child,
    to: SyncSender<Vec<u8>>,
    answers: Receiver<io::Result<Vec<u8>>>,
}

impl Child {
    /// How it begins what is said of a process that has ended.
    pub(super) const ENDED: &str = "its process ended";

    /// Starts it, with its messages framed so.
    pub(super) fn start(mut command: Command, framing: Framing) -> Result<Self, String> {
        let failed = |error: io::Error| {
            let hint =
                if error.kind() == io::ErrorKind::PermissionDenied { ": is it executable (chmod +x)?" } else { "" };
            format!("its process cannot be started: {error}{hint}")
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn().map_err(failed)?;
        let (Some(to), Some(from)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("its process has no pipes".into());
        };
        Ok(Child { process, to: speak(to, framing), answers: listen(from, framing) })
    }

    /// Has the system refuse it more memory than so many bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn limit(&mut self, memory: Option<u64>) -> Result<(), String> {
        use rustix::process::{Resource, Rlimit, prlimit};
        let Some(memory) = memory else { return Ok(()) };
        let limit = Rlimit { current: Some(memory), maximum: Some(memory) };
        let limited = prlimit(self.pid(), Resource::Data, limit);
        limited.map(drop).map_err(|error| format!("its memory cannot be limited: {error}"))
    }

    /// As on Linux, where it can be done.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn limit(&mut self, memory: Option<u64>) -> Result<(), String> {
        memory.map_or(Ok(()), |_| Err("`memory_mb` works on Linux only".into()))
    }

    /// Sends a message. It does not wait until that is read: a process that reads nothing says so by giving no answer.
    pub(super) fn tell(&mut self, message: Vec<u8>) {
        let _ = self.to.try_send(message);
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
            (Err(_), _) => Err(self.end()),
        }
    }

    /// Whether it has said more than it was asked.
    pub(super) fn has_more(&self) -> bool {
        self.answers.try_recv().is_ok()
    }

    /// How a process ended that says nothing any more.
    fn end(&mut self) -> String {
        let since = Instant::now();
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return format!("{}: {status}", Self::ENDED),
                Ok(None) if since.elapsed() < GRACE => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return "its process has closed its output and goes on".into(),
                Err(error) => return format!("its process is lost: {error}"),
            }
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.process.id()).ok().and_then(Pid::from_raw)
    }
}

/// Sends messages on, on a thread of its own, until there are no more or nobody reads them.
fn speak(to: impl Write + Send + 'static, framing: Framing) -> SyncSender<Vec<u8>> {
    let (send, messages) = sync_channel::<Vec<u8>>(2);
    std::thread::spawn(move || {
        let mut to = BufWriter::new(to);
        messages.iter().try_for_each(|message| framing.send(&mut to, &message))
    });
    send
}

/// Takes messages until there are no more, on a thread of its own.
fn listen(from: impl Read + Send + 'static, framing: Framing) -> Receiver<io::Result<Vec<u8>>> {
    let (send, answers) = sync_channel(AHEAD);
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
        // Both fail where it has ended already; what it has started may go on even so.
        let _ = self.pid().map(|pid| kill_process_group(pid, Signal::KILL));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
