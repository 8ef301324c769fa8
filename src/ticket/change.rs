//! A change to a ticket: what happened, and which attributes changed.

use serde_json::{Map, Value as Json};

use super::attribute::{self, EXTRA_PREFIX};
use super::custom_field::{CUSTOM_PREFIX, CustomFields};
use super::value::CellValue;

/// What happened to a ticket in the local copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::IntoStaticStr)]
pub enum Op {
    /// Created here, or returned after a deletion.
    #[strum(serialize = "c")]
    Create,
    /// At least one attribute changed.
    #[strum(serialize = "u")]
    Update,
    /// Removed, with a reason.
    #[strum(serialize = "d")]
    Delete,
}

impl Op {
    /// Returns its letter in `changes.op` and in exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Attributes that differ between two versions of a ticket: name → `[old, new]`.
///
/// Includes volatile attributes if anything else changed: the row was written whole, so the record must
/// undo it exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TicketDiff(Map<String, Json>);

impl TicketDiff {
    /// Compares two versions, both in the order of [`attribute::stored_attributes`].
    pub fn between<'a>(
        old: impl IntoIterator<Item = CellValue<'a>>,
        new: impl IntoIterator<Item = CellValue<'a>>,
    ) -> TicketDiff {
        let mut changed = Map::new();
        for (attribute, (old, new)) in attribute::stored_attributes().zip(old.into_iter().zip(new)) {
            if old != new {
                let pair = Json::Array(vec![old.to_json(attribute.kind), new.to_json(attribute.kind)]);
                changed.insert(attribute.name.to_owned(), pair);
            }
        }
        TicketDiff(changed)
    }

    /// Returns the change of one attribute.
    #[must_use]
    pub fn of_attribute(position: usize, old: CellValue<'_>, new: CellValue<'_>) -> TicketDiff {
        let attribute = attribute::stored_attribute(position);
        let pair = Json::Array(vec![old.to_json(attribute.kind), new.to_json(attribute.kind)]);
        TicketDiff(Map::from_iter([(attribute.name.to_owned(), pair)]))
    }

    /// Adds the changes of the custom fields.
    #[must_use]
    pub fn with_custom_fields(mut self, old: &CustomFields, new: &CustomFields) -> TicketDiff {
        new.diff_from(old, &mut self.0);
        self
    }

    /// Whether any attribute differs that is not volatile: not only extras or custom fields.
    #[must_use]
    pub fn has_attributes(&self) -> bool {
        let is_volatile =
            |name: &str| attribute::VOLATILE.iter().any(|it| attribute::ATTRIBUTES[*it].name == name);
        let is_beside = |name: &str| name.starts_with(EXTRA_PREFIX) || name.starts_with(CUSTOM_PREFIX);
        self.0.keys().any(|name| !is_beside(name) && !is_volatile(name))
    }

    /// Whether the versions are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the JSON text of `changes.changed`.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json_text(&self.0)
    }
}

/// Returns a row as one JSON object, the content of `changes.last_row`. Extras and custom fields, if there are any, are the
/// members `_extra` and `_custom_fields`.
pub(crate) fn row_to_json<'a>(row: impl IntoIterator<Item = CellValue<'a>>, fields: &CustomFields) -> String {
    let mut row = row.into_iter();
    let cells = attribute::ATTRIBUTES.iter().zip(row.by_ref());
    let mut object: Map<_, _> =
        cells.map(|(attribute, cell)| (attribute.name.to_owned(), cell.to_json(attribute.kind))).collect();
    let extras: Vec<_> = row.collect();
    if extras.iter().any(|cell| *cell != CellValue::Null) {
        object.insert(EXTRA_KEY.to_owned(), extras_to_json(extras));
    }
    if !fields.fields().is_empty() {
        object.insert(CUSTOM_FIELDS_KEY.to_owned(), fields.to_json());
    }
    to_json_text(&object)
}

/// Writes an object into a text that need not grow: of a large ticket, every copy counts.
fn to_json_text(object: &Map<String, Json>) -> String {
    let mut text =
        Vec::with_capacity(object.iter().map(|(name, value)| name.len() + 4 + text_length(value)).sum());
    // Neither the texts nor the memory to write to can fail.
    let _ = serde_json::to_writer(&mut text, object);
    String::from_utf8(text).unwrap_or_default()
}

/// About how long a value is as JSON: nothing that is short counts, nor what is escaped.
fn text_length(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len() + 2,
        Json::Array(values) => values.iter().map(|value| text_length(value) + 1).sum::<usize>() + 2,
        Json::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + text_length(value)).sum::<usize>() + 2
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => 5,
    }
}

/// Returns the extras of a ticket as a JSON object, with the names of the columns of `ticket_extra`.
pub(crate) fn extras_to_json<'a>(extras: impl IntoIterator<Item = CellValue<'a>>) -> Json {
    let name = |attribute: &attribute::Attribute| attribute.name[EXTRA_PREFIX.len()..].to_owned();
    attribute::EXTRAS.iter().zip(extras).map(|(it, cell)| (name(it), cell.to_json(it.kind))).collect()
}

/// Name of the extras: a member of `changes.last_row`, and a column of a delta.
pub(crate) const EXTRA_KEY: &str = "_extra";

/// Name of the custom fields: a member of `changes.last_row`, and a column of a delta.
pub(crate) const CUSTOM_FIELDS_KEY: &str = "_custom_fields";
