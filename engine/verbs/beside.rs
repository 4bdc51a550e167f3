//! Processes of one command that work side by side, on this machine or on several.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use obvert_engine::cluster::Seat;
use obvert_stages::beside::Beside;
use obvert_trainer::place::Place;

use super::Refused;

/// How long processes wait for each other: each loads a model first.
const DEADLINE: Duration = Duration::from_secs(600);

/// Tells a process that another one started it: its number, and the addresses of all.
const STARTED: &str = "OBVERT_STARTED";

/// Arguments of a command that several processes can work on.
#[derive(clap::Args)]
#[group(skip)]
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
    /// Its number.
    pub index: usize,
    /// Nothing where it works alone.
    seat: Option<Seat>,
    /// Its number among those of its machine.
    nth: usize,
    started: Started,
}

/// Processes that end with this one, which holds the other ends of their inputs. They are kept apart from the processes, whose
/// `wait` would close them.
#[derive(Default)]
struct Started(Vec<Child>, Vec<ChildStdin>);

impl Started {
    /// Fails where one has ended.
    fn all_run(&mut self) -> anyhow::Result<()> {
        let ended = |(at, child): (usize, &mut Child)| child.try_wait().map(|status| Some((at, status?))).transpose();
        match self.0.iter_mut().enumerate().find_map(ended).transpose()? {
            Some((at, status)) => bail!("process {} ended with {status}", at + 1),
            None => Ok(()),
        }
    }

    /// Waits until all have ended; fails where one ends otherwise than well.
    fn end(&mut self) -> anyhow::Result<()> {
        for (at, child) in self.0.iter_mut().enumerate() {
            let status = child.wait()?;
            if !status.success() {
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
        if let Ok(told) = std::env::var(STARTED) {
            end_with_parent();
            let mut words = told.split(' ').map(str::to_owned);
            let index = words.next().and_then(|word| word.parse().ok()).context(STARTED)?;
            return Part::new(words.collect(), index, Started::default());
        }
        match (self.processes, &self.hosts) {
            (Some(0), _) => bail!(Refused("error: --processes: 0 processes do no work".into())),
            (Some(count), _) if count > 1 => start(count),
            (_, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let hosts = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
                Part::new(hosts, self.process.unwrap_or_default(), Started::default())
            }
            _ => Ok(Part { index: 0, seat: None, nth: 0, started: Started::default() }),
        }
    }
}

/// Ends this process when the one that started it is gone, which holds the other end of its input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

fn start(count: usize) -> anyhow::Result<Part> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
    let hosts = listeners.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    drop(listeners);
    let mut started = Started::default();
    for index in 1..count {
        let mut command = Command::new(std::env::current_exe()?);
        // It is told its part otherwise, which goes before what the arguments say of it.
        command.args(std::env::args_os().skip(1)).env(STARTED, format!("{index} {}", hosts.join(" ")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        started.1.extend(child.stdin.take());
        started.0.push(child);
    }
    Part::new(hosts, 0, started)
}

impl Part {
    fn new(hosts: Vec<String>, index: usize, started: Started) -> anyhow::Result<Self> {
        let machine = |host: &str| host.rsplit_once(':').map(|(machine, _)| machine.to_owned());
        let own = hosts.get(index).and_then(|host| machine(host));
        let nth = hosts.iter().take(index).filter(|host| machine(host) == own).count();
        Ok(Part { index, seat: Some(Seat::take(hosts, index)?), nth, started })
    }

    /// Where this process computes: with `auto`, processes of one machine take a GPU each.
    pub fn place(&self, place: Place) -> Place {
        match place {
            Place::Auto => place.nth(self.nth),
            place => place,
        }
    }

    /// This process's place among the others, to be taken once; nothing where it works alone.
    pub fn seat(&mut self) -> Option<Seat> {
        self.seat.take()
    }

    /// Waits for the others; nothing where this process works alone.
    pub fn join(&mut self, work: [u8; 32]) -> anyhow::Result<Option<Beside>> {
        let Some(seat) = self.seat.take() else { return Ok(None) };
        let joining = std::thread::spawn(move || seat.join(work, DEADLINE));
        while !joining.is_finished() {
            // One that has ended will not come.
            self.started.all_run()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let cluster = joining.join().map_err(|_| anyhow::anyhow!("joining the other processes panicked"))?;
        Ok(Some(Beside(cluster?)))
    }

    /// Waits for the end of the processes that this one started, which is near.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.started.end()
    }
}
