//! The errors of the store.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::config::size_to_text;

/// Why the database could not be opened, read or written.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "database_")]
pub enum StoreError {
    /// The file does not exist, or is not a database yet.
    #[error("there is no database at {0}")]
    Missing(PathBuf),
    /// The database, or a file beside it, cannot be created.
    #[error("cannot create the database {path}")]
    CannotCreate {
        /// The database.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The program runs as root and the folder belongs to somebody else, who could not open files that
    /// root creates.
    #[error("the folder of the database {path} belongs to user {owner}, not to root")]
    OwnedByAnother {
        /// The database.
        path: PathBuf,
        /// The user id of the owner of the folder.
        owner: u32,
    },
    /// SQLite cannot read the file.
    #[error("{path} is damaged or not a SQLite database")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The integrity check found damage.
    #[error("{path} is damaged: {}", faults.join("; "))]
    IntegrityCheckFailed {
        /// The database.
        path: PathBuf,
        /// The messages of SQLite.
        faults: Vec<String>,
    },
    /// Another program changed the schema.
    #[error("another program changed the schema of {path}: {}", messages(faults))]
    SchemaChanged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        faults: Vec<SchemaFault>,
    },
    /// The file is a database of another program.
    #[error("{path} is a database of another program{}", id_of(*application_id))]
    Foreign {
        /// The database.
        path: PathBuf,
        /// Its `application_id`, 0 if none is set.
        application_id: i32,
    },
    /// The database was made by a newer version of halosync.
    #[error("{path} has schema {found}, and this version knows only up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this version knows.
        known: i32,
    },
    /// The database was made by a version before the first release, whose schema was another one.
    #[error("{path} was made by an unreleased version")]
    Unreleased {
        /// The database.
        path: PathBuf,
    },
    /// Tables of the database are lost, or it was half created and then written to by another program.
    #[error("{path} is incomplete: {}", missing_parts(missing))]
    IncompleteSchema {
        /// The database.
        path: PathBuf,
        /// The tables that are missing; if none is, the record of the schema version is.
        missing: Vec<String>,
    },
    /// The database was put back beside the -wal file of another state, and the two do not fit together.
    #[error("{path} does not fit the file {}-wal beside it: {}", path.display(), faults.join("; "))]
    RestoredBesideWal {
        /// The database.
        path: PathBuf,
        /// What contradicts what.
        faults: Vec<String>,
    },
    /// Less disk space is free than the settings demand.
    #[error("the disk of {folder} has only {} free; store.min_free_disk is {}", size_to_text(*free), size_to_text(*minimum))]
    DiskLow {
        /// The folder of the database.
        folder: PathBuf,
        /// The free space in bytes.
        free: u64,
        /// The least free space in bytes.
        minimum: u64,
    },
    /// A migration failed.
    #[error("cannot migrate the database to the current schema")]
    #[strum(serialize = "migration_failed")]
    Migration(#[source] Box<refinery::Error>),
    /// Another program held the write lock for longer than `busy_timeout`.
    #[error("the database is locked by another program")]
    Busy(#[source] rusqlite::Error),
    /// The disk is full.
    #[error("the disk is full")]
    #[strum(serialize = "disk_full")]
    Full(#[source] rusqlite::Error),
    /// Reading or writing the file failed.
    #[error("the database cannot be read or written")]
    Io(#[source] rusqlite::Error),
    /// The content of the database is invalid or contradicts itself.
    #[error("{what} in the database")]
    InvalidData {
        /// What is invalid, as a noun phrase.
        what: String,
    },
    /// SQLite reported any other error.
    #[error("the database reported an error")]
    #[strum(serialize = "unexpected")]
    Sqlite(#[source] rusqlite::Error),
}

/// An object of the schema that is missing, altered, or in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// What is wrong, in words.
    pub message: String,
    /// The SQL statement that corrects it, where one does.
    pub statement: Option<String>,
}

impl SchemaFault {
    /// The line for a shell that corrects it.
    #[must_use]
    pub fn command(&self, database: &Path) -> Option<String> {
        let statement = self.statement.as_ref()?;
        Some(format!("sqlite3 {} '{}'", database.display(), statement.replace('\'', r"'\''")))
    }
}

fn messages(faults: &[SchemaFault]) -> String {
    faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("; ")
}

fn missing_parts(missing: &[String]) -> String {
    match missing {
        [] => "the record of its schema is missing".to_owned(),
        [one] => format!("{one} is missing"),
        more => format!("{} are missing", more.join(", ")),
    }
}

/// The part of the message about the application id, which most programs do not set.
fn id_of(application_id: i32) -> String {
    if application_id == 0 { String::new() } else { format!(" (application id {application_id:#010x})") }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(error),
            Some(ErrorCode::DiskFull) => StoreError::Full(error),
            Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                StoreError::Io(error)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path: PathBuf::from("the database"), source: error }
            }
            _ => StoreError::Sqlite(error),
        }
    }
}

impl From<refinery::Error> for StoreError {
    fn from(error: refinery::Error) -> Self {
        // A full disk or a lock is no fault of the migration.
        if let refinery::error::Kind::Connection(_, source) = error.kind()
            && let Some(rusqlite::Error::SqliteFailure(code, message)) = source.downcast_ref()
        {
            let cause = StoreError::from(rusqlite::Error::SqliteFailure(*code, message.clone()));
            if !matches!(cause, StoreError::Sqlite(_)) {
                return cause;
            }
        }
        StoreError::Migration(Box::new(error))
    }
}
