//! `report.html`: what stands in it, and what a browser makes of it.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod chromium;
mod facts;
mod page;
