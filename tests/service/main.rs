//! Tests of the service as the service manager sees it: the real program, a notify socket, signals, and a simulated
//! server over real sockets.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod daemon;
mod endurance;
mod figures;
mod life;
mod readers;
mod reload;
mod secrets;
mod watchdog;

use halo_simulator::{Simulator, SimulatorSettings};
use support::test_env::{CLIENT_ID, CLIENT_SECRET};

/// Returns the settings of a simulated server that accepts the credentials of these tests.
fn settings(tickets: u32) -> SimulatorSettings {
    SimulatorSettings {
        tickets,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    }
}

/// Starts a simulated server with this many tickets.
async fn serve(tickets: u32) -> Simulator {
    Simulator::start(settings(tickets)).await.unwrap()
}
