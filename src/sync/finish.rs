//! The end of a scan: its verdict, the tickets that leave, and the watermark, in one transaction.
//!
//! The last rows, the removals, the end of the scan and the move of the watermark belong together: a crash leaves either
//! a watermark that is older than the data, or all of them.

use chrono::TimeDelta;

use super::context::RunContext;
use super::custom_fields::discover::FIELD_SCAN_PROBE;
use super::custom_fields::source::FieldSource;
use super::report::{RunOutcome, RunReport, RunTotals, end_run};
use super::row_intake::MissingNames;
use super::scan::list::{NewestTicket, ReadVerdict};
use super::scan::{ScanEnd, ScanPlan, scan_stats};
use super::unlisted::confirm_deletion::{UnconfirmedRemoval, UnlistedWrites, check_unlisted};
use super::{SyncError, older_versions, probes, reference};
use crate::store::{MoveReason, ObservedTicket, RunStats, ScanOutcome, Store, StoreError, TxEnd, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{self, ScanKind, Watermark, WatermarkMove, WatermarkState};

/// What ends together with a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishMode {
    /// The run.
    Run,
    /// The run, unless the scan is complete: then the run continues.
    RunUnlessComplete,
    /// Only the scan: the run continues.
    Scan,
    /// Only the scan, which is incomplete because the canary is missing.
    CanaryMissing,
}

/// What the end of a scan comes to, before it is stored.
struct Conclusion {
    mode: FinishMode,
    scan_outcome: ScanOutcome,
    report: RunReport,
    movement: WatermarkMove,
    /// The canary of the next scan: the newest ticket of this one that is not newer than its start.
    canary: Option<NewestTicket>,
    /// Older versions that the server confirmed.
    confirmed_older: Vec<ObservedTicket>,
    unlisted: UnlistedWrites,
}

/// Decides what a scan comes to, and stores its end.
pub(super) async fn finish_scan(
    context: &RunContext,
    plan: &ScanPlan,
    mut scan: ScanEnd,
    mode: FinishMode,
) -> Result<RunReport, SyncError> {
    if scan.missing_names != MissingNames::default() {
        reference::look_up(context, scan.missing_names).await?;
    }
    let (scan_outcome, mut outcome) = evaluate(&scan, mode);
    let older_before = plan.resumed_from.as_ref().map(|scan| scan.checkpoint.older.clone());
    let confirmed_older =
        older_versions::confirm(context, &plan.mapping, &mut scan, &older_before.unwrap_or_default()).await?;
    let mut unlisted = UnlistedWrites::default();
    if plan.kind == ScanKind::Full
        && scan_outcome == ScanOutcome::Verified
        && let Some(guard) = check_unlisted(context, &plan.mapping, &scan, &mut unlisted).await?
    {
        outcome = guard;
    }
    let mut warnings = Vec::new();
    if scan.start.is_none() {
        warnings.push("the server sent no readable `Date`: the rows are stored, the watermark stays".into());
    }
    // A resumed scan tracked only the tickets of this session, whose newest may not be the newest: the table decides
    // (`choose_canary`).
    let canary = scan.newest().filter(|_| plan.resumed_from.is_none());
    if outcome == RunOutcome::Complete && plan.kind == ScanKind::Full {
        probe_date_filter(context, canary).await?;
    }
    let movement = match outcome {
        RunOutcome::Complete => {
            // A resumed scan may have begun before the server's clock stepped back.
            let start = scan.start.min(scan.session_start).or(scan.session_start);
            let overlap = context.settings.schedule.overlap;
            watermark::after_verified_scan(plan.watermark.covered_until, start, overlap)
        }
        _ => WatermarkMove::Stay,
    };
    if let WatermarkMove::ClockStepped(_) = movement {
        warnings.push("the server's clock stepped back: the next scan is a full scan".into());
    }
    let report = RunReport {
        run_id: context.run_id,
        scan_kind: plan.kind,
        outcome,
        run_stats: RunStats::default(),
        scan_stats: scan_stats(&scan.list_scans),
        covered_until: None,
        tickets: 0,
        warnings,
        dry_run: context.settings.dry_run,
        totals: RunTotals::default(),
    };
    let conclusion = Conclusion { mode, scan_outcome, report, movement, canary, confirmed_older, unlisted };
    commit(context, plan, scan, conclusion).await
}

fn evaluate(scan: &ScanEnd, mode: FinishMode) -> (ScanOutcome, RunOutcome) {
    let incomplete = |outcome, reason: String| (outcome, RunOutcome::Incomplete(reason));
    if mode == FinishMode::CanaryMissing {
        let reason =
            "a ticket that the date filter must return is missing: the filter no longer works as probed";
        return incomplete(ScanOutcome::Incomplete, reason.into());
    }
    if let Some(fault) = scan.fault {
        return incomplete(ScanOutcome::Incomplete, fault.to_string());
    }
    match scan.verdict {
        ReadVerdict::Verified => (ScanOutcome::Verified, RunOutcome::Complete),
        ReadVerdict::CountMismatch { unique, count } => incomplete(
            ScanOutcome::CountMismatch,
            format!("{unique} different tickets were received, but the server counts {count}"),
        ),
        ReadVerdict::ReadAgain | ReadVerdict::Unstable => incomplete(
            ScanOutcome::Incomplete,
            "the list changes so quickly that every read shows tickets that the earlier ones missed".into(),
        ),
        ReadVerdict::NoCount => incomplete(
            ScanOutcome::CountMismatch,
            "the server does not report how many tickets there are".into(),
        ),
    }
}

/// Finds out how the date filter works before it is relied on. If that fails, it is tried again later; the scan is
/// complete all the same.
async fn probe_date_filter(context: &RunContext, canary: Option<NewestTicket>) -> Result<(), SyncError> {
    let Some(NewestTicket { last_update, id, .. }) = canary else { return Ok(()) };
    if context.settings.dry_run || !probes::is_due(context, probes::DATE_FILTER_PROBE)? {
        return Ok(());
    }
    match probes::probe_date_filter(context, id, last_update).await {
        Err(SyncError::Halo(error)) => {
            tracing::warn!("the date filter could not be probed: {error}");
            Ok(())
        }
        done => done.map(drop),
    }
}

/// The one transaction at the end.
async fn commit(
    context: &RunContext,
    plan: &ScanPlan,
    scan: ScanEnd,
    conclusion: Conclusion,
) -> Result<RunReport, SyncError> {
    let (run_id, scan_id, now) = (context.run_id, plan.scan_id, context.now());
    let (tx_end, requests) = (context.tx_end(), context.requests());
    let (previous, seq_at_start) = (plan.watermark.clone(), plan.seq_at_start);
    let overlap = context.settings.schedule.overlap;
    let max_canary_tickets = u64::from(context.settings.page_size);
    let is_full = plan.kind == ScanKind::Full;
    let Conclusion {
        mode,
        mut scan_outcome,
        mut report,
        movement,
        canary,
        mut confirmed_older,
        mut unlisted,
    } = conclusion;
    let is_complete = report.outcome == RunOutcome::Complete;
    let may_confirm = is_full
        && !plan.is_initial
        && plan.resumed_from.is_none()
        && is_complete
        && scan_outcome == ScanOutcome::Verified;
    // A full scan requests every known field, if it requests any from the list.
    let all_fields_requested = is_full && matches!(plan.mapping.fields, FieldSource::List { .. });
    let ends_run = match mode {
        FinishMode::Run => true,
        FinishMode::RunUnlessComplete => !is_complete,
        FinishMode::Scan | FinishMode::CanaryMissing => false,
    };
    // With custom fields the run ends after the pending fetches.
    let ends_run = ends_run && !context.fetches_custom_fields();
    let mut seen_ids = scan.seen_ids();
    seen_ids.extend(unlisted.present.iter().map(|observed| observed.ticket.id().cast_unsigned()));
    let ScanEnd { mut unstored, mut totals, start, .. } = scan;
    let job = move |store: &mut Store| {
        report.tickets = store.write(tx_end, |tx| {
            for observed in [&mut unstored.tickets, &mut unlisted.present, &mut confirmed_older] {
                tx.apply_status_names(observed)?;
            }
            let changes = &mut totals.changes;
            let listed = tx.upsert(&unstored.tickets, run_id, now)?;
            if is_full {
                tx.replace_rejected_rows(&unstored.rejected_rows, now)?;
            }
            let present = tx.upsert(&unlisted.present, run_id, now)?;
            *changes += listed.changes;
            *changes += present.changes;
            changes.updated += tx.apply_older(&confirmed_older, run_id, now)?;
            changes.deleted += tx.remove(&unlisted.removals, run_id, now)?;
            tx.clear_unlisted(&seen_ids, now)?;
            for UnconfirmedRemoval { id, status, ask_again_at } in &unlisted.unconfirmed {
                tx.record_unlisted(*id, *status, now, *ask_again_at)?;
            }
            if may_confirm {
                match count_late_arrivals(tx, &previous, seq_at_start, overlap)? {
                    0 => scan_outcome = ScanOutcome::Confirmed,
                    late => report.warnings.push(format!(
                        "{late} changes are older than the time up to which everything was known to be complete: the \
                         server shows changes later than `overlap` allows for, or an earlier scan missed them"
                    )),
                }
            }
            if let Some(mut watermark) = tx.as_read_tx().watermark()? {
                // An incremental scan inside a full scan moved it further than the full scan can.
                let is_current = watermark.covered_until == previous.covered_until;
                let movement = if is_current { movement } else { WatermarkMove::Stay };
                let reason = move_watermark(&mut watermark, movement);
                if movement != WatermarkMove::Stay {
                    choose_canary(tx, &mut watermark, canary, start, max_canary_tickets)?;
                }
                report.covered_until = watermark.covered_until;
                tx.set_watermark(&watermark, reason, Some(run_id), now)?;
            }
            tx.record_scan(scan_id, &report.scan_stats, Some(scan_outcome), now)?;
            if is_complete && all_fields_requested {
                tx.update_probe_result(FIELD_SCAN_PROBE, "done", now)?;
            }
            report.run_stats = totals.run_stats(requests);
            if ends_run {
                end_run(tx, run_id, &report.run_stats, &report.outcome, now)?;
            } else {
                tx.record_run_stats(run_id, &report.run_stats)?;
            }
            tx.as_read_tx().ticket_count()
        })?;
        // A dry run rolled everything back; only the record of the run is kept.
        if tx_end == TxEnd::Rollback {
            store.write(TxEnd::Commit, |tx| end_run(tx, run_id, &report.run_stats, &report.outcome, now))?;
        }
        report.totals = totals;
        Ok(report)
    };
    context.store.call(job).await
}

/// How many changes since `seq` earlier scans should have brought.
fn count_late_arrivals(
    tx: &WriteTx<'_>,
    previous: &Watermark,
    seq: i64,
    overlap: TimeDelta,
) -> Result<u64, StoreError> {
    match previous.covered_until {
        // What became visible within the overlap, the next incremental scan would have brought.
        Some(covered_until) => tx.as_read_tx().late_arrivals(seq, covered_until.minus(overlap)),
        None => Ok(0),
    }
}

/// Moves the watermark; returns the reason for the journal if it moved.
fn move_watermark(watermark: &mut Watermark, movement: WatermarkMove) -> Option<MoveReason> {
    match movement {
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
    }
}

/// Chooses the ticket that the next incremental scan must return. More than `max_tickets` with the same time are too many
/// to request again and again.
fn choose_canary(
    tx: &WriteTx<'_>,
    watermark: &mut Watermark,
    canary: Option<NewestTicket>,
    start: Option<Timestamp>,
    max_tickets: u64,
) -> Result<(), StoreError> {
    let newest = match (canary, start) {
        (Some(newest), _) if watermark.newest_seen <= Some(newest.last_update) => {
            Some((newest.last_update, newest.id, newest.tickets))
        }
        // The old canary has left or changed, or the scan did not see everything: the table has the newest ticket.
        (_, Some(start)) if !is_canary_unchanged(tx, watermark)? => {
            tx.as_read_tx().newest_last_update(start)?
        }
        _ => None,
    };
    if let Some((last_update, id, tickets)) = newest {
        watermark.newest_seen = Some(last_update);
        watermark.canary = (tickets <= max_tickets).then_some(id);
    }
    Ok(())
}

/// Whether the canary is stored unchanged.
fn is_canary_unchanged(tx: &WriteTx<'_>, watermark: &Watermark) -> Result<bool, StoreError> {
    match (watermark.newest_seen, watermark.canary) {
        (None, _) => Ok(false),
        // Too many tickets have this time for one of them to be the canary.
        (Some(_), None) => Ok(true),
        (Some(last_update), Some(id)) => tx.as_read_tx().has_last_update(id, last_update),
    }
}
