//! Custom fields of a ticket.
//!
//! Keyed by field id, because labels repeat. Order and members vary between servers (`halo-api.md` §3.1).
//! A value may be any JSON: a string is stored unchanged, anything else as JSON text. `display` depends on
//! the locale of the API application's agent and is never parsed. The other members follow the rules of
//! `ticket::conversion`; one that cannot be read keeps its stored value. An element whose id cannot be told makes the
//! set incomplete: what it shows is taken, and nothing is removed.

mod element;
mod set;

use serde_json::Value as Json;
use xxhash_rust::xxh3::Xxh3;

pub(super) use element::parse_definition;
pub use set::CustomFields;

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
mod tests;
