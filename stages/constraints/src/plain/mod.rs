//! Plain types, for small examples.

pub mod begins_with;
mod bound;
pub mod contains;
pub mod ends_with;
pub mod lines;
pub mod lower_case;
pub mod marks;
pub mod sentences;
pub mod upper_case;
pub mod words;
