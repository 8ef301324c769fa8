//! Parses a response as one JSON document, after repair if necessary (`ticket::repair`). Long ones were repaired before.

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use super::repair::{REPAIRED_COPY_MAX, repair};

/// Why a response could not be parsed.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON, even after repair.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but not what was requested.
    #[error("the answer is not {expected}")]
    UnexpectedShape {
        /// What was requested, such as "a list of tickets".
        expected: &'static str,
    },
    /// It has more rows than any response to the request can have.
    #[error("the answer has more than {max} rows")]
    TooLong {
        /// The most rows that it can have.
        max: usize,
    },
}

/// A parsed document, with its text after any repair.
pub(super) struct ParsedDocument<'a, T> {
    pub(super) value: T,
    pub(super) text: Cow<'a, str>,
    pub(super) repaired: usize,
}

/// Parses a document, after repair if necessary.
pub(super) fn parse_document<'a, T>(
    bytes: &'a [u8],
    expected: &'static str,
    parse: impl Fn(&str) -> serde_json::Result<T>,
) -> Result<ParsedDocument<'a, T>, ParseError> {
    // `from_str` after one UTF-8 check of the whole document is a third cheaper than `from_slice`, which
    // checks every string separately.
    if let Ok(text) = std::str::from_utf8(bytes) {
        match parse(text) {
            Ok(value) => return Ok(ParsedDocument { value, text: text.into(), repaired: 0 }),
            Err(error) if error.is_data() => return Err(ParseError::UnexpectedShape { expected }),
            Err(error) if REPAIRED_COPY_MAX < bytes.len() => return Err(ParseError::NotJson(error)),
            Err(_) => {}
        }
    }
    let (text, repaired) = repair(bytes);
    match parse(&text) {
        Ok(value) => Ok(ParsedDocument { value, text: text.into(), repaired }),
        Err(error) if error.is_data() => Err(ParseError::UnexpectedShape { expected }),
        Err(error) => Err(ParseError::NotJson(error)),
    }
}

/// Parses the whole text with a seed; anything but whitespace after the document is an error.
pub(super) fn parse_with_seed<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}
