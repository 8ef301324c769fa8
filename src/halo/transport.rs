//! The seam between asking and the wire: one request out, one answer back.
//!
//! In earnest it is [`super::Http`]; a simulation puts a server model here and needs no sockets.

use std::error::Error;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::tls_error::TlsError;
use super::token::Token;

/// A request.
pub struct HttpRequest {
    /// Where to.
    pub url: Url,
    /// A form to POST; without one it is a GET.
    pub form: Option<Vec<(&'static str, SecretString)>>,
    /// The token to show.
    pub bearer: Option<Token>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// `Date`, where it is there and readable.
    pub date: Option<DateTime<Utc>>,
    /// `Retry-After` as it stands there.
    pub retry_after: Option<String>,
    /// `Location` as it stands there.
    pub location: Option<String>,
    /// The body, decompressed.
    pub body: Body,
    /// From the first byte out to the last byte in.
    pub took: Duration,
}

/// A body, and its part of the room that all bodies share.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Body {
    pub(super) fn new(bytes: Vec<u8>, permit: OwnedSemaphorePermit) -> Body {
        Body { bytes, _permit: Some(permit) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body { bytes, _permit: None }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is at the bottom of a failure. The layers between have nothing to add but their own names.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RootCause(String);

impl RootCause {
    /// The last of the causes of an error.
    #[must_use]
    pub fn of(error: &dyn Error) -> RootCause {
        let mut bottom = error;
        while let Some(cause) = bottom.source() {
            bottom = cause;
        }
        RootCause(bottom.to_string())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("no connection")]
    Connect(#[source] RootCause),
    /// A connection, but not a safe one: a certificate that is not trusted, or no TLS at all.
    #[error("no safe connection: {0}")]
    Tls(TlsError, #[source] RootCause),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or the answer is no HTTP.
    #[error("the connection broke")]
    ConnectionLost(#[source] RootCause),
    /// The bodies under way are larger than the memory set aside for them.
    #[error("the answers under way exceed {} MiB", super::http::BODIES_MAX >> 20)]
    TooLarge,
    /// A simulated failure.
    #[error("{0}")]
    Simulated(&'static str),
}

/// Sends requests.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for the whole answer.
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>>;
}
