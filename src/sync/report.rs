//! How a run ended, and what it did.

use super::SyncError;
use super::completeness::{GuardedDeletions, Lacks, RunOutcome};
use super::context::{RunContext, RunSettings};
use super::totals::RunTotals;
use crate::store::{ReadTx, RunEnd, RunStats, ScanStats, StoreError, TxEnd, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{ScanKind, WatermarkState};

/// What a run did.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    pub(super) lacks: Lacks,
    /// Whether its last scan moved the watermark.
    pub moved_watermark: bool,
    /// Whether that scan proved enough for it.
    pub(super) is_settled: bool,
    /// Whether it found that the server's clock stepped back.
    pub(super) clock_stepped: bool,
    /// Whether the end of the run is recorded.
    pub(super) is_ended: bool,
}

impl RunReport {
    pub(super) fn new(context: &RunContext, scan_kind: ScanKind, scan_stats: ScanStats) -> RunReport {
        RunReport {
            run_id: context.run_id,
            scan_kind,
            outcome: RunOutcome::Complete,
            run_stats: RunStats::default(),
            scan_stats,
            covered_until: None,
            tickets: 0,
            warnings: Vec::new(),
            dry_run: context.settings.dry_run,
            totals: RunTotals::default(),
            lacks: Lacks::default(),
            moved_watermark: false,
            is_settled: false,
            clock_stepped: false,
            is_ended: false,
        }
    }

    /// Finds out what the run lacks by what the database holds now, and how it would end.
    pub(super) fn assess(&mut self, tx: &ReadTx<'_>, settings: &RunSettings) -> Result<(), StoreError> {
        let watermark = tx.watermark()?;
        self.tickets = tx.ticket_count()?;
        self.covered_until = watermark.as_ref().and_then(|watermark| watermark.covered_until);
        let lacks = &mut self.lacks;
        lacks.is_initial =
            !self.is_settled && watermark.is_some_and(|watermark| watermark.state == WatermarkState::Initial);
        lacks.pending = tx.pending_tickets()?;
        lacks.unidentified = tx.rejected_row_count()?;
        if lacks.first_rejected.is_none() {
            lacks.first_rejected = tx.first_rejected_row()?.map(|after_id| (None, after_id));
        }
        lacks.clock_stepped = tx.has_clock_stepped_since_full_scan()?;
        lacks.guard = GuardedDeletions::held(tx, settings.delete_guard)?;
        self.outcome = lacks.outcome(settings.accept_shortfall);
        Ok(())
    }

    /// Adds what is missing and accepted, and what this run could not read, to the warnings.
    pub(super) fn add_warnings(&mut self, tx: &ReadTx<'_>, settings: &RunSettings) -> Result<(), StoreError> {
        self.warnings.extend(self.lacks.accepted(settings.accept_shortfall));
        self.warnings.extend(match tx.rejected_value_count(self.run_id)? {
            0 => None,
            1 => Some("1 value could not be read; the last good one stays (see the table `rejects`)".into()),
            count => Some(format!(
                "{count} values could not be read; the last good ones stay (see the table `rejects`)"
            )),
        });
        Ok(())
    }

    /// Ends a run that must not read the list.
    pub(super) async fn end_without_scan(
        context: &RunContext,
        outcome: RunOutcome,
    ) -> Result<RunReport, SyncError> {
        RunReport::new(context, ScanKind::Full, ScanStats::default()).end(context, Some(outcome)).await
    }

    /// Ends a run that is not ended yet: with this outcome, or else by what the database holds.
    pub(super) async fn end(
        mut self,
        context: &RunContext,
        outcome: Option<RunOutcome>,
    ) -> Result<RunReport, SyncError> {
        if self.is_ended {
            return Ok(self);
        }
        let (run_id, now, settings) = (context.run_id, context.now(), context.settings.clone());
        self.run_stats = self.totals.run_stats(context.requests());
        context
            .store
            .call(move |store| {
                store.write(TxEnd::Commit, |tx| {
                    self.assess(&tx.as_read_tx(), &settings)?;
                    match outcome {
                        Some(outcome) => self.outcome = outcome,
                        None => self.add_warnings(&tx.as_read_tx(), &settings)?,
                    }
                    end_run(tx, run_id, &self.run_stats, &self.outcome, now)
                })?;
                self.is_ended = true;
                Ok(self)
            })
            .await
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
