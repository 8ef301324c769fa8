//! The steps that lead to the first response, one by one, so that a check can say which of them fails.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use url::Url;

use super::error::is_html;
use super::request::{RequestSpec, parse_age};
use super::{HaloClient, HaloError, HttpResponse, Resource};

/// A server that responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResponse {
    /// The server's time, if it sends a valid `Date`.
    pub date: Option<DateTime<Utc>>,
    /// How long the response took.
    pub took: Duration,
    /// Whether the server sent a web page instead of JSON.
    pub is_html: bool,
}

impl HaloClient {
    /// Checks that the server responds, and gets its time. The request needs no token, and a refusal
    /// counts as a response.
    pub async fn ping(&self) -> Result<PingResponse, HaloError> {
        let url = self.options.server.endpoint("/api/authinfo");
        let spec = RequestSpec::new(Resource::AuthInfo, &url, &[400, 401, 403, 404, 500]);
        let read = |response: &HttpResponse| {
            // Old servers respond with 404, possibly as a web page; with status 200, HTML is unexpected.
            let is_html = response.status == 200 && is_html(&response.body);
            // A cache keeps the `Date` of the time when the server responded.
            let age = response.age.as_deref().and_then(parse_age).unwrap_or(0);
            let age = i64::try_from(age).ok().and_then(TimeDelta::try_seconds);
            let date = response.date.zip(age).and_then(|(date, age)| date.checked_add_signed(age));
            Ok(PingResponse { date, took: response.took, is_html })
        };
        self.send_unauthenticated(&spec, None, None, read).await
    }

    /// Returns the address that tokens are requested from, including the tenant that the server or the
    /// settings name.
    pub async fn authorization_server(&self) -> Result<Url, HaloError> {
        Ok(self.token_endpoint(&mut *self.token_cache.lock().await).await?.url)
    }

    /// Whether the client has ever received a token.
    #[must_use]
    pub fn has_authenticated(&self) -> bool {
        self.token_cache.try_lock().is_ok_and(|cache| cache.has_token())
    }

    /// Gets a token, unless the cached one is still valid.
    pub async fn authenticate(&self) -> Result<(), HaloError> {
        self.token(None).await.map(drop)
    }
}
