//! A cache in front of the server, which serves responses again.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::message::{ApiRequest, ApiResponse};

/// Number of responses to keep.
const ENTRIES_MAX: usize = 1_000;

/// The responses of a cache, and when the server generated them.
#[derive(Debug, Default)]
pub(crate) struct ResponseCache(HashMap<(String, String), (DateTime<Utc>, ApiResponse)>);

impl ResponseCache {
    /// Returns the stored response to a request if it is not older than `seconds`, with its `Age`, and when it was
    /// generated.
    pub(crate) fn get(
        &self,
        request: &ApiRequest,
        seconds: u32,
        now: DateTime<Utc>,
    ) -> Option<(DateTime<Utc>, ApiResponse)> {
        let (at, response) = self.0.get(&key(request))?;
        let age = (now - at).num_seconds();
        let is_fresh = (0..=i64::from(seconds)).contains(&age) && is_get(request);
        is_fresh.then(|| (*at, response.clone().with_header("age", age.to_string())))
    }

    /// Stores a response that other requests for the same may get.
    pub(crate) fn put(&mut self, request: &ApiRequest, response: &ApiResponse, now: DateTime<Utc>) {
        if response.status != 200 || !is_get(request) {
            return;
        }
        if self.0.len() == ENTRIES_MAX {
            self.0.clear();
        }
        self.0.insert(key(request), (now, response.clone()));
    }
}

fn is_get(request: &ApiRequest) -> bool {
    request.method.eq_ignore_ascii_case("GET")
}

fn key(request: &ApiRequest) -> (String, String) {
    (request.path.clone(), request.query.clone())
}
