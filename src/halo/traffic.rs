//! What went over the wire, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often the server was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests, tokens and repetitions included.
    pub requests: u64,
    /// Those for the ticket list.
    pub list_requests: u64,
    /// Those that were repetitions.
    pub retries: u64,
}

impl Spent {
    /// What came after an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Spent) -> Spent {
        Spent {
            requests: self.requests - earlier.requests,
            list_requests: self.list_requests - earlier.list_requests,
            retries: self.retries - earlier.retries,
        }
    }
}

/// What was asked, answered and waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What was asked.
    pub spent: Spent,
    /// Requests by the HTTP status of their answer; `None` for those that got none.
    pub answers: BTreeMap<Option<u16>, u64>,
    /// How long the server kept everybody waiting (429, or 503 with `Retry-After`).
    pub throttled: Duration,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Traffic) -> Traffic {
        let mut sum = self.clone();
        sum.spent.requests += other.spent.requests;
        sum.spent.list_requests += other.spent.list_requests;
        sum.spent.retries += other.spent.retries;
        for (status, count) in &other.answers {
            *sum.answers.entry(*status).or_default() += count;
        }
        sum.throttled += other.throttled;
        sum
    }
}

/// The count as it is kept.
#[derive(Default)]
pub(super) struct Counter {
    requests: AtomicU64,
    list_requests: AtomicU64,
    retries: AtomicU64,
    answers: Mutex<BTreeMap<Option<u16>, u64>>,
}

impl Counter {
    pub(super) fn asked(&self, for_the_list: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if for_the_list {
            self.list_requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn repeated(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, status: Option<u16>) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    pub(super) fn spent(&self) -> Spent {
        Spent {
            requests: self.requests.load(Ordering::Relaxed),
            list_requests: self.list_requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    pub(super) fn traffic(&self, throttled: Duration) -> Traffic {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Traffic { spent: self.spent(), answers, throttled }
    }
}
