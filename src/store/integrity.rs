//! What `check` reads from a database: schema version, damage, rows that do not match their hash, permissions.

use std::path::Path;

use roaring::RoaringTreemap;
use rustix::fs::Access;

use super::paths::parent_folder;
use super::upsert::{EXTRA_COLUMNS, JOIN_EXTRA, cell, columns, read_custom_fields};
use super::{ReadTx, Store, StoreError};
use crate::ticket::attribute::STORED_COUNT;
use crate::ticket::{CellValue, row_hash};

/// Tickets whose stored content does not match its hash, although no trigger saw an edit: a damaged disk, or a
/// program that switched the triggers off. No scan finds them by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnequalHashes {
    /// Those whose row does not match.
    pub rows: RoaringTreemap,
    /// Those whose custom fields do not match.
    pub custom_fields: RoaringTreemap,
}

impl UnequalHashes {
    /// All of these tickets.
    #[must_use]
    pub fn tickets(&self) -> RoaringTreemap {
        &self.rows | &self.custom_fields
    }
}

impl ReadTx<'_> {
    /// The schema version of the database.
    pub fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// Hashes every stored row and compares it with `ticket_state`: about 10 s for a million tickets. Rows that
    /// are known to be edited are left out ([`ReadTx::find_local_edits`]).
    pub fn unequal_hashes(&self) -> Result<UnequalHashes, StoreError> {
        let sql = format!(
            "SELECT t.UID, s.hash, s.fields_hash, {}, {} FROM tickets t
             JOIN ticket_state s ON s.UID = t.UID {JOIN_EXTRA}",
            columns("t."),
            *EXTRA_COLUMNS
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut unequal = UnequalHashes::default();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let (hash, fields_hash): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
            let mut cells = [CellValue::Null; STORED_COUNT];
            for (position, slot) in cells.iter_mut().enumerate() {
                *slot = cell(row.get_ref(3 + position)?);
            }
            if hash.is_some_and(|hash| hash != row_hash(cells).cast_signed()) {
                unequal.rows.insert(id.cast_unsigned());
            }
            if let Some(hash) = fields_hash
                && hash != read_custom_fields(self.connection, id)?.hash().cast_signed()
            {
                unequal.custom_fields.insert(id.cast_unsigned());
            }
        }
        Ok(unequal)
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
