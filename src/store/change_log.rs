//! Whether the change records are complete, and the lineage that they are of.
//!
//! Records are numbered without gaps. Only the oldest age out, and `lineage.complete_after` is the number of the last one
//! that did. Everything after it must be there: a package that left a record out would be wrong for ever, so that after a
//! loss a new lineage begins, in which every consumer starts again from the tickets.

use rusqlite::OptionalExtension as _;
use strum::IntoStaticStr;
use uuid::Uuid;

use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// Why a lineage begins (`lineage.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum LineageReason {
    /// Packages on disk are newer than the database.
    #[strum(serialize = "an older copy was restored")]
    OlderCopy,
    /// The database was restored from a text dump.
    #[strum(serialize = "restored from a dump")]
    Dump,
    /// Change records are missing.
    #[strum(serialize = "change records were missing")]
    MissingChanges,
    /// What is stored was changed by new privacy rules, without change records.
    #[strum(serialize = "privacy rules were added")]
    PrivacyRules,
}

/// The extent of the change records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeLogExtent {
    /// The number of the last record that aged out, or that an earlier loss reached.
    pub complete_after: i64,
    /// The number of the newest record, by everything that depends on it.
    pub last_seq: i64,
    /// How many records after `complete_after` are missing.
    pub missing: i64,
    /// Whether the database has lost the number of the next record, or its lineage.
    pub numbering_lost: bool,
}

impl ChangeLogExtent {
    /// The number of the first record from which on none is missing. 1 means that all are kept: none has aged out, and
    /// none was ever lost.
    #[must_use]
    pub const fn first_complete_seq(&self) -> i64 {
        if self.is_complete() { self.complete_after + 1 } else { self.last_seq + 1 }
    }

    /// Whether every record after `complete_after` is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing == 0 && !self.numbering_lost
    }
}

impl ReadTx<'_> {
    /// Counts the change records, which takes some 20 ms per million.
    pub fn change_log_extent(&self) -> Result<ChangeLogExtent, StoreError> {
        let number = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        let lineage = self.complete_after()?;
        let complete_after = lineage.unwrap_or(0);
        let oldest = number("SELECT MIN(seq) FROM changes")?;
        let newest = number("SELECT MAX(seq) FROM changes")?.unwrap_or(0);
        let exported = number("SELECT MAX(exported_seq) FROM consumers")?.unwrap_or(0);
        let numbered = self.greatest_seq()?;
        let last_seq = numbered.max(newest).max(exported).max(complete_after);
        // Without a condition SQLite adds up the pages; with one it visits each record.
        let count = if oldest.is_none_or(|oldest| complete_after < oldest) {
            self.connection.query_row("SELECT COUNT(*) FROM changes", [], |row| row.get(0))
        } else {
            let sql = "SELECT COUNT(*) FROM changes WHERE +seq > ?1";
            self.connection.query_row(sql, [complete_after], |row| row.get::<_, i64>(0))
        }?;
        Ok(ChangeLogExtent {
            complete_after,
            last_seq,
            missing: last_seq - complete_after - count,
            numbering_lost: numbered != last_seq || (lineage.is_none() && last_seq != 0),
        })
    }

    /// The number of the last record that aged out, or that an earlier loss reached; `None` without a lineage.
    pub(super) fn complete_after(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT complete_after FROM lineage ORDER BY rowid DESC LIMIT 1";
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
    }

    /// The lineage of this database.
    pub fn lineage(&self) -> Result<String, StoreError> {
        let sql = "SELECT lineage FROM lineage ORDER BY rowid DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Whether an older copy of the database was restored after this lineage had begun, or ever where it is none of this
    /// database.
    pub fn was_restored_since(&self, lineage: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM lineage WHERE reason = ?2
                 AND rowid > COALESCE((SELECT rowid FROM lineage WHERE lineage = ?1), 0))";
        let reason: &str = LineageReason::OlderCopy.into();
        Ok(self.connection.query_row(sql, (lineage, reason), |row| row.get(0))?)
    }

    /// The lineages of this database, the present one first.
    pub fn lineages(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare("SELECT lineage FROM lineage ORDER BY rowid DESC")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Starts a new lineage, in which every consumer starts again at 0, and returns it. `superseded` are the lineages of
    /// the packages on disk, the newest first, as far as they are known.
    pub fn begin_lineage(
        &self,
        superseded: &[String],
        reason: LineageReason,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let extent = self.as_read_tx().change_log_extent()?;
        let complete_after = if extent.is_complete() { extent.complete_after } else { extent.last_seq };
        self.restore_numbering(extent.last_seq)?;
        let lineage = Uuid::new_v4().to_string();
        let superseded = superseded.iter().rev().map(|it| (it, "superseded", 0));
        for (lineage, reason, complete_after) in superseded.chain([(&lineage, reason.into(), complete_after)])
        {
            self.connection.execute(
                "INSERT OR IGNORE INTO lineage (lineage, since, reason, complete_after) VALUES (?1, ?2, ?3, ?4)",
                (lineage, now.to_string(), reason, complete_after),
            )?;
        }
        self.connection.execute("DELETE FROM packages", [])?;
        self.connection.execute("DELETE FROM exported_reference", [])?;
        self.connection.execute(
            "UPDATE consumers SET exported_seq = 0, acked_seq = 0, exported_at = NULL, last_manifest = NULL,
                 previous_manifest = NULL, reference_seq = NULL",
            [],
        )?;
        Ok(lineage)
    }

    /// Starts the first lineage of a database that has none.
    pub(super) fn ensure_lineage(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO lineage (lineage, since, reason)
             SELECT ?1, ?2, 'created' WHERE NOT EXISTS (SELECT 1 FROM lineage)",
            (Uuid::new_v4().to_string(), now.to_string()),
        )?;
        Ok(())
    }

    /// Deletes the records older than `since` that every consumer has in a package, and returns how many.
    /// A consumer at position 0 needs none: its first package is written from the tickets.
    pub fn prune_changes(&self, since: Timestamp) -> Result<usize, StoreError> {
        // Only a prefix is deleted, whatever the clock said: the kept records have no gap.
        let pruned = self.connection.execute(
            "DELETE FROM changes WHERE seq <= COALESCE(
                 (SELECT MIN(exported_seq) FROM consumers WHERE 0 < exported_seq), 9223372036854775807)
             AND seq < COALESCE((SELECT seq FROM changes WHERE ?1 <= observed_at ORDER BY seq LIMIT 1),
                 9223372036854775807)",
            [since.to_string()],
        )?;
        if 0 < pruned {
            self.connection.execute(
                "UPDATE lineage SET complete_after = MAX(complete_after, ?1)
                 WHERE rowid = (SELECT MAX(rowid) FROM lineage)",
                [self.as_read_tx().oldest_seq()? - 1],
            )?;
        }
        Ok(pruned)
    }

    /// Makes the next change record follow `last_seq`.
    fn restore_numbering(&self, last_seq: i64) -> Result<(), StoreError> {
        let sql = "UPDATE sqlite_sequence SET seq = MAX(seq, ?1) WHERE name = 'changes'";
        if self.connection.execute(sql, [last_seq])? == 0 && last_seq != 0 {
            let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES ('changes', ?1)";
            self.connection.execute(sql, [last_seq])?;
        }
        Ok(())
    }
}
