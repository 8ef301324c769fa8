//! Custom fields of a ticket.
//!
//! Keyed by field id, because labels repeat. Order and members vary between servers (`halo-api.md` §3.1).
//! A value may be any JSON: a string is stored unchanged, anything else as JSON text. `display` depends on
//! the locale of the API application's agent and is never parsed. The other members follow the rules of
//! `ticket::value`; one that cannot be read keeps its stored value. An element whose id cannot be told makes the
//! set incomplete: what it shows is taken, and nothing is removed.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use xxhash_rust::xxh3::Xxh3;

use super::attribute::ValueKind;
use super::reference_list::{integer, text};
use super::value::{AttributeValue, RejectedValue, convert_raw, without_whitespace};

/// Property of a row that holds the custom fields.
pub(crate) const CUSTOM_FIELDS_PROPERTY: &str = "customfields";

/// Beginning of the names of custom fields in change records and rejects.
pub(crate) const CUSTOM_PREFIX: &str = "CUSTOM.";

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
    /// Takes the member over from another version of the field.
    keep: fn(&mut CustomField, &CustomField),
}

/// Members in the order of the columns.
const MEMBERS: [CustomFieldMember; 5] = [
    CustomFieldMember {
        column: "NAME",
        suffix: ".NAME",
        read: |field| field.name.as_deref().into(),
        keep: |field, stored| field.name.clone_from(&stored.name),
    },
    CustomFieldMember {
        column: "LABEL",
        suffix: ".LABEL",
        read: |field| field.label.as_deref().into(),
        keep: |field, stored| field.label.clone_from(&stored.label),
    },
    CustomFieldMember {
        column: "TYPE",
        suffix: ".TYPE",
        read: |field| field.kind.into(),
        keep: |field, stored| field.kind = stored.kind,
    },
    CustomFieldMember {
        column: "VALUE",
        suffix: "",
        read: |field| field.value.as_deref().into(),
        keep: |field, stored| field.value.clone_from(&stored.value),
    },
    CustomFieldMember {
        column: "DISPLAY",
        suffix: ".DISPLAY",
        read: |field| field.display.as_deref().into(),
        keep: |field, stored| field.display.clone_from(&stored.display),
    },
];
/// Positions in [`MEMBERS`].
const NAME: usize = 0;
const LABEL: usize = 1;
const TYPE: usize = 2;
const DISPLAY: usize = 4;

/// The most elements of one ticket; with more they tell nothing.
const ELEMENTS_MAX: usize = 10_000;

impl CustomField {
    /// Whether the field has a value. Servers differ in whether and how they list fields without one.
    #[must_use]
    pub fn has_value(&self) -> bool {
        !matches!(self.value.as_deref(), None | Some("" | "[]" | "{}" | "0" | "false"))
    }

    /// Whether the field has nothing but an id.
    fn is_bare(&self) -> bool {
        *self == CustomField { id: self.id, ..CustomField::default() }
    }
}

/// Custom fields of one ticket, sorted by id, without duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomFields {
    fields: Vec<CustomField>,
    rejected_members: Vec<RejectedMember>,
    /// The first of the elements whose id cannot be told.
    rejected_element: Option<RejectedValue>,
    hash: u64,
}

/// A member of a field that cannot be read.
#[derive(Clone, Debug, PartialEq)]
struct RejectedMember {
    field_id: i64,
    /// Its position in [`MEMBERS`].
    member: usize,
    rejected: RejectedValue,
}

/// A field with its rejected members.
type ParsedField = (CustomField, Vec<RejectedMember>);

impl Default for CustomFields {
    fn default() -> CustomFields {
        CustomFields::new(Vec::new(), None)
    }
}

impl From<Vec<CustomField>> for CustomFields {
    fn from(fields: Vec<CustomField>) -> CustomFields {
        CustomFields::new(fields.into_iter().map(|field| (field, Vec::new())).collect(), None)
    }
}

impl CustomFields {
    /// Keeps the last of several fields with the same id, and drops fields that have nothing but an id.
    fn new(mut fields: Vec<ParsedField>, rejected_element: Option<RejectedValue>) -> CustomFields {
        fields.reverse();
        fields.sort_by_key(|(field, _)| field.id);
        fields.dedup_by_key(|(field, _)| field.id);
        fields.retain(|(field, rejected)| !rejected.is_empty() || !field.is_bare());
        let (fields, rejected): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let hash = hash(&fields);
        CustomFields {
            fields,
            rejected_members: rejected.into_iter().flatten().collect(),
            rejected_element,
            hash,
        }
    }

    /// Takes the fields apart again.
    fn into_parsed(self) -> (Vec<ParsedField>, Option<RejectedValue>) {
        let mut rejected = self.rejected_members.into_iter().peekable();
        let fields = self.fields.into_iter().map(|field| {
            let mut of_field = Vec::new();
            while let Some(member) = rejected.next_if(|it| it.field_id == field.id) {
                of_field.push(member);
            }
            (field, of_field)
        });
        (fields.collect(), self.rejected_element)
    }

    /// Returns the fields.
    #[must_use]
    pub fn fields(&self) -> &[CustomField] {
        &self.fields
    }

    /// Whether anything in them cannot be read.
    #[must_use]
    pub fn has_rejected_values(&self) -> bool {
        !self.rejected_members.is_empty() || !self.is_complete()
    }

    /// Whether they are all custom fields of the ticket: the id of every element can be told.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rejected_element.is_none()
    }

    /// Returns the rejected values, each with its name in change records: `CUSTOM.<FIELD_ID>.<MEMBER>`, or
    /// `customfields` for the elements whose id cannot be told, of which only the first is kept.
    #[must_use]
    pub fn rejected_values(&self) -> Vec<(String, &RejectedValue)> {
        let members = self
            .rejected_members
            .iter()
            .map(|it| (format!("{CUSTOM_PREFIX}{}{}", it.field_id, MEMBERS[it.member].suffix), &it.rejected));
        let element = self.rejected_element.iter().map(|it| (CUSTOM_FIELDS_PROPERTY.to_owned(), it));
        members.chain(element).collect()
    }

    /// Returns the fields with what is stored instead of what cannot be read: of a rejected member its stored value,
    /// and with an element whose id cannot be told, every stored field that the response does not show.
    #[must_use]
    pub fn with_last_good(&self, stored: &CustomFields) -> CustomFields {
        let (mut fields, rejected_element) = self.clone().into_parsed();
        for (field, rejected) in &mut fields {
            if let Some(stored) = stored.get(field.id) {
                for it in rejected {
                    (MEMBERS[it.member].keep)(field, stored);
                }
            }
        }
        if rejected_element.is_some() {
            let kept = stored.fields.iter().filter(|field| self.get(field.id).is_none());
            fields.extend(kept.map(|field| (field.clone(), Vec::new())));
        }
        let mut merged = CustomFields::new(fields, rejected_element);
        // A field of which nothing could ever be read.
        merged.fields.retain(|field| !field.is_bare());
        merged.hash = hash(&merged.fields);
        merged
    }

    /// Returns a hash of the fields, stable across releases (XXH3).
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
        self.hash = hash(&self.fields);
        self
    }

    /// Merges the fields with those of another response for the same ticket.
    #[must_use]
    pub fn merged_with(self, other: CustomFields) -> CustomFields {
        let (mut fields, element) = self.into_parsed();
        let (more, other_element) = other.into_parsed();
        fields.extend(more);
        CustomFields::new(fields, element.or(other_element))
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
                    changed.insert(format!("{CUSTOM_PREFIX}{id}{suffix}"), Json::Array(vec![before, after]));
                }
            }
        }
    }

    /// Parses the property of a row; `None` if it is no array or has too many elements: then it tells nothing. Adds the
    /// number of repaired places to `repaired`, and takes the elements off `elements_left`.
    pub(super) fn parse(
        raw: &RawValue,
        repaired: &mut usize,
        elements_left: &mut usize,
    ) -> Option<CustomFields> {
        if !raw.get().starts_with('[') {
            return None;
        }
        let mut elements = ElementsVisitor {
            repaired,
            left: ELEMENTS_MAX.min(*elements_left),
            fields: Vec::new(),
            rejected: None,
        };
        let limit = elements.left;
        let parsed = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(&mut elements);
        let ElementsVisitor { left, fields, rejected, .. } = elements;
        *elements_left -= limit - left;
        parsed.ok()?;
        Some(CustomFields::new(fields, rejected))
    }
}

/// Parses elements one after another.
struct ElementsVisitor<'a> {
    repaired: &'a mut usize,
    /// How many more there may be.
    left: usize,
    fields: Vec<ParsedField>,
    rejected: Option<RejectedValue>,
}

impl<'de> Visitor<'de> for &mut ElementsVisitor<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of custom fields")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            self.left = self.left.checked_sub(1).ok_or_else(|| A::Error::custom("too many custom fields"))?;
            match parse_element(element, self.repaired) {
                Some(field) => self.fields.push(field),
                None if self.rejected.is_some() => {}
                None => self.rejected = Some(RejectedValue::new("not a custom field", element.get())),
            }
        }
        Ok(())
    }
}

/// Parses an element of `/api/FieldInfo`: the definition of a ticket field, without a value; `None` for other fields.
/// `usage` 1 means tickets (`halo-api.md` §3.1); elements without `usage` are kept.
pub(super) fn parse_definition(json: &str) -> Result<Option<CustomField>, RejectedValue> {
    let unreadable = |reason| RejectedValue::new(reason, json);
    let element: CustomFieldElement<'_> =
        serde_json::from_str(json).map_err(|_| unreadable("not a definition of a custom field"))?;
    if integer(element.usage).unwrap_or_default().is_some_and(|usage| usage != 1) {
        return Ok(None);
    }
    Ok(Some(CustomField {
        id: integer(element.id).ok().flatten().ok_or_else(|| unreadable("no usable id"))?,
        name: text(element.name).unwrap_or_default(),
        label: text(element.label).unwrap_or_default(),
        kind: integer(element.r#type).unwrap_or_default(),
        ..CustomField::default()
    }))
}

/// Members of an element. Each may be any JSON.
#[derive(Deserialize)]
struct CustomFieldElement<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
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
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Parses an element; `None` if its id cannot be told.
fn parse_element(raw: &RawValue, repaired: &mut usize) -> Option<ParsedField> {
    let element: CustomFieldElement<'_> = serde_json::from_str(raw.get()).ok()?;
    let field_id = integer(element.id).ok().flatten()?;
    let mut rejected_members = Vec::new();
    let mut read = |member, kind, raw: Option<&RawValue>| {
        let value = convert_raw(kind, raw?.get(), repaired);
        value.map_err(|rejected| rejected_members.push(RejectedMember { field_id, member, rejected })).ok()
    };
    let name = read(NAME, ValueKind::Text, element.name).and_then(into_text);
    let label = read(LABEL, ValueKind::Text, element.label).and_then(into_text);
    let kind = match read(TYPE, ValueKind::Integer, element.r#type) {
        Some(AttributeValue::Integer(kind)) => Some(kind),
        _ => None,
    };
    let display = read(DISPLAY, ValueKind::Text, element.display).and_then(into_text);
    let value = element.value.and_then(|raw| json_to_text(raw.get(), repaired));
    Some((CustomField { id: field_id, name, label, kind, value, display }, rejected_members))
}

fn into_text(value: AttributeValue) -> Option<String> {
    match value {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns any JSON as text; `None` for null.
fn json_to_text(raw: &str, repaired: &mut usize) -> Option<String> {
    match convert_raw(ValueKind::Text, raw, repaired) {
        Ok(value) => into_text(value),
        // An array or an object, whatever the layout of its JSON.
        Err(_) => Some(without_whitespace(raw).collect()),
    }
}

fn hash(fields: &[CustomField]) -> u64 {
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
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> CustomFields {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        CustomFields::parse(&raw, &mut 0, &mut ELEMENTS_MAX.clone()).unwrap()
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
    fn element_without_a_readable_id_makes_the_set_incomplete() {
        let fields = parse(
            r#"[7, null, {"name": "CFa"}, {"id": "3", "value": 1}, {"id": 3.0, "value": 2}, {"id": 4}]"#,
        );
        assert!(!fields.is_complete());
        let rejected: Vec<_> =
            fields.rejected_values().into_iter().map(|(name, value)| (name, value.raw.clone())).collect();
        assert_eq!(rejected, [("customfields".to_owned(), "7".to_owned())]);
        assert_eq!(fields.fields().len(), 1, "a repeated field is kept once");
        assert_eq!(fields.get(3).unwrap().value.as_deref(), Some("2"), "the last element wins");

        let stored = parse(r#"[{"id": 3, "value": 9}, {"id": 101, "value": "precious"}]"#);
        let merged = fields.with_last_good(&stored);
        assert_eq!(merged.get(101).unwrap().value.as_deref(), Some("precious"), "nothing is removed");
        assert_eq!(merged.get(3).unwrap().value.as_deref(), Some("2"), "what it shows is taken");
        assert!(!merged.is_complete());
    }

    #[test]
    fn member_that_cannot_be_read_keeps_its_stored_value() {
        let stored =
            parse(r#"[{"id": 1, "name": "CFa", "label": "A", "type": 2, "value": "x", "display": "X"}]"#);
        let fields = parse(
            r#"[{"id": 1, "name": {}, "label": 1.50, "type": "two", "value": {"a": 1}, "display": []},
                {"id": 2, "name": []}, {"id": 2, "name": "CFb"}]"#,
        );
        let names: Vec<_> = fields.rejected_values().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["CUSTOM.1.NAME", "CUSTOM.1.TYPE", "CUSTOM.1.DISPLAY"]);
        assert!(fields.is_complete());
        let merged = fields.with_last_good(&stored);
        let expected = CustomField {
            id: 1,
            name: Some("CFa".into()),
            label: Some("1.50".into()),
            kind: Some(2),
            value: Some(r#"{"a":1}"#.into()),
            display: Some("X".into()),
        };
        assert_eq!(merged.get(1), Some(&expected));
        assert_eq!(merged.rejected_values().len(), 3, "what is rejected stays so");
    }

    #[test]
    fn hash_is_that_of_the_fields_as_stored() {
        let stored = parse(r#"[{"id": 1, "type": 2, "value": "x"}]"#);
        assert_eq!(
            parse(r#"[{"id": 1, "type": "two", "value": "x"}]"#).with_last_good(&stored).hash(),
            stored.hash()
        );
    }

    #[test]
    fn too_many_elements_tell_nothing() {
        let list = |count: usize| {
            let elements: Vec<_> = (0..count).map(|id| format!(r#"{{"id":{id},"value":1}}"#)).collect();
            serde_json::from_str::<Box<RawValue>>(&format!("[{}]", elements.join(","))).unwrap()
        };
        let mut left = 3 * ELEMENTS_MAX / 2;
        assert_eq!(
            CustomFields::parse(&list(ELEMENTS_MAX), &mut 0, &mut left).unwrap().fields().len(),
            ELEMENTS_MAX
        );
        assert_eq!(CustomFields::parse(&list(ELEMENTS_MAX), &mut 0, &mut left), None, "of all rows together");
        assert_eq!(left, 0);
        assert_eq!(CustomFields::parse(&list(ELEMENTS_MAX + 1), &mut 0, &mut ELEMENTS_MAX.clone()), None);
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
        let ids: Vec<_> = [
            r#"{"id": 1, "name": "CFa", "label": "A", "type": 2, "usage": 1}"#,
            r#"{"id": 2, "name": "CFb", "usage": 3}"#,
            r#"{"id": "3", "name": "CFc"}"#,
            r#"{"name": "CFd"}"#,
            "7",
        ]
        .map(|json| parse_definition(json).map(|definition| definition.map(|it| it.id)))
        .into_iter()
        .map(Result::ok)
        .collect();
        assert_eq!(ids, [Some(Some(1)), Some(None), Some(Some(3)), None, None]);
    }
}
