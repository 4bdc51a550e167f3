//! Connections to servers over plain sockets, at less cost than the library's own: what a call writes goes out at once, limits of
//! time are told to the system only where they have changed much, and whether a connection is still there costs one look.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::net::{RecvFlags, recv};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, RustlsConnector,
    Transport,
};

/// Bytes that are kept back until something is to be read, at most.
const HELD: usize = 64 << 10;

/// Connections of all sorts: by way of a proxy where one is set, and of TLS where the address wants it.
pub(crate) fn connector() -> impl Connector {
    ().chain(ConnectProxyConnector::default()).chain(Sockets).chain(RustlsConnector::default())
}

/// Opens sockets, where nothing has been opened yet.
#[derive(Debug)]
struct Sockets;

impl<In: Transport> Connector<In> for Sockets {
    type Out = Either<In, Socket>;

    fn connect(&self, details: &ConnectionDetails, opened: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(opened) = opened {
            return Ok(Some(Either::A(opened)));
        }
        let stream = connected(details)?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Socket { stream, buffers, held: Vec::new(), limits: [None; 2] })))
    }
}

/// The first address that answers, each given the time that is left by its share.
fn connected(details: &ConnectionDetails) -> Result<TcpStream, Error> {
    let mut last = Error::HostNotFound;
    for (index, address) in details.addrs.iter().enumerate() {
        let left = (details.addrs.len() - index) as u32;
        let stream = match details.timeout.not_zero() {
            Some(time) => TcpStream::connect_timeout(address, *time / left),
            None => TcpStream::connect(address),
        };
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) => last = of_io(error, details.timeout),
        }
    }
    Err(last)
}

fn of_io(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// A connection.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// Written and not sent yet.
    held: Vec<u8>,
    /// Limits of reading and writing, as the system was told.
    limits: [Option<std::time::Duration>; 2],
}

/// How a stream is told a limit.
type Limit = fn(&TcpStream, Option<std::time::Duration>) -> io::Result<()>;
const LIMITS: [Limit; 2] = [TcpStream::set_read_timeout, TcpStream::set_write_timeout];
const READING: usize = 0;
const WRITING: usize = 1;

impl Socket {
    /// Tells the system how long it may take, unless what it knows is right to an eighth.
    fn limit(&mut self, what: usize, timeout: NextTimeout) -> Result<(), Error> {
        let limit = timeout.not_zero().map(|time| *time);
        let near = match (self.limits[what], limit) {
            (Some(known), Some(limit)) => known >= limit && known - limit <= known / 8,
            (known, limit) => known == limit,
        };
        if !near {
            LIMITS[what](&self.stream, limit)?;
            self.limits[what] = limit;
        }
        Ok(())
    }

    fn send(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.limit(WRITING, timeout)?;
        let sent = self.stream.write_all(&self.held).map_err(|error| of_io(error, timeout));
        self.held.clear();
        sent
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held.extend_from_slice(&self.buffers.output()[..amount]);
        if self.held.len() < HELD { Ok(()) } else { self.send(timeout.for_write()) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.send(timeout.for_write())?;
        let timeout = timeout.for_read();
        self.limit(READING, timeout)?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| of_io(error, timeout))?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// Nothing is to be read, and no end has come.
    fn is_open(&mut self) -> bool {
        let looked = recv(&self.stream, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.held.is_empty() && looked.err() == Some(rustix::io::Errno::WOULDBLOCK)
    }
}
