//! halosync keeps a complete, queryable, exportable copy of a HaloITSM server's tickets in one SQLite
//! file.

pub mod app;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod export;
pub mod halo;
pub mod retry;
pub mod scope;
pub mod store;
pub mod sync;
pub mod ticket;
pub mod watermark;
