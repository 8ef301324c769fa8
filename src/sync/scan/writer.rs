//! Stores one batch of rows while the next one arrives.
//!
//! The statistics of the scan and its checkpoint are stored with the rows, so that after a kill between any two commits
//! the checkpoint never passes the rows.

use std::collections::BTreeSet;

use tokio::sync::OwnedSemaphorePermit;

use super::list::ListScan;
use super::plan::ScanPlan;
use crate::halo::BudgetPermit;
use crate::store::{ObservedTicket, RunStats, ScanCheckpoint, ScanStats, StoreError, UpsertOutcome};
use crate::sync::SyncError;
use crate::sync::context::RunContext;
use crate::sync::shared_store::StoreJob;
use crate::sync::totals::RunTotals;
use crate::ticket::Timestamp;
use crate::ticket::parse::UnreadableTicket;

/// Rows that are stored together.
#[derive(Default)]
pub(in crate::sync) struct RowBatch {
    pub(in crate::sync) tickets: Vec<ObservedTicket>,
    /// Tickets whose row cannot be read.
    pub(in crate::sync) unreadable: Vec<UnreadableTicket>,
    /// The share of the memory for responses that the rows occupy until they are stored.
    pub(in crate::sync) memory: BudgetPermit,
    /// The slots of their pages, which are free again once the rows are stored.
    pub(in crate::sync) slots: Vec<OwnedSemaphorePermit>,
}

/// What storing a batch did, and its tickets that are older than the stored version.
type BatchResult = Result<(UpsertOutcome, Vec<ObservedTicket>), StoreError>;

/// The start of the initial load by the server's clock, if the server sends it.
#[derive(Clone, Copy)]
pub(super) struct InitialStart(pub(super) Option<Timestamp>);

/// Writes the batches of one scan.
pub(super) struct BatchWriter<'c> {
    context: &'c RunContext,
    scan_id: i64,
    /// Of the initial load: recorded in the watermark.
    initial_start: Option<InitialStart>,
    in_flight: Option<StoreJob<BatchResult>>,
    /// The totals of the run, earlier scans included.
    pub(super) totals: RunTotals,
    pub(super) older: Vec<ObservedTicket>,
}

impl<'c> BatchWriter<'c> {
    pub(super) fn new(
        context: &'c RunContext,
        plan: &ScanPlan,
        initial_start: Option<InitialStart>,
        totals: RunTotals,
    ) -> BatchWriter<'c> {
        BatchWriter {
            context,
            scan_id: plan.scan_id,
            initial_start,
            in_flight: None,
            totals,
            older: Vec::new(),
        }
    }

    /// Sets the start of the scan, which is the time of its first response.
    pub(super) fn set_start(&mut self, start: Option<Timestamp>) {
        self.initial_start = self.initial_start.map(|_| InitialStart(start));
    }

    /// Stores a batch as soon as the previous one is stored. `rows` is how many rows the scan has received up to its end;
    /// `checkpoint` is where it can continue once the batch is committed, `None` if it cannot continue there.
    pub(super) async fn store(
        &mut self,
        mut batch: RowBatch,
        scan_stats: ScanStats,
        rows: u64,
        checkpoint: Option<ScanCheckpoint>,
    ) -> Result<(), SyncError> {
        self.wait().await?;
        let (context, scan_id, initial_start) = (self.context, self.scan_id, self.initial_start);
        let (tx_end, run_id) = (context.tx_end(), context.run_id);
        let (now, requests) = (context.now(), context.requests());
        let received = self.totals.received + rows;
        let mut run_stats = RunStats { received, ..self.totals.run_stats(requests) };
        self.in_flight = Some(context.store.start(move |store| {
            store.ensure_free_disk()?;
            store.write(tx_end, |tx| {
                tx.apply_status_names(&mut batch.tickets)?;
                let upserted = tx.upsert(&batch.tickets, run_id, now)?;
                tx.update_pending_tickets(&batch.tickets, &upserted.older, &batch.unreadable, now)?;
                tx.record_scan(scan_id, &scan_stats, None, now)?;
                run_stats.changes += upserted.changes;
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

    /// Waits until everything is stored.
    pub(super) async fn wait(&mut self) -> Result<(), SyncError> {
        if let Some(in_flight) = self.in_flight.take() {
            let (upserted, older) = in_flight.join().await??;
            self.totals.changes += upserted.changes;
            self.older.extend(older);
        }
        Ok(())
    }
}

/// The statistics of the lists of a scan, as `scans` has them.
pub(in crate::sync) fn scan_stats<'a>(list_scans: impl IntoIterator<Item = &'a ListScan>) -> ScanStats {
    let mut stats = ScanStats::default();
    for list in list_scans {
        stats.pages += list.pages();
        stats.unique_ids += list.unique_ids();
        stats.record_count = match (stats.record_count, list.latest_count()) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        stats.count_fell |= list.count_fell();
        stats.reads = stats.reads.max(list.reads());
    }
    stats
}
