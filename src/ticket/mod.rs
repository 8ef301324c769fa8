//! Tickets: what one is, how it is read from the server's JSON, and what a change of one is.
//!
//! Knows nothing of files, sockets, clocks or databases: bytes come in, values go out. No value tree
//! is built on the way, except for values that their attribute cannot hold.

pub mod attribute;
mod change;
mod delta;
mod field;
pub mod parse;
mod repair;
mod row;
mod stamp;
mod table;
mod value;

use xxhash_rust::xxh3::Xxh3;

pub use attribute::{ATTRIBUTES, Attribute, Kind};
pub(crate) use change::{CUSTOM_FIELDS, row_as_json};
pub use change::{Change, Op};
pub use delta::{DeltaRow, Tally};
pub use field::{CustomField, CustomFields};
pub use stamp::{NotAnInstant, Stamp};
pub use table::{Column, Table, delta_columns};
pub use value::{Cell, Oddity, RAW_MAX, Value};

/// A ticket as one answer of the server showed it: the attributes in table order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    id: i64,
    values: Box<[Value]>,
    oddities: Vec<(usize, Oddity)>,
    deleted: bool,
    custom_fields: Option<CustomFields>,
    fields_unclear: bool,
}

impl Ticket {
    /// The ticket number.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The values, in the order of [`ATTRIBUTES`].
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values that their attributes could not hold, by position in [`ATTRIBUTES`].
    #[must_use]
    pub fn oddities(&self) -> &[(usize, Oddity)] {
        &self.oddities
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
    pub fn has_unclear_fields(&self) -> bool {
        self.fields_unclear
    }

    /// Takes the custom fields out of it.
    pub fn take_custom_fields(&mut self) -> Option<CustomFields> {
        self.custom_fields.take()
    }

    /// When the server last updated it, if it says so.
    #[must_use]
    pub fn last_update(&self) -> Option<Stamp> {
        match &self.values[attribute::SOURCE_LAST_MODIFIED] {
            Value::Text(text) => Stamp::from_spelled(text).ok(),
            _ => None,
        }
    }

    /// An integer attribute.
    #[must_use]
    pub fn integer(&self, position: usize) -> Option<i64> {
        match self.values[position] {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// Gives the status its name; the number as text where nobody knows one.
    pub fn name_status(&mut self, name: impl FnOnce(i64) -> Option<String>) {
        if let Some(number) = self.integer(attribute::STATUS_ID) {
            let name = name(number).unwrap_or_else(|| number.to_string());
            self.values[attribute::STATUS] = Value::Text(name);
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
                Value::Null => hash.update(&[0]),
                Value::Integer(number) => {
                    hash.update(&[1]);
                    hash.update(&number.to_le_bytes());
                }
                Value::Real(number) => {
                    hash.update(&[2]);
                    hash.update(&number.to_bits().to_le_bytes());
                }
                Value::Text(text) => {
                    hash.update(&[3]);
                    hash.update(&text.len().to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
        }
        for (position, oddity) in &self.oddities {
            hash.update(&position.to_le_bytes());
            hash.update(oddity.raw.as_bytes());
        }
        hash.digest()
    }
}
