//! Every precondition of a copy, one after the other: what is well, what is worth a look, what fails and
//! what to do about it.
//!
//! Facts are gathered in `place` and `server`, by the ways that a pass goes too; `judge`, `files`, `disk`,
//! `certificate` and `signs` say what they mean. A step whose precondition failed is left out. Nothing is written: the
//! dozen requests of a check stand in no `runs`, the reserve of the throttle is there for them.

mod certificate;
mod disk;
mod files;
mod judge;
mod place;
mod server;
mod signs;
mod step;

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

use signs::Signs;
pub use step::Step;

use crate::agent::{self, AgentError, Loaded, SecretPlace};
use crate::store::Calibration;

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
    /// What in the settings may be to blame, where they show a sign of it.
    pub sign: Option<String>,
}

impl Finding {
    /// What to do, where there is something to do.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match &self.verdict {
            Verdict::Good(_) => return None,
            Verdict::Warning { help, .. } => help.clone(),
            Verdict::Bad(error) => error.help(),
        };
        Some(match &self.sign {
            Some(sign) => format!("{sign}; {help}"),
            None => help,
        })
    }
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

impl Counts {
    /// How many tickets there are: the plain list may leave some out.
    fn all(self) -> Option<u64> {
        let apart = self.open.unwrap_or(0).saturating_add(self.closed.unwrap_or(0));
        self.plain.map(|plain| plain.max(apart))
    }
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
    /// The size of a ticket in a page, in bytes.
    pub ticket_bytes: Option<u64>,
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

/// Looks at everything, and tells each finding as it comes. `offline` asks no server, reads no secret and
/// takes no lock.
pub async fn check(named: Option<&Path>, offline: bool, tell: &mut dyn FnMut(&Finding)) -> Checked {
    let mut sheet = Sheet { checked: Checked::default(), signs: Signs::default(), tell };
    let loaded = agent::load(named);
    let says = |loaded: &Loaded| {
        let halo = &loaded.config.halo;
        format!("{}: client {} at {}", loaded.file.display(), halo.client_id, halo.server.as_str())
    };
    if let Some(loaded) = sheet.take(Step::Settings, loaded, says) {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
        sheet.signs = Signs::of(&loaded.config.halo, is_set);
        let secret = sheet.secret(&loaded, offline);
        let spent = sheet.place(&loaded.config, offline);
        if !offline {
            sheet.enter(Step::RateLimit, judge::rate_limit(spent, loaded.config.halo.rate_limit));
            // Where it ends early, the finding is entered already.
            let _ = sheet.server(&loaded.config, secret, spent).await;
        }
        sheet.room(&loaded.config);
    }
    sheet.checked
}

/// The findings so far.
struct Sheet<'t> {
    checked: Checked,
    signs: Signs,
    tell: &'t mut dyn FnMut(&Finding),
}

impl Sheet<'_> {
    fn enter(&mut self, step: Step, verdict: Verdict) {
        let sign = self.signs.beside(&verdict);
        let finding = Finding { step, verdict, sign };
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
}
