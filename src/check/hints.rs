//! Likely causes in the settings or the environment, shown beside a failure.

use super::CheckOutcome;
use crate::app::AppError;
use crate::config::HaloConfig;
use crate::halo::{HaloError, ProxyRoute, TransportError, UnreadableResponse};
use crate::sync::SyncError;

/// Settings and environment that often cause failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Path of `server_url`, empty if it has none.
    path: String,
    /// The proxy that requests for the server go through.
    proxy: Option<ProxyRoute>,
}

impl Hints {
    pub(super) fn new(halo: &HaloConfig) -> Hints {
        Hints { path: halo.server.path().to_owned(), proxy: None }
    }

    /// Sets the proxy that requests for the server go through.
    pub(super) fn set_proxy(&mut self, proxy: Option<ProxyRoute>) {
        self.proxy = proxy;
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
                source: TransportError::Timeout | TransportError::ConnectionLost(_),
                ..
            } => self.proxy.as_ref().map(|proxy| {
                format!("requests go through the proxy {proxy}: check that it allows this machine")
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::{HttpOptions, HttpTransport, Resource, Responder};

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
        HaloError::Unreachable { host: "halo.example".into(), source, retries: 0 }
    }

    #[test]
    fn hint_names_path_when_not_found_and_proxy_when_unreachable() {
        let none = Hints::default();
        let path = Hints { path: "/portal".into(), proxy: None };
        let options =
            HttpOptions { proxy: Some("http://proxy.example:3128".into()), ..HttpOptions::default() };
        let http = HttpTransport::new(&options).unwrap();
        let mut proxy = Hints::default();
        proxy.set_proxy(http.proxy_route(&"https://halo.example".parse().unwrap()));
        for (hints, error, fragment) in [
            (&path, refused(404), "server_url ends in `/portal`"),
            (&path, refused(403), ""),
            (&path, unreachable(TransportError::Timeout), ""),
            (
                &proxy,
                unreachable(TransportError::Timeout),
                "the proxy proxy.example:3128, set by the setting `proxy`",
            ),
            (&proxy, unreachable(TransportError::MemoryBusy), ""),
            (&proxy, refused(404), ""),
            (&none, refused(404), ""),
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
