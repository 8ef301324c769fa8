//! The watermark, and the journal of its moves.

use rusqlite::OptionalExtension as _;
use strum::IntoStaticStr;

use super::scans::SETTLED_FULL_SCAN;
use super::tx::{parse_optional_timestamp, parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::scope::Scope;
use crate::ticket::Timestamp;
use crate::watermark::{ClockStep, Watermark};

/// Why the watermark moved (`watermark_journal.reason`). For a move by hand it is `reset: ` and
/// the reason that the user gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum MoveReason {
    /// The database is new.
    Created,
    /// Server, ticket types, custom fields or mapping version are other ones than before.
    ScopeChanged,
    /// A privacy rule is gone, or its key is another one.
    PrivacyChanged,
    /// A scan was verified or confirmed.
    Verified,
    /// A full scan was complete except for rows without an id.
    UnidentifiedRows,
    /// What a scan did not show is accepted (`[sync] accept_shortfall`).
    AcceptedShortfall,
    /// The clock of the server stepped back.
    ClockStepped,
}

impl MoveReason {
    /// The word in `watermark_journal.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl ReadTx<'_> {
    /// The watermark; `None` until the first run has started.
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
            state: parse_word("watermarks.state", &state)?,
            covered_until: parse_optional_timestamp(covered_until)?,
            newest_seen: parse_optional_timestamp(newest_seen)?,
            canary,
            initial_started_at: parse_optional_timestamp(initial_started_at)?,
            initial_last_id,
        }))
    }

    /// The watermark as it was while `seq` was the newest change record: before the run that wrote the
    /// next one.
    pub fn covered_until_at(&self, seq: i64) -> Result<Option<Timestamp>, StoreError> {
        let covered_until = self.connection.query_row(
            "SELECT covered_until FROM watermark_journal WHERE COALESCE(run_id, 0) < COALESCE(
                 (SELECT run_id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT 1), 9223372036854775807)
             ORDER BY move_id DESC LIMIT 1",
            [seq],
            |row| row.get(0),
        );
        parse_optional_timestamp(covered_until.optional()?.flatten())
    }

    /// The last step of the server's clock.
    pub fn last_clock_step(&self) -> Result<Option<ClockStep>, StoreError> {
        type StepRow = (Option<String>, Option<String>, String, Option<String>);
        let row: Option<StepRow> = self
            .connection
            .query_row(
                "SELECT step.covered_from, step.covered_until, step.moved_at, COALESCE(
                     (SELECT runs.started_at FROM watermark_journal before JOIN runs ON runs.run_id = before.run_id
                      WHERE before.move_id < step.move_id ORDER BY before.move_id DESC LIMIT 1), step.moved_at)
                 FROM watermark_journal step WHERE step.reason = 'clock_stepped' ORDER BY step.move_id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()?;
        let Some((Some(covered_before), Some(stepped_to), found_at, Some(set_at))) = row else {
            return Ok(None);
        };
        Ok(Some(ClockStep {
            covered_before: parse_timestamp(&covered_before)?,
            set_at: parse_timestamp(&set_at)?,
            stepped_to: parse_timestamp(&stepped_to)?,
            found_at: parse_timestamp(&found_at)?,
        }))
    }

    /// Whether the clock of the server stepped back since the last verified full scan began.
    pub fn has_clock_stepped_since_full_scan(&self) -> Result<bool, StoreError> {
        Ok(self.connection.query_row(
            &format!(
                "SELECT EXISTS (SELECT 1 FROM watermark_journal
                 WHERE reason = 'clock_stepped' AND move_id > COALESCE((SELECT last_move_id FROM scans
                     WHERE {SETTLED_FULL_SCAN} ORDER BY scan_id DESC LIMIT 1), 0))"
            ),
            [],
            |row| row.get(0),
        )?)
    }
}

impl WriteTx<'_> {
    /// Moves the watermark to `to` and records the move as `reset: <reason>`.
    ///
    /// The move is recorded under the newest run although it belongs to none: [`ReadTx::covered_until_at`]
    /// goes by the order of runs, and it must not apply to packages written before.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if there is no watermark.
    pub fn reset_watermark(&self, to: Timestamp, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let read_tx = self.as_read_tx();
        let Some(mut watermark) = read_tx.watermark()? else {
            return Err(StoreError::InvalidData { what: "no watermark".into() });
        };
        let covered_before = watermark.covered_until.replace(to);
        self.write_watermark(&watermark)?;
        let moved = (covered_before, watermark.covered_until);
        self.record_move(moved, &format!("reset: {reason}"), read_tx.newest_run_id()?, now)
    }

    /// Replaces the watermark and, if there is a `reason`, records the move in the journal.
    pub fn set_watermark(
        &self,
        watermark: &Watermark,
        reason: Option<MoveReason>,
        run_id: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let covered_before = self.as_read_tx().watermark()?.and_then(|watermark| watermark.covered_until);
        self.write_watermark(watermark)?;
        match reason {
            Some(reason) => {
                self.record_move((covered_before, watermark.covered_until), reason.as_str(), run_id, now)
            }
            None => Ok(()),
        }
    }

    fn write_watermark(&self, watermark: &Watermark) -> Result<(), StoreError> {
        let scope = serde_json::to_string(&watermark.scope)
            .map_err(|error| StoreError::InvalidData { what: format!("no scope ({error})") })?;
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
        Ok(())
    }

    fn record_move(
        &self,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        reason: &str,
        run_id: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO watermark_journal (moved_at, covered_from, covered_until, reason, run_id)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (now.to_string(), format_timestamp(from), format_timestamp(to), reason, run_id),
        )?;
        Ok(())
    }
}

fn parse_scope(text: &str) -> Result<Scope, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::InvalidData { what: format!("invalid scope ({error})") })
}

fn format_timestamp(timestamp: Option<Timestamp>) -> Option<String> {
    timestamp.map(|timestamp| timestamp.to_string())
}
