//! The page of a run, as a browser shows it and as its server answers.
#![cfg(feature = "page")]
// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod flows;
mod guarded;
mod site;
