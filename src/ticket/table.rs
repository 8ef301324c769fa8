//! What leaves the copy besides deltas: its tables, as columns and rows of cells.

use super::attribute::{ATTRIBUTES, Kind};
use super::change::CUSTOM_FIELDS as CUSTOM_FIELDS_COLUMN;

/// A column of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
}

/// A table that a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The present tickets.
    Tickets,
    /// The names of the statuses.
    Statuses,
    /// The names of the ticket types.
    TicketTypes,
    /// The custom fields of the tickets.
    CustomFields,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

const STATUSES: [Column; 6] = [
    column("ID", Kind::Integer),
    column("NAME", Kind::Text),
    column("TYPE", Kind::Integer),
    column("SEQUENCE", Kind::Integer),
    column("COLOUR", Kind::Text),
    column("CLOSED", Kind::Boolean),
];

const TICKET_TYPES: [Column; 4] = [
    column("ID", Kind::Integer),
    column("NAME", Kind::Text),
    column("USE", Kind::Text),
    column("SEQUENCE", Kind::Integer),
];

const CUSTOM_FIELDS: [Column; 7] = [
    column("UID", Kind::Integer),
    column("FIELD_ID", Kind::Integer),
    column("NAME", Kind::Text),
    column("LABEL", Kind::Text),
    column("TYPE", Kind::Integer),
    column("VALUE", Kind::Text),
    column("DISPLAY", Kind::Text),
];

/// What stands before the attributes in a delta.
const DELTA: [Column; 3] =
    [column("_seq", Kind::Integer), column("_op", Kind::Text), column("_observed_at", Kind::Text)];

impl Table {
    /// All of them.
    pub const ALL: [Table; 4] = [Table::Tickets, Table::Statuses, Table::TicketTypes, Table::CustomFields];

    /// Its name in the database, which is the name of its file too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Table::Tickets => "tickets",
            Table::Statuses => "statuses",
            Table::TicketTypes => "ticket_types",
            Table::CustomFields => "custom_fields",
        }
    }

    /// Its columns; rows are in the order of the first ones, which are its key.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            Table::Tickets => attributes().collect(),
            Table::Statuses => STATUSES.to_vec(),
            Table::TicketTypes => TICKET_TYPES.to_vec(),
            Table::CustomFields => CUSTOM_FIELDS.to_vec(),
        }
    }
}

/// The columns of a delta, with the custom fields where they are copied.
#[must_use]
pub fn delta_columns(custom_fields: bool) -> Vec<Column> {
    let fields = custom_fields.then_some(column(CUSTOM_FIELDS_COLUMN, Kind::Text));
    DELTA.into_iter().chain(attributes()).chain(fields).collect()
}

fn attributes() -> impl Iterator<Item = Column> {
    ATTRIBUTES.iter().map(|attribute| Column { name: attribute.name, kind: attribute.kind })
}
