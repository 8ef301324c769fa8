//! Likely causes in the settings or the environment, shown beside a failure.

use super::CheckOutcome;
use crate::app::AppError;
use crate::config::HaloConfig;
use crate::halo::{HaloError, TransportError, UnreadableResponse};
use crate::sync::SyncError;

/// Environment variables that name a proxy, in order of precedence.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Settings and environment that often cause failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Path of `server_url`, empty if it has none.
    path: String,
    /// The setting or variable that names the proxy in use.
    proxy: Option<&'static str>,
}

impl Hints {
    /// `is_set` says whether an environment variable is set.
    pub(super) fn new(halo: &HaloConfig, is_set: impl Fn(&str) -> bool) -> Hints {
        let proxy = if halo.server.is_loopback() {
            None
        } else if halo.proxy.is_some() {
            Some("`proxy`")
        } else {
            PROXY_VARIABLES.into_iter().find(|name| is_set(name))
        };
        Hints { path: halo.server.path().to_owned(), proxy }
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
            HaloError::Unreachable {
                source:
                    TransportError::Connect(_) | TransportError::Timeout | TransportError::ConnectionLost(_),
                ..
            } => self.proxy.map(|source| {
                format!("requests go through the proxy set by {source}: check that it allows this machine")
            }),
            HaloError::Refused { status: 407, .. } => Some("a proxy on the way requires a login".into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::Resource;

    fn hint_for(hints: &Hints, error: HaloError) -> String {
        hints.hint_for(&CheckOutcome::Fail(error.into())).unwrap_or_default()
    }

    fn refused(status: u16) -> HaloError {
        HaloError::Refused { resource: Resource::TicketList, status, message: None }
    }

    fn unreachable(source: TransportError) -> HaloError {
        HaloError::Unreachable { host: "halo.example".into(), source, retries: 0 }
    }

    #[test]
    fn hint_names_path_when_not_found_and_proxy_when_unreachable() {
        let none = Hints::default();
        let path = Hints { path: "/portal".into(), proxy: None };
        let proxy = Hints { path: String::new(), proxy: Some("HTTPS_PROXY") };
        for (hints, error, fragment) in [
            (&path, refused(404), "server_url ends in `/portal`"),
            (&path, refused(403), ""),
            (&path, unreachable(TransportError::Timeout), ""),
            (&proxy, unreachable(TransportError::Timeout), "the proxy set by HTTPS_PROXY"),
            (&proxy, unreachable(TransportError::MemoryBusy), ""),
            (&proxy, refused(404), ""),
            (&none, refused(404), ""),
            (&none, refused(407), "requires a login"),
            (&none, unreachable(TransportError::Timeout), ""),
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
