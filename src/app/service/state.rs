//! What the parts of the service know of each other: how far the work is, and how it went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::metrics::{MetricsSnapshot, RunOutcomeCounts};
use crate::app::{AppError, LoadedConfig, StatusReport, status};
use crate::halo::{HaloClient, RequestStats};
use crate::sync::Progress;
use crate::watermark::WatermarkState;

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CyclePhase {
    /// Nothing: the next pass is waited for.
    #[default]
    Idle,
    /// The server is asked.
    Run,
    /// What follows a pass: packages are made, the database is inspected.
    Maintenance,
}

/// The board.
pub(super) struct ServiceState {
    inner: Mutex<ServiceStateInner>,
    rows: AtomicU64,
    total: AtomicU64,
}

/// What stands on it.
pub(super) struct ServiceStateInner {
    pub(super) loaded: Arc<LoadedConfig>,
    pub(super) halo: Arc<HaloClient>,
    /// What went over the wire before there was this `halo`.
    pub(super) earlier_request_stats: RequestStats,
    pub(super) phase: CyclePhase,
    pub(super) run_counts: RunOutcomeCounts,
    pub(super) failures: u32,
    pub(super) last_duration: Option<Duration>,
    pub(super) database_ok: Option<bool>,
    /// Whether the figures could not be written to their file.
    pub(super) textfile_failed: bool,
    /// Whether everything got on at the last look, and when that was.
    pub(super) last_check: (bool, Instant),
}

/// So many intervals after the last complete pass the copy counts as old.
const STALE_AFTER_INTERVALS: u32 = 3;

impl ServiceState {
    pub(super) fn new(loaded: Arc<LoadedConfig>, halo: Arc<HaloClient>) -> ServiceState {
        let inner = ServiceStateInner {
            loaded,
            halo,
            earlier_request_stats: RequestStats::default(),
            phase: CyclePhase::Idle,
            run_counts: RunOutcomeCounts::default(),
            failures: 0,
            last_duration: None,
            database_ok: None,
            textfile_failed: false,
            last_check: (true, Instant::now()),
        };
        ServiceState { inner: Mutex::new(inner), rows: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    /// The entries; nobody keeps them for long.
    pub(super) fn lock(&self) -> MutexGuard<'_, ServiceStateInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stage.
    pub(super) fn begin_phase(&self, phase: CyclePhase) {
        self.lock().phase = phase;
        self.rows.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }

    /// Rows received in this pass, of so many that the server counts, where it does.
    pub(super) fn rows_received(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed);
        (self.rows.load(Ordering::Relaxed), (total != 0).then_some(total))
    }

    /// Whether everything got on a moment ago, looked at every `beat`.
    pub(super) fn is_alive(&self, watchdog_interval: Duration) -> bool {
        let (was_alive, at) = self.lock().last_check;
        was_alive && at.elapsed() < watchdog_interval * 3
    }

    /// Everything there is to expose; reads the database.
    pub(super) fn metrics_snapshot(&self) -> MetricsSnapshot {
        let loaded = Arc::clone(&self.lock().loaded);
        let report = status(&loaded);
        if let Err(error) = &report {
            tracing::debug!(%error, "the database cannot be read for the figures");
        }
        let inner = self.lock();
        MetricsSnapshot {
            status: report.ok(),
            run_counts: inner.run_counts,
            failures: inner.failures,
            last_duration: inner.last_duration,
            interval: loaded.config.sync.interval,
            request_stats: inner.earlier_request_stats.plus(&inner.halo.request_stats()),
            database_ok: inner.database_ok,
        }
    }

    /// Whether the copy can be relied on, or why not; reads the database.
    pub(super) fn readiness(&self) -> Result<StatusReport, String> {
        let (loaded, intact) = {
            let inner = self.lock();
            (Arc::clone(&inner.loaded), inner.database_ok != Some(false))
        };
        if !intact {
            return Err("the database is damaged".into());
        }
        let report = status(&loaded).map_err(|error: AppError| error.to_string())?;
        let max_age = loaded.config.sync.interval.saturating_mul(STALE_AFTER_INTERVALS);
        match why_not_ready(&report, max_age) {
            Some(why) => Err(why),
            None => Ok(report),
        }
    }
}

/// Why a copy cannot be relied on: it was never complete, or its last complete pass is too long ago.
fn why_not_ready(report: &StatusReport, max_age: Duration) -> Option<String> {
    let health = &report.health;
    if health.watermark.as_ref().map(|watermark| watermark.state) != Some(WatermarkState::Incremental) {
        return Some("the copy has never been complete".into());
    }
    let Some(last) = health.last_complete_at else { return Some("no pass was complete".into()) };
    let age = report.now.instant() - last.instant();
    let is_stale = TimeDelta::from_std(max_age).is_ok_and(|max_age| max_age < age);
    is_stale.then(|| format!("the last complete pass ended at {last}"))
}

impl Progress for ServiceState {
    fn received(&self, rows: u64, total: Option<u64>) {
        self.rows.store(rows, Ordering::Relaxed);
        self.total.store(total.unwrap_or(0), Ordering::Relaxed);
    }
}
