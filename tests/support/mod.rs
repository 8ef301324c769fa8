//! The test harness, shared by all integration tests.
//!
//! [`test_env::TestEnv`] runs the real binary over real sockets; [`virtual_env::VirtualEnv`] runs the library in virtual
//! time. One builder makes both, and both have the same simulated server ([`server`]), queries ([`database`]) and
//! comparison ([`comparison`]).

// Every test is a crate of its own and uses only a part of this.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used)]

pub(crate) mod comparison;
pub(crate) mod database;
pub(crate) mod expected;
pub(crate) mod fixture_server;
pub(crate) mod history;
pub(crate) mod mapping;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod test_env;
pub(crate) mod tls;
pub(crate) mod virtual_env;
pub(crate) mod virtual_server;

use std::path::PathBuf;

/// The directory of the recorded responses.
pub(crate) fn pages() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pages"))
}

/// A recorded response, byte for byte.
pub(crate) fn page(name: &str) -> Vec<u8> {
    let path = pages().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
