//! Opens a database: identifies it, configures SQLite and applies migrations.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{ReadTx, Store, StoreError};
use crate::ticket::Timestamp;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// `"HALO"`, which `file` and SQLite tools display.
const APPLICATION_ID: i32 = 0x4841_4C4F;

/// The newest schema version that this version knows, stored in `user_version`.
pub const SCHEMA_VERSION: i32 = 1;

/// SQLite virtual machine instructions between two steps of [`Store::progress_steps`]: some tens of
/// milliseconds.
const PROGRESS_INTERVAL: i32 = 1_000_000;

/// The identity of a file whatever its name is (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Identifies the file that has this name now.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<FileId> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

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
        let connection = Connection::open_with_flags(path, flags).map_err(|error| match error {
            error if existed => StoreError::from(error),
            error => StoreError::CannotCreate {
                path: path.to_owned(),
                source: std::io::Error::other(error.to_string()),
            },
        })?;
        let store = Store::from_connection(connection, path, options.busy_timeout)?;
        let kind = store.identify().map_err(|error| error.with_path(path))?;
        if kind == DatabaseKind::Ours {
            store.read(precondition)?;
        }
        Ok(store.prepare(options, kind).map_err(|error| error.with_path(path))?)
    }

    /// Opens an existing database for writing. One that another process is still creating counts as missing.
    pub fn open_existing(path: &Path, options: &StoreOptions) -> Result<Store, StoreError> {
        drop(Store::open_read_only(path, options.busy_timeout)?);
        Store::open(path, options)
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
        let options =
            StoreOptions { busy_timeout: Duration::ZERO, full_text: false, index_last_modified: false, now };
        let store =
            Store::from_connection(Connection::open_in_memory()?, Path::new(":memory:"), Duration::ZERO)?;
        store.prepare(&options, DatabaseKind::Empty)
    }

    /// Opens a database for reading, without a lock file and without changing anything.
    pub fn open_read_only(path: &Path, busy_timeout: Duration) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let store = Store::from_connection(connection, path, busy_timeout)?;
        let kind = store.identify().map_err(|error| error.with_path(path))?;
        if kind != DatabaseKind::Ours {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Ok(store)
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
        Ok(Store { connection, path: path.to_owned(), busy_timeout, progress_steps })
    }

    fn prepare(mut self, options: &StoreOptions, kind: DatabaseKind) -> Result<Store, StoreError> {
        let connection = &self.connection;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL can lose commits in a power failure, also that of an acknowledged export.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_prepared_statement_cache_capacity(64);
        if kind == DatabaseKind::Empty {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        embedded::migrations::runner()
            .run(&mut self.connection)
            .map_err(|error| StoreError::Migration(Box::new(error)))?;
        if self.user_version()? != SCHEMA_VERSION {
            // Setting it to the same value would be a write, too.
            self.connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        self.ensure_lineage(options.now)?;
        self.apply_full_text(options.full_text)?;
        self.apply_date_index(options.index_last_modified)?;
        Ok(self)
    }

    /// Identifies the database before anything is changed in it.
    fn identify(&self) -> Result<DatabaseKind, StoreError> {
        let application_id =
            self.connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
        if application_id == APPLICATION_ID {
            // Set first: closing after an error would remove the -wal and -shm files that readers need.
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        // Read for every database: a damaged schema is found here, where the error can name the file.
        let tables: i64 =
            self.connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
        if application_id != APPLICATION_ID {
            return if application_id == 0 && tables == 0 {
                Ok(DatabaseKind::Empty)
            } else {
                Err(StoreError::Foreign { path: self.path.clone(), application_id })
            };
        }
        let found = self.user_version()?;
        if SCHEMA_VERSION < found {
            return Err(StoreError::Newer { path: self.path.clone(), found, known: SCHEMA_VERSION });
        }
        // The version is written last: without it, creating the tables was interrupted.
        Ok(if found == 0 { DatabaseKind::HalfCreated } else { DatabaseKind::Ours })
    }

    fn user_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    fn ensure_lineage(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO lineage (lineage, since, reason)
             SELECT ?1, ?2, 'created' WHERE NOT EXISTS (SELECT 1 FROM lineage)",
            (Uuid::new_v4().to_string(), now.to_string()),
        )?;
        Ok(())
    }

    fn apply_full_text(&self, wanted: bool) -> Result<(), StoreError> {
        let exists: bool = self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'tickets_fts')",
            [],
            |row| row.get(0),
        )?;
        match (exists, wanted) {
            (false, true) => self.connection.execute_batch(CREATE_FULL_TEXT)?,
            (true, false) => self.connection.execute_batch(DROP_FULL_TEXT)?,
            _ => {}
        }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DatabaseKind {
    Empty,
    HalfCreated,
    Ours,
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

/// The file beside a database whose name has a suffix, such as `-wal` or `.lock`.
#[must_use]
pub fn sibling_path(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of a file, `.` if the path names none.
#[must_use]
pub fn parent_folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// An external content table: the texts are stored in `tickets` only (<https://www.sqlite.org/fts5.html>, 4.4.3).
const CREATE_FULL_TEXT: &str = "
    BEGIN IMMEDIATE;
    CREATE VIRTUAL TABLE tickets_fts USING fts5 (NAME, DESCRIPTION, content = 'tickets', content_rowid = 'UID');
    INSERT INTO tickets_fts (tickets_fts) VALUES ('rebuild');
    CREATE TRIGGER tickets_fts_insert AFTER INSERT ON tickets BEGIN
        INSERT INTO tickets_fts (rowid, NAME, DESCRIPTION) VALUES (new.UID, new.NAME, new.DESCRIPTION);
    END;
    CREATE TRIGGER tickets_fts_delete AFTER DELETE ON tickets BEGIN
        INSERT INTO tickets_fts (tickets_fts, rowid, NAME, DESCRIPTION)
        VALUES ('delete', old.UID, old.NAME, old.DESCRIPTION);
    END;
    CREATE TRIGGER tickets_fts_update AFTER UPDATE OF NAME, DESCRIPTION ON tickets BEGIN
        INSERT INTO tickets_fts (tickets_fts, rowid, NAME, DESCRIPTION)
        VALUES ('delete', old.UID, old.NAME, old.DESCRIPTION);
        INSERT INTO tickets_fts (rowid, NAME, DESCRIPTION) VALUES (new.UID, new.NAME, new.DESCRIPTION);
    END;
    COMMIT;";

const DROP_FULL_TEXT: &str = "
    BEGIN IMMEDIATE;
    DROP TRIGGER IF EXISTS tickets_fts_insert;
    DROP TRIGGER IF EXISTS tickets_fts_delete;
    DROP TRIGGER IF EXISTS tickets_fts_update;
    DROP TABLE tickets_fts;
    COMMIT;";
