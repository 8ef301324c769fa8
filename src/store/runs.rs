//! Passes: what each of them asked for and did, and how it ended.

use rusqlite::OptionalExtension as _;

use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// What a pass has asked for and done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Requests, tokens included.
    pub requests: u64,
    /// Requests for the ticket list.
    pub list_requests: u64,
    /// How many of them were repetitions.
    pub retries: u64,
    /// Rows received.
    pub received: u64,
    /// Tickets that appeared.
    pub created: u64,
    /// Tickets that changed.
    pub updated: u64,
    /// Tickets that left.
    pub deleted: u64,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd<'a> {
    /// Everything asked for is stored.
    Complete,
    /// What was received is stored, but it may not be everything.
    Incomplete(&'a str),
    /// It could not go on.
    Failed(&'a str),
}

impl ReadTx<'_> {
    /// What a pass wrote down of itself.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn run_stats(&self, run_id: i64) -> Result<RunStats, StoreError> {
        let sql = "SELECT requests, list_requests, retries, received, created, updated, deleted FROM runs
                   WHERE run_id = ?1";
        Ok(self.connection.query_row(sql, [run_id], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(RunStats {
                requests: number(0)?,
                list_requests: number(1)?,
                retries: number(2)?,
                received: number(3)?,
                created: number(4)?,
                updated: number(5)?,
                deleted: number(6)?,
            })
        })?)
    }

    /// Whether the pass before this one failed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn has_previous_run_failed(&self, run_id: i64) -> Result<bool, StoreError> {
        let sql = "SELECT outcome IS 'failed' FROM runs WHERE run_id < ?1 ORDER BY run_id DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [run_id], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    /// How many requests passes may have made since `since`; of a pass that was killed, `unrecorded` more
    /// than it wrote down.
    ///
    /// When it was killed nobody knows: before the next pass began, or before now. A pass may last longer
    /// than a window, so that its beginning says nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn requests_since(&self, since: Timestamp, unrecorded: u64) -> Result<u64, StoreError> {
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

impl WriteTx<'_> {
    /// Begins a pass; the number is its `run_id`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_run(&self, kind: &str, now: Timestamp) -> Result<i64, StoreError> {
        self.connection
            .execute("INSERT INTO runs (kind, started_at) VALUES (?1, ?2)", (kind, now.to_string()))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Writes down what a pass did so far.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_run_stats(&self, run_id: i64, stats: &RunStats) -> Result<(), StoreError> {
        let counts = [
            stats.requests,
            stats.list_requests,
            stats.retries,
            stats.received,
            stats.created,
            stats.updated,
            stats.deleted,
        ]
        .map(u64::cast_signed);
        let [requests, list_requests, retries, received, created, updated, deleted] = counts;
        self.connection
            .prepare_cached(
                "UPDATE runs SET requests = ?2, list_requests = ?3, retries = ?4, received = ?5,
                 created = ?6, updated = ?7, deleted = ?8 WHERE run_id = ?1",
            )?
            .execute((run_id, requests, list_requests, retries, received, created, updated, deleted))?;
        Ok(())
    }

    /// Writes down no more than how often a pass asked so far.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_requests(&self, run_id: i64, stats: &RunStats) -> Result<(), StoreError> {
        let RunStats { requests, list_requests, retries, .. } = stats;
        self.connection
            .prepare_cached(
                "UPDATE runs SET requests = ?2, list_requests = ?3, retries = ?4 WHERE run_id = ?1",
            )?
            .execute((run_id, requests.cast_signed(), list_requests.cast_signed(), retries.cast_signed()))?;
        Ok(())
    }

    /// Ends a pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn finish_run(&self, run_id: i64, end: RunEnd<'_>, now: Timestamp) -> Result<(), StoreError> {
        let (outcome, error) = match end {
            RunEnd::Complete => ("complete", None),
            RunEnd::Incomplete(error) => ("incomplete", Some(error)),
            RunEnd::Failed(error) => ("failed", Some(error)),
        };
        self.connection.execute(
            "UPDATE runs SET outcome = ?2, error = ?3, ended_at = ?4 WHERE run_id = ?1",
            (run_id, outcome, error, now.to_string()),
        )?;
        // A walk of this pass that did not come to its own end failed with it, unless it can be taken
        // up again.
        self.connection.execute(
            "UPDATE scans SET outcome = 'failed', ended_at = ?2 WHERE run_id = ?1 AND outcome IS NULL
             AND NOT EXISTS (SELECT 1 FROM scan_checkpoints WHERE scan_checkpoints.scan_id = scans.scan_id)",
            (run_id, now.to_string()),
        )?;
        Ok(())
    }

    /// Forgets passes that ended before `since`, with their walks.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn prune_runs(&self, since: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM runs WHERE ended_at < ?1", [since.to_string()])?;
        Ok(())
    }
}
