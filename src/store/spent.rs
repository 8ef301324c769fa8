//! How often the server was asked before: the promise of the rate limit holds over restarts.

use super::{Snapshot, StoreError};
use crate::ticket::Stamp;

impl Snapshot<'_> {
    /// How many requests passes may have made since `since`; of a pass that was killed, `unrecorded` more
    /// than it wrote down.
    ///
    /// When it was killed nobody knows: before the next pass began, or before now. A pass may last longer
    /// than a window, so that its beginning says nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn spent_since(&self, since: Stamp, unrecorded: u64) -> Result<u64, StoreError> {
        let requests: i64 = self.connection.query_row(
            "SELECT COALESCE(SUM(requests + CASE WHEN ended_at IS NULL THEN ?2 ELSE 0 END), 0) FROM (
                 SELECT requests, ended_at, COALESCE(ended_at, LEAD(started_at) OVER (ORDER BY run_id)) AS over
                 FROM runs)
             WHERE over IS NULL OR over >= ?1",
            (since.to_string(), unrecorded.cast_signed()),
            |row| row.get(0),
        )?;
        Ok(u64::try_from(requests).unwrap_or(0))
    }
}
