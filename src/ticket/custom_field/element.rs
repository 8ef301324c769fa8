//! Parses the elements of `customfields`, and those of the field definitions.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::set::{CustomFields, ParsedField, RejectedMember};
use super::{CustomField, DISPLAY, LABEL, NAME, TYPE};
use crate::ticket::attribute::ValueKind;
use crate::ticket::json_value::convert_raw;
use crate::ticket::list::{integer, text};
use crate::ticket::value::{AttributeValue, RejectedValue, without_whitespace};

/// The most elements of one ticket; with more they tell nothing.
pub(super) const ELEMENTS_MAX: usize = 10_000;

impl CustomFields {
    /// Parses the property of a row; `None` if it is no array or has too many elements: then it tells nothing. Adds the
    /// number of repaired places to `repaired`, and takes the elements off `elements_left`.
    pub(in crate::ticket) fn parse(
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
pub(in crate::ticket) fn parse_definition(json: &str) -> Result<Option<CustomField>, RejectedValue> {
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
