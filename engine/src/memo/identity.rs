//! What a call is: all that could change the reply, part by part.

use obvert_api::Request;
use serde::{Deserialize, Serialize};

/// Identity of a call: a hash over all of its parts.
pub type Key = [u8; 32];

/// What a call is made of, in the order of [`Identity::parts`].
pub const PARTS: [&str; 7] =
    ["the stage's code", "the model", "the messages", "the sampling", "the sample", "the adapter", "the schema"];

/// A call with a hash of each of its parts, so that two calls can be told apart by what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the whole.
    pub key: Key,
    /// Of each part.
    pub parts: [u64; PARTS.len()],
}

impl Identity {
    /// The call of a request by a stage of the given build to a model of the given identity. The name of the model's table is
    /// no part of it: renaming `[model.NAME]` changes no reply.
    pub fn of(build: &str, model: &str, request: &Request) -> Self {
        let Request { model: _, messages, sampling, sample, adapter, schema } = request;
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        let parts: [Vec<u8>; PARTS.len()] = [
            build.into(),
            model.into(),
            json(serde_json::to_vec(messages)),
            json(serde_json::to_vec(sampling)),
            sample.to_le_bytes().into(),
            json(serde_json::to_vec(&adapter.as_deref().map(version))),
            json(serde_json::to_vec(schema)),
        ];
        let mut whole = blake3::Hasher::new();
        let parts = parts.map(|part| {
            let hash = blake3::hash(&part);
            whole.update(hash.as_bytes());
            hash.as_bytes()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        });
        Identity { key: *whole.finalize().as_bytes(), parts }
    }

    /// Names of the parts in which two calls differ.
    pub fn differences(&self, other: &[u64; PARTS.len()]) -> Vec<&'static str> {
        let differ = self.parts.iter().zip(other).zip(PARTS).filter(|((mine, theirs), _)| mine != theirs);
        differ.map(|(_, name)| name).collect()
    }
}

/// The version of an adapter: the name of its folder, wherever that is.
fn version(folder: &str) -> &str {
    folder.rsplit(['/', '\\']).next().unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_sees_content_and_build_but_not_the_models_name() {
        let request = Request::new("m", Vec::new());
        let base = Identity::of("build", "model", &request);
        assert_eq!(base, Identity::of("build", "model", &Request { model: "other".into(), ..request.clone() }));
        let others = [
            (Identity::of("other build", "model", &request), "the stage's code"),
            (Identity::of("build", "other model", &request), "the model"),
            (Identity::of("build", "model", &Request { sample: 1, ..request }), "the sample"),
        ];
        let adapted = |folder: &str| {
            let request = Request { adapter: Some(folder.into()), ..Request::new("m", Vec::new()) };
            Identity::of("build", "model", &request).key
        };
        assert_eq!(adapted("/here/state/adapters/0a1b"), adapted("/there/0a1b"));
        assert_ne!(adapted("/here/0a1b"), adapted("/here/0a1c"));
        for (other, part) in others {
            assert_ne!(base.key, other.key);
            assert_eq!(base.differences(&other.parts), [part]);
        }
    }
}
