//! Attribute values, and values that could not be stored as received.

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3;

use super::attribute::ValueKind;

/// A value as stored in the database. Booleans are the integers 0 and 1, timestamps are text.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// No value.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A double; never NaN, infinite or `-0.0`.
    Real(f64),
    /// Text without U+0000.
    Text(String),
}

/// A borrowed [`AttributeValue`], as an export reads it from the database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellValue<'a> {
    /// No value.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A double.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// JSON text, which is embedded unquoted when JSON is written.
    Json(&'a str),
}

impl AttributeValue {
    /// Borrows the value.
    #[must_use]
    pub fn as_cell(&self) -> CellValue<'_> {
        match self {
            AttributeValue::Null => CellValue::Null,
            AttributeValue::Integer(number) => CellValue::Integer(*number),
            AttributeValue::Real(number) => CellValue::Real(*number),
            AttributeValue::Text(text) => CellValue::Text(text),
        }
    }
}

impl CellValue<'_> {
    /// Returns the value as JSON; booleans are `true` or `false`.
    #[must_use]
    pub fn to_json(self, kind: ValueKind) -> serde_json::Value {
        match self {
            CellValue::Null => serde_json::Value::Null,
            CellValue::Integer(number) if kind == ValueKind::Boolean => (number != 0).into(),
            CellValue::Integer(number) => number.into(),
            CellValue::Real(number) => number.into(),
            CellValue::Text(text) | CellValue::Json(text) => text.into(),
        }
    }
}

impl CellValue<'_> {
    /// Adds the value to a hash of a row; two rows of as many values have the same hash only if they are equal.
    pub(crate) fn add_to_hash(self, hash: &mut RowHasher) {
        match self {
            CellValue::Null => hash.update(&[0]),
            CellValue::Integer(number) => hash.update(&tagged(1, number.to_le_bytes())),
            CellValue::Real(number) => hash.update(&tagged(2, number.to_bits().to_le_bytes())),
            CellValue::Text(text) | CellValue::Json(text) => {
                hash.update(&tagged(3, (text.len() as u64).to_le_bytes()));
                hash.update(text.as_bytes());
            }
        }
    }
}

fn tagged(tag: u8, bytes: [u8; 8]) -> [u8; 9] {
    let mut tagged = [tag; 9];
    tagged[1..].copy_from_slice(&bytes);
    tagged
}

/// XXH3 of everything that it is given. Gathers small pieces first: hashing each of them costs several times as much.
pub(crate) struct RowHasher {
    hash: Xxh3,
    pieces: Vec<u8>,
}

impl RowHasher {
    const PIECES_MAX: usize = 4 << 10;

    pub(crate) fn new() -> RowHasher {
        RowHasher { hash: Xxh3::new(), pieces: Vec::with_capacity(RowHasher::PIECES_MAX) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if RowHasher::PIECES_MAX < self.pieces.len() + bytes.len() {
            self.hash.update(&self.pieces);
            self.pieces.clear();
        }
        if RowHasher::PIECES_MAX < bytes.len() {
            self.hash.update(bytes);
        } else {
            self.pieces.extend_from_slice(bytes);
        }
    }

    pub(crate) fn digest(mut self) -> u64 {
        self.hash.update(&self.pieces);
        self.hash.digest()
    }
}

impl From<CellValue<'_>> for AttributeValue {
    fn from(cell: CellValue<'_>) -> Self {
        match cell {
            CellValue::Null => AttributeValue::Null,
            CellValue::Integer(number) => AttributeValue::Integer(number),
            CellValue::Real(number) => AttributeValue::Real(number),
            CellValue::Text(text) | CellValue::Json(text) => AttributeValue::Text(text.to_owned()),
        }
    }
}

/// A value or row that could not be stored as received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RejectedValue {
    /// Why it was rejected.
    pub reason: Cow<'static, str>,
    /// Its JSON, cut after [`MAX_RAW_CHARS`] characters; empty where it is not kept.
    pub raw: String,
}

/// Number of characters that are kept of a rejected value.
pub const MAX_RAW_CHARS: usize = 1_000;

impl RejectedValue {
    /// Whitespace between the values of `raw` is left out, so that the layout of the JSON makes no difference.
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>, raw: &str) -> RejectedValue {
        let kept = without_whitespace(raw).map(|it| if it == '\0' { '\u{FFFD}' } else { it });
        RejectedValue { reason: reason.into(), raw: kept.take(MAX_RAW_CHARS).collect() }
    }
}

/// Leaves out insignificant whitespace.
pub(super) fn without_whitespace(raw: &str) -> impl Iterator<Item = char> {
    let (mut in_text, mut escaped) = (false, false);
    raw.chars().filter(move |it| {
        let kept = in_text || !it.is_ascii_whitespace();
        in_text ^= *it == '"' && !escaped;
        escaped = *it == '\\' && !escaped;
        kept
    })
}

/// Replaces U+0000, at which SQLite's `length`, `LIKE` and shell would stop, by U+FFFD; also returns how many there were.
pub(super) fn replace_nul(text: &str) -> (String, usize) {
    if !text.as_bytes().contains(&0) {
        return (text.to_owned(), 0);
    }
    (text.replace('\0', "\u{FFFD}"), text.bytes().filter(|byte| *byte == 0).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_text_does_not_depend_on_the_layout() {
        let rejected = |raw: &str| RejectedValue::new("not a text", raw).raw;
        assert_eq!(rejected("{ \"a b\" :\n [1, \"x \\\" y\"] }"), "{\"a b\":[1,\"x \\\" y\"]}");
    }
}
