//! Processes that work side by side, one command for each: they find each other before a deadline, agree that they do the same
//! work, exchange bytes through timely, and end when one of them is lost.

mod connect;
mod exchange;
mod socket;

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connect::Meeting;
use exchange::Parts;
pub(crate) use exchange::{Builders, execute};
use socket::{Lost, Socket};

/// Between hearing that a process is lost, and ending for it.
const MOURNING: Duration = Duration::from_millis(500);

/// A process's place in a cluster: it listens there from now on, so that the others find it when they come.
#[derive(Debug)]
pub struct Seat {
    hosts: Vec<String>,
    index: usize,
    listener: TcpListener,
}

/// Why a cluster cannot be formed, or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The list of hosts is wrong.
    #[error("hosts: {0}")]
    Hosts(String),
    /// This process's own address cannot be listened on.
    #[error("process {index} cannot listen on {address}: {cause}")]
    Listen {
        /// This process.
        index: usize,
        /// Its address.
        address: String,
        /// The operating system's reason.
        cause: String,
    },
    /// Processes did not come before the deadline.
    #[error("waited {seconds} s in vain for {missing}")]
    Missing {
        /// The deadline, in seconds.
        seconds: u64,
        /// Who did not come, with their addresses.
        missing: String,
    },
    /// A process does other work.
    #[error("process {index} ({address}) does other work: are pipeline, settings and program the same everywhere?")]
    Differs {
        /// The other process.
        index: usize,
        /// Its address.
        address: String,
    },
    /// A process ended in the middle.
    #[error("process {index} ({address}) is lost")]
    Lost {
        /// The other process.
        index: usize,
        /// Its address.
        address: String,
    },
    /// The work's own part broke.
    #[error("cluster: {0}")]
    Broken(String),
}

impl Seat {
    /// The place of process number `index`, from 0, among those that listen at `host:port` each.
    ///
    /// # Errors
    /// There is no such place, or it cannot be listened at.
    pub fn take(hosts: Vec<String>, index: usize) -> Result<Self, Error> {
        let Some(address) = hosts.get(index) else {
            return Err(Error::Hosts(format!("there are {}, so none has number {index}", hosts.len())));
        };
        if let Some(twice) = hosts.iter().enumerate().find(|(at, host)| hosts[..*at].contains(host)) {
            return Err(Error::Hosts(format!("{} is there twice", twice.1)));
        }
        let failed =
            |error: std::io::Error| Error::Listen { index, address: address.clone(), cause: error.to_string() };
        let listener = connect::listen(address).map_err(failed)?;
        Ok(Self { hosts, index, listener })
    }

    /// Waits for all processes, to exchange bytes with them. `work` says what all of them do: processes whose work differs refuse
    /// each other.
    ///
    /// # Errors
    /// They do not come in time, or do other work, or one that came is lost.
    pub fn join(self, work: [u8; 32], deadline: Duration) -> Result<Cluster, Error> {
        Cluster::new(self.meet(work, deadline)?).map_err(|error| Error::Broken(error.to_string()))
    }

    /// Waits for all processes, as [`Seat::join`].
    pub(crate) fn meet(self, work: [u8; 32], deadline: Duration) -> Result<Met, Error> {
        let Self { hosts, index, listener } = self;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let meeting = Meeting { hosts: &hosts, index, work, deadline, begin: Instant::now(), begun };
        let (streams, begun) = meeting.connect(&listener)?;
        let begun = UNIX_EPOCH + Duration::from_nanos(begun);
        quieten_connections();
        let sockets = streams.iter().flatten().map(TcpStream::try_clone).collect::<Result<_, _>>();
        let sockets = sockets.map_err(|error: std::io::Error| Error::Broken(error.to_string()))?;
        let lost = Lost::default();
        let streams = Streams { streams, index, lost: lost.clone() };
        Ok(Met { streams, others: Others { hosts, index, sockets, lost }, begun })
    }

    /// This process's number.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The number of processes.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }
}

/// Processes that have met.
pub(crate) struct Met {
    pub(crate) streams: Streams,
    pub(crate) others: Others,
    /// When the first of them began, by its clock.
    pub(crate) begun: SystemTime,
}

/// The connections to the other processes; dropped, they tell them that this one is lost.
pub(crate) struct Streams {
    streams: Vec<Option<TcpStream>>,
    index: usize,
    lost: Lost,
}

/// The other processes: their addresses, and whether one is lost.
#[derive(Debug)]
pub(crate) struct Others {
    hosts: Vec<String>,
    pub(crate) index: usize,
    sockets: Vec<TcpStream>,
    lost: Lost,
}

impl Streams {
    /// What timely's workers, so many in each process, are built from. They have to be built: its threads wait for them.
    pub(crate) fn timely(self, threads: usize) -> std::io::Result<Builders> {
        let watched =
            |(remote, stream): (usize, Option<TcpStream>)| stream.map(|stream| Socket::new(stream, remote, &self.lost));
        let sockets = self.streams.into_iter().enumerate().map(watched).collect();
        exchange::builders(sockets, self.index, threads)
    }
}

impl Others {
    /// The number of processes.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// The first process that was lost. Where there is one this process stays for a moment, so that the others hear of that one
    /// before they hear of this.
    pub(crate) fn lost(&self) -> Option<Error> {
        let index = self.lost.first()?;
        std::thread::sleep(MOURNING);
        Some(Error::Lost { index, address: self.hosts[index].clone() })
    }

    /// Whether any process was lost.
    pub(crate) fn are_lost(&self) -> bool {
        self.lost.first().is_some()
    }

    /// Tells the others that this process is lost: a connection that ends in the middle says so.
    pub(crate) fn leave_in_the_middle(&self) {
        // One that has ended already is no concern.
        self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }
}

/// The other processes. Dropped before [`Cluster::leave`], it tells them that this one is lost.
#[derive(Debug)]
pub struct Cluster {
    others: Others,
    give: Option<Sender<Parts>>,
    take: Receiver<Parts>,
    worker: Option<JoinHandle<Result<(), String>>>,
}

impl Cluster {
    fn new(met: Met) -> std::io::Result<Self> {
        let Met { streams, others, .. } = met;
        let builders = streams.timely(1)?;
        let ((give, given), (deliver, take)) = (channel(), channel());
        let count = others.count();
        let work = move || exchange::run(builders, count, given, &deliver);
        let worker = Some(std::thread::Builder::new().name("timely:cluster".into()).spawn(work)?);
        Ok(Self { others, give: Some(give), take, worker })
    }

    /// This process's number.
    pub fn index(&self) -> usize {
        self.others.index
    }

    /// The number of processes.
    pub fn count(&self) -> usize {
        self.others.count()
    }

    /// Gives each process its part, and returns what each gave this one, both in the order of their numbers. All call it
    /// equally often.
    ///
    /// # Errors
    /// A process is lost, or has left.
    pub fn exchange(&mut self, parts: Parts) -> Result<Parts, Error> {
        let asked = self.give.as_ref().and_then(|give| give.send(parts).ok());
        asked.and_then(|()| self.take.recv().ok()).ok_or_else(|| self.failure())
    }

    /// Ends the work together with the others.
    ///
    /// # Errors
    /// One of them was lost before.
    pub fn leave(mut self) -> Result<(), Error> {
        self.give = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// What is to be said of an exchange that failed.
    fn failure(&self) -> Error {
        self.others.lost().unwrap_or_else(|| Error::Broken("a process left before its part was done".into()))
    }
}

/// timely's threads panic where a connection ends, which is told otherwise here: nothing is printed of it.
fn quieten_connections() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|at| at.file().contains("timely_communication")) {
                others(panic);
            }
        }));
    });
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.worker.is_some() {
            self.others.leave_in_the_middle();
        }
    }
}
