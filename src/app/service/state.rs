//! The state that the parts of the service share: the phase of the current cycle and the results of past ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{MetricsSnapshot, ProcessStats};
use crate::app::{AppError, LoadedConfig, StatusReport, status};
use crate::halo::{HaloClient, RequestStats};
use crate::sync::{PhaseProgress, Progress};

/// The phase of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CyclePhase {
    /// Waiting for the next cycle.
    #[default]
    Idle,
    /// A run.
    Run,
    /// The maintenance after a run: checkpoint, export, integrity check.
    Maintenance,
}

pub(super) struct ServiceState {
    inner: Mutex<ServiceStateInner>,
    rows: AtomicU64,
    total: AtomicU64,
}

/// The part of the state behind a lock.
pub(super) struct ServiceStateInner {
    pub(super) loaded: Arc<LoadedConfig>,
    pub(super) halo: Arc<HaloClient>,
    /// The requests of the clients before this one.
    pub(super) earlier_request_stats: RequestStats,
    pub(super) phase: CyclePhase,
    pub(super) process: ProcessStats,
    /// Whether the metrics file could not be written.
    pub(super) textfile_failed: bool,
    /// Whether the service was alive at the last check, and when that was.
    pub(super) last_check: (bool, Instant),
}

impl ServiceState {
    pub(super) fn new(loaded: Arc<LoadedConfig>, halo: Arc<HaloClient>) -> ServiceState {
        let inner = ServiceStateInner {
            loaded,
            halo,
            earlier_request_stats: RequestStats::default(),
            phase: CyclePhase::Idle,
            process: ProcessStats::default(),
            textfile_failed: false,
            last_check: (true, Instant::now()),
        };
        ServiceState { inner: Mutex::new(inner), rows: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    /// Locks the state; hold it briefly.
    pub(super) fn lock(&self) -> MutexGuard<'_, ServiceStateInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_phase(&self, phase: CyclePhase) {
        self.lock().phase = phase;
        self.rows.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }

    /// The rows received in this run, and the server's count if it sends one.
    pub(super) fn rows_received(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed);
        (self.rows.load(Ordering::Relaxed), (total != 0).then_some(total))
    }

    /// Whether the service was alive at a recent check; checks come every `watchdog_interval`.
    pub(super) fn is_alive(&self, watchdog_interval: Duration) -> bool {
        let (was_alive, at) = self.lock().last_check;
        was_alive && at.elapsed() < watchdog_interval * 3
    }

    /// The values of all metrics; reads the database.
    pub(super) fn metrics_snapshot(&self) -> MetricsSnapshot {
        let loaded = Arc::clone(&self.lock().loaded);
        let report = status(&loaded);
        if let Err(error) = &report {
            tracing::debug!(%error, "cannot read the database for the metrics");
        }
        let inner = self.lock();
        MetricsSnapshot {
            status: report.ok(),
            process: inner.process,
            interval: loaded.config.sync.interval,
            request_stats: inner.earlier_request_stats.plus(&inner.halo.request_stats()),
        }
    }

    /// Returns the status if the data can be relied on, else why not; reads the database.
    pub(super) fn readiness(&self) -> Result<StatusReport, String> {
        let (loaded, database_ok) = {
            let inner = self.lock();
            (Arc::clone(&inner.loaded), inner.process.database_ok)
        };
        let report = status(&loaded).map_err(|error: AppError| error.to_string())?;
        match report.assess(database_ok).why_not_ready() {
            Some(reason) => Err(reason.to_string()),
            None => Ok(report),
        }
    }
}

impl Progress for ServiceState {
    fn received(&self, progress: PhaseProgress) {
        self.rows.store(progress.tickets, Ordering::Relaxed);
        self.total.store(progress.total.unwrap_or(0), Ordering::Relaxed);
    }
}
