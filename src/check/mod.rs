//! Checks every precondition of a run, step by step, and says what to do where one fails.
//!
//! `local` and `server` gather facts through the same code as a run; the other modules interpret them. A step whose
//! precondition failed is skipped. Nothing is written but a row in `runs`, which reserves the requests of a check.

mod certificate;
mod connection;
mod disk;
mod drift;
mod files;
mod hints;
mod initial_load;
mod lake;
mod lists;
mod local;
mod local_content;
mod privacy;
mod program;
mod requests;
mod server;
mod settings;
mod step;

use secrecy::SecretString;
use serde::Serialize;

use hints::Hints;
pub use initial_load::InitialLoadEstimate;
pub use lists::ListCounts;
pub use program::ProgramInfo;
use requests::CheckRecord;
pub use step::CheckStep;

use crate::app::{self, AppError, ExitStatus, FileProblem, LoadedConfig, SecretLocation};
use crate::store::ServerProbe;

/// Outcome of a step.
#[derive(Debug, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum CheckOutcome {
    /// Passed, with what was found.
    Ok(String),
    /// A run would work, but something needs attention.
    Warning {
        /// What was found.
        message: String,
        /// What to do about it, or what it means.
        help: String,
    },
    /// A run would fail with this error.
    #[strum(serialize = "failure")]
    Fail(AppError),
}

impl CheckOutcome {
    /// Changes what was found.
    fn map_message(self, change: impl FnOnce(&str) -> String) -> CheckOutcome {
        match self {
            CheckOutcome::Ok(message) => CheckOutcome::Ok(change(&message)),
            CheckOutcome::Warning { message, help } => {
                CheckOutcome::Warning { message: change(&message), help }
            }
            CheckOutcome::Fail(error) => CheckOutcome::Fail(error),
        }
    }

    fn warning(message: impl Into<String>, help: impl Into<String>) -> CheckOutcome {
        CheckOutcome::Warning { message: message.into(), help: help.into() }
    }

    /// Returns its name for programs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Returns the exit status of a run with this outcome.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            CheckOutcome::Ok(_) | CheckOutcome::Warning { .. } => ExitStatus::Ok,
            CheckOutcome::Fail(error) => error.exit_status(),
        }
    }

    /// Returns what was found.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            CheckOutcome::Ok(message) | CheckOutcome::Warning { message, .. } => message.clone(),
            CheckOutcome::Fail(error) => error.to_string(),
        }
    }
}

/// A step with its outcome.
#[derive(Debug)]
pub struct CheckFinding {
    /// The step.
    pub step: CheckStep,
    /// Its outcome.
    pub outcome: CheckOutcome,
    /// A likely cause in the settings or the environment, if there is one.
    pub hint: Option<String>,
}

impl CheckFinding {
    /// Returns what to do; `None` for a step that passed.
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

/// The result of a check.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// The steps that ran, in order.
    #[serde(skip)]
    pub findings: Vec<CheckFinding>,
    /// By how many seconds the server's clock is ahead of this machine's; negative if it is behind.
    pub clock_ahead_seconds: Option<i64>,
    /// The server's ticket counts.
    pub counts: Option<ListCounts>,
    /// Rows received for a page of 100.
    pub page_rows: Option<u64>,
    /// Average size of a ticket in a page, in bytes.
    pub ticket_bytes: Option<u64>,
    /// Cost of the initial load.
    pub initial_load: Option<InitialLoadEstimate>,
    /// What runs have measured about the server.
    pub probes: Vec<ServerProbe>,
}

impl CheckReport {
    /// Returns the exit status: that of the first failure, else 0.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        let mut statuses = self.findings.iter().map(|finding| finding.outcome.exit_status());
        statuses.find(|status| *status != ExitStatus::Ok).unwrap_or(ExitStatus::Ok)
    }

    /// Returns the steps that were skipped: an earlier one failed, or the check is offline.
    pub fn skipped_steps(&self) -> impl Iterator<Item = CheckStep> {
        let done = |step: &CheckStep| self.findings.iter().any(|finding| finding.step == *step);
        CheckStep::ALL.iter().copied().filter(move |step| !done(step))
    }
}

/// How thorough a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Sends no request, reads no secret and takes no lock.
    pub offline: bool,
    /// Compares every stored row with its hash.
    pub deep: bool,
}

/// Runs all steps and calls `on_finding` after each; that the settings cannot be used is the first finding.
pub async fn check(
    loaded: Result<LoadedConfig, AppError>,
    options: CheckOptions,
    on_finding: &mut dyn FnMut(&CheckFinding),
) -> CheckReport {
    let offline = options.offline;
    let mut builder = ReportBuilder { report: CheckReport::default(), hints: Hints::default(), on_finding };
    if let Some(loaded) = builder.value_or_failure(CheckStep::Settings, loaded) {
        builder.record(CheckStep::Settings, settings::check(&loaded));
        builder.hints = Hints::new(&loaded.config.halo);
        let secret = builder.check_secret(&loaded, offline);
        builder.check_local(&loaded.config, options);
        if !offline {
            // What is wrong with the database is a finding already.
            let (used, record) = CheckRecord::begin(&loaded.config).unwrap_or_default();
            let rate_limit = connection::rate_limit(used, loaded.config.halo.rate_limit);
            builder.record(CheckStep::RateLimit, rate_limit);
            let requests = builder.check_server(&loaded.config, secret, used).await;
            if let Some(record) = record {
                let _ = record.end(requests, app::now());
            }
        }
        builder.check_disk_space(&loaded.config);
        if let Some(outcome) = lake::check(&loaded.config, offline) {
            builder.record(CheckStep::Lake, outcome);
        }
    }
    builder.report
}

/// Collects findings.
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

    /// Returns the value of a result; an error is recorded as a finding.
    fn value_or_failure<T>(&mut self, step: CheckStep, found: Result<T, impl Into<AppError>>) -> Option<T> {
        found.map_err(|error| self.record(step, CheckOutcome::Fail(error.into()))).ok()
    }

    /// Records a result as a finding and returns its value, if any.
    fn record_result<T>(
        &mut self,
        step: CheckStep,
        found: Result<T, impl Into<AppError>>,
        message: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let found = self.value_or_failure(step, found)?;
        self.record(step, CheckOutcome::Ok(message(&found)));
        Some(found)
    }

    fn check_secret(&mut self, loaded: &LoadedConfig, offline: bool) -> Option<SecretString> {
        let location = app::find_secret(loaded).map(|source| match source {
            SecretLocation::Credential(file) => format!("in the systemd credential {}", file.display()),
            location => format!("in {location}"),
        });
        if offline {
            // Nothing that follows needs the secret. A path that can never be that of a secret is a wrong setting.
            let outcome = match location {
                Ok(location) => CheckOutcome::Ok(format!("{location}; not read")),
                Err(error @ AppError::File { problem: FileProblem::NotRegular(_), .. }) => {
                    CheckOutcome::Fail(error)
                }
                Err(error) => CheckOutcome::warning(error.chain(), error.help()),
            };
            self.record(CheckStep::Secret, outcome);
            return None;
        }
        let secret = location.and_then(|location| Ok((app::read_secret(loaded)?, location)));
        self.record_result(CheckStep::Secret, secret, |(_, location)| location.clone())
            .map(|(secret, _)| secret)
    }
}
