//! What `check` wants to know of a database.

use std::path::Path;

use rustix::fs::Access;

use super::open::folder_of;
use super::{Snapshot, Store, StoreError};

impl Snapshot<'_> {
    /// The schema that the database has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// What is wrong with the file, at most so many faults; nothing where it is sound
    /// (<https://www.sqlite.org/pragma.html#pragma_quick_check>). Reads the whole file.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn quick_check(&self, most: u32) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare(&format!("PRAGMA quick_check({most})"))?;
        let mut told = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        told.retain(|it| it != "ok");
        Ok(told)
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
