//! The steps that lead to the first answer, one by one, for those who want to see where it ends.

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use super::error::is_html;
use super::{HaloClient, HaloError, HttpResponse, RequestSpec};

/// A server that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResponse {
    /// Its time, where it says so readably.
    pub date: Option<DateTime<Utc>>,
    /// How long the answer took.
    pub took: Duration,
    /// Whether a web page came where JSON should be.
    pub is_html: bool,
}

impl HaloClient {
    /// Whether there is a server, and its time. It is asked for what needs no token, and a refusal is an
    /// answer.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn ping(&self) -> Result<PingResponse, HaloError> {
        let url = self.options.server.endpoint("/api/authinfo");
        let spec =
            RequestSpec { what: "its address", url: &url, accepted_statuses: &[400, 401, 403, 404, 500] };
        let read = |response: &HttpResponse| {
            // An old server answers 404 to this, in whatever form; a page is strange where all is well.
            let is_html = response.status == 200 && is_html(&response.body);
            Ok(PingResponse { date: response.date, took: response.took, is_html })
        };
        self.send_unauthenticated(&spec, None, read).await
    }

    /// Where tokens are asked for, with the tenant as the server or the settings name it.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn authorization_server(&self) -> Result<Url, HaloError> {
        self.token_endpoint(&mut *self.token_cache.lock().await).await
    }

    /// Whether there ever was a token.
    #[must_use]
    pub fn has_authenticated(&self) -> bool {
        self.token_cache.try_lock().is_ok_and(|cache| cache.has_token())
    }

    /// Gets a token, unless there is one that is still good. Gives the scope that was taken in the place of the
    /// configured one, where the server does not know that.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn authenticate(&self) -> Result<Option<&'static str>, HaloError> {
        self.token(None).await?;
        Ok(self.token_cache.lock().await.fallback_scope())
    }
}
