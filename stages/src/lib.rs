//! The built-in stages, one per file.

pub mod output;
