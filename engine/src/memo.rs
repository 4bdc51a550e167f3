//! The durable memo of model calls: paid once, and a retraction retracts the same reply.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use obvert_api::{Reply, Request};

/// Identity of a call: whatever could change the reply is hashed into it.
pub type Key = [u8; 32];

/// Replies by call.
pub struct Memo {
    database: Database,
    replies: Keyspace,
}

/// The key of a request by a stage of the given build to a model of the given identity.
pub fn key(build: &str, model: &str, request: &Request) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in [build.as_bytes(), model.as_bytes(), &content(request)] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The request without the name of the model: renaming a `[model.NAME]` table changes no reply.
fn content(request: &Request) -> Vec<u8> {
    let Request { model: _, messages, sampling, sample, adapter, schema } = request;
    serde_json::to_vec(&(messages, sampling, sample, adapter, schema)).unwrap_or_default()
}

impl Memo {
    /// Opens the memo in a folder, or makes one. One process at a time may hold it.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let database = Database::builder(folder).open().map_err(|e| e.to_string())?;
        let replies = database.keyspace("replies", KeyspaceCreateOptions::default).map_err(|e| e.to_string())?;
        Ok(Memo { database, replies })
    }

    /// The reply to a call that was made before.
    pub fn get(&self, key: &Key) -> Result<Option<Reply>, String> {
        let Some(bytes) = self.replies.get(key).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| format!("memo entry is damaged: {e}"))
    }

    /// Keeps replies; they are on disk when this returns.
    pub fn put(&self, replies: &[(Key, Reply)]) -> Result<(), String> {
        let mut batch = self.database.batch();
        for (key, reply) in replies {
            batch.insert(&self.replies, key, serde_json::to_vec(reply).map_err(|e| e.to_string())?);
        }
        batch.commit().map_err(|e| e.to_string())?;
        self.database.persist(PersistMode::SyncAll).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply { text: text.into(), prompt_tokens: 1, reply_tokens: 2, finished: true }
    }

    #[test]
    fn replies_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let key = key("build", "model", &Request::new("m", Vec::new()));
        Memo::open(folder.path()).unwrap().put(&[(key, reply("yes"))]).unwrap();
        assert_eq!(Memo::open(folder.path()).unwrap().get(&key).unwrap(), Some(reply("yes")));
    }

    #[test]
    fn the_key_sees_content_and_build_but_not_the_models_name() {
        let request = Request::new("m", Vec::new());
        let base = key("build", "model", &request);
        assert_eq!(base, key("build", "model", &Request { model: "other".into(), ..request.clone() }));
        assert_ne!(base, key("other build", "model", &request));
        assert_ne!(base, key("build", "other model", &request));
        assert_ne!(base, key("build", "model", &Request { sample: 1, ..request }));
    }
}
