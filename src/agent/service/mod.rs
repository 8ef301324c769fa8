//! The service: passes in their rhythm, until a signal comes.
//!
//! One loop waits for what happens first: a signal, a look at how things go, the end of a round, the time
//! for the next one. A `round` is a task of its own, so that the loop is always there to be asked. `rhythm`,
//! `trouble` and `vigil` decide and are pure; `manager`, `signals`, `endpoint` and `textfile` are the doors to
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
mod vigil;
mod watch;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::copy::LockedCopy;
use super::source::Source;
use super::{AgentError, Loaded, Signal};
use crate::config::{Config, Sync};
use crate::sync::{Report, SyncError};
use crate::ticket::Stamp;
use board::Board;
use endpoint::Endpoint;
use manager::Manager;
use reload::Accepted;
use rhythm::Rhythm;
use round::{Ended, Round};
use signals::{Demand, Signals};
use tidings::Said;
use trouble::{Consequence, Trouble, consequence};
use vigil::Vigil;

/// How often things are looked at where systemd does not want it more often.
const BEAT_MAX: Duration = Duration::from_secs(10);

/// A watchdog that wants more than that wants the impossible.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// Looks in the time in which systemd expects a sign: one may be late, and one may be lost.
const BEATS_A_WATCHDOG: u32 = 4;

/// No clock can tell of moments that are much further away.
const WAIT_MAX: Duration = Duration::from_hours(24 * 366);

/// How old the figures in the file may become.
const FIGURES: Duration = Duration::from_mins(1);

/// How often the database is inspected.
const INSPECTION: Duration = Duration::from_hours(24);

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

    /// Begins a round.
    fn begin(&mut self) -> Result<(), AgentError> {
        self.begun = Instant::now();
        self.wanted_now = false;
        if self.copy.is_replaced(&self.loaded.config) {
            tracing::warn!("the database was moved, removed or replaced: opening what has its name now");
            if !self.reopen()? {
                self.failed += 1;
                self.wait();
                self.tell_status();
                return Ok(());
            }
        }
        let halo = Arc::clone(&self.board.entries().halo);
        let round = Round {
            loaded: Arc::clone(&self.loaded),
            halo,
            store: self.copy.store().clone(),
            board: Arc::clone(&self.board),
            stop: self.stop.clone(),
            inspects: self.inspected_at.is_none_or(|at| INSPECTION <= at.elapsed()),
        };
        self.under_way = Some(tokio::spawn(round.run()));
        self.tell_status();
        Ok(())
    }

    /// Opens the database anew; gives whether it could be. What is no database of ours ends the service,
    /// everything else is an outage.
    fn reopen(&mut self) -> Result<bool, AgentError> {
        match self.copy.reopen(&self.loaded.config) {
            Ok(()) => {
                // Another file is another one to look through.
                self.inspected_at = None;
                self.board.entries().database_ok = None;
                Ok(true)
            }
            Err(error) if error.exit_status() == 78 => Err(error),
            Err(error) => {
                self.tell_trouble(&error.chain(), Some(&error.help()));
                Ok(false)
            }
        }
    }

    /// Lets the next round begin when the rhythm wants it.
    fn wait(&mut self) {
        let Sync { interval, jitter, .. } = self.config().sync;
        self.begin_in(Rhythm { interval, jitter }.wait(self.begun.elapsed(), self.failed, fastrand::f64()));
    }

    /// Lets the next round begin so long from now.
    fn begin_in(&mut self, wait: Duration) {
        let wait = wait.min(WAIT_MAX);
        self.due = Instant::now() + wait;
        self.due_at = super::now().minus(-TimeDelta::from_std(wait).unwrap_or_default());
    }

    /// A round is over: what it means, and when the next one begins.
    fn settle(&mut self, ended: Ended, heed: &impl Fn(&Config)) -> Result<(), AgentError> {
        let halo = Arc::clone(&self.board.entries().halo);
        self.let_in |= halo.was_let_in();
        let took = ended.took;
        let mut at_once = self.wanted_now;
        let Ended { pass, upkeep, .. } = ended;
        match pass {
            Ok(report) => self.settle_report(&report, took),
            Err(SyncError::Stopped) => return Ok(()),
            Err(error) => at_once |= self.settle_failure(error.into(), heed)?,
        }
        self.tell_upkeep(&upkeep);
        self.board.entries().last_duration = Some(took);
        self.write_figures();
        if let Some(accepted) = self.settings_next.take() {
            self.take_up(accepted, heed);
            at_once |= self.failed != 0;
        }
        self.wait();
        if at_once {
            self.begin_in(Duration::ZERO);
        }
        self.tell_status();
        Ok(())
    }

    fn settle_report(&mut self, report: &Report, took: Duration) {
        self.settings_before = None;
        self.disk_failed = false;
        self.failed = 0;
        self.tell_pass(report, took);
        match report.outcome.why() {
            None => {
                self.board.entries().passes.complete += 1;
                self.tell_recovery();
            }
            Some(why) => {
                self.board.entries().passes.incomplete += 1;
                self.tell_trouble(&why, report.outcome.help());
            }
        }
    }

    /// What follows from a failed pass; gives whether another one is to begin at once.
    fn settle_failure(&mut self, error: AgentError, heed: &impl Fn(&Config)) -> Result<bool, AgentError> {
        self.board.entries().passes.failed += 1;
        self.failed = self.failed.saturating_add(1);
        let follows = consequence(&error, self.let_in, self.disk_failed);
        self.disk_failed = follows == Consequence::Reopen;
        if follows == Consequence::End && self.settings_next.is_none() {
            return if self.take_back(&error, heed)? { Ok(true) } else { Err(error) };
        }
        self.tell_trouble(&error.chain(), Some(&error.help()));
        match follows {
            // With a wait: a disk that fails does so again within the same moment.
            Consequence::Reopen => self.reopen().map(|_| false),
            Consequence::ReadSecretAgain => Ok(self.take_new_secret()),
            // Settings that came meanwhile may mend it.
            Consequence::End | Consequence::Retry => Ok(false),
        }
    }

    /// Writes the figures to their file, unless that is still being done: nobody waits for a slow disk, and the
    /// next figures are as good.
    fn write_figures(&mut self) {
        if self.writing.as_ref().is_none_or(|(writing, _)| writing.is_finished()) {
            let writing = tokio::spawn(textfile::write_figures(Arc::clone(&self.board)));
            self.writing = Some((writing, Instant::now()));
        }
    }

    /// The same where the last ones are old: a first pass may take hours.
    fn write_figures_if_due(&mut self) {
        if self.writing.as_ref().is_none_or(|(_, at)| FIGURES <= at.elapsed()) {
            self.write_figures();
        }
    }

    /// SIGUSR1: a round now, or right after the one under way.
    fn sync_now(&mut self) {
        tracing::info!("a pass is wanted now");
        self.wanted_now = true;
        self.begin_in(Duration::ZERO);
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
