//! What a failed pass means for the service, and how often it is worth a line in the log.
//!
//! Pure.

use crate::app::AppError;
use crate::halo::HaloError;
use crate::store::StoreError;
use crate::sync::SyncError;

/// What follows from a failed pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureAction {
    /// The service ends: nothing but a person can change it.
    StopService,
    /// The secret may have been changed meanwhile.
    ReloadSecret,
    /// The database is opened anew: SQLite may not go on with a connection whose disk failed.
    ReopenDatabase,
    /// It is an outage; the next pass tries again.
    Retry,
}

/// Decides after a failure. `let_in` is whether this process was ever given a token, `disk_failed` whether
/// the disk failed in the pass before too.
pub(super) fn failure_action(error: &AppError, has_authenticated: bool, disk_failed: bool) -> FailureAction {
    match error {
        AppError::Sync(SyncError::Halo(HaloError::Credentials { code, .. })) => match code.as_str() {
            "invalid_client" if has_authenticated => FailureAction::ReloadSecret,
            "invalid_client" | "unauthorized_client" | "invalid_scope" if !has_authenticated => {
                FailureAction::StopService
            }
            _ => FailureAction::Retry,
        },
        AppError::Sync(SyncError::Store(StoreError::Io(_))) if disk_failed => FailureAction::StopService,
        AppError::Sync(SyncError::Store(StoreError::Io(_))) => FailureAction::ReopenDatabase,
        AppError::Sync(SyncError::TaskFailed(_)) => FailureAction::StopService,
        error if error.exit_status() == 78 => FailureAction::StopService,
        _ => FailureAction::Retry,
    }
}

/// Passes in a row that did not end well.
#[derive(Debug, Default)]
pub(super) struct FailureStreak {
    failures: u32,
    cause: String,
}

/// Whether a failure is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogDecision {
    /// It is the first, or has another cause than the one before.
    Report,
    /// It is one of many like it, and it is time to say how many.
    Summarize,
    /// It was said.
    Suppress,
}

impl FailureStreak {
    /// How many there are.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last one failed.
    pub(super) fn cause(&self) -> Option<&str> {
        (self.failures != 0).then_some(self.cause.as_str())
    }

    /// One more.
    pub(super) fn record(&mut self, cause: &str) -> LogDecision {
        self.failures = self.failures.saturating_add(1);
        let is_new = self.failures == 1 || without_digits(cause) != without_digits(&self.cause);
        cause.clone_into(&mut self.cause);
        match self.failures {
            _ if is_new => LogDecision::Report,
            many if many.is_power_of_two() && 4 <= many => LogDecision::Summarize,
            _ => LogDecision::Suppress,
        }
    }

    /// It is over; gives how many there were, where there were any.
    pub(super) fn end(&mut self) -> Option<u32> {
        let failures = std::mem::take(self).failures;
        (failures != 0).then_some(failures)
    }
}

/// The same cause tells other numbers of bytes and attempts each time.
fn without_digits(cause: &str) -> String {
    cause.chars().filter(|it| !it.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::Resource;

    use FailureAction::{ReloadSecret, ReopenDatabase, Retry, StopService};
    use LogDecision::{Report, Summarize};

    fn credentials(code: &str) -> AppError {
        halo(HaloError::Credentials { code: code.into(), description: None, client_id: "c".into() })
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
        let refused = |status| halo(HaloError::Refused { resource: Resource::TicketList, status, message: None });
        let throttled = HaloError::RateLimited { resource: Resource::Token, retry_after: None, retries: 5 };
        let unsafe_url = HaloError::UnsafeAuthUrl { reason: "is not encrypted".into() };
        let unknown = SyncError::UnknownType { name: "Incidnet".into(), known: vec![] };
        for (name, error, at_start, later) in [
            ("a wrong secret", credentials("invalid_client"), StopService, ReloadSecret),
            ("a client of the wrong kind", credentials("unauthorized_client"), StopService, Retry),
            ("no such scope", credentials("invalid_scope"), StopService, Retry),
            ("another OAuth error", credentials("temporarily_unavailable"), Retry, Retry),
            ("401", refused(401), Retry, Retry),
            ("403", refused(403), Retry, Retry),
            ("400", refused(400), Retry, Retry),
            ("a rate limit", halo(throttled), Retry, Retry),
            ("an address that must not be used", halo(unsafe_url), StopService, StopService),
            ("a type that does not exist", unknown.into(), StopService, StopService),
            ("a disk that fails", io(), ReopenDatabase, ReopenDatabase),
        ] {
            assert_eq!(failure_action(&error, false, false), at_start, "{name}, at the start");
            assert_eq!(failure_action(&error, true, false), later, "{name}, later");
        }
        assert_eq!(failure_action(&io(), true, true), StopService, "a disk that fails twice");
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
