//! What a stage says of itself.

use schemars::schema_for;
use serde::{Deserialize, Serialize};

use crate::{Group, Json, Map, Nothing, Record};

/// What a stage is, as the host and the pipeline check see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The `type` by which pipelines name the stage.
    pub name: String,
    /// Version of the crate that holds it.
    pub version: String,
    /// Map or group.
    pub kind: Kind,
    /// See [`Group::WITHIN_ROW`].
    #[serde(default)]
    pub within_row: bool,
    /// Record type of the input.
    pub input: String,
    /// Record type of the side input.
    pub with: Option<String>,
    /// Record type of the output.
    pub output: String,
    /// JSON schema of the settings.
    pub settings: Json,
    /// What the stage does with a few items, to be read and to be checked.
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// What a stage makes of an item: a record, or the records of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Example {
    /// Settings, as in a pipeline.
    pub settings: Json,
    /// The record, or all of a group, as JSON.
    pub records: Vec<Json>,
    /// Side records of the group.
    pub with: Vec<Json>,
    /// Answers to what it asks models for, in order.
    pub replies: Vec<String>,
    /// The records that it makes, in order.
    pub made: Vec<Json>,
}

impl Default for Example {
    /// Of no settings.
    fn default() -> Self {
        let (records, with, replies, made) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Example { settings: Json(serde_json::json!({})), records, with, replies, made }
    }
}

impl Manifest {
    /// Whether its settings name a model: what it may ask for takes time.
    pub fn names_model(&self) -> bool {
        fn names(schema: &serde_json::Value) -> bool {
            match schema {
                serde_json::Value::Object(fields) => {
                    fields.get("format").is_some_and(|format| format == "model") || fields.values().any(names)
                }
                serde_json::Value::Array(schemas) => schemas.iter().any(names),
                _ => false,
            }
        }
        names(&self.settings.0)
    }
}

/// Whether a stage sees records one by one or by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One record at a time.
    Map,
    /// All records of a key.
    Group,
}

/// The manifest of a map.
pub fn map_manifest<M: Map>(version: &str) -> Manifest {
    Manifest {
        name: M::NAME.into(),
        version: version.into(),
        kind: Kind::Map,
        within_row: true,
        input: M::In::NAME.into(),
        with: None,
        output: M::Out::NAME.into(),
        settings: Json(schema_for!(M).to_value()),
        examples: M::examples(),
    }
}

/// The manifest of a group.
pub fn group_manifest<G: Group>(version: &str) -> Manifest {
    Manifest {
        name: G::NAME.into(),
        version: version.into(),
        kind: Kind::Group,
        within_row: G::WITHIN_ROW,
        input: G::In::NAME.into(),
        with: (G::With::NAME != Nothing::NAME).then(|| G::With::NAME.into()),
        output: G::Out::NAME.into(),
        settings: Json(schema_for!(G).to_value()),
        examples: G::examples(),
    }
}
