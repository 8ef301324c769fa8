//! One pass: the scope, names, one walk, and what single tickets are asked for.

use std::sync::Arc;

use chrono::TimeDelta;

use super::finish::FinishMode;
use super::list_scan::{ListScan, ReadVerdict};
use super::row_intake::RowMapping;
use super::scan::ScanPlan;
use super::scope_change::check_same_server;
use super::writer::RunTotals;
use super::{Clock, Progress, SharedStore, SyncError, probes};
use crate::halo::{HaloClient, ResponseMeta};
use crate::retry::RequestCounts;
use crate::scope::Scope;
use crate::store::{
    InterruptedScan, Removal, RemovalReason, RunEnd, RunKind, RunStats, ScanStats, StoreError, TxEnd, WriteTx,
};
use crate::ticket::Timestamp;
use crate::watermark::{
    self, MAX_ZONE_DIFFERENCE, ScanHistory, ScanKind, ScanSchedule, Watermark, WatermarkState,
};

/// An interrupted full walk that began longer ago is not taken up again.
const RESUME_MAX_AGE: TimeDelta = TimeDelta::days(7);

/// What a pass is to do.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The scope wanted; its ticket types are filled in from `ticket_types`.
    pub scope: Scope,
    /// Names of the ticket types to copy; none is all.
    pub ticket_types: Vec<String>,
    /// Rows a page, at most 100.
    pub page_size: u32,
    /// Requests at a time.
    pub parallel_requests: u32,
    /// How many requests a window of the rate limit has.
    pub requests_per_window: u32,
    /// Rows a transaction, about; usually [`super::BATCH_ROWS`].
    pub batch_rows: usize,
    /// Which walk is due when.
    pub schedule: ScanSchedule,
    /// The share of the tickets that may disappear at once.
    pub delete_guard: f64,
    /// Whether a person said that they really did.
    pub accept_deletes: bool,
    /// Whether to write nothing but the record of the pass.
    pub dry_run: bool,
    /// How many tickets fewer than the server counts are accepted.
    pub accept_shortfall: u64,
    /// How long the records of passes are kept.
    pub keep_runs: TimeDelta,
}

/// A pass under way.
pub struct RunContext {
    pub(super) halo: Arc<HaloClient>,
    pub(super) store: SharedStore,
    pub(super) settings: RunSettings,
    pub(super) clock: Clock,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) run_id: i64,
    /// What the server was asked by passes before this one.
    stats_at_start: RequestCounts,
}

/// How a pass ended that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Everything that the server has is stored.
    Complete,
    /// What was received is stored, but it may not be everything; the watermark stays.
    Incomplete(String),
    /// So many tickets are gone that nothing is deleted until a person says so; the watermark stays.
    DeleteGuard {
        /// How many are gone.
        removals: u64,
        /// How many may be.
        allowed: u64,
    },
}

impl RunOutcome {
    /// Its word in `runs.outcome`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            RunOutcome::Complete => "complete",
            RunOutcome::Incomplete(_) | RunOutcome::DeleteGuard { .. } => "incomplete",
        }
    }

    /// Why it is not complete.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            RunOutcome::Complete => None,
            RunOutcome::Incomplete(reason) => Some(reason.clone()),
            RunOutcome::DeleteGuard { removals, allowed } => {
                Some(format!("{removals} tickets are gone at once, and no more than {allowed} may be"))
            }
        }
    }

    /// What a person can do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            RunOutcome::DeleteGuard { .. } => Some(
                "A cut in the permissions of the agent that the application logs in as looks like this. If the \
                 tickets are really gone: halosync sync --full --accept-deletes",
            ),
            RunOutcome::Complete | RunOutcome::Incomplete(_) => None,
        }
    }
}

/// What a pass did.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Its number in `runs`.
    pub run_id: i64,
    /// The walk.
    pub scan_kind: ScanKind,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What it asked for and did.
    pub run_stats: RunStats,
    /// What the walk read.
    pub scan_stats: ScanStats,
    /// The watermark after it.
    pub covered_until: Option<Timestamp>,
    /// Tickets present after it.
    pub tickets: u64,
    /// What a person should know besides.
    pub warnings: Vec<String>,
    /// Whether nothing of it was kept.
    pub dry_run: bool,
    /// What the pass did so far.
    pub(super) totals: RunTotals,
}

/// The bits of a request number below those of the pass.
const REQUEST_BITS: u32 = 32;

impl RunContext {
    /// Runs one pass to its end, or until `stop` is over: then requests are dropped and what is being
    /// committed is committed.
    ///
    /// # Errors
    /// [`SyncError`] where it could not go on; what was stored until then stays, the watermark too.
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
        let stats_at_start = halo.request_counts();
        let mut context =
            RunContext { halo, store, settings, clock: clock, progress, run_id, stats_at_start };
        let done = tokio::select! {
            // Not by chance: the same events have the same end.
            biased;
            () = stop => Err(SyncError::Stopped),
            done = context.execute() => done,
        };
        match done {
            Ok(report) => Ok(report),
            Err(error) => {
                context.record_failure(&error).await;
                Err(error)
            }
        }
    }

    /// How often the pass asked the server so far.
    pub(super) fn request_stats(&self) -> RequestCounts {
        self.halo.request_counts().since(self.stats_at_start)
    }

    /// Whether what the pass does is kept.
    pub(super) fn tx_end(&self) -> TxEnd {
        if self.settings.dry_run { TxEnd::Rollback } else { TxEnd::Commit }
    }

    async fn execute(&mut self) -> Result<RunReport, SyncError> {
        self.resolve_scope_types().await?;
        let watermark = self.apply_scope().await?;
        self.refresh_reference_tables().await?;
        let field_source = self.discover_field_source().await?;
        let mapping = Arc::new(self.mapping(field_source)?);
        let report = match self.choose_scan(&watermark, &mapping).await? {
            ScanKind::Full => self.full_scan(watermark, &mapping, RunTotals::default()).await?,
            ScanKind::Incremental { from } => {
                self.incremental_scan(watermark, from, &mapping, RunTotals::default()).await?
            }
        };
        if self.should_fetch_fields() {
            self.fetch_pending_fields(&mapping.fields, report).await
        } else {
            Ok(report)
        }
    }

    /// Whether single tickets are asked for their custom fields when the walk is over.
    pub(super) fn should_fetch_fields(&self) -> bool {
        self.settings.scope.custom_fields && !self.settings.dry_run
    }

    /// Which walk is due.
    async fn choose_scan(&self, watermark: &Watermark, mapping: &RowMapping) -> Result<ScanKind, SyncError> {
        let filter = match (watermark.canary, watermark.newest_seen) {
            (Some(id), Some(last_update))
                if watermark.state == WatermarkState::Incremental
                    && !self.settings.dry_run
                    && !self.settings.schedule.full_requested
                    && self.should_probe(probes::DATE_FILTER_PROBE)? =>
            {
                self.probe_date_filter(id, last_update).await?
            }
            _ => self.date_filter()?,
        };
        let has_unscanned_fields = self.has_unscanned_fields(&mapping.fields)?;
        let history = self.store.lock().read(|tx| {
            Ok::<_, StoreError>(ScanHistory {
                last_full: tx.last_full_scan()?.map(|scan| scan.ended_at),
                clock_stepped: tx.has_clock_stepped_since_full_scan()?,
                needs_confirmation: tx.should_confirm_initial_load()?,
                has_new_fields: has_unscanned_fields,
                date_filter: filter,
            })
        })?;
        Ok(watermark::next_scan(watermark, &self.settings.schedule, &history, (self.clock)()))
    }

    /// Reads everything, from where an earlier full walk was interrupted if there is one.
    async fn full_scan(
        &self,
        watermark: Watermark,
        mapping: &Arc<RowMapping>,
        totals: RunTotals,
    ) -> Result<RunReport, SyncError> {
        let resumed_from = self.interrupted_scan().await?;
        let mut first_page = None;
        if resumed_from.is_none()
            && !self.settings.dry_run
            && self.should_probe(probes::LIST_COVERAGE_PROBE)?
        {
            first_page = self.probe_list_coverage(mapping.fields.requested_ids()).await?;
        }
        let mut plan = self.plan_scan(ScanKind::Full, watermark, mapping, resumed_from).await?;
        let resumed = plan.resumed_from.is_some();
        let clock_stepped = self.store.lock().read(|tx| tx.has_clock_stepped_since_full_scan())?;
        plan.interleaves_incremental =
            plan.watermark.state == WatermarkState::Incremental && !clock_stepped && !self.settings.dry_run;
        let scan = self.scan(&plan, first_page, totals).await?;
        if !resumed {
            return self.finish_scan(&plan, scan, FinishMode::Run).await;
        }
        // What was received before the interruption may have changed or left since.
        let none_left = scan.list_scans.iter().all(ListScan::matches_latest_count);
        let report = self.finish_scan(&plan, scan, FinishMode::RunUnlessComplete).await?;
        let watermark = self.store.lock().read(|tx| tx.watermark())?;
        let Some(watermark) = watermark.filter(|_| report.outcome == RunOutcome::Complete) else {
            return Ok(report);
        };
        let from = watermark::incremental_start(&watermark, &self.settings.schedule, self.date_filter()?);
        match from.filter(|_| none_left && watermark.state == WatermarkState::Incremental) {
            Some(from) => Box::pin(self.incremental_scan(watermark, from, mapping, report.totals)).await,
            None => Box::pin(self.full_scan(watermark, mapping, report.totals)).await,
        }
    }

    /// Asks for what changed. Where the ticket that must come back does not, the filter no longer means
    /// what it did: then further back, and if that does not help, for everything.
    async fn incremental_scan(
        &self,
        watermark: Watermark,
        from: Timestamp,
        mapping: &Arc<RowMapping>,
        mut totals: RunTotals,
    ) -> Result<RunReport, SyncError> {
        for from in [from, from.minus(MAX_ZONE_DIFFERENCE)] {
            let plan =
                self.plan_scan(ScanKind::Incremental { from }, watermark.clone(), mapping, None).await?;
            let scan = self.scan(&plan, None, totals).await?;
            let verified = scan.fault.is_none() && scan.verdict == ReadVerdict::Verified;
            if !verified || self.is_canary_ok(&watermark, &scan).await? {
                return self.finish_scan(&plan, scan, FinishMode::Run).await;
            }
            tracing::warn!(
                canary = watermark.canary,
                "a ticket that must come back when asked for changes from {from} on did not: asking further back"
            );
            totals = self.finish_scan(&plan, scan, FinishMode::CanaryMissing).await?.totals;
            if let (Some(id), Some(last_update)) = (watermark.canary, watermark.newest_seen) {
                self.probe_date_filter(id, last_update).await?;
            }
        }
        self.full_scan(watermark, mapping, totals).await
    }

    /// A following walk in the middle of a full one.
    pub(super) async fn interleave_incremental_scan(
        &self,
        mapping: &Arc<RowMapping>,
        totals: RunTotals,
    ) -> Result<RunTotals, SyncError> {
        let filter = self.date_filter()?;
        let watermark = self.store.lock().read(|tx| tx.watermark())?;
        let from = watermark
            .as_ref()
            .and_then(|watermark| watermark::incremental_start(watermark, &self.settings.schedule, filter));
        let (Some(watermark), Some(from)) = (watermark, from) else { return Ok(totals) };
        let plan = self.plan_scan(ScanKind::Incremental { from }, watermark, mapping, None).await?;
        let scan = self.scan(&plan, None, totals).await?;
        // What this one did not bring, the full walk does.
        let canary_ok = self.is_canary_ok(&plan.watermark, &scan).await?;
        let mode = if canary_ok { FinishMode::Scan } else { FinishMode::CanaryMissing };
        Ok(self.finish_scan(&plan, scan, mode).await?.totals)
    }

    /// The full walk that was interrupted, unless it is older than it is worth.
    async fn interrupted_scan(&self) -> Result<Option<InterruptedScan>, SyncError> {
        if self.settings.dry_run {
            return Ok(None);
        }
        let interrupted = self.store.call(|store| store.read(|tx| tx.interrupted_scan())).await?;
        let now = (self.clock)();
        let is_recent =
            |scan: &InterruptedScan| (now.instant() - scan.started_at.instant()).abs() < RESUME_MAX_AGE;
        Ok(interrupted.filter(is_recent))
    }

    async fn plan_scan(
        &self,
        kind: ScanKind,
        watermark: Watermark,
        mapping: &Arc<RowMapping>,
        resumed_from: Option<InterruptedScan>,
    ) -> Result<ScanPlan, SyncError> {
        let from = match kind {
            ScanKind::Full => None,
            ScanKind::Incremental { from } => Some(from),
        };
        let lists = self.list_coverage()?.filters(&self.settings.scope.ticket_types, from);
        let is_initial = kind == ScanKind::Full && watermark.state == WatermarkState::Initial;
        let (run_id, now) = (self.run_id, (self.clock)());
        // The walks of a dry run are no evidence of anything: they are not kept.
        let tx_end = self.tx_end();
        let resumed_id = resumed_from.as_ref().map(|scan| scan.scan_id);
        let (scan_id, seq_at_start) = self
            .store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    let seq = tx.as_read_tx().greatest_seq()?;
                    let scan_id = match resumed_id {
                        None => tx.begin_scan(run_id, &kind, is_initial, now)?,
                        Some(scan_id) => {
                            tx.resume_scan(scan_id, run_id)?;
                            scan_id
                        }
                    };
                    Ok((scan_id, seq))
                })
            })
            .await?;
        tracing::debug!(run = self.run_id, kind = kind.as_str(), resumed = resumed_id.is_some(), "walking");
        let mapping = Arc::clone(mapping);
        Ok(ScanPlan {
            kind: kind,
            scan_id,
            lists,
            watermark: watermark,
            mapping,
            seq_at_start,
            is_initial,
            resumed_from: resumed_from,
            interleaves_incremental: false,
        })
    }

    /// Writes down how often the server was asked so far.
    pub(super) async fn record_requests(&self) -> Result<(), SyncError> {
        let run_id = self.run_id;
        let run_stats = RunTotals::default().run_stats(self.request_stats());
        self.store
            .call(move |store| store.write(TxEnd::Commit, |tx| tx.record_requests(run_id, &run_stats)))
            .await
    }

    /// Writes down why the pass ended early; that it cannot be written down is no second failure.
    async fn record_failure(&self, error: &SyncError) {
        let (run_id, now, request_stats) = (self.run_id, (self.clock)(), self.request_stats());
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            message = format!("{message}: {next}");
            cause = next.source();
        }
        let write = move |tx: &WriteTx<'_>| {
            let stored_stats = tx.as_read_tx().run_stats(run_id)?;
            let run_stats = RunStats {
                requests: request_stats.requests,
                list_requests: request_stats.list_requests,
                retries: request_stats.retries,
                ..stored_stats
            };
            tx.record_run_stats(run_id, &run_stats)?;
            tx.finish_run(run_id, RunEnd::Failed(&message), now)
        };
        let recorded = self.store.call(move |store| store.write(TxEnd::Commit, write)).await;
        if let Err(error) = recorded {
            tracing::debug!(%error, "the failure of the pass could not be written down");
        }
    }
}

pub(super) fn out_of_scope_removal(id: i64) -> Removal {
    Removal { id, reason: RemovalReason::OutOfScope }
}

/// The start of the pass by the server's clock, where it tells the time.
pub(super) fn run_start(meta: &ResponseMeta) -> Option<Timestamp> {
    meta.date.and_then(|date| watermark::run_start(date, meta.took))
}
