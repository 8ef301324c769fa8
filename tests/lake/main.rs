//! The lake: what is put into a store, in which order, and what readers see of it at any time.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../exports/export_env.rs"]
mod export_env;
mod interruptions;
mod lake_env;
mod protocol;
#[path = "../support/mod.rs"]
mod support;
mod two_writers;
