//! The journal of the watermark: moves by hand.

use super::{Snapshot, StoreError, Writing};
use crate::ticket::Stamp;

impl Snapshot<'_> {
    /// The number of the newest pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn newest_run(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.connection.query_row("SELECT MAX(run_id) FROM runs", [], |row| row.get(0))?)
    }
}

impl Writing<'_> {
    /// Moves the watermark to `to` and journals the move as `reset: <reason>`. It belongs to no pass and is
    /// written down under the newest one: [`Snapshot::covered_at`] goes by their order, and a package that
    /// was cut before must not be told of it.
    ///
    /// # Errors
    /// [`StoreError::Nonsense`] where there is no watermark, and what SQLite reports.
    pub fn reset_watermark(&self, to: Stamp, reason: &str, now: Stamp) -> Result<(), StoreError> {
        let snapshot = self.snapshot();
        let Some(mut mark) = snapshot.watermark()? else {
            return Err(StoreError::Nonsense { what: "no watermark".into() });
        };
        mark.covered_until = Some(to);
        self.set_watermark(&mark, Some(&format!("reset: {reason}")), snapshot.newest_run()?, now)
    }
}
