//! One cycle of the service: a run, then maintenance, whether the run succeeded or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::{CyclePhase, ServiceState};
use crate::app::privacy::retry_removal;
use crate::app::{
    AppError, DeltaSummary, LoadedConfig, SyncOptions, WorkCounter, clock, export_delta_if_due, run_settings,
};
use crate::halo::HaloClient;
use crate::store::{Store, StoreError, TxEnd, UnequalHashes, WalCheckpoint};
use crate::sync::{self, RunReport, SharedStore, SyncError};

/// A cycle and everything that it needs.
pub(super) struct ServiceCycle {
    pub(super) loaded: Arc<LoadedConfig>,
    pub(super) halo: Arc<HaloClient>,
    pub(super) store: SharedStore,
    pub(super) state: Arc<ServiceState>,
    pub(super) stop: CancellationToken,
    pub(super) checks_integrity: bool,
}

pub(super) struct CycleResult {
    pub(super) run: Result<RunReport, SyncError>,
    pub(super) took: Duration,
    pub(super) maintenance: MaintenanceResult,
}

pub(super) struct MaintenanceResult {
    pub(super) wal_checkpoint: Option<WalCheckpoint>,
    /// The export, if one was due.
    pub(super) export: Result<Option<DeltaSummary>, AppError>,
    /// The integrity check, if one was due: how many tickets are not stored as received. They are marked, and the next
    /// full scan repairs them.
    pub(super) integrity_check: Option<Result<u64, AppError>>,
}

impl ServiceCycle {
    /// Runs the cycle; without maintenance if the service is stopping.
    pub(super) async fn run(self) -> CycleResult {
        let started = Instant::now();
        self.state.begin_phase(CyclePhase::Run);
        let settings = run_settings(&self.loaded.config, SyncOptions::default());
        let (halo, store) = (Arc::clone(&self.halo), self.store.clone());
        let (progress, stopped) = (Arc::clone(&self.state), self.stop.cancelled());
        let run = match self.ensure_free_disk() {
            Ok(()) => sync::run(halo, store, settings, clock(), progress, stopped).await,
            Err(error) => Err(error.into()),
        };
        let took = started.elapsed();
        self.state.begin_phase(CyclePhase::Maintenance);
        let maintenance = if self.stop.is_cancelled() {
            MaintenanceResult { wal_checkpoint: None, export: Ok(None), integrity_check: None }
        } else {
            self.run_maintenance().await
        };
        self.state.begin_phase(CyclePhase::Idle);
        CycleResult { run, took, maintenance }
    }

    /// Fails before anything is written if the disk is nearly full.
    fn ensure_free_disk(&self) -> Result<(), StoreError> {
        let mut store = self.store.lock();
        // The setting may have changed with a reload.
        store.set_min_free_disk(self.loaded.config.store.min_free_disk);
        store.ensure_free_disk()
    }

    async fn run_maintenance(&self) -> MaintenanceResult {
        let is_daily = self.checks_integrity;
        if let Err(error) = self.store.call(move |store| retry_removal(store, is_daily)).await {
            tracing::debug!(%error, "cannot remove traces of held back values");
        }
        let wal_checkpoint = self.store.call(|store| store.checkpoint_wal()).await;
        if let Err(error) = &wal_checkpoint {
            tracing::debug!(%error, "cannot checkpoint the write-ahead log");
        }
        let loaded = Arc::clone(&self.loaded);
        let export = run_blocking(move || export_delta_if_due(&loaded, &WorkCounter::default())).await;
        let mut integrity_check = None;
        if self.checks_integrity {
            integrity_check = Some(self.check_integrity().await);
        }
        MaintenanceResult { wal_checkpoint: wal_checkpoint.ok(), export, integrity_check }
    }

    async fn check_integrity(&self) -> Result<u64, AppError> {
        let loaded = Arc::clone(&self.loaded);
        let tickets = run_blocking(move || read_integrity(&loaded)).await?.tickets();
        let altered_tickets = tickets.len();
        if altered_tickets != 0 {
            let mark = move |store: &mut Store| store.write(TxEnd::Commit, |tx| tx.empty_hashes(&tickets));
            self.store.call(mark).await.map_err(AppError::from)?;
        }
        Ok(altered_tickets)
    }
}

/// Checks the database for damage, with a connection of its own so that the writer need not wait. Returns the tickets
/// that are not stored as received. Missing change records are not looked for: every export opens the database anew,
/// which finds them and begins a lineage.
fn read_integrity(loaded: &LoadedConfig) -> Result<UnequalHashes, AppError> {
    let config = &loaded.config.store;
    let store = Store::open_read_only(&config.path, config.busy_timeout)?;
    store.check_integrity()?;
    store.check_schema()?;
    Ok(store.read(|tx| tx.unequal_hashes())?)
}

/// Runs `work` on a thread that may block.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
) -> Result<T, AppError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(join_error) => Err(SyncError::TaskFailed(join_error).into()),
    }
}
