//! Sends a request through the rate limiter, retries it, and reads its response.

use std::panic;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::memory::{BudgetPermit, MemoryRequest};
use super::rate_limiter::RequestSlot;
use super::token::Token;
use super::transport::{HttpRequest, HttpResponse, TransportError};
use super::wait::WaitReason;
use super::{HaloClient, HaloError, Resource, ResponseMeta};
use crate::retry::{self, RequestFailure, RetryDecision};
use crate::ticket::FieldSearch;
use crate::ticket::parse::{self, CutRow, ParseError};

/// How many tokens one request may need: they expire while it waits for the rate limiter, or earlier than the server says.
const TOKENS_MAX: u32 = 5;

/// A token of this age that is refused did not expire.
const NEW_TOKEN_MAX: Duration = Duration::from_secs(10);

/// Bodies longer than this are parsed on a thread that may block, so that signals are still noticed.
const PARSED_INLINE_MAX: usize = 1 << 20;

/// A request that is retried until it succeeds.
pub(super) struct RequestSpec<'a> {
    pub(super) resource: Resource,
    pub(super) url: &'a Url,
    /// Statuses besides 2xx that are not errors.
    pub(super) accepted_statuses: &'a [u16],
    pub(super) part: RequestPart,
}

/// How a request belongs to a page that is fetched in parts.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestPart {
    /// The memory that other parts of the page hold.
    pub(super) held: usize,
    /// Whether the request already follows from a response that could not be read: then one that cannot be read
    /// either is not requested again.
    pub(super) is_after_failure: bool,
    /// Whether the response holds one row, whose id is wanted where it cannot be read.
    pub(super) is_single_row: bool,
    /// Whether unmapped fields are looked for in its rows.
    pub(super) search: FieldSearch,
}

/// What was read from a response.
pub(super) struct ReadResponse<T> {
    pub(super) value: T,
    pub(super) meta: ResponseMeta,
    /// The number of places that were repaired before it was read.
    pub(super) repaired: usize,
    /// The memory of the body; that of the value is part of it.
    pub(super) memory: BudgetPermit,
}

/// How sending a request once failed.
enum SendError {
    /// The response does not fit beside others.
    MemoryBusy,
    Failed(HaloError),
}

/// Reads a response. It may run on another thread.
pub(super) trait ResponseReader<T>:
    Fn(&HttpResponse) -> Result<T, ParseError> + Copy + Send + 'static
{
}

impl<T, F: Fn(&HttpResponse) -> Result<T, ParseError> + Copy + Send + 'static> ResponseReader<T> for F {}

impl<'a> RequestSpec<'a> {
    pub(super) fn new(resource: Resource, url: &'a Url, accepted_statuses: &'a [u16]) -> RequestSpec<'a> {
        RequestSpec { resource, url, accepted_statuses, part: RequestPart::default() }
    }
}

impl HaloClient {
    /// Sends a request with a token, and retries it until `read` can read the response.
    pub(super) async fn get<T: Send + 'static>(
        &self,
        spec: &RequestSpec<'_>,
        read: impl ResponseReader<T>,
    ) -> Result<ReadResponse<T>, HaloError> {
        let mut refused = None;
        let mut renewals = 0;
        let mut alone = false;
        let mut retries = 0;
        loop {
            // Before the rate limiter: a request is sent as soon as that lets it through.
            let (body_max, held) = (spec.resource.body_max(), spec.part.held);
            let memory = self.memory.acquire(MemoryRequest { body_max, held, alone }).await;
            let token = self.acquire_with_token(refused.as_ref()).await?;
            let (url, bearer) = (spec.url.clone(), Some(token.clone()));
            let renewed = TOKENS_MAX <= renewals || renewals != 0 && token.age() < NEW_TOKEN_MAX;
            let request = HttpRequest { url, form: None, bearer, memory: Some(memory) };
            let failed = match self.send(spec, request, read).await {
                Ok(done) => return Ok(done),
                Err(SendError::MemoryBusy) => {
                    let what = spec.resource.as_str();
                    tracing::debug!(what, "the response does not fit beside others: requesting it alone");
                    alone = true;
                    self.counter.record_retry();
                    continue;
                }
                Err(SendError::Failed(failed)) => failed,
            };
            let failure = failed.failure();
            if failure == RequestFailure::Unreadable && spec.part.is_after_failure {
                return Err(failed);
            }
            match retry::decide(failure, retries, renewed, &self.options.retry, (self.jitter)()) {
                RetryDecision::GiveUp => return Err(self.give_up(failed, retries)),
                RetryDecision::RenewToken => {
                    renewals += 1;
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

    /// Sends a request without a token, and retries it until `read` can read the response. `slot` is for the first attempt.
    pub(super) async fn send_unauthenticated<T: Send + 'static>(
        &self,
        spec: &RequestSpec<'_>,
        form: Option<&[(&'static str, SecretString)]>,
        mut slot: Option<RequestSlot>,
        read: impl ResponseReader<T>,
    ) -> Result<T, HaloError> {
        let mut retries = 0;
        loop {
            if slot.take().is_none_or(|slot| !self.rate_limiter.use_slot(&slot)) {
                self.rate_limiter.acquire().await;
            }
            let form = form.map(<[_]>::to_vec);
            let request = HttpRequest { url: spec.url.clone(), form, bearer: None, memory: None };
            let failed = match self.send(spec, request, read).await {
                Ok(done) => return Ok(done.value),
                Err(SendError::Failed(failed)) => failed,
                Err(SendError::MemoryBusy) => unreachable!("without a share of the memory a body is cut"),
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

    /// Waits for the rate limiter, and returns a valid token. Where there is none when the turn comes, the turn is used to
    /// renew it, and the request waits again: a token that is requested first may expire before.
    async fn acquire_with_token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut renewals = 0;
        loop {
            let slot = self.rate_limiter.acquire().await;
            let mut cache = self.token_cache.lock().await;
            match cache.usable_token(refused) {
                Some(token) if self.rate_limiter.use_slot(&slot) => return Ok(token),
                Some(_) => {}
                None => {
                    let token = self.renew_token(&mut cache, Some(slot)).await?;
                    renewals += 1;
                    if TOKENS_MAX <= renewals {
                        drop(cache);
                        self.rate_limiter.acquire().await;
                        return Ok(token);
                    }
                }
            }
        }
    }

    /// Sends one request, for which the rate limiter was acquired, and reads the response.
    async fn send<T: Send + 'static>(
        &self,
        spec: &RequestSpec<'_>,
        request: HttpRequest,
        read: impl ResponseReader<T>,
    ) -> Result<ReadResponse<T>, SendError> {
        let _in_flight = self.rate_limiter.waits.start_request();
        let request_no = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.counter.record_request(spec.resource == Resource::TicketList);
        let started = Instant::now();
        let result = self.transport.send(request).await.map_err(|error| error.redacted(&self.redactor));
        self.counter.record_response(result.as_ref().ok().map(|response| response.status));
        self.log_request(request_no, spec, &result, started.elapsed());
        let mut response = match result {
            Ok(response) => response,
            Err(error) => return Err(self.send_error(spec, error).await),
        };
        let arrival_no = self.response_count.fetch_add(1, Ordering::Relaxed);
        let meta = ResponseMeta {
            request_no,
            arrival_no,
            date: response.date,
            took: response.took,
            bytes: response.body.len(),
            age: response.age.as_deref().and_then(parse_age),
        };
        if !(200..300).contains(&response.status) && !spec.accepted_statuses.contains(&response.status) {
            let (redactor, privacy) = (&self.redactor, &self.options.privacy);
            return Err(SendError::Failed(HaloError::from_status(
                spec.resource,
                &response,
                redactor,
                privacy,
            )));
        }
        let _parsing = if PARSED_INLINE_MAX < meta.bytes { Some(self.parsing.lock().await) } else { None };
        let body = std::mem::take(&mut response.body);
        let repaired;
        (response.body, repaired) = match off_loop(meta.bytes, move || body.repaired()).await {
            Ok(repaired) => repaired,
            Err(error) => return Err(self.send_error(spec, error).await),
        };
        let (resource, is_single_row) = (spec.resource, spec.part.is_single_row);
        off_loop(meta.bytes, move || match read(&response) {
            Ok(value) => Ok(ReadResponse { value, meta, repaired, memory: response.body.into_memory() }),
            Err(source) => {
                let row = if is_single_row { parse::read_cut_row(&response.body) } else { CutRow::default() };
                Err(SendError::Failed(HaloError::unreadable(resource, &response, meta, source, row)))
            }
        })
        .await
    }

    /// Converts the failure of a request without a complete response.
    async fn send_error(&self, spec: &RequestSpec<'_>, error: TransportError) -> SendError {
        let (resource, is_single_row) = (spec.resource, spec.part.is_single_row);
        match error {
            TransportError::MemoryBusy => SendError::MemoryBusy,
            TransportError::TooLarge { received } => {
                let limit = received.limit().unwrap_or(resource.body_max());
                let bytes = received.len();
                let read =
                    move || if is_single_row { parse::read_cut_row(&received) } else { CutRow::default() };
                let row = off_loop(bytes, read).await;
                SendError::Failed(HaloError::TooLarge { resource, limit, row })
            }
            source => {
                let host = spec.url.host_str().unwrap_or_default();
                let host = spec.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
                let proxy = self.transport.proxy_route(spec.url).map(Box::new);
                SendError::Failed(HaloError::Unreachable { host, proxy, source, retries: 0 })
            }
        }
    }

    /// The metadata of a page of which no response could be read.
    pub(super) fn meta_without_response(&self) -> ResponseMeta {
        ResponseMeta {
            request_no: self.next_request.load(Ordering::Relaxed) - 1,
            arrival_no: self.response_count.fetch_add(1, Ordering::Relaxed),
            date: None,
            took: Duration::ZERO,
            bytes: 0,
            age: None,
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
                self.rate_limiter.waits.sleep_until(WaitReason::Retry, Instant::now() + wait).await;
            }
            RetryDecision::RenewToken | RetryDecision::GiveUp => {}
        }
    }

    /// Logs a request: its number, what it is for, and its result. A part of its address may come from the server.
    fn log_request(
        &self,
        request: i64,
        spec: &RequestSpec<'_>,
        result: &Result<HttpResponse, TransportError>,
        took: Duration,
    ) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let shown = |text: &str| self.redactor.text(text).into_string();
        let (what, path) = (spec.resource.as_str(), shown(spec.url.path()));
        let query = shown(spec.url.query().unwrap_or_default());
        let page = spec.url.query_pairs().find_map(|(name, page)| (name == "page_no").then_some(page));
        let page = page.as_deref();
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(HttpResponse { status, body, .. }) => {
                let bytes = body.len();
                tracing::debug!(request, what, path, page, query, status, bytes, ms, "response received");
            }
            Err(error) => tracing::debug!(request, what, path, page, query, %error, ms, "no response"),
        }
    }
}

/// Runs work on so many bytes; if they are many, on a thread that may block.
async fn off_loop<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= PARSED_INLINE_MAX {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Parses the `Age` header (RFC 9111 §5.1): seconds. Of several values the greatest counts. One that cannot be read is
/// ignored, as the RFC asks: it comes from something that is no cache.
pub(super) fn parse_age(header: &str) -> Option<u64> {
    let seconds = |value: &str| {
        let value = value.trim();
        let is_number = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| value.parse().unwrap_or(u64::MAX))
    };
    header.split(',').filter_map(seconds).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", Some(0))]
    #[case(" 120 ", Some(120))]
    #[case::more_than_64_bits("99999999999999999999999", Some(u64::MAX))]
    #[case::one_for_each_cache("0, 15", Some(15))]
    #[case::garbage("soon", None)]
    #[case::negative("-5", None)]
    #[case::empty("", None)]
    fn age_is_parsed_in_seconds(#[case] header: &str, #[case] age: Option<u64>) {
        assert_eq!(parse_age(header), age);
    }
}
