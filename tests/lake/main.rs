//! The lake: what is put into a store, in which order, and what readers see of it at any time.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod azure;
#[allow(dead_code, reason = "exports need more of it")]
#[path = "../exports/export_env.rs"]
mod export_env;
mod interruptions;
mod lake_env;
mod protocol;
mod recipes;
mod s3;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod two_writers;
