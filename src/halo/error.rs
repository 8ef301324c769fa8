//! What can go wrong with the server, in the terms of what a person can do about it.

use std::time::Duration;

use super::token::TOKEN;
use super::transport::{Answer, Broken};
use crate::retry::{self, Failure};
use crate::ticket::parse::ParseError;

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum HaloError {
    /// There is no answer.
    #[error("cannot reach {host}{}", after(*retries))]
    Unreachable {
        /// Which host, with its port where it is not the usual one.
        host: String,
        /// Why.
        #[source]
        source: Broken,
        /// How often it was tried again.
        retries: u32,
    },
    /// The server answers with 5xx.
    #[error("the server answers {status} when asked for {what}{}{}", after(*retries), said(message.as_deref()))]
    Unavailable {
        /// What was asked for.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: Option<String>,
        /// How often it was tried again.
        retries: u32,
    },
    /// The server's rate limit was met, and waiting did not help.
    #[error("the server's rate limit holds when asked for {what}{}", after(*retries))]
    Throttled {
        /// What was asked for.
        what: &'static str,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
        /// How often it was tried again.
        retries: u32,
    },
    /// The server refuses.
    #[error("the server refuses {what} with status {status}{}", said(message.as_deref()))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: Option<String>,
    },
    /// The authorisation server refuses the client.
    #[error("the authorisation server refuses client {client_id} with `{code}`{}", description.as_ref().map_or(String::new(), |it| format!(": {}", printable(it))))]
    Credentials {
        /// The OAuth error.
        code: String,
        /// Its description.
        description: Option<String>,
        /// Which client.
        client_id: String,
    },
    /// The answer is larger than the memory set aside for answers.
    #[error("the answer for {what} is larger than the {} MiB set aside for answers", super::http::BODIES_MAX >> 20)]
    TooLarge {
        /// What was asked for.
        what: &'static str,
    },
    /// The answer is not what was asked for.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The server points to an address that must not be used.
    #[error("the server names an address for {what} that {why}")]
    Misled {
        /// The address of what.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// An answer that is not what was asked for. Its text is not kept: it may be a whole page.
#[derive(Debug, thiserror::Error)]
#[error("the answer for {what} cannot be used (status {status}, {bytes} bytes{})", if *html { " of HTML" } else { "" })]
pub struct Unreadable {
    /// What was asked for.
    pub what: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Its size.
    pub bytes: usize,
    /// Whether it looks like a web page.
    pub html: bool,
    /// What is wrong with it.
    pub source: ParseError,
}

/// Whether a body looks like a web page.
pub(super) fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

fn after(retries: u32) -> String {
    match retries {
        0 => String::new(),
        1 => " (tried twice)".into(),
        more => format!(" (tried {} times)", more + 1),
    }
}

fn said(message: Option<&str>) -> String {
    message.map_or(String::new(), |it| format!(": {it}"))
}

impl HaloError {
    /// What an answer with an unwanted status means.
    pub(super) fn of_status(what: &'static str, answer: &Answer) -> HaloError {
        let retry_after = answer.retry_after.as_deref().and_then(|it| retry::retry_after(it, answer.date));
        match answer.status {
            429 => HaloError::Throttled { what, retry_after, retries: 0 },
            503 if retry_after.is_some() => HaloError::Throttled { what, retry_after, retries: 0 },
            status @ 500.. => {
                HaloError::Unavailable { what, status, message: message(&answer.body), retries: 0 }
            }
            status @ 300..400 => {
                let message = answer.location.as_deref().and_then(|it| url::Url::parse(it).ok()).map(|url| {
                    format!("a redirect to {}://{}", url.scheme(), url.host_str().unwrap_or_default())
                });
                HaloError::Refused { what, status, message }
            }
            status => HaloError::Refused { what, status, message: message(&answer.body) },
        }
    }

    pub(super) fn unreadable(what: &'static str, answer: &Answer, source: ParseError) -> HaloError {
        let html = is_html(&answer.body);
        HaloError::Unreadable(Unreadable {
            what,
            status: answer.status,
            bytes: answer.body.len(),
            html,
            source,
        })
    }

    /// The same, knowing how often it was tried again.
    pub(super) fn after(self, retries: u32) -> HaloError {
        match self {
            HaloError::Unreachable { host, source, .. } => HaloError::Unreachable { host, source, retries },
            HaloError::Unavailable { what, status, message, .. } => {
                HaloError::Unavailable { what, status, message, retries }
            }
            HaloError::Throttled { what, retry_after, .. } => {
                HaloError::Throttled { what, retry_after, retries }
            }
            other => other,
        }
    }

    /// Whether it was the token that was not to be had: then nothing else is to be had either.
    #[must_use]
    pub fn is_of_the_token(&self) -> bool {
        match self {
            HaloError::Unavailable { what, .. }
            | HaloError::Throttled { what, .. }
            | HaloError::Refused { what, .. }
            | HaloError::TooLarge { what }
            | HaloError::Unreadable(Unreadable { what, .. }) => *what == TOKEN,
            HaloError::Credentials { .. } | HaloError::Misled { .. } => true,
            HaloError::Unreachable { .. } => false,
        }
    }

    /// Whether it may be that of the one ticket that was asked for; others would fail as well if it is not.
    #[must_use]
    pub fn may_be_of_one_ticket(&self) -> bool {
        let of_the_answer = match self {
            HaloError::Unreadable(_) | HaloError::TooLarge { .. } | HaloError::Unavailable { .. } => true,
            HaloError::Refused { status, .. } => *status != 401,
            HaloError::Unreachable { .. }
            | HaloError::Throttled { .. }
            | HaloError::Credentials { .. }
            | HaloError::Misled { .. } => false,
        };
        of_the_answer && !self.is_of_the_token()
    }

    /// Whether it is in the answer that something is wrong, so that a part of it may be had.
    #[must_use]
    pub(super) fn is_of_the_answer(&self) -> bool {
        let broken = match self {
            HaloError::TooLarge { .. } => true,
            HaloError::Unreadable(answer) => matches!(answer.source, ParseError::NotJson(_)),
            _ => false,
        };
        broken && self.failure() == Failure::Unreadable
    }

    /// What a person can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            HaloError::Unreachable { source: Broken::Unsafe(flaw, _), .. } => flaw.advice(),
            HaloError::Unreachable { .. } => {
                "check server_url, the network and the proxy; the next pass goes on where this one stopped"
            }
            HaloError::Unavailable { what: TOKEN, .. } => {
                "check `tenant`: a wrong one is answered like this too; else the authorisation server fails, and \
                 the next pass tries again"
            }
            HaloError::Unavailable { .. } => {
                "the server may be under maintenance; the next pass goes on where this one stopped"
            }
            HaloError::Throttled { .. } => {
                "other integrations may share the limit; lower rate_limit, or raise rate_limit_wait"
            }
            HaloError::Credentials { code, .. } if code == "invalid_scope" => {
                "set `scope` to one that the API application has, \"all\" or \"read:tickets\""
            }
            HaloError::Credentials { .. } => {
                "check client_id and the secret; the API application must use the authentication method \
                 \"Client ID and Secret (Services)\" and log in as an agent"
            }
            HaloError::Refused { what: TOKEN, status: 401 | 403, .. } => {
                "this is no answer of HaloITSM to wrong credentials: a firewall or proxy may be in between; check \
                 server_url, auth_url, and whether this machine's address is let through"
            }
            HaloError::Refused { status: 401 | 403, .. } => {
                "the API application must log in as an agent (login type \"Agent\") who may see tickets, and \
                 have the scope read:tickets or all"
            }
            HaloError::Refused { what: TOKEN, status: 300..=399, .. } => {
                "redirects are never followed, the secret would go with them; set auth_url to the address it \
                 points to, if you trust it"
            }
            HaloError::Refused { status: 300..=399, .. } => {
                "redirects are never followed; set server_url to the address it points to, if you trust it"
            }
            HaloError::Refused { .. } => {
                "check server_url against Configuration > Integrations > HaloITSM API"
            }
            HaloError::Unreadable(Unreadable { what: TOKEN, .. }) => {
                "check `tenant` and `auth_url`: a wrong tenant is answered with a web page"
            }
            HaloError::Unreadable(Unreadable { html: true, .. }) => {
                "a web page came where JSON should be: check server_url (`/api` is added to it), or whether the \
                 server is under maintenance"
            }
            HaloError::Unreadable(_) => {
                "try again later; if it stays so, the server's answers have changed their shape: please report it"
            }
            HaloError::TooLarge { .. } => {
                "lower page_size and parallel_requests; a single ticket of that size cannot be taken"
            }
            HaloError::Misled { .. } => "set auth_url to the Authorisation Server that you trust",
        }
    }
}

/// The message in an error body, whatever its shape (`halo-api.md` §7); never a whole page, and never a
/// piece of JSON that was cut short.
fn message(body: &[u8]) -> Option<String> {
    let text = if let Ok(value) = serde_json::from_slice(body) {
        texts(&value)?
    } else {
        let text = std::str::from_utf8(body).ok()?;
        if text.trim_start().starts_with(['<', '{', '[', '"']) {
            return None;
        }
        text.to_owned()
    };
    let text = printable(text.trim());
    (!text.is_empty()).then_some(text)
}

/// The members of an error object that say something, the first that is there.
const TELLING: [&str; 5] = ["error_description", "Message", "message", "error", "errors"];

fn texts(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let all: Vec<_> = items.iter().filter_map(texts).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(object) => {
            let told = |name: &str| object.get(name).and_then(texts);
            // OAuth gives a short word and its meaning side by side (RFC 6749 §5.2).
            if let (Some(word), Some(meaning)) = (told("error"), told("error_description")) {
                return Some(format!("{word}: {meaning}"));
            }
            TELLING.iter().find_map(|name| told(name)).or_else(|| object.values().find_map(texts))
        }
        _ => None,
    }
}

/// One line without control characters, of at most 200 characters.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|it| if it.is_control() { ' ' } else { it }).collect()
}
