//! Every precondition of a copy, one after the other: what is well, what is worth a look, what fails and
//! what to do about it.
//!
//! Here the facts are gathered, by the ways that a pass goes too; `judge` says what they mean. A step
//! whose precondition failed is left out. Nothing is written: the dozen requests of a check stand in no
//! `runs`, the reserve of the throttle is there for them.

mod judge;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::agent::{self, AgentError, Loaded, SecretPlace, now};
use crate::config::Config;
use crate::halo::{Coverage, Filter, Halo, HaloError, Http, Throttle};
use crate::store::{Calibration, Lock, LockError, Store, StoreError};
use crate::sync::{self, SyncError};

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The settings can be used.
    Settings,
    /// The client secret is there, and nobody else can read it.
    Secret,
    /// The folder of the database can be used.
    Folder,
    /// Nobody else is at work.
    Lock,
    /// The database is one, and of this server.
    Database,
    /// What passes found out about the server.
    Calibration,
    /// Requests are left in the present window.
    RateLimit,
    /// The server answers.
    Server,
    /// Its clock.
    Clock,
    /// Where tokens come from.
    Authorisation,
    /// There is a token.
    Token,
    /// The ticket types are known.
    TicketTypes,
    /// The plain list shows every ticket.
    Coverage,
    /// How long a page can be.
    PageCap,
    /// What a first pass takes.
    FirstPass,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 15] = [
        Step::Settings,
        Step::Secret,
        Step::Folder,
        Step::Lock,
        Step::Database,
        Step::Calibration,
        Step::RateLimit,
        Step::Server,
        Step::Clock,
        Step::Authorisation,
        Step::Token,
        Step::TicketTypes,
        Step::Coverage,
        Step::PageCap,
        Step::FirstPass,
    ];

    /// Its name for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Step::Settings => "settings",
            Step::Secret => "secret",
            Step::Folder => "folder",
            Step::Lock => "lock",
            Step::Database => "database",
            Step::Calibration => "calibration",
            Step::RateLimit => "rate limit",
            Step::Server => "server",
            Step::Clock => "clock",
            Step::Authorisation => "authorisation",
            Step::Token => "token",
            Step::TicketTypes => "ticket types",
            Step::Coverage => "coverage",
            Step::PageCap => "page cap",
            Step::FirstPass => "first pass",
        }
    }
}

/// How a step stands.
#[derive(Debug)]
pub enum Verdict {
    /// Well, and how.
    Good(String),
    /// Worth a look.
    Warning {
        /// What.
        says: String,
        /// What to do about it, or what it means.
        help: String,
    },
    /// It fails, as a pass would.
    Bad(AgentError),
}

impl Verdict {
    /// What is the case.
    #[must_use]
    pub fn says(&self) -> String {
        match self {
            Verdict::Good(says) | Verdict::Warning { says, .. } => says.clone(),
            Verdict::Bad(error) => error.to_string(),
        }
    }
}

/// A step that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub step: Step,
    /// How it stands.
    pub verdict: Verdict,
}

/// How many tickets the server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the plain list.
    pub plain: Option<u64>,
    /// In the list of open tickets.
    pub open: Option<u64>,
    /// In the list of closed tickets.
    pub closed: Option<u64>,
}

/// What a first pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Requests.
    pub requests: u64,
    /// Time, at the configured rate limit.
    pub takes: Duration,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// The steps that were looked at.
    pub findings: Vec<Finding>,
    /// How far the server's clock is ahead of this machine's.
    pub clock_ahead: Option<TimeDelta>,
    /// What the server counts.
    pub counts: Option<Counts>,
    /// The rows of a page of 100.
    pub page_rows: Option<u64>,
    /// What a first pass takes.
    pub first_pass: Option<Estimate>,
    /// What passes found out about the server.
    pub calibrations: Vec<Calibration>,
}

impl Checked {
    /// The status to end with: that of the first failure.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        let failures = self.findings.iter().filter_map(|finding| match &finding.verdict {
            Verdict::Bad(error) => Some(error.exit_status()),
            Verdict::Good(_) | Verdict::Warning { .. } => None,
        });
        failures.into_iter().next().unwrap_or(0)
    }

    /// The steps that were left out, because one before them failed or because nobody is to be asked.
    pub fn left_out(&self) -> impl Iterator<Item = Step> {
        let done = |step: &Step| self.findings.iter().any(|finding| finding.step == *step);
        Step::ALL.into_iter().filter(move |step| !done(step))
    }
}

/// The greatest page that HaloITSM gives.
const PAGE_MAX: u32 = 100;

/// How often a failed request is repeated: somebody is waiting for the answer.
const RETRIES_MAX: u32 = 1;

/// Looks at everything, and tells each finding as it comes. `offline` asks no server, reads no secret and
/// takes no lock.
pub async fn check(named: Option<&Path>, offline: bool, tell: &mut dyn FnMut(&Finding)) -> Checked {
    let mut sheet = Sheet { checked: Checked::default(), tell };
    let loaded = agent::load(named);
    let says = |loaded: &Loaded| {
        let halo = &loaded.config.halo;
        format!("{}: client {} at {}", loaded.file.display(), halo.client_id, halo.server.as_str())
    };
    if let Some(loaded) = sheet.take(Step::Settings, loaded, says) {
        let secret = sheet.secret(&loaded, offline);
        let spent = sheet.place(&loaded.config, offline);
        if !offline {
            sheet.enter(Step::RateLimit, judge::rate_limit(spent, loaded.config.halo.rate_limit));
            // Where it ends early, the finding is entered already.
            let _ = sheet.server(&loaded.config, secret, spent).await;
        }
    }
    sheet.checked
}

/// The findings so far.
struct Sheet<'t> {
    checked: Checked,
    tell: &'t mut dyn FnMut(&Finding),
}

impl Sheet<'_> {
    fn enter(&mut self, step: Step, verdict: Verdict) {
        let finding = Finding { step, verdict };
        (self.tell)(&finding);
        self.checked.findings.push(finding);
    }

    /// Enters what was found, and gives it where it is no failure.
    fn take<T, E: Into<AgentError>>(
        &mut self,
        step: Step,
        found: Result<T, E>,
        says: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                self.enter(step, Verdict::Good(says(&found)));
                Some(found)
            }
            Err(error) => {
                self.enter(step, Verdict::Bad(error.into()));
                None
            }
        }
    }

    /// The same for what the server answered.
    fn answered<T>(
        &mut self,
        step: Step,
        answered: Result<T, HaloError>,
        says: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        self.take(step, answered.map_err(SyncError::from), says)
    }

    fn secret(&mut self, loaded: &Loaded, offline: bool) -> Option<SecretString> {
        let place = agent::secret_place(loaded).map(|place| match place {
            SecretPlace::Credential(file) => format!("in the systemd credential {}", file.display()),
            SecretPlace::Environment(_) => "in HALOSYNC_HALO__CLIENT_SECRET".to_owned(),
            SecretPlace::File(file) => format!("in {}", file.display()),
            SecretPlace::Settings(_) => format!("in {}", loaded.file.display()),
        });
        if offline {
            self.take(Step::Secret, place, |place| format!("{place}; not read"));
            return None;
        }
        let secret = place.and_then(|place| Ok((agent::secret(loaded)?, place)));
        self.take(Step::Secret, secret, |(_, place)| place.clone()).map(|(secret, _)| secret)
    }

    /// Folder, lock and database. Gives how many requests were made in the window before now.
    fn place(&mut self, config: &Config, offline: bool) -> u64 {
        let path = &config.store.path;
        let folder = Store::check_folder(path).and_then(|()| Store::check_writable(path));
        let says = |(): &()| format!("the folder of {} can be used", path.display());
        if self.take(Step::Folder, folder, says).is_some() && !offline {
            // Taken and let go at once.
            match Lock::of_the_writer(path) {
                Err(held @ LockError::Held { .. }) => self.enter(
                    Step::Lock,
                    Verdict::warning(held.to_string(), "`sync` and `reset` end with 75 until it is done"),
                ),
                lock => {
                    self.take(Step::Lock, lock, |_| "no other halosync is at work".into());
                }
            }
        }
        self.database(config).unwrap_or(0)
    }

    fn database(&mut self, config: &Config) -> Option<u64> {
        let path = &config.store.path;
        let opened = match Store::open_read_only(path, config.store.busy_timeout) {
            Err(StoreError::Missing(_)) => {
                let says = format!("none yet at {}: the first `halosync sync` makes it", path.display());
                self.enter(Step::Database, Verdict::Good(says));
                return None;
            }
            opened => opened,
        };
        let read = opened.map_err(AgentError::from).and_then(|store| {
            store.read(|snapshot| {
                sync::same_server(snapshot, &agent::wanted_scope(config))?;
                let state = snapshot.watermark()?.map_or("empty", |mark| mark.state.word());
                let (schema, tickets) = (snapshot.schema_version()?, snapshot.ticket_count()?);
                let says =
                    format!("{}: schema {schema}, {state}, {tickets} tickets of this server", path.display());
                Ok::<_, AgentError>((says, snapshot.calibrations()?, agent::spent(config, snapshot)?))
            })
        });
        let (_, calibrations, spent) = self.take(Step::Database, read, |(says, ..)| says.clone())?;
        self.enter(Step::Calibration, judge::calibrations(&calibrations));
        self.checked.calibrations = calibrations;
        Some(spent)
    }

    /// The server, step by step; `None` where it ends early.
    async fn server(&mut self, config: &Config, secret: Option<SecretString>, spent: u64) -> Option<()> {
        let http = agent::wiring(config).and_then(|wiring| Http::new(&wiring).map_err(AgentError::Wiring));
        let http = match http {
            Ok(http) => http,
            Err(error) => {
                self.enter(Step::Server, Verdict::Bad(error));
                return None;
            }
        };
        let limit = config.halo.rate_limit;
        // What comes before the token needs no secret.
        let known = secret.is_some();
        let mut terms = agent::terms(config, secret.unwrap_or_else(|| SecretString::from(String::new())));
        terms.retry.max_retries = terms.retry.max_retries.min(RETRIES_MAX);
        let halo = Halo::new(Arc::new(http), Throttle::new(limit, spent), terms, fastrand::f64);

        let reached = self.answered(Step::Server, halo.reach().await, |reached| {
            let tls = if config.halo.server.is_encrypted() { ", its certificate is trusted" } else { "" };
            format!("{} answers in {} ms{tls}", config.halo.server.as_str(), reached.took.as_millis())
        })?;
        let (ahead, verdict) = judge::clock(reached, now());
        self.checked.clock_ahead = ahead;
        self.enter(Step::Clock, verdict);
        match halo.authorisation_server().await {
            Ok(endpoint) => {
                let (auth, tenant) = (config.halo.auth_url.is_some(), config.halo.tenant.is_some());
                self.enter(Step::Authorisation, judge::authorisation(&endpoint, auth, tenant));
            }
            Err(error) => {
                self.enter(Step::Authorisation, Verdict::of(error));
                return None;
            }
        }
        if !known {
            return None;
        }
        self.answered(Step::Token, halo.sign_in().await, |()| "the client gets a token".into())?;
        let (types, verdict) = judge::ticket_types(&config.halo.ticket_types, halo.ticket_types().await);
        let failed = matches!(verdict, Verdict::Bad(_));
        self.enter(Step::TicketTypes, verdict);
        // Without their numbers the counts would be those of other tickets.
        if failed { None } else { self.lists(config, &halo, types).await }
    }

    /// What the list shows of these types.
    async fn lists(&mut self, config: &Config, halo: &Halo, types: Vec<i64>) -> Option<()> {
        let all = |coverage| Filter::All { types: types.clone(), coverage };
        let mut counts = Counts::default();
        for (coverage, count) in [
            (Coverage::Plain, &mut counts.plain),
            (Coverage::Open, &mut counts.open),
            (Coverage::Closed, &mut counts.closed),
        ] {
            match halo.page(&all(coverage).into(), 1, 10).await {
                Ok(listed) => *count = listed.list.record_count,
                Err(error) => {
                    self.enter(Step::Coverage, Verdict::of(error));
                    return None;
                }
            }
        }
        self.checked.counts = Some(counts);
        self.enter(Step::Coverage, judge::coverage(counts));

        let page = match halo.list(&all(Coverage::Plain), 1, PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                self.enter(Step::PageCap, Verdict::of(error));
                return None;
            }
        };
        let rows = page.list.received as u64;
        self.checked.page_rows = Some(rows);
        self.enter(Step::PageCap, judge::page_cap(rows, PAGE_MAX.into(), page.list.record_count));

        let apart = counts.open.unwrap_or(0).saturating_add(counts.closed.unwrap_or(0));
        let plain = counts.plain?;
        let count = plain.max(apart);
        // A list that is shorter than a page tells nothing of how long a page can be.
        let full = if rows < plain { rows } else { PAGE_MAX.into() };
        let (rows, lanes) = (full.min(config.halo.page_size.into()), config.halo.parallel_requests);
        let limit = config.halo.rate_limit;
        let estimate = judge::first_pass(count, rows, lanes, page.receipt.took, limit);
        self.checked.first_pass = Some(estimate);
        self.enter(Step::FirstPass, judge::estimate(estimate, limit));
        Some(())
    }
}
