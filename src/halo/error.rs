//! What can go wrong with the server, in the terms of what a person can do about it.

use std::time::Duration;

use super::token::TOKEN;
use super::transport::{HttpResponse, TransportError};
use crate::retry::{self, RequestFailure};
use crate::ticket::parse::ParseError;

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum HaloError {
    /// There is no answer.
    #[error("cannot reach {host}{}", attempts_suffix(*retries))]
    Unreachable {
        /// Which host, with its port where it is not the usual one.
        host: String,
        /// Why.
        #[source]
        source: TransportError,
        /// How often it was tried again.
        retries: u32,
    },
    /// The server answers with 5xx.
    #[error("the server answers {status} when asked for {what}{}{}", attempts_suffix(*retries), message_suffix(message.as_deref()))]
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
    #[error("the server's rate limit holds when asked for {what}{}", attempts_suffix(*retries))]
    RateLimited {
        /// What was asked for.
        what: &'static str,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
        /// How often it was tried again.
        retries: u32,
    },
    /// The server refuses.
    #[error("the server refuses {what} with status {status}{}", message_suffix(message.as_deref()))]
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
    Unreadable(#[from] UnreadableResponse),
    /// The server points to an address that must not be used.
    #[error("the server names an address for {what} that {why}")]
    UnsafeAuthUrl {
        /// The address of what.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// An answer that is not what was asked for. Its text is not kept: it may be a whole page.
#[derive(Debug, thiserror::Error)]
#[error("the answer for {what} cannot be used (status {status}, {bytes} bytes{})", if *html { " of HTML" } else { "" })]
pub struct UnreadableResponse {
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

fn attempts_suffix(retries: u32) -> String {
    match retries {
        0 => String::new(),
        1 => " (tried twice)".into(),
        more => format!(" (tried {} times)", more + 1),
    }
}

fn message_suffix(message: Option<&str>) -> String {
    message.map_or(String::new(), |it| format!(": {it}"))
}

impl HaloError {
    /// What an answer with an unwanted status means.
    pub(super) fn from_status(what: &'static str, response: &HttpResponse) -> HaloError {
        let retry_after =
            response.retry_after.as_deref().and_then(|it| retry::parse_retry_after(it, response.date));
        match response.status {
            429 => HaloError::RateLimited { what, retry_after, retries: 0 },
            503 if retry_after.is_some() => HaloError::RateLimited { what, retry_after, retries: 0 },
            status @ 500.. => {
                HaloError::Unavailable { what, status, message: message(&response.body), retries: 0 }
            }
            status @ 300..400 => {
                let message =
                    response.location.as_deref().and_then(|it| url::Url::parse(it).ok()).map(|url| {
                        format!("a redirect to {}://{}", url.scheme(), url.host_str().unwrap_or_default())
                    });
                HaloError::Refused { what, status, message }
            }
            status => HaloError::Refused { what, status, message: message(&response.body) },
        }
    }

    pub(super) fn unreadable(what: &'static str, response: &HttpResponse, source: ParseError) -> HaloError {
        let html = is_html(&response.body);
        HaloError::Unreadable(UnreadableResponse {
            what,
            status: response.status,
            bytes: response.body.len(),
            html,
            source,
        })
    }

    /// The same, knowing how often it was tried again.
    pub(super) fn with_retries(self, retries: u32) -> HaloError {
        match self {
            HaloError::Unreachable { host, source, .. } => HaloError::Unreachable { host, source, retries },
            HaloError::Unavailable { what, status, message, .. } => {
                HaloError::Unavailable { what, status, message, retries }
            }
            HaloError::RateLimited { what, retry_after, .. } => {
                HaloError::RateLimited { what, retry_after, retries }
            }
            other => other,
        }
    }

    /// Whether it was the token that was not to be had: then nothing else is to be had either.
    #[must_use]
    pub fn is_token_error(&self) -> bool {
        match self {
            HaloError::Unavailable { what, .. }
            | HaloError::RateLimited { what, .. }
            | HaloError::Refused { what, .. }
            | HaloError::TooLarge { what }
            | HaloError::Unreadable(UnreadableResponse { what, .. }) => *what == TOKEN,
            HaloError::Credentials { .. } | HaloError::UnsafeAuthUrl { .. } => true,
            HaloError::Unreachable { .. } => false,
        }
    }

    /// Whether it may be that of the one ticket that was asked for; others would fail as well if it is not.
    #[must_use]
    pub fn can_be_ticket_specific(&self) -> bool {
        let is_response_error = match self {
            HaloError::Unreadable(_) | HaloError::TooLarge { .. } | HaloError::Unavailable { .. } => true,
            HaloError::Refused { status, .. } => *status != 401,
            HaloError::Unreachable { .. }
            | HaloError::RateLimited { .. }
            | HaloError::Credentials { .. }
            | HaloError::UnsafeAuthUrl { .. } => false,
        };
        is_response_error && !self.is_token_error()
    }

    /// Whether it is in the answer that something is wrong, so that a part of it may be had.
    #[must_use]
    pub(super) fn should_split_page(&self) -> bool {
        let is_unusable = match self {
            HaloError::TooLarge { .. } => true,
            HaloError::Unreadable(response) => matches!(response.source, ParseError::NotJson(_)),
            _ => false,
        };
        is_unusable && self.failure() == RequestFailure::Unreadable
    }

    /// What a person can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            HaloError::Unreachable { source: TransportError::Tls(tls_error, _), .. } => tls_error.advice(),
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
            HaloError::RateLimited { .. } => {
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
            HaloError::Unreadable(UnreadableResponse { what: TOKEN, .. }) => {
                "check `tenant` and `auth_url`: a wrong tenant is answered with a web page"
            }
            HaloError::Unreadable(UnreadableResponse { html: true, .. }) => {
                "a web page came where JSON should be: check server_url (`/api` is added to it), or whether the \
                 server is under maintenance"
            }
            HaloError::Unreadable(_) => {
                "try again later; if it stays so, the server's answers have changed their shape: please report it"
            }
            HaloError::TooLarge { .. } => {
                "lower page_size and parallel_requests; a single ticket of that size cannot be taken"
            }
            HaloError::UnsafeAuthUrl { .. } => "set auth_url to the Authorisation Server that you trust",
        }
    }
}

/// The message in an error body, whatever its shape (`halo-api.md` §7); never a whole page, and never a
/// piece of JSON that was cut short.
fn message(body: &[u8]) -> Option<String> {
    let text = if let Ok(value) = serde_json::from_slice(body) {
        extract_text(&value)?
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
const MESSAGE_MEMBERS: [&str; 5] = ["error_description", "Message", "message", "error", "errors"];

fn extract_text(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let all: Vec<_> = items.iter().filter_map(extract_text).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(object) => {
            let text_of = |name: &str| object.get(name).and_then(extract_text);
            // OAuth gives a short word and its meaning side by side (RFC 6749 §5.2).
            if let (Some(code), Some(meaning)) = (text_of("error"), text_of("error_description")) {
                return Some(format!("{code}: {meaning}"));
            }
            MESSAGE_MEMBERS
                .iter()
                .find_map(|name| text_of(name))
                .or_else(|| object.values().find_map(extract_text))
        }
        _ => None,
    }
}

/// One line without control characters, of at most 200 characters.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|it| if it.is_control() { ' ' } else { it }).collect()
}
