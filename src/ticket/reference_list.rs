//! Parses lists that come whole, in one response: statuses, ticket types, definitions of custom fields.
//!
//! A list is a bare array, or an object with one array (`halo-api.md` §4). Its elements are read one after another,
//! only the columns that are stored, and at most [`ELEMENTS_MAX`] of them.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attribute::ValueKind;
use super::document::{ParseError, parse_document};
use super::json_value::convert_raw;
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
}

/// A status or a ticket type: a number with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceItem {
    /// Number of the item.
    pub id: i64,
    /// Name as received, including surrounding spaces.
    pub name: String,
    /// Further properties.
    pub details: ReferenceDetails,
}

/// Optional properties of a status or ticket type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceDetails {
    /// Statuses only; 0 is a status of tickets (`halo-api.md` §4.1).
    pub kind: Option<i64>,
    /// Position in the server's lists.
    pub sequence: Option<i64>,
    /// `#rrggbb`.
    pub color: Option<String>,
    /// Ticket types only: `tickets`, `projects`, ….
    pub usage: Option<String>,
    /// The columns of the reference table whose values cannot be read: the stored ones stay.
    pub rejected_columns: Vec<&'static str>,
}

/// Parses a response of `/api/status` or `/api/tickettype`. An element without a readable id or name is unreadable.
///
/// # Errors
/// Anything but a list, and a list of more than 50,000 elements.
pub fn parse_reference_items(bytes: &[u8]) -> Result<ParsedItems<ReferenceItem>, ParseError> {
    parse_list(bytes, "a list of names", reference_item)
}

/// Parses a list with a function that reads one element, given as its JSON.
pub(super) fn parse_list<T>(
    bytes: &[u8],
    expected: &'static str,
    read: impl Fn(&str) -> Result<Option<T>, RejectedValue>,
) -> Result<ParsedItems<T>, ParseError> {
    let is_too_long = Cell::new(false);
    let parse = |text: &str| {
        let mut list = ParsedItems { items: Vec::new(), unreadable: 0, first_unreadable: None };
        let mut add = |element: &RawValue| match read(element.get()) {
            Ok(item) => list.items.extend(item),
            Err(rejected) => {
                list.unreadable += 1;
                list.first_unreadable.get_or_insert(rejected);
            }
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let mut visitor = ListVisitor { add: &mut add, is_too_long: &is_too_long };
        let array = deserializer.deserialize_any(&mut visitor)?;
        deserializer.end()?;
        if let Some(array) = array {
            serde_json::Deserializer::from_str(array.get()).deserialize_seq(&mut visitor)?;
        }
        Ok(list)
    };
    match parse_document(bytes, expected, parse) {
        Err(_) if is_too_long.get() => Err(ParseError::TooLong { max: ELEMENTS_MAX }),
        parsed => Ok(parsed?.value),
    }
}

/// Passes on the elements of a bare array; returns the array of an object that has one.
struct ListVisitor<'a> {
    add: &'a mut dyn FnMut(&RawValue),
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
        while let Some((_, value)) = object.next_entry::<IgnoredAny, &'de RawValue>()? {
            if value.get().starts_with('[') && array.replace(value).is_some() {
                return Err(A::Error::custom("two arrays"));
            }
        }
        array.map_or_else(|| Err(A::Error::custom("no array")), |array| Ok(Some(array)))
    }
}

/// The columns of an element. Each may be any JSON.
#[derive(Deserialize)]
struct ReferenceElement<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    colour: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#use: Option<&'a RawValue>,
}

fn reference_item(json: &str) -> Result<Option<ReferenceItem>, RejectedValue> {
    let unreadable = |reason| RejectedValue::new(reason, json);
    let element: ReferenceElement<'_> =
        serde_json::from_str(json).map_err(|_| unreadable("not a number with a name"))?;
    let id = integer(element.id).ok().flatten().ok_or_else(|| unreadable("no usable id"))?;
    let name = text(element.name).ok().flatten().ok_or_else(|| unreadable("no usable name"))?;
    let mut rejected_columns = Vec::new();
    let details = ReferenceDetails {
        kind: integer(element.r#type).unwrap_or_else(|_| reject(&mut rejected_columns, "TYPE")),
        sequence: integer(element.sequence).unwrap_or_else(|_| reject(&mut rejected_columns, "SEQUENCE")),
        color: text(element.colour).unwrap_or_else(|_| reject(&mut rejected_columns, "COLOUR")),
        usage: text(element.r#use).unwrap_or_else(|_| reject(&mut rejected_columns, "USE")),
        rejected_columns: Vec::new(),
    };
    Ok(Some(ReferenceItem { id, name, details: ReferenceDetails { rejected_columns, ..details } }))
}

fn reject<T>(columns: &mut Vec<&'static str>, column: &'static str) -> Option<T> {
    columns.push(column);
    None
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

    fn parse(json: &str) -> ParsedItems<ReferenceItem> {
        parse_reference_items(json.as_bytes()).unwrap()
    }

    #[test]
    fn elements_are_read_by_the_same_rules_as_attributes() {
        let list = parse(
            r##"[{"id": 1, "name": "New", "type": "0", "sequence": 5.0, "colour": "#fff"}, {"id": "2", "name": "In Progress"},
                {"id": -3.0, "name": 1.50}, {"id": "-4", "name": "\ud800", "use": null}]"##,
        );
        let names: Vec<_> = list.items.iter().map(|it| (it.id, it.name.as_str())).collect();
        assert_eq!(names, [(1, "New"), (2, "In Progress"), (-3, "1.50"), (-4, "\u{FFFD}")]);
        let first = &list.items[0].details;
        assert_eq!((first.kind, first.sequence, first.color.as_deref()), (Some(0), Some(5), Some("#fff")));
        assert_eq!(list.unreadable, 0);
    }

    #[test]
    fn element_without_a_readable_id_or_name_is_counted() {
        let list = parse(
            r#"[{"id": 1, "name": "New"}, {"id": null, "name": "Lost"}, {"id": 4}, {"id": 5, "name": []}, 7, "x"]"#,
        );
        assert_eq!((list.items.len(), list.unreadable), (1, 5));
        assert_eq!(list.first_unreadable.unwrap().raw, r#"{"id":null,"name":"Lost"}"#);
    }

    #[test]
    fn detail_that_cannot_be_read_is_named_and_costs_nothing_else() {
        let list = parse(r#"[{"id": 1, "name": "New", "type": "x", "sequence": 3, "use": []}]"#);
        let ReferenceItem { name, details, .. } = &list.items[0];
        assert_eq!((name.as_str(), details.sequence), ("New", Some(3)));
        assert_eq!((details.kind, details.rejected_columns.as_slice()), (None, ["TYPE", "USE"].as_slice()));
    }

    #[test]
    fn list_is_bare_or_the_only_array_of_an_object() {
        let item = r#"{"id": 1, "name": "New"}"#;
        assert_eq!(
            parse(&format!(r#"{{"record_count": 1, "statuses": [{item}], "more": {{"a": []}}}}"#))
                .items
                .len(),
            1
        );
        for other in [format!(r#"{{"a": [{item}], "b": []}}"#), "{}".into(), "7".into(), "null".into()] {
            let error = parse_reference_items(other.as_bytes()).unwrap_err();
            assert!(matches!(error, ParseError::UnexpectedShape { .. }), "{other}: {error:?}");
        }
    }

    #[test]
    fn list_of_too_many_elements_is_refused() {
        let list = |elements: usize| format!("[{}7]", "7,".repeat(elements - 1));
        assert_eq!(parse(&list(ELEMENTS_MAX)).unreadable, ELEMENTS_MAX);
        for too_long in [list(ELEMENTS_MAX + 1), format!("{{\"a\":{}}}", list(ELEMENTS_MAX + 1))] {
            let error = parse_reference_items(too_long.as_bytes()).unwrap_err();
            assert!(matches!(error, ParseError::TooLong { max: ELEMENTS_MAX }), "{error:?}");
        }
    }
}
