//! The log of requests.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};

use crate::endpoint::ApiEndpoint;

/// Number of entries kept; the counts cover all requests.
const ENTRIES_MAX: usize = 10_000;

/// One request and the status of its response.
#[derive(Clone, Debug)]
pub struct RequestLogEntry {
    /// The requested endpoint.
    pub endpoint: ApiEndpoint,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// The raw query as sent.
    pub query: String,
    /// The response status, even if a fault prevented its delivery.
    pub status: u16,
    /// The time of the response by the simulated clock.
    pub at: DateTime<Utc>,
}

/// The requests since the start or since the last [`RequestLog::reset`].
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: VecDeque<RequestLogEntry>,
    counts: BTreeMap<ApiEndpoint, u64>,
    in_flight: usize,
    peak_in_flight: usize,
}

impl RequestLog {
    /// Returns the last requests, oldest first; at most 10,000.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &RequestLogEntry> {
        self.entries.iter()
    }

    /// Returns the number of requests to an endpoint.
    #[must_use]
    pub fn count(&self, endpoint: ApiEndpoint) -> u64 {
        self.counts.get(&endpoint).copied().unwrap_or(0)
    }

    /// Returns the number of ticket list requests.
    #[must_use]
    pub fn list_count(&self) -> u64 {
        self.count(ApiEndpoint::List)
    }

    /// Returns the number of token requests.
    #[must_use]
    pub fn token_count(&self) -> u64 {
        self.count(ApiEndpoint::Token)
    }

    /// Returns the number of all requests except those under `/_sim`.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns the greatest number of concurrent requests over HTTP, each measured from its arrival until its response
    /// is ready to be sent.
    #[must_use]
    pub fn peak_in_flight(&self) -> usize {
        self.peak_in_flight
    }

    /// Clears the log, except for the count of requests in flight.
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
