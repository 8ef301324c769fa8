//! Exports that a consumer can trust who sees nothing but the files.
//!
//! Histories are written into a database of their own, the real program hands them on, and what it wrote is read back by
//! parsers that share no code with it. `HALOSYNC_EXPORTS_SEED=17` repeats one history; `HALOSYNC_EXPORTS=200` plays so many.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod consumers;
mod desk;
mod fold;
mod interruptions;
mod loading;
mod manifests;
mod readers;
mod tampering;
