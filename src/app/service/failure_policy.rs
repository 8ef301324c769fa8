//! What the service does after a failed run, and which failures it logs. Pure functions.

use crate::app::{AppError, ExitStatus};
use crate::halo::{HaloError, OAuthErrorCode};
use crate::store::StoreError;
use crate::sync::SyncError;

/// What the service does after a failed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureAction {
    /// Stop: only an administrator can fix it.
    StopService,
    /// Read the secret again, in case it has changed.
    ReloadSecret,
    /// Open the database again: a SQLite connection cannot be used after its disk failed.
    ReopenDatabase,
    /// Try again with the next run: this is an outage.
    Retry,
}

/// What happened before a failure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FailureHistory {
    /// Whether this process ever got a token.
    pub(super) has_authenticated: bool,
    /// Whether a run had begun to fill the database when this process started.
    pub(super) has_synced: bool,
    /// Whether the disk failed in the run before.
    pub(super) disk_failed: bool,
}

/// Decides what follows from a failure.
pub(super) fn failure_action(error: &AppError, history: FailureHistory) -> FailureAction {
    let FailureHistory { has_authenticated, has_synced, disk_failed } = history;
    match error {
        AppError::Sync(SyncError::Halo(HaloError::Credentials { code, .. })) => match code {
            OAuthErrorCode::InvalidClient if has_authenticated => FailureAction::ReloadSecret,
            OAuthErrorCode::InvalidClient
            | OAuthErrorCode::UnauthorizedClient
            | OAuthErrorCode::InvalidScope
                if !has_authenticated =>
            {
                FailureAction::StopService
            }
            _ => FailureAction::Retry,
        },
        // One answer of a captive portal must not stop a service whose settings were right before.
        AppError::Sync(SyncError::Halo(HaloError::OtherAuthServer { .. }))
            if has_authenticated || has_synced =>
        {
            FailureAction::Retry
        }
        AppError::Sync(SyncError::Store(StoreError::Io(_))) if disk_failed => FailureAction::StopService,
        AppError::Sync(SyncError::Store(StoreError::Io(_))) => FailureAction::ReopenDatabase,
        AppError::Sync(SyncError::TaskFailed(_)) => FailureAction::StopService,
        error if error.exit_status() == ExitStatus::Config => FailureAction::StopService,
        _ => FailureAction::Retry,
    }
}

/// The runs or exports in a row that failed or were incomplete.
#[derive(Debug, Default)]
pub(super) struct FailureStreak {
    failures: u32,
    cause: String,
}

/// Whether a failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogDecision {
    /// Log it: it is the first, or has another cause than the one before.
    Report,
    /// Log how many there were with this cause.
    Summarize,
    /// Log it at debug level only.
    Suppress,
}

impl FailureStreak {
    /// The number of failures.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The cause of the last failure.
    pub(super) fn cause(&self) -> Option<&str> {
        (self.failures != 0).then_some(self.cause.as_str())
    }

    /// Adds a failure and decides whether it is logged.
    pub(super) fn record(&mut self, cause: &str) -> LogDecision {
        self.failures = self.failures.saturating_add(1);
        let is_new = self.failures == 1 || without_digits(cause) != without_digits(&self.cause);
        cause.clone_into(&mut self.cause);
        match self.failures {
            _ if is_new => LogDecision::Report,
            failures if failures.is_power_of_two() && 4 <= failures => LogDecision::Summarize,
            _ => LogDecision::Suppress,
        }
    }

    /// Ends the streak and returns its length, if there was one.
    pub(super) fn end(&mut self) -> Option<u32> {
        let failures = std::mem::take(self).failures;
        (failures != 0).then_some(failures)
    }
}

/// The cause without numbers of bytes and attempts, which differ each time.
fn without_digits(cause: &str) -> String {
    cause.chars().filter(|it| !it.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::{Resource, Responder};

    use FailureAction::{ReloadSecret, ReopenDatabase, Retry, StopService};
    use LogDecision::{Report, Summarize};

    fn credentials(code: OAuthErrorCode) -> AppError {
        halo(HaloError::Credentials { code, client_id: "c".into() })
    }

    fn io() -> AppError {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        SyncError::Store(rusqlite::Error::SqliteFailure(code, None).into()).into()
    }

    fn halo(error: HaloError) -> AppError {
        AppError::Sync(error.into())
    }

    #[test]
    fn service_stops_on_failures_only_an_administrator_can_fix() {
        let refused = |status| {
            let (resource, answered_by) = (Resource::TicketList, Responder::Server);
            halo(HaloError::Refused { resource, status, answered_by, message: None })
        };
        let rate_limited =
            HaloError::RateLimited { resource: Resource::Token, retry_after: None, retries: 5 };
        let text = crate::halo::ServerText::default();
        let other = || halo(HaloError::OtherAuthServer { address: text.clone(), settings: None });
        let unknown = SyncError::UnknownType { name: "Incidnet".into(), known: vec![] };
        for (name, error, at_start, later) in [
            ("a wrong secret", credentials(OAuthErrorCode::InvalidClient), StopService, ReloadSecret),
            (
                "a client of the wrong kind",
                credentials(OAuthErrorCode::UnauthorizedClient),
                StopService,
                Retry,
            ),
            ("no such scope", credentials(OAuthErrorCode::InvalidScope), StopService, Retry),
            ("another OAuth error", credentials(OAuthErrorCode::TemporarilyUnavailable), Retry, Retry),
            ("401", refused(401), Retry, Retry),
            ("403", refused(403), Retry, Retry),
            ("400", refused(400), Retry, Retry),
            ("a rate limit", halo(rate_limited), Retry, Retry),
            ("another authorization server", other(), StopService, Retry),
            ("an unknown ticket type", unknown.into(), StopService, StopService),
            ("a disk that fails", io(), ReopenDatabase, ReopenDatabase),
        ] {
            let at = |has_authenticated| {
                failure_action(&error, FailureHistory { has_authenticated, ..FailureHistory::default() })
            };
            assert_eq!(at(false), at_start, "{name}, at the start");
            assert_eq!(at(true), later, "{name}, later");
        }
        let again =
            FailureHistory { has_authenticated: true, disk_failed: true, ..FailureHistory::default() };
        assert_eq!(failure_action(&io(), again), StopService, "a disk that fails twice");
        let restarted = FailureHistory { has_synced: true, ..FailureHistory::default() };
        assert_eq!(failure_action(&other(), restarted), Retry, "after a restart");
    }

    #[test]
    fn outage_is_logged_once_then_summarized_and_recovery_gives_the_count() {
        let mut streak = FailureStreak::default();
        assert_eq!(streak.end(), None);
        let mut logged = Vec::new();
        for failure in 1..=40 {
            let decision = streak.record(&format!("cannot reach halo.example (tried {failure} times)"));
            if decision != LogDecision::Suppress {
                logged.push((failure, decision));
            }
        }
        assert_eq!(logged, [(1, Report), (4, Summarize), (8, Summarize), (16, Summarize), (32, Summarize)]);
        assert_eq!(streak.record("the server answers 502"), Report, "another cause");
        assert_eq!(streak.cause(), Some("the server answers 502"));
        assert_eq!(streak.end(), Some(41));
        assert_eq!((streak.failures(), streak.cause()), (0, None));
    }
}
