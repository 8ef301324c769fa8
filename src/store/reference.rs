//! Reference tables: names for the numbers of statuses and ticket types.

use std::borrow::Cow;
use std::collections::HashMap;

use rusqlite::OptionalExtension as _;
use rusqlite::types::FromSql;

use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::parse::{ReferenceDetails, ReferenceItem};

impl ReadTx<'_> {
    /// The names of the statuses by id.
    pub fn status_names(&self) -> Result<HashMap<i64, String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT ID, NAME FROM statuses")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The ticket types, ascending by id, without details.
    pub fn ticket_types(&self) -> Result<Vec<ReferenceItem>, StoreError> {
        let mut statement = self.connection.prepare("SELECT ID, NAME FROM ticket_types ORDER BY ID")?;
        let types = statement.query_map([], |row| {
            Ok(ReferenceItem { id: row.get(0)?, name: row.get(1)?, details: ReferenceDetails::default() })
        })?;
        Ok(types.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Replaces the ticket types.
    pub fn replace_ticket_types(&self, types: &[ReferenceItem]) -> Result<(), StoreError> {
        let types = self.with_last_good_details("ticket_types", types)?;
        self.connection.execute("DELETE FROM ticket_types", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO ticket_types (ID, NAME, \"USE\", SEQUENCE) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for ReferenceItem { id, name, details } in &*types {
            insert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        Ok(())
    }

    /// The items with the stored details instead of those that cannot be read.
    pub(super) fn with_last_good_details<'i>(
        &self,
        table: &str,
        items: &'i [ReferenceItem],
    ) -> Result<Cow<'i, [ReferenceItem]>, StoreError> {
        let mut items = Cow::Borrowed(items);
        for index in 0..items.len() {
            if items[index].details.rejected_columns.is_empty() {
                continue;
            }
            let ReferenceItem { id, details, .. } = &mut items.to_mut()[index];
            for column in details.rejected_columns.clone() {
                match (table, column) {
                    (_, "SEQUENCE") => details.sequence = self.stored_detail(table, column, *id)?,
                    ("statuses", "TYPE") => details.kind = self.stored_detail(table, column, *id)?,
                    ("statuses", "COLOUR") => details.color = self.stored_detail(table, column, *id)?,
                    ("ticket_types", "USE") => details.usage = self.stored_detail(table, column, *id)?,
                    // The table has no such column.
                    _ => {}
                }
            }
        }
        Ok(items)
    }

    fn stored_detail<T: FromSql>(&self, table: &str, column: &str, id: i64) -> Result<Option<T>, StoreError> {
        let mut select =
            self.connection.prepare_cached(&format!("SELECT \"{column}\" FROM {table} WHERE ID = ?1"))?;
        Ok(select.query_row([id], |row| row.get::<_, Option<T>>(0)).optional()?.flatten())
    }
}
