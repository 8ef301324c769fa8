//! Parses lists of anything but tickets: reference tables, definitions of custom fields.
//!
//! A list is a bare array, or an array in an object (`halo-api.md` §4, `halo-objects.md` §1). Its elements are read one after
//! another, and at most [`ELEMENTS_MAX`] of them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attribute::ValueKind;
use super::document::{ParseError, parse_document};
use super::json_value::{convert_raw, parse_count};
use super::unmapped::UnmappedFields;
use super::value::{AttributeValue, RejectedValue};

/// The most elements of one list.
const ELEMENTS_MAX: usize = 50_000;

/// The elements of a list that could be read, and how many could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedItems<T> {
    /// The elements that could be read.
    pub items: Vec<T>,
    /// How many elements could not be read: they are missing from `items`, but not from the list.
    pub unreadable: usize,
    /// The first of those.
    pub first_unreadable: Option<RejectedValue>,
    /// How many elements the server says the list has, where it says so: a page has fewer.
    pub record_count: Option<u64>,
    /// The properties of elements that no mapping knows; `None` where they were not looked for.
    pub unmapped: Option<UnmappedFields>,
}

/// Parses a list with a function that reads one element, given as its JSON. `array_names` are those that the array may have
/// in an object; without any, the only array of the object is the list.
///
/// # Errors
/// Anything but a list, and a list of more than 50,000 elements.
pub fn parse_list<T>(
    bytes: &[u8],
    expected: &'static str,
    array_names: &[&str],
    read: impl Fn(&str) -> Result<Option<T>, RejectedValue>,
) -> Result<ParsedItems<T>, ParseError> {
    let is_too_long = Cell::new(false);
    let parse = |text: &str| {
        let mut list = ParsedItems {
            items: Vec::new(),
            unreadable: 0,
            first_unreadable: None,
            record_count: None,
            unmapped: None,
        };
        let mut record_count = None;
        let mut add = |element: &RawValue| match read(element.get()) {
            Ok(item) => list.items.extend(item),
            Err(rejected) => {
                list.unreadable += 1;
                list.first_unreadable.get_or_insert(rejected);
            }
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let mut visitor = ListVisitor {
            add: &mut add,
            array_names,
            record_count: &mut record_count,
            is_too_long: &is_too_long,
        };
        let array = deserializer.deserialize_any(&mut visitor)?;
        deserializer.end()?;
        if let Some(array) = array {
            serde_json::Deserializer::from_str(array.get()).deserialize_seq(&mut visitor)?;
        }
        list.record_count = record_count;
        Ok(list)
    };
    match parse_document(bytes, expected, parse) {
        Err(_) if is_too_long.get() => Err(ParseError::TooLong { max: ELEMENTS_MAX }),
        parsed => Ok(parsed?.value),
    }
}

/// Passes on the elements of a bare array; returns the array of an object.
struct ListVisitor<'a> {
    add: &'a mut dyn FnMut(&RawValue),
    array_names: &'a [&'a str],
    record_count: &'a mut Option<u64>,
    is_too_long: &'a Cell<bool>,
}

impl<'de> Visitor<'de> for &mut ListVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array, or an object with one array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut count = 0;
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            count += 1;
            if ELEMENTS_MAX < count {
                self.is_too_long.set(true);
                return Err(A::Error::custom("too many elements"));
            }
            (self.add)(element);
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut array = None;
        while let Some((name, value)) = object.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            if name == "record_count" {
                *self.record_count = parse_count(value.get());
            }
            // Beside the list there may be other arrays.
            let may_be_list = self.array_names.is_empty() || self.array_names.contains(&&*name);
            if may_be_list && value.get().starts_with('[') && array.replace(value).is_some() {
                return Err(A::Error::custom("two arrays"));
            }
        }
        array.map_or_else(|| Err(A::Error::custom("no array")), |array| Ok(Some(array)))
    }
}

/// Reads a column of integers; absent is `None`.
pub(super) fn integer(raw: Option<&RawValue>) -> Result<Option<i64>, RejectedValue> {
    match raw.map(|raw| convert_raw(ValueKind::Integer, raw.get(), &mut 0)).transpose()? {
        Some(AttributeValue::Integer(number)) => Ok(Some(number)),
        _ => Ok(None),
    }
}

/// Reads a column of texts; absent is `None`.
pub(super) fn text(raw: Option<&RawValue>) -> Result<Option<String>, RejectedValue> {
    match raw.map(|raw| convert_raw(ValueKind::Text, raw.get(), &mut 0)).transpose()? {
        Some(AttributeValue::Text(text)) => Ok(Some(text)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ParsedItems<i64>, ParseError> {
        let read = |json: &str| json.parse().map(Some).map_err(|_| RejectedValue::new("no number", json));
        parse_list(json.as_bytes(), "a list of numbers", &[], read)
    }

    #[test]
    fn list_is_bare_or_the_only_array_of_an_object() {
        let list = parse(r#"{"record_count": "3", "numbers": [1, 2], "more": {"a": []}}"#).unwrap();
        assert_eq!((list.items, list.record_count), (vec![1, 2], Some(3)));
        for other in [r#"{"a": [1], "b": []}"#, "{}", "7", "null"] {
            let error = parse(other).unwrap_err();
            assert!(matches!(error, ParseError::UnexpectedShape { .. }), "{other}: {error:?}");
        }
    }

    #[test]
    fn list_of_too_many_elements_is_refused() {
        let list = |elements: usize| format!("[{}7]", "7,".repeat(elements - 1));
        assert_eq!(parse(&list(ELEMENTS_MAX)).unwrap().items.len(), ELEMENTS_MAX);
        for too_long in [list(ELEMENTS_MAX + 1), format!("{{\"a\":{}}}", list(ELEMENTS_MAX + 1))] {
            let error = parse(&too_long).unwrap_err();
            assert!(matches!(error, ParseError::TooLong { max: ELEMENTS_MAX }), "{error:?}");
        }
    }
}
