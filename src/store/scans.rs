//! Scans: how far each of them got, and how it ended.

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

    /// The server's last count of the list that a scan reads.
    pub(super) fn scan_record_count(&self, scan_id: i64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT record_count FROM scans WHERE scan_id = ?1";
        let count: Option<i64> = self.connection.query_row(sql, [scan_id], |row| row.get(0))?;
        Ok(count.map(i64::cast_unsigned))
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
