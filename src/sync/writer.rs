//! Stores one batch of rows while the next one arrives.
//!
//! With the rows go the figures of the walk and its place in the list, so that a kill between any two
//! commits leaves a place that the rows reach.

use std::collections::BTreeSet;

use super::list_scan::ListScan;
use super::run::RunContext;
use super::scan::ScanPlan;
use super::{StoreJob, SyncError};
use crate::halo::RequestCounts;
use crate::store::{ObservedTicket, RunStats, ScanCheckpoint, ScanStats, StoreError, UpsertOutcome};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::ticket::parse::RejectedRow;

/// Rows that are stored together.
#[derive(Default)]
pub(super) struct RowBatch {
    pub(super) tickets: Vec<ObservedTicket>,
    pub(super) rejected_rows: Vec<RejectedRow>,
}

/// What a stored batch did, and the older versions among it.
type BatchResult = Result<(UpsertOutcome, Vec<ObservedTicket>), StoreError>;

/// When the first full walk began by the server's clock, where that tells the time.
#[derive(Clone, Copy)]
pub(super) struct InitialStart(pub(super) Option<Timestamp>);

/// What is being written and for which walk.
pub(super) struct BatchWriter<'p> {
    context: &'p RunContext,
    scan_id: i64,
    /// The first full walk's start by the server's clock: it is told in the watermark.
    initial_start: Option<InitialStart>,
    in_flight: Option<StoreJob<BatchResult>>,
    /// What the pass did so far, walks before this one included.
    pub(super) totals: RunTotals,
    pub(super) older: Vec<ObservedTicket>,
}

/// What a pass did so far.
#[derive(Clone, Debug, Default)]
pub(super) struct RunTotals {
    pub(super) upserted: UpsertOutcome,
    /// Rows received by walks that ended.
    pub(super) received: u64,
    pub(super) deleted: u64,
}

impl RunTotals {
    pub(super) fn run_stats(&self, request_stats: RequestCounts) -> RunStats {
        RunStats {
            requests: request_stats.requests,
            list_requests: request_stats.list_requests,
            retries: request_stats.retries,
            received: self.received,
            changes: ChangeCounts { deleted: self.deleted, ..self.upserted.changes },
        }
    }
}

impl<'p> BatchWriter<'p> {
    pub(super) fn new(
        context: &'p RunContext,
        plan: &ScanPlan,
        initial_start: Option<InitialStart>,
        totals: RunTotals,
    ) -> BatchWriter<'p> {
        BatchWriter {
            context,
            scan_id: plan.scan_id,
            initial_start,
            in_flight: None,
            totals,
            older: Vec::new(),
        }
    }

    /// Notes the start of the walk, which its first answer tells.
    pub(super) fn set_start(&mut self, start: Option<Timestamp>) {
        self.initial_start = self.initial_start.map(|_| InitialStart(start));
    }

    /// Stores a batch once the one before is stored. `place` is where the walk can be taken up again
    /// when this is committed, `None` where it cannot.
    pub(super) async fn store(
        &mut self,
        mut batch: RowBatch,
        scan_stats: ScanStats,
        checkpoint: Option<ScanCheckpoint>,
    ) -> Result<(), SyncError> {
        self.wait().await?;
        let (context, scan_id, initial_start) = (self.context, self.scan_id, self.initial_start);
        let (tx_end, run_id) = (context.tx_end(), context.run_id);
        let (now, request_stats) = ((context.clock)(), context.request_stats());
        let received = self.totals.received + scan_stats.unique_ids;
        let run_stats = RunStats { received, ..self.totals.run_stats(request_stats) };
        self.in_flight = Some(context.store.start(move |store| {
            store.write(tx_end, |tx| {
                tx.apply_status_names(&mut batch.tickets)?;
                let upserted = tx.upsert(&batch.tickets, run_id, now)?;
                tx.record_rejected_rows(&batch.rejected_rows, now)?;
                tx.record_scan(scan_id, &scan_stats, None, now)?;
                tx.record_run_stats(run_id, &run_stats)?;
                let checkpoint = checkpoint.map(|checkpoint| ScanCheckpoint {
                    older: upserted.older.iter().map(|id| id.cast_unsigned()).collect(),
                    ..checkpoint
                });
                tx.record_checkpoint(scan_id, checkpoint.as_ref())?;
                if let (Some(InitialStart(started_at)), Some(mut watermark)) =
                    (initial_start, tx.as_read_tx().watermark()?)
                {
                    watermark.initial_started_at = started_at;
                    watermark.initial_last_id = checkpoint.and_then(|checkpoint| checkpoint.cursor);
                    tx.set_watermark(&watermark, None, Some(run_id), now)?;
                }
                let mut older = Vec::new();
                if !upserted.older.is_empty() {
                    let ids: BTreeSet<_> = upserted.older.iter().copied().collect();
                    older = batch.tickets;
                    older.retain(|observed| ids.contains(&observed.ticket.id()));
                }
                Ok((upserted, older))
            })
        }));
        Ok(())
    }

    /// Waits until everything that was given is stored.
    pub(super) async fn wait(&mut self) -> Result<(), SyncError> {
        if let Some(in_flight) = self.in_flight.take() {
            let (upserted, older) = in_flight.join().await??;
            self.totals.upserted.add(upserted);
            self.older.extend(older);
        }
        Ok(())
    }
}

/// The account as `walks` has it.
pub(super) fn scan_stats<'a>(list_scans: impl IntoIterator<Item = &'a ListScan>) -> ScanStats {
    let mut stats = ScanStats::default();
    for list in list_scans {
        stats.pages += list.pages();
        stats.unique_ids += list.unique_tickets();
        stats.record_count = match (stats.record_count, list.current_read().latest_count()) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        stats.count_fell |= list.count_fell();
        stats.reads = stats.reads.max(list.reads());
    }
    stats
}
