//! A change of a ticket: what happened, and which attributes it moved.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::attribute::ATTRIBUTES;
use super::custom_field::CustomFields;
use super::value::CellValue;

/// What happened to a ticket in the local copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// It appeared here, for the first time or again.
    Create,
    /// At least one attribute moved.
    Update,
    /// It left, with a reason.
    Delete,
}

impl Op {
    /// Its letter in `changes.op` and in the exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete => "d",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The attributes that differ between two versions of a ticket: name → `[old, new]`.
///
/// Volatile attributes are in it too when something else moved: the row was written whole, so the
/// record undoes it exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TicketDiff(Map<String, Json>);

impl TicketDiff {
    /// Compares two versions, both in the order of [`ATTRIBUTES`].
    pub fn between<'a>(
        old: impl IntoIterator<Item = CellValue<'a>>,
        new: impl IntoIterator<Item = CellValue<'a>>,
    ) -> TicketDiff {
        let mut changed = Map::new();
        for (attribute, (old, new)) in ATTRIBUTES.iter().zip(old.into_iter().zip(new)) {
            if old != new {
                let pair = Json::Array(vec![old.to_json(attribute.kind), new.to_json(attribute.kind)]);
                changed.insert(attribute.name.to_owned(), pair);
            }
        }
        TicketDiff(changed)
    }

    /// One attribute alone.
    #[must_use]
    pub fn of_attribute(position: usize, old: CellValue<'_>, new: CellValue<'_>) -> TicketDiff {
        let attribute = &ATTRIBUTES[position];
        let pair = Json::Array(vec![old.to_json(attribute.kind), new.to_json(attribute.kind)]);
        TicketDiff(Map::from_iter([(attribute.name.to_owned(), pair)]))
    }

    /// The same with what moved in the custom fields.
    #[must_use]
    pub fn with_custom_fields(mut self, old: &CustomFields, new: &CustomFields) -> TicketDiff {
        new.diff_from(old, &mut self.0);
        self
    }

    /// Whether nothing moved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it stands in `changes.changed`.
    #[must_use]
    pub fn to_json(&self) -> String {
        Json::Object(self.0.clone()).to_string()
    }
}

/// A whole row as one JSON object, as it stands in `changes.last_row`; the custom fields, where there are
/// any, are its member `_custom_fields`.
pub(crate) fn row_to_json<'a>(row: impl IntoIterator<Item = CellValue<'a>>, fields: &CustomFields) -> String {
    let cells = ATTRIBUTES.iter().zip(row);
    let mut object: Map<_, _> =
        cells.map(|(attribute, cell)| (attribute.name.to_owned(), cell.to_json(attribute.kind))).collect();
    if !fields.fields().is_empty() {
        object.insert(CUSTOM_FIELDS_KEY.to_owned(), fields.to_json());
    }
    Json::Object(object).to_string()
}

/// The member of `changes.last_row`, and the column of a delta, that holds the custom fields.
pub(crate) const CUSTOM_FIELDS_KEY: &str = "_custom_fields";
