//! A stage without its types: records in and out are bytes. The host and the C border see stages this way only.

use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::chain::{self, Links, Tally, Values};
use crate::decode::Reader;
use crate::frame::{self, Records};
pub use crate::manifest::{Example, Kind, Manifest, group_manifest, map_manifest};
use crate::{Error, Group, Level, Map, Nothing, Output, Record, Reply, Request};

/// One of a stage's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The input.
    In,
    /// The side input.
    With,
    /// The output.
    Out,
}

/// What a batch asks a stage to do with its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Handle an item; see [`Invocation`].
    Run,
    /// The group key of an input record, and behind it the key of the side records that it looks up, if any.
    Key,
    /// The key of a side record.
    WithKey,
    /// A record of the port as JSON.
    ToJson(Port),
    /// A record of the port from JSON.
    FromJson(Port),
    /// Records of stages that follow each other; see [`crate::chain`].
    Chain,
}

impl Operation {
    const ALL: [Operation; 10] = [
        Operation::Run,
        Operation::Key,
        Operation::WithKey,
        Operation::ToJson(Port::In),
        Operation::ToJson(Port::With),
        Operation::ToJson(Port::Out),
        Operation::FromJson(Port::In),
        Operation::FromJson(Port::With),
        Operation::FromJson(Port::Out),
        Operation::Chain,
    ];

    /// The operation's number in a batch's header.
    pub fn code(self) -> u8 {
        Self::ALL.iter().position(|o| *o == self).map_or(u8::MAX, |i| i as u8)
    }

    /// The operation with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// One run of a stage on one item: a record (map) or a group (key, records, side records), and the replies so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation<'a> {
    /// Key of the group; empty for a map.
    pub key: &'a str,
    /// The record, or all records of the group.
    pub records: Records<'a>,
    /// Side records of the group.
    pub with: Records<'a>,
    /// Answers to all requests so far, in the order of the requests.
    pub replies: Vec<Reply>,
}

impl<'a> Invocation<'a> {
    /// The run on an item: a record of a map, or a group that was encoded without replies.
    ///
    /// # Errors
    /// It is no such group.
    pub fn of(kind: Kind, item: &'a [u8], replies: Vec<Reply>) -> Result<Self, Error> {
        match kind {
            Kind::Map => Ok(Invocation { key: "", records: Records::one(item), with: Records::NONE, replies }),
            Kind::Group => Ok(Invocation { replies, ..frame::decode_invocation(item)? }),
        }
    }
}

/// What comes of an item: records, or requests as long as something is requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Encoded records; or what else was asked for, such as keys or JSON.
    pub records: SmallVec<[Arc<[u8]>; 1]>,
    /// Calls the host is to make before it runs the item again.
    pub requests: Vec<Request>,
}

/// Takes what comes of an item, piece by piece.
pub trait Sink {
    /// Takes a record, which is lent.
    fn record(&mut self, record: &[u8]);
    /// Takes a request.
    fn request(&mut self, request: Request);
    /// Takes a line of the log.
    fn log(&mut self, _level: Level, _message: &str) {}
}

impl Sink for Outcome {
    fn record(&mut self, record: &[u8]) {
        self.records.push(record.into());
    }

    fn request(&mut self, request: Request) {
        self.requests.push(request);
    }
}

/// A stage whose record types are known to itself alone.
pub trait Erased: Send + Sync {
    /// Handles one item.
    fn run(&self, item: &Invocation<'_>, out: &mut dyn Sink) -> Result<(), Error>;
    /// Performs any other operation on one record.
    fn ask(&self, operation: Operation, record: &[u8], out: &mut dyn Sink) -> Result<(), Error>;
    /// The first step of a chain: decodes the records that a map takes.
    fn open(&self, _records: &[&[u8]], _tally: &mut Tally) -> Option<Values> {
        None
    }
    /// A step of a chain, on records that are decoded; nothing where they are not what a map takes.
    fn step(&self, _values: Values, _tally: &mut Tally) -> Option<Values> {
        None
    }
    /// The last step of a chain: encodes what a map made, or what a group is to take, with its keys.
    fn close(&self, values: Values, tally: &mut Tally, links: &mut dyn Links) -> Option<()>;
}

/// Makes a stage from its settings.
pub type Create = fn(settings: &serde_json::Value) -> Result<Box<dyn Erased>, Error>;

/// A record as bytes.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    encode_into(record, &mut bytes)?;
    Ok(bytes)
}

/// Appends a record as bytes.
pub(crate) fn encode_into<R: Record>(record: &R, bytes: &mut Vec<u8>) -> Result<(), Error> {
    // Most records are this short: growing step by step costs more than all else.
    bytes.reserve(512);
    bincode::serde::encode_into_writer(record, Appended(bytes), bincode::config::standard()).map_err(Error::new)
}

/// Where a record is appended.
struct Appended<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Appended<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A record from all of `bytes`.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, Error> {
    let mut reader = Reader(bytes);
    let record = R::deserialize(&mut reader).map_err(|e| Error(format!("not a {}: {e}", R::NAME)))?;
    match reader.0.len() {
        0 => Ok(record),
        left => Err(Error(format!("not a {}: {left} bytes too many", R::NAME))),
    }
}

/// A map from its settings.
pub fn create_map<M: Map>(settings: &serde_json::Value) -> Result<Box<dyn Erased>, Error> {
    let stage = M::deserialize(settings).map_err(Error::new)?;
    stage.validate()?;
    Ok(Box::new(ErasedMap(stage)))
}

/// A group from its settings.
pub fn create_group<G: Group>(settings: &serde_json::Value) -> Result<Box<dyn Erased>, Error> {
    let stage = G::deserialize(settings).map_err(Error::new)?;
    stage.validate()?;
    Ok(Box::new(ErasedGroup(stage)))
}

struct ErasedMap<M>(M);

impl<M: Map> Erased for ErasedMap<M> {
    fn run(&self, item: &Invocation<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        let several = || Error(format!("a map takes one record, not {}", item.records.len()));
        let record = item.records.only().ok_or_else(several)?;
        let mut out = Output::default();
        let done = self.0.map(decode(record)?, &item.replies, &mut out);
        finish(done, out, sink)
    }

    fn ask(&self, operation: Operation, record: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        translate::<M::In, Nothing, M::Out>(operation, record, sink)
    }

    fn open(&self, records: &[&[u8]], tally: &mut Tally) -> Option<Values> {
        Some(chain::open::<M::In>(records, tally))
    }

    fn step(&self, values: Values, tally: &mut Tally) -> Option<Values> {
        chain::step(&self.0, values, tally)
    }

    fn close(&self, values: Values, tally: &mut Tally, links: &mut dyn Links) -> Option<()> {
        chain::close::<M::Out>(values, |_| None, tally, links)
    }
}

struct ErasedGroup<G>(G);

impl<G: Group> Erased for ErasedGroup<G> {
    fn run(&self, item: &Invocation<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        let mut out = Output::default();
        let (records, with) = (decode_all(item.records)?, decode_all(item.with)?);
        let done = self.0.group(item.key, records, with, &item.replies, &mut out);
        finish(done, out, sink)
    }

    fn ask(&self, operation: Operation, record: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        match operation {
            Operation::Key => {
                let record = decode(record)?;
                sink.record(self.0.key(&record).as_bytes());
                self.0.looks_up(&record).into_iter().for_each(|key| sink.record(key.as_bytes()));
            }
            Operation::WithKey => sink.record(self.0.with_key(&decode(record)?).as_bytes()),
            _ => return translate::<G::In, G::With, G::Out>(operation, record, sink),
        }
        Ok(())
    }

    fn close(&self, values: Values, tally: &mut Tally, links: &mut dyn Links) -> Option<()> {
        let keys = |record: &G::In| Some((self.0.key(record), self.0.looks_up(record)));
        chain::close(values, keys, tally, links)
    }
}

fn decode_all<R: Record>(records: Records<'_>) -> Result<Vec<R>, Error> {
    let mut decoded = Vec::with_capacity(records.len());
    records.iter().try_for_each(|record| {
        decoded.push(decode(record)?);
        Ok(())
    })?;
    Ok(decoded)
}

/// Hands over what a stage has said of an item, and where it could be handled what was made of it.
fn finish<T: Record>(done: Result<(), Error>, out: Output<T>, sink: &mut dyn Sink) -> Result<(), Error> {
    out.logged.iter().for_each(|(level, message)| sink.log(*level, message));
    done?;
    if !out.requests.is_empty() {
        out.requests.into_iter().for_each(|request| sink.request(request));
        return Ok(());
    }
    let mut bytes = SCRATCH.take();
    let encoded = out.emitted.iter().try_for_each(|record| {
        bytes.clear();
        encode_into(record, &mut bytes)?;
        sink.record(&bytes);
        Ok(())
    });
    if bytes.capacity() <= KEPT {
        SCRATCH.set(bytes);
    }
    encoded
}

thread_local! {
    /// Where records are encoded before they are lent: to ask for as much memory for each costs more than to encode it.
    static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Bytes of it that a thread keeps, at most.
const KEPT: usize = 1 << 20;

fn translate<I: Record, W: Record, O: Record>(
    operation: Operation,
    bytes: &[u8],
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let translated = match operation {
        Operation::ToJson(Port::In) => to_json::<I>(bytes),
        Operation::ToJson(Port::With) => to_json::<W>(bytes),
        Operation::ToJson(Port::Out) => to_json::<O>(bytes),
        Operation::FromJson(Port::In) => from_json::<I>(bytes),
        Operation::FromJson(Port::With) => from_json::<W>(bytes),
        Operation::FromJson(Port::Out) => from_json::<O>(bytes),
        other => Err(Error(format!("a map has no {other:?}"))),
    };
    translated.map(|bytes| sink.record(&bytes))
}

/// A record as JSON.
pub fn to_json<R: Record>(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&decode::<R>(bytes)?).map_err(Error::new)
}

/// A record from JSON.
pub fn from_json<R: Record>(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    encode(&serde_json::from_slice::<R>(bytes).map_err(|e| Error(format!("not a {}: {e}", R::NAME)))?)
}

/// Lets `plugin!` tell maps from groups by type: the method that resolves is the one whose bound holds.
#[derive(Debug)]
pub struct Probe<T>(pub PhantomData<T>);

/// Resolves on a [`Probe`] of a map.
pub trait ProbeMap {
    /// Manifest and constructor of the stage.
    fn entry(&self, version: &str) -> (Manifest, Create);
}

/// Resolves on a [`Probe`] of a group.
pub trait ProbeGroup {
    /// Manifest and constructor of the stage.
    fn entry(&self, version: &str) -> (Manifest, Create);
}

impl<M: Map> ProbeMap for Probe<M> {
    fn entry(&self, version: &str) -> (Manifest, Create) {
        (map_manifest::<M>(version), create_map::<M>)
    }
}

impl<G: Group> ProbeGroup for &Probe<G> {
    fn entry(&self, version: &str) -> (Manifest, Create) {
        (group_manifest::<G>(version), create_group::<G>)
    }
}
