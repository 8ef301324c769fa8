//! A version of a ticket by the names that change records use, so that a record can be undone in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::ticket::attribute::{EXTRA_PREFIX, stored_attributes};
use crate::ticket::{AttributeValue, CUSTOM_FIELDS_KEY, CUSTOM_PREFIX, CustomFields, EXTRA_KEY};

/// The members of a custom field: its column, and what follows `CUSTOM.<FIELD_ID>` in change records.
const FIELD_MEMBERS: [(&str, &str); 5] =
    [("NAME", ".NAME"), ("LABEL", ".LABEL"), ("TYPE", ".TYPE"), ("VALUE", ""), ("DISPLAY", ".DISPLAY")];

/// The values of a ticket at one time, by the names in `changes.changed`. What is not in it is NULL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TicketVersion(BTreeMap<String, Json>);

impl TicketVersion {
    /// The version of a stored row.
    pub(super) fn of_row(row: &[AttributeValue], fields: &CustomFields) -> TicketVersion {
        let mut version = TicketVersion::default();
        for (attribute, value) in stored_attributes().zip(row) {
            version.set(attribute.name, value.as_cell().to_json(attribute.kind));
        }
        version.add_fields(&fields.to_json());
        version
    }

    /// The version in `changes.last_row`.
    pub(super) fn of_last_row(last_row: &Map<String, Json>) -> TicketVersion {
        let mut version = TicketVersion::default();
        for (name, value) in last_row {
            match (name.as_str(), value) {
                (EXTRA_KEY, Json::Object(extras)) => {
                    for (name, value) in extras {
                        version.set(&format!("{EXTRA_PREFIX}{name}"), value.clone());
                    }
                }
                (CUSTOM_FIELDS_KEY, fields) => version.add_fields(fields),
                (name, value) => version.set(name, value.clone()),
            }
        }
        version
    }

    fn add_fields(&mut self, fields: &Json) {
        for field in fields.as_array().into_iter().flatten() {
            let Some(id) = field.get("FIELD_ID").and_then(Json::as_i64) else { continue };
            for (column, suffix) in FIELD_MEMBERS {
                let value = field.get(column).cloned().unwrap_or_default();
                self.set(&format!("{CUSTOM_PREFIX}{id}{suffix}"), value);
            }
        }
    }

    /// The value of an attribute, an extra (`EXTRA.<NAME>`) or a custom field (`CUSTOM.<FIELD_ID>`).
    #[must_use]
    pub fn get(&self, name: &str) -> &Json {
        self.0.get(name).unwrap_or(&Json::Null)
    }

    /// The same as a number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name).as_i64()
    }

    /// The same as a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).as_str()
    }

    pub(super) fn set(&mut self, name: &str, value: Json) {
        if value.is_null() {
            self.0.remove(name);
        } else if let Some(stored) = self.0.get_mut(name) {
            *stored = value;
        } else {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// The ids of its custom fields, ascending.
    #[must_use]
    pub fn field_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.0.keys().filter_map(|name| field_id(name)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// One object for each custom field with its columns in `custom_fields`, as in `changes.last_row`.
    #[must_use]
    pub fn fields_to_json(&self) -> Vec<Json> {
        let object = |id: i64| {
            let members = FIELD_MEMBERS.map(|(column, suffix)| {
                (column.to_owned(), self.get(&format!("{CUSTOM_PREFIX}{id}{suffix}")).clone())
            });
            Json::Object([("FIELD_ID".to_owned(), Json::from(id))].into_iter().chain(members).collect())
        };
        self.field_ids().into_iter().map(object).collect()
    }
}

/// The id of the custom field that a name in a change record is about.
pub(super) fn field_id(name: &str) -> Option<i64> {
    name.strip_prefix(CUSTOM_PREFIX)?.split('.').next()?.parse().ok()
}
