//! The value of an attribute, and how each kind is read from JSON.
//!
//! Every oddity of the API is handled in one arm here. What a kind cannot hold becomes NULL together
//! with an [`Oddity`] that keeps the text, so that nothing is lost without a trace:
//!
//! | kind | taken | NULL, without an oddity | NULL, with one |
//! | --- | --- | --- | --- |
//! | integer | a number without a fraction, `18.0` too | absent, null | anything else |
//! | real | a number; `-0.0` is 0.0 | absent, null | anything else |
//! | boolean | `true`, `false`, 0, 1 | absent, null | anything else |
//! | text, clock | a text | absent, null | anything else |
//! | timestamp | a text that [`Stamp`] reads | absent, null, empty, a year before 1980 | anything else |

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::attribute::ValueKind;
use super::timestamp::Timestamp;

/// A value as the database holds it. Booleans are the integers 0 and 1, instants are text.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// No value.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A double, never NaN, never infinite, never `-0.0`.
    Real(f64),
    /// Any text, never with U+0000 in it.
    Text(String),
}

/// A [`Value`] that somebody else owns: what the database lends to an export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellValue<'a> {
    /// No value.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A double.
    Real(f64),
    /// A text.
    Text(&'a str),
    /// A text that is JSON, and stands as such where JSON is written.
    Json(&'a str),
}

impl AttributeValue {
    /// The value, lent.
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
    /// The value in JSON; a boolean attribute is `true` or `false` there.
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

/// A value that its attribute cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RejectedValue {
    /// Why it cannot be held.
    pub reason: &'static str,
    /// The value as JSON, cut after [`RAW_MAX`] characters.
    pub raw: String,
}

/// How many characters of an unusable value are kept.
pub const MAX_RAW_CHARS: usize = 1_000;

impl RejectedValue {
    pub(super) fn new(reason: &'static str, raw: &str) -> RejectedValue {
        RejectedValue { reason, raw: replace_nul(raw).chars().take(MAX_RAW_CHARS).collect() }
    }
}

/// Text without U+0000, at which SQLite's `length`, `LIKE` and shell would stop.
pub(super) fn replace_nul(text: &str) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.to_owned() }
}

/// Reads one value of a kind out of a JSON document, without a tree.
pub(super) struct ValueSeed<'a> {
    pub(super) kind: ValueKind,
    pub(super) rejected: &'a mut Option<RejectedValue>,
    /// How many U+0000 became U+FFFD.
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
            // A double holds every integer that a count of hours or a cost can be.
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
            // `-0.0 + 0.0` is `0.0` (IEEE 754 §6.3): the server sends `estimate` so.
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

    // An array or object is rare enough to be read as a tree: only its text is kept.
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

/// The integer that a JSON value is, `18.0` too.
pub(super) fn integer(value: &serde_json::Value) -> Option<i64> {
    value.as_i64().or_else(|| exact_integer(value.as_f64()?))
}

/// The integer that a double is, if it is one and every neighbour is one too.
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
            assert!(number.is_sign_positive(), "-0.0 was kept");
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
