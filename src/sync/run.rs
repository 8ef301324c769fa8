//! The sequence of one run: scope, reference tables, one scan, and what single tickets are asked for.

use std::sync::Arc;

use chrono::TimeDelta;

use super::context::{Clock, Interleave, InterleavedScan, Progress, RunContext, RunSettings};
use super::custom_fields::{discover, fetch};
use super::finish::{FinishMode, finish_scan};
use super::report::{RunOutcome, RunReport, RunTotals};
use super::row_intake::RowMapping;
use super::scan::list::ListScan;
use super::scan::{self, ScanPlan};
use super::scope_change::{apply_scope, check_same_server, resolve_scope_types};
use super::{SharedStore, SyncError, canary, probes, reference};
use crate::halo::HaloClient;
use crate::store::{InterruptedScan, Probe, RunEnd, RunKind, StoreError, TxEnd, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{self, MAX_ZONE_DIFFERENCE, ScanHistory, ScanKind, Watermark, WatermarkState};

/// An interrupted full scan that began longer ago is not resumed.
const RESUME_MAX_AGE: TimeDelta = TimeDelta::days(7);

/// The low bits of a request number count the requests of a run; the high bits are the run.
const REQUEST_BITS: u32 = 32;

/// Executes one run, until its end or until `stop` is ready: then requests are dropped, and what is being committed is
/// committed.
///
/// # Errors
/// Why the run could not continue. What was committed until then stays; the watermark does not move.
pub async fn run(
    halo: Arc<HaloClient>,
    store: SharedStore,
    settings: RunSettings,
    clock: Clock,
    progress: Arc<dyn Progress>,
    stop: impl Future<Output = ()>,
) -> Result<RunReport, SyncError> {
    store.lock().read(|tx| check_same_server(tx, &settings.scope))?;
    let kind = if settings.dry_run { RunKind::DryRun } else { RunKind::Sync };
    let now = clock();
    let keep_since = now.minus(settings.keep_runs);
    let run_id = store
        .call(move |store| {
            store.write(TxEnd::Commit, |tx| {
                tx.prune_runs(keep_since)?;
                tx.begin_run(kind, now)
            })
        })
        .await?;
    halo.number_requests_from(run_id << REQUEST_BITS);
    let requests_before = halo.request_counts();
    let mut context = RunContext { halo, store, settings, clock, progress, run_id, requests_before };
    let done = tokio::select! {
        // Checked in order, so that the same events have the same end.
        biased;
        () = stop => Err(SyncError::Stopped),
        done = execute(&mut context) => done,
    };
    if let Err(error) = &done {
        record_failure(&context, error).await;
    }
    done
}

async fn execute(context: &mut RunContext) -> Result<RunReport, SyncError> {
    context.settings.scope.ticket_types = resolve_scope_types(context).await?;
    let context = &*context;
    let watermark = apply_scope(context).await?;
    reference::refresh(context).await?;
    let field_source = discover::field_source_for_scan(context).await?;
    let mapping = Arc::new(reference::load_mapping(context, field_source)?);
    let report = match choose_scan(context, &watermark, &mapping).await? {
        ScanKind::Full => full_scan(context, watermark, &mapping, RunTotals::default()).await?,
        ScanKind::Incremental { from } => {
            incremental_scan(context, watermark, from, &mapping, RunTotals::default()).await?
        }
    };
    if !context.fetches_custom_fields() {
        return Ok(report);
    }
    let interleave = |totals| -> InterleavedScan<'_> {
        Box::pin(async move {
            // What the scan assumed about the custom fields in the list may have been found wrong since.
            let source = discover::field_source(context)?;
            let mapping = Arc::new(reference::load_mapping(context, source)?);
            interleaved_scan(context, &mapping, totals).await
        })
    };
    fetch::fetch_pending_fields(context, &mapping.fields, report, &interleave).await
}

/// Which scan is due.
async fn choose_scan(
    context: &RunContext,
    watermark: &Watermark,
    mapping: &RowMapping,
) -> Result<ScanKind, SyncError> {
    let settings = &context.settings;
    let date_filter = match (watermark.canary, watermark.newest_seen) {
        (Some(id), Some(last_update))
            if watermark.state == WatermarkState::Incremental
                && !settings.dry_run
                && !settings.schedule.full_requested
                && probes::is_due(context, Probe::DateFilter)? =>
        {
            probes::probe_date_filter(context, id, last_update).await?
        }
        _ => probes::date_filter(context)?,
    };
    let has_new_fields = discover::has_unscanned_fields(context, &mapping.fields)?;
    let history = context.store.lock().read(|tx| {
        Ok::<_, StoreError>(ScanHistory {
            last_full: tx.last_full_scan()?.map(|scan| scan.ended_at),
            clock_stepped: tx.has_clock_stepped_since_full_scan()?,
            needs_confirmation: tx.should_confirm_initial_load()?,
            has_new_fields,
            date_filter,
        })
    })?;
    Ok(watermark::next_scan(watermark, &settings.schedule, &history, context.now()))
}

/// Reads everything, from where an interrupted full scan ended if there is one.
async fn full_scan(
    context: &RunContext,
    watermark: Watermark,
    mapping: &Arc<RowMapping>,
    totals: RunTotals,
) -> Result<RunReport, SyncError> {
    let dry_run = context.settings.dry_run;
    let resumed_from = interrupted_scan(context).await?;
    let is_resumed = resumed_from.is_some();
    let mut first_page = None;
    if !is_resumed && !dry_run && probes::is_due(context, Probe::ListCoverage)? {
        first_page = probes::probe_list_coverage(context, mapping.fields.requested_ids()).await?;
    }
    let plan = ScanPlan::new(context, ScanKind::Full, watermark, mapping, resumed_from).await?;
    let clock_stepped = context.store.lock().read(|tx| tx.has_clock_stepped_since_full_scan())?;
    let interleaves = plan.watermark.state == WatermarkState::Incremental && !clock_stepped && !dry_run;
    let interleave = |totals| -> InterleavedScan<'_> { Box::pin(interleaved_scan(context, mapping, totals)) };
    let interleave: Option<&Interleave<'_>> = if interleaves { Some(&interleave) } else { None };
    let scan = scan::read(context, &plan, first_page, totals, interleave).await?;
    if !is_resumed {
        return finish_scan(context, &plan, scan, FinishMode::Run).await;
    }
    // What was received before the interruption may have changed or disappeared since.
    let nothing_disappeared = scan.list_scans.iter().all(ListScan::matches_latest_count);
    let report = finish_scan(context, &plan, scan, FinishMode::RunUnlessComplete).await?;
    let watermark = context.store.lock().read(|tx| tx.watermark())?;
    let Some(watermark) = watermark.filter(|_| report.outcome == RunOutcome::Complete) else {
        return Ok(report);
    };
    let date_filter = probes::date_filter(context)?;
    let from = watermark::incremental_start(&watermark, &context.settings.schedule, date_filter);
    match from.filter(|_| nothing_disappeared && watermark.state == WatermarkState::Incremental) {
        Some(from) => Box::pin(incremental_scan(context, watermark, from, mapping, report.totals)).await,
        None => Box::pin(full_scan(context, watermark, mapping, report.totals)).await,
    }
}

/// Reads what changed. Where the canary does not come back, the date filter no longer means what it did: then it is asked
/// further back, and if that does not help, everything is read.
async fn incremental_scan(
    context: &RunContext,
    watermark: Watermark,
    from: Timestamp,
    mapping: &Arc<RowMapping>,
    mut totals: RunTotals,
) -> Result<RunReport, SyncError> {
    let earlier = from.minus(MAX_ZONE_DIFFERENCE);
    for (from, next_step) in [(from, "asking further back"), (earlier, "reading everything")] {
        let kind = ScanKind::Incremental { from };
        let plan = ScanPlan::new(context, kind, watermark.clone(), mapping, None).await?;
        let scan = scan::read(context, &plan, None, totals, None).await?;
        if !scan.is_verified() || canary::is_ok(context, &watermark, &scan).await? {
            return finish_scan(context, &plan, scan, FinishMode::Run).await;
        }
        tracing::warn!(
            canary = watermark.canary,
            "a ticket that must be listed among the changes since {from} is missing: {next_step}"
        );
        totals = finish_scan(context, &plan, scan, FinishMode::CanaryMissing).await?.totals;
        if let (Some(id), Some(last_update)) = (watermark.canary, watermark.newest_seen) {
            probes::probe_date_filter(context, id, last_update).await?;
        }
    }
    full_scan(context, watermark, mapping, totals).await
}

/// An incremental scan between two batches of a full scan or of the pending fetches, so that changes do not wait for
/// them. Does nothing if the date filter cannot be used.
async fn interleaved_scan(
    context: &RunContext,
    mapping: &Arc<RowMapping>,
    totals: RunTotals,
) -> Result<RunTotals, SyncError> {
    let date_filter = probes::date_filter(context)?;
    let watermark = context.store.lock().read(|tx| tx.watermark())?;
    let watermark = watermark.filter(|watermark| watermark.state == WatermarkState::Incremental);
    let Some(watermark) = watermark else { return Ok(totals) };
    let from = watermark::incremental_start(&watermark, &context.settings.schedule, date_filter);
    let Some(from) = from else { return Ok(totals) };
    let kind = ScanKind::Incremental { from };
    let plan = ScanPlan::new(context, kind, watermark, mapping, None).await?;
    let scan = scan::read(context, &plan, None, totals, None).await?;
    // Without its canary the scan is recorded as incomplete and the watermark stays: a later scan reads the rest.
    let canary_ok = canary::is_ok(context, &plan.watermark, &scan).await?;
    let mode = if canary_ok { FinishMode::Scan } else { FinishMode::CanaryMissing };
    Ok(finish_scan(context, &plan, scan, mode).await?.totals)
}

/// The full scan that was interrupted, unless it is too old to be resumed.
async fn interrupted_scan(context: &RunContext) -> Result<Option<InterruptedScan>, SyncError> {
    if context.settings.dry_run {
        return Ok(None);
    }
    let interrupted = context.store.call(|store| store.read(|tx| tx.interrupted_scan())).await?;
    let now = context.now();
    let is_recent =
        |scan: &InterruptedScan| (now.instant() - scan.started_at.instant()).abs() < RESUME_MAX_AGE;
    Ok(interrupted.filter(is_recent))
}

/// Records why the run failed; that this cannot be recorded is no second failure.
async fn record_failure(context: &RunContext, error: &SyncError) {
    let (run_id, now, requests) = (context.run_id, context.now(), context.requests());
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    let write = move |tx: &WriteTx<'_>| {
        let stored = tx.as_read_tx().run_stats(run_id)?;
        let totals = RunTotals { changes: stored.changes, received: stored.received };
        let run_stats = totals.run_stats(requests);
        tx.record_run_stats(run_id, &run_stats)?;
        tx.finish_run(run_id, RunEnd::Failed(&message), now)
    };
    let recorded = context.store.call(move |store| store.write(TxEnd::Commit, write)).await;
    if let Err(error) = recorded {
        tracing::debug!(%error, "the failure of the run could not be recorded");
    }
}
