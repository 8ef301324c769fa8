//! Reference tables: names for numbers. One set of statements, made from [`REFERENCE_TABLES`], serves all of them.
//!
//! A row that is no longer listed stays, because tickets may still name it.
//!
//! [`REFERENCE_TABLES`]: crate::reference::REFERENCE_TABLES

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use roaring::RoaringTreemap;
use rusqlite::{OptionalExtension as _, Row, params_from_iter};
use strum::{EnumString, IntoStaticStr};

use super::tx::{parse_timestamp, parse_word};
use super::upsert::{CellParam, cell};
use super::{ReadTx, StoreError, WriteTx};
use crate::reference::{PRESENT, REFERENCE_TABLES, ReferenceItem, ReferenceRow, ReferenceTable, STATUSES};
use crate::ticket::parse::ParsedItems;
use crate::ticket::{AttributeValue, Timestamp};

/// What came of reading the list of a reference table (`reference_lists.result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ReferenceResult {
    /// It was read.
    Listed,
    /// It is read page by page, and not yet to its end.
    Partial,
    /// The server refuses to show it.
    Forbidden,
    /// The server has no such list.
    Missing,
    /// It was empty, although rows are stored, or although every server has some.
    Empty,
    /// It had fewer than half of the stored rows.
    Shrunk,
    /// Its pages did not have all of its rows.
    Incomplete,
    /// The answer could not be read.
    Unreadable,
}

impl ReferenceResult {
    /// The word in `reference_lists.result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it says something about the server, so that the list is not requested again in the next run.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, ReferenceResult::Listed | ReferenceResult::Forbidden | ReferenceResult::Missing)
    }
}

impl fmt::Display for ReferenceResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ReferenceResult::Listed => "listed",
            ReferenceResult::Partial => "not yet read to its end",
            ReferenceResult::Forbidden => "refused by the server",
            ReferenceResult::Missing => "not known to the server",
            ReferenceResult::Empty => "empty; what is stored stays",
            ReferenceResult::Shrunk => "less than half of what is stored, which stays",
            ReferenceResult::Incomplete => "not complete; what is stored stays",
            ReferenceResult::Unreadable => "not readable; what is stored stays",
        })
    }
}

/// When a list was read last, and what came of it: a row of `reference_lists`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ReferenceList {
    /// What came of it.
    pub result: ReferenceResult,
    /// Why it could not be read.
    pub details: Option<String>,
    /// When, by the local clock.
    pub read_at: Timestamp,
    /// How many answers in succession changed nothing.
    #[serde(skip)]
    pub attempts: u32,
    /// Numbers that were looked up in vain, and that no later answer shows.
    #[serde(skip)]
    pub unknown_ids: BTreeSet<i64>,
    /// Where to continue with a partial list.
    #[serde(skip)]
    pub rest: Option<ReferenceRest>,
}

/// Where to continue with a list that is read page by page.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceRest {
    /// The next page, from 1.
    pub next_page: u32,
    /// The ids on the pages before.
    pub seen: RoaringTreemap,
    /// How many elements on them could not be read.
    pub unreadable: u64,
}

impl ReferenceRest {
    /// The whole list.
    #[must_use]
    pub fn from_start() -> ReferenceRest {
        ReferenceRest { next_page: 1, seen: RoaringTreemap::new(), unreadable: 0 }
    }
}

impl ReferenceList {
    /// A result without anything left to do.
    #[must_use]
    pub fn new(result: ReferenceResult, read_at: Timestamp) -> ReferenceList {
        ReferenceList {
            result,
            details: None,
            read_at,
            attempts: 0,
            unknown_ids: BTreeSet::new(),
            rest: None,
        }
    }
}

impl ReadTx<'_> {
    /// The names of the statuses by id; `None` where the name is held back.
    pub fn status_names(&self) -> Result<HashMap<i64, Option<String>>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT ID, NAME FROM statuses")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The ticket types, ascending by id.
    pub fn ticket_types(&self) -> Result<Vec<ReferenceItem>, StoreError> {
        let mut statement = self.connection.prepare("SELECT ID, NAME FROM ticket_types ORDER BY ID")?;
        let types = statement.query_map([], |row| {
            Ok(ReferenceItem { id: row.get(0)?, name: row.get::<_, Option<String>>(1)?.unwrap_or_default() })
        })?;
        Ok(types.collect::<Result<_, _>>()?)
    }

    /// The ids of a table whose key is one number.
    pub fn reference_ids(&self, table: &ReferenceTable) -> Result<HashSet<i64>, StoreError> {
        let sql = format!("SELECT {} FROM {table}", table.key().collect::<Vec<_>>().join(", "));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// How many rows of a table the server listed last.
    pub fn present_rows(&self, table: &ReferenceTable) -> Result<u64, StoreError> {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE PRESENT");
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    /// Whether it is not known of some listed status whether it is closed, although it is of others.
    pub fn lacks_closed_flags(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM statuses WHERE PRESENT AND CLOSED IS NULL)
                   AND EXISTS (SELECT 1 FROM statuses WHERE CLOSED IS NOT NULL)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Whether a table has no rows.
    pub fn is_reference_empty(&self, table: &ReferenceTable) -> Result<bool, StoreError> {
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {table})");
        Ok(self.connection.query_row(&sql, [], |row| row.get(0))?)
    }

    /// When the list of a table was read last, and what came of it.
    pub fn reference_list(&self, table: &ReferenceTable) -> Result<Option<ReferenceList>, StoreError> {
        let sql = "SELECT result, details, read_at, unknown_ids, next_page, seen, unreadable, attempts FROM reference_lists
                   WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([table.name])?;
        rows.next()?.map(read_list).transpose()
    }

    /// The same for every table that was ever read.
    pub fn reference_lists(&self) -> Result<Vec<(&'static ReferenceTable, ReferenceList)>, StoreError> {
        let mut lists = Vec::new();
        for table in &REFERENCE_TABLES {
            lists.extend(self.reference_list(table)?.map(|list| (table, list)));
        }
        Ok(lists)
    }
}

fn read_list(row: &Row<'_>) -> Result<ReferenceList, StoreError> {
    let unknown_ids: Option<String> = row.get(3)?;
    let next_page: Option<u32> = row.get(4)?;
    let seen: Option<Vec<u8>> = row.get(5)?;
    let unreadable: Option<i64> = row.get(6)?;
    let rest = next_page.map(|next_page| {
        // Of a damaged set nothing is known: then the list is read from its beginning.
        match seen.map(|bytes| RoaringTreemap::deserialize_from(bytes.as_slice())) {
            Some(Ok(seen)) => {
                let unreadable = unreadable.unwrap_or(0).cast_unsigned();
                ReferenceRest { next_page, seen, unreadable }
            }
            _ => ReferenceRest::from_start(),
        }
    });
    Ok(ReferenceList {
        result: parse_word("reference_lists.result", &row.get::<_, String>(0)?)?,
        details: row.get(1)?,
        attempts: row.get(7)?,
        read_at: parse_timestamp(&row.get::<_, String>(2)?)?,
        unknown_ids: unknown_ids
            .iter()
            .flat_map(|ids| ids.split(','))
            .filter_map(|id| id.parse().ok())
            .collect(),
        rest,
    })
}

impl WriteTx<'_> {
    /// Updates the rows of a table. Those that do not differ are not written; where a value cannot be read, the stored one
    /// stays. Returns how many rows were written.
    pub fn update_reference(
        &self,
        table: &ReferenceTable,
        list: &ParsedItems<ReferenceRow>,
    ) -> Result<u64, StoreError> {
        let columns: Vec<_> = table.stored_columns().map(|it| format!("\"{}\"", it.name)).collect();
        let (names, key) = (columns.join(", "), key_condition(table));
        let mut select =
            self.connection.prepare_cached(&format!("SELECT {names} FROM {table} WHERE {key}"))?;
        let placeholders = vec!["?"; columns.len()].join(", ");
        let mut replace = self
            .connection
            .prepare_cached(&format!("INSERT OR REPLACE INTO {table} ({names}) VALUES ({placeholders})"))?;
        let mut written = 0;
        for row in &list.items {
            let stored: Option<Vec<AttributeValue>> = select
                .query_row(params_from_iter(row.key(table)), |stored| {
                    (0..columns.len()).map(|index| Ok(cell(stored.get_ref(index)?).into())).collect()
                })
                .optional()?;
            let mut values = row.values.clone();
            if let Some(stored) = &stored {
                for position in &row.rejected {
                    values[*position].clone_from(&stored[*position]);
                }
            }
            values.push(AttributeValue::Integer(1));
            if stored.as_ref() != Some(&values) {
                replace.execute(params_from_iter(values.iter().map(|it| CellParam(it.as_cell()))))?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Marks the rows that a whole list does not have: they are no longer present. Returns how many.
    pub fn mark_absent(
        &self,
        table: &ReferenceTable,
        is_listed: impl Fn(&[i64]) -> bool,
    ) -> Result<u64, StoreError> {
        let keys: Vec<_> = table.key().collect();
        let sql = format!("SELECT {} FROM {table} WHERE {}", keys.join(", "), PRESENT.name);
        let mut select = self.connection.prepare_cached(&sql)?;
        let present: Vec<Vec<i64>> = select
            .query_map([], |row| (0..keys.len()).map(|index| row.get(index)).collect())?
            .collect::<Result<_, _>>()?;
        let mut update = self.connection.prepare_cached(&format!(
            "UPDATE {table} SET {} = 0 WHERE {}",
            PRESENT.name,
            key_condition(table)
        ))?;
        let mut marked = 0;
        for key in present.into_iter().filter(|key| !is_listed(key)) {
            update.execute(params_from_iter(key))?;
            marked += 1;
        }
        Ok(marked)
    }

    /// Stores a whole list: its rows, what could not be read of it, which rows are no longer listed, and that it was read. An
    /// element that cannot be read may be any of those that seem to be missing. Returns how many tickets changed, because
    /// their status was renamed.
    pub fn store_reference_list(
        &self,
        table: &ReferenceTable,
        list: &ParsedItems<ReferenceRow>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut renamed = 0;
        if table == STATUSES {
            renamed = self.update_statuses(list, run_id, now)?;
        } else {
            self.update_reference(table, list)?;
        }
        self.replace_rejected_items(table.name, list, now)?;
        if list.unreadable == 0 {
            let keys: HashSet<_> = list.items.iter().map(|row| row.key(table)).collect();
            self.mark_absent(table, |key| keys.contains(key))?;
        }
        let mut read = ReferenceList::new(ReferenceResult::Listed, now);
        if let Some(stored) = self.as_read_tx().reference_list(table)? {
            // What this answer does not show either is not looked up before the next one.
            let listed: HashSet<_> = list.items.iter().filter_map(ReferenceRow::id).collect();
            read.unknown_ids = stored.unknown_ids.into_iter().filter(|id| !listed.contains(id)).collect();
        }
        self.record_reference_list(table, &read)?;
        Ok(renamed)
    }

    /// Updates the statuses, and the status names of the tickets whose status was renamed, each with a change record.
    /// Returns how many tickets changed.
    fn update_statuses(
        &self,
        statuses: &ParsedItems<ReferenceRow>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let old = self.as_read_tx().status_names()?;
        self.update_reference(STATUSES, statuses)?;
        let names: BTreeMap<_, _> =
            statuses.items.iter().filter_map(|row| Some((row.id()?, row.name(STATUSES)))).collect();
        let mut renamed = 0;
        for (id, name) in
            names.into_iter().filter(|(id, name)| old.get(id).map(Option::as_deref) != Some(*name))
        {
            renamed += self.rename_status(id, name, run_id, now)?;
        }
        Ok(renamed)
    }

    /// Records when the list of a table was read, and what came of it.
    pub fn record_reference_list(
        &self,
        table: &ReferenceTable,
        list: &ReferenceList,
    ) -> Result<(), StoreError> {
        let unknown: Vec<_> = list.unknown_ids.iter().map(ToString::to_string).collect();
        let unknown = (!unknown.is_empty()).then(|| unknown.join(","));
        let (mut next_page, mut seen, mut unreadable) = (None, None, None);
        if let Some(rest) = &list.rest {
            let mut bytes = Vec::new();
            rest.seen.serialize_into(&mut bytes).map_err(|error| StoreError::InvalidData {
                what: format!("a set of ids that cannot be written ({error})"),
            })?;
            (next_page, seen) = (Some(rest.next_page), Some(bytes));
            unreadable = Some(rest.unreadable.cast_signed());
        }
        self.connection.execute(
            "INSERT OR REPLACE INTO reference_lists
                 (name, result, details, read_at, unknown_ids, next_page, seen, unreadable, attempts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                table.name,
                list.result.as_str(),
                &list.details,
                list.read_at.to_string(),
                unknown,
                next_page,
                seen,
                unreadable,
                list.attempts,
            ),
        )?;
        Ok(())
    }

    /// Empties a table that is no longer read, and forgets when it was.
    pub fn clear_reference(&self, table: &ReferenceTable) -> Result<(), StoreError> {
        self.connection.execute(&format!("DELETE FROM {table}"), [])?;
        self.connection.execute("DELETE FROM reference_lists WHERE name = ?1", [table.name])?;
        self.connection.execute("DELETE FROM rejects WHERE UID IS NULL AND attribute = ?1", [table.name])?;
        Ok(())
    }
}

fn key_condition(table: &ReferenceTable) -> String {
    let conditions: Vec<_> =
        table.key().zip(1..).map(|(column, number)| format!("\"{column}\" = ?{number}")).collect();
    conditions.join(" AND ")
}
