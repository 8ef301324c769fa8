//! What was asked of the server.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};

use crate::endpoint::ApiEndpoint;

/// Requests that are remembered one by one; the counts go on beyond.
const ENTRIES_MAX: usize = 10_000;

/// One request and the status of its answer.
#[derive(Clone, Debug)]
pub struct RequestLogEntry {
    /// What kind of request it was.
    pub endpoint: ApiEndpoint,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// The raw query as sent.
    pub query: String,
    /// The status of the answer, also where a fault kept it from arriving.
    pub status: u16,
    /// When it was answered, by the simulated clock.
    pub at: DateTime<Utc>,
}

/// The requests since the start, or since the last [`RequestLog::reset`].
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: VecDeque<RequestLogEntry>,
    counts: BTreeMap<ApiEndpoint, u64>,
    in_flight: usize,
    peak_in_flight: usize,
}

impl RequestLog {
    /// The last requests, the oldest first; at most 10,000.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &RequestLogEntry> {
        self.entries.iter()
    }

    /// How many requests of that kind there were.
    #[must_use]
    pub fn count(&self, endpoint: ApiEndpoint) -> u64 {
        self.counts.get(&endpoint).copied().unwrap_or(0)
    }

    /// How many requests for a ticket list there were.
    #[must_use]
    pub fn list_count(&self) -> u64 {
        self.count(ApiEndpoint::List)
    }

    /// How many requests for a token there were.
    #[must_use]
    pub fn token_count(&self) -> u64 {
        self.count(ApiEndpoint::Token)
    }

    /// How many requests there were; those under `/_sim` are not counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many requests were under way at the same time, at most. Measured by the socket door, from the arrival of a
    /// request to the moment its answer is ready to be sent.
    #[must_use]
    pub fn peak_in_flight(&self) -> usize {
        self.peak_in_flight
    }

    /// Forgets everything but the requests still under way.
    pub fn reset(&mut self) {
        *self =
            RequestLog { in_flight: self.in_flight, peak_in_flight: self.in_flight, ..RequestLog::default() };
    }

    pub(crate) fn record(&mut self, entry: RequestLogEntry) {
        *self.counts.entry(entry.endpoint).or_default() += 1;
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn begin_request(&mut self) {
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
    }

    pub(crate) fn finish_request(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}
