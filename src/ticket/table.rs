//! Columns of exported files, and which of them a delta has.

use super::attribute::{ATTRIBUTES, ValueKind};
use super::change::{CUSTOM_FIELDS_KEY as CUSTOM_FIELDS_COLUMN, EXTRA_KEY as EXTRA_COLUMN};

/// A column of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the column.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: ValueKind,
}

impl Column {
    /// Returns a column.
    #[must_use]
    pub const fn new(name: &'static str, kind: ValueKind) -> Column {
        Column { name, kind }
    }

    /// Whether it is exported whichever columns are selected.
    #[must_use]
    pub fn is_always_exported(&self) -> bool {
        ALWAYS_EXPORTED.contains(&self.name)
    }
}

/// Column of a delta with the sequence number of the ticket's newest change record.
pub const SEQ_COLUMN: &str = "_seq";

/// Column of a delta with what happened to the ticket.
pub const OP_COLUMN: &str = "_op";

/// Columns before the attributes in a delta.
const DELTA_PREFIX_COLUMNS: [Column; 4] = [
    Column::new(SEQ_COLUMN, ValueKind::Integer),
    Column::new(OP_COLUMN, ValueKind::Text),
    Column::new("_observed_at", ValueKind::Timestamp),
    Column::new("_reason", ValueKind::Text),
];

/// Columns that are exported whichever columns are selected: the keys, and what tells what happened.
const ALWAYS_EXPORTED: [&str; 7] =
    [SEQ_COLUMN, OP_COLUMN, "_observed_at", "_reason", "UID", "REASON", "SEEN_AT"];

/// Returns the columns of a delta.
#[must_use]
pub fn delta_columns() -> Vec<Column> {
    let json = [EXTRA_COLUMN, CUSTOM_FIELDS_COLUMN].map(|name| Column::new(name, ValueKind::Text));
    DELTA_PREFIX_COLUMNS.into_iter().chain(attribute_columns()).chain(json).collect()
}

/// Returns the columns of `tickets`.
pub fn attribute_columns() -> impl Iterator<Item = Column> {
    ATTRIBUTES.iter().map(|attribute| Column { name: attribute.name, kind: attribute.kind })
}
