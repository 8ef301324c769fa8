//! Requests, and responses with the way they are delivered.

use std::io::Write;
use std::mem;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::generated::{BodyStream, GeneratedText};

/// The parts of a request that the server uses.
#[derive(Clone, Debug, Default)]
pub struct ApiRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without the query, as sent.
    pub path: String,
    /// The raw query without the question mark.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Accept-Encoding` header.
    pub accept_encoding: Option<String>,
    /// The body; a form at the token endpoint.
    pub body: Vec<u8>,
    /// The number of the connection, counted from 1; 0 without one.
    pub connection: u64,
}

impl ApiRequest {
    /// Creates a GET request with a bearer token. `target` is a path with an optional query.
    #[must_use]
    pub fn get(target: &str, token: &str) -> ApiRequest {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        ApiRequest {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: Some(format!("Bearer {token}")),
            ..ApiRequest::default()
        }
    }

    /// Creates a POST request with a form body.
    #[must_use]
    pub fn form(path: &str, pairs: &[(&str, &str)]) -> ApiRequest {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        ApiRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            body: body.into_bytes(),
            ..ApiRequest::default()
        }
    }
}

/// A response and how it is delivered.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// The HTTP status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body before compression or truncation, without the parts that are generated while it is sent; see
    /// [`ApiResponse::complete_body`].
    pub body: Vec<u8>,
    /// How the body is delivered.
    pub delivery: Delivery,
    /// The delay before the response is sent; other requests are served meanwhile.
    pub delay: Duration,
    /// Parts to generate and where they begin in `body`.
    generated: Vec<(usize, GeneratedText)>,
    compress: bool,
}

/// How the body of a response is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Completely and without delay.
    #[default]
    Complete,
    /// Only this many bytes, then the connection is closed.
    Cut(usize),
    /// In small chunks, spread over this duration.
    Slow(Duration),
    /// Not at all: the connection is reset.
    Reset,
}

impl ApiResponse {
    /// Creates a JSON response.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "application/json; charset=utf-8", body.into())
    }

    /// Creates an HTML response.
    #[must_use]
    pub fn html(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "text/html; charset=utf-8", body.into())
    }

    /// Creates a plain-text response.
    #[must_use]
    pub fn plain(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// Creates a response without headers and body.
    #[must_use]
    pub fn empty(status: u16) -> ApiResponse {
        ApiResponse {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delivery: Delivery::Complete,
            delay: Duration::ZERO,
            generated: Vec::new(),
            compress: false,
        }
    }

    fn new(status: u16, content_type: &str, body: Vec<u8>) -> ApiResponse {
        ApiResponse { body, ..ApiResponse::empty(status) }.with_header("content-type", content_type)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> ApiResponse {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON; `None` if it is not valid JSON.
    #[must_use]
    pub fn json_body(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.complete_body()).ok()
    }

    /// Adds text that is generated at a position of the body while that is sent.
    pub(crate) fn with_generated(mut self, at: usize, text: GeneratedText) -> ApiResponse {
        self.generated.push((at, text));
        self
    }

    /// Returns the length of the complete body, before compression or truncation.
    #[must_use]
    pub fn body_length(&self) -> u64 {
        let generated = self.generated.iter().map(|(_, text)| text.byte_length());
        generated.fold(u64::try_from(self.body.len()).unwrap_or(u64::MAX), u64::saturating_add)
    }

    /// Returns the complete body, before compression or truncation. It may be very long: see
    /// [`ApiResponse::body_length`].
    #[must_use]
    pub fn complete_body(&self) -> Vec<u8> {
        // One chunk of any length is all of it.
        BodyStream::new(self.body.clone(), self.generated.clone(), false).next_chunk(usize::MAX)
    }

    /// Takes the body as a stream, if parts of it are generated. Only a complete body is compressed: the length of
    /// another must be known.
    pub(crate) fn take_stream(&mut self) -> Option<BodyStream> {
        if self.generated.is_empty() {
            return None;
        }
        let compress = self.compress && self.delivery == Delivery::Complete;
        if compress {
            self.add_compression_headers();
        }
        Some(BodyStream::new(mem::take(&mut self.body), mem::take(&mut self.generated), compress))
    }

    /// Returns whether parts of the body are generated while it is sent.
    pub(crate) fn is_streamed(&self) -> bool {
        !self.generated.is_empty()
    }

    fn add_compression_headers(&mut self) {
        self.headers.push(("content-encoding", "gzip".to_owned()));
        self.headers.push(("vary", "accept-encoding".to_owned()));
    }

    /// Allows [`ApiResponse::encoded`] to compress the body.
    pub(crate) fn allow_compression(&mut self) {
        self.compress = true;
    }

    /// Returns the response as it is sent, with its complete body. Separate from building it, because compression is slow
    /// and does not need the server's lock.
    #[must_use]
    pub fn encoded(mut self) -> ApiResponse {
        if self.is_streamed() {
            self.body = self.complete_body();
            self.generated.clear();
        }
        if self.compress && self.body.len() > 1_000 {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 4), Compression::fast());
            let compressed = encoder.write_all(&self.body).and_then(|()| encoder.finish());
            if let Ok(compressed) = compressed {
                self.body = compressed;
                self.add_compression_headers();
            }
        }
        if let Delivery::Cut(after) = self.delivery {
            // A cut at the end or after it would deliver the whole body.
            self.delivery = Delivery::Cut(after.min(self.body.len().saturating_sub(1)));
        }
        self
    }
}

/// Formats a time for an HTTP header.
pub(crate) fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Converts the milliseconds of a knob to a duration.
pub(crate) fn millis(count: u32) -> TimeDelta {
    TimeDelta::milliseconds(i64::from(count))
}
