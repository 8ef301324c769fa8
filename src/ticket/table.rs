//! Columns of exported files: the tables of a snapshot, and deltas.

use super::attribute::{ATTRIBUTES, ValueKind};
use super::change::CUSTOM_FIELDS_KEY as CUSTOM_FIELDS_COLUMN;

/// A column of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the column.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: ValueKind,
}

/// A table in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SnapshotTable {
    /// Current tickets.
    Tickets,
    /// Statuses.
    Statuses,
    /// Ticket types.
    TicketTypes,
    /// Custom fields of the tickets.
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

/// Columns before the attributes in a delta.
const DELTA_PREFIX_COLUMNS: [Column; 3] = [
    column("_seq", ValueKind::Integer),
    column("_op", ValueKind::Text),
    column("_observed_at", ValueKind::Text),
];

impl SnapshotTable {
    /// All tables.
    pub const ALL: [SnapshotTable; 4] = [
        SnapshotTable::Tickets,
        SnapshotTable::Statuses,
        SnapshotTable::TicketTypes,
        SnapshotTable::CustomFields,
    ];

    /// Returns the name of the table in the database and of its file, without extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the columns, the key first. Rows are sorted by the key.
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

/// Returns the columns of a delta; `custom_fields` adds the column of the custom fields.
#[must_use]
pub fn delta_columns(custom_fields: bool) -> Vec<Column> {
    let fields = custom_fields.then_some(column(CUSTOM_FIELDS_COLUMN, ValueKind::Text));
    DELTA_PREFIX_COLUMNS.into_iter().chain(attribute_columns()).chain(fields).collect()
}

fn attribute_columns() -> impl Iterator<Item = Column> {
    ATTRIBUTES.iter().map(|attribute| Column { name: attribute.name, kind: attribute.kind })
}
