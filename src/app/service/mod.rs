//! The service: passes in their rhythm, until a signal comes.
//!
//! One loop waits for what happens first: a signal, a look at how things go, the end of a round, the time
//! for the next one. A `round` is a task of its own, so that the loop is always there to be asked; `turn` says
//! when it begins and what follows from its end. `rhythm`, `trouble` and `vigil` decide and are pure; `manager`, `signals`, `endpoint` and `textfile` are the doors to
//! systemd, the kernel and those who watch; `board` is what the parts know of each other.

mod cycle;
mod failure_policy;
mod http;
mod liveness;
mod log_events;
mod metrics;
mod reload;
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

use secrecy::SecretString;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::halo_connector::HaloConnector;
use super::locked_store::LockedStore;
use super::{AppError, LoadedConfig, Signal};
use crate::config::Config;
use crate::sync::SyncError;
use crate::ticket::Timestamp;
use cycle::CycleResult;
use failure_policy::FailureStreak;
use http::MonitoringServer;
use liveness::LivenessMonitor;
use log_events::LogState;
use reload::AcceptedConfig;
use signals::{SignalCommand, Signals};
use state::ServiceState;
use systemd::SystemdNotifier;

/// How often things are looked at where systemd does not want it more often.
const WATCHDOG_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// A watchdog that wants more than that wants the impossible.
const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Looks in the time in which systemd expects a sign: one may be late, and one may be lost.
const INTERVALS_PER_WATCHDOG_TIMEOUT: u32 = 4;

/// How long the end waits for what is under way: systemd is promised five seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Ends the process wherever a panic happens, once it is told: a service that is half alive is worse than
/// one that systemd starts again.
pub fn abort_on_panic() {
    let previous_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        previous_hook(panic);
        tracing::error!(%panic, "a bug: please report it");
        std::process::abort();
    }));
}

/// Runs the service with the settings of a file, which SIGHUP reads again from `named`. `heed` is told
/// of settings that come into force.
///
/// # Errors
/// [`AgentError`]: what cannot be used at the start, what ends the service, or the signal SIGINT.
pub async fn run_service(
    loaded: LoadedConfig,
    config_path: Option<PathBuf>,
    apply_config: impl Fn(&Config),
) -> Result<(), AppError> {
    let mut signals = Signals::listen()?;
    let mut service = tokio::select! {
        started = Service::start(loaded, config_path) => started?,
        // A database may take minutes to open, when it is brought to another schema.
        signal = signals.next_stop() => return result_for_signal(signal),
    };
    let mut watchdog_timer = tokio::time::interval(service.watchdog_interval);
    watchdog_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next_cycle_due = service.next_cycle_due;
        tokio::select! {
            biased;
            command = signals.next() => match command {
                SignalCommand::Stop(signal) => return service.stop(signal).await,
                SignalCommand::Reload => service.reload(&apply_config),
                SignalCommand::SyncNow => service.sync_now(),
            },
            _ = watchdog_timer.tick() => service.check_liveness(),
            finished = wait_for_cycle(&mut service.running_cycle) => match finished {
                Ok(result) => service.finish_cycle(result, &apply_config)?,
                Err(join_error) => return Err(SyncError::TaskFailed(join_error).into()),
            },
            () = sleep_until(next_cycle_due), if service.running_cycle.is_none() => service.begin_cycle()?,
        }
    }
}

/// How the service ends by a signal.
fn result_for_signal(signal: Signal) -> Result<(), AppError> {
    match signal {
        Signal::Terminate => Ok(()),
        Signal::Interrupt => Err(AppError::Stopped(signal)),
    }
}

/// The round under way, when it ends; without one, never.
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
    /// The settings before, until a pass has got on with the new ones.
    previous_config: Option<Arc<LoadedConfig>>,
    /// New settings that come into force when the round is over.
    pending_config: Option<AcceptedConfig>,
    secret: SecretString,
    locked_store: LockedStore,
    state: Arc<ServiceState>,
    systemd: SystemdNotifier,
    _monitoring_server: Option<MonitoringServer>,
    watchdog_interval: Duration,
    stop: CancellationToken,
    running_cycle: Option<JoinHandle<CycleResult>>,
    /// When the last round began.
    cycle_started: Instant,
    /// The figures that are being written to a file, and since when.
    textfile_write: Option<(JoinHandle<()>, Instant)>,
    /// When the next round begins, by the clock that does not step.
    next_cycle_due: Instant,
    /// The same by the clock that people read.
    next_run_at: Timestamp,
    /// A round is wanted whatever the rhythm says.
    run_requested: bool,
    /// Whether the server ever gave this process a token.
    has_authenticated: bool,
    disk_failed: bool,
    /// Failed passes in a row; those that were only incomplete do not count.
    failed_runs: u32,
    /// When the database was last looked through.
    integrity_checked_at: Option<Instant>,
    failure_streak: FailureStreak,
    liveness: LivenessMonitor,
    /// The last question to the writer, if it was not answered yet.
    writer_ping: Option<JoinHandle<()>>,
    log_state: LogState,
}

impl Service {
    /// Everything that can fail at the start; nobody was asked anything yet.
    async fn start(loaded: LoadedConfig, config_path: Option<PathBuf>) -> Result<Service, AppError> {
        let config = &loaded.config;
        let listener = match config.metrics.listen {
            Some(address) => {
                Some(http::bind(address).await.map_err(|source| AppError::CannotListen { address, source })?)
            }
            None => None,
        };
        let connector = HaloConnector::from_config(&loaded)?;
        let loaded = Arc::new(loaded);
        let loaded_for_open = Arc::clone(&loaded);
        let locked_store = tokio::task::spawn_blocking(move || LockedStore::open(&loaded_for_open.config));
        let locked_store = locked_store.await.map_err(SyncError::TaskFailed)??;
        let secret = connector.secret();
        let used_requests = locked_store.requests_in_window(&loaded.config)?;
        let halo = Arc::new(connector.into_client(&loaded.config, used_requests));
        let state = Arc::new(ServiceState::new(Arc::clone(&loaded), halo));
        let watchdog_interval = SystemdNotifier::watchdog_timeout()
            .map_or(WATCHDOG_INTERVAL_MAX, |span| span / INTERVALS_PER_WATCHDOG_TIMEOUT);
        let watchdog_interval = watchdog_interval.clamp(WATCHDOG_INTERVAL_MIN, WATCHDOG_INTERVAL_MAX);
        let monitoring_server =
            listener.map(|listener| MonitoringServer::serve(listener, Arc::clone(&state), watchdog_interval));
        let now = Instant::now();
        let mut service = Service {
            config_path: config_path,
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
            textfile_write: None,
            next_cycle_due: now,
            next_run_at: super::now(),
            run_requested: false,
            has_authenticated: false,
            disk_failed: false,
            failed_runs: 0,
            integrity_checked_at: None,
            failure_streak: FailureStreak::default(),
            liveness: LivenessMonitor::new(now),
            writer_ping: None,
            log_state: LogState::default(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let (settings, config) = (service.loaded.file.display(), service.config());
        let (database, server) = (config.store.path.display(), config.halo.server.as_str());
        tracing::info!(
            version,
            server,
            "halosync {version} copies {server} to {database}, as {settings} says"
        );
        SystemdNotifier::notify_ready();
        service.systemd.set_status("started".into());
        service.write_textfile();
        Ok(service)
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Ends: what is being committed is committed, everything else is dropped.
    async fn stop(mut self, signal: Signal) -> Result<(), AppError> {
        SystemdNotifier::notify_stopping();
        self.systemd.set_status("stopping".into());
        tracing::info!("stopping");
        self.stop.cancel();
        let shutdown = async {
            if let Some(cycle) = self.running_cycle.take() {
                // It was told to stop; how it ended is of no consequence.
                let _ = cycle.await;
            }
            if let Some(ping) = self.writer_ping.take() {
                let _ = ping.await;
            }
            // The last one who shares the store closes it.
            let locked_store = self.locked_store;
            tokio::task::spawn_blocking(move || locked_store.close()).await
        };
        match timeout(SHUTDOWN_TIMEOUT, shutdown).await {
            Ok(Ok(Ok(()))) => tracing::info!("stopped"),
            Ok(Ok(Err(error))) => tracing::warn!("the database was not closed, nothing is lost: {error}"),
            Ok(Err(_)) | Err(_) => tracing::warn!("stopped in the middle; what was committed stays"),
        }
        result_for_signal(signal)
    }
}
