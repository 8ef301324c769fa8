//! The end of a walk: judged, and stored in one transaction.
//!
//! The last rows, the tickets that leave, the end of the walk and the move of the watermark belong
//! together: a crash leaves either a mark that is older than the data, or both.

use chrono::TimeDelta;

use super::confirm_deletion::{FinalWrites, UnconfirmedRemoval};
use super::definitions::FIELD_SCAN_PROBE;
use super::fields::FieldSource;
use super::list_scan::{ListScan, NewestTicket, ReadVerdict};
use super::row_intake::MissingNames;
use super::run::{RunContext, RunOutcome, RunReport};
use super::scan::{ScanEnd, ScanPlan};
use super::writer::{RunTotals, scan_stats};
use super::{SyncError, probes};
use crate::store::{MoveReason, RunEnd, RunStats, ScanOutcome, Store, StoreError, TxEnd, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{self, ScanKind, Watermark, WatermarkMove, WatermarkState};

/// What ends with a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishMode {
    /// The pass.
    Run,
    /// The pass, unless the walk has everything: then it goes on.
    RunUnlessComplete,
    /// Only the walk: the pass goes on.
    Scan,
    /// The same, and it is held for incomplete, because a ticket that must come back did not.
    CanaryMissing,
}

/// The ticket that must come back in the next walk: the newest one of this walk that is not newer
/// than its start.
fn next_canary(plan: &ScanPlan, scan: &ScanEnd) -> Option<NewestTicket> {
    if plan.resumed_from.is_some() {
        // What was received before the interruption is in the store.
        return None;
    }
    scan.list_scans.iter().filter_map(ListScan::newest).max_by_key(|it| it.last_update)
}

/// How many changes since `seq` should have been brought by the walks before.
fn count_late_arrivals(
    tx: &WriteTx<'_>,
    previous: &Watermark,
    seq: i64,
    overlap: TimeDelta,
) -> Result<u64, StoreError> {
    match previous.covered_until {
        // What became visible within the overlap, the next following walk would have brought.
        Some(covered_until) => tx.as_read_tx().late_arrivals(seq, covered_until.minus(overlap)),
        None => Ok(0),
    }
}

/// The mark after a walk, with the ticket that must come back next time, and why it moved if it did.
/// `crowd` tickets of one stamp are too many to ask for again and again.
fn update_watermark(
    tx: &WriteTx<'_>,
    previous: &Watermark,
    moved: WatermarkMove,
    (canary, start): (Option<NewestTicket>, Option<Timestamp>),
    max_canary_tickets: u64,
) -> Result<(Option<Watermark>, Option<MoveReason>), StoreError> {
    let Some(mut watermark) = tx.as_read_tx().watermark()? else { return Ok((None, None)) };
    // A following walk in the middle of a full one moved it further than the full one could.
    let moved = if watermark.covered_until == previous.covered_until { moved } else { WatermarkMove::Stay };
    let reason = match moved {
        WatermarkMove::Advance(to) => {
            watermark.covered_until = Some(to);
            watermark.state = WatermarkState::Incremental;
            (watermark.initial_started_at, watermark.initial_last_id) = (None, None);
            Some(MoveReason::Verified)
        }
        WatermarkMove::ClockStepped(to) => {
            watermark.covered_until = Some(to);
            Some(MoveReason::ClockStepped)
        }
        WatermarkMove::Stay => None,
    };
    if moved != WatermarkMove::Stay {
        let newest = match (canary, start) {
            (Some(newest), _) if watermark.newest_seen <= Some(newest.last_update) => {
                Some((newest.last_update, newest.id, newest.tickets))
            }
            // The ticket that bore it has left or changed, or the walk did not see all: the table knows.
            (_, Some(start)) if !is_canary_unchanged(tx, &watermark)? => {
                tx.as_read_tx().newest_last_update(start)?
            }
            _ => None,
        };
        if let Some((last_update, id, tickets)) = newest {
            watermark.newest_seen = Some(last_update);
            watermark.canary = (tickets <= max_canary_tickets).then_some(id);
        }
    }
    Ok((Some(watermark), reason))
}

impl RunContext {
    /// Judges a walk and stores its end.
    pub(super) async fn finish_scan(
        &self,
        plan: &ScanPlan,
        mut scan: ScanEnd,
        mode: FinishMode,
    ) -> Result<RunReport, SyncError> {
        let mut warnings = Vec::new();
        if scan.missing_names != MissingNames::default() {
            self.look_up_missing_names(scan.missing_names).await?;
        }
        let (mut scan_outcome, mut outcome) = evaluate_scan(&scan);
        if mode == FinishMode::CanaryMissing {
            let reason =
                "a ticket that must come back did not: the date filter does not work as it did".into();
            (scan_outcome, outcome) = (ScanOutcome::Incomplete, RunOutcome::Incomplete(reason));
        }
        let older_before = plan
            .resumed_from
            .as_ref()
            .map(|interrupted| interrupted.checkpoint.older.clone())
            .unwrap_or_default();
        let confirmed_older = self.confirm_older(&plan.mapping, &mut scan, &older_before).await?;
        let mut final_writes = FinalWrites { confirmed_older, ..FinalWrites::default() };
        if plan.kind == ScanKind::Full
            && scan_outcome == ScanOutcome::Verified
            && let Some(guard_outcome) = self.check_unlisted(&plan.mapping, &scan, &mut final_writes).await?
        {
            outcome = guard_outcome;
        }
        if scan.start.is_none() {
            warnings
                .push("the server sent no readable `Date`: the rows are stored, the watermark stays".into());
        }
        let canary = next_canary(plan, &scan);
        if outcome == RunOutcome::Complete && plan.kind == ScanKind::Full {
            self.probe_for_incremental(canary).await?;
        }
        let moved = match outcome {
            RunOutcome::Complete => {
                let overlap = self.settings.schedule.overlap;
                // A walk that was taken up again may have begun before the server's clock stepped back.
                let start = scan.start.min(scan.run_start).or(scan.run_start);
                watermark::after_verified_scan(plan.watermark.covered_until, start, overlap)
            }
            _ => WatermarkMove::Stay,
        };
        if let WatermarkMove::ClockStepped(_) = moved {
            warnings.push("the server's clock stepped back: the next walk is a full one".into());
        }
        let report = RunReport {
            run_id: self.run_id,
            scan_kind: plan.kind,
            outcome,
            run_stats: RunStats::default(),
            scan_stats: scan_stats(&scan.list_scans),
            covered_until: None,
            tickets: 0,
            warnings,
            dry_run: self.settings.dry_run,
            totals: RunTotals::default(),
        };
        self.commit_scan(report, plan, scan_outcome, (moved, canary), scan, (final_writes, mode)).await
    }

    /// Finds out how the date filter works, before it is relied on. What is not found out now is asked
    /// for again; it is no failure of a walk that has everything.
    async fn probe_for_incremental(&self, canary: Option<NewestTicket>) -> Result<(), SyncError> {
        let Some(NewestTicket { last_update, id, .. }) = canary else { return Ok(()) };
        if self.settings.dry_run || !self.should_probe(probes::DATE_FILTER_PROBE)? {
            return Ok(());
        }
        match self.probe_date_filter(id, last_update).await {
            Err(SyncError::Halo(error)) => {
                tracing::warn!("the date filter could not be tried: {error}");
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// The one transaction at the end.
    async fn commit_scan(
        &self,
        mut report: RunReport,
        plan: &ScanPlan,
        mut scan_outcome: ScanOutcome,
        (moved, canary): (WatermarkMove, Option<NewestTicket>),
        scan: ScanEnd,
        (mut final_writes, mode): (FinalWrites, FinishMode),
    ) -> Result<RunReport, SyncError> {
        let (run_id, scan_id, now) = (self.run_id, plan.scan_id, (self.clock)());
        let (tx_end, request_stats, overlap) =
            (self.tx_end(), self.request_stats(), self.settings.schedule.overlap);
        let (previous, seq) = (plan.watermark.clone(), plan.seq_at_start);
        let max_canary_tickets = u64::from(self.settings.page_size);
        let may_confirm = plan.kind == ScanKind::Full
            && !plan.is_initial
            && plan.resumed_from.is_none()
            && report.outcome == RunOutcome::Complete;
        // Every field that is known was asked for, where any is asked for in the list.
        let all_fields_requested =
            plan.kind == ScanKind::Full && matches!(plan.mapping.fields, FieldSource::List { .. });
        let run_continues = self.should_fetch_fields();
        let mut seen_ids = scan.seen_ids();
        seen_ids.extend(final_writes.present.iter().map(|observed| observed.ticket.id().cast_unsigned()));
        let ScanEnd { mut unstored, mut totals, start, .. } = scan;
        let job = move |store: &mut Store| {
            let tickets = store.write(tx_end, |tx| {
                for observed in [&mut unstored.tickets, &mut final_writes.present, &mut final_writes.confirmed_older] {
                    tx.apply_status_names(observed)?;
                }
                totals.upserted.add(tx.upsert(&unstored.tickets, run_id, now)?);
                tx.record_rejected_rows(&unstored.rejected_rows, now)?;
                totals.upserted.add(tx.upsert(&final_writes.present, run_id, now)?);
                totals.upserted.changes.updated += tx.apply_older(&final_writes.confirmed_older, run_id, now)?;
                totals.deleted += tx.remove(&final_writes.removals, run_id, now)?;
                tx.clear_unlisted(&seen_ids, now)?;
                for UnconfirmedRemoval { id, status, ask_again_at } in &final_writes.unlisted {
                    tx.record_unlisted(*id, *status, now, *ask_again_at)?;
                }
                if scan_outcome == ScanOutcome::Verified && may_confirm {
                    let late_arrivals = count_late_arrivals(tx, &previous, seq, overlap)?;
                    if late_arrivals == 0 {
                        scan_outcome = ScanOutcome::Confirmed;
                    } else {
                        report.warnings.push(format!(
                            "{late_arrivals} changes are older than what was known to be complete: the server shows \
                             changes later than `overlap` reaches back, or an earlier walk missed them"
                        ));
                    }
                }
                let updated = update_watermark(tx, &previous, moved, (canary, start), max_canary_tickets)?;
                report.covered_until = updated.0.as_ref().and_then(|watermark| watermark.covered_until);
                if let (Some(watermark), reason) = updated {
                    tx.set_watermark(&watermark, reason, Some(run_id), now)?;
                }
                tx.record_scan(scan_id, &report.scan_stats, Some(scan_outcome), now)?;
                let complete = report.outcome == RunOutcome::Complete;
                if complete && all_fields_requested {
                    tx.update_probe_result(FIELD_SCAN_PROBE, "done", now)?;
                }
                let ends_run = mode == FinishMode::Run || mode == FinishMode::RunUnlessComplete && !complete;
                if ends_run && !run_continues {
                    end_run(tx, run_id, &totals.run_stats(request_stats), &report.outcome, now)?;
                } else {
                    tx.record_run_stats(run_id, &totals.run_stats(request_stats))?;
                }
                tx.as_read_tx().ticket_count()
            })?;
            let run_stats = totals.run_stats(request_stats);
            if tx_end == TxEnd::Rollback {
                store.write(TxEnd::Commit, |tx| end_run(tx, run_id, &run_stats, &report.outcome, now))?;
            }
            (report.run_stats, report.tickets, report.totals) = (run_stats, tickets, totals);
            Ok(report)
        };
        self.store.call(job).await
    }
}

/// Whether the ticket that is to come back is in the table as it was.
fn is_canary_unchanged(tx: &WriteTx<'_>, watermark: &Watermark) -> Result<bool, StoreError> {
    match (watermark.newest_seen, watermark.canary) {
        (None, _) => Ok(false),
        // Too many tickets bear it for one of them to be asked for.
        (Some(_), None) => Ok(true),
        (Some(last_update), Some(id)) => tx.as_read_tx().has_last_update(id, last_update),
    }
}

fn evaluate_scan(scan: &ScanEnd) -> (ScanOutcome, RunOutcome) {
    if let Some(fault) = scan.fault {
        return (ScanOutcome::Incomplete, RunOutcome::Incomplete(fault.to_string()));
    }
    match scan.verdict {
        ReadVerdict::Verified => (ScanOutcome::Verified, RunOutcome::Complete),
        ReadVerdict::CountMismatch { unique, count } => {
            let reason = format!("{unique} different tickets were received, and the server counts {count}");
            (ScanOutcome::CountMismatch, RunOutcome::Incomplete(reason))
        }
        ReadVerdict::ReadAgain | ReadVerdict::Unstable => {
            let reason = "the list moves so fast that every reading shows what the ones before had missed";
            (ScanOutcome::Incomplete, RunOutcome::Incomplete(reason.into()))
        }
        ReadVerdict::NoCount => {
            let reason = "the server does not say how many tickets there are".to_owned();
            (ScanOutcome::CountMismatch, RunOutcome::Incomplete(reason))
        }
    }
}

pub(super) fn end_run(
    tx: &WriteTx<'_>,
    run_id: i64,
    run_stats: &RunStats,
    outcome: &RunOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.record_run_stats(run_id, run_stats)?;
    match outcome {
        RunOutcome::Complete => tx.finish_run(run_id, RunEnd::Complete, now),
        RunOutcome::Incomplete(reason) => tx.finish_run(run_id, RunEnd::Incomplete(reason), now),
        RunOutcome::DeleteGuard { removals, allowed } => {
            let reason = format!("{removals} tickets are gone at once, and {allowed} may be");
            tx.finish_run(run_id, RunEnd::Incomplete(&reason), now)
        }
    }
}
