//! The only door to the network: tokens, the throttle, the ticket list, single tickets, names.
//!
//! Knows nothing of the database. Every request, those for tokens included, passes one gate and one
//! loop that decides by [`crate::retry`] whether it is asked again. Redirects are never followed,
//! because a 307 would replay the form with the secret to wherever it points.

mod error;
mod flaw;
mod http;
mod list;
mod parts;
mod probe;
mod throttle;
mod token;
mod traffic;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

pub use error::{HaloError, Unreadable};
pub use flaw::Flaw;
pub use http::{Http, Wiring};
pub use list::{Coverage, Filter, ListQuery, Listed, Single};
pub use probe::Reached;
pub use throttle::{Throttle, allowed};
pub use token::Token;
pub use traffic::{Spent, Traffic};
pub use transport::{Answer, Ask, Body, Broken, Root, Transport};

use crate::config::ServerUrl;
use crate::retry::{self, Failure, Policy, Verdict};
use crate::ticket::parse::ParseError;
use token::Keyring;
use traffic::Counter;

/// So many tokens may grow old in the wait for one place, before one is tried all the same.
const TOKENS_MAX: u32 = 5;

/// How to ask a server; everything that a [`Halo`] needs to know and nothing that it does.
pub struct Terms {
    /// Where the server is.
    pub server: ServerUrl,
    /// The tenant, where one is configured.
    pub tenant: Option<String>,
    /// The authorisation server, where one is configured.
    pub auth_url: Option<Url>,
    /// The id of the API application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// What the token is asked for.
    pub scope: String,
    /// When to ask again.
    pub retry: Policy,
}

/// A HaloITSM server.
pub struct Halo {
    transport: Arc<dyn Transport>,
    throttle: Throttle,
    keyring: Mutex<Keyring>,
    terms: Terms,
    next_request: AtomicI64,
    answers: AtomicU64,
    counter: Counter,
    chance: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// What is known of an answer besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The number of the request; later ones have greater numbers.
    pub request_no: i64,
    /// Its place in the order in which answers arrived.
    pub arrived: u64,
    /// The server's time, where it says so readably.
    pub date: Option<DateTime<Utc>>,
    /// How long the answer took.
    pub took: Duration,
    /// The size of its body after decompression.
    pub bytes: usize,
}

/// A request that is asked again until it is answered.
pub(crate) struct Errand<'a> {
    /// What it is for, for messages: `the ticket list`.
    what: &'static str,
    url: &'a Url,
    /// Statuses besides 2xx that are answers to it.
    also: &'a [u16],
}

impl Halo {
    /// A server behind a transport. `chance` gives numbers in `0.0..1.0` that spread the waits.
    pub fn new(
        transport: Arc<dyn Transport>,
        throttle: Throttle,
        terms: Terms,
        chance: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Halo {
        Halo {
            transport,
            throttle,
            keyring: Mutex::new(Keyring::default()),
            terms,
            next_request: AtomicI64::new(0),
            answers: AtomicU64::new(0),
            counter: Counter::default(),
            chance: Box::new(chance),
        }
    }

    /// Numbers the requests from here on, so that they are greater than those of every earlier pass.
    pub fn number_requests_from(&self, first: i64) {
        self.next_request.fetch_max(first, Ordering::Relaxed);
    }

    /// How often the server was asked so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.counter.spent()
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counter.traffic(self.throttle.throttled())
    }

    /// How long the server still wants to be left alone.
    #[must_use]
    pub fn closed_for(&self) -> Duration {
        self.throttle.closed_for()
    }

    /// Leaves the server alone for so long.
    pub fn close_for(&self, wait: Duration) {
        self.throttle.close_for(wait);
    }

    /// Until when requests wait that were told to, by the rate limit or by the server.
    #[must_use]
    pub fn holds_until(&self) -> Instant {
        self.throttle.holds_until()
    }

    /// Asks with a token until there is an answer that `read` can read.
    async fn get<T>(
        &self,
        errand: &Errand<'_>,
        read: impl Fn(&Answer) -> Result<T, ParseError>,
    ) -> Result<(T, Receipt), HaloError> {
        let mut refused = None;
        let mut renewed = false;
        let mut retries = 0;
        loop {
            let token = self.pass_with_token(refused.as_ref()).await?;
            let ask = Ask { url: errand.url.clone(), form: None, bearer: Some(token.clone()) };
            let failed = match self.send(errand, ask, &read).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            match retry::verdict(failed.failure(), retries, renewed, &self.terms.retry, (self.chance)()) {
                Verdict::GiveUp => return Err(self.give_up(failed, retries)),
                Verdict::RenewToken => {
                    renewed = true;
                    refused = Some(token);
                }
                wait => {
                    self.wait(errand.what, &failed, wait).await;
                    retries += 1;
                }
            }
            self.counter.repeated();
        }
    }

    /// Asks without a token until there is an answer that `read` can read.
    async fn ask_openly<T>(
        &self,
        errand: &Errand<'_>,
        form: Option<&[(&'static str, SecretString)]>,
        read: impl Fn(&Answer) -> Result<T, ParseError>,
    ) -> Result<T, HaloError> {
        let mut retries = 0;
        loop {
            self.throttle.pass().await;
            let ask = Ask { url: errand.url.clone(), form: form.map(<[_]>::to_vec), bearer: None };
            let failed = match self.send(errand, ask, &read).await {
                Ok((done, _)) => return Ok(done),
                Err(failed) => failed,
            };
            match retry::verdict(failed.failure(), retries, true, &self.terms.retry, (self.chance)()) {
                Verdict::GiveUp | Verdict::RenewToken => return Err(self.give_up(failed, retries)),
                wait => self.wait(errand.what, &failed, wait).await,
            }
            retries += 1;
            self.counter.repeated();
        }
    }

    /// Passes the gate with a good token. The wait there may have been longer than the life of the token:
    /// then a place is given up for a new one, and again where that is too old as well.
    async fn pass_with_token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut token = self.token(refused).await?;
        self.throttle.pass().await;
        for _ in 1..TOKENS_MAX {
            if token.is_good() {
                break;
            }
            token = self.token(refused).await?;
            self.throttle.pass().await;
        }
        Ok(token)
    }

    /// Sends one request, which has passed the gate, and reads the answer.
    async fn send<T>(
        &self,
        errand: &Errand<'_>,
        ask: Ask,
        read: impl Fn(&Answer) -> Result<T, ParseError>,
    ) -> Result<(T, Receipt), HaloError> {
        let request_no = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.counter.asked(errand.what == list::LIST);
        let host = errand.url.host_str().unwrap_or_default();
        let host = errand.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let since = Instant::now();
        let sent = self.transport.send(ask).await;
        self.counter.answered(sent.as_ref().ok().map(|answer| answer.status));
        log(request_no, errand, &sent, since.elapsed());
        let answer = sent.map_err(|source| match source {
            Broken::TooLarge => HaloError::TooLarge { what: errand.what },
            source => HaloError::Unreachable { host, source, retries: 0 },
        })?;
        let arrived = self.answers.fetch_add(1, Ordering::Relaxed);
        let (date, took, bytes) = (answer.date, answer.took, answer.body.len());
        let receipt = Receipt { request_no, arrived, date, took, bytes };
        if !(200..300).contains(&answer.status) && !errand.also.contains(&answer.status) {
            return Err(HaloError::of_status(errand.what, &answer));
        }
        match read(&answer) {
            Ok(value) => Ok((value, receipt)),
            Err(source) => Err(HaloError::unreadable(errand.what, &answer, source)),
        }
    }

    /// The failure of a request that is not repeated. What the server asked for holds all the same, for
    /// everybody and for the next pass.
    fn give_up(&self, failed: HaloError, retries: u32) -> HaloError {
        if let Failure::Throttled { retry_after } = failed.failure() {
            self.throttle.close_for(self.terms.retry.closes_for(retry_after));
        }
        failed.after(retries)
    }

    async fn wait(&self, what: &str, failed: &HaloError, verdict: Verdict) {
        match verdict {
            Verdict::CloseGate(wait) => {
                let seconds = wait.as_secs();
                tracing::info!(what, seconds, "the server asks to wait: {seconds} s, when asked for {what}");
                self.throttle.close_for(wait);
            }
            Verdict::Again(wait) => {
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(what, ms, error = %failed, "asking again");
                tokio::time::sleep(wait).await;
            }
            Verdict::RenewToken | Verdict::GiveUp => {}
        }
    }
}

/// A request in the log: its number, what it asked for, and what became of it.
fn log(request: i64, errand: &Errand<'_>, sent: &Result<Answer, Broken>, took: Duration) {
    let (what, path, query) = (errand.what, errand.url.path(), errand.url.query().unwrap_or_default());
    let page = errand.url.query_pairs().find_map(|(name, page)| (name == "page_no").then_some(page));
    let page = page.as_deref();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match sent {
        Ok(Answer { status, body, .. }) => {
            tracing::debug!(request, what, path, page, query, status, bytes = body.len(), ms, "answered");
        }
        Err(error) => tracing::debug!(request, what, path, page, query, %error, ms, "not answered"),
    }
}

impl HaloError {
    /// What the failure means for the next step.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            HaloError::Throttled { retry_after, .. } => Failure::Throttled { retry_after: *retry_after },
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => Failure::Unavailable,
            // A refusal in a strange shape is a refusal; only what should have been an answer may become one.
            HaloError::Unreadable(answer) if 400 <= answer.status => Failure::Refused,
            // A web page instead of an answer is the server's trouble, not that of what was asked for.
            HaloError::Unreadable(answer) if answer.html => Failure::Unavailable,
            HaloError::Unreadable(_) | HaloError::TooLarge { .. } => Failure::Unreadable,
            HaloError::Refused { status: 401, .. } => Failure::Unauthorized,
            HaloError::Refused { .. } | HaloError::Credentials { .. } | HaloError::Misled { .. } => {
                Failure::Refused
            }
        }
    }
}
