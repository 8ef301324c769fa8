//! Reference tables: names for the numbers of statuses and ticket types.

use std::collections::HashMap;

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
        self.connection.execute("DELETE FROM ticket_types", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO ticket_types (ID, NAME, \"USE\", SEQUENCE) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for ReferenceItem { id, name, details } in types {
            insert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        Ok(())
    }
}
