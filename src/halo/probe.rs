//! The steps that lead to the first answer, one by one, for those who want to see where it ends.

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use super::error::is_html;
use super::{Answer, Errand, Halo, HaloError};

/// A server that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its time, where it says so readably.
    pub date: Option<DateTime<Utc>>,
    /// How long the answer took.
    pub took: Duration,
    /// Whether a web page came where JSON should be.
    pub is_page: bool,
}

impl Halo {
    /// Whether there is a server, and its time. It is asked for what needs no token, and a refusal is an
    /// answer.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn reach(&self) -> Result<Reached, HaloError> {
        let url = self.terms.server.at("/api/authinfo");
        let errand = Errand { what: "its address", url: &url, also: &[400, 401, 403, 404, 500] };
        let read = |answer: &Answer| {
            // An old server answers 404 to this, in whatever form; a page is strange where all is well.
            let is_page = answer.status == 200 && is_html(&answer.body);
            Ok(Reached { date: answer.date, took: answer.took, is_page })
        };
        self.ask_openly(&errand, None, read).await
    }

    /// Where tokens are asked for, with the tenant as the server or the settings name it.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn authorisation_server(&self) -> Result<Url, HaloError> {
        self.known_endpoint(&mut *self.keyring.lock().await).await
    }

    /// Whether there ever was a token.
    #[must_use]
    pub fn was_let_in(&self) -> bool {
        self.keyring.try_lock().is_ok_and(|keyring| keyring.has_token())
    }

    /// Gets a token, unless there is one that is still good. Gives the scope that was taken in the place of the
    /// configured one, where the server does not know that.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn sign_in(&self) -> Result<Option<&'static str>, HaloError> {
        self.token(None).await?;
        Ok(self.keyring.lock().await.other_scope())
    }
}
