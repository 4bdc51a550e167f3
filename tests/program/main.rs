//! Whole-program tests: pipelines in, files out.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod sessions;

mod alone;
mod beside;
mod changelog;
mod chaos;
mod cluster;
mod common;
mod comparison;
mod contained;
mod corrections;
mod eval;
mod export;
mod foreign;
mod hand_over;
mod init;
mod looked_at;
mod memo;
mod merge;
mod online;
mod own;
mod planned;
mod quickstart;
mod readme;
mod refused;
mod resume;
mod schema;
mod served;
mod slow;
mod spans;
mod steered;
mod storage;
mod sysbench;
mod traced;
mod train;
mod verbs;
mod watch;
mod withdrawn;
