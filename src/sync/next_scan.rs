//! Which scan a run makes: what the store, the settings and the probes say, for `watermark::next_scan` to decide.

use chrono::TimeDelta;

use super::SyncError;
use super::completeness::RunOutcome;
use super::context::RunContext;
use super::custom_fields::discover;
use super::row_intake::RowMapping;
use super::scan::ChangesMax;
use super::{date_filter, probes};
use crate::store::{InterruptedScan, Probe, StoreError};
use crate::ticket::Timestamp;
use crate::watermark::{
    self, DateFilterBehavior, ScanHistory, ScanKind, VerifiedFullScan, Watermark, WatermarkState,
};

/// An interrupted full scan that began longer ago is not resumed.
const RESUME_MAX_AGE: TimeDelta = TimeDelta::days(7);

/// Which scan is due; `None` if the run must not read the list.
pub(super) async fn choose(
    context: &RunContext,
    watermark: &Watermark,
    mapping: &RowMapping,
) -> Result<Option<ScanKind>, SyncError> {
    let settings = &context.settings;
    let date_filter = match (watermark.canary, watermark.newest_seen) {
        (Some(id), Some(last_update))
            if watermark.state == WatermarkState::Incremental
                && !settings.dry_run
                && !settings.schedule.full_requested
                && probes::is_due(context, Probe::DateFilter)? =>
        {
            date_filter::probe(context, id, last_update).await?
        }
        _ => probes::date_filter(context)?,
    };
    let has_new_fields = discover::has_unscanned_fields(context, &mapping.fields)?;
    let history = scan_history(context, has_new_fields, date_filter)?;
    Ok(watermark::next_scan(watermark, &settings.schedule, &history, context.now()))
}

/// What earlier scans left behind for the choice of the next one.
fn scan_history(
    context: &RunContext,
    has_new_fields: bool,
    date_filter: DateFilterBehavior,
) -> Result<ScanHistory, SyncError> {
    let clock_difference = probes::clock_difference(context)?;
    let history = context.store.lock().read(|tx| {
        Ok::<_, StoreError>(ScanHistory {
            last_full: tx.last_full_scan()?.map(|scan| VerifiedFullScan {
                ended_at: scan.ended_at,
                needs_confirmation: scan.needs_confirmation,
            }),
            unverified: tx.unverified_full_scans()?,
            is_interrupted: tx.interrupted_scan()?.is_some(),
            clock_stepped: tx.has_clock_stepped_since_full_scan()?,
            has_new_fields,
            date_filter,
            clock_difference,
        })
    })?;
    Ok(history)
}

/// How many changes an incremental scan may bring before everything is read instead, which costs no more then: no limit
/// while it is not time for a full scan.
pub(super) fn changes_max(context: &RunContext) -> Result<ChangesMax, SyncError> {
    let unverified = context.store.lock().read(|tx| tx.unverified_full_scans())?;
    let every = context.settings.schedule.full_every;
    let may_read_all = unverified.is_none_or(|scans| scans.may_retry(every, context.now()));
    Ok(if may_read_all { ChangesMax::HalfOfStored } else { ChangesMax::Any })
}

/// Where an incremental scan would begin now.
pub(super) fn incremental_start(
    context: &RunContext,
    watermark: &Watermark,
) -> Result<Option<Timestamp>, SyncError> {
    let history = scan_history(context, false, probes::date_filter(context)?)?;
    Ok(watermark::incremental_start(watermark, &context.settings.schedule, &history))
}

/// The full scan that was interrupted, unless it is too old to be resumed.
pub(super) async fn interrupted(context: &RunContext) -> Result<Option<InterruptedScan>, SyncError> {
    if context.settings.dry_run {
        return Ok(None);
    }
    let interrupted = context.store.call(|store| store.read(|tx| tx.interrupted_scan())).await?;
    let now = context.now();
    let is_recent = |scan: &InterruptedScan| now.is_within(RESUME_MAX_AGE, scan.started_at);
    Ok(interrupted.filter(is_recent))
}

/// Why a run reads nothing: a full scan is needed, and it is not yet time to try again.
pub(super) fn none_possible(context: &RunContext) -> Result<RunOutcome, SyncError> {
    let unverified = context.store.lock().read(|tx| tx.unverified_full_scans())?;
    let every = context.settings.schedule.full_every;
    let due = unverified.map_or(String::new(), |it| format!(" at {}", it.retry_at(every).to_second()));
    Ok(RunOutcome::Incomplete(format!(
        "the last full scan was not verified, and without a date filter nothing else can be read; the next one is due{due}, \
         `halosync sync --full` reads at once"
    )))
}
