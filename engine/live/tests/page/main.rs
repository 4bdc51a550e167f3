//! The page of a run, as a browser shows it and as its server answers.
#![cfg(feature = "page")]

mod browser;
mod flows;
mod guarded;
mod site;
