//! Errors of the server and of the connection to it, each with advice for an administrator.

use std::borrow::Cow;
use std::time::Duration;

use super::ResponseMeta;
use super::error_message::error_message;
use super::memory::ROWS_LEFT;
use super::oauth::OAuthErrorCode;
use super::proxy::{ProxyError, ProxyProblem, ProxyRoute};
use super::redaction::{Redactor, ServerText};
use super::resource::Resource;
use super::transport::{HttpResponse, TransportError};
use crate::privacy::PrivacyRules;
use crate::retry::{self, RequestFailure};
use crate::ticket::parse::{CutRow, ParseError};

/// Why a request failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "server_")]
pub enum HaloError {
    /// There is no response.
    #[error("cannot reach {host}{}", route_suffix(proxy.as_deref(), *retries))]
    Unreachable {
        /// The host, with its port unless it is the default one.
        host: String,
        /// The proxy that requests for it go through, if they do.
        proxy: Option<Box<ProxyRoute>>,
        /// Why.
        #[source]
        source: TransportError,
        /// How often the request was retried.
        retries: u32,
    },
    /// The server responds with 5xx.
    #[error("request for {resource} failed (status {status}{}){}", attempts_suffix(", ", *retries, ""), message_suffix(message.as_ref()))]
    Unavailable {
        /// What was requested.
        resource: Resource,
        /// The HTTP status.
        status: u16,
        /// The message in the response.
        message: Option<ServerText>,
        /// How often the request was retried.
        retries: u32,
    },
    /// The server's rate limit was exceeded, and waiting did not help.
    #[error("rate limit exceeded while fetching {resource}{}", attempts_suffix(" (", *retries, ")"))]
    RateLimited {
        /// What was requested.
        resource: Resource,
        /// The wait that the server requested, if any.
        retry_after: Option<Duration>,
        /// How often the request was retried.
        retries: u32,
    },
    /// The server refused the request, or something on the way to it did.
    #[error("request for {resource} was refused (status {status}{}){}", answered_by.suffix(), message_suffix(message.as_ref()))]
    Refused {
        /// What was requested.
        resource: Resource,
        /// The HTTP status.
        status: u16,
        /// Who refused it.
        answered_by: Responder,
        /// The message in the response.
        message: Option<ServerText>,
    },
    /// The authorization server refused the client.
    #[error("the authorization server refused client {client_id} ({code})")]
    #[strum(serialize = "refused_client")]
    Credentials {
        /// The OAuth error code. Nothing else of the response is kept.
        code: OAuthErrorCode,
        /// The id of the client.
        client_id: String,
    },
    /// The response is longer than what is accepted.
    #[error("the response for {resource} exceeds the limit of {} MiB", limit >> 20)]
    #[strum(serialize = "response_too_large")]
    TooLarge {
        /// What was requested.
        resource: Resource,
        /// The limit in bytes. It is lower than usual where rows that wait to be stored take the memory.
        limit: usize,
        /// What was received of the row that was requested alone.
        row: CutRow,
    },
    /// The response is not what was requested.
    #[error(transparent)]
    #[strum(serialize = "response_unreadable")]
    Unreadable(#[from] UnreadableResponse),
    /// The server names an authorization server that is neither itself nor in the settings. It gets no secret.
    #[error("the server names another authorization server: {address}")]
    OtherAuthServer {
        /// Its address.
        address: ServerText,
        /// The lines below `[halo]` that allow it; `None` where the address is not safe.
        settings: Option<String>,
    },
}

/// Who sent a response that refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// The server, as far as one can see.
    Server,
    /// Probably an address filter or firewall: few servers refuse a request with a web page.
    Firewall,
    /// A cache: the server is never asked whether something has changed.
    Cache,
    /// A proxy that the settings do not name.
    Proxy,
}

impl Responder {
    /// Tells who refused a request with this status.
    pub(super) fn of(status: u16, body: &[u8]) -> Responder {
        match status {
            304 => Responder::Cache,
            407 => Responder::Proxy,
            403 | 406 | 451 if is_html(body) => Responder::Firewall,
            _ => Responder::Server,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Responder::Server => "",
            Responder::Firewall => {
                ": a web page answered: probably an address filter or firewall between this machine and the server"
            }
            Responder::Cache => ": a cache between this machine and the server answered",
            Responder::Proxy => ": a proxy between this machine and the server answered",
        }
    }

    /// What an administrator can do, if that does not depend on what was requested.
    const fn advice(self) -> Option<&'static str> {
        match self {
            Responder::Server => None,
            Responder::Firewall => Some(
                "allow this machine's address in the address filter, the firewall or the web application firewall in \
                 front of the server; if there is none, check login type and scope of the API application",
            ),
            Responder::Cache => Some(
                "exclude the server from the cache; halosync never asks whether something has changed, so the server \
                 does not respond like this",
            ),
            Responder::Proxy => Some(
                "a proxy on the way requires a login: set `proxy` to its address with user name and password, or let it \
                 admit this machine without",
            ),
        }
    }
}

/// Whether a status asks to request another address.
const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// A response that is not what was requested. Its text is not kept: it may be a whole page.
#[derive(Debug, thiserror::Error)]
#[error("unexpected response for {resource} (status {status}, {bytes} {}{})", if *bytes == 1 { "byte" } else { "bytes" }, if *html { " of HTML" } else { "" })]
pub struct UnreadableResponse {
    /// What was requested.
    pub resource: Resource,
    /// The HTTP status.
    pub status: u16,
    /// The size of the body in bytes.
    pub bytes: usize,
    /// Whether it looks like a web page.
    pub html: bool,
    /// What can be told of the row that was requested alone.
    pub row: CutRow,
    /// The response.
    pub meta: Box<ResponseMeta>,
    /// What is wrong with it.
    pub source: ParseError,
}

/// Whether a body looks like a web page.
pub(super) fn is_html(body: &[u8]) -> bool {
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii_start().first() == Some(&b'<')
}

/// Tells how often a request was tried, if more than once.
fn attempts_suffix(before: &str, retries: u32, after: &str) -> String {
    match retries {
        0 => String::new(),
        1 => format!("{before}tried twice{after}"),
        more => format!("{before}tried {} times{after}", more + 1),
    }
}

/// Tells through which proxy, and how often a request was tried.
fn route_suffix(proxy: Option<&ProxyRoute>, retries: u32) -> String {
    match proxy {
        None => attempts_suffix(" (", retries, ")"),
        Some(route) => format!(" through the proxy {route}{}", attempts_suffix(", ", retries, "")),
    }
}

fn message_suffix(message: Option<&ServerText>) -> String {
    message.map_or(String::new(), |it| format!(": {it}"))
}

impl HaloError {
    /// Converts a response with an error status. Its message is kept only where it may be shown: with privacy rules it may
    /// hold what they hold back.
    pub(super) fn from_status(
        resource: Resource,
        response: &HttpResponse,
        redactor: &Redactor,
        privacy: &PrivacyRules,
    ) -> HaloError {
        // A token endpoint knows the secret and may say anything about it.
        let message = || {
            let has_message = resource != Resource::Token && privacy.is_empty();
            let message = has_message.then(|| error_message(&response.body)).flatten()?;
            Some(redactor.text(&message)).filter(|message| !message.as_str().is_empty())
        };
        let retry_after =
            response.retry_after.as_deref().and_then(|it| retry::parse_retry_after(it, response.date));
        match response.status {
            429 => HaloError::RateLimited { resource, retry_after, retries: 0 },
            503 if retry_after.is_some() => HaloError::RateLimited { resource, retry_after, retries: 0 },
            status @ 500.. => HaloError::Unavailable { resource, status, message: message(), retries: 0 },
            status if is_redirect(status) => {
                // Parsing changes the spelling of a host, so a secret is looked for before.
                let location = response.location.as_deref().filter(|it| !redactor.finds_secret(it));
                let message = location.and_then(|it| url::Url::parse(it).ok()).map(|url| {
                    let host = url.host_str().unwrap_or_default();
                    redactor.text(&format!("redirect to {}://{host}", url.scheme()))
                });
                HaloError::Refused { resource, status, answered_by: Responder::Server, message }
            }
            status => {
                let answered_by = Responder::of(status, &response.body);
                HaloError::Refused { resource, status, answered_by, message: message() }
            }
        }
    }

    pub(super) fn unreadable(
        resource: Resource,
        response: &HttpResponse,
        meta: ResponseMeta,
        source: ParseError,
        row: CutRow,
    ) -> HaloError {
        HaloError::Unreadable(UnreadableResponse {
            resource,
            status: response.status,
            bytes: response.body.len(),
            html: is_html(&response.body),
            row,
            meta: Box::new(meta),
            source,
        })
    }

    /// Sets how often the request was retried.
    pub(super) fn with_retries(self, retries: u32) -> HaloError {
        match self {
            HaloError::Unreachable { host, proxy, source, .. } => {
                HaloError::Unreachable { host, proxy, source, retries }
            }
            HaloError::Unavailable { resource, status, message, .. } => {
                HaloError::Unavailable { resource, status, message, retries }
            }
            HaloError::RateLimited { resource, retry_after, .. } => {
                HaloError::RateLimited { resource, retry_after, retries }
            }
            other => other,
        }
    }

    /// Whether no token could be obtained: then every other request would fail as well.
    #[must_use]
    pub fn is_token_error(&self) -> bool {
        match self {
            HaloError::Unavailable { resource, .. }
            | HaloError::RateLimited { resource, .. }
            | HaloError::Refused { resource, .. }
            | HaloError::TooLarge { resource, .. }
            | HaloError::Unreadable(UnreadableResponse { resource, .. }) => *resource == Resource::Token,
            HaloError::Credentials { .. } | HaloError::OtherAuthServer { .. } => true,
            HaloError::Unreachable { .. } => false,
        }
    }

    /// Whether the failure may concern only the requested ticket. Otherwise other requests would fail as well.
    #[must_use]
    pub fn can_be_ticket_specific(&self) -> bool {
        let is_response_error = match self {
            HaloError::Unreadable(_) | HaloError::TooLarge { .. } | HaloError::Unavailable { .. } => true,
            HaloError::Refused { status, .. } => *status != 401,
            HaloError::Unreachable { .. }
            | HaloError::RateLimited { .. }
            | HaloError::Credentials { .. }
            | HaloError::OtherAuthServer { .. } => false,
        };
        is_response_error && !self.is_token_error()
    }

    /// Whether the content of the page causes the failure, so that a smaller page may succeed.
    pub(super) fn should_split_page(&self) -> bool {
        match self {
            HaloError::TooLarge { resource, .. } => *resource == Resource::TicketList,
            HaloError::Unreadable(response) => {
                matches!(response.source, ParseError::NotJson(_))
                    && self.failure() == RequestFailure::Unreadable
            }
            _ => false,
        }
    }

    /// What can be told from what was received of the row that was requested alone.
    pub(super) fn row(&self) -> CutRow {
        match self {
            HaloError::TooLarge { row, .. } | HaloError::Unreadable(UnreadableResponse { row, .. }) => *row,
            _ => CutRow::default(),
        }
    }

    /// The response that could not be read.
    pub(super) fn response_meta(&self) -> Option<ResponseMeta> {
        match self {
            HaloError::Unreadable(response) => Some(*response.meta),
            _ => None,
        }
    }

    /// Whether what was requested is too large even while nothing else uses the memory.
    pub(super) fn is_too_large_alone(&self) -> bool {
        matches!(self, HaloError::TooLarge { resource, limit, .. } if resource.body_max() <= limit + ROWS_LEFT)
    }

    /// Returns what an administrator can do.
    #[must_use]
    pub fn advice(&self) -> Cow<'static, str> {
        if let HaloError::Unreachable { source, proxy: Some(proxy), .. } = self {
            match source {
                TransportError::Proxy(error) => return error.advice(proxy).into(),
                TransportError::Tls(..) => {}
                _ => return proxy.advice().into(),
            }
        }
        if let HaloError::OtherAuthServer { settings: Some(lines), .. } = self {
            return format!(
                "if that is the \"Authorisation Server\" in Configuration > Integrations > HaloITSM API, add this below \
                 [halo]: {lines}"
            )
            .into();
        }
        self.fixed_advice().into()
    }

    fn fixed_advice(&self) -> &'static str {
        match self {
            HaloError::Unreachable { source: TransportError::Tls(tls_error, _), .. } => tls_error.advice(),
            HaloError::Unreachable { .. } => {
                "check server_url, the network and the proxy; the next run continues where this one stopped"
            }
            HaloError::Unavailable { resource: Resource::Token, .. } => {
                "check `tenant`, because a wrong one also causes this error; otherwise the authorization server is \
                 failing, and the next run tries again"
            }
            HaloError::Unavailable { .. } => {
                "the server may be under maintenance; the next run continues where this one stopped"
            }
            HaloError::RateLimited { .. } => {
                "other integrations may share the limit; lower rate_limit, or raise rate_limit_wait"
            }
            HaloError::Credentials { code: OAuthErrorCode::InvalidScope, .. } => {
                "if the API application should have it, select it in HaloITSM; a server that does not know the scope \
                 needs this line below [halo]: scope = \"all\""
            }
            HaloError::Credentials { .. } => {
                "check client_id and the secret; the API application must use the authentication method \
                 \"Client ID and Secret (Services)\" and log in as an agent"
            }
            HaloError::Refused { answered_by, .. } if answered_by.advice().is_some() => {
                answered_by.advice().unwrap_or_default()
            }
            HaloError::Refused { resource: Resource::Token, status: 401 | 403, .. } => {
                "HaloITSM does not respond to wrong credentials like this, so a firewall or proxy may have blocked \
                 the request; check server_url, auth_url, and whether this machine's address is allowed"
            }
            HaloError::Refused { status: 401 | 403, .. } => {
                "the API application must log in as an agent (login type \"Agent\") who may see tickets, and \
                 have the scope read:tickets or all"
            }
            HaloError::Refused { resource: Resource::Token, status, .. } if is_redirect(*status) => {
                "redirects are never followed, because they would receive the secret; set auth_url to the new address \
                 if you trust it"
            }
            HaloError::Refused { status, .. } if is_redirect(*status) => {
                "redirects are never followed; set server_url to the new address if you trust it"
            }
            HaloError::Refused { .. } => {
                "check server_url against Configuration > Integrations > HaloITSM API"
            }
            HaloError::Unreadable(UnreadableResponse { resource: Resource::Token, .. }) => {
                "check `tenant` and `auth_url`: for a wrong tenant the server sends a web page"
            }
            HaloError::Unreadable(UnreadableResponse { html: true, .. }) => {
                "the server sent a web page instead of JSON: check server_url (`/api` is added to it), and whether \
                 the server is under maintenance"
            }
            HaloError::Unreadable(_) => {
                "try again later; if the error persists, the format of the server's responses has changed: please \
                 report it"
            }
            HaloError::TooLarge { resource: Resource::TicketList | Resource::Ticket, .. } => {
                "a single ticket of that size cannot be stored: shorten it in HaloITSM"
            }
            HaloError::TooLarge { .. } => {
                "no server sends so much: check server_url and what lies between it and this machine"
            }
            HaloError::OtherAuthServer { .. } => {
                "the secret goes only to the configured server or to an explicit auth_url, with https; set auth_url to the \
                 authorization server that you trust"
            }
        }
    }

    /// Returns how the request failed, for [`retry::decide`].
    #[must_use]
    pub fn failure(&self) -> RequestFailure {
        match self {
            HaloError::RateLimited { retry_after, .. } => {
                RequestFailure::RateLimited { retry_after: *retry_after }
            }
            HaloError::Unreachable {
                source: TransportError::Proxy(ProxyError { problem: ProxyProblem::Unsupported(_), .. }),
                ..
            } => RequestFailure::Refused,
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => RequestFailure::Unavailable,
            // A refusal with an unexpected body is still a refusal; only a 2xx response is worth a retry.
            HaloError::Unreadable(response) if 400 <= response.status => RequestFailure::Refused,
            // A web page instead of JSON means trouble with the server, not with the requested page.
            HaloError::Unreadable(response) if response.html => RequestFailure::Unavailable,
            HaloError::Unreadable(_) => RequestFailure::Unreadable,
            HaloError::Refused { status: 401, .. } => RequestFailure::Unauthorized,
            HaloError::Refused { .. }
            | HaloError::TooLarge { .. }
            | HaloError::Credentials { .. }
            | HaloError::OtherAuthServer { .. } => RequestFailure::Refused,
        }
    }
}
