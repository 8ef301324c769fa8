//! The database: every SQL statement of the program.
//!
//! Synchronous, because SQLite is; the caller chooses the thread.
//!
//! Invariants: only `upsert` writes `tickets` and `changes`, only `packages` and `purge` write `packages`, and only
//! `packages` writes `consumers`; the watermark is never ahead of the rows that it promises, because both are written in one
//! transaction; the file is opened only through SQLite, because closing any other handle of it would drop
//! the locks of SQLite (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

mod change_log;
mod changes;
mod disk;
mod error;
mod field_definitions;
mod full_text;
mod health;
mod held_values;
mod history;
mod identity;
mod integrity;
mod lake;
mod lateness;
mod lock;
mod lock_holders;
mod open;
mod packages;
mod paths;
mod pending_fetches;
mod pending_tickets;
mod privacy_rules;
mod purge;
mod reference;
mod report;
mod runs;
mod scan_checkpoints;
mod scans;
mod schema;
mod server_probes;
mod tickets;
mod tx;
mod unlisted_tickets;
mod unmapped_fields;
mod upsert;
mod wal;
mod watermark;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use change_log::{ChangeLogExtent, LineageReason};
pub use disk::ensure_free_disk;
pub use error::{SchemaFault, StoreError};
pub use health::Health;
pub use held_values::{HeldValues, HoldingPackage};
pub use history::{
    OldAndNew, PendingOfTicket, RecordedChange, RejectDetails, RejectOfTicket, RunOfChange, StateOfTicket,
    TicketRecords,
};
pub use identity::SCHEMA_VERSION;
pub use integrity::UnequalHashes;
pub use lake::{LakeBacklog, LakeEpoch, LakeIntent, LakePushes};
pub use lateness::Lateness;
pub use lock::{Lock, LockError};
pub use lock_holders::{LockHolders, ReaderProcess};
pub use open::{OpenFinding, StoreOptions};
pub use packages::{ConsumerPosition, NamedPackage, PackageRecord};
pub use paths::{FileId, parent_folder, sibling_path};
pub use pending_fetches::{DueFetchFilter, FetchFailure, PendingFetch};
pub use pending_tickets::{
    DueTicket, PENDING_TICKET_PAUSE_MAX, PendingTicketReason, PendingTickets, pending_ticket_due_at,
};
pub use purge::{PurgedTicket, TicketPurge, Traces};
pub use reference::{ReferenceList, ReferenceRest, ReferenceResult};
pub use report::{PeriodRuns, ReportNames, ReportTicket, StatusStays, TicketSummary};
pub use runs::{LastRun, RunEnd, RunKind, RunStats, RunStatus};
pub use scan_checkpoints::{InterruptedScan, ScanCheckpoint};
pub use scans::{LastFullScan, LastScan, ScanOutcome, ScanStats};
pub use schema::SchemaComparison;
pub use server_probes::{Probe, ServerProbe};
pub use tickets::StoredTicket;
pub use tx::{ReadTx, TxEnd, WriteTx};
pub use unlisted_tickets::{UnlistedStatus, UnlistedTicket};
pub use unmapped_fields::{FieldFindings, UnmappedField};
pub use upsert::{
    CustomFieldsState, ERASED, FetchedCustomFields, LocalEdits, ObservedTicket, REQUEST_NUMBER_BITS, Removal,
    RemovalReason, StoreOutcome, UpsertOutcome,
};
pub use wal::{WalCheckpoint, wal_size, write_activity};
pub use watermark::MoveReason;

/// The version of SQLite that is built in.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// An open database, for writing or for reading only.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    busy_timeout: Duration,
    /// Counted by the progress handler of SQLite.
    progress_steps: Arc<AtomicU64>,
    /// Free space in bytes below which rows are no longer written; 0: always.
    min_free_disk: u64,
    finding: Option<OpenFinding>,
}

impl Store {
    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A counter that grows while a statement runs, which shows that a long one is not stuck. It does not
    /// grow while SQLite waits for a lock or for the disk.
    #[must_use]
    pub fn progress_steps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress_steps)
    }

    /// Runs `work` in a transaction. On error nothing is written.
    ///
    /// The transaction takes the write lock at its start: if it became a writer later, SQLite could refuse
    /// that at once (`SQLITE_BUSY_SNAPSHOT`) whatever the busy timeout.
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

    /// Reads in one transaction, so that all results are of one state of the database.
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
