//! The full-text index `tickets_fts`.

use rusqlite::{Connection, ErrorCode};

use super::{Store, StoreError};

impl Store {
    /// Creates the index if it is `wanted`, drops it otherwise.
    pub(super) fn apply_full_text(&self, wanted: bool) -> Result<(), StoreError> {
        match (has_full_text(&self.connection)?, wanted) {
            (false, true) => self.connection.execute_batch(CREATE_FULL_TEXT)?,
            (true, false) => self.connection.execute_batch(DROP_FULL_TEXT)?,
            _ => {}
        }
        Ok(())
    }
}

fn has_full_text(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'tickets_fts')";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Rebuilds the full-text index, if there is one, where it does not agree with `tickets`: a lost row fired no
/// trigger of it, and REPLACE fires not all.
pub(super) fn repair_full_text(connection: &Connection) -> Result<(), StoreError> {
    if !has_full_text(connection)? {
        return Ok(());
    }
    let check = "INSERT INTO tickets_fts (tickets_fts, rank) VALUES ('integrity-check', 1)";
    match connection.execute(check, []) {
        Ok(_) => {}
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            connection.execute("INSERT INTO tickets_fts (tickets_fts) VALUES ('rebuild')", [])?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Merges the full-text index, if there is one, into one piece: until then the words of deleted tickets stay in it.
pub(super) fn optimize_full_text(connection: &Connection) -> Result<(), StoreError> {
    if has_full_text(connection)? {
        connection.execute("INSERT INTO tickets_fts (tickets_fts) VALUES ('optimize')", [])?;
    }
    Ok(())
}

/// An external content table: the texts are stored in `tickets` only (<https://www.sqlite.org/fts5.html>, 4.4.3).
/// Datasette finds it by the literal text `content=[tickets]`.
const CREATE_FULL_TEXT: &str = "
    BEGIN IMMEDIATE;
    CREATE VIRTUAL TABLE tickets_fts USING fts5 (NAME, DESCRIPTION, content=[tickets], content_rowid='UID');
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
