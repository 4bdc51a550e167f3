//! The reverse stage.
