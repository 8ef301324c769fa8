//! The write-ahead log (WAL) beside the database, which readers can keep from shrinking
//! (<https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::paths::sibling_path;
use super::{ReadTx, Store, StoreError};

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
        let is_blocked = self.truncate_wal(Duration::ZERO)?;
        Ok(WalCheckpoint { wal_bytes: wal_size(&self.path), is_blocked })
    }

    /// Truncates the WAL, without waiting for readers, and closes the database. The -wal and -shm files
    /// stay, so that a reader without write permission can open the database when nobody else has.
    ///
    /// # Errors
    /// On error the data is safe in the -wal file.
    pub fn close(self) -> Result<(), StoreError> {
        self.truncate_wal(Duration::ZERO)?;
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// Truncates the WAL after waiting for readers so long; returns whether another process prevented it.
    pub(super) fn truncate_wal(&self, wait: Duration) -> Result<bool, StoreError> {
        self.connection.busy_timeout(wait)?;
        let blocked = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        self.connection.busy_timeout(self.busy_timeout)?;
        Ok(blocked?)
    }
}

/// The greatest number of faults of one kind that are reported.
const FAULTS_MAX: u32 = 3;

/// What cannot be where every page is of one state, each as a query for the number of violations.
const CONTRADICTIONS: [(&str, &str); 3] = [
    (
        "tickets without state",
        "SELECT COUNT(*) FROM tickets t WHERE NOT EXISTS (SELECT 1 FROM ticket_state s WHERE s.UID = t.UID)",
    ),
    (
        "states without ticket",
        // Without a hash the row is known to be lost, and the next full scan repairs that.
        "SELECT COUNT(*) FROM ticket_state s
         WHERE s.hash IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tickets t WHERE t.UID = s.UID)",
    ),
    (
        "tickets whose newest change record is another one",
        "SELECT COUNT(*) FROM ticket_state s
         WHERE s.last_seq < (SELECT MAX(c.seq) FROM changes c WHERE c.UID = s.UID)
         OR s.last_seq > (SELECT seq FROM sqlite_sequence WHERE name = 'changes')",
    ),
];

impl ReadTx<'_> {
    /// Checks that the pages in the -wal file fit the database if its file changed after them, as it does when somebody
    /// puts a backup back and leaves the -wal file of the killed process that used the database before. SQLite applies
    /// any -wal file to any database. Nobody else may have the database open for writing, or it is checked for nothing.
    ///
    /// A checkpoint that a kill interrupted leaves the same signs, and passes. What is found is pages that contradict
    /// each other, which is nearly every case; an old row in an otherwise fitting page is found by the next full scan.
    ///
    /// # Errors
    /// [`StoreError::RestoredBesideWal`] with what contradicts what.
    pub fn check_wal_fits(&self, database: &Path) -> Result<(), StoreError> {
        if !is_newer_than_wal(database) {
            return Ok(());
        }
        let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
        let faults = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        let mut faults: Vec<String> = match faults.map_err(StoreError::from) {
            Ok(faults) => faults,
            Err(StoreError::Damaged { source, .. }) => vec![source.to_string()],
            Err(error) => return Err(error),
        };
        faults.retain(|fault| fault != "ok");
        if faults.is_empty() {
            for (what, sql) in CONTRADICTIONS {
                let number: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
                if number != 0 {
                    faults.push(format!("{what}: {number}"));
                }
            }
            let missing = self.change_log_extent()?.missing;
            if missing != 0 {
                faults.push(format!("missing change records: {missing}"));
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(StoreError::RestoredBesideWal { path: database.to_owned(), faults })
        }
    }
}

/// Whether the -wal file has content that was written before the database file changed. For the database it is the time
/// of the last change of the inode (`ctime`), which neither `cp -p` nor `mv` can carry over from elsewhere; for the -wal
/// file that of its content, because SQLite sets its owner when root opens it.
fn is_newer_than_wal(database: &Path) -> bool {
    let files = (std::fs::metadata(database), std::fs::metadata(sibling_path(database, "-wal")));
    let (Ok(file), Ok(wal)) = files else { return false };
    wal.len() != 0 && (wal.mtime(), wal.mtime_nsec()) < (file.ctime(), file.ctime_nsec())
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
