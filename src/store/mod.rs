//! The store: every SQL statement of the program.
//!
//! Knows nothing of HTTP or of tokio. It is synchronous because SQLite is; the caller picks the
//! thread.
//!
//! Invariants: `upsert` alone writes `tickets` and `changes`, `book` alone `packages` and `consumers`;
//! a mark in `watermarks` is never ahead of the rows it promises, because both are written in one
//! transaction; the file is never opened except through SQLite, whose locks one stray `close` of it
//! would drop (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

mod book;
mod debts;
mod error;
mod holders;
mod inspection;
mod ledger;
mod lock;
mod log;
mod mark;
mod open;
mod read;
mod runs;
mod upsert;
mod wal;
mod walks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use book::{Delivered, Position};
pub use debts::{Debt, Failing};
pub use error::StoreError;
pub use holders::{Holders, Reader};
pub use ledger::{Absence, Calibration, MISSING};
pub use lock::{Lock, LockError};
pub use open::{FileId, Options, SCHEMA_VERSION, beside, folder_of};
pub use read::{Health, LastRun, Snapshot, StoredRow};
pub use runs::{RunEnd, RunFigures};
pub use upsert::{Applied, Departed, Departure, FieldsRead, Paid, Sighting, Told};
pub use wal::{Checkpoint, last_written, size_of_wal};
pub use walks::{LastFull, LastWalk, Place, Unfinished, WalkFigures, WalkOutcome};

/// The database, open for writing or for reading only.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    busy_timeout: Duration,
    /// Grows while SQLite computes.
    ticks: Arc<AtomicU64>,
}

/// Whether what a transaction did is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is committed.
    Commit,
    /// It is rolled back when its results are known: a dry run.
    RollBack,
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
    pub fn ticks(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ticks)
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
        fate: Fate,
        work: impl FnOnce(&Writing<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&Writing { connection: &transaction })?;
        match fate {
            Fate::Commit => transaction.commit()?,
            Fate::RollBack => transaction.rollback()?,
        }
        Ok(done)
    }

    /// Reads in one transaction, so that everything read belongs together.
    ///
    /// # Errors
    /// Whatever `work` or SQLite reports.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self.connection.unchecked_transaction().map_err(StoreError::from)?;
        let read = work(&Snapshot { connection: &transaction })?;
        transaction.rollback().map_err(StoreError::from)?;
        Ok(read)
    }
}

/// A transaction that writes.
pub struct Writing<'c> {
    connection: &'c Connection,
}

impl Writing<'_> {
    /// What can be read, as this transaction sees it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { connection: self.connection }
    }
}
