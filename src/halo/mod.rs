//! The client for HaloITSM, and the only module that uses the network: tokens, the rate limit, the ticket
//! list, single tickets, and reference tables.
//!
//! Knows nothing of the database. Every request, including those for tokens, goes through one rate limiter
//! and one retry loop, which follows [`crate::retry`]. Redirects are never followed, because a 307 would
//! resend the form with the secret to any address.

mod auth;
mod connectivity;
mod error;
mod http;
mod list;
mod page_split;
mod rate_limiter;
mod resource;
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

pub use connectivity::PingResponse;
pub use error::{HaloError, UnreadableResponse};
pub use http::{HttpOptions, HttpTransport};
pub use list::{Coverage, Filter, ListPage, ListQuery, TicketLookup};
pub use rate_limiter::{RateLimiter, effective_limit};
pub use resource::Resource;
pub use stats::RequestStats;
pub use tls_error::TlsError;
pub use token::Token;
pub use transport::{Body, HttpRequest, HttpResponse, RootCause, Transport, TransportError};

use crate::config::ServerUrl;
use crate::retry::{self, RequestCounts, RequestFailure, RetryDecision, RetryPolicy};
use crate::ticket::parse::ParseError;
use stats::RequestCounter;
use token::TokenCache;

/// How many tokens may expire while one request waits for the rate limiter, before it is sent anyway.
const TOKEN_ATTEMPTS_MAX: u32 = 5;

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
    /// When to retry.
    pub retry: RetryPolicy,
}

/// A client for one HaloITSM server.
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
}

/// A request that is retried until it succeeds.
struct RequestSpec<'a> {
    resource: Resource,
    url: &'a Url,
    /// Statuses besides 2xx that are not errors.
    accepted_statuses: &'a [u16],
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
            token_cache: Mutex::new(TokenCache::default()),
            options,
            next_request: AtomicI64::new(0),
            response_count: AtomicU64::new(0),
            counter: RequestCounter::default(),
            jitter: Box::new(jitter),
        }
    }

    /// Sets the number of the next request, so that it is greater than those of all earlier runs.
    pub fn number_requests_from(&self, first: i64) {
        self.next_request.fetch_max(first, Ordering::Relaxed);
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

    /// Returns the time until which requests wait, for the rate limit or for a pause that the server requested.
    #[must_use]
    pub fn waiting_until(&self) -> Instant {
        self.rate_limiter.waiting_until()
    }

    /// Sends a request with a token, and retries it until `read` can read the response.
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
                    self.wait_before_retry(spec.resource, &failed, decision).await;
                    retries += 1;
                }
            }
            self.counter.record_retry();
        }
    }

    /// Sends a request without a token, and retries it until `read` can read the response.
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
                decision => self.wait_before_retry(spec.resource, &failed, decision).await,
            }
            retries += 1;
            self.counter.record_retry();
        }
    }

    /// Waits for the rate limiter, and returns a valid token. If the token expires during the wait, it is
    /// renewed, and the request waits again.
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

    /// Sends one request, for which the rate limiter was acquired, and reads the response.
    async fn send<T>(
        &self,
        spec: &RequestSpec<'_>,
        request: HttpRequest,
        read: impl Fn(&HttpResponse) -> Result<T, ParseError>,
    ) -> Result<(T, ResponseMeta), HaloError> {
        let request_no = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.counter.record_request(spec.resource == Resource::TicketList);
        let host = spec.url.host_str().unwrap_or_default();
        let host = spec.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let started = Instant::now();
        let result = self.transport.send(request).await;
        self.counter.record_response(result.as_ref().ok().map(|response| response.status));
        log_request(request_no, spec, &result, started.elapsed());
        let response = result.map_err(|source| match source {
            TransportError::TooLarge => HaloError::TooLarge { resource: spec.resource },
            source => HaloError::Unreachable { host, source, retries: 0 },
        })?;
        let arrival_no = self.response_count.fetch_add(1, Ordering::Relaxed);
        let (date, took, bytes) = (response.date, response.took, response.body.len());
        let meta = ResponseMeta { request_no, arrival_no, date, took, bytes };
        if !(200..300).contains(&response.status) && !spec.accepted_statuses.contains(&response.status) {
            return Err(HaloError::from_status(spec.resource, &response));
        }
        match read(&response) {
            Ok(value) => Ok((value, meta)),
            Err(source) => Err(HaloError::unreadable(spec.resource, &response, source)),
        }
    }

    /// Returns the failure of a request that is not retried. A wait that the server requested still applies,
    /// to all other requests and to the next run.
    fn give_up(&self, failed: HaloError, retries: u32) -> HaloError {
        if let RequestFailure::RateLimited { retry_after } = failed.failure() {
            self.rate_limiter.pause_for(self.options.retry.rate_limit_pause(retry_after));
        }
        failed.with_retries(retries)
    }

    async fn wait_before_retry(&self, resource: Resource, failed: &HaloError, decision: RetryDecision) {
        let what = resource.as_str();
        match decision {
            RetryDecision::PauseAll(wait) => {
                let seconds = wait.as_secs();
                tracing::info!(
                    what,
                    seconds,
                    "rate limit exceeded while fetching {what}: pausing all requests for {seconds} s"
                );
                self.rate_limiter.pause_for(wait);
            }
            RetryDecision::RetryAfter(wait) => {
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(what, ms, error = %failed, "retrying");
                tokio::time::sleep(wait).await;
            }
            RetryDecision::RenewToken | RetryDecision::GiveUp => {}
        }
    }
}

/// Logs a request: its number, what it is for, and its result.
fn log_request(
    request: i64,
    spec: &RequestSpec<'_>,
    result: &Result<HttpResponse, TransportError>,
    took: Duration,
) {
    let (what, path, query) = (spec.resource.as_str(), spec.url.path(), spec.url.query().unwrap_or_default());
    let page = spec.url.query_pairs().find_map(|(name, page)| (name == "page_no").then_some(page));
    let page = page.as_deref();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(HttpResponse { status, body, .. }) => {
            tracing::debug!(
                request,
                what,
                path,
                page,
                query,
                status,
                bytes = body.len(),
                ms,
                "response received"
            );
        }
        Err(error) => tracing::debug!(request, what, path, page, query, %error, ms, "no response"),
    }
}
