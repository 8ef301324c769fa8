//! The only door to the network: tokens, the throttle, the ticket list, single tickets, names.
//!
//! Knows nothing of the database. Every request, those for tokens included, passes one gate and one
//! loop that decides by [`crate::retry`] whether it is asked again. Redirects are never followed,
//! because a 307 would replay the form with the secret to wherever it points.

mod error;
mod http;
mod list;
mod page_split;
mod probe;
mod rate_limiter;
mod stats;
mod tls_error;
mod token;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

pub use error::{HaloError, UnreadableResponse};
pub use http::{HttpOptions, HttpTransport};
pub use list::{Coverage, Filter, ListPage, ListQuery, TicketLookup};
pub use probe::PingResponse;
pub use rate_limiter::{RateLimiter, effective_limit};
pub use stats::{RequestCounts, RequestStats};
pub use tls_error::TlsError;
pub use token::Token;
pub use transport::{Body, HttpRequest, HttpResponse, RootCause, Transport, TransportError};

use crate::config::ServerUrl;
use crate::retry::{self, RequestFailure, RetryDecision, RetryPolicy};
use crate::ticket::parse::ParseError;
use stats::RequestCounter;
use token::TokenCache;

/// So many tokens may grow old in the wait for one place, before one is tried all the same.
const TOKEN_ATTEMPTS_MAX: u32 = 5;

/// How to ask a server; everything that a [`Halo`] needs to know and nothing that it does.
pub struct ClientOptions {
    /// Where the server is.
    pub server: ServerUrl,
    /// The tenant, where one is configured.
    pub tenant: Option<String>,
    /// The authorisation server, where one is configured.
    pub auth_url: Option<Url>,
    /// The id of the API application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// What the token is asked for.
    pub scope: String,
    /// When to ask again.
    pub retry: RetryPolicy,
}

/// A HaloITSM server.
pub struct HaloClient {
    transport: Arc<dyn Transport>,
    rate_limiter: RateLimiter,
    token_cache: Mutex<TokenCache>,
    options: ClientOptions,
    next_request: AtomicI64,
    response_count: AtomicU64,
    counter: RequestCounter,
    jitter: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// What is known of an answer besides its content.
#[derive(Clone, Copy, Debug)]
pub struct ResponseMeta {
    /// The number of the request; later ones have greater numbers.
    pub request_no: i64,
    /// Its place in the order in which answers arrived.
    pub arrival_no: u64,
    /// The server's time, where it says so readably.
    pub date: Option<DateTime<Utc>>,
    /// How long the answer took.
    pub took: Duration,
    /// The size of its body after decompression.
    pub bytes: usize,
}

/// A request that is asked again until it is answered.
pub(crate) struct RequestSpec<'a> {
    /// What it is for, for messages: `the ticket list`.
    what: &'static str,
    url: &'a Url,
    /// Statuses besides 2xx that are answers to it.
    accepted_statuses: &'a [u16],
}

impl HaloClient {
    /// A server behind a transport. `chance` gives numbers in `0.0..1.0` that spread the waits.
    pub fn new(
        transport: Arc<dyn Transport>,
        rate_limiter: RateLimiter,
        options: ClientOptions,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> HaloClient {
        HaloClient {
            transport,
            rate_limiter,
            token_cache: Mutex::new(TokenCache::default()),
            options,
            next_request: AtomicI64::new(0),
            response_count: AtomicU64::new(0),
            counter: RequestCounter::default(),
            jitter: Box::new(jitter),
        }
    }

    /// Numbers the requests from here on, so that they are greater than those of every earlier pass.
    pub fn number_requests_from(&self, first: i64) {
        self.next_request.fetch_max(first, Ordering::Relaxed);
    }

    /// How often the server was asked so far.
    #[must_use]
    pub fn request_counts(&self) -> RequestCounts {
        self.counter.counts()
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn request_stats(&self) -> RequestStats {
        self.counter.stats(self.rate_limiter.total_pause())
    }

    /// How long the server still wants to be left alone.
    #[must_use]
    pub fn remaining_pause(&self) -> Duration {
        self.rate_limiter.remaining_pause()
    }

    /// Leaves the server alone for so long.
    pub fn pause_for(&self, wait: Duration) {
        self.rate_limiter.pause_for(wait);
    }

    /// Until when requests wait that were told to, by the rate limit or by the server.
    #[must_use]
    pub fn waiting_until(&self) -> Instant {
        self.rate_limiter.waiting_until()
    }

    /// Asks with a token until there is an answer that `read` can read.
    async fn get<T>(
        &self,
        spec: &RequestSpec<'_>,
        read: impl Fn(&HttpResponse) -> Result<T, ParseError>,
    ) -> Result<(T, ResponseMeta), HaloError> {
        let mut refused = None;
        let mut renewed = false;
        let mut retries = 0;
        loop {
            let token = self.acquire_with_token(refused.as_ref()).await?;
            let request = HttpRequest { url: spec.url.clone(), form: None, bearer: Some(token.clone()) };
            let failed = match self.send(spec, request, &read).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            match retry::decide(failed.failure(), retries, renewed, &self.options.retry, (self.jitter)()) {
                RetryDecision::GiveUp => return Err(self.give_up(failed, retries)),
                RetryDecision::RenewToken => {
                    renewed = true;
                    refused = Some(token);
                }
                decision => {
                    self.wait_before_retry(spec.what, &failed, decision).await;
                    retries += 1;
                }
            }
            self.counter.record_retry();
        }
    }

    /// Asks without a token until there is an answer that `read` can read.
    async fn send_unauthenticated<T>(
        &self,
        spec: &RequestSpec<'_>,
        form: Option<&[(&'static str, SecretString)]>,
        read: impl Fn(&HttpResponse) -> Result<T, ParseError>,
    ) -> Result<T, HaloError> {
        let mut retries = 0;
        loop {
            self.rate_limiter.acquire().await;
            let request = HttpRequest { url: spec.url.clone(), form: form.map(<[_]>::to_vec), bearer: None };
            let failed = match self.send(spec, request, &read).await {
                Ok((done, _)) => return Ok(done),
                Err(failed) => failed,
            };
            match retry::decide(failed.failure(), retries, true, &self.options.retry, (self.jitter)()) {
                RetryDecision::GiveUp | RetryDecision::RenewToken => {
                    return Err(self.give_up(failed, retries));
                }
                decision => self.wait_before_retry(spec.what, &failed, decision).await,
            }
            retries += 1;
            self.counter.record_retry();
        }
    }

    /// Passes the gate with a good token. The wait there may have been longer than the life of the token:
    /// then a place is given up for a new one, and again where that is too old as well.
    async fn acquire_with_token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut token = self.token(refused).await?;
        self.rate_limiter.acquire().await;
        for _ in 1..TOKEN_ATTEMPTS_MAX {
            if token.is_fresh() {
                break;
            }
            token = self.token(refused).await?;
            self.rate_limiter.acquire().await;
        }
        Ok(token)
    }

    /// Sends one request, which has passed the gate, and reads the answer.
    async fn send<T>(
        &self,
        spec: &RequestSpec<'_>,
        request: HttpRequest,
        read: impl Fn(&HttpResponse) -> Result<T, ParseError>,
    ) -> Result<(T, ResponseMeta), HaloError> {
        let request_no = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.counter.record_request(spec.what == list::LIST);
        let host = spec.url.host_str().unwrap_or_default();
        let host = spec.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let since = Instant::now();
        let result = self.transport.send(request).await;
        self.counter.record_response(result.as_ref().ok().map(|response| response.status));
        log_request(request_no, spec, &result, since.elapsed());
        let response = result.map_err(|source| match source {
            TransportError::TooLarge => HaloError::TooLarge { what: spec.what },
            source => HaloError::Unreachable { host, source, retries: 0 },
        })?;
        let arrival_no = self.response_count.fetch_add(1, Ordering::Relaxed);
        let (date, took, bytes) = (response.date, response.took, response.body.len());
        let meta = ResponseMeta { request_no, arrival_no, date, took, bytes };
        if !(200..300).contains(&response.status) && !spec.accepted_statuses.contains(&response.status) {
            return Err(HaloError::from_status(spec.what, &response));
        }
        match read(&response) {
            Ok(value) => Ok((value, meta)),
            Err(source) => Err(HaloError::unreadable(spec.what, &response, source)),
        }
    }

    /// The failure of a request that is not repeated. What the server asked for holds all the same, for
    /// everybody and for the next pass.
    fn give_up(&self, failed: HaloError, retries: u32) -> HaloError {
        if let RequestFailure::RateLimited { retry_after } = failed.failure() {
            self.rate_limiter.pause_for(self.options.retry.rate_limit_pause(retry_after));
        }
        failed.with_retries(retries)
    }

    async fn wait_before_retry(&self, what: &str, failed: &HaloError, decision: RetryDecision) {
        match decision {
            RetryDecision::PauseAll(wait) => {
                let seconds = wait.as_secs();
                tracing::info!(what, seconds, "the server asks to wait: {seconds} s, when asked for {what}");
                self.rate_limiter.pause_for(wait);
            }
            RetryDecision::RetryAfter(wait) => {
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(what, ms, error = %failed, "asking again");
                tokio::time::sleep(wait).await;
            }
            RetryDecision::RenewToken | RetryDecision::GiveUp => {}
        }
    }
}

/// A request in the log: its number, what it asked for, and what became of it.
fn log_request(
    request: i64,
    spec: &RequestSpec<'_>,
    result: &Result<HttpResponse, TransportError>,
    took: Duration,
) {
    let (what, path, query) = (spec.what, spec.url.path(), spec.url.query().unwrap_or_default());
    let page = spec.url.query_pairs().find_map(|(name, page)| (name == "page_no").then_some(page));
    let page = page.as_deref();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(HttpResponse { status, body, .. }) => {
            tracing::debug!(request, what, path, page, query, status, bytes = body.len(), ms, "answered");
        }
        Err(error) => tracing::debug!(request, what, path, page, query, %error, ms, "not answered"),
    }
}

impl HaloError {
    /// What the failure means for the next step.
    #[must_use]
    pub fn failure(&self) -> RequestFailure {
        match self {
            HaloError::RateLimited { retry_after, .. } => {
                RequestFailure::RateLimited { retry_after: *retry_after }
            }
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => RequestFailure::Unavailable,
            // A refusal in a strange shape is a refusal; only what should have been an answer may become one.
            HaloError::Unreadable(response) if 400 <= response.status => RequestFailure::Refused,
            // A web page instead of an answer is the server's trouble, not that of what was asked for.
            HaloError::Unreadable(response) if response.html => RequestFailure::Unavailable,
            HaloError::Unreadable(_) | HaloError::TooLarge { .. } => RequestFailure::Unreadable,
            HaloError::Refused { status: 401, .. } => RequestFailure::Unauthorized,
            HaloError::Refused { .. } | HaloError::Credentials { .. } | HaloError::UnsafeAuthUrl { .. } => {
                RequestFailure::Refused
            }
        }
    }
}
