//! What `check` reads from a database: schema version, damage, permissions.

use std::path::Path;

use rustix::fs::Access;

use super::paths::parent_folder;
use super::{ReadTx, Store, StoreError};

impl ReadTx<'_> {
    /// The schema version of the database.
    pub fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }
}

/// The greatest number of faults that are reported.
const FAULTS_MAX: u32 = 10;

impl Store {
    /// Checks the file for damage (<https://www.sqlite.org/pragma.html#pragma_quick_check>). Reads all of
    /// it, which takes some seconds per gigabyte, and blocks no other process.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheckFailed`] if there is damage.
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

    /// Checks that this user may create files beside a database, as SQLite and the lock do.
    ///
    /// # Errors
    /// [`StoreError::CannotCreate`] if not.
    pub fn check_writable(path: &Path) -> Result<(), StoreError> {
        let folder = parent_folder(path);
        rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| StoreError::CannotCreate { path: path.to_owned(), source: error.into() })
    }
}
