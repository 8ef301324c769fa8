//! Signs of the usual slips in the settings, told beside what went wrong: pure, and silent where there is none.

use super::Verdict;
use crate::agent::AgentError;
use crate::config::Halo;
use crate::halo::{Broken, HaloError, Unreadable};
use crate::sync::SyncError;

/// The variables that lead over a proxy, in the order in which they count.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// What in the settings and the environment may be to blame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// The path of `server_url`.
    path: String,
    /// What names the proxy that the server is asked through.
    proxy: Option<&'static str>,
}

impl Signs {
    /// `is_set` tells whether a variable of the environment is.
    pub(super) fn of(halo: &Halo, is_set: impl Fn(&str) -> bool) -> Signs {
        let proxy = if halo.server.is_loopback() {
            None
        } else if halo.proxy.is_some() {
            Some("`proxy`")
        } else {
            PROXY_VARIABLES.into_iter().find(|name| is_set(name))
        };
        Signs { path: halo.server.path().to_owned(), proxy }
    }

    /// What may be to blame for a failure.
    pub(super) fn beside(&self, verdict: &Verdict) -> Option<String> {
        let Verdict::Bad(AgentError::Sync(SyncError::Halo(error))) = verdict else { return None };
        match error {
            HaloError::Refused { status: 404 | 405 | 410, .. }
            | HaloError::Unreadable(Unreadable { html: true, .. })
                if !self.path.is_empty() =>
            {
                Some(format!(
                    "server_url ends in `{}`: leave that away, unless the \"Resource Server\" has it too (`/api` is added \
                     by itself)",
                    self.path
                ))
            }
            HaloError::Unreachable {
                source: Broken::Connect(_) | Broken::Timeout | Broken::Lost(_), ..
            } => self.proxy.map(|by| {
                format!("the server is asked through the proxy that {by} names: see whether it lets this machine through")
            }),
            HaloError::Refused { status: 407, .. } => Some("a proxy in between wants a login".into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(signs: &Signs, error: HaloError) -> String {
        signs.beside(&Verdict::of(error)).unwrap_or_default()
    }

    fn refused(status: u16) -> HaloError {
        HaloError::Refused { what: "the list", status, message: None }
    }

    fn unreachable(source: Broken) -> HaloError {
        HaloError::Unreachable { host: "halo.example".into(), source, retries: 0 }
    }

    #[test]
    fn a_path_is_suspected_where_nothing_is_found_and_a_proxy_where_nobody_answers() {
        let none = Signs::default();
        let path = Signs { path: "/portal".into(), proxy: None };
        let proxy = Signs { path: String::new(), proxy: Some("HTTPS_PROXY") };
        for (signs, error, says) in [
            (&path, refused(404), "server_url ends in `/portal`"),
            (&path, refused(403), ""),
            (&path, unreachable(Broken::Timeout), ""),
            (&proxy, unreachable(Broken::Timeout), "the proxy that HTTPS_PROXY names"),
            (&proxy, unreachable(Broken::TooLarge), ""),
            (&proxy, refused(404), ""),
            (&none, refused(404), ""),
            (&none, refused(407), "wants a login"),
            (&none, unreachable(Broken::Timeout), ""),
        ] {
            let told = error.to_string();
            let found = beside(signs, error);
            assert!(found.contains(says) && found.is_empty() == says.is_empty(), "{told}: {found:?}");
        }
    }
}
