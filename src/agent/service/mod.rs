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

use super::copy::Copy;
use super::source::Source;
use super::{AgentError, Loaded, Signal};
use crate::config::{Config, Sync};
use crate::sync::{Report, SyncError};
use crate::ticket::Stamp;
use board::Board;
use endpoint::Endpoint;
use manager::Manager;
use reload::Taken;
use rhythm::Rhythm;
use round::{Ended, Round};
use signals::{Signals, Wish};
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
    let mut service = Service::start(loaded, named).await?;
    let mut beat = tokio::time::interval(service.beat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = service.due;
        tokio::select! {
            biased;
            wish = signals.next() => match wish {
                Wish::Stop(signal) => return service.stop(signal).await,
                Wish::Reload => service.reload(&heed),
                Wish::SyncNow => service.sync_now(),
            },
            _ = beat.tick() => service.look(),
            ended = ended(&mut service.under_way) => match ended {
                Ok(ended) => service.settle(ended, &heed)?,
                Err(broken) => return Err(SyncError::Broken(broken).into()),
            },
            () = sleep_until(due), if service.under_way.is_none() => service.begin(),
        }
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
    settings_next: Option<Taken>,
    secret: SecretString,
    copy: Copy,
    board: Arc<Board>,
    manager: Manager,
    _endpoint: Option<Endpoint>,
    beat: Duration,
    stop: CancellationToken,
    under_way: Option<JoinHandle<Ended>>,
    /// When the last round began.
    begun: Instant,
    /// The figures that are being written to a file.
    writing: Option<JoinHandle<()>>,
    /// When the next round begins, by the clock that does not step.
    due: Instant,
    /// The same by the clock that people read.
    due_at: Stamp,
    /// A round is wanted whatever the rhythm says.
    wanted_now: bool,
    /// Whether the server ever gave this process a token.
    let_in: bool,
    disk_failed: bool,
    inspected_at: Instant,
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
        let copy = Copy::open(config)?;
        let secret = source.secret();
        let halo = Arc::new(source.open(config, copy.spent(config)?));
        let loaded = Arc::new(loaded);
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
            inspected_at: now,
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
        Ok(service)
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Begins a round.
    fn begin(&mut self) {
        if self.copy.is_replaced(&self.loaded.config) {
            tracing::warn!("the database was moved, removed or replaced: opening what has its name now");
            if let Err(error) = self.copy.reopen(&self.loaded.config) {
                self.tell_trouble(&error.chain(), Some(&error.help()));
                self.begun = Instant::now();
                self.wait(self.trouble.failures());
                return;
            }
        }
        self.wanted_now = false;
        let halo = Arc::clone(&self.board.entries().halo);
        let round = Round {
            loaded: Arc::clone(&self.loaded),
            halo,
            store: self.copy.store().clone(),
            board: Arc::clone(&self.board),
            stop: self.stop.clone(),
            inspects: INSPECTION <= self.inspected_at.elapsed(),
        };
        self.begun = Instant::now();
        self.under_way = Some(tokio::spawn(round.run()));
        self.tell_status();
    }

    /// Lets the next round begin when the rhythm wants it, after one that was the last of so many failures.
    fn wait(&mut self, failures: u32) {
        let Sync { interval, jitter, .. } = self.config().sync;
        self.begin_in(Rhythm { interval, jitter }.wait(self.begun.elapsed(), failures, fastrand::f64()));
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
        let mut failed = false;
        let Ended { pass, upkeep, .. } = ended;
        match pass {
            Ok(report) => self.settle_report(&report, took),
            Err(SyncError::Stopped) => return Ok(()),
            Err(error) => {
                failed = true;
                at_once |= self.settle_failure(error.into(), heed)?;
            }
        }
        self.tell_upkeep(&upkeep);
        self.board.entries().last_duration = Some(took);
        // Nobody waits for a file on a slow disk; the next figures are as good.
        if self.writing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.writing = Some(tokio::spawn(round::write_figures(Arc::clone(&self.board))));
        }
        if let Some(taken) = self.settings_next.take() {
            self.take_up(taken, heed);
            at_once |= failed;
        }
        self.wait(if failed { self.trouble.failures() } else { 0 });
        if at_once {
            self.begin_in(Duration::ZERO);
        }
        self.tell_status();
        Ok(())
    }

    fn settle_report(&mut self, report: &Report, took: Duration) {
        self.settings_before = None;
        self.disk_failed = false;
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
        let follows = consequence(&error, self.let_in, self.disk_failed);
        self.disk_failed = follows == Consequence::Reopen;
        if follows == Consequence::End {
            return if self.take_back(&error, heed)? { Ok(true) } else { Err(error) };
        }
        self.tell_trouble(&error.chain(), Some(&error.help()));
        match follows {
            Consequence::Reopen => self.copy.reopen(&self.loaded.config).map(|()| true),
            Consequence::ReadSecretAgain => Ok(self.take_new_secret()),
            Consequence::End | Consequence::Retry => Ok(false),
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
        match signal {
            Signal::Terminate => Ok(()),
            Signal::Interrupt => Err(AgentError::Stopped(signal)),
        }
    }
}
