//! Where an unfinished full scan can be resumed.

use roaring::RoaringTreemap;
use rusqlite::OptionalExtension as _;

use super::tx::{parse_optional_timestamp, parse_timestamp};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::RejectedValue;
use crate::ticket::Timestamp;
use crate::ticket::parse::RejectedRow;

/// What one commit of a full scan received, and where the scan continues behind it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanCheckpoint {
    /// The index of the list being read, where a scan reads several lists one after another.
    pub part: u32,
    /// The greatest id committed.
    pub cursor: Option<i64>,
    /// The start of the scan by the server's clock.
    pub server_started_at: Option<Timestamp>,
    /// The ids received since the previous checkpoint.
    pub ids: RoaringTreemap,
    /// Those of them received in an older version than the stored one.
    pub older: RoaringTreemap,
    /// All rows without a usable id that the list showed so far, each with the number of its page: nothing shows them again
    /// behind the cursor.
    pub rejected_rows: Vec<(u32, RejectedRow)>,
}

/// A full scan that was interrupted and can be resumed.
#[derive(Clone, Debug, PartialEq)]
pub struct InterruptedScan {
    /// Its number.
    pub scan_id: i64,
    /// When it began, by the local clock.
    pub started_at: Timestamp,
    /// Where it continues; the ids are those of all commits of the list that it was reading.
    pub checkpoint: ScanCheckpoint,
    /// The ids of the lists that it had read before.
    pub earlier_list_ids: RoaringTreemap,
    /// The rows without a usable id of those lists.
    pub earlier_rejected_rows: Vec<(u32, RejectedRow)>,
}

impl InterruptedScan {
    /// The number of tickets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.checkpoint.ids.len() + self.earlier_list_ids.len()
    }
}

impl ReadTx<'_> {
    /// The full scan that can be resumed, if any.
    pub fn interrupted_scan(&self) -> Result<Option<InterruptedScan>, StoreError> {
        let scan: Option<(i64, String)> = self
            .connection
            .query_row(
                "SELECT scan_id, started_at FROM scans WHERE outcome IS NULL AND EXISTS
                     (SELECT 1 FROM scan_checkpoints WHERE scan_checkpoints.scan_id = scans.scan_id)
                 ORDER BY scan_id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((scan_id, started_at)) = scan else { return Ok(None) };
        let started_at = parse_timestamp(&started_at)?;
        let mut statement = self.connection.prepare(
            "SELECT part, cursor, server_started_at, ids, older, rejected_rows FROM scan_checkpoints
             WHERE scan_id = ?1 ORDER BY rowid",
        )?;
        let mut rows = statement.query([scan_id])?;
        let (mut checkpoint, mut earlier_list_ids) = (ScanCheckpoint::default(), RoaringTreemap::new());
        let mut earlier_rejected_rows = Vec::new();
        while let Some(row) = rows.next()? {
            let part = row.get(0)?;
            if part != checkpoint.part {
                earlier_list_ids |= std::mem::take(&mut checkpoint.ids);
                earlier_rejected_rows.append(&mut checkpoint.rejected_rows);
            }
            (checkpoint.part, checkpoint.cursor) = (part, row.get(1)?);
            checkpoint.server_started_at = parse_optional_timestamp(row.get(2)?)?;
            checkpoint.ids |= deserialize_ids(row.get_ref(3)?.as_blob().unwrap_or_default())?;
            checkpoint.older |= deserialize_ids(row.get_ref(4)?.as_blob().unwrap_or_default())?;
            if let Some(rows) = row.get::<_, Option<String>>(5)? {
                checkpoint.rejected_rows = deserialize_rows(&rows)?;
            }
        }
        Ok(Some(InterruptedScan { scan_id, started_at, checkpoint, earlier_list_ids, earlier_rejected_rows }))
    }
}

impl WriteTx<'_> {
    /// Adds a checkpoint to a scan; `None` deletes its checkpoints.
    pub fn record_checkpoint(
        &self,
        scan_id: i64,
        checkpoint: Option<&ScanCheckpoint>,
    ) -> Result<(), StoreError> {
        let Some(checkpoint) = checkpoint else {
            self.connection
                .prepare_cached("DELETE FROM scan_checkpoints WHERE scan_id = ?1")?
                .execute([scan_id])?;
            return Ok(());
        };
        let (ids, older) = (serialize_ids(&checkpoint.ids)?, serialize_ids(&checkpoint.older)?);
        let server_started_at = checkpoint.server_started_at.map(|at| at.to_string());
        let rows = &checkpoint.rejected_rows;
        let rejected_rows = if rows.is_empty() { None } else { Some(serialize_rows(rows)) };
        if rejected_rows.is_some() {
            // The newest checkpoint of a list has all of them.
            self.connection
                .prepare_cached(
                    "UPDATE scan_checkpoints SET rejected_rows = NULL
                     WHERE scan_id = ?1 AND part = ?2 AND rejected_rows IS NOT NULL",
                )?
                .execute((scan_id, checkpoint.part))?;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO scan_checkpoints (scan_id, part, cursor, server_started_at, ids, older, rejected_rows)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((scan_id, checkpoint.part, checkpoint.cursor, server_started_at, ids, older, rejected_rows))?;
        Ok(())
    }
}

impl WriteTx<'_> {
    /// Drops the texts of the rejected rows of interrupted scans.
    pub(super) fn drop_checkpoint_texts(&self) -> Result<(), StoreError> {
        let sql = "SELECT rowid, rejected_rows FROM scan_checkpoints WHERE rejected_rows IS NOT NULL";
        let mut select = self.connection.prepare(sql)?;
        let kept: Vec<(i64, String)> =
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        for (rowid, text) in kept {
            let mut rows = deserialize_rows(&text)?;
            for (_, row) in &mut rows {
                row.rejected.raw.clear();
            }
            self.connection.execute(
                "UPDATE scan_checkpoints SET rejected_rows = ?2 WHERE rowid = ?1",
                (rowid, serialize_rows(&rows)),
            )?;
        }
        Ok(())
    }
}

fn deserialize_ids(bytes: &[u8]) -> Result<RoaringTreemap, StoreError> {
    RoaringTreemap::deserialize_from(bytes).map_err(|error| invalid_ids(&error))
}

fn serialize_ids(ids: &RoaringTreemap) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ids.serialize_into(&mut bytes).map_err(|error| invalid_ids(&error))?;
    Ok(bytes)
}

/// A row without an id as a checkpoint keeps it: its page, the ticket before it, why it was rejected, its text.
type KeptRow = (u32, Option<i64>, String, String);

fn serialize_rows(rows: &[(u32, RejectedRow)]) -> String {
    let kept = |(page, row): &(u32, RejectedRow)| {
        let RejectedValue { reason, raw } = &row.rejected;
        serde_json::json!([page, row.after_id, reason, raw])
    };
    rows.iter().map(kept).collect::<serde_json::Value>().to_string()
}

fn deserialize_rows(text: &str) -> Result<Vec<(u32, RejectedRow)>, StoreError> {
    let rows: Vec<KeptRow> = serde_json::from_str(text).map_err(|error| StoreError::InvalidData {
        what: format!("invalid rejected rows of a scan ({error})"),
    })?;
    let row = |(page, after_id, reason, raw): KeptRow| {
        (page, RejectedRow { rejected: RejectedValue { reason: reason.into(), raw }, after_id })
    };
    Ok(rows.into_iter().map(row).collect())
}

fn invalid_ids(error: &std::io::Error) -> StoreError {
    StoreError::InvalidData { what: format!("invalid ids of a scan ({error})") }
}
