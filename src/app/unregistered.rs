//! Packages in a consumer's folder that the database has no record of: a killed export left them, or a backup of
//! the database was restored.

use std::path::PathBuf;

use super::AppError;
use super::export_session::{ExportSession, NewLineage};
use crate::config::ConsumerName;
use crate::export::{ConsumerFolder, ExportError, SeqRange, UnregisteredPackage};
use crate::store::{PackageRecord, StoreError};

impl ExportSession<'_> {
    /// The packages in the folder that the database has no record of.
    pub(super) fn unregistered_packages(
        &self,
        folder: &ConsumerFolder,
        consumer: &ConsumerName,
    ) -> Result<Vec<UnregisteredPackage>, AppError> {
        let known = self.store.read(|tx| tx.packages(consumer.as_str()))?;
        let range = |it: &PackageRecord| SeqRange { from: it.from_seq, to: it.to_seq };
        let known = known.into_iter().map(|it| (range(&it), it.manifest_sha256)).collect();
        Ok(folder.unregistered_packages(&known)?)
    }

    /// Begins a new lineage if one of these packages cannot come from this database: it ends after the newest
    /// change, is older than a change in its own range, or is of an unknown lineage.
    pub(super) fn detect_restored_backup_in(
        &mut self,
        folder: &ConsumerFolder,
        unregistered: &[UnregisteredPackage],
    ) -> Result<Option<NewLineage>, AppError> {
        let found = self.store.read(|tx| {
            let (lineage, newest_seq) = (tx.lineage()?, tx.greatest_seq()?);
            let server = tx.watermark()?.map(|watermark| watermark.scope.server);
            for package in unregistered {
                let SeqRange { from, to } = package.range;
                let path = folder.path().join(package.file_name());
                let package_lineage = package.lineage_or(&lineage);
                if let (Some(manifest), Some(server)) = (&package.manifest, &server)
                    && manifest.server != *server
                {
                    let why = format!("it is from another server, {}", manifest.server);
                    return Err(AppError::from(ExportError::Contradiction { path, why }));
                }
                let is_older = || Ok::<_, StoreError>(package.created_at < tx.last_observed_at(from, to)?);
                let is_own = package_lineage == lineage;
                if (is_own && (newest_seq < to || is_older()?))
                    || (!is_own && !tx.has_lineage(package_lineage)?)
                {
                    return Ok(Some((path, package_lineage.to_owned())));
                }
            }
            Ok(None)
        })?;
        found.map(|(evidence, superseded)| self.start_new_lineage(evidence, &superseded)).transpose()
    }

    /// Moves packages of earlier lineages away and returns the folder they were moved to; those of the present
    /// lineage stay in `unregistered`.
    pub(super) fn move_superseded(
        &self,
        folder: &ConsumerFolder,
        unregistered: &mut Vec<UnregisteredPackage>,
        new_lineage: Option<&NewLineage>,
    ) -> Result<Option<PathBuf>, AppError> {
        let lineage = self.store.read(|tx| tx.lineage())?;
        let is_current = |package: &mut UnregisteredPackage| match &package.manifest {
            Some(manifest) => manifest.lineage == lineage,
            None => new_lineage.is_none(),
        };
        let current = unregistered.extract_if(.., is_current).collect();
        let earlier = std::mem::replace(unregistered, current);
        Ok(folder.supersede(&earlier, new_lineage.map_or(&lineage, |it| &it.superseded))?)
    }
}
