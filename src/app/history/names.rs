//! Names for the numbers of a ticket, and its values as people read them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::labels::{LABELS, Meaning, attributes_of, labels};
use super::version::{TicketVersion, field_id};
use crate::reference::ReferenceTable;
use crate::store::{ReadTx, StoreError, TicketRecords};
use crate::ticket::attribute::stored_attributes;
use crate::ticket::{CUSTOM_PREFIX, Timestamp, ValueKind};

/// The agent that means nobody.
const NOBODY: i64 = 1;

/// The status that counts as closed where the server does not say which ones do.
const BUILT_IN_CLOSED: i64 = 9;

/// A value for people.
#[derive(Clone, Debug, PartialEq)]
pub enum ShownValue {
    /// NULL.
    Nothing,
    /// A name.
    Name(String),
    /// A number that has no known name, with its noun: `agent 57`.
    Unnamed(&'static str, i64),
    /// Text that somebody wrote.
    Text(String),
    /// A time.
    Time(Timestamp),
    /// A number.
    Number(String),
    /// Yes or no.
    Answer(bool),
}

/// The names of everything that a ticket's rows and change records have as numbers, as they are today.
#[derive(Clone, Debug, Default)]
pub struct TicketNames {
    pub(super) by_table: BTreeMap<&'static str, BTreeMap<i64, String>>,
    pub(super) priorities: BTreeMap<(i64, i64), String>,
    pub(super) closed_statuses: BTreeMap<i64, bool>,
    /// The labels of custom fields by id.
    pub(super) fields: BTreeMap<i64, String>,
}

impl TicketNames {
    /// Reads the names that a ticket needs.
    pub(super) fn read(tx: &ReadTx<'_>, records: &TicketRecords) -> Result<TicketNames, StoreError> {
        let versions = versions(records);
        let mut by_table = BTreeMap::new();
        for labeled in LABELS {
            let Meaning::Number(table, _) = labeled.meaning else { continue };
            let mut ids: BTreeSet<i64> = versions.iter().filter_map(|it| it.integer(labeled.name)).collect();
            let pairs = records.changes.iter().filter_map(|it| it.changed.as_ref()?.get(labeled.name));
            ids.extend(pairs.flat_map(|pair| [&pair.old, &pair.new]).filter_map(Json::as_i64));
            if let Some(reference) = ReferenceTable::named(table) {
                by_table.insert(table, tx.reference_names(reference, &ids)?);
            }
        }
        let mut fields = BTreeMap::new();
        for version in &versions {
            for id in version.field_ids() {
                let label =
                    ["LABEL", "NAME"].map(|member| version.text(&format!("{CUSTOM_PREFIX}{id}.{member}")));
                fields.extend(label.into_iter().flatten().next().map(|label| (id, label.to_owned())));
            }
        }
        for field in tx.field_definitions()? {
            fields.extend(field.label.or(field.name).map(|label| (field.id, label)));
        }
        Ok(TicketNames {
            by_table,
            priorities: tx.priority_names()?,
            closed_statuses: tx.closed_statuses()?,
            fields,
        })
    }

    /// Whether a version has an open status; `None` where it has none.
    pub(super) fn is_open(&self, version: &TicketVersion) -> Option<bool> {
        let status = version.integer("STATUS_ID")?;
        Some(!self.closed_statuses.get(&status).copied().unwrap_or(status == BUILT_IN_CLOSED))
    }

    /// The name of the number in an attribute, in a version that may tell more about it.
    #[must_use]
    pub fn name_of(&self, attribute: &str, value: &Json, version: &TicketVersion) -> Option<String> {
        let number = value.as_i64()?;
        let meaning = LABELS.iter().find(|it| it.name == attribute)?.meaning;
        match meaning {
            Meaning::Number("agents", _) if number == NOBODY => Some("nobody".to_owned()),
            Meaning::Number(table, _) => self.by_table.get(table)?.get(&number).cloned(),
            Meaning::Priority => self.priority(number, version.integer("SLA_ID")),
            _ => None,
        }
    }

    /// The name of a priority. Without an SLA it is that which all SLAs give the number.
    fn priority(&self, number: i64, sla: Option<i64>) -> Option<String> {
        if let Some(sla) = sla.filter(|sla| *sla != 0) {
            return self.priorities.get(&(sla, number)).cloned();
        }
        let mut names = self.priorities.iter().filter(|((_, it), _)| *it == number).map(|(_, name)| name);
        let first = names.next()?;
        names.all(|name| name == first).then(|| first.clone())
    }

    /// What a label says of a version.
    pub(super) fn value_of(&self, label: &str, version: &TicketVersion) -> ShownValue {
        let with = |meaning: Meaning| attributes_of(label).find(|it| it.meaning == meaning);
        if let Some(it) = with(Meaning::Ticket) {
            let ticket = version.integer(it.name).filter(|ticket| *ticket != 0);
            return ticket.map_or(ShownValue::Nothing, |ticket| ShownValue::Unnamed("ticket", ticket));
        }
        let numbered =
            attributes_of(label).find(|it| matches!(it.meaning, Meaning::Number(..) | Meaning::Priority));
        let number = numbered.and_then(|it| Some((it, version.integer(it.name)?)));
        let name = with(Meaning::Name).and_then(|it| version.text(it.name));
        // A number instead of a name is stored where the name was not known.
        let name = name.filter(|name| number.is_none_or(|(_, number)| **name != number.to_string()));
        let shown = match (name, number) {
            (Some(name), _) => ShownValue::Name(name.to_owned()),
            (None, Some((it, number))) => match self.name_of(it.name, &Json::from(number), version) {
                Some(name) => ShownValue::Name(name),
                None if matches!(it.meaning, Meaning::Priority) => ShownValue::Unnamed("priority", number),
                None => match it.meaning {
                    Meaning::Number(_, noun) => ShownValue::Unnamed(noun, number),
                    _ => ShownValue::Number(number.to_string()),
                },
            },
            (None, None) => with(Meaning::Value)
                .or_else(|| with(Meaning::Bookkeeping))
                .map_or(ShownValue::Nothing, |it| raw_value(it.name, version.get(it.name))),
        };
        match (shown, with(Meaning::Addition).and_then(|it| version.text(it.name))) {
            (ShownValue::Name(name), Some(more)) if !more.is_empty() && more != name => {
                ShownValue::Name(format!("{name} ({more})"))
            }
            (ShownValue::Nothing, Some(more)) if !more.is_empty() => ShownValue::Name(more.to_owned()),
            (shown, _) => shown,
        }
    }

    /// The value of a custom field: what the server shows to people, else what it stores.
    pub(super) fn field_value(id: i64, version: &TicketVersion) -> ShownValue {
        let display = version.text(&format!("{CUSTOM_PREFIX}{id}.DISPLAY")).filter(|it| !it.is_empty());
        let value = version.text(&format!("{CUSTOM_PREFIX}{id}"));
        display.or(value).map_or(ShownValue::Nothing, |text| ShownValue::Text(text.to_owned()))
    }

    /// What people call an attribute, an extra or a custom field.
    #[must_use]
    pub fn label_of(&self, name: &str) -> String {
        match field_id(name) {
            Some(id) => self.field_label(id),
            None => LABELS.iter().find(|it| it.name == name).map_or(name, |it| it.label).to_owned(),
        }
    }

    /// What people call a custom field; with its number where something else is called so too.
    pub(super) fn field_label(&self, id: i64) -> String {
        let Some(label) = self.fields.get(&id).filter(|label| !label.trim().is_empty()) else {
            return format!("{CUSTOM_PREFIX}{id}");
        };
        let is_shared = self.fields.iter().any(|(other, it)| *other != id && it == label)
            || labels().iter().any(|it| it == label);
        if is_shared { format!("{label} (field {id})") } else { label.clone() }
    }
}

/// The versions of a ticket that are stored whole.
fn versions(records: &TicketRecords) -> Vec<TicketVersion> {
    let row = records.row.as_deref().map(|row| TicketVersion::of_row(row, &records.custom_fields));
    let last_rows = records.changes.iter().filter_map(|change| change.last_row.as_ref());
    last_rows.map(TicketVersion::of_last_row).chain(row).collect()
}

/// A value that has no name.
pub(super) fn raw_value(name: &str, value: &Json) -> ShownValue {
    match value {
        Json::Null => ShownValue::Nothing,
        Json::Bool(answer) => ShownValue::Answer(*answer),
        Json::Number(number) => ShownValue::Number(number.to_string()),
        Json::String(text) => {
            let is_time = stored_attributes().any(|it| it.name == name && it.kind == ValueKind::Timestamp);
            match text.parse() {
                Ok(at) if is_time => ShownValue::Time(at),
                _ => ShownValue::Text(text.clone()),
            }
        }
        other => ShownValue::Text(other.to_string()),
    }
}
