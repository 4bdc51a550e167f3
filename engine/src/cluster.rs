//! Processes that work side by side, one command for each: they find each other before a deadline, agree that they do the same
//! work, exchange bytes through timely, and end when one of them is lost.

mod connect;
mod exchange;
mod socket;

use std::net::{Shutdown, TcpStream};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use socket::{Lost, Socket};

/// A process's part in a cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The address (`host:port`) of every process, in the order of their numbers.
    pub hosts: Vec<String>,
    /// This process's number, from 0.
    pub index: usize,
    /// What all of them do: processes whose work differs refuse each other.
    pub work: [u8; 32],
    /// How long to wait for the others.
    pub deadline: Duration,
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

/// The other processes. Dropped before [`Cluster::leave`], it tells them that this one is lost.
#[derive(Debug)]
pub struct Cluster {
    membership: Membership,
    give: Option<Sender<Vec<u8>>>,
    take: Receiver<Vec<Vec<u8>>>,
    worker: Option<JoinHandle<Result<(), String>>>,
    sockets: Vec<TcpStream>,
    lost: Lost,
}

impl Cluster {
    /// Waits for all processes.
    ///
    /// # Errors
    /// They do not come in time, or do other work.
    pub fn join(membership: Membership) -> Result<Self, Error> {
        let streams = connect::connect(&membership)?;
        quieten_connections();
        let broken = |error: std::io::Error| Error::Broken(error.to_string());
        let sockets = streams.iter().flatten().map(TcpStream::try_clone).collect::<Result<_, _>>().map_err(broken)?;
        let lost = Lost::default();
        let watched =
            |(remote, stream): (usize, Option<TcpStream>)| stream.map(|stream| Socket::new(stream, remote, &lost));
        let watched = streams.into_iter().enumerate().map(watched).collect();
        let ((give, given), (deliver, take)) = (channel(), channel());
        let (index, count) = (membership.index, membership.hosts.len());
        let worker = std::thread::Builder::new().name("timely:cluster".into());
        let work = move || exchange::run(watched, [index, count], given, &deliver);
        let worker = Some(worker.spawn(work).map_err(broken)?);
        Ok(Self { membership, give: Some(give), take, worker, sockets, lost })
    }

    /// This process's number.
    pub fn index(&self) -> usize {
        self.membership.index
    }

    /// The number of processes.
    pub fn count(&self) -> usize {
        self.membership.hosts.len()
    }

    /// What every process gives, in the order of their numbers. All call it equally often.
    ///
    /// # Errors
    /// A process is lost.
    pub fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
        let asked = self.give.as_ref().and_then(|give| give.send(own).ok());
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

    fn failure(&self) -> Error {
        match self.lost.first() {
            Some(index) => Error::Lost { index, address: self.membership.hosts[index].clone() },
            None => Error::Broken("the exchange of this process ended".into()),
        }
    }
}

/// timely's threads panic where a connection ends, which is told otherwise here: nothing is printed of it.
fn quieten_connections() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_timely = |name: &str| ["timely:recv-", "timely:send-"].iter().any(|prefix| name.starts_with(prefix));
            if !std::thread::current().name().is_some_and(is_timely) {
                others(panic);
            }
        }));
    });
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.worker.is_some() {
            // The others notice that a connection ends in the middle; one that has ended already is no concern.
            self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        }
    }
}
