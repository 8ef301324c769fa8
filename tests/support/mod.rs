//! What several tests share: the recorded answers, a server that gives them, the agent run against it.

// Every test is a crate of its own and uses only a part of this.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod agent;
pub(crate) mod expected;
pub(crate) mod fixture_server;

use std::path::PathBuf;

/// The folder of the recorded answers.
pub(crate) fn pages() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pages"))
}

/// A recorded answer, byte for byte.
pub(crate) fn page(name: &str) -> Vec<u8> {
    let path = pages().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
