//! Tests of the service as the service manager sees it: the real program, a notify socket, signals, and a simulated
//! server over real sockets.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod daemon;
mod endpoint;
mod endurance;
mod figures;
mod lake;
mod life;
mod readers;
mod reload;
mod secrets;
mod watchdog;

use support::server::{serve, settings};
