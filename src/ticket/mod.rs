//! Tickets: the type, the parser for the server's JSON, and changes.
//!
//! No files, sockets, clocks or databases here: bytes come in, values go out. Nothing is parsed into a tree of
//! JSON values, so that memory is bounded by the size of a response whatever it holds.

pub mod attribute;
mod change;
mod conversion;
mod custom_field;
mod cut_row;
mod delta;
mod document;
mod extra_set;
mod json_value;
mod list;
pub mod parse;
pub(crate) mod repair;
mod row;
mod table;
mod timestamp;
mod unmapped;
mod value;

use std::collections::HashMap;

pub use attribute::{ATTRIBUTES, Attribute, ValueKind};
pub(crate) use change::{CUSTOM_FIELDS_KEY, EXTRA_KEY, extras_to_json, row_to_json};
pub use change::{Op, TicketDiff};
pub use conversion::TICKET_ID_MAX;
pub(crate) use custom_field::{CUSTOM_FIELDS_PROPERTY, CUSTOM_PREFIX};
pub use custom_field::{CustomField, CustomFields};
pub use delta::{ChangeCounts, DeltaRow};
pub use extra_set::ExtraSet;
pub(crate) use json_value::convert_raw;
pub use table::{Column, OP_COLUMN, SEQ_COLUMN, attribute_columns, delta_columns};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use unmapped::{FieldSearch, JsonType, UnmappedFields};
pub(crate) use value::RowHasher;
pub use value::{AttributeValue, CellValue, MAX_RAW_CHARS, RejectedValue};

/// A ticket as received in one response: the attributes in table order, then the extras.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    id: i64,
    values: Box<[AttributeValue]>,
    shown_extras: ExtraSet,
    rejected_values: Vec<(usize, RejectedValue)>,
    deleted: bool,
    custom_fields: Option<CustomFields>,
    custom_fields_unreadable: bool,
}

impl Ticket {
    /// Returns the ticket number.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Returns the values, in the order of [`ATTRIBUTES`].
    #[must_use]
    pub fn values(&self) -> &[AttributeValue] {
        &self.values[..attribute::ATTRIBUTE_COUNT]
    }

    /// Returns the values and then the extras, in the order of [`attribute::stored_attributes`].
    #[must_use]
    pub fn stored_values(&self) -> &[AttributeValue] {
        &self.values
    }

    /// Returns the values and then the extras, to be changed before they are hashed and stored.
    pub(crate) fn stored_values_mut(&mut self) -> &mut [AttributeValue] {
        &mut self.values
    }

    /// Drops the rejected values of some positions, and the texts of the others.
    pub(crate) fn keep_rejected_values(&mut self, is_kept: impl Fn(usize) -> bool) {
        self.rejected_values.retain_mut(|(position, rejected)| {
            rejected.raw.clear();
            is_kept(*position)
        });
    }

    /// Returns which extras the response carries, in this row or in another one. Of those an absent one is NULL; of the
    /// others the response says nothing, because lists carry only what the server is set to show.
    #[must_use]
    pub fn shown_extras(&self) -> ExtraSet {
        self.shown_extras
    }

    /// Returns the ticket with the stored values of some extras.
    #[must_use]
    pub fn with_stored_extras(&self, extras: ExtraSet, stored: &[AttributeValue]) -> Ticket {
        let mut ticket = self.clone();
        for position in extras.positions() {
            ticket.values[position].clone_from(&stored[position]);
        }
        ticket
    }

    /// Returns the rejected values, each with its position in [`attribute::stored_attributes`].
    #[must_use]
    pub fn rejected_values(&self) -> &[(usize, RejectedValue)] {
        &self.rejected_values
    }

    /// Whether the response has `deleted: true`; only responses for a single ticket do (`halo-api.md` §3).
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Returns the custom fields, if the response has them.
    #[must_use]
    pub fn custom_fields(&self) -> Option<&CustomFields> {
        self.custom_fields.as_ref()
    }

    /// Returns the custom fields, to be changed before they are hashed and stored.
    pub(crate) fn custom_fields_mut(&mut self) -> Option<&mut CustomFields> {
        self.custom_fields.as_mut()
    }

    /// Whether an attribute has a rejected value.
    #[must_use]
    pub fn is_rejected(&self, position: usize) -> bool {
        self.rejected_values.iter().any(|(rejected, _)| *rejected == position)
    }

    /// Returns the ticket with the stored value of every attribute whose value is rejected: one that cannot be
    /// read is not empty. `stored` are the values of the stored version; without one, NULL stays.
    #[must_use]
    pub fn with_last_good(&self, stored: &[AttributeValue]) -> Ticket {
        let mut ticket = self.clone();
        for (position, _) in &self.rejected_values {
            ticket.values[*position].clone_from(&stored[*position]);
        }
        if self.is_rejected(attribute::STATUS_ID) {
            // The name follows from the number.
            ticket.values[attribute::STATUS].clone_from(&stored[attribute::STATUS]);
        }
        ticket
    }

    /// Whether the response has custom fields that tell nothing: they are null, no array, or cannot be read.
    #[must_use]
    pub fn has_unreadable_custom_fields(&self) -> bool {
        self.custom_fields_unreadable
    }

    /// Removes and returns the custom fields.
    pub fn take_custom_fields(&mut self) -> Option<CustomFields> {
        self.custom_fields.take()
    }

    /// Returns when the ticket was last updated on the server, if known.
    #[must_use]
    pub fn last_update(&self) -> Option<Timestamp> {
        match &self.values[attribute::SOURCE_LAST_MODIFIED] {
            AttributeValue::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Returns the value of an integer attribute.
    #[must_use]
    pub fn integer(&self, position: usize) -> Option<i64> {
        match self.values[position] {
            AttributeValue::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// Sets the status name. `names` has those of the known statuses, `None` where it is held back; of another status it is
    /// the number as text.
    pub fn resolve_status_name(&mut self, names: &HashMap<i64, Option<String>>) {
        if self.integer(attribute::STATUS_ID).is_some() {
            self.values[attribute::STATUS] = status_name(&self.values[attribute::STATUS_ID], names);
        }
    }

    /// Returns a hash of the values, which is that of the row as stored.
    ///
    /// Volatile attributes are left out because they differ in every response, and the status name
    /// because it follows from the status number and the status list. XXH3 is stable across releases, so
    /// the hash may be stored. 64 bits are enough: a row is only compared with its predecessor.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = RowHasher::new();
        hash_row(self.values.iter().map(AttributeValue::as_cell), &mut hash);
        hash.digest()
    }

    /// Returns a hash of the row as received, rejected values included, by which the same row is recognized
    /// without reading the stored one. The text of volatile attributes is left out of it, too.
    #[must_use]
    pub fn received_hash(&self) -> u64 {
        let mut hash = RowHasher::new();
        hash_row(self.values.iter().map(AttributeValue::as_cell), &mut hash);
        for (position, rejected) in &self.rejected_values {
            hash.update(&position.to_le_bytes());
            if !attribute::VOLATILE.contains(position) {
                hash.update(&rejected.raw.len().to_le_bytes());
                hash.update(rejected.raw.as_bytes());
            }
        }
        hash.digest()
    }
}

/// Returns the name of a status by its number, as [`Ticket::resolve_status_name`] sets it.
pub(crate) fn status_name(number: &AttributeValue, names: &HashMap<i64, Option<String>>) -> AttributeValue {
    let AttributeValue::Integer(number) = number else { return AttributeValue::Null };
    let name = names.get(number).cloned().unwrap_or_else(|| Some(number.to_string()));
    name.map_or(AttributeValue::Null, AttributeValue::Text)
}

/// Returns the hash of a stored row, in the order of [`attribute::stored_attributes`]: [`Ticket::hash`] of a ticket with these
/// values.
pub(crate) fn row_hash<'a>(row: impl IntoIterator<Item = CellValue<'a>>) -> u64 {
    let mut hash = RowHasher::new();
    hash_row(row, &mut hash);
    hash.digest()
}

fn hash_row<'a>(row: impl IntoIterator<Item = CellValue<'a>>, hash: &mut RowHasher) {
    for (position, value) in row.into_iter().enumerate() {
        if attribute::VOLATILE.contains(&position) || position == attribute::STATUS {
            continue;
        }
        value.add_to_hash(hash);
    }
}
