//! The store: every SQL statement of the program.
//!
//! Knows nothing of HTTP or of tokio. It is synchronous because SQLite is; the caller picks the
//! thread.
//!
//! Invariants: `upsert` alone writes `tickets` and `changes`, `book` alone `packages` and `consumers`;
//! a mark in `watermarks` is never ahead of the rows it promises, because both are written in one
//! transaction; the file is never opened except through SQLite, whose locks one stray `close` of it
//! would drop (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

mod changes;
mod error;
mod integrity;
mod lock;
mod lock_holders;
mod open;
mod packages;
mod pending_fetches;
mod read;
mod runs;
mod scans;
mod server_probes;
mod upsert;
mod wal;
mod watermark;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use error::StoreError;
pub use lock::{Lock, LockError};
pub use lock_holders::{LockHolders, ReaderProcess};
pub use open::{FileId, SCHEMA_VERSION, StoreOptions, parent_folder, sibling_path};
pub use packages::{ConsumerPosition, PackageRecord};
pub use pending_fetches::{DueFetchFilter, PendingFetch};
pub use read::{Health, LastRun, ReadTx, StoredTicket};
pub use runs::{RunEnd, RunStats};
pub use scans::{InterruptedScan, LastFullScan, LastScan, ScanCheckpoint, ScanOutcome, ScanStats};
pub use server_probes::{MISSING_STATUS, ServerProbe, UnlistedTicket};
pub use upsert::{
    CustomFieldsState, FetchedCustomFields, ObservedTicket, Removal, RemovalReason, StoreOutcome,
    UpsertCounts,
};
pub use wal::{WalCheckpoint, wal_size, write_activity};

/// The database, open for writing or for reading only.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    busy_timeout: Duration,
    /// Grows while SQLite computes.
    progress_steps: Arc<AtomicU64>,
}

/// Whether what a transaction did is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxEnd {
    /// It is committed.
    Commit,
    /// It is rolled back when its results are known: a dry run.
    Rollback,
}

impl Store {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number that grows while a statement runs, however long that takes: the sign that one which takes
    /// long is not stuck. Waiting for a lock or for the disk does not move it.
    #[must_use]
    pub fn progress_steps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress_steps)
    }

    /// Does all of `work` or nothing of it.
    ///
    /// The transaction takes the write lock at its start: one that became a writer half-way could be
    /// refused at once (`SQLITE_BUSY_SNAPSHOT`), however long it would have waited.
    ///
    /// # Errors
    /// Whatever `work` or SQLite reports; nothing is written then.
    pub fn write<T>(
        &mut self,
        end: TxEnd,
        work: impl FnOnce(&WriteTx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&WriteTx { connection: &transaction })?;
        match end {
            TxEnd::Commit => transaction.commit()?,
            TxEnd::Rollback => transaction.rollback()?,
        }
        Ok(done)
    }

    /// Reads in one transaction, so that everything read belongs together.
    ///
    /// # Errors
    /// Whatever `work` or SQLite reports.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self.connection.unchecked_transaction().map_err(StoreError::from)?;
        let read = work(&ReadTx { connection: &transaction })?;
        transaction.rollback().map_err(StoreError::from)?;
        Ok(read)
    }
}

/// A transaction that writes.
pub struct WriteTx<'c> {
    connection: &'c Connection,
}

impl WriteTx<'_> {
    /// What can be read, as this transaction sees it.
    #[must_use]
    pub fn as_read_tx(&self) -> ReadTx<'_> {
        ReadTx { connection: self.connection }
    }
}
