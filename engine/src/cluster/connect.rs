//! How processes find each other: each listens, calls those before it, and is called by those after it. Both sides say who they
//! are and what they do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Error;

/// What a connection begins with: a stranger's is dropped.
const MAGIC: [u8; 8] = *b"obvert/2";
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process may take to be connected to, and once it has called, to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// Listens where the others call; on all of this machine's addresses at that port where the one they call is not its own.
pub(super) fn listen(address: &str) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).or_else(|error| match (error.kind(), port_of(address)) {
        (ErrorKind::AddrNotAvailable, Some(port)) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        _ => Err(error),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// Finding the others.
pub(super) struct Meeting<'a> {
    pub(super) hosts: &'a [String],
    pub(super) index: usize,
    pub(super) work: [u8; 32],
    pub(super) deadline: Duration,
    pub(super) begin: Instant,
    /// When this process began, in nanoseconds of Unix time.
    pub(super) begun: u64,
}

/// What a process says of itself first.
struct Greeting {
    index: usize,
    work: [u8; 32],
    begun: u64,
}

impl Meeting<'_> {
    /// A connection to every other process, by number, and when the first process began.
    pub(super) fn connect(&self, listener: &TcpListener) -> Result<(Vec<Option<TcpStream>>, u64), Error> {
        let mut streams: Vec<Option<TcpStream>> = self.hosts.iter().map(|_| None).collect();
        let mut first = self.begun;
        for other in 0..self.index {
            let (stream, begun) = self.call(other, &streams)?;
            streams[other] = Some(stream);
            if other == 0 {
                first = begun;
            }
        }
        while streams.iter().skip(self.index + 1).any(Option::is_none) {
            match listener.accept() {
                Ok((stream, _)) => self.answer(stream, &mut streams)?,
                Err(_) => self.wait(&streams)?,
            }
        }
        Ok((streams, first))
    }

    /// Calls a process until it answers: the connection, and when it began.
    fn call(&self, other: usize, streams: &[Option<TcpStream>]) -> Result<(TcpStream, u64), Error> {
        loop {
            // It may listen and not answer yet: it first calls those before it.
            if let Some(mut stream) = dial(&self.hosts[other])
                && self.greet(&mut stream).is_ok()
                && let Ok(Some(Greeting { index, work, begun })) = heard(&mut stream, self.left().max(PAUSE))
            {
                return if index == other && work == self.work {
                    Ok((stream, begun))
                } else {
                    Err(self.differs(other))
                };
            }
            self.wait(streams)?;
        }
    }

    /// Answers a call, unless it is a stranger's.
    fn answer(&self, mut stream: TcpStream, streams: &mut [Option<TcpStream>]) -> Result<(), Error> {
        if stream.set_nonblocking(false).is_err() {
            return Ok(());
        }
        let Ok(Some(Greeting { index: other, work, .. })) = heard(&mut stream, GREETING) else { return Ok(()) };
        let expected = other > self.index && streams.get(other).is_some_and(Option::is_none);
        if !expected || self.greet(&mut stream).is_err() {
            return Ok(());
        }
        if work != self.work {
            return Err(self.differs(other));
        }
        streams[other] = Some(stream);
        Ok(())
    }

    /// Waits a moment, unless a process that was there is lost, or it is too late.
    fn wait(&self, streams: &[Option<TcpStream>]) -> Result<(), Error> {
        if let Some(lost) = streams.iter().position(|stream| stream.as_ref().is_some_and(has_ended)) {
            return Err(Error::Lost { index: lost, address: self.hosts[lost].clone() });
        }
        if self.left().is_zero() {
            let absent = |other: &usize| *other != self.index && streams[*other].is_none();
            let named = |other| format!("process {other} ({})", self.hosts[other]);
            let missing: Vec<String> = (0..streams.len()).filter(absent).map(named).collect();
            return Err(Error::Missing { seconds: self.deadline.as_secs(), missing: missing.join(", ") });
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.begin.elapsed())
    }

    fn differs(&self, other: usize) -> Error {
        Error::Differs { index: other, address: self.hosts[other].clone() }
    }

    fn greet(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let index = (self.index as u64).to_le_bytes();
        stream.write_all(&[&MAGIC[..], &index, &self.work, &self.begun.to_le_bytes()].concat())
    }
}

/// A connection to an address, where somebody listens.
fn dial(address: &str) -> Option<TcpStream> {
    let mut addresses = address.to_socket_addrs().ok()?;
    let stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, GREETING).ok())?;
    // Where nobody listens on a port of this machine it may be given out to the very connection that is being made.
    (stream.local_addr().ok() != stream.peer_addr().ok()).then_some(stream)
}

/// Whether the other side of a connection is gone.
fn has_ended(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let ended = match &peeked {
        Ok(count) => *count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    ended | stream.set_nonblocking(false).is_err()
}

/// Who is at the other end, and what it does; nothing for a stranger.
fn heard(stream: &mut TcpStream, patience: Duration) -> std::io::Result<Option<Greeting>> {
    stream.set_read_timeout(Some(patience))?;
    let ([mut magic, mut index, mut begun], mut work) = ([[0; 8]; 3], [0; 32]);
    for part in [&mut magic[..], &mut index, &mut work, &mut begun] {
        stream.read_exact(part)?;
    }
    stream.set_read_timeout(None)?;
    let (index, begun) = (usize::try_from(u64::from_le_bytes(index)), u64::from_le_bytes(begun));
    Ok(index.ok().filter(|_| magic == MAGIC).map(|index| Greeting { index, work, begun }))
}
