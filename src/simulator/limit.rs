//! The rate limit: so many requests in a rolling window.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::choices::RetryAfter;
use super::knobs::Knobs;
use super::message::{Answer, http_date};
use super::refusal::refusal;

/// The requests that were let through in the present window.
#[derive(Debug, Default)]
pub(super) struct Limit {
    passed: VecDeque<DateTime<Utc>>,
}

impl Limit {
    /// Lets a request through, or answers 429. A request that was refused does not lengthen the wait.
    pub(super) fn pass(&mut self, knobs: &Knobs, now: DateTime<Utc>) -> Result<(), Answer> {
        if knobs.rate_limit == 0 {
            return Ok(());
        }
        let window = TimeDelta::seconds(knobs.rate_window_s.into());
        while self.passed.front().is_some_and(|&oldest| oldest + window <= now) {
            self.passed.pop_front();
        }
        if u32::try_from(self.passed.len()).is_ok_and(|passed| passed < knobs.rate_limit) {
            self.passed.push_back(now);
            return Ok(());
        }
        let free_at = self.passed.front().map_or(now, |&oldest| oldest + window);
        Err(too_many(knobs, knobs.retry_after, free_at - now, now))
    }
}

/// The recorded refusal (halo-api.md §7), with the numbers of this server.
pub(super) fn too_many(knobs: &Knobs, told: RetryAfter, wait: TimeDelta, now: DateTime<Utc>) -> Answer {
    let requests = if knobs.rate_limit == 0 { 300 } else { knobs.rate_limit };
    let window = match knobs.rate_window_s {
        seconds if seconds % 60 == 0 => format!("{} minute", seconds / 60),
        seconds => format!("{seconds} second"),
    };
    let message = format!("Rate Limit Reached - {requests} Requests per rolling {window} window.");
    let answer = refusal(429, knobs.limit_body, &message);
    // Rounded up, since a wait that is a blink too short meets the next refusal.
    let seconds = (wait.num_milliseconds() + 999) / 1_000;
    match told {
        RetryAfter::Off => answer,
        RetryAfter::Seconds => answer.with_header("retry-after", seconds.to_string()),
        RetryAfter::Date => answer.with_header("retry-after", http_date(now + TimeDelta::seconds(seconds))),
    }
}
