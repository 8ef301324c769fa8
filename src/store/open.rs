//! Opens a database: identifies it, configures SQLite and applies migrations.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::change_log::{ChangeLogExtent, LineageReason};
use super::disk::free_disk;
use super::identity::{APPLICATION_ID, DatabaseFacts, DatabaseKind, SCHEMA_VERSION, application_id, migrate};
use super::paths::parent_folder;
use super::{ReadTx, Store, StoreError, TxEnd};
use crate::ticket::Timestamp;

/// SQLite virtual machine instructions between two steps of [`Store::progress_steps`]: some tens of
/// milliseconds.
const PROGRESS_INTERVAL: i32 = 1_000_000;

/// How to open a database for writing.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// Whether to maintain the full-text index `tickets_fts`.
    pub full_text: bool,
    /// Whether to index `SOURCE_LAST_MODIFIED`.
    pub index_last_modified: bool,
    /// The present, recorded as the start of the lineage of a new database.
    pub now: Timestamp,
}

impl Store {
    /// Opens a database for writing, and creates it if there is none.
    ///
    /// # Errors
    /// On error an existing database is unchanged.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Store, StoreError> {
        Store::open_checked(path, options, |_| Ok(()))
    }

    /// Opens a database for writing if its content passes `precondition`, which is called before anything
    /// is changed.
    ///
    /// # Errors
    /// Every error of `precondition`. On error an existing database is unchanged.
    pub fn open_checked<E: From<StoreError>>(
        path: &Path,
        options: &StoreOptions,
        precondition: impl FnOnce(&ReadTx<'_>) -> Result<(), E>,
    ) -> Result<Store, E> {
        Store::check_folder(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let existed = path.exists();
        let connection = Connection::open_with_flags(path, flags).map_err(|error| {
            if existed { StoreError::from(error) } else { explain_failed_creation(path, error) }
        })?;
        let store = Store::from_connection(connection, path, options.busy_timeout)?;
        let (facts, kind) = store.identify().map_err(|error| error.with_path(path))?;
        if matches!(kind, DatabaseKind::Ours | DatabaseKind::Restored) {
            store.read(precondition)?;
        }
        Ok(store.prepare(options, &facts, kind).map_err(|error| error.with_path(path))?)
    }

    /// Opens an existing database for writing, as [`Store::open_checked`] does. One that another process is still
    /// creating counts as missing.
    pub fn open_existing(
        path: &Path,
        options: &StoreOptions,
        precondition: impl FnOnce(&ReadTx<'_>) -> Result<(), StoreError>,
    ) -> Result<Store, StoreError> {
        drop(Store::open_read_only(path, options.busy_timeout)?);
        Store::open_checked(path, options, precondition)
    }

    /// What opening the database for writing found and put right, for a person to know.
    #[must_use]
    pub fn finding(&self) -> Option<OpenFinding> {
        self.finding
    }

    /// What the next opening for writing will find and put right; counts the change records.
    pub fn pending_finding(&self) -> Result<Option<OpenFinding>, StoreError> {
        let (_, kind) = self.identify()?;
        self.read(|tx| Ok(OpenFinding::of(kind, tx.change_log_extent()?)))
    }

    /// Checks the folder of a database without touching anything in it.
    ///
    /// # Errors
    /// [`StoreError::CannotCreate`] if it is missing; [`StoreError::OwnedByAnother`] if this user is root and
    /// the folder belongs to somebody else.
    pub fn check_folder(path: &Path) -> Result<(), StoreError> {
        let folder = parent_folder(path);
        let metadata = std::fs::metadata(&folder)
            .map_err(|source| StoreError::CannotCreate { path: path.to_owned(), source })?;
        if rustix::process::geteuid().is_root() && metadata.uid() != 0 {
            return Err(StoreError::OwnedByAnother { path: path.to_owned(), owner: metadata.uid() });
        }
        Ok(())
    }

    /// Creates a database in memory, for tests and simulations.
    pub fn in_memory(now: Timestamp) -> Result<Store, StoreError> {
        Store::in_memory_with(&StoreOptions {
            busy_timeout: Duration::ZERO,
            full_text: false,
            index_last_modified: false,
            now,
        })
    }

    /// Creates a database in memory with these options.
    pub(super) fn in_memory_with(options: &StoreOptions) -> Result<Store, StoreError> {
        let store =
            Store::from_connection(Connection::open_in_memory()?, Path::new(":memory:"), Duration::ZERO)?;
        let (facts, kind) = store.identify()?;
        store.prepare(options, &facts, kind)
    }

    /// Opens a database for reading, without a lock file and without changing anything.
    pub fn open_read_only(path: &Path, busy_timeout: Duration) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let store = Store::from_connection(connection, path, busy_timeout)?;
        match store.identify().map_err(|error| error.with_path(path))? {
            (_, DatabaseKind::Ours | DatabaseKind::Restored) => Ok(store),
            (_, DatabaseKind::Empty | DatabaseKind::HalfCreated) => Err(StoreError::Missing(path.to_owned())),
        }
    }

    /// Opens a database to add a record to it: nothing is prepared, migrated or put right, and no lock is taken. `None`
    /// where that is not possible, because there is no database or one that needs preparation.
    pub fn open_as_is(path: &Path, busy_timeout: Duration) -> Result<Option<Store>, StoreError> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::from_connection(Connection::open_with_flags(path, flags)?, path, busy_timeout)?;
        store.restrict()?;
        let (facts, kind) = store.identify().map_err(|error| error.with_path(path))?;
        Ok((kind == DatabaseKind::Ours && !facts.needs_migration()).then_some(store))
    }

    fn from_connection(
        mut connection: Connection,
        path: &Path,
        busy_timeout: Duration,
    ) -> Result<Store, StoreError> {
        connection.busy_timeout(busy_timeout)?;
        let progress_steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&progress_steps);
        connection.progress_handler(
            PROGRESS_INTERVAL,
            Some(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                false
            }),
        )?;
        Ok(Store {
            connection,
            path: path.to_owned(),
            busy_timeout,
            progress_steps,
            min_free_disk: 0,
            finding: None,
        })
    }

    /// Sets what every connection that writes must not do: delete the log when it closes, run what is in a foreign schema, and
    /// damage the file.
    fn restrict(&self) -> Result<(), StoreError> {
        let connection = &self.connection;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(())
    }

    fn prepare(
        mut self,
        options: &StoreOptions,
        facts: &DatabaseFacts,
        kind: DatabaseKind,
    ) -> Result<Store, StoreError> {
        self.restrict()?;
        let connection = &self.connection;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL can lose commits in a power failure, also that of an acknowledged export.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is overwritten; what this leaves behind, `Store::remove_traces` removes.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        // A kill between any two of these steps leaves what the next opening continues or clears.
        if kind == DatabaseKind::Empty {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        if kind == DatabaseKind::HalfCreated {
            self.clear()?;
        }
        if kind != DatabaseKind::Ours || facts.needs_migration() {
            migrate(&mut self.connection)?;
        }
        self.complete_opening(kind, options.now)?;
        self.apply_full_text(options.full_text)?;
        self.apply_date_index(options.index_last_modified)?;
        Ok(self)
    }

    /// Identifies the database before anything is changed in it.
    fn identify(&self) -> Result<(DatabaseFacts, DatabaseKind), StoreError> {
        let keep_wal =
            || self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop);
        if application_id(&self.connection)? == APPLICATION_ID {
            // First: closing after an error would remove the -wal and -shm files that readers need.
            keep_wal()?;
        }
        let facts = DatabaseFacts::read(&self.connection)?;
        let kind = facts.classify(&self.path)?;
        if kind == DatabaseKind::Restored {
            keep_wal()?;
        }
        Ok((facts, kind))
    }

    /// Removes everything from a database whose creation was interrupted, in one transaction.
    fn clear(&mut self) -> Result<(), StoreError> {
        self.write(TxEnd::Commit, |tx| {
            let sql = "SELECT 'DROP ' || type || ' IF EXISTS \"' || name || '\"' FROM sqlite_master
                       WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                       ORDER BY type = 'table', sql NOT LIKE 'CREATE VIRTUAL%'";
            let mut statement = tx.connection.prepare(sql)?;
            let drops: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            drop(statement);
            drops.iter().try_for_each(|sql| Ok(tx.connection.execute_batch(sql)?))
        })
    }

    /// Marks the database as ours and begins its lineage, or another one if change records may be missing. Deletes what
    /// another program put back of erased tickets, before a run or an export meets it.
    fn complete_opening(&mut self, kind: DatabaseKind, now: Timestamp) -> Result<(), StoreError> {
        if kind == DatabaseKind::Restored {
            // A dump holds the content of the index table by table, and a recovery may lose some of it.
            self.apply_full_text(false)?;
        }
        let (extent, version) =
            self.read(|tx| Ok::<_, StoreError>((tx.change_log_extent()?, tx.schema_version()?)))?;
        let finding = OpenFinding::of(kind, extent);
        // Writing the same values again would be a write, too.
        let is_marked = kind == DatabaseKind::Ours && version == SCHEMA_VERSION;
        self.write(TxEnd::Commit, |tx| {
            if !is_marked {
                tx.connection.pragma_update(None, "application_id", APPLICATION_ID)?;
                tx.connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            if let Some(finding) = finding {
                tx.begin_lineage(&[], finding.lineage_reason(), now)?;
            }
            tx.ensure_lineage(now)?;
            tx.delete_purged().map(drop)
        })?;
        self.finding = finding;
        Ok(())
    }

    fn apply_date_index(&self, wanted: bool) -> Result<(), StoreError> {
        self.connection.execute_batch(if wanted {
            "CREATE INDEX IF NOT EXISTS tickets_by_last_modified ON tickets (SOURCE_LAST_MODIFIED)"
        } else {
            "DROP INDEX IF EXISTS tickets_by_last_modified"
        })?;
        Ok(())
    }
}

/// What was found and put right when a database was opened, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFinding {
    /// The database was restored from a text dump.
    RestoredFromDump,
    /// Change records are missing.
    ChangesMissing {
        /// How many; 0 if only their numbering is lost.
        missing: i64,
    },
}

impl OpenFinding {
    fn of(kind: DatabaseKind, extent: ChangeLogExtent) -> Option<OpenFinding> {
        match kind {
            DatabaseKind::Restored => Some(OpenFinding::RestoredFromDump),
            _ if extent.is_complete() => None,
            _ => Some(OpenFinding::ChangesMissing { missing: extent.missing }),
        }
    }

    const fn lineage_reason(self) -> LineageReason {
        match self {
            OpenFinding::RestoredFromDump => LineageReason::Dump,
            OpenFinding::ChangesMissing { .. } => LineageReason::MissingChanges,
        }
    }
}

impl fmt::Display for OpenFinding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenFinding::RestoredFromDump => out.write_str("the database was restored from a text dump")?,
            OpenFinding::ChangesMissing { missing: 0 } => {
                out.write_str("the database has lost the numbering of its change records")?;
            }
            OpenFinding::ChangesMissing { missing: 1 } => {
                out.write_str("1 change record is missing in the database")?;
            }
            OpenFinding::ChangesMissing { missing } => {
                write!(out, "{missing} change records are missing in the database")?;
            }
        }
        out.write_str(": a new lineage begins, and every consumer starts again at 0")
    }
}

/// Says why a database could not be created, for which SQLite has one code (`SQLITE_CANTOPEN`).
fn explain_failed_creation(path: &Path, error: rusqlite::Error) -> StoreError {
    match Store::check_writable(path) {
        Err(error) => error,
        Ok(()) if free_disk(path) == Some(0) => StoreError::Full(error),
        Ok(()) => StoreError::Io(error),
    }
}

impl StoreError {
    /// Adds the path of the database to an error without one.
    pub(super) fn with_path(self, path: &Path) -> StoreError {
        match self {
            StoreError::Damaged { source, .. } => StoreError::Damaged { path: path.to_owned(), source },
            other => other,
        }
    }
}
