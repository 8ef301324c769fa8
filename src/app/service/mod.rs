//! The service (`halosync run`): runs at an interval, until a signal ends it.
//!
//! One loop waits for the next event: a signal, the watchdog timer, the end of a cycle, the time for the next
//! one. A [`cycle`] is a task of its own, so that the loop can always respond; [`scheduling`] starts it and acts
//! on its result. [`schedule`], [`failure_policy`] and [`liveness`] decide and are pure. [`state`] is what the
//! parts share.

mod cycle;
mod failure_policy;
mod http;
#[cfg(feature = "lake")]
mod lake;
mod liveness;
mod log_events;
mod metrics;
mod reload;
mod run_log;
mod schedule;
mod scheduling;
mod signals;
mod state;
mod systemd;
mod textfile;
mod watchdog;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::halo_connector::HaloConnector;
#[cfg(feature = "lake")]
use super::lake::PushMoment;
use super::locked_store::LockedStore;
use super::{AppError, LoadedConfig, Signal};
use crate::config::Config;
use crate::sync::SyncError;
use crate::ticket::Timestamp;
use cycle::CycleResult;
use failure_policy::{FailureHistory, FailureStreak};
use http::MonitoringServer;
use liveness::LivenessMonitor;
use log_events::LogState;
use reload::AcceptedConfig;
use run_log::RunLog;
use signals::{SignalCommand, Signals};
use state::ServiceState;
use systemd::SystemdNotifier;

/// How often liveness is checked, unless systemd's watchdog needs it more often.
const WATCHDOG_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The shortest interval between checks, whatever the watchdog timeout.
const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Checks within the watchdog timeout, so that one may be late and one may be lost.
const INTERVALS_PER_WATCHDOG_TIMEOUT: u32 = 4;

/// How long a stop waits for work in progress; the whole stop takes at most five seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes any panic abort the process after it is logged: a service that lost a task is worse than one that
/// systemd restarts.
pub fn abort_on_panic() {
    let previous_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        previous_hook(panic);
        tracing::error!(%panic, "halosync panicked: this is a bug, please report it");
        std::process::abort();
    }));
}

/// Runs the service until a signal ends it, which is returned. SIGHUP reads the settings again from `config_path`; `apply_config` is
/// called with settings that take effect.
///
/// # Errors
/// What is wrong at the start, or what only an administrator can fix later.
pub async fn run_service(
    loaded: LoadedConfig,
    config_path: Option<PathBuf>,
    apply_config: impl Fn(&Config),
) -> Result<Signal, AppError> {
    let mut signals = Signals::listen()?;
    let mut service = tokio::select! {
        started = Service::start(loaded, config_path) => started?,
        // Opening the database may take minutes when its schema is migrated.
        signal = signals.next_stop() => {
            tracing::info!("stopped");
            return Ok(signal);
        }
    };
    let mut watchdog_timer = tokio::time::interval(service.watchdog_interval);
    watchdog_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next_cycle_due = service.next_cycle_due;
        tokio::select! {
            biased;
            command = signals.next() => match command {
                SignalCommand::Stop(signal) => {
                    service.stop().await;
                    return Ok(signal);
                }
                SignalCommand::Reload => service.reload(&apply_config),
                SignalCommand::SyncNow => service.sync_now(),
            },
            _ = watchdog_timer.tick() => {
                service.check_liveness();
                // Its schedule is not that of the runs.
                #[cfg(feature = "lake")]
                service.push_to_lake_if_due(PushMoment::Between);
            }
            finished = wait_for_cycle(&mut service.running_cycle) => match finished {
                Ok(result) => service.finish_cycle(result, &apply_config)?,
                Err(join_error) => return Err(SyncError::TaskFailed(join_error).into()),
            },
            () = sleep_until(next_cycle_due), if service.running_cycle.is_none() => service.begin_cycle()?,
        }
    }
}

/// Waits for the running cycle to end; forever if there is none.
async fn wait_for_cycle(
    running_cycle: &mut Option<JoinHandle<CycleResult>>,
) -> Result<CycleResult, JoinError> {
    match running_cycle {
        Some(cycle) => {
            let result = cycle.await;
            *running_cycle = None;
            result
        }
        None => pending().await,
    }
}

struct Service {
    config_path: Option<PathBuf>,
    loaded: Arc<LoadedConfig>,
    /// The settings before a reload, until a run has succeeded with the new ones.
    previous_config: Option<Arc<LoadedConfig>>,
    /// New settings that take effect when the running cycle ends.
    pending_config: Option<AcceptedConfig>,
    secret: SecretString,
    locked_store: LockedStore,
    state: Arc<ServiceState>,
    systemd: SystemdNotifier,
    _monitoring_server: Option<MonitoringServer>,
    watchdog_interval: Duration,
    stop: CancellationToken,
    running_cycle: Option<JoinHandle<CycleResult>>,
    cycle_started: Instant,
    /// The push to the lake that is under way or was the last one.
    #[cfg(feature = "lake")]
    lake_push: Option<JoinHandle<()>>,
    /// The task that writes the metrics file, and when it started.
    textfile_write: Option<(JoinHandle<()>, Instant)>,
    /// When the next cycle starts, by the monotonic clock.
    next_cycle_due: Instant,
    /// The same time by the local clock.
    next_run_at: Timestamp,
    /// Whether SIGUSR1 asked for another run.
    run_requested: bool,
    /// Whether it asked for the one that is running or has just ended.
    run_was_requested: bool,
    /// What happened before the next failure.
    history: FailureHistory,
    /// Runs in a row that failed; incomplete ones do not count.
    failed_runs: u32,
    /// When the database was last checked for damage.
    integrity_checked_at: Option<Instant>,
    failure_streak: FailureStreak,
    liveness: LivenessMonitor,
    /// The last ping of the writer.
    writer_ping: Option<JoinHandle<()>>,
    log_state: LogState,
    run_log: RunLog,
}

impl Service {
    /// Starts the service: everything that can fail before the first request.
    async fn start(loaded: LoadedConfig, config_path: Option<PathBuf>) -> Result<Service, AppError> {
        let config = &loaded.config;
        let listener = match config.metrics.listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| AppError::CannotListen(address, source))?)
            }
            None => None,
        };
        let connector = HaloConnector::from_config(&loaded)?;
        let loaded = Arc::new(loaded);
        let loaded_for_open = Arc::clone(&loaded);
        let locked_store =
            tokio::task::spawn_blocking(move || LockedStore::open(&loaded_for_open.config, false));
        let locked_store = locked_store.await.map_err(SyncError::TaskFailed)??;
        let has_synced = locked_store.store.lock().read(|tx| tx.watermark())?.is_some();
        let secret = connector.secret.clone();
        let used_requests = locked_store.requests_in_window(&loaded.config)?;
        let halo =
            Arc::new(connector.into_client(&loaded.config, Arc::clone(&locked_store.privacy), used_requests));
        let state = Arc::new(ServiceState::new(Arc::clone(&loaded), halo));
        let watchdog_interval = SystemdNotifier::watchdog_timeout()
            .map_or(WATCHDOG_INTERVAL_MAX, |span| span / INTERVALS_PER_WATCHDOG_TIMEOUT);
        let watchdog_interval = watchdog_interval.clamp(WATCHDOG_INTERVAL_MIN, WATCHDOG_INTERVAL_MAX);
        let monitoring_server =
            listener.map(|listener| MonitoringServer::serve(listener, Arc::clone(&state), watchdog_interval));
        let now = Instant::now();
        let mut service = Service {
            config_path,
            loaded,
            previous_config: None,
            pending_config: None,
            secret,
            locked_store,
            state,
            systemd: SystemdNotifier::default(),
            _monitoring_server: monitoring_server,
            watchdog_interval,
            stop: CancellationToken::new(),
            running_cycle: None,
            cycle_started: now,
            #[cfg(feature = "lake")]
            lake_push: None,
            textfile_write: None,
            next_cycle_due: now,
            next_run_at: super::now(),
            run_requested: false,
            run_was_requested: false,
            history: FailureHistory { has_synced, ..FailureHistory::default() },
            failed_runs: 0,
            integrity_checked_at: None,
            failure_streak: FailureStreak::default(),
            liveness: LivenessMonitor::new(now),
            writer_ping: None,
            log_state: LogState::default(),
            run_log: RunLog::default(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let (settings, config) = (service.loaded.file.display(), service.config());
        let (database, server) = (config.store.path.display(), config.halo.server.as_str());
        tracing::info!(
            version,
            server,
            "halosync {version} started: server {server}, database {database}, settings {settings}"
        );
        systemd::notify(&[NotifyState::Ready]);
        service.systemd.set_status("started".into());
        service.write_textfile();
        Ok(service)
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Stops: a transaction that is being committed is committed, everything else is cancelled.
    async fn stop(mut self) {
        systemd::notify(&[NotifyState::Stopping]);
        self.systemd.set_status("stopping".into());
        tracing::info!("stopping");
        self.stop.cancel();
        let shutdown = async {
            if let Some(cycle) = self.running_cycle.take() {
                // It was cancelled, so its result does not matter.
                let _ = cycle.await;
            }
            #[cfg(feature = "lake")]
            if let Some(push) = self.lake_push.take() {
                // It was stopped, and the next one continues.
                let _ = push.await;
            }
            if let Some(ping) = self.writer_ping.take() {
                let _ = ping.await;
            }
            // By now no one else shares the store, so that it can be closed.
            let locked_store = self.locked_store;
            tokio::task::spawn_blocking(move || locked_store.close()).await
        };
        match timeout(SHUTDOWN_TIMEOUT, shutdown).await {
            Ok(Ok(Ok(()))) => tracing::info!("stopped"),
            Ok(Ok(Err(error))) => tracing::warn!("cannot close the database, no data is lost: {error}"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("stopped before the current work ended; everything committed so far is saved");
            }
        }
    }
}
