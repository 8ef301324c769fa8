//! What went over the wire, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often the server was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Requests, tokens and repetitions included.
    pub requests: u64,
    /// Those for the ticket list.
    pub list_requests: u64,
    /// Those that were repetitions.
    pub retries: u64,
}

impl RequestCounts {
    /// What came after an earlier moment.
    #[must_use]
    pub fn since(self, earlier: RequestCounts) -> RequestCounts {
        RequestCounts {
            requests: self.requests - earlier.requests,
            list_requests: self.list_requests - earlier.list_requests,
            retries: self.retries - earlier.retries,
        }
    }
}

/// What was asked, answered and waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestStats {
    /// What was asked.
    pub counts: RequestCounts,
    /// Requests by the HTTP status of their answer; `None` for those that got none.
    pub by_status: BTreeMap<Option<u16>, u64>,
    /// How long the server kept everybody waiting (429, or 503 with `Retry-After`).
    pub total_pause: Duration,
}

impl RequestStats {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &RequestStats) -> RequestStats {
        let mut sum = self.clone();
        sum.counts.requests += other.counts.requests;
        sum.counts.list_requests += other.counts.list_requests;
        sum.counts.retries += other.counts.retries;
        for (status, count) in &other.by_status {
            *sum.by_status.entry(*status).or_default() += count;
        }
        sum.total_pause += other.total_pause;
        sum
    }
}

/// The count as it is kept.
#[derive(Default)]
pub(super) struct RequestCounter {
    requests: AtomicU64,
    list_requests: AtomicU64,
    retries: AtomicU64,
    by_status: Mutex<BTreeMap<Option<u16>, u64>>,
}

impl RequestCounter {
    pub(super) fn record_request(&self, is_list: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if is_list {
            self.list_requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn record_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_response(&self, status: Option<u16>) {
        *self.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    pub(super) fn counts(&self) -> RequestCounts {
        RequestCounts {
            requests: self.requests.load(Ordering::Relaxed),
            list_requests: self.list_requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    pub(super) fn stats(&self, total_pause: Duration) -> RequestStats {
        let by_status = self.by_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        RequestStats { counts: self.counts(), by_status, total_pause }
    }
}
