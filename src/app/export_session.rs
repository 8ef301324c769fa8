//! An export session: the database under the exporter's lock. Closing it removes expired packages and change
//! records.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::locked_store::report_finding;
use super::{AppError, ConsumerError, ago, now, privacy, store_options};
use crate::config::{Config, ConsumerName};
use crate::export::{ConsumerFolder, ManifestCounts, ManifestOptions, PackageKind, PackageMetadata};
use crate::store::{
    LineageReason, Lock, LockHolders, PackageRecord, ReadTx, SCHEMA_VERSION, Store, StoreError, TxEnd,
};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::WatermarkState;

/// The database, open for exporting. No other process exports meanwhile; a sync may run.
pub(super) struct ExportSession<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Store,
    _lock: Lock,
}

/// A lineage that begins because a backup of the database was restored; every consumer starts again at 0.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NewLineage {
    /// The new lineage.
    pub lineage: String,
    /// What is newer than the database: a file or folder, or what a consumer has loaded.
    pub evidence: String,
}

impl<'a> ExportSession<'a> {
    /// Opens a session; waits for up to `lock_timeout` while another process exports.
    pub(super) fn open(config: &'a Config, lock_timeout: Duration) -> Result<ExportSession<'a>, AppError> {
        let database = &config.store.path;
        // An empty file is a database that `sync` has yet to create.
        if fs::metadata(database).map_or(true, |it| it.len() == 0) {
            return Err(StoreError::Missing(database.clone()).into());
        }
        let lock = Lock::acquire_exporter(database, lock_timeout)?;
        // A process that is writing has checked that when it opened the database.
        let may_be_restored = LockHolders::detect(database).writer.is_none();
        let store = Store::open_existing(database, &store_options(config), |tx| {
            if may_be_restored { tx.check_wal_fits(database) } else { Ok(()) }
        })?;
        report_finding(&store);
        let rules = privacy::privacy_rules(config)?;
        store.read(|tx| privacy::check_carried_out(tx, &rules))?;
        Ok(ExportSession { config, store, _lock: lock })
    }

    /// Removes expired packages and change records and closes the session.
    pub(super) fn close(mut self) -> Result<(), AppError> {
        self.remove_expired_packages()?;
        self.remove_expired_changes()?;
        Ok(self.store.close()?)
    }

    /// Refuses the consumer whose packages are shipped to a lake, or were.
    pub(super) fn refuse_lake(&self, consumer: &ConsumerName) -> Result<(), AppError> {
        let is_lake = *consumer == ConsumerName::lake()
            && (self.config.lake.is_some() || self.store.read(|tx| tx.lake_epoch())?.is_some());
        if is_lake { Err(ConsumerError::OfLake.into()) } else { Ok(()) }
    }

    /// Begins a new lineage, because `evidence` is newer than the database. `superseded` are the lineages of that, the newest
    /// first.
    pub(super) fn start_new_lineage(
        &mut self,
        evidence: String,
        superseded: &[String],
    ) -> Result<NewLineage, AppError> {
        let lineage = self
            .store
            .write(TxEnd::Commit, |tx| tx.begin_lineage(superseded, LineageReason::OlderCopy, now()))?;
        tracing::warn!(
            lineage,
            "an older copy of the database was restored ({evidence} is newer): lineage {lineage} begins"
        );
        Ok(NewLineage { lineage, evidence })
    }

    /// Removes acknowledged packages that are older than `export.keep`, the oldest of each consumer first. A
    /// package that cannot be removed is tried again in the next session.
    fn remove_expired_packages(&mut self) -> Result<(), AppError> {
        let cutoff = ago(self.config.export.keep);
        let consumers = self.store.read(|tx| tx.consumers())?;
        for (consumer, position, _) in consumers {
            let packages = self.store.read(|tx| tx.packages(&consumer))?;
            // What was acknowledged up to a change may have been so before the package with nothing but reference tables
            // was made after it.
            let is_acked = |it: &PackageRecord| {
                it.to_seq <= position.acked_seq && (it.from_seq < it.to_seq || it.to_seq < position.acked_seq)
            };
            for package in packages.iter().take_while(|it| is_acked(it) && it.created_at < cutoff) {
                let folder = position.folder.as_deref().unwrap_or(Path::new(""));
                let removed =
                    ConsumerFolder::remove_package(folder, &package.manifest_file, &package.data_file);
                if let Err(error) = removed {
                    tracing::warn!(consumer, "cannot remove an expired package: {error}");
                    break;
                }
                self.store.write(TxEnd::Commit, |tx| tx.delete_package(&consumer, package))?;
            }
        }
        Ok(())
    }

    fn remove_expired_changes(&mut self) -> Result<(), AppError> {
        let Some(keep) = self.config.store.keep_changes else { return Ok(()) };
        let removed = self.store.write(TxEnd::Commit, |tx| tx.prune_changes(ago(keep)))?;
        if 0 < removed {
            let noun = if removed == 1 { "record" } else { "records" };
            tracing::info!(removed, "removed {removed} expired change {noun}");
        }
        Ok(())
    }
}

/// The part of a manifest that describes the database, read in one transaction.
pub(super) fn package_metadata(
    tx: &ReadTx<'_>,
    (from_seq, to_seq): (i64, i64),
    counts: ChangeCounts,
    options: ManifestOptions,
    now: Timestamp,
) -> Result<PackageMetadata, StoreError> {
    let watermark = tx.watermark()?;
    // As of the end of the range: a package that is finished later must not promise what only a later
    // package contains.
    let covered_until = tx.covered_until_at(to_seq)?;
    let state = if covered_until.is_some() { WatermarkState::Incremental } else { WatermarkState::Initial };
    Ok(PackageMetadata {
        kind: PackageKind::Snapshot,
        lineage: tx.lineage()?,
        server: watermark.map_or(String::new(), |watermark| watermark.scope.server),
        consumer: None,
        in_lake: None,
        from_seq,
        to_seq,
        complete: state == WatermarkState::Incremental,
        state,
        covered_until: covered_until.map(|at| at.to_string()),
        schema_version: SCHEMA_VERSION,
        created_at: now.to_string(),
        counts: ManifestCounts { c: counts.created, u: counts.updated, d: counts.deleted },
        options,
        previous_manifest_sha256: None,
    })
}
