//! What the service tells: lines in the log, and the one line of `systemctl status`.
//!
//! A message says everything; its fields say it again for programs. What stays the same is said once.

use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::board::Stage;
use super::round::Upkeep;
use super::trouble::{Trouble, Worth};
use crate::agent::{AgentError, Handover};
use crate::store::Checkpoint;
use crate::sync::Report;

/// From here on a log that a reader keeps from shrinking is worth a line, in bytes.
const WAL_TOLD: u64 = 64 << 20;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// How the copy stands, for `systemctl status`.
    standing: String,
    /// What the last pass warned of.
    notes: Vec<String>,
    /// Packages in a row that could not be made.
    packages: Trouble,
    /// That the log of the database is large.
    large_wal: bool,
}

impl Service {
    /// The line of a pass.
    pub(super) fn tell_pass(&mut self, report: &Report, took: Duration) {
        let run = &report.run;
        let (outcome, walk, seconds) = (report.outcome.word(), report.walk.word(), took.as_secs_f64());
        let covered_until = report.covered_until.map_or("never".into(), |at| at.to_string());
        tracing::info!(
            run_id = report.run_id,
            outcome,
            walk,
            received = run.received,
            created = run.created,
            updated = run.updated,
            deleted = run.deleted,
            requests = run.requests,
            retries = run.retries,
            seconds,
            tickets = report.tickets,
            covered_until,
            "{outcome}: {walk} walk, {} rows, {} created, {} updated, {} deleted, {} requests, {seconds:.1} s; \
             {} tickets, complete until {covered_until}",
            run.received,
            run.created,
            run.updated,
            run.deleted,
            run.requests,
            report.tickets,
        );
        for note in report.warnings.iter().filter(|note| !self.said.notes.contains(note)) {
            tracing::warn!("{note}");
        }
        self.said.notes.clone_from(&report.warnings);
        self.said.standing = format!("{} tickets, complete until {covered_until}; ", report.tickets);
    }

    /// That passes are complete again.
    pub(super) fn tell_recovery(&mut self) {
        self.board.entries().failures = 0;
        if let Some(failures) = self.trouble.ended() {
            tracing::info!(failures, "recovered after {failures} failures");
        }
    }

    /// A pass that was not complete.
    pub(super) fn tell_trouble(&mut self, cause: &str, help: Option<&str>) {
        let worth = self.trouble.failed(cause);
        let failures = self.trouble.failures();
        self.board.entries().failures = failures;
        match worth {
            Worth::News => {
                let help = help.map_or(String::new(), |help| format!(" ({help})"));
                tracing::warn!(cause, failures, "the pass was not complete: {cause}{help}");
            }
            Worth::Summary => {
                tracing::warn!(cause, failures, "{failures} passes in a row were not complete: {cause}");
            }
            Worth::Nothing => tracing::debug!(cause, failures, "not complete again"),
        }
    }

    /// What followed a pass.
    pub(super) fn tell_upkeep(&mut self, upkeep: &Upkeep) {
        if let Some(checkpoint) = upkeep.checkpoint {
            self.tell_checkpoint(checkpoint);
        }
        match &upkeep.delivery {
            Ok(handover) => {
                if handover.is_some()
                    && let Some(failures) = self.said.packages.ended()
                {
                    tracing::info!(failures, "packages are made again after {failures} failures");
                }
                handover.iter().for_each(tell_handover);
            }
            Err(error) => {
                let (cause, help) = (error.chain(), error.help());
                match self.said.packages.failed(&cause) {
                    Worth::News => tracing::warn!(cause, "no package could be made: {cause} ({help})"),
                    Worth::Summary => {
                        let failures = self.said.packages.failures();
                        tracing::warn!(cause, failures, "no package could be made {failures} times: {cause}");
                    }
                    Worth::Nothing => tracing::debug!(cause, "no package could be made again"),
                }
            }
        }
        if let Some(inspection) = &upkeep.inspection {
            self.tell_inspection(inspection);
        }
    }

    fn tell_checkpoint(&mut self, Checkpoint { wal_bytes, is_held }: Checkpoint) {
        let large = is_held && WAL_TOLD <= wal_bytes;
        if large && !self.said.large_wal {
            tracing::warn!(
                wal_bytes,
                "a reader holds an old state of the database, and its log has grown to {} MB: `halosync status` \
                 names the reader",
                wal_bytes >> 20
            );
        }
        self.said.large_wal = large;
    }

    fn tell_inspection(&mut self, inspection: &Result<(), AgentError>) {
        match inspection {
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
        self.board.entries().database_ok = Some(inspection.is_ok());
        self.inspected_at = Some(Instant::now());
    }

    /// The line of `systemctl status`.
    pub(super) fn tell_status(&mut self) {
        let stage = self.board.entries().stage;
        let status = match (self.under_way.is_some(), stage) {
            (true, Stage::Upkeep) => "handing on".to_owned(),
            (true, Stage::Idle | Stage::Pass) => match self.board.received_so_far() {
                (0, _) => "asking for what changed".to_owned(),
                (rows, None) => format!("reading: {rows} rows so far"),
                (rows, Some(total)) => format!("reading: {rows} of {total} rows"),
            },
            (false, _) => {
                let (next, failures) = (self.due_at, self.trouble.failures());
                match self.trouble.cause() {
                    None => format!("{}next pass at {next}", self.said.standing),
                    Some(cause) => format!("{cause} ({failures} in a row); next pass at {next}"),
                }
            }
        };
        self.manager.status(status);
    }
}

fn tell_handover(handover: &Handover) {
    let consumer = handover.consumer.as_str();
    for (package, _) in &handover.packages {
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
