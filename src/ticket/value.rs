//! Attribute values, and how each kind is parsed from JSON.
//!
//! A value that does not fit its kind becomes NULL, and a [`RejectedValue`] keeps its text:
//!
//! | kind | accepted | NULL | NULL and rejected |
//! | --- | --- | --- | --- |
//! | integer | a number without a fraction, `18.0` too | absent, null | anything else |
//! | real | a number; `-0.0` is 0.0 | absent, null | anything else |
//! | boolean | `true`, `false`, 0, 1 | absent, null | anything else |
//! | text, clock | a string | absent, null | anything else |
//! | timestamp | a string that [`Timestamp::parse_halo`] accepts | absent, null, empty, a year before 1980 | anything else |

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::attribute::ValueKind;
use super::timestamp::Timestamp;

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
    pub reason: &'static str,
    /// Its JSON, cut after [`MAX_RAW_CHARS`] characters.
    pub raw: String,
}

/// Number of characters that are kept of a rejected value.
pub const MAX_RAW_CHARS: usize = 1_000;

impl RejectedValue {
    pub(super) fn new(reason: &'static str, raw: &str) -> RejectedValue {
        RejectedValue { reason, raw: replace_nul(raw).chars().take(MAX_RAW_CHARS).collect() }
    }
}

/// Replaces U+0000, at which SQLite's `length`, `LIKE` and shell would stop, by U+FFFD.
pub(super) fn replace_nul(text: &str) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.to_owned() }
}

/// Parses one value of a kind.
pub(super) struct ValueSeed<'a> {
    pub(super) kind: ValueKind,
    pub(super) rejected: &'a mut Option<RejectedValue>,
    /// Counts the U+0000 replaced by U+FFFD.
    pub(super) repaired: &'a mut usize,
}

impl ValueSeed<'_> {
    fn reject(self, reason: &'static str, raw: &str) -> AttributeValue {
        *self.rejected = Some(RejectedValue::new(reason, raw));
        AttributeValue::Null
    }

    fn reject_kind(self, raw: &str) -> AttributeValue {
        let reason = match self.kind {
            ValueKind::Text => "not a text",
            ValueKind::Clock => "not a clock time",
            ValueKind::Integer => "not an integer",
            ValueKind::Real => "not a number",
            ValueKind::Boolean => "not true or false",
            ValueKind::Timestamp => "not a date and time",
        };
        self.reject(reason, raw)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = AttributeValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AttributeValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = AttributeValue;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<AttributeValue, E> {
        match self.kind {
            ValueKind::Boolean => Ok(AttributeValue::Integer(i64::from(truth))),
            _ => Ok(self.reject_kind(&truth.to_string())),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<AttributeValue, E> {
        match self.kind {
            ValueKind::Integer => Ok(AttributeValue::Integer(number)),
            // Hours and costs are far below 2^53.
            #[expect(clippy::cast_precision_loss)]
            ValueKind::Real => Ok(AttributeValue::Real(number as f64)),
            ValueKind::Boolean if number == 0 || number == 1 => Ok(AttributeValue::Integer(number)),
            _ => Ok(self.reject_kind(&number.to_string())),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<AttributeValue, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Ok(self.reject("larger than 64 bits", &number.to_string())),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<AttributeValue, E> {
        match (self.kind, exact_integer(number)) {
            (ValueKind::Integer, Some(number)) => Ok(AttributeValue::Integer(number)),
            // The server sends `-0.0` for `estimate`; `-0.0 + 0.0` is `0.0` (IEEE 754 §6.3).
            (ValueKind::Real, _) => Ok(AttributeValue::Real(number + 0.0)),
            (ValueKind::Boolean, Some(number @ (0 | 1))) => Ok(AttributeValue::Integer(number)),
            _ => Ok(self.reject_kind(&number.to_string())),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<AttributeValue, E> {
        match self.kind {
            ValueKind::Text | ValueKind::Clock => {
                if text.as_bytes().contains(&0) {
                    *self.repaired += text.bytes().filter(|byte| *byte == 0).count();
                }
                Ok(AttributeValue::Text(replace_nul(text)))
            }
            ValueKind::Timestamp if text.is_empty() => Ok(AttributeValue::Null),
            ValueKind::Timestamp => match Timestamp::parse_halo(text) {
                Ok(timestamp) => Ok(timestamp
                    .map_or(AttributeValue::Null, |timestamp| AttributeValue::Text(timestamp.to_string()))),
                Err(_) => Ok(self.reject_kind(&quoted(text))),
            },
            _ => Ok(self.reject_kind(&quoted(text))),
        }
    }

    // Arrays and objects are rare enough to build a tree, of which only the text is kept.
    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<AttributeValue, A::Error> {
        let raw = serde_json::Value::deserialize(SeqAccessDeserializer::new(array))?;
        Ok(self.reject_kind(&raw.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<AttributeValue, A::Error> {
        let raw = serde_json::Value::deserialize(MapAccessDeserializer::new(object))?;
        Ok(self.reject_kind(&raw.to_string()))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns a JSON value as an integer; `18.0` counts as one.
pub(super) fn integer(value: &serde_json::Value) -> Option<i64> {
    value.as_i64().or_else(|| exact_integer(value.as_f64()?))
}

/// Returns a double as an integer, if it is integral and below 2^53, where doubles are exact.
fn exact_integer(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    #[expect(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn parse(kind: ValueKind, json: &str) -> (AttributeValue, Option<RejectedValue>) {
        let mut rejected = None;
        let value = ValueSeed { kind, rejected: &mut rejected, repaired: &mut 0 }
            .deserialize(&mut serde_json::Deserializer::from_str(json))
            .unwrap();
        (value, rejected)
    }

    #[rstest]
    #[case(ValueKind::Integer, "18", AttributeValue::Integer(18))]
    #[case(ValueKind::Integer, "18.0", AttributeValue::Integer(18))]
    #[case(ValueKind::Integer, "-9223372036854775808", AttributeValue::Integer(i64::MIN))]
    #[case(ValueKind::Real, "-0.0", AttributeValue::Real(0.0))]
    #[case(ValueKind::Real, "27", AttributeValue::Real(27.0))]
    #[case(ValueKind::Real, "0.7500000000000001", AttributeValue::Real(0.750_000_000_000_000_1))]
    #[case(ValueKind::Boolean, "true", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "0", AttributeValue::Integer(0))]
    #[case(ValueKind::Text, "\"\"", AttributeValue::Text(String::new()))]
    #[case(ValueKind::Text, "\"a\\u0000b\"", AttributeValue::Text("a\u{FFFD}b".into()))]
    #[case(ValueKind::Clock, "\"04:00:00\"", AttributeValue::Text("04:00:00".into()))]
    #[case(ValueKind::Timestamp, "\"1900-01-01T00:00:00\"", AttributeValue::Null)]
    #[case(ValueKind::Timestamp, "\"2025-10-28T17:03:13.23\"", AttributeValue::Text("2025-10-28T17:03:13.230Z".into()))]
    #[case(ValueKind::Integer, "null", AttributeValue::Null)]
    fn value_is_parsed_as_its_kind(
        #[case] kind: ValueKind,
        #[case] json: &str,
        #[case] value: AttributeValue,
    ) {
        let (parsed, rejected) = parse(kind, json);
        assert_eq!((&parsed, rejected), (&value, None));
        if let AttributeValue::Real(number) = parsed {
            assert!(number.is_sign_positive(), "-0.0 must become 0.0");
        }
    }

    proptest! {
        #[test]
        fn real_number_is_parsed_exactly(number: f64, hours in 0.0..1e4f64) {
            for number in [number, hours] {
                prop_assume!(number.is_finite());
                let (parsed, _) = parse(ValueKind::Real, &format!("{number:?}"));
                prop_assert_eq!(parsed, AttributeValue::Real(number + 0.0));
            }
        }
    }

    #[rstest]
    #[case(ValueKind::Integer, "\"three\"")]
    #[case(ValueKind::Integer, "\"18\"")]
    #[case(ValueKind::Text, "42")]
    #[case(ValueKind::Boolean, "\"true\"")]
    #[case(ValueKind::Integer, "1.5")]
    #[case(ValueKind::Integer, "18446744073709551615")]
    #[case(ValueKind::Integer, "[1,2]")]
    #[case(ValueKind::Real, "\"NaN\"")]
    #[case(ValueKind::Real, "true")]
    #[case(ValueKind::Boolean, "2")]
    #[case(ValueKind::Boolean, "\"maybe\"")]
    #[case(ValueKind::Timestamp, "\"31/12/2025\"")]
    #[case(ValueKind::Timestamp, "1700000000")]
    #[case(ValueKind::Text, "{\"a\":[1]}")]
    fn value_of_the_wrong_kind_is_null_and_kept_as_rejected(#[case] kind: ValueKind, #[case] json: &str) {
        let (value, rejected) = parse(kind, json);
        assert_eq!(value, AttributeValue::Null);
        assert_eq!(rejected.map(|rejected| rejected.raw).as_deref(), Some(json));
    }
}
