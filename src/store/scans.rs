//! Walks: how far each of them came, how it ended, and where an unfinished one can be taken up again.

use roaring::RoaringTreemap;
use rusqlite::OptionalExtension as _;

use super::watermark::parse_timestamp;
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::ScanKind;

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// Nothing that stood in the list all the while is missing.
    Verified,
    /// The same, and it found nothing that the walks before it should have brought.
    Confirmed,
    /// Something may be missing.
    Incomplete,
    /// The server counts other tickets than it shows, again and again, or does not count them.
    CountMismatch,
    /// It could not go on.
    Failed,
}

impl ScanOutcome {
    /// Its word in `walks.outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ScanOutcome::Verified => "verified",
            ScanOutcome::Confirmed => "confirmed",
            ScanOutcome::Incomplete => "incomplete",
            ScanOutcome::CountMismatch => "count_mismatch",
            ScanOutcome::Failed => "failed",
        }
    }
}

/// What a walk has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Pages, those read again included.
    pub pages: u64,
    /// Different ids.
    pub unique_ids: u64,
    /// The last count that the server claimed.
    pub record_count: Option<u64>,
    /// Whether that count was ever lower than before.
    pub count_fell: bool,
    /// How often the list was read.
    pub reads: u32,
}

/// A walk that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastScan {
    /// `full` or `following`.
    pub kind: String,
    /// The word of its outcome.
    pub outcome: String,
    /// What it read.
    pub stats: ScanStats,
}

/// The full walk that was last counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFullScan {
    /// When it ended, by the local clock.
    pub ended_at: Timestamp,
    /// `counted`, or `confirmed` where it agreed with the walks before it.
    pub outcome: String,
}

/// What one commit of a full walk received, and how far it came with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanCheckpoint {
    /// Which of the lists that it reads one after another.
    pub part: u32,
    /// The greatest id committed.
    pub cursor: Option<i64>,
    /// The start of the walk by the server's clock.
    pub server_started_at: Option<Timestamp>,
    /// The ids received, those of earlier commits left out.
    pub ids: RoaringTreemap,
    /// Those of them that were shown in an older version than the stored one.
    pub older: RoaringTreemap,
}

/// A full walk that did not come to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct InterruptedScan {
    /// Its number.
    pub scan_id: i64,
    /// When it began, by the local clock.
    pub started_at: Timestamp,
    /// How far it came in the list that it was reading; its ids are those of all commits.
    pub checkpoint: ScanCheckpoint,
    /// The ids of the lists that it had read before.
    pub earlier_list_ids: RoaringTreemap,
}

impl ReadTx<'_> {
    /// The last full walk that was counted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn last_full_scan(&self) -> Result<Option<LastFullScan>, StoreError> {
        let scan: Option<(Option<String>, String)> = self
            .connection
            .query_row(
                // The last one and not the latest: the local clock may have been set back since.
                "SELECT ended_at, outcome FROM scans
                 WHERE kind = 'full' AND outcome IN ('verified', 'confirmed') ORDER BY scan_id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((ended_at, outcome)) = scan else { return Ok(None) };
        Ok(parse_timestamp(ended_at)?.map(|ended_at| LastFullScan { ended_at, outcome }))
    }

    /// Whether the last counted full walk was the first of its scope and was interrupted, or tickets
    /// left while it read.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn should_confirm_initial_load(&self) -> Result<bool, StoreError> {
        let last = self.connection.query_row(
            "SELECT is_initial AND (resumed OR count_fell) FROM scans
             WHERE kind = 'full' AND outcome IN ('verified', 'confirmed') ORDER BY scan_id DESC LIMIT 1",
            [],
            |row| row.get(0),
        );
        Ok(last.optional()?.unwrap_or(false))
    }

    /// The last walk that ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn last_scan(&self) -> Result<Option<LastScan>, StoreError> {
        let sql = "SELECT kind, outcome, pages, unique_ids, record_count, count_fell, reads FROM scans
                   WHERE outcome IS NOT NULL ORDER BY scan_id DESC LIMIT 1";
        let scan = self.connection.query_row(sql, [], |row| {
            let stats = ScanStats {
                pages: row.get::<_, i64>(2)?.cast_unsigned(),
                unique_ids: row.get::<_, i64>(3)?.cast_unsigned(),
                record_count: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
                count_fell: row.get(5)?,
                reads: row.get(6)?,
            };
            Ok(LastScan { kind: row.get(0)?, outcome: row.get(1)?, stats })
        });
        Ok(scan.optional()?)
    }

    /// The full walk that can be taken up again, where there is one.
    ///
    /// # Errors
    /// [`StoreError`]
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
        let Some(started_at) = parse_timestamp(Some(started_at))? else { return Ok(None) };
        let mut statement = self.connection.prepare(
            "SELECT part, cursor, server_started_at, ids, older FROM scan_checkpoints WHERE scan_id = ?1 ORDER BY rowid",
        )?;
        let mut rows = statement.query([scan_id])?;
        let (mut checkpoint, mut earlier_list_ids) = (ScanCheckpoint::default(), RoaringTreemap::new());
        while let Some(row) = rows.next()? {
            let part = row.get(0)?;
            if part != checkpoint.part {
                earlier_list_ids |= std::mem::take(&mut checkpoint.ids);
            }
            (checkpoint.part, checkpoint.cursor) = (part, row.get(1)?);
            checkpoint.server_started_at = parse_timestamp(row.get(2)?)?;
            checkpoint.ids |= deserialize_ids(row.get_ref(3)?.as_blob().unwrap_or_default())?;
            checkpoint.older |= deserialize_ids(row.get_ref(4)?.as_blob().unwrap_or_default())?;
        }
        Ok(Some(InterruptedScan { scan_id, started_at, checkpoint, earlier_list_ids }))
    }

    /// How many changes since `seq` are dated at or before `until`, so that the walks before should have
    /// brought them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn late_arrivals(&self, seq: i64, until: Timestamp) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row(
            "SELECT COUNT(*) FROM changes WHERE seq > ?1 AND reason IS NULL AND source_last_modified <= ?2
             AND (op = 'c' OR op = 'u' AND json_type(changed, '$.SOURCE_LAST_MODIFIED') IS NOT NULL)",
            (seq, until.to_string()),
            |row| row.get(0),
        )?;
        Ok(count.cast_unsigned())
    }
}

impl WriteTx<'_> {
    /// Begins a walk; the number is its `scan_id`. For a full one, unfinished walks are given up.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_scan(
        &self,
        run_id: i64,
        kind: &ScanKind,
        is_initial: bool,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let from = match kind {
            ScanKind::Full => None,
            ScanKind::Incremental { from } => Some(from.to_string()),
        };
        if *kind == ScanKind::Full {
            self.abandon_scans(now)?;
        }
        self.connection.execute(
            "INSERT INTO scans (run_id, kind, updated_from, is_initial, started_at, last_move_id)
             VALUES (?1, ?2, ?3, ?4, ?5, (SELECT COALESCE(MAX(move_id), 0) FROM watermark_journal))",
            (run_id, kind.as_str(), from, is_initial, now.to_string()),
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Gives up every unfinished walk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn abandon_scans(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM scan_checkpoints", [])?;
        self.connection.execute(
            "UPDATE scans SET outcome = 'failed', ended_at = ?1 WHERE outcome IS NULL",
            [now.to_string()],
        )?;
        Ok(())
    }

    /// Takes up an unfinished walk in another pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn resume_scan(&self, scan_id: i64, run_id: i64) -> Result<(), StoreError> {
        let sql = "UPDATE scans SET run_id = ?2, resumed = 1 WHERE scan_id = ?1";
        self.connection.execute(sql, (scan_id, run_id))?;
        Ok(())
    }

    /// Writes down what a walk has read so far, and how it ended if it did.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_scan(
        &self,
        scan_id: i64,
        stats: &ScanStats,
        outcome: Option<ScanOutcome>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE scans SET pages = ?2, unique_ids = ?3, record_count = ?4, count_fell = ?5,
                 reads = ?6, outcome = ?7, ended_at = ?8 WHERE scan_id = ?1",
            )?
            .execute((
                scan_id,
                stats.pages.cast_signed(),
                stats.unique_ids.cast_signed(),
                stats.record_count.map(u64::cast_signed),
                stats.count_fell,
                stats.reads.max(1),
                outcome.map(ScanOutcome::as_str),
                outcome.map(|_| now.to_string()),
            ))?;
        if outcome.is_some() {
            self.record_checkpoint(scan_id, None)?;
        }
        Ok(())
    }

    /// Adds to the place at which a walk can be taken up again; `None` forgets it.
    ///
    /// # Errors
    /// [`StoreError`]
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
        self.connection
            .prepare_cached(
                "INSERT INTO scan_checkpoints (scan_id, part, cursor, server_started_at, ids, older)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((scan_id, checkpoint.part, checkpoint.cursor, server_started_at, ids, older))?;
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

fn invalid_ids(error: &std::io::Error) -> StoreError {
    StoreError::InvalidData { what: format!("the ids of a walk: {error}") }
}
