//! Packages and snapshots as consumers see them.
//!
//! Tests write changes to a database, the real binary exports them, and parsers that share no code with it read the files.
//! `HALOSYNC_EXPORTS_SEED=17` repeats one random history; `HALOSYNC_EXPORTS=200` sets how many are played.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod columns;
mod consumers;
mod export_env;
mod fold;
mod interruptions;
mod loading;
mod manifests;
#[cfg(feature = "lake")]
mod parquet_files;
mod readers;
mod reference;
mod restored;
mod tampering;
mod untrusted;
