//! The tables of a snapshot and their columns.

use crate::reference::{REFERENCE_TABLES, ReferenceTable};
use crate::ticket::attribute::{EXTRA_PREFIX, EXTRAS};
use crate::ticket::{Column, ValueKind, attribute_columns};

/// A table in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotTable {
    /// Current tickets.
    Tickets,
    /// What the list carries beside the attributes.
    TicketExtra,
    /// Names for the numbers in tickets.
    Reference(&'static ReferenceTable),
    /// Custom fields of the tickets.
    CustomFields,
    /// Known custom fields.
    FieldDefinitions,
    /// Deleted tickets: why, when, and the last known row.
    DeletedTickets,
}

const CUSTOM_FIELD_COLUMNS: [Column; 7] = [
    Column::new("UID", ValueKind::Integer),
    Column::new("FIELD_ID", ValueKind::Integer),
    Column::new("NAME", ValueKind::Text),
    Column::new("LABEL", ValueKind::Text),
    Column::new("TYPE", ValueKind::Integer),
    Column::new("VALUE", ValueKind::Text),
    Column::new("DISPLAY", ValueKind::Text),
];

const FIELD_DEFINITION_COLUMNS: [Column; 4] = [
    Column::new("FIELD_ID", ValueKind::Integer),
    Column::new("NAME", ValueKind::Text),
    Column::new("LABEL", ValueKind::Text),
    Column::new("TYPE", ValueKind::Integer),
];

const DELETED_TICKET_COLUMNS: [Column; 12] = [
    Column::new("UID", ValueKind::Integer),
    Column::new("REASON", ValueKind::Text),
    Column::new("SEEN_AT", ValueKind::Timestamp),
    Column::new("NAME", ValueKind::Text),
    Column::new("STATUS", ValueKind::Text),
    Column::new("TEAM", ValueKind::Text),
    Column::new("AGENT_ID", ValueKind::Integer),
    Column::new("CLIENT_NAME", ValueKind::Text),
    Column::new("USER_NAME", ValueKind::Text),
    Column::new("MERGED_INTO_ID", ValueKind::Integer),
    Column::new("SOURCE_LAST_MODIFIED", ValueKind::Timestamp),
    Column::new("LAST_ROW", ValueKind::Text),
];

impl SnapshotTable {
    /// Iterates over all tables, in the order in which they are written.
    pub fn all() -> impl Iterator<Item = SnapshotTable> {
        [SnapshotTable::Tickets, SnapshotTable::TicketExtra]
            .into_iter()
            .chain(REFERENCE_TABLES.iter().map(SnapshotTable::Reference))
            .chain([
                SnapshotTable::CustomFields,
                SnapshotTable::FieldDefinitions,
                SnapshotTable::DeletedTickets,
            ])
    }

    /// Returns the name of the table in the database and of its file, without extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SnapshotTable::Tickets => "tickets",
            SnapshotTable::TicketExtra => "ticket_extra",
            SnapshotTable::Reference(table) => table.name,
            SnapshotTable::CustomFields => "custom_fields",
            SnapshotTable::FieldDefinitions => "field_definitions",
            SnapshotTable::DeletedTickets => "deleted_tickets",
        }
    }

    /// Returns the columns of the key, by which rows are sorted.
    #[must_use]
    pub fn key(self) -> Vec<&'static str> {
        match self {
            SnapshotTable::Tickets | SnapshotTable::TicketExtra | SnapshotTable::DeletedTickets => {
                vec!["UID"]
            }
            SnapshotTable::Reference(table) => table.key().collect(),
            SnapshotTable::CustomFields => vec!["UID", "FIELD_ID"],
            SnapshotTable::FieldDefinitions => vec!["FIELD_ID"],
        }
    }

    /// Returns the columns.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            SnapshotTable::Tickets => attribute_columns().collect(),
            SnapshotTable::TicketExtra => {
                let extras = EXTRAS.iter().map(|it| Column::new(&it.name[EXTRA_PREFIX.len()..], it.kind));
                [Column::new("UID", ValueKind::Integer)].into_iter().chain(extras).collect()
            }
            SnapshotTable::Reference(table) => table.stored_columns().collect(),
            SnapshotTable::CustomFields => CUSTOM_FIELD_COLUMNS.to_vec(),
            SnapshotTable::FieldDefinitions => FIELD_DEFINITION_COLUMNS.to_vec(),
            SnapshotTable::DeletedTickets => DELETED_TICKET_COLUMNS.to_vec(),
        }
    }
}
