//! The write-ahead log beside the database, which readers can keep from shrinking
//! (<https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::open::sibling_path;
use super::{Store, StoreError};

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalCheckpoint {
    /// The size of the log, in bytes.
    pub wal_bytes: u64,
    /// Whether a reader holds an older state, so that the log cannot begin anew.
    pub is_blocked: bool,
}

/// A log that is no larger is left as it is: SQLite begins it anew by itself.
const TRUNCATE_ABOVE: u64 = 4 << 20;

impl Store {
    /// Moves what the log holds into the database, as far as readers let it, and empties it where it has
    /// grown. Nobody is waited for.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn checkpoint_wal(&self) -> Result<WalCheckpoint, StoreError> {
        let wal_bytes = wal_size(&self.path);
        if wal_bytes <= TRUNCATE_ABOVE {
            return Ok(WalCheckpoint { wal_bytes, is_blocked: false });
        }
        let is_blocked = self.truncate_wal()?;
        Ok(WalCheckpoint { wal_bytes: wal_size(&self.path), is_blocked })
    }

    /// Moves what the log still holds into the file and closes it. The -wal and -shm files stay, so
    /// that a reader who may not write can open the database when nobody else has. A reader who still
    /// reads is not waited for: what it keeps in the log is moved next time.
    ///
    /// # Errors
    /// What SQLite reports; the data is safe in the -wal file then.
    pub fn close(self) -> Result<(), StoreError> {
        self.truncate_wal()?;
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// Gives whether somebody else was in the way.
    fn truncate_wal(&self) -> Result<bool, StoreError> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::ZERO)?;
        let blocked = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        connection.busy_timeout(self.busy_timeout)?;
        Ok(blocked?)
    }
}

/// A number that changes while the files of a database are written, also by a checkpoint, which computes
/// nothing: the times of their last change. Asked for by their names.
#[must_use]
pub fn write_activity(database: &Path) -> u64 {
    let nanos = |path: &Path| {
        let changed = std::fs::metadata(path).and_then(|it| it.modified()).ok()?;
        u64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
    };
    nanos(database).unwrap_or(0).wrapping_add(nanos(&sibling_path(database, "-wal")).unwrap_or(0))
}

/// The size of the log of a database in bytes, asked for by its name: none is none.
#[must_use]
pub fn wal_size(database: &Path) -> u64 {
    std::fs::metadata(sibling_path(database, "-wal")).map_or(0, |it| it.len())
}
