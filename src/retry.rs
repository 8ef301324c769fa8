//! Retry policy: whether a failed request is retried, waits, renews the token, or is given up.
//!
//! Pure: attempts, waits and jitter are arguments. [`crate::halo`] does the waiting.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How a request failed, as far as the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// 429, or 503 with a `Retry-After`.
    RateLimited {
        /// The wait that the server requested, if any.
        retry_after: Option<Duration>,
    },
    /// No response, a broken one, or 5xx.
    Unavailable,
    /// A response with status 200 that cannot be read.
    Unreadable,
    /// 401: the token is invalid or has expired.
    Unauthorized,
    /// 400, 403, 404 and the rest, and a response that is too large: a retry would get the same.
    Refused,
}

/// The limits of retrying.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// How often one request may be retried.
    pub max_retries: u32,
    /// The wait after a 429 without `Retry-After`.
    pub rate_limit_wait: Duration,
    /// The longest requested wait that is accepted; after a longer one the request is given up.
    pub max_wait: Duration,
}

impl RetryPolicy {
    /// How long all requests pause after a 429.
    #[must_use]
    pub fn rate_limit_pause(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or(self.rate_limit_wait).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Retry after this wait, which concerns this request only.
    RetryAfter(Duration),
    /// Pause every request for this long, then retry.
    PauseAll(Duration),
    /// Get a new token and retry at once.
    RenewToken,
    /// Report the failure.
    GiveUp,
}

/// How many requests were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// All requests, those for tokens and retries included.
    pub requests: u64,
    /// Requests for the ticket list.
    pub list_requests: u64,
    /// Requests that were retries.
    pub retries: u64,
}

impl RequestCounts {
    /// Returns the requests made since an earlier count.
    #[must_use]
    pub fn since(self, earlier: RequestCounts) -> RequestCounts {
        RequestCounts {
            requests: self.requests - earlier.requests,
            list_requests: self.list_requests - earlier.list_requests,
            retries: self.retries - earlier.retries,
        }
    }

    /// Returns the sum of both counts.
    #[must_use]
    pub fn plus(self, other: RequestCounts) -> RequestCounts {
        RequestCounts {
            requests: self.requests + other.requests,
            list_requests: self.list_requests + other.list_requests,
            retries: self.retries + other.retries,
        }
    }
}

/// How often an unreadable response is requested again; after that, a large page is split.
const UNREADABLE_RETRIES: u32 = 2;

/// The longest single pause that the server can impose.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Decides what to do after a failure.
///
/// `retries` is how often the request was already retried, `renewed` whether it already got a new
/// token, `jitter` a number in `0.0..1.0` that spreads the waits (full jitter).
#[must_use]
pub fn decide(
    failure: RequestFailure,
    retries: u32,
    renewed: bool,
    policy: &RetryPolicy,
    jitter: f64,
) -> RetryDecision {
    match failure {
        RequestFailure::Unauthorized if !renewed => RetryDecision::RenewToken,
        RequestFailure::Unauthorized | RequestFailure::Refused => RetryDecision::GiveUp,
        RequestFailure::Unreadable if UNREADABLE_RETRIES <= retries => RetryDecision::GiveUp,
        RequestFailure::RateLimited { retry_after: Some(requested) } if policy.max_wait < requested => {
            RetryDecision::GiveUp
        }
        _ if policy.max_retries <= retries => RetryDecision::GiveUp,
        RequestFailure::RateLimited { retry_after } => {
            RetryDecision::PauseAll(policy.rate_limit_pause(retry_after))
        }
        RequestFailure::Unavailable | RequestFailure::Unreadable => {
            let ceiling = FIRST_WAIT.saturating_mul(1 << retries.min(10)).min(LONGEST_WAIT);
            RetryDecision::RetryAfter(ceiling.mul_f64(jitter.clamp(0.0, 1.0)))
        }
    }
}

/// Parses a `Retry-After` header (RFC 9110 §10.2.3): seconds, or a date, which is compared with the
/// `Date` of the same response and never with the local clock.
#[must_use]
pub fn parse_retry_after(value: &str, date: Option<DateTime<Utc>>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let until = DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?);
    let wait = (until - date?).to_std().unwrap_or(Duration::ZERO);
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const POLICY: RetryPolicy =
        RetryPolicy { max_retries: 5, rate_limit_wait: Duration::from_mins(1), max_wait: Duration::MAX };

    #[rstest]
    #[case::as_requested(Some(30), 30)]
    #[case::at_least_a_second(Some(0), 1)]
    #[case::at_most_fifteen_minutes(Some(86_400), 900)]
    #[case::configured_wait(None, 60)]
    fn retry_after_is_respected_within_its_limits(
        #[case] retry_after: Option<u64>,
        #[case] wait_seconds: u64,
    ) {
        let failure = RequestFailure::RateLimited { retry_after: retry_after.map(Duration::from_secs) };
        let expected = RetryDecision::PauseAll(Duration::from_secs(wait_seconds));
        assert_eq!(decide(failure, 0, false, &POLICY, 0.5), expected);
    }

    #[rstest]
    #[case::equal(Some(5), false)]
    #[case::longer(Some(6), true)]
    #[case::configured_wait(None, false)]
    fn retry_after_beyond_max_wait_gives_up(#[case] retry_after: Option<u64>, #[case] gives_up: bool) {
        let failure = RequestFailure::RateLimited { retry_after: retry_after.map(Duration::from_secs) };
        let policy = RetryPolicy { max_wait: Duration::from_secs(5), ..POLICY };
        assert_eq!(decide(failure, 0, false, &policy, 0.5) == RetryDecision::GiveUp, gives_up);
    }

    #[test]
    fn refused_request_is_never_retried() {
        assert_eq!(decide(RequestFailure::Refused, 0, false, &POLICY, 0.5), RetryDecision::GiveUp);
    }

    #[test]
    fn unauthorized_request_renews_the_token_once() {
        assert_eq!(decide(RequestFailure::Unauthorized, 0, false, &POLICY, 0.5), RetryDecision::RenewToken);
        assert_eq!(decide(RequestFailure::Unauthorized, 0, true, &POLICY, 0.5), RetryDecision::GiveUp);
    }

    #[rstest]
    #[case("120", Some(120))]
    #[case(" 7 ", Some(7))]
    #[case("4000000000", Some(900))]
    #[case::imf_fixdate("Sun, 22 Nov 2026 12:00:30 GMT", Some(30))]
    #[case::rfc_850("Sunday, 22-Nov-26 12:00:30 GMT", Some(30))]
    #[case::asctime("Sun Nov 22 12:00:30 2026", Some(30))]
    #[case::past("Sun, 22 Nov 2026 11:00:00 GMT", Some(0))]
    #[case::garbage("soon", None)]
    #[case::negative("-5", None)]
    fn retry_after_is_parsed_in_every_valid_form(#[case] value: &str, #[case] seconds: Option<u64>) {
        let date = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(parse_retry_after(value, Some(date)), seconds.map(Duration::from_secs));
    }

    #[test]
    fn retry_after_date_needs_the_date_of_the_response() {
        assert_eq!(parse_retry_after("Sun, 22 Nov 2026 12:00:30 GMT", None), None);
    }

    proptest! {
        #[test]
        fn every_request_ends_and_no_wait_exceeds_its_limit(
            retries in 0u32..40, renewed: bool, jitter in 0.0..1.0f64, retry_after in proptest::option::of(0u64..1_000_000),
        ) {
            for failure in [RequestFailure::RateLimited { retry_after: retry_after.map(Duration::from_secs) }, RequestFailure::Unavailable, RequestFailure::Unreadable] {
                match decide(failure, retries, renewed, &POLICY, jitter) {
                    RetryDecision::GiveUp => prop_assert!(UNREADABLE_RETRIES <= retries),
                    RetryDecision::RetryAfter(wait) => prop_assert!(retries < POLICY.max_retries && wait <= LONGEST_WAIT),
                    RetryDecision::PauseAll(wait) => prop_assert!(retries < POLICY.max_retries && wait <= RETRY_AFTER_MAX),
                    RetryDecision::RenewToken => prop_assert!(false, "{failure:?} renewed the token"),
                }
            }
        }
    }
}
