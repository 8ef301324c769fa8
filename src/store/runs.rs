//! Runs: what each of them requested and changed, and how it ended.

use rusqlite::OptionalExtension as _;
use strum::{EnumString, IntoStaticStr};

use super::tx::parse_word;
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::{ChangeCounts, Timestamp};

/// Whether a run writes (`runs.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// It stores what it receives.
    Sync,
    /// It stores nothing but its own record.
    DryRun,
    /// A `check`, recorded only because its requests count against the rate limit.
    Check,
}

impl RunKind {
    /// The word in `runs.kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How a run ended, without the reason (`runs.outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// See [`RunEnd::Complete`].
    Complete,
    /// See [`RunEnd::Incomplete`].
    Incomplete,
    /// See [`RunEnd::Failed`].
    Failed,
}

impl RunStatus {
    /// The word in `runs.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How a run ends, with the reason where it is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd<'a> {
    /// Every scan is verified or confirmed and every received row is stored.
    Complete,
    /// What was received is stored, but something may be missing.
    Incomplete(&'a str),
    /// A fault ended it.
    Failed(&'a str),
}

impl<'a> RunEnd<'a> {
    fn into_parts(self) -> (RunStatus, Option<&'a str>) {
        match self {
            RunEnd::Complete => (RunStatus::Complete, None),
            RunEnd::Incomplete(reason) => (RunStatus::Incomplete, Some(reason)),
            RunEnd::Failed(reason) => (RunStatus::Failed, Some(reason)),
        }
    }
}

/// What a run has requested and changed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// HTTP requests, those for tokens included.
    pub requests: u64,
    /// Those of them for the ticket list.
    pub list_requests: u64,
    /// Those of them that repeated an earlier one.
    pub retries: u64,
    /// Ticket rows received in this run, repetitions included.
    pub received: u64,
    /// Tickets created, updated and deleted.
    pub changes: ChangeCounts,
}

/// A row of `runs`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LastRun {
    /// Its number.
    pub run_id: i64,
    /// Whether it wrote.
    pub kind: RunKind,
    /// How it ended; `None` while it is running, or after its process was killed.
    pub outcome: Option<RunStatus>,
    /// Why it was not complete.
    pub error: Option<String>,
    /// When it started, by the local clock.
    pub started_at: String,
    /// When it ended, by the local clock.
    pub ended_at: Option<String>,
    /// HTTP requests, those for tokens included.
    pub requests: i64,
    /// Tickets created, updated and deleted.
    #[serde(flatten)]
    pub changes: ChangeCounts,
}

impl ReadTx<'_> {
    /// The recorded figures of a run.
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
                changes: ChangeCounts { created: number(4)?, updated: number(5)?, deleted: number(6)? },
            })
        })?)
    }

    /// The last `limit` runs, newest first, without checks.
    pub fn last_runs(&self, limit: u32) -> Result<Vec<LastRun>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT run_id, kind, outcome, error, started_at, ended_at, requests, created, updated, deleted
             FROM runs WHERE kind <> 'check' ORDER BY run_id DESC LIMIT ?1",
        )?;
        let mut rows = statement.query([limit])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let outcome: Option<String> = row.get(2)?;
            runs.push(LastRun {
                run_id: row.get(0)?,
                kind: parse_word("runs.kind", &row.get::<_, String>(1)?)?,
                outcome: outcome.map(|word| parse_word("runs.outcome", &word)).transpose()?,
                error: row.get(3)?,
                started_at: row.get(4)?,
                ended_at: row.get(5)?,
                requests: row.get(6)?,
                changes: ChangeCounts { created: number(7)?, updated: number(8)?, deleted: number(9)? },
            });
        }
        Ok(runs)
    }

    /// The number of the newest run; a check is none.
    pub fn newest_run_id(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT MAX(run_id) FROM runs WHERE kind <> 'check'";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Whether the run before this one failed.
    pub fn has_previous_run_failed(&self, run_id: i64) -> Result<bool, StoreError> {
        let sql = "SELECT outcome IS 'failed' FROM runs WHERE run_id < ?1 AND kind <> 'check'
                   ORDER BY run_id DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [run_id], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    /// The greatest number of requests that runs and checks may have made since `since`. A run whose process was
    /// killed may have made up to `unrecorded` more than it recorded.
    ///
    /// A killed run has no end time; the start of the next run, or else the present, is the latest
    /// possible one. A check may be made while a run is under way, and ends no other.
    pub fn requests_since(&self, since: Timestamp, unrecorded: u64) -> Result<u64, StoreError> {
        let requests: i64 = self.connection.query_row(
            "SELECT COALESCE(SUM(requests + CASE WHEN ended_at IS NULL THEN ?2 ELSE 0 END), 0) FROM (
                 SELECT requests, ended_at, COALESCE(ended_at, LEAD(started_at)
                     OVER (PARTITION BY kind = 'check' ORDER BY run_id)) AS latest_end
                 FROM runs)
             WHERE latest_end IS NULL OR latest_end >= ?1",
            (since.to_string(), unrecorded.cast_signed()),
            |row| row.get(0),
        )?;
        Ok(u64::try_from(requests).unwrap_or(0))
    }

    /// Whether the newest run ended; one that was killed has no end.
    pub fn has_newest_run_ended(&self) -> Result<bool, StoreError> {
        let sql = "SELECT ended_at IS NOT NULL FROM runs WHERE kind <> 'check' ORDER BY run_id DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(true))
    }

    /// The number of requests that checks made or reserved between the run before this one and this one, since `since`.
    pub fn check_requests_before(&self, run_id: i64, since: Timestamp) -> Result<u64, StoreError> {
        let requests: i64 = self.connection.query_row(
            "SELECT COALESCE(SUM(requests), 0) FROM runs WHERE kind = 'check' AND run_id < ?1 AND ?2 <= ended_at
                 AND (SELECT COALESCE(MAX(run_id), 0) FROM runs WHERE kind <> 'check' AND run_id < ?1) < run_id",
            (run_id, since.to_string()),
            |row| row.get(0),
        )?;
        Ok(u64::try_from(requests).unwrap_or(0))
    }

    /// The number of requests that checks made or reserved since `since`.
    pub fn check_requests_since(&self, since: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT COALESCE(SUM(requests), 0) FROM runs WHERE kind = 'check' AND ?1 <= ended_at";
        let requests: i64 = self.connection.query_row(sql, [since.to_string()], |row| row.get(0))?;
        Ok(u64::try_from(requests).unwrap_or(0))
    }
}

impl WriteTx<'_> {
    /// Reserves requests of the rate limit for a check, and returns its `run_id`.
    pub fn begin_check(&self, requests: u64, now: Timestamp) -> Result<i64, StoreError> {
        let run_id = self.begin_run(RunKind::Check, now)?;
        self.end_check(run_id, requests, now)?;
        Ok(run_id)
    }

    /// Records how many requests a check made.
    pub fn end_check(&self, run_id: i64, requests: u64, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE runs SET outcome = 'complete', requests = ?2, ended_at = ?3 WHERE run_id = ?1",
            (run_id, requests.cast_signed(), now.to_string()),
        )?;
        Ok(())
    }

    /// Starts a run and returns its `run_id`.
    pub fn begin_run(&self, kind: RunKind, now: Timestamp) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO runs (kind, started_at) VALUES (?1, ?2)",
            (kind.as_str(), now.to_string()),
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Records the figures of a run.
    pub fn record_run_stats(&self, run_id: i64, stats: &RunStats) -> Result<(), StoreError> {
        let RunStats { requests, list_requests, retries, received, changes } = *stats;
        let ChangeCounts { created, updated, deleted } = changes;
        let [requests, list_requests, retries, received, created, updated, deleted] =
            [requests, list_requests, retries, received, created, updated, deleted].map(u64::cast_signed);
        self.connection
            .prepare_cached(
                "UPDATE runs SET requests = ?2, list_requests = ?3, retries = ?4, received = ?5,
                 created = ?6, updated = ?7, deleted = ?8 WHERE run_id = ?1",
            )?
            .execute((run_id, requests, list_requests, retries, received, created, updated, deleted))?;
        Ok(())
    }

    /// Records the request counts of a run and leaves its other figures as they are.
    pub fn record_requests(&self, run_id: i64, stats: &RunStats) -> Result<(), StoreError> {
        let RunStats { requests, list_requests, retries, .. } = stats;
        self.connection
            .prepare_cached(
                "UPDATE runs SET requests = ?2, list_requests = ?3, retries = ?4 WHERE run_id = ?1",
            )?
            .execute((run_id, requests.cast_signed(), list_requests.cast_signed(), retries.cast_signed()))?;
        Ok(())
    }

    /// Ends a run. Its scans that have not ended become `failed`, except one that can be resumed.
    pub fn finish_run(&self, run_id: i64, end: RunEnd<'_>, now: Timestamp) -> Result<(), StoreError> {
        let (status, error) = end.into_parts();
        self.connection.execute(
            "UPDATE runs SET outcome = ?2, error = ?3, ended_at = ?4 WHERE run_id = ?1",
            (run_id, status.as_str(), error, now.to_string()),
        )?;
        self.connection.execute(
            "UPDATE scans SET outcome = 'failed', ended_at = ?2 WHERE run_id = ?1 AND outcome IS NULL
             AND NOT EXISTS (SELECT 1 FROM scan_checkpoints WHERE scan_checkpoints.scan_id = scans.scan_id)",
            (run_id, now.to_string()),
        )?;
        Ok(())
    }

    /// Deletes the records of runs that ended before `since`, with their scans.
    pub fn prune_runs(&self, since: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM runs WHERE ended_at < ?1", [since.to_string()])?;
        Ok(())
    }
}
