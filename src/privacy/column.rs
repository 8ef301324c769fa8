//! The columns that a rule can name.

use std::fmt;

use super::PrivacyRule;
use crate::reference::{ColumnRole, REFERENCE_TABLES, ReferenceTable};
use crate::ticket::attribute::{
    MERGED_INTO_ID, SOURCE_LAST_MODIFIED, STATUS_ID, TICKET_TYPE_ID, UID, stored_attribute, stored_attributes,
};
use crate::ticket::{CUSTOM_PREFIX, ValueKind};

/// A column that can be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtectedColumn {
    /// An attribute or an extra, by its position among what is stored of a ticket.
    Stored(usize),
    /// A custom field, by its id.
    CustomField(i64),
    /// A column of the reference table with this name, by its position.
    Reference(&'static str, usize),
}

/// Columns that hold the same text: a rule for one of `columns` is a rule for all of them, and for those that repeat it.
pub(super) struct SameText {
    pub(super) columns: &'static [&'static str],
    /// Columns that repeat the text among others. A rule for one of these is a rule for that alone.
    pub(super) repeated_in: &'static [&'static str],
}

const fn same(columns: &'static [&'static str], repeated_in: &'static [&'static str]) -> SameText {
    SameText { columns, repeated_in }
}

const CATEGORIES: &[&str] = &["categories.VALUE", "categories.NAME"];

/// The name of the client is also that of the company; whoever reported a ticket is often its user (`fixtures/pages`).
#[rustfmt::skip]
pub(super) const SAME_TEXT: [SameText; 12] = [
    same(&["NAME"], &["ID_SUMMARY"]),
    same(&["CLIENT_NAME", "clients.NAME", "sites.CLIENT_NAME", "users.CLIENT_NAME"], &["OPP_COMPANY_NAME"]),
    same(&["SITE_NAME", "sites.NAME", "users.SITE_NAME"], &[]),
    same(&["USER_NAME", "users.NAME"], &["REPORTED_BY"]),
    same(&["USER_EMAIL", "users.EMAIL"], &["REPORTED_BY", "EMAIL_TO_LIST"]),
    same(&["TEAM", "teams.NAME", "agents.TEAM"], &[]),
    same(&["STATUS", "statuses.NAME"], &[]),
    same(&["CATEGORY_1", "CATEGORY_1_DISPLAY"], CATEGORIES),
    same(&["CATEGORY_2", "CATEGORY_2_DISPLAY"], CATEGORIES),
    same(&["CATEGORY_3", "CATEGORY_3_DISPLAY"], CATEGORIES),
    same(&["CATEGORY_4", "CATEGORY_4_DISPLAY"], CATEGORIES),
    same(CATEGORIES, &[
        "CATEGORY_1", "CATEGORY_1_DISPLAY", "CATEGORY_2", "CATEGORY_2_DISPLAY",
        "CATEGORY_3", "CATEGORY_3_DISPLAY", "CATEGORY_4", "CATEGORY_4_DISPLAY",
    ]),
];

impl ProtectedColumn {
    /// Returns the column with a name: an attribute, `EXTRA.<NAME>`, `CUSTOM.<FIELD_ID>`, or `table.COLUMN` of a reference
    /// table.
    #[must_use]
    pub fn named(name: &str) -> Option<ProtectedColumn> {
        if let Some(id) = name.strip_prefix(CUSTOM_PREFIX) {
            let column = ProtectedColumn::CustomField(id.parse().ok()?);
            return (column.to_string() == name).then_some(column);
        }
        if let Some(position) = stored_attributes().position(|attribute| attribute.name == name) {
            return Some(ProtectedColumn::Stored(position));
        }
        let (table, column) = name.split_once('.')?;
        let table = ReferenceTable::named(table)?;
        Some(ProtectedColumn::Reference(table.name, table.position(column)?))
    }

    /// Returns the names of all columns, custom fields excepted.
    pub fn names() -> impl Iterator<Item = String> {
        let reference = REFERENCE_TABLES.iter().flat_map(|table| {
            (0..table.columns.len()).map(|position| ProtectedColumn::Reference(table.name, position))
        });
        let stored = (0..stored_attributes().count()).map(ProtectedColumn::Stored);
        stored.chain(reference).map(|column| column.to_string())
    }

    /// Whether a rule can be applied to the column.
    ///
    /// # Errors
    /// Why not, as a clause.
    pub fn check(self, rule: PrivacyRule) -> Result<(), String> {
        const NEEDED: [usize; 5] = [UID, SOURCE_LAST_MODIFIED, TICKET_TYPE_ID, STATUS_ID, MERGED_INTO_ID];
        let (is_needed, kind) = match self {
            ProtectedColumn::Stored(position) => {
                let attribute = stored_attribute(position);
                (NEEDED.contains(&position) || attribute.name == "GUID", attribute.kind)
            }
            ProtectedColumn::CustomField(_) => (false, ValueKind::Text),
            ProtectedColumn::Reference(table, position) => match ReferenceTable::named(table) {
                Some(table) => {
                    let column = &table.columns[position];
                    (column.role == ColumnRole::Key || column.property.is_none(), column.column.kind)
                }
                None => (true, ValueKind::Text),
            },
        };
        if is_needed {
            return Err(format!("names `{self}`, which cannot be held back: halosync needs it"));
        }
        if rule == PrivacyRule::Hash && kind != ValueKind::Text {
            return Err(format!(
                "names `{self}`, which is no text and cannot be hashed: use `exclude` for it"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for ProtectedColumn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtectedColumn::Stored(position) => out.write_str(stored_attribute(*position).name),
            ProtectedColumn::CustomField(id) => write!(out, "{CUSTOM_PREFIX}{id}"),
            ProtectedColumn::Reference(table, position) => {
                let column =
                    ReferenceTable::named(table).map_or("", |table| table.columns[*position].column.name);
                write!(out, "{table}.{column}")
            }
        }
    }
}
