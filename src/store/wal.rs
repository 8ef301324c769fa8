//! The write-ahead log (WAL) beside the database, which readers can keep from shrinking
//! (<https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::open::sibling_path;
use super::{Store, StoreError};

/// The result of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalCheckpoint {
    /// The size of the WAL in bytes.
    pub wal_bytes: u64,
    /// Whether a reader still uses it, so that it cannot be truncated.
    pub is_blocked: bool,
}

/// The size in bytes up to which the WAL is left alone: SQLite reuses it by itself.
const TRUNCATE_ABOVE: u64 = 4 << 20;

impl Store {
    /// Truncates the WAL if it has grown, as far as readers allow, without waiting for them.
    pub fn checkpoint_wal(&self) -> Result<WalCheckpoint, StoreError> {
        let wal_bytes = wal_size(&self.path);
        if wal_bytes <= TRUNCATE_ABOVE {
            return Ok(WalCheckpoint { wal_bytes, is_blocked: false });
        }
        let is_blocked = self.truncate_wal()?;
        Ok(WalCheckpoint { wal_bytes: wal_size(&self.path), is_blocked })
    }

    /// Truncates the WAL, without waiting for readers, and closes the database. The -wal and -shm files
    /// stay, so that a reader without write permission can open the database when nobody else has.
    ///
    /// # Errors
    /// On error the data is safe in the -wal file.
    pub fn close(self) -> Result<(), StoreError> {
        self.truncate_wal()?;
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// Returns whether another process prevented it.
    fn truncate_wal(&self) -> Result<bool, StoreError> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::ZERO)?;
        let blocked = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        connection.busy_timeout(self.busy_timeout)?;
        Ok(blocked?)
    }
}

/// A number that changes while the files of a database are written, also during a checkpoint, which does
/// not move [`Store::progress_steps`]: the sum of their modification times.
#[must_use]
pub fn write_activity(database: &Path) -> u64 {
    let nanos = |path: &Path| {
        let changed = std::fs::metadata(path).and_then(|it| it.modified()).ok()?;
        u64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
    };
    nanos(database).unwrap_or(0).wrapping_add(nanos(&sibling_path(database, "-wal")).unwrap_or(0))
}

/// The size of the WAL of a database in bytes, 0 if there is none.
#[must_use]
pub fn wal_size(database: &Path) -> u64 {
    std::fs::metadata(sibling_path(database, "-wal")).map_or(0, |it| it.len())
}
