//! Custom fields of a ticket.
//!
//! Keyed by field id, because labels repeat. Order and members vary between servers (`halo-api.md` §3.1).
//! A value may be any JSON: a string is stored unchanged, anything else as JSON text. `display` depends on
//! the locale of the API application's agent and is never parsed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use xxhash_rust::xxh3::Xxh3;

use super::repair::repair;
use super::value::{RejectedValue, integer, replace_nul};

/// Property of a row that holds the custom fields.
pub(super) const CUSTOM_FIELDS_PROPERTY: &str = "customfields";

/// One custom field of a ticket: a row of `custom_fields`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomField {
    /// Field id.
    pub id: i64,
    /// Name in the server's database, such as `CFService`.
    pub name: Option<String>,
    /// Label shown to people; several fields may share one.
    pub label: Option<String>,
    /// Type code (`halo-api.md` §3.1).
    pub kind: Option<i64>,
    /// Value: a string unchanged, other JSON as JSON text.
    pub value: Option<String>,
    /// Value as shown to people.
    pub display: Option<String>,
}

/// A member of a custom field other than its id.
struct CustomFieldMember {
    /// Column in `custom_fields`.
    column: &'static str,
    /// Suffix to `CUSTOM.<FIELD_ID>` in a change record; empty for the value itself.
    suffix: &'static str,
    read: fn(&CustomField) -> Json,
}

/// Members in the order of the columns.
const MEMBERS: [CustomFieldMember; 5] = [
    CustomFieldMember { column: "NAME", suffix: ".NAME", read: |field| field.name.as_deref().into() },
    CustomFieldMember { column: "LABEL", suffix: ".LABEL", read: |field| field.label.as_deref().into() },
    CustomFieldMember { column: "TYPE", suffix: ".TYPE", read: |field| field.kind.into() },
    CustomFieldMember { column: "VALUE", suffix: "", read: |field| field.value.as_deref().into() },
    CustomFieldMember {
        column: "DISPLAY",
        suffix: ".DISPLAY",
        read: |field| field.display.as_deref().into(),
    },
];

impl CustomField {
    /// Whether the field has a value. Servers differ in whether and how they list fields without one.
    #[must_use]
    pub fn has_value(&self) -> bool {
        !matches!(self.value.as_deref(), None | Some("" | "[]" | "{}" | "0" | "false"))
    }
}

/// Custom fields of one ticket, sorted by id, without duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomFields {
    fields: Vec<CustomField>,
    rejected_values: Vec<RejectedValue>,
    hash: u64,
}

impl Default for CustomFields {
    fn default() -> CustomFields {
        CustomFields::new(Vec::new(), Vec::new())
    }
}

impl From<Vec<CustomField>> for CustomFields {
    fn from(fields: Vec<CustomField>) -> CustomFields {
        CustomFields::new(fields, Vec::new())
    }
}

impl CustomFields {
    /// Keeps the last of several fields with the same id, and drops fields that have nothing but an id.
    fn new(mut fields: Vec<CustomField>, rejected_values: Vec<RejectedValue>) -> CustomFields {
        fields.reverse();
        fields.sort_by_key(|field| field.id);
        fields.dedup_by_key(|field| field.id);
        fields.retain(|field| *field != CustomField { id: field.id, ..CustomField::default() });
        let hash = hash(&fields, &rejected_values);
        CustomFields { fields, rejected_values, hash }
    }

    /// Returns the fields.
    #[must_use]
    pub fn fields(&self) -> &[CustomField] {
        &self.fields
    }

    /// Returns the elements that are not custom fields.
    #[must_use]
    pub fn rejected_values(&self) -> &[RejectedValue] {
        &self.rejected_values
    }

    /// Returns a hash of the fields and rejected elements, stable across releases (XXH3).
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns a field by its id.
    #[must_use]
    pub fn get(&self, id: i64) -> Option<&CustomField> {
        self.fields.binary_search_by_key(&id, |field| field.id).ok().map(|position| &self.fields[position])
    }

    /// Fills in names, labels and types that the response left out from the field definitions.
    #[must_use]
    pub fn with_definitions(mut self, definitions: &[CustomField]) -> CustomFields {
        let incomplete =
            |field: &CustomField| field.name.is_none() || field.label.is_none() || field.kind.is_none();
        if !self.fields.iter().any(incomplete) {
            return self;
        }
        for field in &mut self.fields {
            if let Some(known) = definitions.iter().find(|known| known.id == field.id) {
                field.name = field.name.take().or_else(|| known.name.clone());
                field.label = field.label.take().or_else(|| known.label.clone());
                field.kind = field.kind.or(known.kind);
            }
        }
        CustomFields::new(self.fields, self.rejected_values)
    }

    /// Merges the fields with those of another response for the same ticket.
    #[must_use]
    pub fn merged_with(mut self, other: CustomFields) -> CustomFields {
        self.fields.extend(other.fields);
        self.rejected_values.extend(other.rejected_values);
        CustomFields::new(self.fields, self.rejected_values)
    }

    /// Returns one JSON object, field id → members, as in `changes.last_row` and in exports.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let object = |field: &CustomField| {
            let members = MEMBERS.iter().map(|member| (member.column.to_owned(), (member.read)(field)));
            (field.id.to_string(), Json::Object(members.collect()))
        };
        Json::Object(self.fields.iter().map(object).collect())
    }

    /// Adds the differences from `old` to `changed`, the content of `changes.changed`:
    /// `CUSTOM.<FIELD_ID>` → `[old, new]`, and likewise `CUSTOM.<FIELD_ID>.DISPLAY`, `.NAME`, `.LABEL` and
    /// `.TYPE`, so that the record undoes the change exactly.
    pub(super) fn diff_from(&self, old: &CustomFields, changed: &mut Map<String, Json>) {
        let absent = CustomField::default();
        let mut ids: Vec<i64> = old.fields.iter().chain(&self.fields).map(|field| field.id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let (before, after) = (old.get(id).unwrap_or(&absent), self.get(id).unwrap_or(&absent));
            for CustomFieldMember { suffix, read, .. } in &MEMBERS {
                let (before, after) = (read(before), read(after));
                if before != after {
                    changed.insert(format!("CUSTOM.{id}{suffix}"), Json::Array(vec![before, after]));
                }
            }
        }
    }

    /// Parses the property of a row; `None` if it is not an array, which proves nothing. Adds the number of
    /// repaired places to `repaired`.
    pub(super) fn parse(raw: &RawValue, repaired: &mut usize) -> Option<CustomFields> {
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let (mut fields, mut rejected_values) = (Vec::with_capacity(elements.len()), Vec::new());
        for element in elements {
            match parse_element(element, repaired) {
                Some(field) => fields.push(field),
                None => rejected_values.push(RejectedValue::new("not a custom field", element.get())),
            }
        }
        Some(CustomFields::new(fields, rejected_values))
    }
}

/// Parses the rows of `/api/FieldInfo` and returns the definitions of ticket fields, without values.
/// `usage` 1 means tickets (`halo-api.md` §3.1); rows without `usage` are kept.
pub(super) fn parse_definitions(rows: &[Json]) -> Vec<CustomField> {
    let is_ticket_field =
        |row: &&Json| row.get("usage").and_then(Json::as_i64).is_none_or(|usage| usage == 1);
    let text = |row: &Json, key: &str| row.get(key).and_then(Json::as_str).map(replace_nul);
    let definition = |row: &Json| {
        Some(CustomField {
            id: row.get("id").and_then(integer)?,
            name: text(row, "name"),
            label: text(row, "label"),
            kind: row.get("type").and_then(integer),
            ..CustomField::default()
        })
    };
    rows.iter().filter(is_ticket_field).filter_map(definition).collect()
}

/// Members of an element. Each may be any JSON.
#[derive(Deserialize)]
struct CustomFieldElement<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    label: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    display: Option<&'a RawValue>,
}

fn parse_element(raw: &RawValue, repaired: &mut usize) -> Option<CustomField> {
    let element: CustomFieldElement<'_> = serde_json::from_str(raw.get()).ok()?;
    let number = |raw: &RawValue| integer(&serde_json::from_str(raw.get()).ok()?);
    let mut text = |raw: Option<&RawValue>| raw.and_then(|raw| json_to_text(raw.get(), repaired));
    Some(CustomField {
        id: number(element.id)?,
        name: text(element.name),
        label: text(element.label),
        value: text(element.value),
        display: text(element.display),
        kind: element.r#type.and_then(number),
    })
}

/// Returns any JSON as text; `None` for null.
fn json_to_text(raw: &str, repaired: &mut usize) -> Option<String> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'"' => {
            // The outer parser skipped this string without checking its escapes.
            let text = serde_json::from_str::<Cow<'_, str>>(raw).map(Cow::into_owned).or_else(|_| {
                let (raw, repairs) = repair(raw.as_bytes());
                *repaired += repairs;
                serde_json::from_str(&raw)
            });
            let text = text.ok()?;
            *repaired += text.bytes().filter(|byte| *byte == 0).count();
            Some(replace_nul(&text))
        }
        b'[' | b'{' => Some(without_whitespace(raw)),
        _ => Some(raw.to_owned()),
    }
}

/// Removes insignificant whitespace, so that the layout of the JSON makes no difference.
fn without_whitespace(raw: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    raw.chars()
        .filter(|it| {
            let kept = in_text || !it.is_ascii_whitespace();
            in_text ^= *it == '"' && !escaped;
            escaped = *it == '\\' && !escaped;
            kept
        })
        .collect()
}

fn hash(fields: &[CustomField], rejected_values: &[RejectedValue]) -> u64 {
    let mut hash = Xxh3::new();
    let mut text = |text: Option<&str>| {
        // An impossible length distinguishes an absent text from an empty one.
        hash.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    };
    for CustomField { id, name, label, kind, value, display } in fields {
        text(Some(&id.to_string()));
        text(kind.map(|kind| kind.to_string()).as_deref());
        for member in [name, label, value, display] {
            text(member.as_deref());
        }
    }
    for rejected in rejected_values {
        text(Some(&rejected.raw));
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> CustomFields {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        CustomFields::parse(&raw, &mut 0).unwrap()
    }

    #[test]
    fn custom_field_value_may_be_any_json_and_only_null_is_none() {
        for (json, value) in [
            (r#""0.00020384""#, Some("0.00020384")),
            (r#""""#, Some("")),
            (r#""a\u0000b""#, Some("a\u{FFFD}b")),
            (r#""\ud800!""#, Some("\u{FFFD}!")),
            ("8", Some("8")),
            ("27.0", Some("27.0")),
            ("true", Some("true")),
            ("null", None),
            ("[ 1, 2 ]", Some("[1,2]")),
            (r#"[ {"b": 1.0, "a": "x \" y\\"} ]"#, Some(r#"[{"b":1.0,"a":"x \" y\\"}]"#)),
        ] {
            let fields = parse(&format!(r#"[{{"value": {json}, "id": 7, "name": "CFx"}}]"#));
            assert_eq!(fields.get(7).unwrap().value.as_deref(), value, "{json}");
        }
    }

    #[test]
    fn custom_field_parsing_ignores_order_and_extra_members() {
        let one = parse(
            r#"[{"id": 2, "label": "L", "value": "b", "usage": 1}, {"id": 1.0, "name": "CFa", "value": "a"}]"#,
        );
        let other =
            parse(r#"[{"name": "CFa", "value": "a", "id": 1}, {"value": "b", "id": 2, "label": "L"}]"#);
        assert_eq!(one, other);
        assert_eq!(one.hash(), other.hash());
    }

    #[test]
    fn invalid_custom_field_is_rejected_and_the_others_are_kept() {
        let fields = parse(r#"[7, null, {"name": "CFa"}, {"id": 3, "value": 1}, {"id": 3, "value": 2}]"#);
        assert_eq!(fields.rejected_values().len(), 3, "{:?}", fields.rejected_values());
        assert_eq!(fields.fields().len(), 1, "a repeated field is kept once");
        assert_eq!(fields.get(3).unwrap().value.as_deref(), Some("2"), "the last element wins");
    }

    #[test]
    fn custom_field_diff_has_old_and_new_of_each_changed_member() {
        let old = parse(
            r#"[{"id": 1, "name": "CFa", "value": "x", "display": "X"}, {"id": 2, "value": null, "label": "L"}]"#,
        );
        let new = parse(
            r#"[{"id": 1, "name": "CFa", "value": "y", "display": "X"}, {"id": 30, "type": 2, "value": 5}]"#,
        );
        let mut changed = Map::new();
        new.diff_from(&old, &mut changed);
        let expected = serde_json::json!({
            "CUSTOM.1": ["x", "y"], "CUSTOM.2.LABEL": ["L", null], "CUSTOM.30": [null, "5"], "CUSTOM.30.TYPE": [null, 2],
        });
        assert_eq!(Json::Object(changed), expected);
    }

    #[test]
    fn field_definitions_of_other_entities_are_skipped() {
        let rows = serde_json::json!([
            {"id": 1, "name": "CFa", "label": "A", "type": 2, "usage": 1},
            {"id": 2, "name": "CFb", "usage": 3},
            {"id": 3.0, "name": "CFc"},
            {"name": "CFd"},
        ]);
        let ids: Vec<_> = parse_definitions(rows.as_array().unwrap()).iter().map(|it| it.id).collect();
        assert_eq!(ids, [1, 3]);
    }
}
