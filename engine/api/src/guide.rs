//! The book of those who write stages, chapter by chapter.
//!
//! 1. [`first_pipeline`]: rows through a stage into a file.
//! 2. [`first_plugin`]: a stage of one's own, tested and in use.
//! 3. [`groups`]: stages that see all records of a key, and what becomes of them when one goes.
//! 4. [`models`]: stages that ask a model.
//! 5. [`tests`]: a stage by itself, a plugin, a pipeline.
//! 6. [`languages`]: stages in C, in Python, in anything.
//! 7. [`sharing`]: handing a plugin on; what it can reach; what it must keep to.

#[doc = include_str!("guide/first_pipeline.md")]
pub mod first_pipeline {}
#[doc = include_str!("guide/first_plugin.md")]
pub mod first_plugin {}
#[doc = include_str!("guide/groups.md")]
pub mod groups {}
#[doc = include_str!("guide/models.md")]
pub mod models {}
#[doc = include_str!("guide/tests.md")]
pub mod tests {}
#[doc = include_str!("guide/languages.md")]
pub mod languages {}
#[doc = include_str!("guide/sharing.md")]
pub mod sharing {}
