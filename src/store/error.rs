//! What can go wrong with the database.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the database could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("there is no database at {0}")]
    Missing(PathBuf),
    /// The file, or a file beside it, cannot be made.
    #[error("cannot create the database {path}")]
    CannotCreate {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Root would create files that the service's own user could not open.
    #[error("the folder of the database {path} belongs to user {owner}, not to root")]
    OwnedByAnother {
        /// The database.
        path: PathBuf,
        /// The owner of the folder.
        owner: u32,
    },
    /// The file holds something else, or is damaged.
    #[error("{path} is damaged or not a SQLite database")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// Parts of the file are damaged.
    #[error("{path} is damaged: {}", faults.join("; "))]
    IntegrityCheckFailed {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        faults: Vec<String>,
    },
    /// The file is a database of another program.
    #[error("{path} is a database of another program{}", id_of(*application_id))]
    Foreign {
        /// The database.
        path: PathBuf,
        /// Whose.
        application_id: i32,
    },
    /// A newer version of the program has been here.
    #[error("{path} has schema {found}, and this version knows only up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// It could not be brought to the present schema.
    #[error("cannot bring the database to the present schema")]
    Migration(#[source] Box<refinery::Error>),
    /// Somebody else held the write lock for too long.
    #[error("the database is locked by another program")]
    Busy(#[source] rusqlite::Error),
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    /// The disk failed.
    #[error("the database cannot be read or written")]
    Io(#[source] rusqlite::Error),
    /// Its content contradicts itself.
    #[error("the database holds {what}")]
    InvalidData {
        /// What it holds.
        what: String,
    },
    /// Anything else.
    #[error("the database refused")]
    Sqlite(#[source] rusqlite::Error),
}

/// Most programs do not set one.
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
