//! The service: passes in their rhythm, until a signal comes.
//!
//! One loop waits for what happens first: a signal, a look at how things go, the end of a round, the time
//! for the next one. A `round` is a task of its own, so that the loop is always there to be asked; `turn` says
//! when it begins and what follows from its end. `rhythm`, `trouble` and `vigil` decide and are pure; `manager`, `signals`, `endpoint` and `textfile` are the doors to
//! systemd, the kernel and those who watch; `board` is what the parts know of each other.

mod board;
mod endpoint;
mod exposition;
mod manager;
mod reload;
mod rhythm;
mod round;
mod signals;
mod textfile;
mod tidings;
mod trouble;
mod turn;
mod vigil;
mod watch;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::copy::LockedCopy;
use super::source::Source;
use super::{AgentError, Loaded, Signal};
use crate::config::Config;
use crate::sync::SyncError;
use crate::ticket::Stamp;
use board::Board;
use endpoint::Endpoint;
use manager::Manager;
use reload::Accepted;
use round::Ended;
use signals::{Demand, Signals};
use tidings::Said;
use trouble::Trouble;
use vigil::Vigil;

/// How often things are looked at where systemd does not want it more often.
const BEAT_MAX: Duration = Duration::from_secs(10);

/// A watchdog that wants more than that wants the impossible.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// Looks in the time in which systemd expects a sign: one may be late, and one may be lost.
const BEATS_A_WATCHDOG: u32 = 4;

/// How long the end waits for what is under way: systemd is promised five seconds.
const GRACE: Duration = Duration::from_secs(3);

/// Ends the process wherever a panic happens, once it is told: a service that is half alive is worse than
/// one that systemd starts again.
pub fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        tracing::error!(%panic, "a bug: please report it");
        std::process::abort();
    }));
}

/// Runs the service with the settings of a file, which SIGHUP reads again from `named`. `heed` is told
/// of settings that come into force.
///
/// # Errors
/// [`AgentError`]: what cannot be used at the start, what ends the service, or the signal SIGINT.
pub async fn run(loaded: Loaded, named: Option<PathBuf>, heed: impl Fn(&Config)) -> Result<(), AgentError> {
    let mut signals = Signals::listen()?;
    let mut service = tokio::select! {
        started = Service::start(loaded, named) => started?,
        // A database may take minutes to open, when it is brought to another schema.
        signal = signals.stop() => return ended_by(signal),
    };
    let mut beat = tokio::time::interval(service.beat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = service.due;
        tokio::select! {
            biased;
            demand = signals.next() => match demand {
                Demand::Stop(signal) => return service.stop(signal).await,
                Demand::Reload => service.reload(&heed),
                Demand::SyncNow => service.sync_now(),
            },
            _ = beat.tick() => service.look(),
            ended = ended(&mut service.under_way) => match ended {
                Ok(ended) => service.settle(ended, &heed)?,
                Err(broken) => return Err(SyncError::Broken(broken).into()),
            },
            () = sleep_until(due), if service.under_way.is_none() => service.begin()?,
        }
    }
}

/// How the service ends by a signal.
fn ended_by(signal: Signal) -> Result<(), AgentError> {
    match signal {
        Signal::Terminate => Ok(()),
        Signal::Interrupt => Err(AgentError::Stopped(signal)),
    }
}

/// The round under way, when it ends; without one, never.
async fn ended(under_way: &mut Option<JoinHandle<Ended>>) -> Result<Ended, JoinError> {
    match under_way {
        Some(round) => {
            let ended = round.await;
            *under_way = None;
            ended
        }
        None => pending().await,
    }
}

struct Service {
    named: Option<PathBuf>,
    loaded: Arc<Loaded>,
    /// The settings before, until a pass has got on with the new ones.
    settings_before: Option<Arc<Loaded>>,
    /// New settings that come into force when the round is over.
    settings_next: Option<Accepted>,
    secret: SecretString,
    copy: LockedCopy,
    board: Arc<Board>,
    manager: Manager,
    _endpoint: Option<Endpoint>,
    beat: Duration,
    stop: CancellationToken,
    under_way: Option<JoinHandle<Ended>>,
    /// When the last round began.
    begun: Instant,
    /// The figures that are being written to a file, and since when.
    writing: Option<(JoinHandle<()>, Instant)>,
    /// When the next round begins, by the clock that does not step.
    due: Instant,
    /// The same by the clock that people read.
    due_at: Stamp,
    /// A round is wanted whatever the rhythm says.
    wanted_now: bool,
    /// Whether the server ever gave this process a token.
    let_in: bool,
    disk_failed: bool,
    /// Failed passes in a row; those that were only incomplete do not count.
    failed: u32,
    /// When the database was last looked through.
    inspected_at: Option<Instant>,
    trouble: Trouble,
    vigil: Vigil,
    /// The last question to the writer, if it was not answered yet.
    question: Option<JoinHandle<()>>,
    said: Said,
}

impl Service {
    /// Everything that can fail at the start; nobody was asked anything yet.
    async fn start(loaded: Loaded, named: Option<PathBuf>) -> Result<Service, AgentError> {
        let config = &loaded.config;
        let listener = match config.metrics.listen {
            Some(address) => Some(
                endpoint::listen(address)
                    .await
                    .map_err(|source| AgentError::CannotListen { address, source })?,
            ),
            None => None,
        };
        let source = Source::of(&loaded)?;
        let loaded = Arc::new(loaded);
        let opened = Arc::clone(&loaded);
        let copy = tokio::task::spawn_blocking(move || LockedCopy::open(&opened.config));
        let copy = copy.await.map_err(SyncError::Broken)??;
        let secret = source.secret();
        let spent = copy.spent(&loaded.config)?;
        let halo = Arc::new(source.open(&loaded.config, spent));
        let board = Arc::new(Board::new(Arc::clone(&loaded), halo));
        let beat = Manager::watchdog().map_or(BEAT_MAX, |span| span / BEATS_A_WATCHDOG);
        let beat = beat.clamp(BEAT_MIN, BEAT_MAX);
        let endpoint = listener.map(|listener| Endpoint::serve(listener, Arc::clone(&board), beat));
        let now = Instant::now();
        let mut service = Service {
            named,
            loaded,
            settings_before: None,
            settings_next: None,
            secret,
            copy,
            board,
            manager: Manager::default(),
            _endpoint: endpoint,
            beat,
            stop: CancellationToken::new(),
            under_way: None,
            begun: now,
            writing: None,
            due: now,
            due_at: super::now(),
            wanted_now: false,
            let_in: false,
            disk_failed: false,
            failed: 0,
            inspected_at: None,
            trouble: Trouble::default(),
            vigil: Vigil::begin(now),
            question: None,
            said: Said::default(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let (settings, config) = (service.loaded.file.display(), service.config());
        let (database, server) = (config.store.path.display(), config.halo.server.as_str());
        tracing::info!(
            version,
            server,
            "halosync {version} copies {server} to {database}, as {settings} says"
        );
        Manager::ready();
        service.manager.status("started".into());
        service.write_figures();
        Ok(service)
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Ends: what is being committed is committed, everything else is dropped.
    async fn stop(mut self, signal: Signal) -> Result<(), AgentError> {
        Manager::stopping();
        self.manager.status("stopping".into());
        tracing::info!("stopping");
        self.stop.cancel();
        let orderly = async {
            if let Some(round) = self.under_way.take() {
                // It was told to stop; how it ended is of no consequence.
                let _ = round.await;
            }
            if let Some(question) = self.question.take() {
                let _ = question.await;
            }
            // The last one who shares the store closes it.
            let copy = self.copy;
            tokio::task::spawn_blocking(move || copy.close()).await
        };
        match timeout(GRACE, orderly).await {
            Ok(Ok(Ok(()))) => tracing::info!("stopped"),
            Ok(Ok(Err(error))) => tracing::warn!("the database was not closed, nothing is lost: {error}"),
            Ok(Err(_)) | Err(_) => tracing::warn!("stopped in the middle; what was committed stays"),
        }
        ended_by(signal)
    }
}
