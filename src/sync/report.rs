//! How a run ended, and what it did.

use crate::retry::RequestCounts;
use crate::store::{RunEnd, RunStats, ScanStats, StoreError, WriteTx};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::ScanKind;

/// How a run ended that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every ticket of the server is stored.
    Complete,
    /// What was received is stored, but something may be missing; the watermark stays.
    Incomplete(String),
    /// So many tickets would be deleted that a person has to confirm it; the watermark stays.
    DeleteGuard {
        /// How many would be deleted.
        removals: u64,
        /// How many may be deleted without confirmation.
        allowed: u64,
    },
}

impl RunOutcome {
    /// Its text in `runs.outcome`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            RunOutcome::Complete => "complete",
            RunOutcome::Incomplete(_) | RunOutcome::DeleteGuard { .. } => "incomplete",
        }
    }

    /// Why it is not complete.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            RunOutcome::Complete => None,
            RunOutcome::Incomplete(reason) => Some(reason.clone()),
            RunOutcome::DeleteGuard { removals, allowed } => Some(format!(
                "{removals} tickets would be deleted at once; the delete guard allows {allowed}"
            )),
        }
    }

    /// What a person can do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            RunOutcome::DeleteGuard { .. } => Some(
                "The agent that the API application logs in as may have lost permissions: check that it can see all \
                 tickets. If the tickets are really gone: halosync sync --full --accept-deletes",
            ),
            RunOutcome::Complete | RunOutcome::Incomplete(_) => None,
        }
    }
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Its number in `runs`.
    pub run_id: i64,
    /// The scan that ended it.
    pub scan_kind: ScanKind,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Its requests, and what it changed.
    pub run_stats: RunStats,
    /// What the scan read.
    pub scan_stats: ScanStats,
    /// The watermark afterwards.
    pub covered_until: Option<Timestamp>,
    /// The number of tickets afterwards.
    pub tickets: u64,
    /// What a person should know besides.
    pub warnings: Vec<String>,
    /// Whether nothing of it was kept.
    pub dry_run: bool,
    pub(super) totals: RunTotals,
}

/// What a run did so far, over all its scans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunTotals {
    pub(super) changes: ChangeCounts,
    /// Rows received by scans that ended, repetitions included.
    pub(super) received: u64,
}

impl RunTotals {
    /// The totals with the requests, as `runs` has them.
    pub(super) fn run_stats(&self, requests: RequestCounts) -> RunStats {
        RunStats {
            requests: requests.requests,
            list_requests: requests.list_requests,
            retries: requests.retries,
            received: self.received,
            changes: self.changes,
        }
    }
}

/// Records the end of a run.
pub(super) fn end_run(
    tx: &WriteTx<'_>,
    run_id: i64,
    run_stats: &RunStats,
    outcome: &RunOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.record_run_stats(run_id, run_stats)?;
    match outcome.reason() {
        None => tx.finish_run(run_id, RunEnd::Complete, now),
        Some(reason) => tx.finish_run(run_id, RunEnd::Incomplete(&reason), now),
    }
}
