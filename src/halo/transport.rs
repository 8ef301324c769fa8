//! The boundary between the client and the network: one request out, one response back.
//!
//! [`super::HttpTransport`] is the real one; a simulation implements [`Transport`] with a server model
//! and needs no sockets.

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

/// The most memory that all response bodies in flight may take together, in bytes after decompression: a
/// small compressed response can be a thousand times its size.
pub(super) const RESPONSE_MEMORY_MAX: usize = 64 << 20;

/// A request.
pub struct HttpRequest {
    /// The address.
    pub url: Url,
    /// A form to POST; without one the request is a GET.
    pub form: Option<Vec<(&'static str, SecretString)>>,
    /// The token to send.
    pub bearer: Option<Token>,
}

/// A response, whatever its status.
#[derive(Debug)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The `Date` header, if present and valid.
    pub date: Option<DateTime<Utc>>,
    /// The `Retry-After` header as received.
    pub retry_after: Option<String>,
    /// The `Location` header as received.
    pub location: Option<String>,
    /// The body, decompressed.
    pub body: Body,
    /// The time from sending the request to receiving the last byte.
    pub took: Duration,
}

/// A response body, and its share of the memory reserved for all bodies.
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

/// The innermost cause of an error. The layers above it add only their own names.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RootCause(String);

impl RootCause {
    /// Returns the last error in the chain of causes.
    #[must_use]
    pub fn of(error: &dyn Error) -> RootCause {
        let mut root = error;
        while let Some(cause) = root.source() {
            root = cause;
        }
        RootCause(root.to_string())
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection could not be established.
    #[error("connection failed")]
    Connect(#[source] RootCause),
    /// The connection is not secure: a certificate that is not trusted, or no TLS at all.
    #[error("TLS connection failed: {0}")]
    Tls(TlsError, #[source] RootCause),
    /// The request took too long.
    #[error("the request timed out")]
    Timeout,
    /// The connection was lost, or the response is not HTTP.
    #[error("the connection was lost")]
    ConnectionLost(#[source] RootCause),
    /// The responses in flight exceed `RESPONSE_MEMORY_MAX`.
    #[error("the responses in flight exceed {} MiB", RESPONSE_MEMORY_MAX >> 20)]
    TooLarge,
    /// A simulated failure.
    #[error("{0}")]
    Simulated(&'static str),
}

/// Sends requests.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for the whole response.
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>>;
}
