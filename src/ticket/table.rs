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
    /// Known custom fields.
    FieldDefinitions,
    /// Deleted tickets: why, when, and the last known row.
    DeletedTickets,
}

const fn column(name: &'static str, kind: ValueKind) -> Column {
    Column { name, kind }
}

const STATUS_COLUMNS: [Column; 7] = [
    column("ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("TYPE", ValueKind::Integer),
    column("SEQUENCE", ValueKind::Integer),
    column("COLOUR", ValueKind::Text),
    column("CLOSED", ValueKind::Boolean),
    column("PRESENT", ValueKind::Boolean),
];

const TICKET_TYPE_COLUMNS: [Column; 5] = [
    column("ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("USE", ValueKind::Text),
    column("SEQUENCE", ValueKind::Integer),
    column("PRESENT", ValueKind::Boolean),
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

const FIELD_DEFINITION_COLUMNS: [Column; 4] = [
    column("FIELD_ID", ValueKind::Integer),
    column("NAME", ValueKind::Text),
    column("LABEL", ValueKind::Text),
    column("TYPE", ValueKind::Integer),
];

const DELETED_TICKET_COLUMNS: [Column; 12] = [
    column("UID", ValueKind::Integer),
    column("REASON", ValueKind::Text),
    column("SEEN_AT", ValueKind::Timestamp),
    column("NAME", ValueKind::Text),
    column("STATUS", ValueKind::Text),
    column("TEAM", ValueKind::Text),
    column("AGENT_ID", ValueKind::Integer),
    column("CLIENT_NAME", ValueKind::Text),
    column("USER_NAME", ValueKind::Text),
    column("MERGED_INTO_ID", ValueKind::Integer),
    column("SOURCE_LAST_MODIFIED", ValueKind::Timestamp),
    column("LAST_ROW", ValueKind::Text),
];

/// Column of a delta with the sequence number of the ticket's newest change record.
pub const SEQ_COLUMN: &str = "_seq";

/// Column of a delta with what happened to the ticket.
pub const OP_COLUMN: &str = "_op";

/// Columns before the attributes in a delta.
const DELTA_PREFIX_COLUMNS: [Column; 4] = [
    column(SEQ_COLUMN, ValueKind::Integer),
    column(OP_COLUMN, ValueKind::Text),
    column("_observed_at", ValueKind::Timestamp),
    column("_reason", ValueKind::Text),
];

/// Columns that are exported whichever columns are selected: the keys, and what tells what happened.
const ALWAYS_EXPORTED: [&str; 7] =
    [SEQ_COLUMN, OP_COLUMN, "_observed_at", "_reason", "UID", "REASON", "SEEN_AT"];

impl Column {
    /// Whether it is exported whichever columns are selected.
    #[must_use]
    pub fn is_always_exported(&self) -> bool {
        ALWAYS_EXPORTED.contains(&self.name)
    }
}

impl SnapshotTable {
    /// All tables.
    pub const ALL: [SnapshotTable; 6] = [
        SnapshotTable::Tickets,
        SnapshotTable::Statuses,
        SnapshotTable::TicketTypes,
        SnapshotTable::CustomFields,
        SnapshotTable::FieldDefinitions,
        SnapshotTable::DeletedTickets,
    ];

    /// Returns the name of the table in the database and of its file, without extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the columns of the key, by which rows are sorted.
    #[must_use]
    pub fn key(self) -> &'static [&'static str] {
        match self {
            SnapshotTable::Tickets | SnapshotTable::DeletedTickets => &["UID"],
            SnapshotTable::Statuses | SnapshotTable::TicketTypes => &["ID"],
            SnapshotTable::CustomFields => &["UID", "FIELD_ID"],
            SnapshotTable::FieldDefinitions => &["FIELD_ID"],
        }
    }

    /// Returns the columns.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            SnapshotTable::Tickets => attribute_columns().collect(),
            SnapshotTable::Statuses => STATUS_COLUMNS.to_vec(),
            SnapshotTable::TicketTypes => TICKET_TYPE_COLUMNS.to_vec(),
            SnapshotTable::CustomFields => CUSTOM_FIELD_COLUMNS.to_vec(),
            SnapshotTable::FieldDefinitions => FIELD_DEFINITION_COLUMNS.to_vec(),
            SnapshotTable::DeletedTickets => DELETED_TICKET_COLUMNS.to_vec(),
        }
    }
}

/// Returns the columns of a delta.
#[must_use]
pub fn delta_columns() -> Vec<Column> {
    let fields = column(CUSTOM_FIELDS_COLUMN, ValueKind::Text);
    DELTA_PREFIX_COLUMNS.into_iter().chain(attribute_columns()).chain([fields]).collect()
}

fn attribute_columns() -> impl Iterator<Item = Column> {
    ATTRIBUTES.iter().map(|attribute| Column { name: attribute.name, kind: attribute.kind })
}
