//! Likely causes in the settings, shown beside a failure.

use super::CheckOutcome;
use crate::app::AppError;
use crate::config::HaloConfig;
use crate::halo::{HaloError, UnreadableResponse};
use crate::sync::SyncError;

/// Settings that often cause failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Path of `server_url`, empty if it has none.
    path: String,
}

impl Hints {
    pub(super) fn new(halo: &HaloConfig) -> Hints {
        Hints { path: halo.server.path().to_owned() }
    }

    /// Returns the likely cause of a failure.
    pub(super) fn hint_for(&self, outcome: &CheckOutcome) -> Option<String> {
        let CheckOutcome::Fail(AppError::Sync(SyncError::Halo(error))) = outcome else { return None };
        match error {
            HaloError::Refused { status: 404 | 405 | 410, .. }
            | HaloError::Unreadable(UnreadableResponse { html: true, .. })
                if !self.path.is_empty() =>
            {
                Some(format!(
                    "server_url ends in `{}`: remove that, unless the \"Resource Server\" has it too (`/api` is added \
                     automatically)",
                    self.path
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::{Resource, Responder, TransportError};

    fn hint_for(hints: &Hints, error: HaloError) -> String {
        hints.hint_for(&CheckOutcome::Fail(error.into())).unwrap_or_default()
    }

    fn refused(status: u16) -> HaloError {
        HaloError::Refused {
            resource: Resource::TicketList,
            status,
            answered_by: Responder::Server,
            message: None,
        }
    }

    fn unreachable(source: TransportError) -> HaloError {
        HaloError::Unreachable { host: "halo.example".into(), proxy: None, source, retries: 0 }
    }

    #[test]
    fn hint_names_path_when_not_found() {
        let none = Hints::default();
        let path = Hints { path: "/portal".into() };
        for (hints, error, fragment) in [
            (&path, refused(404), "server_url ends in `/portal`"),
            (&path, refused(403), ""),
            (&path, unreachable(TransportError::Timeout), ""),
            (&none, refused(404), ""),
        ] {
            let message = error.to_string();
            let found = hint_for(hints, error);
            assert!(
                found.contains(fragment) && found.is_empty() == fragment.is_empty(),
                "{message}: {found:?}"
            );
        }
    }
}
