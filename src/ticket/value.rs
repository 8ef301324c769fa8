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

use super::attribute::Kind;
use super::stamp::Stamp;

/// A value as the database holds it. Booleans are the integers 0 and 1, instants are text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
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
pub enum Cell<'a> {
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

impl Value {
    /// The value, lent.
    #[must_use]
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Null => Cell::Null,
            Value::Integer(number) => Cell::Integer(*number),
            Value::Real(number) => Cell::Real(*number),
            Value::Text(text) => Cell::Text(text),
        }
    }
}

impl Cell<'_> {
    /// The value in JSON; a boolean attribute is `true` or `false` there.
    #[must_use]
    pub fn json(self, kind: Kind) -> serde_json::Value {
        match self {
            Cell::Null => serde_json::Value::Null,
            Cell::Integer(number) if kind == Kind::Boolean => (number != 0).into(),
            Cell::Integer(number) => number.into(),
            Cell::Real(number) => number.into(),
            Cell::Text(text) | Cell::Json(text) => text.into(),
        }
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Value::Null,
            Cell::Integer(number) => Value::Integer(number),
            Cell::Real(number) => Value::Real(number),
            Cell::Text(text) | Cell::Json(text) => Value::Text(text.to_owned()),
        }
    }
}

/// A value that its attribute cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Oddity {
    /// Why it cannot be held.
    pub reason: &'static str,
    /// The value as JSON, cut after [`RAW_MAX`] characters.
    pub raw: String,
}

/// How many characters of an unusable value are kept.
pub const RAW_MAX: usize = 1_000;

impl Oddity {
    pub(super) fn new(reason: &'static str, raw: &str) -> Oddity {
        Oddity { reason, raw: clean(raw).chars().take(RAW_MAX).collect() }
    }
}

/// Text without U+0000, at which SQLite's `length`, `LIKE` and shell would stop.
pub(super) fn clean(text: &str) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.to_owned() }
}

/// Reads one value of a kind out of a JSON document, without a tree.
pub(super) struct Reading<'a> {
    pub(super) kind: Kind,
    pub(super) oddity: &'a mut Option<Oddity>,
    /// How many U+0000 became U+FFFD.
    pub(super) repaired: &'a mut usize,
}

impl Reading<'_> {
    fn refuse(self, reason: &'static str, raw: &str) -> Value {
        *self.oddity = Some(Oddity::new(reason, raw));
        Value::Null
    }

    fn wrong(self, raw: &str) -> Value {
        let reason = match self.kind {
            Kind::Text => "not a text",
            Kind::Clock => "not a clock time",
            Kind::Integer => "not an integer",
            Kind::Real => "not a number",
            Kind::Boolean => "not true or false",
            Kind::Timestamp => "not a date and time",
        };
        self.refuse(reason, raw)
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        match self.kind {
            Kind::Boolean => Ok(Value::Integer(i64::from(truth))),
            _ => Ok(self.wrong(&truth.to_string())),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        match self.kind {
            Kind::Integer => Ok(Value::Integer(number)),
            // A double holds every integer that a count of hours or a cost can be.
            #[expect(clippy::cast_precision_loss)]
            Kind::Real => Ok(Value::Real(number as f64)),
            Kind::Boolean if number == 0 || number == 1 => Ok(Value::Integer(number)),
            _ => Ok(self.wrong(&number.to_string())),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Ok(self.refuse("larger than 64 bits", &number.to_string())),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        match (self.kind, integral(number)) {
            (Kind::Integer, Some(number)) => Ok(Value::Integer(number)),
            // `-0.0 + 0.0` is `0.0` (IEEE 754 §6.3): the server sends `estimate` so.
            (Kind::Real, _) => Ok(Value::Real(number + 0.0)),
            (Kind::Boolean, Some(number @ (0 | 1))) => Ok(Value::Integer(number)),
            _ => Ok(self.wrong(&number.to_string())),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        match self.kind {
            Kind::Text | Kind::Clock => {
                if text.as_bytes().contains(&0) {
                    *self.repaired += text.bytes().filter(|byte| *byte == 0).count();
                }
                Ok(Value::Text(clean(text)))
            }
            Kind::Timestamp if text.is_empty() => Ok(Value::Null),
            Kind::Timestamp => match Stamp::read(text) {
                Ok(stamp) => Ok(stamp.map_or(Value::Null, |stamp| Value::Text(stamp.to_string()))),
                Err(_) => Ok(self.wrong(&quoted(text))),
            },
            _ => Ok(self.wrong(&quoted(text))),
        }
    }

    // An array or object is rare enough to be read as a tree: only its text is kept.
    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Value, A::Error> {
        let raw = serde_json::Value::deserialize(SeqAccessDeserializer::new(array))?;
        Ok(self.wrong(&raw.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Value, A::Error> {
        let raw = serde_json::Value::deserialize(MapAccessDeserializer::new(object))?;
        Ok(self.wrong(&raw.to_string()))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The integer that a JSON value is, `18.0` too.
pub(super) fn integer(value: &serde_json::Value) -> Option<i64> {
    value.as_i64().or_else(|| integral(value.as_f64()?))
}

/// The integer that a double is, if it is one and every neighbour is one too.
fn integral(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    #[expect(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn read(kind: Kind, json: &str) -> (Value, Option<Oddity>) {
        let mut oddity = None;
        let value = Reading { kind, oddity: &mut oddity, repaired: &mut 0 }
            .deserialize(&mut serde_json::Deserializer::from_str(json))
            .unwrap();
        (value, oddity)
    }

    #[rstest]
    #[case(Kind::Integer, "18", Value::Integer(18))]
    #[case(Kind::Integer, "18.0", Value::Integer(18))]
    #[case(Kind::Integer, "-9223372036854775808", Value::Integer(i64::MIN))]
    #[case(Kind::Real, "-0.0", Value::Real(0.0))]
    #[case(Kind::Real, "27", Value::Real(27.0))]
    #[case(Kind::Real, "0.7500000000000001", Value::Real(0.750_000_000_000_000_1))]
    #[case(Kind::Boolean, "true", Value::Integer(1))]
    #[case(Kind::Boolean, "0", Value::Integer(0))]
    #[case(Kind::Text, "\"\"", Value::Text(String::new()))]
    #[case(Kind::Text, "\"a\\u0000b\"", Value::Text("a\u{FFFD}b".into()))]
    #[case(Kind::Clock, "\"04:00:00\"", Value::Text("04:00:00".into()))]
    #[case(Kind::Timestamp, "\"1900-01-01T00:00:00\"", Value::Null)]
    #[case(Kind::Timestamp, "\"2025-10-28T17:03:13.23\"", Value::Text("2025-10-28T17:03:13.230Z".into()))]
    #[case(Kind::Integer, "null", Value::Null)]
    fn a_value_is_read_as_its_kind(#[case] kind: Kind, #[case] json: &str, #[case] value: Value) {
        let (read, oddity) = read(kind, json);
        assert_eq!((&read, oddity), (&value, None));
        if let Value::Real(number) = read {
            assert!(number.is_sign_positive(), "-0.0 was kept");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_read_exactly(number: f64, hours in 0.0..1e4f64) {
            for number in [number, hours] {
                prop_assume!(number.is_finite());
                let (read, _) = read(Kind::Real, &format!("{number:?}"));
                prop_assert_eq!(read, Value::Real(number + 0.0));
            }
        }
    }

    #[rstest]
    #[case(Kind::Integer, "\"three\"")]
    #[case(Kind::Integer, "\"18\"")]
    #[case(Kind::Text, "42")]
    #[case(Kind::Boolean, "\"true\"")]
    #[case(Kind::Integer, "1.5")]
    #[case(Kind::Integer, "18446744073709551615")]
    #[case(Kind::Integer, "[1,2]")]
    #[case(Kind::Real, "\"NaN\"")]
    #[case(Kind::Real, "true")]
    #[case(Kind::Boolean, "2")]
    #[case(Kind::Boolean, "\"maybe\"")]
    #[case(Kind::Timestamp, "\"31/12/2025\"")]
    #[case(Kind::Timestamp, "1700000000")]
    #[case(Kind::Text, "{\"a\":[1]}")]
    fn a_value_of_the_wrong_kind_is_null_and_its_text_is_kept(#[case] kind: Kind, #[case] json: &str) {
        let (value, oddity) = read(kind, json);
        assert_eq!(value, Value::Null);
        assert_eq!(oddity.map(|oddity| oddity.raw).as_deref(), Some(json));
    }
}
