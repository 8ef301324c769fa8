//! Attribute values, and the conversions from JSON: the one place for their rules.
//!
//! A JSON value is taken where one conversion loses nothing. Anything else is rejected: the last value that could be
//! read stays (NULL where there was none), and a [`RejectedValue`] keeps the text. The same rules hold for attributes,
//! for the members of custom fields, and for statuses and ticket types.
//!
//! | kind | taken | NULL | rejected |
//! | --- | --- | --- | --- |
//! | integer | a number without a fraction, `18.0` too; digits as text: `"12"`, `"-1"` | absent, null | anything else: `"012"`, `"+1"`, `"1e2"`, `"18.0"`, `""` |
//! | real | a number, `-0.0` is 0.0; a number as text: `"27.5"` | absent, null | anything else |
//! | boolean | `true`, `false`, 0, 1; `"true"`, `"True"`, `"false"`, `"False"`, `"0"`, `"1"` | absent, null | anything else |
//! | text | a string; a number or boolean as spelled in the JSON: `1.50` is `"1.50"` | absent, null | an array, an object |
//! | clock | a string | absent, null | anything else |
//! | timestamp | a string that [`Timestamp::parse_halo`] accepts | absent, null, empty, a year before 1980 | anything else |

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::attribute::ValueKind;
use super::repair::repair;
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
    /// Whitespace between the values of `raw` is left out, so that the layout of the JSON makes no difference.
    pub(super) fn new(reason: &'static str, raw: &str) -> RejectedValue {
        let kept = without_whitespace(raw).map(|it| if it == '\0' { '\u{FFFD}' } else { it });
        RejectedValue { reason, raw: kept.take(MAX_RAW_CHARS).collect() }
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

/// Replaces U+0000, at which SQLite's `length`, `LIKE` and shell would stop, by U+FFFD.
pub(super) fn replace_nul(text: &str) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.to_owned() }
}

/// What a JSON value is taken as.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Conversion {
    /// This value.
    Taken(AttributeValue),
    /// The text of the number in the JSON, which the parser of the number does not know.
    AsSpelled,
    /// Rejected, for this reason.
    Rejected(&'static str),
}

/// A JSON value, as far as the rules look at it.
#[derive(Clone, Copy, Debug)]
enum ReceivedValue<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
    /// An integer beyond 64 bits, with its digits.
    LargeInteger(u64),
    /// An array or an object.
    Nested,
}

/// The rules of the module.
fn convert(kind: ValueKind, received: ReceivedValue<'_>, repaired: &mut usize) -> Conversion {
    use ReceivedValue as Received;
    let taken = match (kind, received) {
        (_, Received::Null) => Some(AttributeValue::Null),
        (ValueKind::Text, Received::Float(_)) => return Conversion::AsSpelled,
        (ValueKind::Text | ValueKind::Clock, Received::Text(text)) => {
            *repaired += text.bytes().filter(|byte| *byte == 0).count();
            Some(AttributeValue::Text(replace_nul(text)))
        }
        (ValueKind::Text, Received::Boolean(truth)) => Some(AttributeValue::Text(truth.to_string())),
        (ValueKind::Text, Received::Integer(number)) => Some(AttributeValue::Text(number.to_string())),
        (ValueKind::Text, Received::LargeInteger(number)) => Some(AttributeValue::Text(number.to_string())),
        (ValueKind::Integer, received) => to_integer(received).map(AttributeValue::Integer),
        // The server sends `-0.0` for `estimate`; `-0.0 + 0.0` is `0.0` (IEEE 754 §6.3).
        (ValueKind::Real, received) => to_real(received).map(|number| AttributeValue::Real(number + 0.0)),
        (ValueKind::Boolean, received) => to_boolean(received).map(|it| AttributeValue::Integer(it.into())),
        (ValueKind::Timestamp, Received::Text(text)) => to_timestamp(text),
        (ValueKind::Text | ValueKind::Clock | ValueKind::Timestamp, _) => None,
    };
    taken.map_or_else(|| Conversion::Rejected(reason(kind, received)), Conversion::Taken)
}

const fn reason(kind: ValueKind, received: ReceivedValue<'_>) -> &'static str {
    match (kind, received) {
        (ValueKind::Integer, ReceivedValue::LargeInteger(_)) => "larger than 64 bits",
        (ValueKind::Text, _) => "not a text",
        (ValueKind::Clock, _) => "not a clock time",
        (ValueKind::Integer, _) => "not an integer",
        (ValueKind::Real, _) => "not a number",
        (ValueKind::Boolean, _) => "not true or false",
        (ValueKind::Timestamp, _) => "not a date and time",
    }
}

fn to_integer(received: ReceivedValue<'_>) -> Option<i64> {
    match received {
        ReceivedValue::Integer(number) => Some(number),
        ReceivedValue::Float(number) => exact_integer(number),
        // A text such as `007` is a code and not a number.
        ReceivedValue::Text(text) => text.parse().ok().filter(|number: &i64| number.to_string() == text),
        _ => None,
    }
}

fn to_real(received: ReceivedValue<'_>) -> Option<f64> {
    match received {
        // Hours and costs are far below 2^53.
        #[expect(clippy::cast_precision_loss)]
        ReceivedValue::Integer(number) => Some(number as f64),
        #[expect(clippy::cast_precision_loss)]
        ReceivedValue::LargeInteger(number) => Some(number as f64),
        ReceivedValue::Float(number) => Some(number).filter(|number| number.is_finite()),
        // A text is a number where the same characters are a number in JSON.
        ReceivedValue::Text(text) if text.bytes().all(|byte| !byte.is_ascii_whitespace()) => {
            serde_json::from_str(text).ok()
        }
        _ => None,
    }
}

fn to_boolean(received: ReceivedValue<'_>) -> Option<bool> {
    match received {
        ReceivedValue::Boolean(truth) => Some(truth),
        ReceivedValue::Integer(number @ (0 | 1)) => Some(number == 1),
        ReceivedValue::Float(number) => match exact_integer(number) {
            Some(number @ (0 | 1)) => Some(number == 1),
            _ => None,
        },
        ReceivedValue::Text("true" | "True" | "1") => Some(true),
        ReceivedValue::Text("false" | "False" | "0") => Some(false),
        _ => None,
    }
}

fn to_timestamp(text: &str) -> Option<AttributeValue> {
    if text.is_empty() {
        return Some(AttributeValue::Null);
    }
    let timestamp = Timestamp::parse_halo(text).ok()?;
    Some(timestamp.map_or(AttributeValue::Null, |timestamp| AttributeValue::Text(timestamp.to_string())))
}

/// Returns a double as an integer, if it is integral and below 2^53, where doubles are exact.
fn exact_integer(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    #[expect(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// The greatest id of a ticket. Above it a double, which the server sends at times, is not exact.
const TICKET_ID_MAX: i64 = 1 << 53;

/// Whether a number can be the id of a ticket.
pub(super) fn is_ticket_id(number: i64) -> bool {
    (1..=TICKET_ID_MAX).contains(&number)
}

/// Converts a value from its text in the JSON, which a parser has passed over without looking into it.
pub(super) fn convert_raw(
    kind: ValueKind,
    raw: &str,
    repaired: &mut usize,
) -> Result<AttributeValue, RejectedValue> {
    match parse_raw(kind, raw, repaired) {
        Conversion::Taken(value) => Ok(value),
        Conversion::AsSpelled => Ok(AttributeValue::Text(raw.to_owned())),
        Conversion::Rejected(reason) => Err(RejectedValue::new(reason, raw)),
    }
}

fn parse_raw(kind: ValueKind, raw: &str, repaired: &mut usize) -> Conversion {
    if raw.starts_with(['[', '{']) {
        return convert(kind, ReceivedValue::Nested, repaired);
    }
    let mut parse =
        |text: &str| ValueSeed { kind, repaired }.deserialize(&mut serde_json::Deserializer::from_str(text));
    if let Ok(conversion) = parse(raw) {
        return conversion;
    }
    if raw.starts_with('"') {
        // Its escapes were not checked.
        let (text, repairs) = repair(raw.as_bytes());
        let conversion = parse(&text).unwrap_or(Conversion::Rejected("not a text"));
        *repaired += repairs;
        return conversion;
    }
    // A number beyond the range of a double.
    convert(kind, ReceivedValue::Float(f64::INFINITY), repaired)
}

/// Parses one value of a kind.
pub(super) struct ValueSeed<'a> {
    pub(super) kind: ValueKind,
    /// Counts the U+0000 replaced by U+FFFD.
    pub(super) repaired: &'a mut usize,
}

impl ValueSeed<'_> {
    fn convert(self, received: ReceivedValue<'_>) -> Conversion {
        convert(self.kind, received, self.repaired)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Conversion;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Conversion, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Conversion;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Conversion, E> {
        Ok(self.convert(ReceivedValue::Null))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Conversion, E> {
        Ok(self.convert(ReceivedValue::Boolean(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Conversion, E> {
        Ok(self.convert(ReceivedValue::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Conversion, E> {
        Ok(self.convert(match i64::try_from(number) {
            Ok(number) => ReceivedValue::Integer(number),
            Err(_) => ReceivedValue::LargeInteger(number),
        }))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Conversion, E> {
        Ok(self.convert(ReceivedValue::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Conversion, E> {
        Ok(self.convert(ReceivedValue::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Conversion, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.convert(ReceivedValue::Nested))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Conversion, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.convert(ReceivedValue::Nested))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    /// Converts with the parser, and from the text alone: both must come to the same.
    fn converted(kind: ValueKind, json: &str) -> Result<AttributeValue, RejectedValue> {
        let parsed = ValueSeed { kind, repaired: &mut 0 }
            .deserialize(&mut serde_json::Deserializer::from_str(json))
            .unwrap();
        let from_text = convert_raw(kind, json, &mut 0);
        match (parsed, &from_text) {
            (Conversion::Taken(value), Ok(taken)) => assert_eq!(value, *taken, "{json}"),
            (Conversion::AsSpelled, Ok(taken)) => assert_eq!(*taken, AttributeValue::Text(json.into())),
            (Conversion::Rejected(reason), Err(rejected)) => assert_eq!(reason, rejected.reason, "{json}"),
            (parsed, _) => panic!("{json}: {parsed:?} or {from_text:?}"),
        }
        from_text
    }

    #[rstest]
    #[case(ValueKind::Integer, "18", AttributeValue::Integer(18))]
    #[case(ValueKind::Integer, "18.0", AttributeValue::Integer(18))]
    #[case(ValueKind::Integer, "1e2", AttributeValue::Integer(100))]
    #[case(ValueKind::Integer, "-9223372036854775808", AttributeValue::Integer(i64::MIN))]
    #[case(ValueKind::Integer, "\"18\"", AttributeValue::Integer(18))]
    #[case(ValueKind::Integer, "\"-1\"", AttributeValue::Integer(-1))]
    #[case(ValueKind::Real, "-0.0", AttributeValue::Real(0.0))]
    #[case(ValueKind::Real, "27", AttributeValue::Real(27.0))]
    #[case(ValueKind::Real, "18446744073709551615", AttributeValue::Real(18_446_744_073_709_551_615.0))]
    #[case(ValueKind::Real, "0.7500000000000001", AttributeValue::Real(0.750_000_000_000_000_1))]
    #[case(ValueKind::Real, "\"27.50\"", AttributeValue::Real(27.5))]
    #[case(ValueKind::Real, "\"-0\"", AttributeValue::Real(0.0))]
    #[case(ValueKind::Boolean, "true", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "0", AttributeValue::Integer(0))]
    #[case(ValueKind::Boolean, "1.0", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "\"true\"", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "\"True\"", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "\"1\"", AttributeValue::Integer(1))]
    #[case(ValueKind::Boolean, "\"false\"", AttributeValue::Integer(0))]
    #[case(ValueKind::Boolean, "\"False\"", AttributeValue::Integer(0))]
    #[case(ValueKind::Boolean, "\"0\"", AttributeValue::Integer(0))]
    #[case(ValueKind::Text, "\"\"", AttributeValue::Text(String::new()))]
    #[case(ValueKind::Text, "\"a\\u0000b\"", AttributeValue::Text("a\u{FFFD}b".into()))]
    #[case(ValueKind::Text, "42", AttributeValue::Text("42".into()))]
    #[case(ValueKind::Text, "-7", AttributeValue::Text("-7".into()))]
    #[case(ValueKind::Text, "18446744073709551615", AttributeValue::Text("18446744073709551615".into()))]
    #[case(ValueKind::Text, "1.50", AttributeValue::Text("1.50".into()))]
    #[case(ValueKind::Text, "-0", AttributeValue::Text("-0".into()))]
    #[case(ValueKind::Text, "false", AttributeValue::Text("false".into()))]
    #[case(ValueKind::Clock, "\"04:00:00\"", AttributeValue::Text("04:00:00".into()))]
    #[case(ValueKind::Timestamp, "\"1900-01-01T00:00:00\"", AttributeValue::Null)]
    #[case(ValueKind::Timestamp, "\"\"", AttributeValue::Null)]
    #[case(ValueKind::Timestamp, "\"2025-10-28T17:03:13.23\"", AttributeValue::Text("2025-10-28T17:03:13.230Z".into()))]
    #[case(ValueKind::Integer, "null", AttributeValue::Null)]
    #[case(ValueKind::Text, "null", AttributeValue::Null)]
    fn value_is_taken_where_nothing_is_lost(
        #[case] kind: ValueKind,
        #[case] json: &str,
        #[case] value: AttributeValue,
    ) {
        let taken = converted(kind, json);
        assert_eq!(taken, Ok(value));
        if let Ok(AttributeValue::Real(number)) = taken {
            assert!(number.is_sign_positive(), "-0.0 must become 0.0");
        }
    }

    #[rstest]
    #[case(ValueKind::Integer, "\"three\"")]
    #[case(ValueKind::Integer, "\"\"")]
    #[case(ValueKind::Integer, "\"012\"")]
    #[case(ValueKind::Integer, "\"+12\"")]
    #[case(ValueKind::Integer, "\"-0\"")]
    #[case(ValueKind::Integer, "\" 12\"")]
    #[case(ValueKind::Integer, "\"12e1\"")]
    #[case(ValueKind::Integer, "\"18.0\"")]
    #[case(ValueKind::Integer, "\"9223372036854775808\"")]
    #[case(ValueKind::Integer, "1.5")]
    #[case(ValueKind::Integer, "9007199254740992.0")]
    #[case(ValueKind::Integer, "18446744073709551615")]
    #[case(ValueKind::Integer, "[1,2]")]
    #[case(ValueKind::Integer, "true")]
    #[case(ValueKind::Real, "\"NaN\"")]
    #[case(ValueKind::Real, "\"1e999\"")]
    #[case(ValueKind::Real, "\"27,5\"")]
    #[case(ValueKind::Real, "\"27.5 \"")]
    #[case(ValueKind::Real, "\".5\"")]
    #[case(ValueKind::Real, "\"null\"")]
    #[case(ValueKind::Real, "true")]
    #[case(ValueKind::Boolean, "2")]
    #[case(ValueKind::Boolean, "\"maybe\"")]
    #[case(ValueKind::Boolean, "\"\"")]
    #[case(ValueKind::Timestamp, "\"31/12/2025\"")]
    #[case(ValueKind::Timestamp, "1700000000")]
    #[case(ValueKind::Clock, "40000")]
    #[case(ValueKind::Text, "{\"a\":[1]}")]
    fn other_value_is_rejected_and_its_text_kept(#[case] kind: ValueKind, #[case] json: &str) {
        assert_eq!(converted(kind, json).unwrap_err().raw, json);
    }

    #[test]
    fn value_that_only_its_text_shows_is_converted_like_any_other() {
        let (mut repaired, text) = (0, |text: &str| Ok(AttributeValue::Text(text.into())));
        assert_eq!(convert_raw(ValueKind::Text, r#""a\ud800b""#, &mut repaired), text("a\u{FFFD}b"));
        assert_eq!(repaired, 1);
        assert_eq!(convert_raw(ValueKind::Text, "1e400", &mut repaired), text("1e400"));
        assert_eq!(convert_raw(ValueKind::Real, "1e400", &mut repaired).unwrap_err().raw, "1e400");
        let deep = "[".repeat(100_000);
        assert_eq!(convert_raw(ValueKind::Text, &deep, &mut repaired).unwrap_err().raw.len(), MAX_RAW_CHARS);
    }

    #[test]
    fn rejected_text_does_not_depend_on_the_layout() {
        let rejected = |raw: &str| RejectedValue::new("not a text", raw).raw;
        assert_eq!(rejected("{ \"a b\" :\n [1, \"x \\\" y\"] }"), "{\"a b\":[1,\"x \\\" y\"]}");
    }

    #[test]
    fn ticket_ids_are_positive_and_exact_as_doubles() {
        for (number, expected) in
            [(1, true), (1 << 53, true), (0, false), (-1, false), ((1 << 53) + 1, false)]
        {
            assert_eq!(is_ticket_id(number), expected, "{number}");
        }
    }

    proptest! {
        #[test]
        fn real_number_is_parsed_exactly(number: f64, hours in 0.0..1e4f64) {
            for number in [number, hours] {
                prop_assume!(number.is_finite());
                prop_assert_eq!(converted(ValueKind::Real, &format!("{number:?}")), Ok(AttributeValue::Real(number + 0.0)));
                prop_assert_eq!(converted(ValueKind::Real, &format!("\"{number:?}\"")), Ok(AttributeValue::Real(number + 0.0)));
            }
        }

        #[test]
        fn integer_as_text_is_the_same_integer(number: i64) {
            prop_assert_eq!(converted(ValueKind::Integer, &format!("\"{number}\"")), Ok(AttributeValue::Integer(number)));
        }
    }
}
