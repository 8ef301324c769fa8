//! Scans: how far each of them got, how it ended, and where an unfinished one can be resumed.

use roaring::RoaringTreemap;
use rusqlite::OptionalExtension as _;
use strum::{EnumString, IntoStaticStr};

use super::tx::{parse_optional_timestamp, parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{ScanKind, UnverifiedFullScans};

/// How a scan ended (`scans.outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ScanOutcome {
    /// It is proved that no ticket that was listed throughout the scan is missing.
    Verified,
    /// Verified, and it found nothing that earlier scans should have found.
    Confirmed,
    /// Something may be missing.
    Incomplete,
    /// Reading again brings nothing new, but the count of the server still differs or there is none.
    CountMismatch,
    /// A fault ended it.
    Failed,
}

impl ScanOutcome {
    /// The word in `scans.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a scan has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ScanStats {
    /// Pages, those that were read again included.
    pub pages: u64,
    /// Different ticket ids.
    pub unique_ids: u64,
    /// The last `record_count` of the server.
    pub record_count: Option<u64>,
    /// Whether that count was ever lower than before.
    pub count_fell: bool,
    /// How many times the list was read.
    pub reads: u32,
}

/// The last scan that ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LastScan {
    /// Full or incremental.
    pub kind: ScanKind,
    /// How it ended.
    pub outcome: ScanOutcome,
    /// What it read.
    #[serde(flatten)]
    pub stats: ScanStats,
}

/// The last full scan that moved the watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFullScan {
    /// When it ended, by the local clock.
    pub ended_at: Timestamp,
    /// Verified, confirmed, or a count mismatch that was accepted.
    pub outcome: ScanOutcome,
    /// Whether it was resumed, or was an initial load during which tickets disappeared: another full scan must confirm
    /// its first part.
    pub needs_confirmation: bool,
}

impl LastFullScan {
    /// Whether it moved the watermark although the counts did not agree.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.outcome == ScanOutcome::CountMismatch
    }
}

/// The condition for full scans that moved the watermark.
pub(super) const SETTLED_FULL_SCAN: &str =
    "kind = 'full' AND (outcome IN ('verified', 'confirmed') OR accepted)";

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
}

impl InterruptedScan {
    /// The number of tickets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.checkpoint.ids.len() + self.earlier_list_ids.len()
    }
}

impl ReadTx<'_> {
    /// The last full scan that moved the watermark.
    pub fn last_full_scan(&self) -> Result<Option<LastFullScan>, StoreError> {
        let scan: Option<(Option<String>, String, bool)> = self
            .connection
            .query_row(
                // By number and not by time: the local clock may have been set back.
                &format!(
                    "SELECT ended_at, outcome, resumed OR (is_initial AND count_fell) FROM scans
                     WHERE {SETTLED_FULL_SCAN} ORDER BY scan_id DESC LIMIT 1"
                ),
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((Some(ended_at), outcome, needs_confirmation)) = scan else { return Ok(None) };
        Ok(Some(LastFullScan {
            ended_at: parse_timestamp(&ended_at)?,
            outcome: parse_word("scans.outcome", &outcome)?,
            needs_confirmation,
        }))
    }

    /// The full scans after the last verified one that reached their end without being verified.
    pub fn unverified_full_scans(&self) -> Result<Option<UnverifiedFullScans>, StoreError> {
        let (count, ended_at): (u32, Option<String>) = self.connection.query_row(
            &format!(
                "SELECT COUNT(*), MAX(ended_at) FROM scans
                 WHERE kind = 'full' AND outcome IN ('incomplete', 'count_mismatch') AND NOT accepted
                     AND scan_id > (SELECT COALESCE(MAX(scan_id), 0) FROM scans WHERE {SETTLED_FULL_SCAN})"
            ),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        match parse_optional_timestamp(ended_at)? {
            Some(ended_at) if 0 < count => Ok(Some(UnverifiedFullScans { count, ended_at })),
            _ => Ok(None),
        }
    }

    /// The last scan that ended.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if its kind or outcome is unknown, or if an incremental scan has no lower
    /// bound.
    pub fn last_scan(&self) -> Result<Option<LastScan>, StoreError> {
        let sql = "SELECT kind, updated_from, outcome, pages, unique_ids, record_count, count_fell, reads
                   FROM scans WHERE outcome IS NOT NULL ORDER BY scan_id DESC LIMIT 1";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let stats = ScanStats {
            pages: row.get::<_, i64>(3)?.cast_unsigned(),
            unique_ids: row.get::<_, i64>(4)?.cast_unsigned(),
            record_count: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
            count_fell: row.get(6)?,
            reads: row.get(7)?,
        };
        Ok(Some(LastScan {
            kind: parse_kind(&row.get::<_, String>(0)?, row.get(1)?)?,
            outcome: parse_word("scans.outcome", &row.get::<_, String>(2)?)?,
            stats,
        }))
    }

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
            checkpoint.server_started_at = parse_optional_timestamp(row.get(2)?)?;
            checkpoint.ids |= deserialize_ids(row.get_ref(3)?.as_blob().unwrap_or_default())?;
            checkpoint.older |= deserialize_ids(row.get_ref(4)?.as_blob().unwrap_or_default())?;
        }
        Ok(Some(InterruptedScan { scan_id, started_at, checkpoint, earlier_list_ids }))
    }

    /// Counts the changes after `seq` whose `last_update` is not after `until`, so that earlier scans should
    /// have found them.
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
    /// Starts a scan and returns its `scan_id`. A full scan abandons unfinished ones.
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

    /// Abandons every unfinished scan.
    pub fn abandon_scans(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM scan_checkpoints", [])?;
        self.connection.execute(
            "UPDATE scans SET outcome = 'failed', ended_at = ?1 WHERE outcome IS NULL",
            [now.to_string()],
        )?;
        Ok(())
    }

    /// Resumes an unfinished scan in another run.
    pub fn resume_scan(&self, scan_id: i64, run_id: i64) -> Result<(), StoreError> {
        let sql = "UPDATE scans SET run_id = ?2, resumed = 1 WHERE scan_id = ?1";
        self.connection.execute(sql, (scan_id, run_id))?;
        Ok(())
    }

    /// Records that a scan moved the watermark although the counts did not agree.
    pub fn accept_scan(&self, scan_id: i64) -> Result<(), StoreError> {
        self.connection.execute("UPDATE scans SET accepted = 1 WHERE scan_id = ?1", [scan_id])?;
        Ok(())
    }

    /// Records that a full scan has answered every move of the watermark so far: it began by the server's clock after
    /// that clock stepped back.
    pub fn answer_moves(&self, scan_id: i64) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE scans SET last_move_id = (SELECT COALESCE(MAX(move_id), 0) FROM watermark_journal)
             WHERE scan_id = ?1",
            [scan_id],
        )?;
        Ok(())
    }

    /// Records what a scan has read so far, and its outcome if it has ended.
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
        self.connection
            .prepare_cached(
                "INSERT INTO scan_checkpoints (scan_id, part, cursor, server_started_at, ids, older)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((scan_id, checkpoint.part, checkpoint.cursor, server_started_at, ids, older))?;
        Ok(())
    }
}

fn parse_kind(word: &str, updated_from: Option<String>) -> Result<ScanKind, StoreError> {
    match (word, updated_from) {
        ("full", _) => Ok(ScanKind::Full),
        ("incremental", Some(from)) => Ok(ScanKind::Incremental { from: parse_timestamp(&from)? }),
        ("incremental", None) => {
            Err(StoreError::InvalidData { what: "an incremental scan without its lower bound".into() })
        }
        (word, _) => Err(StoreError::InvalidData { what: format!("unknown scans.kind {word:?}") }),
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
    StoreError::InvalidData { what: format!("invalid ids of a scan ({error})") }
}
