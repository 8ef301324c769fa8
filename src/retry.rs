//! What a failed request means: ask again, wait, renew the token, or give up.
//!
//! Pure: attempts, waits and chance come in as arguments. How to wait is the business of
//! [`crate::halo`].

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How a request failed, as far as the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// 429, or a 503 that says when to come back.
    RateLimited {
        /// How long the server asks to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// No answer, a broken one, or 5xx.
    Unavailable,
    /// An answer with status 200 that cannot be read, or is too large.
    Unreadable,
    /// 401: the token is not, or no longer, good.
    Unauthorized,
    /// 400, 403, 404 and the rest: an answer, and the same one if asked again.
    Refused,
}

/// The limits of asking again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// How often one request may be repeated.
    pub max_retries: u32,
    /// How long to wait after a 429 that does not say how long.
    pub rate_limit_wait: Duration,
    /// A server that asks to wait longer is not waited for.
    pub max_wait: Duration,
}

impl RetryPolicy {
    /// How long nobody asks after a 429 that says so, or does not.
    #[must_use]
    pub fn rate_limit_pause(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or(self.rate_limit_wait).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Ask again after this wait, which concerns this request only.
    RetryAfter(Duration),
    /// Close the gate for every request for this long, then ask again.
    PauseAll(Duration),
    /// Get a new token and ask again at once.
    RenewToken,
    /// Report the failure.
    GiveUp,
}

/// An answer that cannot be read is asked for three times; then a part of it.
const UNREADABLE_RETRIES: u32 = 2;

/// A server may not keep us away for longer than this at a time.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Decides after a failure.
///
/// `retries` is how often the request was repeated already, `renewed` whether it already got a new
/// token, `chance` a number in `0.0..1.0` that spreads the waits (full jitter).
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

/// Reads a `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is compared with the `Date` of
/// the same answer and never with the local clock.
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
    #[case::as_told(Some(30), 30)]
    #[case::at_least_a_second(Some(0), 1)]
    #[case::at_most_fifteen_minutes(Some(86_400), 900)]
    #[case::the_configured_wait(None, 60)]
    fn retry_after_is_respected_within_its_limits(
        #[case] retry_after: Option<u64>,
        #[case] wait_seconds: u64,
    ) {
        let failure = RequestFailure::RateLimited { retry_after: retry_after.map(Duration::from_secs) };
        let expected = RetryDecision::PauseAll(Duration::from_secs(wait_seconds));
        assert_eq!(decide(failure, 0, false, &POLICY, 0.5), expected);
    }

    #[rstest]
    #[case::as_long_as_that(Some(5), false)]
    #[case::longer(Some(6), true)]
    #[case::by_the_settings(None, false)]
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
                    RetryDecision::RenewToken => prop_assert!(false, "a token has no part in this"),
                }
            }
        }
    }
}
