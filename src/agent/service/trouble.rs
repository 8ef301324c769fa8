//! What a failed pass means for the service, and how often it is worth a line in the log.
//!
//! Pure.

use crate::agent::AgentError;
use crate::halo::HaloError;
use crate::store::StoreError;
use crate::sync::SyncError;

/// What follows from a failed pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The service ends: nothing but a person can change it.
    End,
    /// The secret may have been changed meanwhile.
    ReadSecretAgain,
    /// The database is opened anew: SQLite may not go on with a connection whose disk failed.
    Reopen,
    /// It is an outage; the next pass tries again.
    Retry,
}

/// Decides after a failure. `let_in` is whether this process was ever given a token, `disk_failed` whether
/// the disk failed in the pass before too.
pub(super) fn consequence(error: &AgentError, let_in: bool, disk_failed: bool) -> Consequence {
    match error {
        AgentError::Sync(SyncError::Halo(HaloError::Credentials { code, .. })) => match code.as_str() {
            "invalid_client" if let_in => Consequence::ReadSecretAgain,
            "invalid_client" | "unauthorized_client" | "invalid_scope" if !let_in => Consequence::End,
            _ => Consequence::Retry,
        },
        AgentError::Sync(SyncError::Store(StoreError::Io(_))) if disk_failed => Consequence::End,
        AgentError::Sync(SyncError::Store(StoreError::Io(_))) => Consequence::Reopen,
        AgentError::Sync(SyncError::Broken(_)) => Consequence::End,
        error if error.exit_status() == 78 => Consequence::End,
        _ => Consequence::Retry,
    }
}

/// Passes in a row that did not end well.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    cause: String,
}

/// Whether a failure is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is the first, or has another cause than the one before.
    News,
    /// It is one of many like it, and it is time to say how many.
    Summary,
    /// It was said.
    Nothing,
}

impl Trouble {
    /// How many there are.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last one failed.
    pub(super) fn cause(&self) -> Option<&str> {
        (self.failures != 0).then_some(self.cause.as_str())
    }

    /// One more.
    pub(super) fn failed(&mut self, cause: &str) -> Worth {
        self.failures = self.failures.saturating_add(1);
        let news = self.failures == 1 || without_digits(cause) != without_digits(&self.cause);
        cause.clone_into(&mut self.cause);
        match self.failures {
            _ if news => Worth::News,
            many if many.is_power_of_two() && 4 <= many => Worth::Summary,
            _ => Worth::Nothing,
        }
    }

    /// It is over; gives how many there were, where there were any.
    pub(super) fn ended(&mut self) -> Option<u32> {
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

    use Consequence::{End, ReadSecretAgain, Reopen, Retry};
    use Worth::{News, Summary};

    fn credentials(code: &str) -> AgentError {
        halo(HaloError::Credentials { code: code.into(), description: None, client_id: "c".into() })
    }

    fn io() -> AgentError {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        SyncError::Store(rusqlite::Error::SqliteFailure(code, None).into()).into()
    }

    fn halo(error: HaloError) -> AgentError {
        AgentError::Sync(error.into())
    }

    #[test]
    fn the_service_ends_for_what_only_a_person_can_change() {
        let refused = |status| halo(HaloError::Refused { what: "the ticket list", status, message: None });
        let throttled = HaloError::Throttled { what: "a token", retry_after: None, retries: 5 };
        let misled = HaloError::Misled { what: "the authorisation server", why: "is not encrypted".into() };
        let unknown = SyncError::UnknownType { name: "Incidnet".into(), known: vec![] };
        for (name, error, at_start, later) in [
            ("a wrong secret", credentials("invalid_client"), End, ReadSecretAgain),
            ("a client of the wrong kind", credentials("unauthorized_client"), End, Retry),
            ("no such scope", credentials("invalid_scope"), End, Retry),
            ("another OAuth error", credentials("temporarily_unavailable"), Retry, Retry),
            ("401", refused(401), Retry, Retry),
            ("403", refused(403), Retry, Retry),
            ("400", refused(400), Retry, Retry),
            ("a rate limit", halo(throttled), Retry, Retry),
            ("an address that must not be used", halo(misled), End, End),
            ("a type that does not exist", unknown.into(), End, End),
            ("a disk that fails", io(), Reopen, Reopen),
        ] {
            assert_eq!(consequence(&error, false, false), at_start, "{name}, at the start");
            assert_eq!(consequence(&error, true, false), later, "{name}, later");
        }
        assert_eq!(consequence(&io(), true, true), End, "a disk that fails twice");
    }

    #[test]
    fn an_outage_is_told_once_then_summed_up_and_its_end_is_told_with_their_number() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.ended(), None);
        let mut told = Vec::new();
        for failure in 1..=40 {
            let worth = trouble.failed(&format!("cannot reach halo.example (tried {failure} times)"));
            if worth != Worth::Nothing {
                told.push((failure, worth));
            }
        }
        assert_eq!(told, [(1, News), (4, Summary), (8, Summary), (16, Summary), (32, Summary)]);
        assert_eq!(trouble.failed("the server answers 502"), News, "another cause");
        assert_eq!(trouble.cause(), Some("the server answers 502"));
        assert_eq!(trouble.ended(), Some(41));
        assert_eq!((trouble.failures(), trouble.cause()), (0, None));
    }
}
