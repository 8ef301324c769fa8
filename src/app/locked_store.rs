//! The database, open for writing under the writer's lock.

use std::sync::Arc;

use super::{AppError, configured_scope, halo_connector, privacy, store_options};
use crate::config::Config;
use crate::privacy::PrivacyRules;
use crate::store::{FileId, Lock, ReadTx, Store, StoreError};
use crate::sync::{self, SharedStore};

/// The database with the writer's lock; no other process writes meanwhile.
pub(super) struct LockedStore {
    pub(super) store: SharedStore,
    /// The rules that are carried out in it.
    pub(super) privacy: Arc<PrivacyRules>,
    /// The identity of the file that was opened.
    file: Option<FileId>,
    _lock: Lock,
}

impl LockedStore {
    /// Takes the lock and opens the database, unless it belongs to another server, and carries out the privacy rules of the
    /// settings, unless nothing may change in it.
    pub(super) fn open(config: &Config, is_dry_run: bool) -> Result<LockedStore, AppError> {
        let privacy = privacy::privacy_rules(config)?;
        Store::check_folder(&config.store.path)?;
        let lock = Lock::acquire_writer(&config.store.path)?;
        let (store, file) = open_store(config, &privacy, is_dry_run)?;
        Ok(LockedStore { store, privacy, file, _lock: lock })
    }

    /// The greatest number of requests that runs can have made in the rate limit's window before now.
    pub(super) fn requests_in_window(&self, config: &Config) -> Result<u64, StoreError> {
        self.store.lock().read(|tx| halo_connector::requests_in_window(config, tx))
    }

    /// Whether the path of the database now leads to another file, or to none.
    pub(super) fn is_replaced(&self, config: &Config) -> bool {
        FileId::from_path(&config.store.path) != self.file
    }

    /// Opens the database again; the lock is kept.
    pub(super) fn reopen(&mut self, config: &Config) -> Result<(), AppError> {
        (self.store, self.file) = open_store(config, &self.privacy, false)?;
        Ok(())
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }
}

fn open_store(
    config: &Config,
    rules: &PrivacyRules,
    is_dry_run: bool,
) -> Result<(SharedStore, Option<FileId>), AppError> {
    let path = &config.store.path;
    let mut store = open_checked(config, |_| Ok(()))?;
    if is_dry_run {
        store.read(|tx| privacy::check_carried_out(tx, rules))?;
    } else {
        privacy::carry_out(&mut store, config, rules)?;
    }
    store.set_min_free_disk(config.store.min_free_disk);
    Ok((SharedStore::new(store), FileId::from_path(path)))
}

/// Opens the database, unless it belongs to another server or `check` fails, which both leaves it as it is.
fn open_checked(
    config: &Config,
    check: impl FnOnce(&ReadTx<'_>) -> Result<(), AppError>,
) -> Result<Store, AppError> {
    let path = &config.store.path;
    let store = Store::open_checked(path, &store_options(config), |tx| {
        sync::check_same_server(tx, &configured_scope(config))?;
        tx.check_wal_fits(path)?;
        check(tx)
    })?;
    report_finding(&store);
    Ok(store)
}

/// The same for a database that must exist; the caller has its lock.
pub(super) fn open_existing(
    config: &Config,
    check: impl FnOnce(&ReadTx<'_>) -> Result<(), AppError>,
) -> Result<Store, AppError> {
    // Opening for writing would turn an empty file into a database.
    drop(Store::open_read_only(&config.store.path, config.store.busy_timeout)?);
    open_checked(config, check)
}

/// Reports what opening the database put right.
pub(super) fn report_finding(store: &Store) {
    if let Some(finding) = store.finding() {
        tracing::warn!("{finding}");
    }
}
