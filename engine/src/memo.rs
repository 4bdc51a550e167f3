//! The durable memo of model calls: paid once, and a retraction retracts the same reply.

mod identity;
mod layout;
mod open;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use fjall::{Database, Keyspace, PersistMode, UserKey, UserValue};
use obvert_api::Reply;
use serde::{Deserialize, Serialize};

pub use identity::{Identity, Key, PARTS};
pub use layout::{Held, gather};
pub(crate) use layout::{arrange, folder};
use open::Opened;

/// Replies by call, and calls by the place where they were made.
pub struct Memo {
    /// Held while it is open.
    _lock: File,
    database: Database,
    replies: Keyspace,
    /// Place and key, to when it was made and the parts of its identity.
    places: Keyspace,
}

/// Who made a call, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the stage.
    pub stage: String,
    /// Name of the model's table.
    pub model: String,
    /// Unix time in seconds.
    pub made: u64,
}

/// A call that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The answer.
    pub reply: Reply,
    /// Who asked.
    pub origin: Origin,
}

/// A reply to be kept.
#[derive(Clone, Debug)]
pub struct Paid {
    /// The call.
    pub identity: Identity,
    /// Where in the dataflow it was made.
    pub place: CallPlace,
    /// What is kept.
    pub entry: Entry,
}

/// Where calls are made: a stage, a source row, a lap of the turn loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPlace([u8; 16]);

impl CallPlace {
    /// The place of a stage's calls for a root and a lap.
    pub fn new(stage: &str, root: u64, lap: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&root.to_le_bytes()).update(&lap.to_le_bytes()).update(stage.as_bytes());
        let mut place = [0; 16];
        place.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        CallPlace(place)
    }
}

/// A call that was made in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The call.
    pub key: Key,
    /// Unix time in seconds.
    pub made: u64,
    /// Hashes of the parts of its identity.
    pub parts: [u64; PARTS.len()],
}

/// Seconds since the beginning of 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Calls that are removed, or moved, at once.
const CHUNK: usize = 1024;

impl Memo {
    /// Opens the memo in a folder, or makes one. One process at a time may hold it.
    ///
    /// # Errors
    /// It is held, or cannot be read or made.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let Opened { lock, database, replies, places } = open::open(folder)?;
        Ok(Memo { _lock: lock, database, replies, places })
    }

    /// As [`Memo::open`]; where this process holds the memo already, that one: calls that were given up keep it until they come back,
    /// which may be after the run that made them.
    ///
    /// # Errors
    /// As for [`Memo::open`].
    pub(crate) fn shared(folder: &Path) -> Result<Arc<Self>, String> {
        static OPEN: Mutex<BTreeMap<PathBuf, Weak<Memo>>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memo) = open.get(folder).and_then(Weak::upgrade) {
            return Ok(memo);
        }
        let memo = Arc::new(Memo::open(folder)?);
        open.insert(folder.to_owned(), Arc::downgrade(&memo));
        Ok(memo)
    }

    /// The reply to a call that was made before.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn get(&self, key: &Key) -> Result<Option<Reply>, String> {
        Ok(self.entry(key)?.map(|entry| entry.reply))
    }

    /// The reply to a call that was made before, and who made it.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn entry(&self, key: &Key) -> Result<Option<Entry>, String> {
        self.replies.get(key).map_err(text)?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Calls that were made in a place, the newest first.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn made(&self, place: CallPlace) -> Result<Vec<Made>, String> {
        let mut made = Vec::new();
        for row in self.places.prefix(place.0) {
            let (row, value) = row.into_inner().map_err(text)?;
            let key = row.get(16..).and_then(|key| key.try_into().ok()).ok_or("a call's place is damaged")?;
            let (at, parts) = decode(&value)?;
            made.push(Made { key, made: at, parts });
        }
        made.sort_by_key(|made| std::cmp::Reverse(made.made));
        Ok(made)
    }

    /// Keeps replies; they are on disk when this returns.
    ///
    /// # Errors
    /// They could not be kept.
    pub fn put(&self, paid: &[Paid]) -> Result<(), String> {
        let mut batch = self.database.batch();
        for Paid { identity, place, entry } in paid {
            batch.insert(&self.replies, identity.key, encode(entry)?);
            let row = [&place.0[..], &identity.key].concat();
            batch.insert(&self.places, row, encode(&(entry.origin.made, identity.parts))?);
        }
        batch.commit().map_err(text)?;
        self.database.persist(PersistMode::SyncAll).map_err(text)
    }

    /// Looks at every call that was kept.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn scan(&self, mut look: impl FnMut(&Key, Entry, u64)) -> Result<(), String> {
        for row in self.replies.iter() {
            let (key, value) = row.into_inner().map_err(text)?;
            let key = (*key).try_into().map_err(|_| "a call's key is damaged".to_owned())?;
            look(&key, decode(&value)?, value.len() as u64);
        }
        Ok(())
    }

    /// Moves calls, and the places where they were made, that `owner` gives to other memos; `to` opens one of them.
    fn part(
        &self,
        own: usize,
        owner: impl Fn(&Key) -> usize,
        to: impl Fn(usize) -> Result<Arc<Memo>, String>,
    ) -> Result<(), String> {
        for rows in [Self::calls as fn(&Memo) -> &Keyspace, Self::at_places] {
            let mut moving = Vec::new();
            for row in rows(self).iter() {
                let (row, value) = row.into_inner().map_err(text)?;
                let owner = owner(row.last_chunk().ok_or("a memo entry has no key")?);
                if owner != own {
                    moving.push((owner, row, value));
                }
                if moving.len() >= CHUNK {
                    self.move_out(rows, std::mem::take(&mut moving), &to)?;
                }
            }
            self.move_out(rows, moving, &to)?;
        }
        self.database.persist(PersistMode::SyncAll).map_err(text)
    }

    /// Moves rows to the memos of their owners: they go from here once they are on disk there.
    fn move_out(
        &self,
        rows: fn(&Memo) -> &Keyspace,
        moving: Vec<(usize, UserKey, UserValue)>,
        to: &impl Fn(usize) -> Result<Arc<Memo>, String>,
    ) -> Result<(), String> {
        let (mut batches, mut own) = (BTreeMap::new(), self.database.batch());
        for (owner, row, value) in moving {
            let memo = to(owner)?;
            let (memo, batch) = batches.entry(owner).or_insert_with(|| (Arc::clone(&memo), memo.database.batch()));
            batch.insert(rows(memo), row.clone(), value);
            own.remove(rows(self), row);
        }
        for (memo, batch) in batches.into_values() {
            batch.commit().map_err(text)?;
            memo.database.persist(PersistMode::SyncAll).map_err(text)?;
        }
        own.commit().map_err(text)
    }

    fn calls(&self) -> &Keyspace {
        &self.replies
    }

    fn at_places(&self) -> &Keyspace {
        &self.places
    }

    /// Forgets calls; they will be paid again. Returns how many there were.
    ///
    /// # Errors
    /// The memo cannot be written.
    pub fn prune(&self, unwanted: impl Fn(&Origin) -> bool) -> Result<u64, String> {
        let mut keys = Vec::new();
        self.scan(|key, entry, _| keys.extend(unwanted(&entry.origin).then_some(*key)))?;
        for keys in keys.chunks(CHUNK) {
            let mut batch = self.database.batch();
            keys.iter().for_each(|key| batch.remove(&self.replies, *key));
            batch.commit().map_err(text)?;
        }
        self.database.persist(PersistMode::SyncAll).map_err(text)?;
        self.replies.major_compact().map_err(text)?;
        Ok(keys.len() as u64)
    }

    /// Bytes on disk.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn disk_space(&self) -> Result<u64, String> {
        self.database.disk_space().map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(text)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let decoded = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
    decoded.map(|(value, _)| value).map_err(|error| format!("a memo entry is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use obvert_api::Request;

    use super::*;

    pub(super) fn paid(stage: &str, text: &str, made: u64) -> Paid {
        let reply = Reply { text: text.into(), prompt_tokens: 1, reply_tokens: 2, finished: true };
        let origin = Origin { pipeline: "p".into(), stage: stage.into(), model: "m".into(), made };
        let identity = Identity::of(stage, text, &Request::new("m", Vec::new()));
        Paid { identity, place: CallPlace::new(stage, 1, 0), entry: Entry { reply, origin } }
    }

    #[test]
    fn replies_survive_reopening_and_are_found_by_place() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (paid("s", "old", 5), paid("s", "new", 9));
        Memo::open(&folder.path().join("memo")).unwrap().put(&[old.clone(), new.clone()]).unwrap();
        let memo = Memo::open(&folder.path().join("memo")).unwrap();
        assert_eq!(memo.entry(&old.identity.key).unwrap(), Some(old.entry));
        let made = memo.made(new.place).unwrap();
        assert_eq!(
            made.iter().map(|made| (made.key, made.made)).collect::<Vec<_>>(),
            [(new.identity.key, 9), (old.identity.key, 5)]
        );
        assert_eq!(new.identity.differences(&made[1].parts), ["the model"]);
        assert!(memo.made(CallPlace::new("s", 2, 0)).unwrap().is_empty());
    }

    #[test]
    fn what_is_pruned_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let memo = Memo::open(&folder.path().join("memo")).unwrap();
        let calls = [paid("a", "1", 1), paid("a", "2", 2), paid("b", "3", 3)];
        memo.put(&calls).unwrap();
        assert_eq!(memo.prune(|origin| origin.stage == "a" && origin.made < 2).unwrap(), 1);
        let left: Vec<bool> = calls.iter().map(|paid| memo.get(&paid.identity.key).unwrap().is_some()).collect();
        assert_eq!(left, [false, true, true]);
    }
}
