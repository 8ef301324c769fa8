//! The columns of `tickets`: as SQL text, as parameters and as values.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ToSql};

use crate::store::StoreError;
use crate::ticket::attribute::{ATTRIBUTE_COUNT, SOURCE_LAST_MODIFIED, UID};
use crate::ticket::{ATTRIBUTES, AttributeValue, CellValue, Ticket};

/// The text of `SOURCE_LAST_MODIFIED` in a row.
pub(super) fn last_modified(row: &[AttributeValue]) -> Option<&str> {
    match &row[SOURCE_LAST_MODIFIED] {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

/// Runs a statement with the attributes as its parameters; returns how many rows it wrote.
pub(super) fn bind_and_execute(
    statement: &mut CachedStatement<'_>,
    ticket: &Ticket,
) -> Result<usize, StoreError> {
    for (position, value) in ticket.values().iter().enumerate() {
        statement.raw_bind_parameter(position + 1, CellParam(value.as_cell()))?;
    }
    let changed = statement.raw_execute()?;
    // The copies that SQLite made of the texts.
    statement.clear_bindings();
    Ok(changed)
}

/// A cell as a borrowed parameter.
struct CellParam<'a>(CellValue<'a>);

impl ToSql for CellParam<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            CellValue::Null => ValueRef::Null,
            CellValue::Integer(number) => ValueRef::Integer(number),
            CellValue::Real(number) => ValueRef::Real(number),
            CellValue::Text(text) | CellValue::Json(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Converts a value of SQLite to a cell. Blobs and invalid UTF-8 become NULL; no column can contain them.
pub(in crate::store) fn cell(value: ValueRef<'_>) -> CellValue<'_> {
    match value {
        ValueRef::Integer(number) => CellValue::Integer(number),
        ValueRef::Real(number) => CellValue::Real(number),
        ValueRef::Text(text) => std::str::from_utf8(text).map_or(CellValue::Null, CellValue::Text),
        ValueRef::Null | ValueRef::Blob(_) => CellValue::Null,
    }
}

/// The attributes as a list of column names, each with `prefix`.
pub(in crate::store) fn columns(prefix: &str) -> String {
    let names = ATTRIBUTES.iter().map(|attribute| format!("{prefix}\"{}\"", attribute.name));
    names.collect::<Vec<_>>().join(", ")
}

pub(super) static SELECT_ROW: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM tickets WHERE UID = ?1", columns("")));

pub(super) static INSERT: LazyLock<String> = LazyLock::new(|| {
    let placeholders: Vec<_> = (1..=ATTRIBUTE_COUNT).map(|number| format!("?{number}")).collect();
    let (columns, placeholders) = (columns(""), placeholders.join(", "));
    format!("INSERT INTO tickets ({columns}) VALUES ({placeholders}) ON CONFLICT (UID) DO NOTHING")
});

pub(super) static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let mut sets = String::new();
    for (position, attribute) in ATTRIBUTES.iter().enumerate().filter(|(position, _)| *position != UID) {
        let comma = if sets.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(sets, "{comma}\"{}\" = ?{}", attribute.name, position + 1);
    }
    format!("UPDATE tickets SET {sets} WHERE UID = ?{}", UID + 1)
});
