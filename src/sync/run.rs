//! The sequence of one run: scope, reference tables, one scan, and what single tickets are asked for.

use std::sync::{Arc, Mutex};

use super::completeness::RunOutcome;
use super::context::{
    Clock, DECISION_TARGET, Interleave, InterleavedScan, Progress, RunContext, RunSettings,
};
use super::custom_fields::{discover, fetch};
use super::finish::{FinishMode, finish_scan};
use super::report::RunReport;
use super::row_intake::RowMapping;
use super::scan::{self, ChangesMax, ListReadError, ScanPlan};
use super::scope_change::{ScopeStep, apply_scope, check_same_server, resolve_scope_types};
use super::totals::RunTotals;
use super::{
    SharedStore, SyncError, canary, date_filter, next_scan, pending_tickets, probes, reference,
    reference_pages, token_url,
};
use crate::halo::HaloClient;
use crate::store::{InterruptedScan, Probe, REQUEST_NUMBER_BITS, RunEnd, RunKind, TxEnd, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{MAX_ZONE_DIFFERENCE, ScanKind, Watermark, WatermarkState};

/// Executes one run, until its end or until `stop` is ready: then requests are dropped, and what is being committed is
/// committed.
///
/// # Errors
/// Why the run could not continue. What was committed until then stays.
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
    let window_start = now.minus(halo.rate_window());
    let (run_id, check_requests) = store
        .call(move |store| {
            store.write(TxEnd::Commit, |tx| {
                tx.prune_runs(keep_since)?;
                let run_id = tx.begin_run(kind, now)?;
                Ok((run_id, tx.as_read_tx().check_requests_before(run_id, window_start)?))
            })
        })
        .await?;
    halo.count_other_requests(check_requests);
    halo.number_requests_from(run_id << REQUEST_NUMBER_BITS);
    let requests_before = halo.request_counts();
    let (mut waits, wait_progress) = (halo.watch_waits(), Arc::clone(&progress));
    let report_waits = async move {
        while waits.changed().await.is_ok() {
            wait_progress.waiting(*waits.borrow_and_update());
        }
    };
    let new_fields = Mutex::default();
    let mut context =
        RunContext { halo, store, settings, clock, progress, run_id, requests_before, new_fields };
    context.search_next_ticket();
    let done = tokio::select! {
        // Checked in order, so that the same events have the same end.
        biased;
        () = stop => Err(SyncError::Stopped),
        done = Box::pin(execute(&mut context)) => done,
        // It ends only with the client, which the run holds.
        () = report_waits => Err(SyncError::Stopped),
    };
    context.end_field_searches().await;
    if let Err(error) = &done {
        record_failure(&context, error).await;
    }
    done
}

async fn execute(context: &mut RunContext) -> Result<RunReport, SyncError> {
    token_url::recall(context).await?;
    context.settings.scope.ticket_types = resolve_scope_types(context).await?;
    let context = &*context;
    let watermark = match apply_scope(context).await? {
        ScopeStep::Ready(watermark) => watermark,
        ScopeStep::Guarded { removals, allowed } => {
            let outcome = RunOutcome::ScopeGuard { removals, allowed };
            return RunReport::end_without_scan(context, outcome).await;
        }
    };
    let started_at = context.now();
    reference::refresh(context).await?;
    let field_source = discover::field_source_for_scan(context).await?;
    let mapping = Arc::new(reference::load_mapping(context, field_source)?);
    let mut report = match next_scan::choose(context, &watermark, &mapping).await? {
        Some(ScanKind::Full) => {
            // A scan that is resumed refreshed them when it began.
            let is_resumed = next_scan::interrupted(context).await?.is_some();
            let refreshed = !is_resumed && reference::refresh_for_full_scan(context, started_at).await?;
            let mapping = if refreshed {
                Arc::new(reference::load_mapping(context, mapping.fields.clone())?)
            } else {
                Arc::clone(&mapping)
            };
            full_scan(context, watermark, &mapping, RunTotals::default()).await?
        }
        Some(ScanKind::Incremental { from }) => {
            let since = from.to_second();
            tracing::info!(target: DECISION_TARGET, %from, "incremental scan: reading what was updated since {since}");
            let changes_max = next_scan::changes_max(context)?;
            incremental_scan(context, watermark, from, &mapping, RunTotals::default(), changes_max).await?
        }
        None => return RunReport::end_without_scan(context, next_scan::none_possible(context)?).await,
    };
    report = pending_tickets::fetch_due(context, &mapping, report).await?;
    reference_pages::read_due(context, &mut report).await?;
    if context.fetches_custom_fields() {
        let interleave = |totals| -> InterleavedScan<'_> {
            Box::pin(async move {
                // What the scan assumed about the custom fields in the list may have been found wrong since.
                let source = discover::field_source(context)?;
                let mapping = Arc::new(reference::load_mapping(context, source)?);
                interleaved_scan(context, &mapping, totals).await
            })
        };
        report = fetch::fetch_pending_fields(context, &mapping.fields, report, &interleave).await?;
    }
    report.end(context, None).await
}

/// Reads everything, from where an interrupted full scan ended if there is one.
async fn full_scan(
    context: &RunContext,
    watermark: Watermark,
    mapping: &Arc<RowMapping>,
    totals: RunTotals,
) -> Result<RunReport, SyncError> {
    let dry_run = context.settings.dry_run;
    let resumed_from = next_scan::interrupted(context).await?;
    let read_before = resumed_from.as_ref().map(InterruptedScan::received);
    let kind = if watermark.state == WatermarkState::Initial { "initial load" } else { "full scan" };
    match read_before {
        None => tracing::info!(target: DECISION_TARGET, "{kind}: reading every ticket"),
        Some(received) => {
            tracing::info!(target: DECISION_TARGET, received, "{kind}: continuing after {received} tickets");
        }
    }
    // Before the first page is requested: what is edited later, this scan need not show.
    let started_at = context.now();
    let mut first_page = None;
    if read_before.is_none() && !dry_run && probes::is_due(context, Probe::ListCoverage)? {
        first_page = probes::probe_list_coverage(context, mapping.fields.requested_ids()).await?;
    }
    let plan = ScanPlan::new(context, ScanKind::Full, watermark, mapping, resumed_from, started_at).await?;
    let clock_stepped = context.store.lock().read(|tx| tx.has_clock_stepped_since_full_scan())?;
    let interleaves = plan.watermark.state == WatermarkState::Incremental && !clock_stepped && !dry_run;
    let interleave = |totals| -> InterleavedScan<'_> { Box::pin(interleaved_scan(context, mapping, totals)) };
    let interleave: Option<&Interleave<'_>> = if interleaves { Some(&interleave) } else { None };
    let mut scan = scan::read(context, &plan, first_page, totals, interleave).await?;
    if scan.is_verified() && scan.seen_ids().is_empty() && !probes::is_list_empty(context).await? {
        scan.fault = Some(ListReadError::FalselyEmpty);
    }
    let Some(read_before) = read_before else {
        return finish_scan(context, &plan, scan, FinishMode::Run).await;
    };
    let mut report = finish_scan(context, &plan, scan, FinishMode::RunUnlessSettled).await?;
    if !report.is_settled {
        return Ok(report);
    }
    // The scan proved what is behind its cursor. What was edited before it since its first start, an incremental scan
    // brings; where that is not possible, everything is read again.
    let Some(watermark) = context.store.lock().read(|tx| tx.watermark())? else { return Ok(report) };
    let totals = report.totals;
    let from = next_scan::incremental_start(context, &watermark)?;
    let earlier = std::mem::take(&mut report.warnings);
    let mut report = match from.filter(|_| watermark.state == WatermarkState::Incremental) {
        Some(from) => {
            let changes_max = ChangesMax::Tickets(read_before);
            Box::pin(incremental_scan(context, watermark, from, mapping, totals, changes_max)).await?
        }
        None => Box::pin(full_scan(context, watermark, mapping, totals)).await?,
    };
    report.warnings.splice(0..0, earlier);
    Ok(report)
}

/// Reads what changed. Where the canary does not come back, the date filter no longer means what it did: then it is asked
/// further back, and if that does not help, everything is read. Everything is read also where so much changed that it
/// costs no more, and where the server's clock stepped back.
async fn incremental_scan(
    context: &RunContext,
    watermark: Watermark,
    from: Timestamp,
    mapping: &Arc<RowMapping>,
    mut totals: RunTotals,
    changes_max: ChangesMax,
) -> Result<RunReport, SyncError> {
    let earlier = from.minus(MAX_ZONE_DIFFERENCE);
    let (mut warnings, mut is_filter_trusted) = (Vec::new(), true);
    for (from, next_step) in [(from, "asking further back"), (earlier, "reading everything")] {
        let kind = ScanKind::Incremental { from };
        let plan = ScanPlan::new(context, kind, watermark.clone(), mapping, None, context.now()).await?;
        let plan = ScanPlan { changes_max, is_filter_trusted, ..plan };
        let scan = scan::read(context, &plan, None, totals, None).await?;
        if matches!(scan.fault, Some(ListReadError::TooManyChanges(_))) {
            totals = finish_scan(context, &plan, scan, FinishMode::Replaced).await?.totals;
            break;
        }
        if !scan.is_settled() || canary::is_ok(context, &watermark, &scan).await? {
            let report = finish_scan(context, &plan, scan, FinishMode::Run).await?;
            if !report.clock_stepped {
                return Ok(report);
            }
            (totals, warnings) = (report.totals, report.warnings);
            break;
        }
        tracing::warn!(
            canary = watermark.canary,
            "a ticket that must be listed among the changes since {} is missing: {next_step}",
            from.to_second()
        );
        totals = finish_scan(context, &plan, scan, FinishMode::CanaryMissing).await?.totals;
        is_filter_trusted = false;
        if let (Some(id), Some(last_update)) = (watermark.canary, watermark.newest_seen) {
            date_filter::probe(context, id, last_update).await?;
        }
    }
    let watermark = context.store.lock().read(|tx| tx.watermark())?.unwrap_or(watermark);
    let mut report = full_scan(context, watermark, mapping, totals).await?;
    report.warnings.splice(0..0, warnings);
    Ok(report)
}

/// An incremental scan between two batches of a full scan or of the pending fetches, so that changes do not wait for
/// them. Does nothing if the date filter cannot be used.
async fn interleaved_scan(
    context: &RunContext,
    mapping: &Arc<RowMapping>,
    totals: RunTotals,
) -> Result<RunTotals, SyncError> {
    let watermark = context.store.lock().read(|tx| tx.watermark())?;
    let watermark = watermark.filter(|watermark| watermark.state == WatermarkState::Incremental);
    let Some(watermark) = watermark else { return Ok(totals) };
    let Some(from) = next_scan::incremental_start(context, &watermark)? else { return Ok(totals) };
    let kind = ScanKind::Incremental { from };
    let plan = ScanPlan::new(context, kind, watermark, mapping, None, context.now()).await?;
    let scan = scan::read(context, &plan, None, totals, None).await?;
    // Without its canary the scan is recorded as incomplete and the watermark stays: a later scan reads the rest.
    let canary_ok = canary::is_ok(context, &plan.watermark, &scan).await?;
    let mode = if canary_ok { FinishMode::Scan } else { FinishMode::CanaryMissing };
    Ok(finish_scan(context, &plan, scan, mode).await?.totals)
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
        // The transaction that ended the run may have been under way when the run was stopped.
        if tx.as_read_tx().has_newest_run_ended()? {
            return Ok(());
        }
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
