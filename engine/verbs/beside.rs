//! Processes of one command that work side by side, on this machine or on several.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use obvert_engine::cluster::{Cluster, Membership};
use obvert_stages::beside::Beside;
use obvert_trainer::place::Place;
use tempfile::NamedTempFile;

/// How long processes wait for each other: each loads a model first.
const DEADLINE: Duration = Duration::from_secs(600);

/// Arguments of a command that several processes can work on.
#[derive(clap::Args)]
pub struct Arguments {
    /// Share the work among so many processes on this machine; with --device auto each takes a GPU of its own.
    #[arg(long, conflicts_with_all = ["hosts", "process"])]
    processes: Option<usize>,
    /// Share the work among machines, where this command is started once for each: a file with a line host:port for every
    /// process. What the first one writes is the result.
    #[arg(long, requires = "process")]
    hosts: Option<PathBuf>,
    /// Which line of --hosts this process is, from 0.
    #[arg(long, requires = "hosts")]
    process: Option<usize>,
}

/// This process's part, with the processes that it started.
pub struct Part {
    hosts: Vec<String>,
    /// Its number.
    pub index: usize,
    started: Started,
}

/// Processes that end with this one.
struct Started(Vec<Child>, Option<NamedTempFile>);

impl Started {
    /// Fails where one has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        for (at, child) in self.0.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                bail!("process {} ended with {status}", at + 1);
            }
        }
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself cannot be ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Arguments {
    /// This process's part; starts the others that are to run on this machine.
    pub fn start(&self) -> anyhow::Result<Part> {
        match (self.processes, &self.hosts) {
            (Some(0), _) => bail!("--processes: 0 processes do no work"),
            (Some(count), _) if count > 1 => start(count),
            (_, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let hosts = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
                Ok(Part { hosts, index: self.process.unwrap_or_default(), started: Started(Vec::new(), None) })
            }
            _ => Ok(Part { hosts: Vec::new(), index: 0, started: Started(Vec::new(), None) }),
        }
    }
}

fn start(count: usize) -> anyhow::Result<Part> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
    let hosts = listeners.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    drop(listeners);
    let mut file = NamedTempFile::new()?;
    file.write_all(hosts.join("\n").as_bytes())?;
    let mut started = Started(Vec::new(), None);
    for index in 1..count {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(without_processes(std::env::args().skip(1)));
        command.arg("--hosts").arg(file.path()).arg("--process").arg(index.to_string());
        started.0.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    }
    started.1 = Some(file);
    Ok(Part { hosts, index: 0, started })
}

/// The arguments of a process that is one of several.
fn without_processes(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut skip = false;
    let keep = |argument: &String| {
        let drop = std::mem::replace(&mut skip, argument == "--processes");
        !drop && argument != "--processes" && !argument.starts_with("--processes=")
    };
    arguments.filter(keep).collect()
}

impl Part {
    /// Where this process computes: with `auto`, processes of one machine take a GPU each.
    pub fn place(&self, place: Place) -> Place {
        match place {
            Place::Auto => place.nth(self.on_this_machine()),
            place => place,
        }
    }

    /// This process's number among those of its machine.
    fn on_this_machine(&self) -> usize {
        let machine = |address: &str| address.rsplit_once(':').map(|(machine, _)| machine.to_owned());
        let own = self.hosts.get(self.index).and_then(|address| machine(address));
        self.hosts.iter().take(self.index).filter(|address| machine(address) == own).count()
    }

    /// Waits for the others; nothing where this process works alone.
    pub fn join(&mut self, work: [u8; 32]) -> anyhow::Result<Option<Beside>> {
        if self.hosts.is_empty() {
            return Ok(None);
        }
        let membership = Membership { hosts: self.hosts.clone(), index: self.index, work, deadline: DEADLINE };
        let joining = std::thread::spawn(|| Cluster::join(membership));
        while !joining.is_finished() {
            // One that has ended will not come.
            self.started.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let cluster = joining.join().map_err(|_| anyhow::anyhow!("joining the other processes panicked"))?;
        Ok(Some(Beside(cluster?)))
    }

    /// Waits for the end of the processes that this one started, which is near.
    pub fn end(mut self) -> anyhow::Result<()> {
        for (at, mut child) in self.started.0.drain(..).enumerate() {
            let status = child.wait()?;
            if !status.success() {
                bail!("process {} ended with {status}", at + 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_processes_is_not_handed_on() {
        let without = |arguments: &[&str]| without_processes(arguments.iter().map(|text| text.to_string()));
        assert_eq!(without(&["train", "--processes", "2", "--out", "o"]), ["train", "--out", "o"]);
        assert_eq!(without(&["train", "--processes=2", "--out", "o"]), ["train", "--out", "o"]);
    }
}
