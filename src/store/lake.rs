//! What was shipped to the lake: epochs, packages, attempts.

use rusqlite::{OptionalExtension as _, Row};

use super::packages::{PACKAGE_COLUMNS, read_package};
use super::tx::{parse_optional_timestamp, parse_timestamp};
use super::{PackageRecord, ReadTx, StoreError, WriteTx};
use crate::config::ConsumerName;
use crate::ticket::Timestamp;

/// An epoch in the lake, which begins with everything: a row of `lake_epochs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeEpoch {
    /// Where the lake is.
    pub url: String,
    /// Name of this copy there.
    pub server: String,
    /// Its number there.
    pub epoch: i64,
    /// Lineage of its packages.
    pub lineage: String,
    /// A random text in its claim, so that a retry knows its own.
    pub token: String,
    /// Why it began.
    pub reason: String,
    /// When it began, by the local clock.
    pub begun_at: Timestamp,
    /// When the lake had its claim.
    pub claimed_at: Option<Timestamp>,
    /// When its first package was in the lake, and readers were told.
    pub announced_at: Option<Timestamp>,
    /// Why the next push begins another one, if that is known already.
    pub end_reason: Option<String>,
    /// What was put last, or was about to be.
    pub last_intent: Option<LakeIntent>,
}

/// What says what a package holds, before its data is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeIntent {
    /// Its name in the lake.
    pub object: String,
    /// Hash of the package's manifest.
    pub manifest_sha256: String,
}

/// How shipping went: the row of `lake_pushes`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LakePushes {
    /// When the last push began, by the local clock.
    pub attempted_at: Timestamp,
    /// When the last one ended that shipped everything.
    pub succeeded_at: Option<Timestamp>,
    /// Failed pushes since then.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// Packages that are made and not in the lake.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LakeBacklog {
    /// How many there are.
    pub packages: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// When the oldest one was made, by the local clock.
    pub oldest_at: Option<Timestamp>,
}

impl ReadTx<'_> {
    /// The present epoch, if there ever was one.
    pub fn lake_epoch(&self) -> Result<Option<LakeEpoch>, StoreError> {
        let sql = format!("SELECT {EPOCH_COLUMNS} FROM lake_epochs ORDER BY id DESC LIMIT 1");
        self.connection.query_row(&sql, [], |row| Ok(read_epoch(row))).optional()?.transpose()
    }

    /// The last epoch that this copy has begun under a name in a lake, if there is one.
    pub fn lake_epoch_of(&self, url: &str, server: &str) -> Result<Option<LakeEpoch>, StoreError> {
        let sql = format!(
            "SELECT {EPOCH_COLUMNS} FROM lake_epochs WHERE url = ?1 AND server = ?2 ORDER BY id DESC LIMIT 1"
        );
        self.connection.query_row(&sql, (url, server), |row| Ok(read_epoch(row))).optional()?.transpose()
    }

    /// The packages of the present epoch that are made and not in the lake, in order.
    pub fn unshipped_packages(&self) -> Result<Vec<PackageRecord>, StoreError> {
        let sql = format!(
            "SELECT {PACKAGE_COLUMNS} FROM packages WHERE consumer = ?1 AND state = 'published' AND shipped_at IS NULL
             ORDER BY to_seq, from_seq"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([ConsumerName::lake().as_str()])?;
        let mut packages = Vec::new();
        while let Some(row) = rows.next()? {
            packages.push(read_package(row)?);
        }
        Ok(packages)
    }

    /// How much is made and not in the lake.
    pub fn lake_backlog(&self) -> Result<LakeBacklog, StoreError> {
        let sql = "SELECT COUNT(*), COALESCE(SUM(bytes), 0), MIN(created_at) FROM packages
             WHERE consumer = ?1 AND state = 'published' AND shipped_at IS NULL";
        let (packages, bytes, oldest): (i64, i64, _) =
            self.connection.query_row(sql, [ConsumerName::lake().as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        Ok(LakeBacklog {
            packages: packages.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
            oldest_at: parse_optional_timestamp(oldest)?,
        })
    }

    /// How shipping went; `None` before the first push.
    pub fn lake_pushes(&self) -> Result<Option<LakePushes>, StoreError> {
        let sql = "SELECT attempted_at, succeeded_at, failures, error FROM lake_pushes";
        let row = self
            .connection
            .query_row(sql, [], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        let Some((attempted_at, succeeded_at, failures, error)) = row.optional()? else { return Ok(None) };
        let succeeded_at = parse_optional_timestamp(succeeded_at)?;
        Ok(Some(LakePushes { attempted_at: parse_timestamp(&attempted_at)?, succeeded_at, failures, error }))
    }
}

impl WriteTx<'_> {
    /// Records an epoch before it is claimed. The chain of packages begins anew with it.
    pub fn begin_lake_epoch(&self, epoch: &LakeEpoch) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO lake_epochs (url, server, epoch, lineage, token, reason, begun_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                &epoch.url,
                &epoch.server,
                epoch.epoch,
                &epoch.lineage,
                &epoch.token,
                &epoch.reason,
                epoch.begun_at.to_string(),
            ),
        )?;
        self.forget_packages(&ConsumerName::lake())
    }

    /// Records that the lake has the claim of an epoch.
    pub fn claim_lake_epoch(&self, epoch: &LakeEpoch, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE lake_epochs SET claimed_at = COALESCE(claimed_at, ?2) WHERE token = ?1",
            (&epoch.token, now.to_string()),
        )?;
        Ok(())
    }

    /// Records what is about to be put into the present epoch.
    pub fn intend_lake_package(&self, intent: &LakeIntent) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE lake_epochs SET last_intent = ?1, last_manifest = ?2
             WHERE id = (SELECT MAX(id) FROM lake_epochs)",
            (&intent.object, &intent.manifest_sha256),
        )?;
        Ok(())
    }

    /// Records that readers were told of the present epoch.
    pub fn announce_lake_epoch(&self, now: Timestamp) -> Result<(), StoreError> {
        self.set_on_lake_epoch("announced_at", &now.to_string())
    }

    /// Records that the next push begins another epoch, if there is one now.
    pub fn end_lake_epoch(&self, reason: &str) -> Result<(), StoreError> {
        self.set_on_lake_epoch("end_reason", reason)
    }

    fn set_on_lake_epoch(&self, column: &str, value: &str) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE lake_epochs SET {column} = COALESCE({column}, ?1) WHERE id = (SELECT MAX(id) FROM lake_epochs)"
        );
        self.connection.execute(&sql, [value])?;
        Ok(())
    }

    /// Records that all of a package is in the lake, which is what acknowledges it.
    pub fn ship_package(&self, package: &PackageRecord, now: Timestamp) -> Result<(), StoreError> {
        let PackageRecord { from_seq, to_seq, .. } = package;
        self.connection.execute(
            "UPDATE packages SET shipped_at = ?4 WHERE consumer = ?1 AND from_seq = ?2 AND to_seq = ?3",
            (ConsumerName::lake().as_str(), from_seq, to_seq, now.to_string()),
        )?;
        self.acknowledge(&ConsumerName::lake(), *to_seq)
    }

    /// Records how a push ended; `error` is why it failed.
    pub fn record_lake_push(&self, at: Timestamp, error: Option<&str>) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO lake_pushes (id, attempted_at, succeeded_at, failures, error)
             VALUES (1, ?1, CASE WHEN ?2 IS NULL THEN ?1 END, ?2 IS NOT NULL, ?2)
             ON CONFLICT (id) DO UPDATE SET attempted_at = ?1, error = ?2,
                 succeeded_at = CASE WHEN ?2 IS NULL THEN ?1 ELSE succeeded_at END,
                 failures = CASE WHEN ?2 IS NULL THEN 0 ELSE failures + 1 END",
            (at.to_string(), error),
        )?;
        Ok(())
    }
}

const EPOCH_COLUMNS: &str =
    "url, server, epoch, lineage, token, reason, begun_at, claimed_at, announced_at, end_reason,
     last_intent, last_manifest";

fn read_epoch(row: &Row<'_>) -> Result<LakeEpoch, StoreError> {
    let last_intent: Option<String> = row.get(10)?;
    let last_manifest: Option<String> = row.get(11)?;
    let last_intent = last_intent.zip(last_manifest);
    Ok(LakeEpoch {
        url: row.get(0)?,
        server: row.get(1)?,
        epoch: row.get(2)?,
        lineage: row.get(3)?,
        token: row.get(4)?,
        reason: row.get(5)?,
        begun_at: parse_timestamp(&row.get::<_, String>(6)?)?,
        claimed_at: parse_optional_timestamp(row.get(7)?)?,
        announced_at: parse_optional_timestamp(row.get(8)?)?,
        end_reason: row.get(9)?,
        last_intent: last_intent.map(|(object, manifest_sha256)| LakeIntent { object, manifest_sha256 }),
    })
}
