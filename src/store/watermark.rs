//! The watermark, and the journal of its moves.

use rusqlite::OptionalExtension as _;

use super::{ReadTx, StoreError, WriteTx};
use crate::scope::Scope;
use crate::ticket::Timestamp;
use crate::watermark::{Watermark, WatermarkState};

impl ReadTx<'_> {
    /// The watermark, where the database has one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn watermark(&self) -> Result<Option<Watermark>, StoreError> {
        type WatermarkRow = (String, String, [Option<String>; 3], [Option<i64>; 2]);
        let row: Option<WatermarkRow> = self
            .connection
            .query_row(
                "SELECT scope, state, covered_until, newest_seen, initial_started_at, initial_last_id, canary_id
                 FROM watermarks",
                [],
                |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        [row.get(2)?, row.get(3)?, row.get(4)?],
                        [row.get(5)?, row.get(6)?],
                    ))
                },
            )
            .optional()?;
        let Some((scope, state, [covered_until, newest_seen, initial_started_at], [initial_last_id, canary])) =
            row
        else {
            return Ok(None);
        };
        Ok(Some(Watermark {
            scope: parse_scope(&scope)?,
            state: if state == WatermarkState::Incremental.as_str() {
                WatermarkState::Incremental
            } else {
                WatermarkState::Initial
            },
            covered_until: parse_timestamp(covered_until)?,
            newest_seen: parse_timestamp(newest_seen)?,
            canary,
            initial_started_at: parse_timestamp(initial_started_at)?,
            initial_last_id,
        }))
    }

    /// Up to when the copy was known to be complete while change `seq` was its newest: where the mark
    /// stood before the pass that made the next change.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn covered_until_at(&self, seq: i64) -> Result<Option<Timestamp>, StoreError> {
        let covered_until = self.connection.query_row(
            "SELECT covered_until FROM watermark_journal WHERE COALESCE(run_id, 0) < COALESCE(
                 (SELECT run_id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT 1), 9223372036854775807)
             ORDER BY move_id DESC LIMIT 1",
            [seq],
            |row| row.get(0),
        );
        parse_timestamp(covered_until.optional()?.flatten())
    }

    /// Whether the server's clock stepped back since the last counted full walk began.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn has_clock_stepped_since_full_scan(&self) -> Result<bool, StoreError> {
        Ok(self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM watermark_journal
             WHERE reason = 'clock_stepped' AND move_id > COALESCE((SELECT last_move_id FROM scans
                 WHERE kind = 'full' AND outcome IN ('verified', 'confirmed')
                 ORDER BY scan_id DESC LIMIT 1), 0))",
            [],
            |row| row.get(0),
        )?)
    }
}

impl ReadTx<'_> {
    /// The number of the newest pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn newest_run_id(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.connection.query_row("SELECT MAX(run_id) FROM runs", [], |row| row.get(0))?)
    }

    /// The newest `last_update` of a stored ticket that is not after `until`, with the ticket of the
    /// greatest id that bears it and how many do. It reads the whole table: there is no index on it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn newest_last_update(&self, until: Timestamp) -> Result<Option<(Timestamp, i64, u64)>, StoreError> {
        let newest: Option<(String, i64, i64)> = self
            .connection
            .query_row(
                "SELECT SOURCE_LAST_MODIFIED, MAX(UID), COUNT(*) FROM tickets WHERE SOURCE_LAST_MODIFIED =
                     (SELECT MAX(SOURCE_LAST_MODIFIED) FROM tickets WHERE SOURCE_LAST_MODIFIED <= ?1)
                 GROUP BY 1",
                [until.to_string()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((text, id, count)) = newest else { return Ok(None) };
        Ok(parse_timestamp(Some(text))?.map(|timestamp| (timestamp, id, count.cast_unsigned())))
    }

    /// Whether a stored ticket has this `last_update`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn has_last_update(&self, id: i64, last_update: Timestamp) -> Result<bool, StoreError> {
        Ok(self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM tickets WHERE UID = ?1 AND SOURCE_LAST_MODIFIED = ?2)",
            (id, last_update.to_string()),
            |row| row.get(0),
        )?)
    }
}

impl WriteTx<'_> {
    /// Moves the watermark to `to` and journals the move as `reset: <reason>`. It belongs to no pass and is
    /// written down under the newest one: [`Snapshot::covered_at`] goes by their order, and a package that
    /// was cut before must not be told of it.
    ///
    /// # Errors
    /// [`StoreError::Nonsense`] where there is no watermark, and what SQLite reports.
    pub fn reset_watermark(&self, to: Timestamp, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let read_tx = self.as_read_tx();
        let Some(mut watermark) = read_tx.watermark()? else {
            return Err(StoreError::InvalidData { what: "no watermark".into() });
        };
        watermark.covered_until = Some(to);
        self.set_watermark(&watermark, Some(&format!("reset: {reason}")), read_tx.newest_run_id()?, now)
    }

    /// Replaces the watermark and, where `reason` is given, journals the move.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn set_watermark(
        &self,
        watermark: &Watermark,
        reason: Option<&str>,
        run_id: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let covered_before = self.as_read_tx().watermark()?.and_then(|watermark| watermark.covered_until);
        let scope = serde_json::to_string(&watermark.scope)
            .map_err(|error| StoreError::InvalidData { what: error.to_string() })?;
        self.connection.execute(
            "INSERT OR REPLACE INTO watermarks
             (one, scope, state, covered_until, newest_seen, initial_started_at, initial_last_id, canary_id)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                scope,
                watermark.state.as_str(),
                format_timestamp(watermark.covered_until),
                format_timestamp(watermark.newest_seen),
                format_timestamp(watermark.initial_started_at),
                watermark.initial_last_id,
                watermark.canary,
            ),
        )?;
        if let Some(reason) = reason {
            self.connection.execute(
                "INSERT INTO watermark_journal (moved_at, covered_from, covered_until, reason, run_id)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (
                    now.to_string(),
                    format_timestamp(covered_before),
                    format_timestamp(watermark.covered_until),
                    reason,
                    run_id,
                ),
            )?;
        }
        Ok(())
    }
}

fn parse_scope(text: &str) -> Result<Scope, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::InvalidData { what: format!("a scope that cannot be read: {error}") })
}

pub(super) fn parse_timestamp(text: Option<String>) -> Result<Option<Timestamp>, StoreError> {
    let parse = |text: String| {
        text.parse::<Timestamp>().map_err(|_| StoreError::InvalidData { what: format!("the time {text:?}") })
    };
    text.map(parse).transpose()
}

fn format_timestamp(timestamp: Option<Timestamp>) -> Option<String> {
    timestamp.map(|timestamp| timestamp.to_string())
}
