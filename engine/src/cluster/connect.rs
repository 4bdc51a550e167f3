//! How processes find each other: each listens, calls those before it, and is called by those after it. Both sides say who they
//! are and what they do.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Error, Membership};

/// What a connection begins with: a stranger's is dropped.
const MAGIC: [u8; 8] = *b"obvert/1";
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process that has connected may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// A connection to every other process, by number.
pub(super) fn connect(membership: &Membership) -> Result<Vec<Option<TcpStream>>, Error> {
    let Membership { hosts, index, deadline, .. } = membership;
    let until = Instant::now() + *deadline;
    let Some(address) = hosts.get(*index) else {
        return Err(Error::Hosts(format!("there are {}, so none has number {index}", hosts.len())));
    };
    let listen = || TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    let failed =
        |cause: std::io::Error| Error::Listen { index: *index, address: address.clone(), cause: cause.to_string() };
    let listener = listen().map_err(failed)?;
    let mut streams: Vec<Option<TcpStream>> = hosts.iter().map(|_| None).collect();
    for (other, stream) in streams.iter_mut().enumerate().take(*index) {
        *stream = Some(call(membership, other, until)?);
    }
    while streams.iter().skip(index + 1).any(Option::is_none) {
        match listener.accept().ok().map(|(stream, _)| answer(membership, stream)) {
            Some(Ok(Some((other, stream)))) if streams[other].is_none() => streams[other] = Some(stream),
            Some(Err(error)) => return Err(error),
            _ if Instant::now() > until => return Err(missing(membership, &streams)),
            _ => std::thread::sleep(PAUSE),
        }
    }
    Ok(streams)
}

fn missing(membership: &Membership, streams: &[Option<TcpStream>]) -> Error {
    let absent = |other: &usize| *other != membership.index && streams[*other].is_none();
    let names: Vec<String> = (0..streams.len()).filter(absent).map(|other| named(membership, other)).collect();
    Error::Missing { seconds: membership.deadline.as_secs(), missing: names.join(", ") }
}

fn named(membership: &Membership, other: usize) -> String {
    format!("process {other} ({})", membership.hosts[other])
}

/// Calls a process until it answers.
fn call(membership: &Membership, other: usize, until: Instant) -> Result<TcpStream, Error> {
    let refused = || Error::Missing { seconds: membership.deadline.as_secs(), missing: named(membership, other) };
    loop {
        // It may listen and not answer yet: it first calls those before it.
        if let Ok(mut stream) = TcpStream::connect(&membership.hosts[other])
            && greet(membership, &mut stream).is_ok()
            && let Ok(found) = heard(&mut stream, until.saturating_duration_since(Instant::now()).max(PAUSE))
        {
            return match found {
                Some((index, work)) if index == other && work == membership.work => Ok(stream),
                _ => Err(Error::Differs { index: other, address: membership.hosts[other].clone() }),
            };
        }
        if Instant::now() > until {
            return Err(refused());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Answers a call; nothing where a stranger called.
fn answer(membership: &Membership, mut stream: TcpStream) -> Result<Option<(usize, TcpStream)>, Error> {
    if stream.set_nonblocking(false).is_err() {
        return Ok(None);
    }
    let Ok(Some((other, work))) = heard(&mut stream, GREETING) else { return Ok(None) };
    if other <= membership.index || other >= membership.hosts.len() || greet(membership, &mut stream).is_err() {
        return Ok(None);
    }
    if work != membership.work {
        return Err(Error::Differs { index: other, address: membership.hosts[other].clone() });
    }
    Ok(Some((other, stream)))
}

fn greet(membership: &Membership, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let index = (membership.index as u64).to_le_bytes();
    stream.write_all(&[&MAGIC[..], &index, &membership.work].concat())
}

/// Who is at the other end, and what it does; nothing for a stranger.
fn heard(stream: &mut TcpStream, patience: Duration) -> std::io::Result<Option<(usize, [u8; 32])>> {
    stream.set_read_timeout(Some(patience))?;
    let mut greeting = [0; 48];
    match stream.read_exact(&mut greeting) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    stream.set_read_timeout(None)?;
    let (magic, rest) = greeting.split_at(MAGIC.len());
    let (index, work) = rest.split_at(8);
    let index = index.try_into().map(u64::from_le_bytes).ok().and_then(|index| usize::try_from(index).ok());
    Ok(index.zip(work.try_into().ok()).filter(|_| magic == MAGIC))
}
