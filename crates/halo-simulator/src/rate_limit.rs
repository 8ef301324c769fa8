//! The rate limit: a number of requests in a rolling window.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error_response::error_response;
use crate::knob_values::RetryAfter;
use crate::knobs::Knobs;
use crate::message::{ApiResponse, http_date};

/// The times of the requests admitted in the current window.
#[derive(Debug, Default)]
pub(crate) struct RollingWindow {
    admitted: VecDeque<DateTime<Utc>>,
}

impl RollingWindow {
    /// Admits a request or returns a 429 response. A refused request does not extend the wait.
    pub(crate) fn admit(&mut self, knobs: &Knobs, now: DateTime<Utc>) -> Result<(), ApiResponse> {
        if knobs.rate_limit == 0 {
            return Ok(());
        }
        let window = TimeDelta::seconds(knobs.rate_window_s.into());
        while self.admitted.front().is_some_and(|&oldest| oldest + window <= now) {
            self.admitted.pop_front();
        }
        if u32::try_from(self.admitted.len()).is_ok_and(|count| count < knobs.rate_limit) {
            self.admitted.push_back(now);
            return Ok(());
        }
        let free_at = self.admitted.front().map_or(now, |&oldest| oldest + window);
        Err(too_many_requests(knobs, knobs.retry_after, free_at - now, now))
    }
}

/// Builds a 429 response with the recorded text (halo-api.md §7) and the limits of this server.
pub(crate) fn too_many_requests(
    knobs: &Knobs,
    retry_after: RetryAfter,
    wait: TimeDelta,
    now: DateTime<Utc>,
) -> ApiResponse {
    let requests = if knobs.rate_limit == 0 { 300 } else { knobs.rate_limit };
    let window = match knobs.rate_window_s {
        seconds if seconds % 60 == 0 => format!("{} minute", seconds / 60),
        seconds => format!("{seconds} second"),
    };
    let message = format!("Rate Limit Reached - {requests} Requests per rolling {window} window.");
    let response = error_response(429, knobs.limit_body, &message);
    // Rounded up: a wait that is slightly too short would be refused again.
    let seconds = (wait.num_milliseconds() + 999) / 1_000;
    match retry_after {
        RetryAfter::Off => response,
        RetryAfter::Seconds => response.with_header("retry-after", seconds.to_string()),
        RetryAfter::Date => response.with_header("retry-after", http_date(now + TimeDelta::seconds(seconds))),
    }
}
