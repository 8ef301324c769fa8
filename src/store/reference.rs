//! Reference tables: names for the numbers of statuses and ticket types.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::OptionalExtension as _;
use rusqlite::types::FromSql;

use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;
use crate::ticket::parse::{ParsedItems, ReferenceDetails, ReferenceItem};

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

    /// How many statuses the server listed last.
    pub fn present_statuses(&self) -> Result<u64, StoreError> {
        self.present_rows("SELECT COUNT(*) FROM statuses WHERE PRESENT")
    }

    /// How many ticket types the server listed last.
    pub fn present_ticket_types(&self) -> Result<u64, StoreError> {
        self.present_rows("SELECT COUNT(*) FROM ticket_types WHERE PRESENT")
    }

    fn present_rows(&self, sql: &str) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

impl WriteTx<'_> {
    /// Updates the ticket types. One that is no longer listed keeps its row; where elements could not be read, none counts
    /// as no longer listed.
    pub fn update_ticket_types(
        &self,
        types: &ParsedItems<ReferenceItem>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let items = self.with_last_good_details("ticket_types", &types.items)?;
        if types.unreadable == 0 {
            self.connection.execute("UPDATE ticket_types SET PRESENT = 0", [])?;
        }
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO ticket_types (ID, NAME, \"USE\", SEQUENCE, PRESENT) VALUES (?1, ?2, ?3, ?4, 1)
             ON CONFLICT (ID) DO UPDATE SET NAME = excluded.NAME, \"USE\" = excluded.\"USE\",
                 SEQUENCE = excluded.SEQUENCE, PRESENT = 1",
        )?;
        for ReferenceItem { id, name, details } in &*items {
            upsert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        self.replace_rejected_items("ticket_types", types, now)
    }

    /// Updates the statuses, and the status names of the tickets whose status was renamed, each with a change record.
    /// One that is no longer listed keeps its row; where elements could not be read, none counts as no longer listed.
    /// `closed` are the ids that count as closed, if the server says so. Returns how many tickets changed.
    pub fn update_statuses(
        &self,
        statuses: &ParsedItems<ReferenceItem>,
        closed: Option<&HashSet<i64>>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let old = self.as_read_tx().status_names()?;
        let items = self.with_last_good_details("statuses", &statuses.items)?;
        if statuses.unreadable == 0 {
            self.connection.execute("UPDATE statuses SET PRESENT = 0", [])?;
        }
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO statuses (ID, NAME, TYPE, SEQUENCE, COLOUR, CLOSED, PRESENT) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)
             ON CONFLICT (ID) DO UPDATE SET NAME = excluded.NAME, TYPE = excluded.TYPE, SEQUENCE = excluded.SEQUENCE,
                 COLOUR = excluded.COLOUR, CLOSED = excluded.CLOSED, PRESENT = 1",
        )?;
        let mut names = BTreeMap::new();
        for ReferenceItem { id, name, details } in &*items {
            let closed = closed.map(|closed| closed.contains(id));
            upsert.execute((id, name, details.kind, details.sequence, &details.color, closed))?;
            names.insert(*id, name);
        }
        self.replace_rejected_items("statuses", statuses, now)?;
        let mut renamed = 0;
        for (id, name) in names.into_iter().filter(|(id, name)| old.get(id) != Some(*name)) {
            renamed += self.rename_status(id, name, run_id, now)?;
        }
        Ok(renamed)
    }

    /// The items with the stored details instead of those that cannot be read.
    fn with_last_good_details<'i>(
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
