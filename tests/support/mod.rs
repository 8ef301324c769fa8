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
pub(crate) mod made_database;
pub(crate) mod mapping;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod test_env;
pub(crate) mod tls;
pub(crate) mod virtual_env;
pub(crate) mod virtual_server;

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The directory of the recorded responses.
pub(crate) fn pages() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pages"))
}

/// A recorded response, byte for byte.
pub(crate) fn page(name: &str) -> Vec<u8> {
    let path = pages().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the entries of a directory, sorted; none where there is no directory.
pub(crate) fn file_names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number in an environment variable, which may have underscores.
pub(crate) fn env_number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.replace('_', "").parse().expect(variable))
}

/// A number below a million with its thousands separator.
pub(crate) fn with_separator(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}
