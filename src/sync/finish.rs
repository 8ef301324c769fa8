//! The end of a scan: its verdict, the tickets that are removed, and the watermark, in one transaction.
//!
//! The last rows, the removals, the end of the scan and the move of the watermark belong together: a crash leaves either
//! a watermark that is older than the data, or all of them.

use chrono::TimeDelta;

use super::completeness::Lacks;
use super::context::{DECISION_TARGET, RunContext, RunPhase};
use super::custom_fields::source::FieldSource;
use super::lateness::LatenessMeasurement;
use super::new_fields::LIST_ROWS;
use super::report::{RunReport, end_run};
use super::scan::list::NewestTicket;
use super::scan::{Evaluation, ScanEnd, ScanPlan, evaluate, scan_stats};
use super::unlisted::confirm_deletion::{UnconfirmedRemoval, UnlistedWrites, check_unlisted};
use super::{SyncError, date_filter, older_versions, probes, reference, reference_pages, token_url};
use crate::store::{
    MoveReason, ObservedTicket, PENDING_TICKET_PAUSE_MAX, Probe, ScanOutcome, Store, StoreError, TxEnd,
    WriteTx,
};
use crate::ticket::Timestamp;
use crate::watermark::{self, ScanKind, Watermark, WatermarkMove, WatermarkState};

/// What ends together with a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishMode {
    /// The run, unless something is still to be fetched.
    Run,
    /// The run, unless the scan moved the watermark: then the run continues.
    RunUnlessSettled,
    /// Only the scan: the run continues.
    Scan,
    /// Only the scan, because another one replaces it in the same run.
    Replaced,
    /// Only the scan, which is incomplete because the canary is missing.
    CanaryMissing,
}

/// What the end of a scan comes to, before it is stored.
struct Conclusion {
    mode: FinishMode,
    evaluation: Evaluation,
    warnings: Vec<String>,
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
    context.progress.phase(RunPhase::Confirming);
    token_url::remember(context).await?;
    reference::look_up(context, &scan.missing_names).await?;
    if plan.is_initial && scan.is_settled() {
        reference::refresh_before_load_ends(context).await?;
    }
    let is_full = plan.kind == ScanKind::Full;
    let canary_missing = mode == FinishMode::CanaryMissing;
    let accept_shortfall = context.settings.accept_shortfall;
    let mut evaluation = evaluate(&scan, plan, canary_missing, accept_shortfall, context.now());
    let older_before = plan.resumed_from.as_ref().map(|scan| scan.checkpoint.older.clone());
    let confirmed_older =
        older_versions::confirm(context, &plan.mapping, &mut scan, &older_before.unwrap_or_default()).await?;
    let mut unlisted = UnlistedWrites::default();
    if is_full && evaluation.is_settled {
        let guard = check_unlisted(context, &plan.mapping, &scan, &mut unlisted).await?;
        evaluation.moves_watermark &= guard.is_none();
        context.progress.phase(RunPhase::Confirming);
    }
    let mut warnings = Vec::new();
    if scan.start.covers().is_none() {
        warnings.push("the server sent no readable `Date`: the rows are stored, the watermark stays".into());
    }
    // A resumed scan tracked only the tickets of this session, whose newest may not be the newest: the table decides
    // (`choose_canary`).
    let canary = scan.newest().filter(|_| plan.resumed_from.is_none());
    if is_full && evaluation.scan_outcome != ScanOutcome::Failed {
        probe_date_filter(context, scan.newest()).await?;
    }
    let movement = if evaluation.moves_watermark {
        let tolerance = context.settings.schedule.overlap + probes::recent_clock_difference(context)?;
        watermark::after_verified_scan(plan.watermark.covered_until, scan.start, tolerance)
    } else {
        WatermarkMove::Stay
    };
    if let WatermarkMove::ClockStepped(to) = movement {
        let to = to.to_second();
        warnings.push(format!("the server's clock stepped back to {to}: a full scan reads everything again"));
    }
    log_conclusion(plan, &scan, &evaluation, movement);
    let conclusion = Conclusion { mode, evaluation, warnings, movement, canary, confirmed_older, unlisted };
    commit(context, plan, scan, conclusion).await
}

/// Logs what a scan comes to.
fn log_conclusion(plan: &ScanPlan, scan: &ScanEnd, evaluation: &Evaluation, movement: WatermarkMove) {
    let (kind, outcome) = (plan.kind.as_str(), evaluation.scan_outcome.as_str());
    let stats = scan_stats(&scan.list_scans);
    let count = stats.record_count.map_or("sends no count".to_owned(), |count| format!("counts {count}"));
    let watermark = match movement {
        WatermarkMove::Advance(to) => format!("moves to {}", to.to_second()),
        WatermarkMove::ClockStepped(to) => format!("moves back to {}", to.to_second()),
        WatermarkMove::Stay => "stays".to_owned(),
    };
    let received = stats.unique_ids;
    tracing::info!(
        target: DECISION_TARGET,
        outcome,
        received,
        "{kind} scan {outcome}: received {received} tickets, the server {count}; the watermark {watermark}"
    );
}

/// Finds out how the date filter works before it is relied on. If that fails, it is tried again later; the scan is
/// complete all the same.
async fn probe_date_filter(context: &RunContext, newest: Option<NewestTicket>) -> Result<(), SyncError> {
    let Some(NewestTicket { last_update, id, .. }) = newest else { return Ok(()) };
    if context.settings.dry_run || !probes::is_due(context, Probe::DateFilter)? {
        return Ok(());
    }
    match date_filter::probe(context, id, last_update).await {
        Err(SyncError::Halo(error)) => {
            tracing::warn!("the date filter could not be probed: {error}");
            Ok(())
        }
        done => done.map(drop),
    }
}

/// The one transaction at the end.
#[expect(clippy::too_many_lines, reason = "one transaction, whose order matters")]
async fn commit(
    context: &RunContext,
    plan: &ScanPlan,
    scan: ScanEnd,
    conclusion: Conclusion,
) -> Result<RunReport, SyncError> {
    let (run_id, scan_id, now) = (context.run_id, plan.scan_id, context.now());
    let (tx_end, requests) = (context.tx_end(), context.requests());
    let (previous, seq_at_start) = (plan.watermark.clone(), plan.seq_at_start);
    let (settings, kind) = (context.settings.clone(), plan.kind);
    let is_full = kind == ScanKind::Full;
    let is_initial = plan.is_initial;
    let was_resumed = plan.resumed_from.is_some();
    // A full scan requests every known field, if it requests any from the list.
    let all_fields_requested = is_full && matches!(plan.mapping.fields, FieldSource::List { .. });
    let continues = context.fetches_custom_fields() || reference_pages::is_any_due(context)?;
    let Conclusion { mode, mut evaluation, warnings, movement, canary, mut confirmed_older, mut unlisted } =
        conclusion;
    let mut report = RunReport::new(context, kind, scan_stats(&scan.list_scans));
    report.warnings = warnings;
    let mut seen_ids = scan.seen_ids();
    seen_ids.extend(unlisted.present.iter().map(|observed| observed.ticket.id().cast_unsigned()));
    let rejected_rows = scan.rejected_rows();
    let is_filter_trusted = mode != FinishMode::CanaryMissing;
    let lateness = LatenessMeasurement::plan(context, plan)?.filter(|_| is_filter_trusted);
    let ScanEnd { mut unstored, mut totals, start, shown_extras, unmapped, .. } = scan;
    let job = move |store: &mut Store| {
        let findings = store.write(tx_end, |tx| {
            for observed in [&mut unstored.tickets, &mut unlisted.present, &mut confirmed_older] {
                tx.apply_status_names(observed)?;
            }
            let changes = &mut totals.changes;
            let listed = tx.upsert(&unstored.tickets, run_id, now)?;
            tx.update_pending_tickets(&unstored.tickets, &listed.older, &unstored.unreadable, now)?;
            let present = tx.upsert(&unlisted.present, run_id, now)?;
            *changes += listed.changes;
            *changes += present.changes;
            changes.updated += tx.apply_older(&confirmed_older, run_id, now)?;
            changes.deleted += tx.remove(&unlisted.removals, run_id, now)?;
            let late = lateness.as_ref().map(|it| it.record(tx, now)).transpose()?;
            report.warnings.extend(late.flatten());
            let search = unmapped.as_ref().map(|it| tx.record_unmapped_fields(LIST_ROWS, it, now));
            let findings = search.transpose()?;
            tx.clear_unlisted(&seen_ids, now)?;
            for UnconfirmedRemoval { id, status, ask_again_at } in &unlisted.unconfirmed {
                tx.record_unlisted(*id, *status, now, *ask_again_at)?;
            }
            if is_full && evaluation.is_settled {
                let rejected: Vec<_> = rejected_rows.iter().map(|(_, row)| row.clone()).collect();
                tx.replace_rejected_rows(&rejected, now)?;
            }
            let is_whole = is_full && !was_resumed && evaluation.is_settled;
            let hidden_extras = tx.update_carried_extras(shown_extras, is_whole, now)?;
            if !hidden_extras.is_empty() {
                let columns: Vec<_> = hidden_extras.columns().collect();
                report.warnings.push(format!(
                    "the server's list no longer shows what is stored in ticket_extra as {}: the stored values stay, and \
                     are no longer updated; a column profile in HaloITSM may have been changed",
                    columns.join(", ")
                ));
            }
            let may_confirm = is_full
                && !is_initial
                && !was_resumed
                && evaluation.moves_watermark
                && evaluation.scan_outcome == ScanOutcome::Verified;
            if may_confirm {
                match count_late_arrivals(tx, &previous, seq_at_start, settings.schedule.overlap)? {
                    0 => evaluation.scan_outcome = ScanOutcome::Confirmed,
                    late => report.warnings.push(format!(
                        "{late} changes are dated before the watermark, but only this full scan found them: the server \
                         shows changes later than `overlap` allows for, or an earlier scan missed them"
                    )),
                }
            }
            let had_stepped = is_full && tx.as_read_tx().has_clock_stepped_since_full_scan()?;
            if let Some(mut watermark) = tx.as_read_tx().watermark()? {
                // An incremental scan inside a full scan moved it further than the full scan can.
                let is_current = watermark.covered_until == previous.covered_until;
                let is_movable = is_current && (is_full || watermark.state == WatermarkState::Incremental);
                let movement = if is_movable { movement } else { WatermarkMove::Stay };
                let reason = move_watermark(&mut watermark, movement, evaluation.move_reason(kind));
                if is_initial && movement == WatermarkMove::Stay {
                    watermark.initial_started_at = start.covers();
                }
                if movement != WatermarkMove::Stay || (is_initial && canary.is_some()) {
                    let max_tickets = u64::from(settings.page_size);
                    choose_canary(tx, &mut watermark, canary, start.covers(), max_tickets)?;
                }
                report.covered_until = watermark.covered_until;
                report.moved_watermark = movement != WatermarkMove::Stay;
                report.clock_stepped = matches!(movement, WatermarkMove::ClockStepped(_));
                tx.set_watermark(&watermark, reason, Some(run_id), now)?;
            }
            tx.record_scan(scan_id, &report.scan_stats, Some(evaluation.scan_outcome), now)?;
            if evaluation.moves_watermark && evaluation.scan_outcome == ScanOutcome::CountMismatch {
                tx.accept_scan(scan_id)?;
            }
            if is_full && evaluation.moves_watermark {
                if had_stepped || report.clock_stepped {
                    answer_clock_step(tx, scan_id, now)?;
                }
                if all_fields_requested {
                    tx.update_probe_result(Probe::FieldScan, "done", now)?;
                }
            }
            let first_rejected = rejected_rows.first().map(|(page, row)| (Some(*page), row.after_id));
            let Evaluation { lack, shortfall, moves_watermark, .. } = evaluation;
            report.lacks = Lacks { scan: lack, shortfall, first_rejected, ..Lacks::default() };
            // An incremental scan does not complete the initial load.
            report.is_settled =
                moves_watermark && (is_full || previous.state == WatermarkState::Incremental);
            report.totals = totals;
            report.run_stats = totals.run_stats(requests);
            report.assess(&tx.as_read_tx(), &settings)?;
            let is_scan_last = match mode {
                FinishMode::Run => is_full || !report.clock_stepped,
                FinishMode::RunUnlessSettled => !moves_watermark,
                FinishMode::Scan | FinishMode::Replaced | FinishMode::CanaryMissing => false,
            };
            report.is_ended = is_scan_last
                && !continues
                && tx.as_read_tx().due_tickets(now, now.plus(PENDING_TICKET_PAUSE_MAX))?.is_empty();
            if report.is_ended {
                report.add_warnings(&tx.as_read_tx(), &settings)?;
                end_run(tx, run_id, &report.run_stats, &report.outcome, now)?;
            } else {
                tx.record_run_stats(run_id, &report.run_stats)?;
            }
            Ok(findings)
        })?;
        // A dry run rolled everything back; only the record of the run is kept. A later scan of the run replaces it.
        if tx_end == TxEnd::Rollback {
            store.write(TxEnd::Commit, |tx| end_run(tx, run_id, &report.run_stats, &report.outcome, now))?;
            report.is_ended = true;
        }
        Ok((report, findings))
    };
    let (report, findings) = context.store.call(job).await?;
    context.add_new_fields(findings);
    Ok(report)
}

/// Records that a full scan has read everything since the server's clock stepped back, and how far it did.
fn answer_clock_step(tx: &WriteTx<'_>, scan_id: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.answer_moves(scan_id)?;
    let Some(step) = tx.as_read_tx().last_clock_step()? else { return Ok(()) };
    let seconds = watermark::clock_difference(&step).num_seconds();
    tx.record_probe(Probe::ClockDifference, &seconds.to_string(), Some("in seconds"), now)
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
fn move_watermark(
    watermark: &mut Watermark,
    movement: WatermarkMove,
    reason: MoveReason,
) -> Option<MoveReason> {
    match movement {
        WatermarkMove::Advance(to) => {
            watermark.covered_until = Some(to);
            watermark.state = WatermarkState::Incremental;
            (watermark.initial_started_at, watermark.initial_last_id) = (None, None);
            Some(reason)
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
    // What the server shows of an erased ticket is not stored.
    let canary = match canary {
        Some(newest) if tx.as_read_tx().is_purged(newest.id)? => None,
        canary => canary,
    };
    let newest = match (canary, start) {
        (Some(newest), _) if watermark.newest_seen <= Some(newest.last_update) => {
            Some((newest.last_update, newest.id, newest.tickets))
        }
        // The old canary was removed or changed, or the scan did not see everything: the table has the newest ticket.
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
