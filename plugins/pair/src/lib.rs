//! The pair stage.
