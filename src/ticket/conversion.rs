//! The conversions from JSON to attribute values: the one place for their rules.
//!
//! A JSON value is taken where one conversion loses nothing. Anything else is rejected: the last value that could be
//! read stays (NULL where there was none), and a [`RejectedValue`](super::RejectedValue) keeps the text. The same rules
//! hold for attributes, for the members of custom fields, and for statuses and ticket types.
//!
//! | kind | taken | NULL | rejected |
//! | --- | --- | --- | --- |
//! | integer | a number without a fraction, `18.0` too; digits as text: `"12"`, `"-1"` | absent, null | anything else: `"012"`, `"+1"`, `"1e2"`, `"18.0"`, `""` |
//! | real | a number, `-0.0` is 0.0; a number as text: `"27.5"` | absent, null | anything else |
//! | boolean | `true`, `false`, 0, 1; `"true"`, `"True"`, `"false"`, `"False"`, `"0"`, `"1"` | absent, null | anything else |
//! | text | a string; a number or boolean verbatim: `1.50` is `"1.50"` | absent, null | an array, an object |
//! | clock | a string | absent, null | anything else |
//! | timestamp | a string that [`Timestamp::parse_halo`] accepts | absent, null, empty, a year before 1980 | anything else |

use super::attribute::ValueKind;
use super::timestamp::Timestamp;
use super::value::{AttributeValue, replace_nul};

/// What a JSON value is taken as.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Conversion {
    /// This value.
    Taken(AttributeValue),
    /// The text of the number in the JSON, which the parser of the number does not know.
    Verbatim,
    /// Rejected, for this reason.
    Rejected(&'static str),
}

/// A JSON value, as far as the rules look at it.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReceivedValue<'a> {
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
pub(super) fn convert(kind: ValueKind, received: ReceivedValue<'_>, repaired: &mut usize) -> Conversion {
    use ReceivedValue as Received;
    let taken = match (kind, received) {
        (_, Received::Null) => Some(AttributeValue::Null),
        (ValueKind::Text, Received::Float(_)) => return Conversion::Verbatim,
        (ValueKind::Text | ValueKind::Clock, Received::Text(text)) => {
            let (text, replaced) = replace_nul(text);
            *repaired += replaced;
            Some(AttributeValue::Text(text))
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
pub const TICKET_ID_MAX: i64 = 1 << 53;

/// Whether a number can be the id of a ticket.
pub(super) fn is_ticket_id(number: i64) -> bool {
    (1..=TICKET_ID_MAX).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_ids_are_positive_and_exact_as_doubles() {
        for (number, expected) in
            [(1, true), (1 << 53, true), (0, false), (-1, false), ((1 << 53) + 1, false)]
        {
            assert_eq!(is_ticket_id(number), expected, "{number}");
        }
    }
}
