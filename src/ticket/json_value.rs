//! Reads a JSON value by the rules of `ticket::conversion`: from the parser, or from its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::attribute::ValueKind;
use super::conversion::{Conversion, ReceivedValue, convert};
use super::repair::repair;
use super::value::{AttributeValue, RejectedValue};

/// No list has more tickets than there are ids (2^53); sums of such counts cannot overflow.
const COUNT_MAX: u64 = 1 << 53;

/// Reads a count: a non-negative number, integral float or digits as text; `None` for any other value.
pub(super) fn parse_count(raw: &str) -> Option<u64> {
    let integral = |count: f64| count.fract() == 0.0 && (0.0..9e15).contains(&count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let from_float = || serde_json::from_str(raw).ok().filter(|it| integral(*it)).map(|it| it as u64);
    let count = match serde_json::from_str::<Cow<'_, str>>(raw) {
        Ok(text) => text.trim().parse().ok(),
        Err(_) => serde_json::from_str(raw).ok().or_else(from_float),
    };
    count.filter(|count| *count <= COUNT_MAX)
}

/// Converts a value from its text in the JSON, which a parser has passed over without looking into it.
pub(crate) fn convert_raw(
    kind: ValueKind,
    raw: &str,
    repaired: &mut usize,
) -> Result<AttributeValue, RejectedValue> {
    match parse_raw(kind, raw, repaired) {
        Conversion::Taken(value) => Ok(value),
        Conversion::Verbatim => Ok(AttributeValue::Text(raw.to_owned())),
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
    use crate::ticket::MAX_RAW_CHARS;
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
            (Conversion::Verbatim, Ok(taken)) => assert_eq!(*taken, AttributeValue::Text(json.into())),
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
