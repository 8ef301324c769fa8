//! What `check` wants to know of a database.

use std::path::Path;

use rustix::fs::Access;

use super::open::folder_of;
use super::walks::stamp;
use super::{Snapshot, Store, StoreError};
use crate::ticket::Stamp;

/// A verdict about the server, as `calibrations` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// What was in question.
    pub question: String,
    /// What was found.
    pub verdict: String,
    /// What that rests on.
    pub details: Option<String>,
    /// When it was found.
    pub decided_at: Stamp,
}

impl Snapshot<'_> {
    /// The schema that the database has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// Every verdict about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn calibrations(&self) -> Result<Vec<Calibration>, StoreError> {
        let sql = "SELECT question, verdict, details, decided_at FROM calibrations ORDER BY question";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(decided_at) = stamp(row.get(3)?)? else { continue };
            found.push(Calibration {
                question: row.get(0)?,
                verdict: row.get(1)?,
                details: row.get(2)?,
                decided_at,
            });
        }
        Ok(found)
    }
}

impl Store {
    /// Whether this user may make files beside a database, as SQLite and the lock do.
    ///
    /// # Errors
    /// [`StoreError::CannotCreate`] where not.
    pub fn check_writable(path: &Path) -> Result<(), StoreError> {
        let folder = folder_of(path);
        rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| StoreError::CannotCreate { path: path.to_owned(), source: error.into() })
    }
}
