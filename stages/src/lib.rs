//! The built-in stages, one per file.
