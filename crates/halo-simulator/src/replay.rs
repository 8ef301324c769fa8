//! Replayed responses: bodies that are served as they are in place of the server's own.

use std::collections::{HashMap, VecDeque};

use crate::message::ApiResponse;

/// A response that is served as it is to requests for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedResponse {
    /// The path without a query, such as `/api/tickets`; not case-sensitive.
    pub path: String,
    /// The HTTP status code.
    pub status: u16,
    /// The body, sent as JSON.
    pub body: Vec<u8>,
}

/// The responses still to be replayed, by path.
#[derive(Debug, Default)]
pub(crate) struct Replays(HashMap<String, VecDeque<ReplayedResponse>>);

impl Replays {
    pub(crate) fn new(responses: Vec<ReplayedResponse>) -> Replays {
        let mut replays = Replays::default();
        for response in responses {
            replays.add(response);
        }
        replays
    }

    /// Adds a response after the others of its path.
    pub(crate) fn add(&mut self, response: ReplayedResponse) {
        self.0.entry(key(&response.path)).or_default().push_back(response);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the next response for a path; the last one stays.
    pub(crate) fn next(&mut self, path: &str) -> Option<ApiResponse> {
        // Usually nothing is replayed; then no path is copied.
        if self.0.is_empty() {
            return None;
        }
        let responses = self.0.get_mut(&key(path))?;
        let response =
            if responses.len() > 1 { responses.pop_front()? } else { responses.front().cloned()? };
        Some(ApiResponse::json(response.status, response.body))
    }
}

fn key(path: &str) -> String {
    path.trim_matches('/').to_ascii_lowercase()
}
