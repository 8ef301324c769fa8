//! The real program in a folder of its own, set up for a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

/// The client id and the secret in its settings.
pub(crate) const CLIENT_ID: &str = "fixture-client";
pub(crate) const CLIENT_SECRET: &str = "fixture-secret-of-nobody";

/// A folder with `agent.toml` and the secret.
pub(crate) struct Agent {
    folder: TempDir,
}

impl Agent {
    /// Sets one up for a server; `more` are further keys of `[halo]`, or whole sections.
    pub(crate) fn of(server_url: &str, more: &str) -> Agent {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = format!(
            "[halo]\nserver_url = \"{server_url}\"\nauth_url = \"{server_url}/auth\"\n\
             client_id = \"{CLIENT_ID}\"\nclient_secret_file = \"client-secret\"\n{more}\n"
        );
        fs::write(folder.path().join("agent.toml"), settings).expect("settings");
        let secret = folder.path().join("client-secret");
        fs::write(&secret, format!("{CLIENT_SECRET}\n")).expect("a secret");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
        Agent { folder }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `halosync` with these arguments, in the folder and without any outside settings.
    pub(crate) fn run(&self, arguments: &[&str]) -> Assert {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command.current_dir(self.folder.path()).env_clear().args(arguments).assert()
    }

    /// Its database, for reading.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        rusqlite::Connection::open_with_flags(self.path("halosync.db"), flags).expect("a database")
    }
    /// Damages the first page of an index that nobody looks into on the way. Nobody may have the database open.
    pub(crate) fn damage(&self, index: &str) {
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
        let root: u32 = self.database().query_row(sql, [index], |row| row.get(0)).expect("an index");
        let path = self.path("halosync.db");
        let mut bytes = fs::read(&path).expect("a database");
        let end = root as usize * 4096;
        bytes[end - 4096..end].fill(0x5A);
        fs::write(&path, bytes).expect("a damaged one");
    }
}
