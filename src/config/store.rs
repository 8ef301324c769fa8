//! `[store]`: the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::quantity;
use super::reader::Section;

/// `[store]`: the database.
#[derive(Debug)]
pub struct StoreConfig {
    /// Database file.
    pub path: PathBuf,
    /// Whether the full-text index `tickets_fts` is kept.
    pub full_text: bool,
    /// Whether `SOURCE_LAST_MODIFIED` is indexed.
    pub index_last_modified: bool,
    /// How long to wait for a lock held by another process.
    pub busy_timeout: Duration,
    /// Free disk space in bytes below which a run ends before it writes; 0 means that it is not watched.
    pub min_free_disk: u64,
    /// How long change records are kept; `None` means forever.
    pub keep_changes: Option<Duration>,
    /// How long records of runs are kept.
    pub keep_runs: Duration,
}

impl StoreConfig {
    pub(super) fn read(section: &mut Section<'_, '_>, folder: &Path) -> StoreConfig {
        StoreConfig {
            path: section.path("path").unwrap_or_else(|| folder.join("halosync.db")),
            full_text: section.boolean("full_text", false),
            index_last_modified: section.boolean("index_last_modified", false),
            busy_timeout: section.duration("busy_timeout", Duration::from_secs(10)),
            min_free_disk: section
                .parsed(
                    "min_free_disk",
                    "a size with a unit, such as \"256MB\" or \"2GB\", or 0",
                    quantity::parse_size,
                )
                .unwrap_or(256 << 20),
            keep_changes: section.duration_or("keep_changes", "400d", "forever", None),
            keep_runs: section.duration("keep_runs", Duration::from_hours(24 * 400)),
        }
    }
}
