//! Request statistics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::retry::RequestCounts;

/// The requests of a client, their responses, and the pauses that the server imposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestStats {
    /// How many requests were made.
    pub counts: RequestCounts,
    /// Requests by HTTP status; `None` for those without a response.
    pub by_status: BTreeMap<Option<u16>, u64>,
    /// How long the server paused all requests (429, or 503 with `Retry-After`).
    pub total_pause: Duration,
}

impl RequestStats {
    /// Returns the sum of both.
    #[must_use]
    pub fn plus(&self, other: &RequestStats) -> RequestStats {
        let mut by_status = self.by_status.clone();
        for (status, count) in &other.by_status {
            *by_status.entry(*status).or_default() += count;
        }
        RequestStats {
            counts: self.counts.plus(other.counts),
            by_status,
            total_pause: self.total_pause + other.total_pause,
        }
    }
}

/// The live counter behind [`RequestCounts`] and [`RequestStats`].
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
