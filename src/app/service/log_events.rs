//! The log events of the service, and the status line of `systemctl status`.
//!
//! A message is complete by itself; its fields repeat the values for programs. What does not change is logged
//! once.

use std::time::Duration;

use indicatif::HumanCount;
use tokio::time::Instant;
use tracing::Level;

use super::Service;
use super::cycle::MaintenanceResult;
use super::failure_policy::{FailureStreak, LogDecision};
use super::state::CyclePhase;
use crate::app::{AppError, DeltaSummary, WrittenPackage, count};
use crate::config::size_to_text;
use crate::store::WalCheckpoint;
use crate::sync::{LATENESS_WARNING, RunReport};

/// The size in bytes from which a write-ahead log that a reader keeps from shrinking is logged.
const WAL_WARNING_BYTES: u64 = 64 << 20;

/// What was logged already.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// The first part of the line for `systemctl status`.
    status_line: String,
    /// The warnings of the last run.
    reported_warnings: Vec<String>,
    /// Exports in a row that failed.
    export_failures: FailureStreak,
    large_wal_reported: bool,
}

impl LogState {
    /// The warnings of a run that the one before it did not have. How late changes are differs from run to run.
    fn new_warnings<'a>(&mut self, warnings: &'a [String]) -> Vec<&'a String> {
        let reported = std::mem::replace(&mut self.reported_warnings, warnings.to_owned());
        let is_lateness = |warning: &String| warning.starts_with(LATENESS_WARNING);
        let is_known = |warning: &String| {
            reported.contains(warning) || (is_lateness(warning) && reported.iter().any(is_lateness))
        };
        warnings.iter().filter(|warning| !is_known(warning)).collect()
    }
}

impl Service {
    /// Logs a run that came to its end.
    pub(super) fn log_run(&mut self, report: &RunReport, took: Duration) {
        let decision =
            self.run_log.decide(&report.outcome, &report.run_stats, self.run_was_requested, Instant::now());
        let run = &report.run_stats;
        let (outcome, scan, seconds) =
            (report.outcome.as_str(), report.scan_kind.as_str(), took.as_secs_f64());
        let covered_until = report.covered_until.map_or("never".into(), |at| at.to_string());
        let coverage = report
            .covered_until
            .map_or("not yet complete".into(), |at| format!("complete until {}", at.to_second()));
        // The level of an event is part of its call site.
        macro_rules! log_at {
            ($level:expr) => {
                tracing::event!(
                    $level,
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
                    "{outcome}: {scan} scan, {}, {} created, {} updated, {} deleted, {}, \
                     {seconds:.1} s; {}, {coverage}",
                    count(run.received, "row"),
                    HumanCount(run.changes.created),
                    HumanCount(run.changes.updated),
                    HumanCount(run.changes.deleted),
                    count(run.requests, "request"),
                    count(report.tickets, "ticket"),
                )
            };
        }
        if decision.is_quiet {
            log_at!(Level::DEBUG);
        } else {
            log_at!(Level::INFO);
        }
        if let Some(summary) = decision.summary {
            tracing::info!(
                tickets = report.tickets,
                covered_until,
                "{summary}; {}, {coverage}",
                count(report.tickets, "ticket")
            );
        }
        for warning in self.log_state.new_warnings(&report.warnings) {
            tracing::warn!("{warning}");
        }
        self.log_state.status_line = format!("{}, {coverage}; ", count(report.tickets, "ticket"));
    }

    /// Logs that runs are complete again.
    pub(super) fn record_recovery(&mut self) {
        self.state.lock().process.failures = 0;
        if let Some(failures) = self.failure_streak.end() {
            tracing::info!(failures, "recovered after {}", count_failures(failures));
        }
    }

    /// Records a run that failed or was incomplete, and logs it if it is news.
    pub(super) fn record_failure(&mut self, cause: &str, help: Option<&str>) {
        let decision = self.failure_streak.record(cause);
        let failures = self.failure_streak.failures();
        self.state.lock().process.failures = failures;
        match decision {
            LogDecision::Report => {
                let help = help.map_or(String::new(), |help| format!(" ({help})"));
                tracing::warn!(cause, failures, "run incomplete: {cause}{help}");
            }
            LogDecision::Summarize => {
                tracing::warn!(cause, failures, "{failures} runs in a row were incomplete: {cause}");
            }
            LogDecision::Suppress => tracing::debug!(cause, failures, "run incomplete again"),
        }
    }

    pub(super) fn log_maintenance(&mut self, maintenance: &MaintenanceResult) {
        if let Some(wal_checkpoint) = maintenance.wal_checkpoint {
            self.log_wal_checkpoint(wal_checkpoint);
        }
        match &maintenance.export {
            Ok(summary) => {
                if summary.is_some()
                    && let Some(failures) = self.log_state.export_failures.end()
                {
                    tracing::info!(failures, "export recovered after {}", count_failures(failures));
                }
                summary.iter().for_each(log_delta);
            }
            Err(error) => {
                let (cause, help) = (error.chain(), error.help());
                match self.log_state.export_failures.record(&cause) {
                    LogDecision::Report => tracing::warn!(cause, "export failed: {cause} ({help})"),
                    LogDecision::Summarize => {
                        let failures = self.log_state.export_failures.failures();
                        tracing::warn!(cause, failures, "export failed {failures} times in a row: {cause}");
                    }
                    LogDecision::Suppress => tracing::debug!(cause, "export failed again"),
                }
            }
        }
        if let Some(integrity_check) = &maintenance.integrity_check {
            self.record_integrity_check(integrity_check);
        }
    }

    fn log_wal_checkpoint(&mut self, WalCheckpoint { wal_bytes, is_blocked }: WalCheckpoint) {
        let large = is_blocked && WAL_WARNING_BYTES <= wal_bytes;
        if large && !self.log_state.large_wal_reported {
            tracing::warn!(
                wal_bytes,
                "a long-running reader keeps the write-ahead log from shrinking, it has grown to {}: \
                 `halosync status` names the reader",
                size_to_text(wal_bytes)
            );
        }
        self.log_state.large_wal_reported = large;
    }

    fn record_integrity_check(&mut self, integrity_check: &Result<u64, AppError>) {
        match integrity_check {
            Ok(altered_tickets) => {
                tracing::debug!("integrity check passed");
                if *altered_tickets != 0 {
                    tracing::warn!(
                        altered_tickets,
                        "{} not stored as received, the disk or another program altered the database: the next full scan \
                         repairs that",
                        if *altered_tickets == 1 {
                            "1 ticket is".into()
                        } else {
                            format!("{altered_tickets} tickets are")
                        }
                    );
                }
            }
            Err(error) if error.is_damage() => {
                let (cause, help) = (error.chain(), error.help());
                tracing::error!(cause, "integrity check failed: {cause} ({help})");
            }
            Err(error) => {
                // This says nothing about the database; the next cycle tries again.
                tracing::debug!(cause = error.chain(), "integrity check could not run");
                return;
            }
        }
        self.state.lock().process.database_ok = Some(integrity_check.is_ok());
        self.integrity_checked_at = Some(Instant::now());
    }

    /// Updates the line of `systemctl status`.
    pub(super) fn update_status(&mut self) {
        let phase = self.state.lock().phase;
        let status = match (self.running_cycle.is_some(), phase) {
            (true, CyclePhase::Maintenance) => "exporting".to_owned(),
            (true, CyclePhase::Idle | CyclePhase::Run) => match self.state.rows_received() {
                (0, _) => "asking for changes".to_owned(),
                (rows, None) => format!("reading: {rows} rows so far"),
                (rows, Some(total)) => format!("reading: {rows} of {total} rows"),
            },
            (false, _) => {
                let (next, failures) = (self.next_run_at, self.failure_streak.failures());
                match self.failure_streak.cause() {
                    None => format!("{}next run at {next}", self.log_state.status_line),
                    Some(cause) => format!("{cause} ({failures} in a row); next run at {next}"),
                }
            }
        };
        self.systemd.set_status(status);
    }
}

fn count_failures(failures: u32) -> String {
    if failures == 1 { "1 failure".to_owned() } else { format!("{failures} failures") }
}

fn log_delta(summary: &DeltaSummary) {
    let consumer = summary.consumer.as_str();
    for WrittenPackage { record, .. } in &summary.packages {
        let (from_seq, to_seq, rows) = (record.from_seq, record.to_seq, record.rows);
        tracing::info!(
            consumer,
            from_seq,
            to_seq,
            rows,
            "exported for {consumer}: changes {from_seq} to {to_seq}, {rows} rows"
        );
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::sync::lateness_warning;

    #[test]
    fn changing_lateness_is_logged_once_until_a_run_without_one() {
        let late = |minutes| lateness_warning(TimeDelta::minutes(minutes), TimeDelta::minutes(10)).unwrap();
        let mut state = LogState::default();
        for (warnings, expected) in [
            (vec![late(7)], 1),
            (vec![late(9)], 0),
            (vec!["another one".to_owned(), late(8)], 1),
            (vec!["yet another one".to_owned()], 1),
            (vec![late(8)], 1),
            (vec![], 0),
            (vec![late(8)], 1),
        ] {
            assert_eq!(state.new_warnings(&warnings).len(), expected, "{warnings:?}");
        }
    }
}
