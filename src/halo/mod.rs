//! The client for HaloITSM, and the only module that uses the network: tokens, the rate limit, the ticket
//! list, single tickets, and reference tables.
//!
//! Knows nothing of the database. Every request, including those for tokens, goes through one rate limiter
//! and one retry loop, which follows [`crate::retry`]; the responses share one memory budget. Redirects are never followed, because a 307 would
//! resend the form with the secret to any address.

mod auth;
mod ca;
mod connectivity;
mod error;
mod error_message;
mod http;
mod list;
mod memory;
mod oauth;
mod page_split;
mod proxy;
mod rate_limiter;
mod redaction;
mod reference_list;
mod request;
mod resource;
mod root_cause;
mod row_memory;
mod stats;
mod ticket_search;
mod tls_error;
mod token;
mod transport;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use url::Url;

pub use auth::ReportedAuthServer;
pub use ca::{CaFileError, Certificates};
pub use connectivity::PingResponse;
pub use error::{HaloError, Responder, UnreadableResponse};
#[cfg(feature = "lake")]
pub use http::other_client;
pub use http::{HttpOptions, HttpTransport};
pub use list::{Coverage, Filter, ListPage, ListQuery, TicketDetails, TicketLookup};
pub use memory::BudgetPermit;
pub use oauth::OAuthErrorCode;
pub use proxy::{ProxyError, ProxyProblem, ProxyRoute};
pub use rate_limiter::{RateLimiter, effective_limit};
pub use redaction::{Redactor, ServerText, is_hidden};
pub use resource::Resource;
pub use root_cause::RootCause;
pub use stats::RequestStats;
pub use ticket_search::SearchedTicket;
pub use tls_error::TlsError;
pub use token::Token;
pub use transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};
pub use wait::{RequestWait, WaitReason};

use crate::config::ServerUrl;
use crate::privacy::PrivacyRules;
use crate::retry::{RequestCounts, RetryPolicy};
use crate::ticket::UnmappedFields;
use memory::MemoryBudget;
use stats::RequestCounter;
use ticket_search::TicketSearch;
use token::TokenCache;

/// The settings of a [`HaloClient`].
pub struct ClientOptions {
    /// The address of the server.
    pub server: ServerUrl,
    /// The tenant, if configured.
    pub tenant: Option<String>,
    /// The address of the authorization server, if configured.
    pub auth_url: Option<Url>,
    /// The id of the API application.
    pub client_id: String,
    /// The secret of the API application.
    pub client_secret: SecretString,
    /// The OAuth scope to request.
    pub scope: String,
    /// The scope to request where the server does not know all of `scope`.
    pub narrower_scope: Option<String>,
    /// When to retry.
    pub retry: RetryPolicy,
    /// What is held back of every response.
    pub privacy: Arc<PrivacyRules>,
}

impl ClientOptions {
    /// The options of a client that sends only requests without a token, for somebody who is waiting.
    #[must_use]
    pub fn without_credentials(server: ServerUrl) -> ClientOptions {
        let wait = Duration::from_secs(5);
        ClientOptions {
            server,
            tenant: None,
            auth_url: None,
            client_id: String::new(),
            client_secret: SecretString::default(),
            scope: String::new(),
            narrower_scope: None,
            retry: RetryPolicy { max_retries: 1, rate_limit_wait: wait, max_wait: wait },
            privacy: Arc::default(),
        }
    }
}

/// A client for one HaloITSM server.
pub struct HaloClient {
    transport: Arc<dyn Transport>,
    rate_limiter: RateLimiter,
    memory: MemoryBudget,
    /// Held while a long body is parsed: one at a time, for each thread keeps some of the memory that it ever used.
    parsing: Mutex<()>,
    token_cache: Mutex<TokenCache>,
    /// Every text of a response that leaves this module goes through it.
    redactor: Redactor,
    options: ClientOptions,
    next_request: AtomicI64,
    response_count: AtomicU64,
    counter: RequestCounter,
    ticket_search: TicketSearch,
    /// How many rows of lists were unreadable since the last readable one.
    unreadable_in_a_row: AtomicU32,
    jitter: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// The metadata of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseMeta {
    /// The number of the request; later requests have greater numbers.
    pub request_no: i64,
    /// The position in the order in which responses arrived.
    pub arrival_no: u64,
    /// The server's time, if it sends a valid `Date`.
    pub date: Option<DateTime<Utc>>,
    /// How long the response took.
    pub took: Duration,
    /// The size of the body in bytes, after decompression.
    pub bytes: usize,
    /// The `Age` header: for how many seconds a cache has stored the response.
    pub age: Option<u64>,
}

impl ResponseMeta {
    /// Whether a cache stored the response, so that it may tell an earlier state of the server. Ordinary proxies add
    /// `Age: 0` to fresh responses.
    #[must_use]
    pub fn is_aged(&self) -> bool {
        self.age.is_some_and(|seconds| 0 < seconds)
    }
}

impl HaloClient {
    /// Creates a client. `jitter` gives numbers in `0.0..1.0` that spread the waits between retries.
    pub fn new(
        transport: Arc<dyn Transport>,
        rate_limiter: RateLimiter,
        options: ClientOptions,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> HaloClient {
        HaloClient {
            transport,
            rate_limiter,
            memory: MemoryBudget::default(),
            parsing: Mutex::default(),
            token_cache: Mutex::new(TokenCache::default()),
            redactor: Redactor::new(options.client_secret.expose_secret()),
            options,
            next_request: AtomicI64::new(0),
            response_count: AtomicU64::new(0),
            counter: RequestCounter::default(),
            ticket_search: TicketSearch::default(),
            unreadable_in_a_row: AtomicU32::new(0),
            jitter: Box::new(jitter),
        }
    }

    /// Sets the number of the next request, so that it is greater than those of all earlier runs.
    pub fn number_requests_from(&self, first: i64) {
        self.next_request.fetch_max(first, Ordering::Relaxed);
    }

    /// Makes a text of the server safe to show: without secrets, on one line, at most 500 characters.
    #[must_use]
    pub fn server_text(&self, text: &str) -> ServerText {
        self.redactor.text(text)
    }

    /// Has the next single ticket of a kind that is fetched anyway searched for unmapped fields.
    pub fn search_next_ticket(&self, kind: SearchedTicket) {
        self.ticket_search.request(kind);
    }

    /// Takes the unmapped fields of that ticket, if there was one.
    #[must_use]
    pub fn take_unmapped_of_ticket(&self) -> Option<UnmappedFields> {
        self.ticket_search.take()
    }

    /// Keeps the secrets of the client that this one replaces out of texts, too.
    pub fn learn_secrets_from(&self, previous: &HaloClient) {
        self.redactor.learn_from(&previous.redactor);
    }

    /// The window of the rate limit.
    #[must_use]
    pub fn rate_window(&self) -> TimeDelta {
        self.rate_limiter.window()
    }

    /// Counts requests of other processes against the rate limit, as if they were made now.
    pub fn count_other_requests(&self, requests: u64) {
        self.rate_limiter.count(requests);
    }

    /// Returns how many requests were made so far.
    #[must_use]
    pub fn request_counts(&self) -> RequestCounts {
        self.counter.counts()
    }

    /// Returns the request statistics so far.
    #[must_use]
    pub fn request_stats(&self) -> RequestStats {
        self.counter.stats(self.rate_limiter.total_pause())
    }

    /// Returns how long all requests are still paused.
    #[must_use]
    pub fn remaining_pause(&self) -> Duration {
        self.rate_limiter.remaining_pause()
    }

    /// Pauses all requests.
    pub fn pause_for(&self, wait: Duration) {
        self.rate_limiter.pause_for(wait);
    }

    /// Watches the waits of all requests: for the rate limit, for a pause that the server requested, or before a retry.
    #[must_use]
    pub fn watch_waits(&self) -> watch::Receiver<Option<RequestWait>> {
        self.rate_limiter.waits.subscribe()
    }

    /// Returns the earliest time at which the rate limit lets the last of so many further requests through.
    #[must_use]
    pub fn earliest_send(&self, requests: u64) -> Instant {
        self.rate_limiter.earliest_send(requests)
    }

    /// Returns the time until which requests wait, for the rate limit or for a pause that the server requested.
    #[must_use]
    pub fn waiting_until(&self) -> Instant {
        self.rate_limiter.waiting_until()
    }
}
