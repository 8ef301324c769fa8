//! The free space on the disk of a database.

use std::path::Path;

use super::paths::parent_folder;
use super::{Store, StoreError};

impl Store {
    /// Sets the free space, in bytes, below which [`Store::ensure_free_disk`] fails; 0 switches that off.
    pub fn set_min_free_disk(&mut self, bytes: u64) {
        self.min_free_disk = bytes;
    }

    /// The free space on the disk of the database, in bytes; `None` if the file system does not say.
    #[must_use]
    pub fn free_disk(&self) -> Option<u64> {
        free_disk(&self.path)
    }

    /// Called before rows are written, while there still is room to record that the run ended.
    ///
    /// # Errors
    /// [`StoreError::DiskLow`] if less than `[store] min_free_disk` is free.
    pub fn ensure_free_disk(&self) -> Result<(), StoreError> {
        ensure_free_disk(&self.path, self.min_free_disk)
    }
}

/// The same for a database that is not open, and may not exist yet.
pub fn ensure_free_disk(database: &Path, minimum: u64) -> Result<(), StoreError> {
    match free_disk(database).filter(|free| is_low(*free, minimum)) {
        Some(free) => Err(StoreError::DiskLow { folder: parent_folder(database), free, minimum }),
        None => Ok(()),
    }
}

/// Whether so little is free that nothing may be written.
const fn is_low(free: u64, minimum: u64) -> bool {
    free < minimum
}

/// The free space for users other than root on the disk of a database, in bytes.
pub(super) fn free_disk(database: &Path) -> Option<u64> {
    let stats = rustix::fs::statvfs(parent_folder(database)).ok()?;
    // Without an inode no file can be created; file systems that have no fixed number of them report 0 of 0.
    let has_inodes = stats.f_files == 0 || stats.f_favail != 0;
    Some(if has_inodes { stats.f_bavail.saturating_mul(stats.f_frsize) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_low_below_the_minimum_and_never_at_0() {
        for (free, minimum, expected) in [
            (0, 0, false),
            (9, 0, false),
            (9, 10, true),
            (10, 10, false),
            (0, 1, true),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(is_low(free, minimum), expected, "{free} of {minimum}");
        }
    }

    #[test]
    fn free_disk_is_that_of_the_folder_even_before_the_database_exists() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("halosync.db");
        assert!(free_disk(&database).is_some_and(|free| 0 < free));
        assert!(ensure_free_disk(&database, 0).is_ok());
        let error = ensure_free_disk(&database, u64::MAX).unwrap_err();
        assert!(matches!(error, StoreError::DiskLow { minimum: u64::MAX, .. }), "{error}");
        assert!(
            ensure_free_disk(&folder.path().join("missing/halosync.db"), u64::MAX).is_ok(),
            "reported elsewhere"
        );
    }
}
