//! The boundary between the client and the network: one request out, one response back.
//!
//! [`super::HttpTransport`] is the real one; a simulation implements [`Transport`] with a server model
//! and needs no sockets.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use url::Url;

use super::memory::{BudgetPermit, MEMORY_MAX, MemoryShortage};
use super::proxy::{ProxyError, ProxyRoute};
use super::redaction::Redactor;
use super::root_cause::RootCause;
use super::tls_error::TlsError;
use super::token::Token;
use crate::ticket::repair;

/// How much of a body is received where it needs no more: tokens, the address of the authorization server, and
/// every response without success.
pub(super) const SHORT_BODY_MAX: usize = 64 << 10;

/// A request.
pub struct HttpRequest {
    /// The address.
    pub url: Url,
    /// A form to POST; without one the request is a GET.
    pub form: Option<Vec<(&'static str, SecretString)>>,
    /// The token to send.
    pub bearer: Option<Token>,
    /// The memory for a whole body. Without it the body is cut after 64 KiB, as is that of every response without
    /// success.
    pub memory: Option<BudgetPermit>,
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
    /// The `Age` header as received, if a cache stored the response.
    pub age: Option<String>,
    /// The body, decompressed.
    pub body: Body,
    /// The time from sending the request to receiving the last byte.
    pub took: Duration,
}

/// A response body, and its share of the memory for all responses.
#[derive(Default)]
pub struct Body {
    bytes: Vec<u8>,
    memory: BudgetPermit,
}

impl Body {
    /// An empty body that may grow as far as the memory goes. `announced` is its size as the server says, if it does: where
    /// that is true, nothing is copied while the body grows.
    pub(super) fn with_memory(memory: BudgetPermit, announced: Option<u64>) -> Body {
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let mut bytes = Vec::new();
        // Where there is no space for so much, the body grows as far as it can.
        let _ = bytes.try_reserve_exact(announced.unwrap_or(0).min(MEMORY_MAX));
        Body { bytes, memory }
    }

    /// Appends what was received.
    ///
    /// # Errors
    /// There is no memory for it. What was received before is part of the error where it would not fit alone either.
    pub(super) fn push(mut self, chunk: &[u8]) -> Result<Body, TransportError> {
        match self.memory.grow(self.bytes.len() + chunk.len()) {
            Ok(()) => {
                self.bytes.extend_from_slice(chunk);
                Ok(self)
            }
            Err(shortage) => Err(self.shortage(shortage)),
        }
    }

    /// Ends the body: memory that it does not need goes back.
    pub(super) fn complete(mut self) -> Body {
        self.memory.complete_body(self.bytes.len());
        self
    }

    /// Repairs the text of a long body (`ticket::repair`); returns the number of places that became U+FFFD with it. Short
    /// ones are repaired where they are parsed.
    ///
    /// # Errors
    /// There is no memory for what the body grows by.
    pub(super) fn repaired(mut self) -> Result<(Body, usize), TransportError> {
        if self.bytes.len() <= repair::REPAIRED_COPY_MAX {
            return Ok((self, 0));
        }
        let growth = repair::growth(&self.bytes);
        match self.memory.grow(self.bytes.len() + growth) {
            Ok(()) => {
                let places = repair::repair_in_place(&mut self.bytes, growth);
                Ok((self, places))
            }
            Err(shortage) => Err(self.shortage(shortage)),
        }
    }

    fn shortage(self, shortage: MemoryShortage) -> TransportError {
        match shortage {
            MemoryShortage::Busy => TransportError::MemoryBusy,
            MemoryShortage::TooLarge => TransportError::TooLarge { received: self },
        }
    }

    /// The longest body that the memory allows, if it is limited.
    pub(super) fn limit(&self) -> Option<usize> {
        self.memory.limit()
    }

    /// Drops the bytes and returns their memory.
    pub(super) fn into_memory(self) -> BudgetPermit {
        self.memory
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Body({} bytes)", self.bytes.len())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body { bytes, memory: BudgetPermit::default() }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
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
    /// The proxy on the way did not connect to the server.
    #[error(transparent)]
    Proxy(ProxyError),
    /// The request took too long.
    #[error("the request timed out")]
    Timeout,
    /// The connection was lost, or the response is not HTTP.
    #[error("the connection was lost")]
    ConnectionLost(#[source] RootCause),
    /// The response is longer than what is accepted.
    #[error("the response is too large")]
    TooLarge {
        /// What was received of it.
        received: Body,
    },
    /// The response does not fit beside others; alone it may.
    #[error("other responses use the memory")]
    MemoryBusy,
    /// A simulated failure.
    #[error("{0}")]
    Simulated(&'static str),
}

impl TransportError {
    /// Makes its texts safe to show: a server may put one into a certificate, or into the frame that ends a connection.
    pub(super) fn redacted(self, redactor: &Redactor) -> TransportError {
        match self {
            TransportError::Connect(root) => TransportError::Connect(root.redacted(redactor)),
            TransportError::Tls(error, root) => {
                TransportError::Tls(error.redacted(redactor), root.redacted(redactor))
            }
            TransportError::ConnectionLost(root) => TransportError::ConnectionLost(root.redacted(redactor)),
            TransportError::Proxy(ProxyError { problem, source }) => {
                let source = source.map(|source| source.redacted(redactor));
                TransportError::Proxy(ProxyError { problem, source })
            }
            TransportError::Timeout
            | TransportError::TooLarge { .. }
            | TransportError::MemoryBusy
            | TransportError::Simulated(_) => self,
        }
    }
}

/// Sends requests.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for the whole response.
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>>;

    /// Returns the proxy that requests for an address go through, if they do.
    fn proxy_route(&self, _: &Url) -> Option<ProxyRoute> {
        None
    }
}
