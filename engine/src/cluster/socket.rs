//! A connection that remembers which process was lost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};

use timely::communication::allocator::zero_copy::stream::Stream;

/// Bytes of a message's header. One of zeros, which no message has, is the last that timely sends.
const HEADER: usize = 48;
const GOODBYE: [u8; HEADER] = [0; HEADER];

/// The first process whose connection ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<OnceLock<usize>>);

impl Lost {
    pub(super) fn first(&self) -> Option<usize> {
        self.0.get().copied()
    }
}

/// A connection to a process.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    remote: usize,
    lost: Lost,
    /// The last bytes that were read.
    tail: [u8; HEADER],
}

impl Socket {
    pub(super) fn new(stream: TcpStream, remote: usize, lost: &Lost) -> Self {
        Self { stream, remote, lost: lost.clone(), tail: [u8::MAX; HEADER] }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let kept = HEADER.saturating_sub(bytes.len());
        self.tail.copy_within(HEADER - kept.., 0);
        self.tail[kept..].copy_from_slice(&bytes[bytes.len().saturating_sub(HEADER)..]);
    }

    /// The first process that was lost is kept.
    fn lose(&self) {
        let _ = self.lost.0.set(self.remote);
    }

    fn is_failure<T>(result: &io::Result<T>) -> bool {
        result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        match &read {
            Ok(0) if self.tail != GOODBYE => self.lose(),
            Ok(count) => self.remember(&buffer[..*count]),
            failed if Self::is_failure(failed) => self.lose(),
            Err(_) => {}
        }
        read
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        if Self::is_failure(&written) {
            self.lose();
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Stream for Socket {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, remote: self.remote, lost: self.lost.clone(), tail: self.tail })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}
