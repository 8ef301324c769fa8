//! Every precondition of a copy, one after the other: what is well, what is worth a look, what fails and
//! what to do about it.
//!
//! Facts are gathered in `place` and `server`, by the ways that a pass goes too; `judge`, `files`, `disk`,
//! `certificate` and `signs` say what they mean. A step whose precondition failed is left out. Nothing is written: the
//! dozen requests of a check stand in no `runs`, the reserve of the throttle is there for them.

mod certificate;
mod disk;
mod files;
mod hints;
mod local;
mod rules;
mod server;
mod step;

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

use hints::Hints;
pub use step::CheckStep;

use crate::app::{self, AppError, ExitStatus, LoadedConfig, SecretLocation};
use crate::store::ServerProbe;

/// How a step stands.
#[derive(Debug)]
pub enum CheckOutcome {
    /// Well, and how.
    Ok(String),
    /// Worth a look.
    Warning {
        /// What.
        message: String,
        /// What to do about it, or what it means.
        help: String,
    },
    /// It fails, as a pass would.
    Fail(AppError),
}

impl CheckOutcome {
    /// What is the case.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            CheckOutcome::Ok(message) | CheckOutcome::Warning { message, .. } => message.clone(),
            CheckOutcome::Fail(error) => error.to_string(),
        }
    }
}

/// A step that was looked at.
#[derive(Debug)]
pub struct CheckFinding {
    /// Which.
    pub step: CheckStep,
    /// How it stands.
    pub outcome: CheckOutcome,
    /// What in the settings may be to blame, where they show a sign of it.
    pub hint: Option<String>,
}

impl CheckFinding {
    /// What to do, where there is something to do.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match &self.outcome {
            CheckOutcome::Ok(_) => return None,
            CheckOutcome::Warning { help, .. } => help.clone(),
            CheckOutcome::Fail(error) => error.help(),
        };
        Some(match &self.hint {
            Some(hint) => format!("{hint}; {help}"),
            None => help,
        })
    }
}

/// How many tickets the server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    /// In the plain list.
    pub default_list: Option<u64>,
    /// In the list of open tickets.
    pub open: Option<u64>,
    /// In the list of closed tickets.
    pub closed: Option<u64>,
}

impl ListCounts {
    /// How many tickets there are: the plain list may leave some out.
    fn total(self) -> Option<u64> {
        let open_and_closed = self.open.unwrap_or(0).saturating_add(self.closed.unwrap_or(0));
        self.default_list.map(|default_list| default_list.max(open_and_closed))
    }
}

/// What a first pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialLoadEstimate {
    /// Requests.
    pub requests: u64,
    /// Time, at the configured rate limit.
    pub duration: Duration,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// The steps that were looked at.
    pub findings: Vec<CheckFinding>,
    /// How far the server's clock is ahead of this machine's.
    pub clock_ahead: Option<TimeDelta>,
    /// What the server counts.
    pub counts: Option<ListCounts>,
    /// The rows of a page of 100.
    pub page_rows: Option<u64>,
    /// The size of a ticket in a page, in bytes.
    pub ticket_bytes: Option<u64>,
    /// What a first pass takes.
    pub initial_load: Option<InitialLoadEstimate>,
    /// What passes found out about the server.
    pub probes: Vec<ServerProbe>,
}

impl CheckReport {
    /// The status to end with: that of the first failure.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        let failures = self.findings.iter().filter_map(|finding| match &finding.outcome {
            CheckOutcome::Fail(error) => Some(error.exit_status()),
            CheckOutcome::Ok(_) | CheckOutcome::Warning { .. } => None,
        });
        failures.into_iter().next().unwrap_or(ExitStatus::Ok)
    }

    /// The steps that were left out, because one before them failed or because nobody is to be asked.
    pub fn skipped_steps(&self) -> impl Iterator<Item = CheckStep> {
        let done = |step: &CheckStep| self.findings.iter().any(|finding| finding.step == *step);
        CheckStep::ALL.into_iter().filter(move |step| !done(step))
    }
}

/// Looks at everything, and tells each finding as it comes. `offline` asks no server, reads no secret and
/// takes no lock.
pub async fn check(
    config_path: Option<&Path>,
    offline: bool,
    on_finding: &mut dyn FnMut(&CheckFinding),
) -> CheckReport {
    let mut builder =
        ReportBuilder { report: CheckReport::default(), hints: Hints::default(), on_finding: on_finding };
    let loaded = app::load(config_path);
    let message = |loaded: &LoadedConfig| {
        let halo = &loaded.config.halo;
        format!("{}: client {} at {}", loaded.file.display(), halo.client_id, halo.server.as_str())
    };
    if let Some(loaded) = builder.record_result(CheckStep::Settings, loaded, message) {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
        builder.hints = Hints::new(&loaded.config.halo, is_set);
        let secret = builder.check_secret(&loaded, offline);
        let requests_made = builder.check_local(&loaded.config, offline);
        if !offline {
            builder.record(
                CheckStep::RateLimit,
                rules::rate_limit(requests_made, loaded.config.halo.rate_limit),
            );
            // Where it ends early, the finding is entered already.
            let _ = builder.check_server(&loaded.config, secret, requests_made).await;
        }
        builder.check_disk_space(&loaded.config);
    }
    builder.report
}

/// The findings so far.
struct ReportBuilder<'t> {
    report: CheckReport,
    hints: Hints,
    on_finding: &'t mut dyn FnMut(&CheckFinding),
}

impl ReportBuilder<'_> {
    fn record(&mut self, step: CheckStep, outcome: CheckOutcome) {
        let hint = self.hints.hint_for(&outcome);
        let finding = CheckFinding { step, outcome, hint };
        (self.on_finding)(&finding);
        self.report.findings.push(finding);
    }

    /// Enters what was found, and gives it where it is no failure.
    fn record_result<T, E: Into<AppError>>(
        &mut self,
        step: CheckStep,
        found: Result<T, E>,
        message: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                self.record(step, CheckOutcome::Ok(message(&found)));
                Some(found)
            }
            Err(error) => {
                self.record(step, CheckOutcome::Fail(error.into()));
                None
            }
        }
    }

    fn check_secret(&mut self, loaded: &LoadedConfig, offline: bool) -> Option<SecretString> {
        let location = app::find_secret(loaded).map(|source| match source {
            SecretLocation::Credential(file) => format!("in the systemd credential {}", file.display()),
            location => format!("in {location}"),
        });
        if offline {
            self.record_result(CheckStep::Secret, location, |location| format!("{location}; not read"));
            return None;
        }
        let secret = location.and_then(|location| Ok((app::read_secret(loaded)?, location)));
        self.record_result(CheckStep::Secret, secret, |(_, location)| location.clone())
            .map(|(secret, _)| secret)
    }
}
