//! What many pipelines of tests begin with.

/// The beginning of many pipelines: dialogues of the profiles and personas in two files.
macro_rules! sessions {
    () => {
        r#"[stage.profiles]
type = "profiles"
path = "profiles.jsonl"

[stage.personas]
type = "personas"
path = "personas.jsonl"

[stage.session]
type = "session"
from = "profiles"
with = "personas"
"#
    };
}
