//! The desk that packages are handed out at: the database and the exporter's lock, and what is looked
//! after whenever somebody is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AppError, ago, now, store_options};
use crate::config::Config;
use crate::export::{
    ConsumerFolder, ManifestCounts, ManifestOptions, PackageKind, PackageMetadata, newer_than,
};
use crate::store::{Lock, ReadTx, SCHEMA_VERSION, Store, StoreError, TxEnd};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::WatermarkState;

/// The database, open for handing out. Nobody else hands out meanwhile; a sync may go on.
pub(super) struct ExportSession<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Store,
    _lock: Lock,
}

/// An older copy of the database was put in its place: a new line of changes begins, and every consumer
/// starts again at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLineage {
    /// The new lineage.
    pub lineage: String,
    /// The one that packages so far are of.
    pub superseded: String,
    /// The file or folder that this database cannot have made.
    pub evidence: PathBuf,
}

impl<'a> ExportSession<'a> {
    /// Opens the desk; waits that long where another is at it.
    pub(super) fn open(config: &'a Config, lock_timeout: Duration) -> Result<ExportSession<'a>, AppError> {
        let database = &config.store.path;
        // An empty file is a database that `sync` has yet to make; nothing can be handed on from it.
        if fs::metadata(database).map_or(true, |it| it.len() == 0) {
            return Err(StoreError::Missing(database.clone()).into());
        }
        let lock = Lock::acquire_exporter(database, lock_timeout)?;
        Ok(ExportSession {
            config,
            store: Store::open_existing(database, &store_options(config))?,
            _lock: lock,
        })
    }

    /// Closes it, when old packages and change records were removed.
    pub(super) fn close(mut self) -> Result<(), AppError> {
        self.remove_expired_packages()?;
        self.remove_expired_changes()?;
        Ok(self.store.close()?)
    }

    /// Begins a new lineage where the export folder holds what this database cannot have made.
    pub(super) fn detect_restored_backup(&mut self, dir: &Path) -> Result<Option<NewLineage>, AppError> {
        let (lineage, seq) =
            self.store.read(|it| Ok::<_, StoreError>((it.lineage()?, it.greatest_seq()?)))?;
        let evidence = newer_than(dir, &lineage, seq)?;
        evidence.map(|evidence| self.start_new_lineage(evidence, &lineage)).transpose()
    }

    pub(super) fn start_new_lineage(
        &mut self,
        evidence: PathBuf,
        superseded: &str,
    ) -> Result<NewLineage, AppError> {
        let lineage = self.store.write(TxEnd::Commit, |tx| tx.begin_lineage(superseded, now()))?;
        let file = evidence.display();
        tracing::warn!(
            lineage,
            "an older copy of the database was restored, {file} shows it: lineage {lineage} begins"
        );
        Ok(NewLineage { lineage, superseded: superseded.to_owned(), evidence })
    }

    /// Removes packages that were taken and are older than `keep`, the oldest of a consumer first. What
    /// cannot be removed now is tried again next time.
    fn remove_expired_packages(&mut self) -> Result<(), AppError> {
        let cutoff = ago(self.config.export.keep);
        let consumers = self.store.read(|tx| tx.consumers())?;
        for (consumer, position, _) in consumers {
            let packages = self.store.read(|tx| tx.packages(&consumer))?;
            let is_old = |seq: i64, at: Timestamp| seq <= position.acked_seq && at < cutoff;
            for package in packages.iter().take_while(|it| is_old(it.to_seq, it.created_at)) {
                let removed = ConsumerFolder::remove_package(
                    &package.folder,
                    &package.manifest_file,
                    &package.data_file,
                );
                if let Err(error) = removed {
                    tracing::warn!(consumer, "a package that has aged out cannot be removed: {error}");
                    break;
                }
                self.store.write(TxEnd::Commit, |tx| tx.delete_package(&consumer, package.to_seq))?;
            }
        }
        Ok(())
    }

    fn remove_expired_changes(&mut self) -> Result<(), AppError> {
        let Some(keep) = self.config.store.keep_changes else { return Ok(()) };
        let removed = self.store.write(TxEnd::Commit, |tx| tx.prune_changes(ago(keep)))?;
        if 0 < removed {
            tracing::info!(removed, "{removed} change records have aged out");
        }
        Ok(())
    }
}

/// What a manifest says of the database, as one transaction sees it.
pub(super) fn package_metadata(
    tx: &ReadTx<'_>,
    (from_seq, to_seq): (i64, i64),
    counts: ChangeCounts,
    options: ManifestOptions,
    now: Timestamp,
) -> Result<PackageMetadata, StoreError> {
    let watermark = tx.watermark()?;
    // As it was at the end of the range: the package of a killed process is finished later, and must not
    // promise what only a later package holds.
    let covered_until = tx.covered_until_at(to_seq)?;
    let state = if covered_until.is_some() { WatermarkState::Incremental } else { WatermarkState::Initial };
    Ok(PackageMetadata {
        kind: PackageKind::Snapshot,
        lineage: tx.lineage()?,
        server: watermark.map_or(String::new(), |watermark| watermark.scope.server),
        consumer: None,
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
