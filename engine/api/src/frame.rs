//! The bytes that cross the border: a header, then items, each preceded by its length.
//!
//! ```text
//! batch      magic u32 "OBV1" | codec u8 | operation u8 | reserved u16 | schema u64 | count u32 | count × item
//! item       length u32 | payload
//! payload    of Run: key bytes | records | with records | replies (JSON); each list is a count u32 and its items
//!            of all others: one record
//! answer     0 u8 | records | requests (JSON); or 1 u8 | reason
//! ```
//!
//! Answers stand alone where a stage runs in a process of its own; within one they are calls of the host's functions.
//!
//! Numbers are little-endian. A reader never trusts a length: what does not fit is an error.

use crate::erased::Kind;
use crate::{Error, Invocation, Operation, Outcome, Reply};

/// The end of an invocation without replies.
const NO_REPLIES: [u8; 4] = [0; 4];
const MAGIC: u32 = u32::from_le_bytes(*b"OBV1");

/// How records are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// With bincode 2's standard configuration.
    Bincode = 1,
    /// As JSON texts.
    Json = 2,
}

/// A batch on its way to a stage.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    count: u32,
}

impl Writer {
    /// An empty batch of records of the type `record`.
    pub fn new(operation: Operation, record: &str) -> Self {
        Self::with_room(Codec::Bincode, operation, record, 0, 0)
    }

    /// An empty batch that need not grow for so many items of so many bytes, where they come without replies.
    pub fn with_room(codec: Codec, operation: Operation, record: &str, items: usize, size: usize) -> Self {
        let mut bytes = Vec::with_capacity(32 + size + 24 * items);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[codec as u8, operation.code(), 0, 0]);
        bytes.extend_from_slice(&schema_of(record).to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        Writer { bytes, count: 0 }
    }

    /// Adds one record.
    pub fn record(&mut self, record: &[u8]) {
        put(&mut self.bytes, record);
        self.count += 1;
    }

    /// Adds a run of a stage on an item: a record of a map, or a group that was encoded without replies.
    ///
    /// # Errors
    /// A reply cannot be written.
    pub fn run(&mut self, kind: Kind, item: &[u8], replies: &[Reply]) -> Result<(), Error> {
        match kind {
            Kind::Map => self.run_map(item, replies),
            Kind::Group => self.run_group(item, replies),
        }
    }

    /// Adds a run of a map on a record, with the replies so far.
    pub fn run_map(&mut self, record: &[u8], replies: &[Reply]) -> Result<(), Error> {
        self.item(|bytes| {
            put(bytes, b"");
            put_list(bytes, &[record]);
            put_list(bytes, &[]);
            put_replies(bytes, replies)
        })
    }

    /// Adds a run of a group on an invocation that was encoded without replies, with the replies so far.
    pub fn run_group(&mut self, invocation: &[u8], replies: &[Reply]) -> Result<(), Error> {
        self.item(|bytes| {
            bytes.extend_from_slice(invocation.strip_suffix(&NO_REPLIES).unwrap_or(invocation));
            put_replies(bytes, replies)
        })
    }

    /// Adds an item whose payload `fill` appends; none if that fails.
    #[inline]
    fn item(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let filled = fill(&mut self.bytes);
        if filled.is_err() {
            self.bytes.truncate(start);
            return filled;
        }
        let length = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        Ok(())
    }

    /// The finished batch.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        self.bytes
    }
}

/// The payload of one run.
pub fn encode_invocation(key: &str, records: &[&[u8]], with: &[&[u8]], replies: &[Reply]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(64 + records.iter().map(|r| r.len() + 4).sum::<usize>());
    put(&mut bytes, key.as_bytes());
    put_list(&mut bytes, records);
    put_list(&mut bytes, with);
    put_replies(&mut bytes, replies)?;
    Ok(bytes)
}

/// Reads a batch: what to do, the schema of its records, and its items.
pub fn decode(batch: &[u8]) -> Result<(Operation, u64, Vec<&[u8]>), Error> {
    let mut reader = Reader(batch);
    if reader.u32().ok_or_else(early)? != MAGIC {
        return Err(Error::new("batch does not begin with OBV1"));
    }
    let [codec, operation, _, _] = reader.u32().ok_or_else(early)?.to_le_bytes();
    if codec != Codec::Bincode as u8 {
        return Err(Error(format!("batch has codec {codec}, known is {}", Codec::Bincode as u8)));
    }
    let operation = Operation::from_code(operation)
        .ok_or_else(|| Error(format!("batch asks for the unknown operation {operation}")))?;
    let [low, high] = [reader.u32(), reader.u32()].map(|half| half.map(u64::from));
    let schema = low.zip(high).map(|(low, high)| low | high << 32);
    let (schema, items) = schema.zip(reader.list()).ok_or_else(early)?;
    reader.end()?;
    Ok((operation, schema, items))
}

/// Reads the payload of one run.
#[inline]
pub fn decode_invocation(payload: &[u8]) -> Result<Invocation<'_>, Error> {
    let mut reader = Reader(payload);
    let key = std::str::from_utf8(reader.item().ok_or_else(early)?).map_err(Error::new)?;
    let (records, with) = reader.records().zip(reader.records()).ok_or_else(early)?;
    let replies = if reader.0 == NO_REPLIES { Vec::new() } else { read_replies(reader)? };
    Ok(Invocation { key, records, with, replies })
}

/// The item that a run is on, as the host knows it: a map's record, or a group without replies.
///
/// # Errors
/// It is no run of such a stage.
pub fn item_of(kind: Kind, run: &[u8]) -> Result<Vec<u8>, Error> {
    let Invocation { key, records, with, .. } = decode_invocation(run)?;
    match kind {
        Kind::Map => records.only().map(<[u8]>::to_vec).ok_or_else(|| Error::new("a map takes one record")),
        Kind::Group => {
            let [records, with] = [records, with].map(|all| all.iter().collect::<Vec<_>>());
            encode_invocation(key, &records, &with, &[])
        }
    }
}

fn read_replies(mut reader: Reader<'_>) -> Result<Vec<Reply>, Error> {
    let replies = reader.json()?;
    reader.end()?;
    Ok(replies)
}

/// A list of records, as it lies in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Records<'a>(Lies<'a>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lies<'a> {
    Alone(&'a [u8]),
    /// So many, one behind the other, each behind its length; they have been looked through.
    Together(u32, &'a [u8]),
}

impl<'a> Records<'a> {
    /// A list of none.
    pub const NONE: Records<'static> = Records(Lies::Together(0, &[]));

    /// A list of one.
    pub fn one(record: &'a [u8]) -> Self {
        Records(Lies::Alone(record))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Lies::Alone(_) => 1,
            Lies::Together(count, _) => count as usize,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record, if it is the only one.
    pub fn only(&self) -> Option<&'a [u8]> {
        match self.0 {
            Lies::Alone(record) => Some(record),
            Lies::Together(1, bytes) => bytes.get(4..),
            Lies::Together(..) => None,
        }
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (alone, together) = match self.0 {
            Lies::Alone(record) => (Some(record), Reader(&[])),
            Lies::Together(_, bytes) => (None, Reader(bytes)),
        };
        let mut together = together;
        alone.into_iter().chain(std::iter::from_fn(move || together.item()))
    }
}

/// What came of one item.
pub fn encode_answer(answer: &Result<Outcome, Error>) -> Vec<u8> {
    answer.as_ref().map_err(Error::clone).and_then(encode_outcome).unwrap_or_else(|reason| {
        let mut bytes = vec![1];
        put(&mut bytes, reason.0.as_bytes());
        bytes
    })
}

fn encode_outcome(outcome: &Outcome) -> Result<Vec<u8>, Error> {
    let requests = outcome.requests.iter().map(|request| serde_json::to_vec(request).map_err(Error::new));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    let mut bytes = vec![0];
    put_list(&mut bytes, &outcome.records.iter().map(|record| &**record).collect::<Vec<_>>());
    put_list(&mut bytes, &requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(bytes)
}

/// Reads what came of one item; what cannot be read is an error of the item.
pub fn decode_answer(answer: &[u8]) -> Result<Outcome, Error> {
    let mut reader = Reader(answer);
    match reader.take(1).ok_or_else(early)? {
        [0] => {
            let records = reader.list().ok_or_else(early)?.into_iter().map(Into::into).collect();
            let requests = reader.json()?;
            reader.end()?;
            Ok(Outcome { records, requests })
        }
        _ => Err(Error(String::from_utf8_lossy(reader.item().ok_or_else(early)?).into_owned())),
    }
}

/// The number that stands for a record type in a batch's header.
pub fn schema_of(record: &str) -> u64 {
    let hash = blake3::hash(record.as_bytes());
    hash.as_bytes()[..8].iter().rev().fold(0, |acc, b| acc << 8 | u64::from(*b))
}

fn put(bytes: &mut Vec<u8>, item: &[u8]) {
    bytes.extend_from_slice(&(item.len() as u32).to_le_bytes());
    bytes.extend_from_slice(item);
}

fn put_list(bytes: &mut Vec<u8>, items: &[&[u8]]) {
    bytes.extend_from_slice(&(items.len() as u32).to_le_bytes());
    items.iter().for_each(|item| put(bytes, item));
}

fn put_replies(bytes: &mut Vec<u8>, replies: &[Reply]) -> Result<(), Error> {
    bytes.extend_from_slice(&(replies.len() as u32).to_le_bytes());
    for reply in replies {
        put(bytes, &serde_json::to_vec(reply).map_err(Error::new)?);
    }
    Ok(())
}

/// What is left to read. Where it ends early there is nothing: as that is returned in registers, it costs nothing either.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(u32::from_le_bytes(*head))
    }

    #[inline]
    fn item(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    #[inline]
    fn records(&mut self) -> Option<Records<'a>> {
        let (count, begin) = (self.u32()?, self.0);
        for _ in 0..count {
            self.item()?;
        }
        Some(Records(Lies::Together(count, &begin[..begin.len() - self.0.len()])))
    }

    fn list(&mut self) -> Option<Vec<&'a [u8]>> {
        let count = self.u32()?;
        // What is announced may not be there: an item takes four bytes at least.
        let mut items = Vec::with_capacity((count as usize).min(self.0.len() / 4));
        for _ in 0..count {
            items.push(self.item()?);
        }
        Some(items)
    }

    /// A list of JSON texts.
    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Vec<T>, Error> {
        let texts = self.list().ok_or_else(early)?;
        texts.into_iter().map(|text| serde_json::from_slice(text).map_err(Error::new)).collect()
    }

    fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error(format!("batch has {} bytes too many", self.0.len()))) }
    }
}

#[cold]
fn early() -> Error {
    Error::new("batch ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let reply = Reply { text: "yes".into(), prompt_tokens: 3, reply_tokens: 1, finished: true };
        let mut writer = Writer::new(Operation::Run, "Turn");
        let group = encode_invocation("k", &[b"one", b""], &[b"side"], &[]).unwrap();
        writer.run_group(&group, &[reply]).unwrap();
        writer.run_map(b"two", &[]).unwrap();
        writer.finish()
    }

    #[test]
    fn a_batch_reads_back() {
        let bytes = batch();
        let (operation, schema, items) = decode(&bytes).unwrap();
        assert_eq!((operation, schema, items.len()), (Operation::Run, schema_of("Turn"), 2));
        let first = decode_invocation(items[0]).unwrap();
        assert_eq!((first.key, first.records.len(), first.with.len()), ("k", 2, 1));
        assert!(first.records.iter().eq([&b"one"[..], b""]) && first.with.iter().eq([b"side"]));
        assert!(Records::one(b"one").iter().eq([b"one"]) && Records::NONE.iter().next().is_none());
        assert_eq!(first.replies[0].text, "yes");
        assert_eq!(items[1], encode_invocation("", &[b"two"], &[], &[]).unwrap());
        // What a host knows them by has no replies.
        let group = encode_invocation("k", &[b"one", b""], &[b"side"], &[]).unwrap();
        assert_eq!((item_of(Kind::Group, items[0]), item_of(Kind::Map, items[1])), (Ok(group), Ok(b"two".to_vec())));
    }

    #[test]
    fn an_answer_reads_back_or_is_an_error() {
        let request = crate::Request::new("m", Vec::new());
        let records = [&b"one"[..], b""].into_iter().map(Into::into).collect();
        let whole = Outcome { records, requests: vec![request] };
        for answer in [Ok(whole), Err(Error::new("no"))] {
            let bytes = encode_answer(&answer);
            assert_eq!(decode_answer(&bytes), answer);
            (0..bytes.len()).for_each(|end| assert!(decode_answer(&bytes[..end]).is_err()));
        }
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let bytes = batch();
        for end in 0..bytes.len() {
            let whole = decode(&bytes[..end]).and_then(|(_, _, items)| {
                items.into_iter().map(|item| decode_invocation(item).map(drop)).collect::<Result<Vec<_>, _>>()
            });
            assert!(whole.is_err(), "a batch cut at {end} was accepted");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            if let Ok((_, _, items)) = decode(&changed) {
                items.into_iter().for_each(|item| drop(decode_invocation(item)));
            }
        }
    }
}
