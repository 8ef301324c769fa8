//! The database, open for writing: its lock is held, and nobody else changes it meanwhile.

use super::{AgentError, options, source, wanted_scope};
use crate::config::Config;
use crate::store::{FileId, Lock, Store, StoreError};
use crate::sync::{self, SharedStore};

/// The copy, for as long as passes are made.
pub(super) struct LockedCopy {
    store: SharedStore,
    /// The file, as it was opened.
    file: Option<FileId>,
    _lock: Lock,
}

impl LockedCopy {
    /// Takes the lock and opens the database, if it is none of another server.
    pub(super) fn open(config: &Config) -> Result<LockedCopy, AgentError> {
        Store::check_folder(&config.store.path)?;
        let lock = Lock::of_the_writer(&config.store.path)?;
        let (store, file) = open(config)?;
        Ok(LockedCopy { store, file, _lock: lock })
    }

    pub(super) fn store(&self) -> &SharedStore {
        &self.store
    }

    /// How many requests passes may have made in the window before now.
    pub(super) fn spent(&self, config: &Config) -> Result<u64, StoreError> {
        self.store.lock().read(|snapshot| source::spent(config, snapshot))
    }

    /// Whether the name of the database is that of another file by now, or of none.
    pub(super) fn is_replaced(&self, config: &Config) -> bool {
        FileId::of(&config.store.path) != self.file
    }

    /// Opens the database anew; the lock stays.
    pub(super) fn reopen(&mut self, config: &Config) -> Result<(), AgentError> {
        (self.store, self.file) = open(config)?;
        Ok(())
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }
}

fn open(config: &Config) -> Result<(SharedStore, Option<FileId>), AgentError> {
    let path = &config.store.path;
    let scope = wanted_scope(config);
    let store = Store::open_where(path, &options(config), |snapshot| sync::same_server(snapshot, &scope))?;
    Ok((SharedStore::new(store), FileId::of(path)))
}
