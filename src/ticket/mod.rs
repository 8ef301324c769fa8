//! Tickets: what one is, how it is read from the server's JSON, and what a change of one is.
//!
//! Knows nothing of files, sockets, clocks or databases: bytes come in, values go out. No value tree
//! is built on the way, except for values that their attribute cannot hold.

pub mod attribute;
mod change;
mod custom_field;
mod delta;
pub mod parse;
mod repair;
mod row;
mod table;
mod timestamp;
mod value;

use xxhash_rust::xxh3::Xxh3;

pub use attribute::{ATTRIBUTES, Attribute, ValueKind};
pub(crate) use change::{CUSTOM_FIELDS_KEY, row_to_json};
pub use change::{Op, TicketDiff};
pub use custom_field::{CustomField, CustomFields};
pub use delta::{ChangeCounts, DeltaRow};
pub use table::{Column, SnapshotTable, delta_columns};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use value::{AttributeValue, CellValue, MAX_RAW_CHARS, RejectedValue};

/// A ticket as one answer of the server showed it: the attributes in table order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    id: i64,
    values: Box<[AttributeValue]>,
    rejected_values: Vec<(usize, RejectedValue)>,
    deleted: bool,
    custom_fields: Option<CustomFields>,
    custom_fields_unreadable: bool,
}

impl Ticket {
    /// The ticket number.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The values, in the order of [`ATTRIBUTES`].
    #[must_use]
    pub fn values(&self) -> &[AttributeValue] {
        &self.values
    }

    /// The values that their attributes could not hold, by position in [`ATTRIBUTES`].
    #[must_use]
    pub fn rejected_values(&self) -> &[(usize, RejectedValue)] {
        &self.rejected_values
    }

    /// Whether the answer said `deleted: true`; only a single ticket says so (`halo-api.md` §3).
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The custom fields, where the answer tells them.
    #[must_use]
    pub fn custom_fields(&self) -> Option<&CustomFields> {
        self.custom_fields.as_ref()
    }

    /// Whether the answer says something of the custom fields that cannot be made out: then their absence
    /// means nothing.
    #[must_use]
    pub fn has_unreadable_custom_fields(&self) -> bool {
        self.custom_fields_unreadable
    }

    /// Takes the custom fields out of it.
    pub fn take_custom_fields(&mut self) -> Option<CustomFields> {
        self.custom_fields.take()
    }

    /// When the server last updated it, if it says so.
    #[must_use]
    pub fn last_update(&self) -> Option<Timestamp> {
        match &self.values[attribute::SOURCE_LAST_MODIFIED] {
            AttributeValue::Text(text) => Timestamp::parse(text).ok(),
            _ => None,
        }
    }

    /// An integer attribute.
    #[must_use]
    pub fn integer(&self, position: usize) -> Option<i64> {
        match self.values[position] {
            AttributeValue::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// Gives the status its name; the number as text where nobody knows one.
    pub fn resolve_status_name(&mut self, lookup: impl FnOnce(i64) -> Option<String>) {
        if let Some(number) = self.integer(attribute::STATUS_ID) {
            let name = lookup(number).unwrap_or_else(|| number.to_string());
            self.values[attribute::STATUS] = AttributeValue::Text(name);
        }
    }

    /// A number that differs when the ticket does.
    ///
    /// The volatile attributes are left out, because they move with every request, and the status
    /// name, because it follows from the number and the status list. XXH3 is stable across releases,
    /// so it may be stored; 64 bits are compared with one predecessor, never with all.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        for (position, value) in self.values.iter().enumerate() {
            if attribute::VOLATILE.contains(&position) || position == attribute::STATUS {
                continue;
            }
            match value {
                AttributeValue::Null => hash.update(&[0]),
                AttributeValue::Integer(number) => {
                    hash.update(&[1]);
                    hash.update(&number.to_le_bytes());
                }
                AttributeValue::Real(number) => {
                    hash.update(&[2]);
                    hash.update(&number.to_bits().to_le_bytes());
                }
                AttributeValue::Text(text) => {
                    hash.update(&[3]);
                    hash.update(&text.len().to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
        }
        for (position, rejected) in &self.rejected_values {
            hash.update(&position.to_le_bytes());
            hash.update(rejected.raw.as_bytes());
        }
        hash.digest()
    }
}
