//! The steps that lead to the first answer, one by one, for those who want to see where it ends.

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use super::{Errand, Halo, HaloError};

/// A server that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its time, where it says so readably.
    pub date: Option<DateTime<Utc>>,
    /// How long the answer took.
    pub took: Duration,
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
        self.ask_openly(&errand, None, |answer| Ok(Reached { date: answer.date, took: answer.took })).await
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

    /// Gets a token, unless there is one that is still good.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn sign_in(&self) -> Result<(), HaloError> {
        self.token(None).await.map(|_| ())
    }
}
