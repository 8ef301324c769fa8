//! How late the server shows changes: what an incremental scan found that the verified scan before it should have shown.

use chrono::TimeDelta;
use rusqlite::OptionalExtension as _;

use super::tx::{parse_optional_timestamp, parse_timestamp};
use super::{MoveReason, ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// A row of `lateness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// How late the most delayed change of a scan was.
    pub late_by: TimeDelta,
    /// When that scan ended, by the local clock.
    pub measured_at: Timestamp,
}

impl ReadTx<'_> {
    /// The oldest `last_update` in a time span of the versions that were stored after `seq` and never seen before.
    ///
    /// Left out are records that are no new version: repairs, custom fields, names, versions that came back with a ticket or
    /// from a backup; and those of tickets whose earlier versions scans may have seen without being able to store them
    /// (`not_before` is NULL), or that the server did not list (`unlisted_tickets`). A ticket that is older than the time span
    /// and was never seen before became visible by a permission.
    pub fn oldest_new_version(
        &self,
        seq: i64,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let oldest = self.connection.query_row(
            "SELECT MIN(source_last_modified) FROM changes
             WHERE seq > ?1 AND ?2 <= source_last_modified AND source_last_modified < ?3
                 AND reason IS NULL AND not_before IS NOT NULL
                 AND CASE op
                     WHEN 'c' THEN EXISTS (SELECT 1 FROM tickets
                         WHERE tickets.UID = changes.UID AND ?2 <= tickets.SOURCE_CREATED_DATE)
                     WHEN 'u' THEN json_extract(changed, '$.SOURCE_LAST_MODIFIED[0]') IS NOT NULL
                 END
                 AND NOT EXISTS (SELECT 1 FROM unlisted_tickets WHERE unlisted_tickets.UID = changes.UID)",
            (seq, from.to_string(), until.to_string()),
            |row| row.get(0),
        )?;
        parse_optional_timestamp(oldest)
    }

    /// Whether the watermark is the start of a verified scan: not where it was moved by hand, by a step of the server's
    /// clock, or by a scan that did not see everything.
    pub fn is_watermark_verified(&self) -> Result<bool, StoreError> {
        let sql = "SELECT reason FROM watermark_journal ORDER BY move_id DESC LIMIT 1";
        let reason: Option<String> = self.connection.query_row(sql, [], |row| row.get(0)).optional()?;
        Ok(reason.as_deref() == Some(MoveReason::Verified.as_str()))
    }

    /// The greatest lateness that was measured at a time or later.
    pub fn greatest_lateness(&self, since: Timestamp) -> Result<Option<Lateness>, StoreError> {
        let sql = "SELECT seconds, measured_at FROM lateness WHERE ?1 <= measured_at
                   ORDER BY seconds DESC, measured_at DESC LIMIT 1";
        let found: Option<(f64, String)> = self
            .connection
            .query_row(sql, [since.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seconds, measured_at)) = found else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "at most a day, in milliseconds")]
        let late_by = TimeDelta::milliseconds((seconds * 1_000.0).round() as i64);
        Ok(Some(Lateness { late_by, measured_at: parse_timestamp(&measured_at)? }))
    }
}

impl WriteTx<'_> {
    /// Records how late the most delayed change of a scan was.
    pub fn record_lateness(
        &self,
        scan_id: i64,
        late_by: TimeDelta,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO lateness (scan_id, seconds, measured_at) VALUES (?1, ?2, ?3)";
        self.connection.execute(sql, (scan_id, late_by.as_seconds_f64(), now.to_string()))?;
        Ok(())
    }
}
