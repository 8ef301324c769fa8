//! A request as the server reads it, and an answer with the manner of its delivery.

use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

/// What the server looks at in a request.
#[derive(Clone, Debug, Default)]
pub struct ApiRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without the query, as sent.
    pub path: String,
    /// The raw query, without its question mark.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Accept-Encoding` header.
    pub accept_encoding: Option<String>,
    /// The body: a form for the token endpoint.
    pub body: Vec<u8>,
}

impl ApiRequest {
    /// A GET of `target`, a path with or without a query, with a bearer token.
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

    /// A POST of a form to `path`.
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

/// An answer, and how it travels.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// The HTTP status.
    pub status: u16,
    /// Header names, lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body, before any compression or cut.
    pub body: Vec<u8>,
    /// How the body travels.
    pub delivery: Delivery,
    /// How long the server takes before it answers; other requests go on meanwhile.
    pub delay: Duration,
    compress: bool,
}

/// How the body of an answer reaches the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// At once and complete.
    #[default]
    Complete,
    /// The connection ends after this many bytes of the body.
    Cut(usize),
    /// In small pieces, spread over this time.
    Slow(Duration),
    /// Not at all: the connection is reset before the first byte.
    Reset,
}

impl ApiResponse {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "application/json; charset=utf-8", body.into())
    }

    /// An HTML answer.
    #[must_use]
    pub fn html(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "text/html; charset=utf-8", body.into())
    }

    /// A plain text.
    #[must_use]
    pub fn plain(status: u16, body: impl Into<Vec<u8>>) -> ApiResponse {
        ApiResponse::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// A status and nothing else.
    #[must_use]
    pub fn empty(status: u16) -> ApiResponse {
        ApiResponse {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delivery: Delivery::Complete,
            delay: Duration::ZERO,
            compress: false,
        }
    }

    fn new(status: u16, content_type: &str, body: Vec<u8>) -> ApiResponse {
        ApiResponse { body, ..ApiResponse::empty(status) }.with_header("content-type", content_type)
    }

    /// The same answer with one header more.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> ApiResponse {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `None` where it is none.
    #[must_use]
    pub fn json_body(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Asks for compression; [`Answer::encoded`] does it.
    pub(crate) fn allow_compression(&mut self) {
        self.compress = true;
    }

    /// The answer as it goes on the wire. Apart from the making of the answer, because compression is slow and need
    /// not hold the server's lock.
    #[must_use]
    pub fn encoded(mut self) -> ApiResponse {
        if self.compress && self.body.len() > 1_000 {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 4), Compression::fast());
            let compressed = encoder.write_all(&self.body).and_then(|()| encoder.finish());
            if let Ok(compressed) = compressed {
                self.body = compressed;
                self = self.with_header("content-encoding", "gzip").with_header("vary", "accept-encoding");
            }
        }
        if let Delivery::Cut(after) = self.delivery {
            // A cut at or behind the end would be no cut.
            self.delivery = Delivery::Cut(after.min(self.body.len().saturating_sub(1)));
        }
        self
    }
}

/// A moment as an HTTP header spells it.
pub(crate) fn http_date(moment: DateTime<Utc>) -> String {
    moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A number of milliseconds, as a knob holds it, as a span of time.
pub(crate) fn millis(count: u32) -> TimeDelta {
    TimeDelta::milliseconds(i64::from(count))
}
