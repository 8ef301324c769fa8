//! What the service tells: lines in the log, and the one line of `systemctl status`.
//!
//! A message says everything; its fields say it again for programs. What stays the same is said once.

use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::cycle::MaintenanceResult;
use super::failure_policy::{FailureStreak, LogDecision};
use super::state::CyclePhase;
use crate::app::{AppError, DeltaSummary};
use crate::store::WalCheckpoint;
use crate::sync::RunReport;

/// From here on a log that a reader keeps from shrinking is worth a line, in bytes.
const WAL_WARNING_BYTES: u64 = 64 << 20;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// How the copy stands, for `systemctl status`.
    status_line: String,
    /// What the last pass warned of.
    reported_warnings: Vec<String>,
    /// Packages in a row that could not be made.
    export_failures: FailureStreak,
    /// That the log of the database is large.
    large_wal_reported: bool,
}

impl Service {
    /// The line of a pass.
    pub(super) fn log_run(&mut self, report: &RunReport, took: Duration) {
        let run = &report.run_stats;
        let (outcome, scan, seconds) =
            (report.outcome.as_str(), report.scan_kind.as_str(), took.as_secs_f64());
        let covered_until = report.covered_until.map_or("never".into(), |at| at.to_string());
        tracing::info!(
            run_id = report.run_id,
            outcome,
            scan,
            received = run.received,
            created = run.changes.created,
            updated = run.changes.updated,
            deleted = run.changes.deleted,
            requests = run.requests,
            retries = run.retries,
            seconds,
            tickets = report.tickets,
            covered_until,
            "{outcome}: {scan} walk, {} rows, {} created, {} updated, {} deleted, {} requests, {seconds:.1} s; \
             {} tickets, complete until {covered_until}",
            run.received,
            run.changes.created,
            run.changes.updated,
            run.changes.deleted,
            run.requests,
            report.tickets,
        );
        for warning in
            report.warnings.iter().filter(|warning| !self.log_state.reported_warnings.contains(warning))
        {
            tracing::warn!("{warning}");
        }
        self.log_state.reported_warnings.clone_from(&report.warnings);
        self.log_state.status_line = format!("{} tickets, complete until {covered_until}; ", report.tickets);
    }

    /// That passes are complete again.
    pub(super) fn record_recovery(&mut self) {
        self.state.lock().failures = 0;
        if let Some(failures) = self.failure_streak.end() {
            tracing::info!(failures, "recovered after {failures} failures");
        }
    }

    /// A pass that was not complete.
    pub(super) fn record_failure(&mut self, cause: &str, help: Option<&str>) {
        let decision = self.failure_streak.record(cause);
        let failures = self.failure_streak.failures();
        self.state.lock().failures = failures;
        match decision {
            LogDecision::Report => {
                let help = help.map_or(String::new(), |help| format!(" ({help})"));
                tracing::warn!(cause, failures, "the pass was not complete: {cause}{help}");
            }
            LogDecision::Summarize => {
                tracing::warn!(cause, failures, "{failures} passes in a row were not complete: {cause}");
            }
            LogDecision::Suppress => tracing::debug!(cause, failures, "not complete again"),
        }
    }

    /// What followed a pass.
    pub(super) fn log_maintenance(&mut self, maintenance: &MaintenanceResult) {
        if let Some(wal_checkpoint) = maintenance.wal_checkpoint {
            self.log_wal_checkpoint(wal_checkpoint);
        }
        match &maintenance.export {
            Ok(summary) => {
                if summary.is_some()
                    && let Some(failures) = self.log_state.export_failures.end()
                {
                    tracing::info!(failures, "packages are made again after {failures} failures");
                }
                summary.iter().for_each(log_delta);
            }
            Err(error) => {
                let (cause, help) = (error.chain(), error.help());
                match self.log_state.export_failures.record(&cause) {
                    LogDecision::Report => {
                        tracing::warn!(cause, "no package could be made: {cause} ({help})")
                    }
                    LogDecision::Summarize => {
                        let failures = self.log_state.export_failures.failures();
                        tracing::warn!(cause, failures, "no package could be made {failures} times: {cause}");
                    }
                    LogDecision::Suppress => tracing::debug!(cause, "no package could be made again"),
                }
            }
        }
        if let Some(integrity_check) = &maintenance.integrity_check {
            self.record_integrity_check(integrity_check);
        }
    }

    fn log_wal_checkpoint(&mut self, WalCheckpoint { wal_bytes, is_blocked: is_held }: WalCheckpoint) {
        let large = is_held && WAL_WARNING_BYTES <= wal_bytes;
        if large && !self.log_state.large_wal_reported {
            tracing::warn!(
                wal_bytes,
                "a reader holds an old state of the database, and its log has grown to {} MB: `halosync status` \
                 names the reader",
                wal_bytes >> 20
            );
        }
        self.log_state.large_wal_reported = large;
    }

    fn record_integrity_check(&mut self, integrity_check: &Result<(), AppError>) {
        match integrity_check {
            Ok(()) => tracing::debug!("the database is sound"),
            Err(error) if error.is_damage() => {
                let (cause, help) = (error.chain(), error.help());
                tracing::error!(cause, "the database was looked through: {cause} ({help})");
            }
            Err(error) => {
                // That says nothing of the database; the next round tries again.
                tracing::debug!(cause = error.chain(), "the database could not be looked through");
                return;
            }
        }
        self.state.lock().database_ok = Some(integrity_check.is_ok());
        self.integrity_checked_at = Some(Instant::now());
    }

    /// The line of `systemctl status`.
    pub(super) fn update_status(&mut self) {
        let phase = self.state.lock().phase;
        let status = match (self.running_cycle.is_some(), phase) {
            (true, CyclePhase::Maintenance) => "handing on".to_owned(),
            (true, CyclePhase::Idle | CyclePhase::Run) => match self.state.rows_received() {
                (0, _) => "asking for what changed".to_owned(),
                (rows, None) => format!("reading: {rows} rows so far"),
                (rows, Some(total)) => format!("reading: {rows} of {total} rows"),
            },
            (false, _) => {
                let (next, failures) = (self.next_run_at, self.failure_streak.failures());
                match self.failure_streak.cause() {
                    None => format!("{}next pass at {next}", self.log_state.status_line),
                    Some(cause) => format!("{cause} ({failures} in a row); next pass at {next}"),
                }
            }
        };
        self.systemd.set_status(status);
    }
}

fn log_delta(summary: &DeltaSummary) {
    let consumer = summary.consumer.as_str();
    for (package, _) in &summary.packages {
        let (from_seq, to_seq, rows) = (package.from_seq, package.to_seq, package.rows);
        tracing::info!(
            consumer,
            from_seq,
            to_seq,
            rows,
            "handed on to {consumer}: changes {from_seq} to {to_seq}, {rows} rows"
        );
    }
}
