//! The columns of `tickets` and `ticket_extra`: as SQL text, as parameters and as values.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, OptionalExtension as _, ToSql};

use crate::store::StoreError;
use crate::ticket::attribute::{ATTRIBUTE_COUNT, EXTRA_COUNT, SOURCE_LAST_MODIFIED, STORED_COUNT, UID};
use crate::ticket::{ATTRIBUTES, AttributeValue, CellValue, ExtraSet};

/// The text of `SOURCE_LAST_MODIFIED` in a row.
pub(super) fn last_modified(row: &[AttributeValue]) -> Option<&str> {
    match &row[SOURCE_LAST_MODIFIED] {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

/// Runs a statement with values as its parameters; returns how many rows it wrote.
pub(super) fn bind_and_execute(
    statement: &mut CachedStatement<'_>,
    values: &[AttributeValue],
) -> Result<usize, StoreError> {
    for (position, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(position + 1, CellParam(value.as_cell()))?;
    }
    let changed = statement.raw_execute()?;
    // The copies that SQLite made of the texts.
    statement.clear_bindings();
    Ok(changed)
}

/// A cell as a borrowed parameter.
pub(in crate::store) struct CellParam<'a>(pub(in crate::store) CellValue<'a>);

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

/// The columns of `ticket_extra` that follow those of `tickets` in a stored row.
pub(in crate::store) static EXTRA_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let names = ExtraSet::ALL.columns().map(|name| format!("x.\"{name}\""));
    names.collect::<Vec<_>>().join(", ")
});

/// Joins the extras of a ticket `t`.
pub(in crate::store) const JOIN_EXTRA: &str = "LEFT JOIN ticket_extra x ON x.UID = t.UID";

pub(in crate::store) static SELECT_ROW: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {}, {} FROM tickets t {JOIN_EXTRA} WHERE t.UID = ?1", columns("t."), *EXTRA_COLUMNS)
});

/// Reads the stored row of a ticket with its extras by [`SELECT_ROW`]; `None` if there is none.
pub(in crate::store) fn read_row(
    select_row: &mut CachedStatement<'_>,
    id: i64,
) -> Result<Option<Vec<AttributeValue>>, StoreError> {
    let row = select_row.query_row([id], |row| {
        (0..STORED_COUNT).map(|position| Ok(cell(row.get_ref(position)?).into())).collect()
    });
    Ok(row.optional()?)
}

/// Writes the extras of a ticket; the last parameter is its id.
pub(super) static UPSERT_EXTRA: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<_> = ExtraSet::ALL.columns().collect();
    let placeholders: Vec<_> = (1..=EXTRA_COUNT + 1).map(|number| format!("?{number}")).collect();
    let sets: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO ticket_extra ({}, UID) VALUES ({}) ON CONFLICT (UID) DO UPDATE SET {}",
        names.join(", "),
        placeholders.join(", "),
        sets.join(", ")
    )
});

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
