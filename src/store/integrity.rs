//! What `check` wants to know of a database.

use std::path::Path;

use rustix::fs::Access;

use super::open::parent_folder;
use super::{ReadTx, Store, StoreError};

impl ReadTx<'_> {
    /// The schema that the database has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }
}

/// So many faults of a file are worth telling.
const FAULTS_MAX: u32 = 10;

impl Store {
    /// Looks for damage (<https://www.sqlite.org/pragma.html#pragma_quick_check>). Reads the whole file, which
    /// takes seconds a gigabyte, and holds nobody up.
    ///
    /// # Errors
    /// [`StoreError::Unsound`] where there is any.
    pub fn check_integrity(&self) -> Result<(), StoreError> {
        let with_path = |error: rusqlite::Error| StoreError::from(error).with_path(&self.path);
        let mut statement =
            self.connection.prepare(&format!("PRAGMA quick_check({FAULTS_MAX})")).map_err(with_path)?;
        let messages = statement.query_map([], |row| row.get(0)).map_err(with_path)?;
        let mut faults = messages.collect::<Result<Vec<String>, _>>().map_err(with_path)?;
        faults.retain(|fault| fault != "ok");
        if faults.is_empty() {
            Ok(())
        } else {
            Err(StoreError::IntegrityCheckFailed { path: self.path.clone(), faults })
        }
    }

    /// Whether this user may make files beside a database, as SQLite and the lock do.
    ///
    /// # Errors
    /// [`StoreError::CannotCreate`] where not.
    pub fn check_writable(path: &Path) -> Result<(), StoreError> {
        let folder = parent_folder(path);
        rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| StoreError::CannotCreate { path: path.to_owned(), source: error.into() })
    }
}
