//! Parses a list of the server into the rows of a reference table.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ColumnRole, ReferenceItem, ReferenceTable};
use crate::ticket::parse::{ParseError, ParsedItems, parse_list};
use crate::ticket::{AttributeValue, FieldSearch, JsonType, RejectedValue, UnmappedFields, convert_raw};

/// So many elements of a list are searched for unmapped fields.
const SEARCHED_MAX: usize = 1_000;

/// A row of a reference table.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceRow {
    /// The values, in the order of [`ReferenceTable::columns`].
    pub values: Vec<AttributeValue>,
    /// The positions of values that cannot be read: the stored ones stay.
    pub rejected: Vec<usize>,
}

impl ReferenceRow {
    /// Returns the numbers of the key.
    #[must_use]
    pub fn key(&self, table: &ReferenceTable) -> Vec<i64> {
        let keys = table.columns.iter().zip(&self.values).filter(|(it, _)| it.role == ColumnRole::Key);
        keys.filter_map(|(_, value)| integer(value)).collect()
    }

    /// Returns the number of a row whose key is one number.
    #[must_use]
    pub fn id(&self) -> Option<i64> {
        self.values.first().and_then(integer)
    }

    /// Returns the name; `None` where it is held back.
    #[must_use]
    pub fn name(&self, table: &ReferenceTable) -> Option<&str> {
        let position = table.columns.iter().position(|it| it.role == ColumnRole::Name);
        match position.and_then(|position| self.values.get(position)) {
            Some(AttributeValue::Text(name)) => Some(name),
            _ => None,
        }
    }
}

/// Returns the numbers and names of a list whose key is one number.
#[must_use]
pub fn reference_items(table: &ReferenceTable, list: &ParsedItems<ReferenceRow>) -> Vec<ReferenceItem> {
    let item = |row: &ReferenceRow| {
        Some(ReferenceItem { id: row.id()?, name: row.name(table).unwrap_or_default().to_owned() })
    };
    list.items.iter().filter_map(item).collect()
}

fn integer(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::Integer(number) => Some(*number),
        _ => None,
    }
}

/// Parses a list. Of several rows with the same key the one that is not hidden counts, then that with the least GUID.
///
/// # Errors
/// Anything but a list, and a list of more than 50,000 elements.
pub fn parse_reference_list(
    table: &ReferenceTable,
    bytes: &[u8],
) -> Result<ParsedItems<ReferenceRow>, ParseError> {
    parse_reference_list_and_search(table, bytes, FieldSearch::Off)
}

/// The same, with a search for unmapped fields in the first thousand elements.
///
/// # Errors
/// As for [`parse_reference_list`].
pub fn parse_reference_list_and_search(
    table: &ReferenceTable,
    bytes: &[u8],
    search: FieldSearch,
) -> Result<ParsedItems<ReferenceRow>, ParseError> {
    let searched = RefCell::new((0, UnmappedFields::default()));
    let read = |json: &str| {
        let (count, unmapped) = &mut *searched.borrow_mut();
        let is_searched = search == FieldSearch::On && *count < SEARCHED_MAX;
        *count += 1;
        read_element(table, json, is_searched.then_some(unmapped)).map(Some)
    };
    let mut list = parse_list(bytes, "a list of names", table.array_names, read)?;
    list.unmapped = (search == FieldSearch::On).then(|| searched.take().1);
    list.items.sort_by(|left, right| {
        left.key(table).cmp(&right.key(table)).then_with(|| compare_doubles(table, left, right))
    });
    list.items.dedup_by(|right, left| left.key(table) == right.key(table));
    Ok(list)
}

fn compare_doubles(table: &ReferenceTable, left: &ReferenceRow, right: &ReferenceRow) -> Ordering {
    let hidden = |row: &ReferenceRow| {
        table.position("HIDDEN").is_some_and(|it| row.values[it] == AttributeValue::Integer(1))
    };
    let guid = |row: &ReferenceRow| match table.position("GUID").map(|it| row.values[it].clone()) {
        Some(AttributeValue::Text(guid)) => guid,
        _ => String::new(),
    };
    hidden(left).cmp(&hidden(right)).then_with(|| guid(left).cmp(&guid(right)))
}

fn read_element(
    table: &ReferenceTable,
    json: &str,
    unmapped: Option<&mut UnmappedFields>,
) -> Result<ReferenceRow, RejectedValue> {
    let mut raw_values = vec![None; table.columns.len()];
    let visitor = ElementVisitor { table, raw_values: &mut raw_values, unmapped };
    serde_json::Deserializer::from_str(json)
        .deserialize_map(visitor)
        .map_err(|_| RejectedValue::new("not an object", ""))?;
    // Never the whole element: it may have what must not be stored.
    let rejected = |reason: &'static str| {
        let shown = table.columns.iter().zip(&raw_values).filter(|(it, _)| it.role != ColumnRole::Other);
        let members =
            shown.filter_map(|(it, raw)| Some(format!("\"{}\":{}", it.property?, raw.as_ref()?.get())));
        RejectedValue::new(reason, &format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    };
    let mut row = ReferenceRow { values: Vec::with_capacity(raw_values.len()), rejected: Vec::new() };
    for (position, (column, raw)) in table.columns.iter().zip(&raw_values).enumerate() {
        let value = raw.map(|raw| convert_raw(column.column.kind, raw.get(), &mut 0)).transpose();
        let value = match (value, column.role) {
            (Ok(Some(AttributeValue::Null) | None) | Err(_), ColumnRole::Key) => {
                return Err(rejected("no usable id"));
            }
            (Ok(Some(AttributeValue::Null) | None) | Err(_), ColumnRole::Name) => {
                return Err(rejected("no usable name"));
            }
            // Surrounding spaces are no part of a name, except of statuses, whose names are attributes of tickets.
            (Ok(Some(AttributeValue::Text(name))), ColumnRole::Name) if table.name != "statuses" => {
                AttributeValue::Text(name.trim().to_owned())
            }
            (Ok(value), _) => value.unwrap_or(AttributeValue::Null),
            (Err(_), ColumnRole::Other) => {
                row.rejected.push(position);
                AttributeValue::Null
            }
        };
        row.values.push(value);
    }
    Ok(row)
}

/// Finds the properties of an element that are kept; of all others at most name and type are looked at.
struct ElementVisitor<'t, 'r, 'de> {
    table: &'t ReferenceTable,
    raw_values: &'r mut [Option<&'de RawValue>],
    unmapped: Option<&'r mut UnmappedFields>,
}

impl<'de> Visitor<'de> for ElementVisitor<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut element: A) -> Result<(), A::Error> {
        while let Some(property) = element.next_key::<Cow<'de, str>>()? {
            let position = self.table.columns.iter().position(|it| it.property == Some(&*property));
            match (position, &mut self.unmapped) {
                (Some(position), _) => self.raw_values[position] = Some(element.next_value()?),
                (None, Some(unmapped)) => {
                    let raw = element.next_value::<&'de RawValue>()?;
                    unmapped.add(&property, JsonType::of(raw.get()));
                }
                (None, None) => {
                    element.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{AGENTS, PRIORITIES, STATUSES, TICKET_TYPES};

    fn parse(table: &ReferenceTable, json: &str) -> ParsedItems<ReferenceRow> {
        parse_reference_list(table, json.as_bytes()).unwrap()
    }

    fn names(table: &ReferenceTable, list: &ParsedItems<ReferenceRow>) -> Vec<(Vec<i64>, String)> {
        list.items.iter().map(|row| (row.key(table), row.name(table).unwrap().to_owned())).collect()
    }

    #[test]
    fn elements_are_read_by_the_same_rules_as_attributes() {
        let list = parse(
            STATUSES,
            r##"[{"id": 1, "name": "New", "type": "0", "sequence": 5.0, "colour": "#fff"}, {"id": "2", "name": "In Progress"},
                {"id": -3.0, "name": 1.50}, {"id": "-4", "name": "\ud800", "use": null}]"##,
        );
        let expected = [(-4, "\u{FFFD}"), (-3, "1.50"), (1, "New"), (2, "In Progress")];
        assert_eq!(names(STATUSES, &list), expected.map(|(id, name)| (vec![id], name.to_owned())));
        assert_eq!(list.items[2].values[2..4], [AttributeValue::Integer(0), AttributeValue::Integer(5)]);
        assert_eq!(list.unreadable, 0);
    }

    #[test]
    fn element_without_a_readable_id_or_name_is_counted() {
        let list = parse(
            TICKET_TYPES,
            r#"[{"id": 1, "name": "New"}, {"id": null, "name": "Lost", "email": "x", "use": "y"}, {"id": 4}, {"id": 5, "name": []}, 7, "x"]"#,
        );
        assert_eq!((list.items.len(), list.unreadable), (1, 5));
        assert_eq!(list.first_unreadable.unwrap().raw, r#"{"id":null,"name":"Lost"}"#);
    }

    #[test]
    fn column_that_cannot_be_read_costs_nothing_else() {
        let list =
            parse(TICKET_TYPES, r#"[{"id": 1, "name": "New", "type": "x", "sequence": 3, "use": []}]"#);
        let row = &list.items[0];
        assert_eq!((row.name(TICKET_TYPES), &row.values[3]), (Some("New"), &AttributeValue::Integer(3)));
        assert_eq!((&row.values[2], row.rejected.as_slice()), (&AttributeValue::Null, [2].as_slice()));
    }

    #[test]
    fn array_is_bare_or_has_one_of_its_names() {
        let row = r#"{"id": 7.0, "name": "Ann", "isdisabled": true, "secret": "x"}"#;
        for json in [
            format!("[{row}]"),
            format!(r#"{{"record_count": 1, "results": [{row}], "folders": []}}"#),
            format!(r#"{{"folders": [{{"id": 9, "name": "no agent"}}], "agents": [{row}]}}"#),
        ] {
            assert_eq!(names(AGENTS, &parse(AGENTS, &json)), [(vec![7], "Ann".to_owned())], "{json}");
        }
        // The only array of an object is not the list where its names are known.
        assert!(parse_reference_list(AGENTS, format!(r#"{{"folders": [{row}]}}"#).as_bytes()).is_err());
    }

    #[test]
    fn unmapped_properties_are_found_by_name_and_type() {
        let json = r#"{"folders": [{"x": 1}], "agents": [{"id": 7, "name": "Ann", "isdisabled": true, "secret": "x",
            "more": {"inner": 1}}, {"id": 8, "name": "Bob", "secret": null, "load": 1.5}, 3]}"#;
        let search =
            |search| parse_reference_list_and_search(AGENTS, json.as_bytes(), search).unwrap().unmapped;
        assert_eq!(search(FieldSearch::Off), None);
        let found = search(FieldSearch::On).unwrap();
        let found: Vec<_> = found.iter().collect();
        let expected = [
            ("load", vec![JsonType::Number]),
            ("more", vec![JsonType::Object]),
            ("secret", vec![JsonType::String]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn priorities_are_told_apart_by_sla_and_a_hidden_double_does_not_count() {
        let list = parse(
            PRIORITIES,
            r#"[{"slaid": 2, "priorityid": 3, "name": "Planned", "id": "b"},
                {"slaid": 1, "priorityid": 3, "name": "Old", "id": "a", "ishidden": true},
                {"slaid": 1.0, "priorityid": 3, "name": "Medium", "id": "c"},
                {"slaid": 2, "priorityid": 3, "name": "Later", "id": "c"}]"#,
        );
        let expected = [(vec![1, 3], "Medium"), (vec![2, 3], "Planned")];
        assert_eq!(names(PRIORITIES, &list), expected.map(|(key, name)| (key, name.to_owned())));
    }
}
