//! What leaves the copy besides deltas: its tables, as columns and rows of cells.

use super::attribute::{ATTRIBUTES, ValueKind};
use super::change::CUSTOM_FIELDS_KEY as CUSTOM_FIELDS_COLUMN;

/// A column of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: ValueKind,
}

/// A table that a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotTable {
    /// The present tickets.
    Tickets,
    /// The names of the statuses.
    Statuses,
    /// The names of the ticket types.
    TicketTypes,
    /// The custom fields of the tickets.
    CustomFields,
}

const fn column(name: &'static str, kind: ValueKind) -> Column {
    Column { name, kind }
}

const STATUS_COLUMNS: [Column; 6] = [
    column("ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("TYPE", ValueKind::Integer),
    column("SEQUENCE", ValueKind::Integer),
    column("COLOUR", ValueKind::Text),
    column("CLOSED", ValueKind::Boolean),
];

const TICKET_TYPE_COLUMNS: [Column; 4] = [
    column("ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("USE", ValueKind::Text),
    column("SEQUENCE", ValueKind::Integer),
];

const CUSTOM_FIELD_COLUMNS: [Column; 7] = [
    column("UID", ValueKind::Integer),
    column("FIELD_ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("LABEL", ValueKind::Text),
    column("TYPE", ValueKind::Integer),
    column("VALUE", ValueKind::Text),
    column("DISPLAY", ValueKind::Text),
];

/// What stands before the attributes in a delta.
const DELTA_PREFIX_COLUMNS: [Column; 3] = [
    column("_seq", ValueKind::Integer),
    column("_op", ValueKind::Text),
    column("_observed_at", ValueKind::Text),
];

impl SnapshotTable {
    /// All of them.
    pub const ALL: [SnapshotTable; 4] = [
        SnapshotTable::Tickets,
        SnapshotTable::Statuses,
        SnapshotTable::TicketTypes,
        SnapshotTable::CustomFields,
    ];

    /// Its name in the database, which is the name of its file too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SnapshotTable::Tickets => "tickets",
            SnapshotTable::Statuses => "statuses",
            SnapshotTable::TicketTypes => "ticket_types",
            SnapshotTable::CustomFields => "custom_fields",
        }
    }

    /// Its columns; rows are in the order of the first ones, which are its key.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            SnapshotTable::Tickets => attribute_columns().collect(),
            SnapshotTable::Statuses => STATUS_COLUMNS.to_vec(),
            SnapshotTable::TicketTypes => TICKET_TYPE_COLUMNS.to_vec(),
            SnapshotTable::CustomFields => CUSTOM_FIELD_COLUMNS.to_vec(),
        }
    }
}

/// The columns of a delta, with the custom fields where they are copied.
#[must_use]
pub fn delta_columns(custom_fields: bool) -> Vec<Column> {
    let fields = custom_fields.then_some(column(CUSTOM_FIELDS_COLUMN, ValueKind::Text));
    DELTA_PREFIX_COLUMNS.into_iter().chain(attribute_columns()).chain(fields).collect()
}

fn attribute_columns() -> impl Iterator<Item = Column> {
    ATTRIBUTES.iter().map(|attribute| Column { name: attribute.name, kind: attribute.kind })
}
