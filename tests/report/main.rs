//! `halosync report`: its figures, its page, and a real browser that opens it.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod browser;
#[allow(dead_code, reason = "exports need more of it")]
#[path = "../exports/export_env.rs"]
mod export_env;
mod figures;
mod page;
#[path = "../support/mod.rs"]
mod support;
