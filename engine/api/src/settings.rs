//! Setting types that the pipeline check understands.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The name of a `[model.NAME]` table; the check refuses names that the pipeline does not define.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelName(pub String);

impl JsonSchema for ModelName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ModelName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "model" })
    }
}

/// A path; a relative one in a pipeline file is taken from that file's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathSetting(pub PathBuf);

impl JsonSchema for PathSetting {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "PathSetting".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}

/// What is not to be seen, such as a key: pipelines say `${env:NAME}`, and it is read where it is used, so that no plan, file, memo or
/// message holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The name of the variable that a setting names.
    pub fn variable(setting: &str) -> Option<&str> {
        let name = setting.strip_prefix("${env:")?.strip_suffix('}')?;
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (!name.is_empty() && is_name(name)).then_some(name)
    }

    /// The secret itself. Keep it no longer than it takes to use it.
    ///
    /// # Errors
    /// The variable is not set, or is no text; names it.
    pub fn reveal(&self) -> Result<String, Error> {
        let name = Self::variable(&self.0).ok_or_else(|| Error::new("a secret is written `${env:NAME}`"))?;
        std::env::var(name).map_err(|error| Error(format!("the environment's `{name}`: {error}")))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_where_it_is_used_and_shown_nowhere() {
        let secret: Secret = serde_json::from_str("\"${env:PATH}\"").unwrap();
        assert_eq!(secret.reveal().ok(), std::env::var("PATH").ok());
        assert_eq!(
            format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()),
            "Secret(\"${env:PATH}\") \"${env:PATH}\""
        );
        for wrong in ["PATH", "${env:}", "${env:NO PE}", "${env:OBVERT_NO_SUCH}"] {
            assert!(Secret(wrong.into()).reveal().is_err(), "{wrong}");
        }
    }
}
