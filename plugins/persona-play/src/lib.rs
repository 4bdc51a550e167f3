//! The persona-play stage.
