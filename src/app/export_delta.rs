//! Exports the changes after a consumer's position as a package.
//!
//! The order of steps makes every kill harmless, and publishes only what was written here: the package is named in the
//! database, with the hashes of its files, then the data file gets its name, then the manifest, then the package is recorded
//! as published, then the position file is replaced. The next call finishes a named package from a file with that hash, or
//! plans it anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use super::export_session::{ExportSession, NewLineage, package_metadata};
use super::{AppError, LoadedConfig, now};
use crate::config::{AckMode, ConsumerName, ExportSchedule, FormatOptions};
use crate::export::{
    ConsumerFolder, ExportError, FileDigest, Manifest, ManifestCounts, ManifestFile, ManifestOptions,
    PackageKind, PackageMetadata, SeqRange, UnnamedFile, WorkCounter, serialize_path,
};
use crate::store::{ConsumerPosition, LockError, NamedPackage, PackageRecord, ReadTx, StoreError, TxEnd};
use crate::ticket::{ChangeCounts, Timestamp, delta_columns};

/// What an export wrote, as `export delta`, `sync` and `demo` report it.
#[derive(Debug, Serialize)]
pub struct DeltaSummary {
    /// The consumer.
    pub consumer: ConsumerName,
    /// The folder of the packages.
    #[serde(serialize_with = "serialize_path")]
    pub folder: PathBuf,
    /// The last change that the consumer's packages contain.
    pub exported_seq: i64,
    /// The packages; more than one if an earlier export was killed.
    pub packages: Vec<WrittenPackage>,
    /// The lineage that begins because a backup of the database was restored.
    #[serde(rename = "restart")]
    pub new_lineage: Option<NewLineage>,
    /// The folder that packages of earlier lineages were moved to, as it is shown.
    pub superseded: Option<String>,
    /// Where files are now that had the names of package files and were part of no package, as it is shown.
    pub foreign: Vec<String>,
}

/// A package that an export wrote or finished.
#[derive(Debug, Serialize)]
pub struct WrittenPackage {
    /// Its record.
    #[serde(flatten)]
    pub record: PackageRecord,
    /// Its rows by what happened.
    pub counts: ManifestCounts,
}

/// Writes the next package of a consumer, if anything changed; `rows` counts those that were written.
///
/// # Errors
/// The consumer's position is then unchanged.
pub fn export_delta(
    loaded: &LoadedConfig,
    consumer: &ConsumerName,
    format_options: FormatOptions,
    dir: Option<&Path>,
    rows: &WorkCounter,
) -> Result<DeltaSummary, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let summary =
        session.write_packages(consumer, format_options, dir.unwrap_or(&config.export.dir), rows)?;
    session.close()?;
    Ok(summary)
}

/// Does what is due after a run: exports for the consumer in the settings if `[export] schedule` says so, and
/// removes expired packages and change records. Does nothing while another export is running.
pub fn export_delta_if_due(
    loaded: &LoadedConfig,
    rows: &WorkCounter,
) -> Result<Option<DeltaSummary>, AppError> {
    let config = &loaded.config;
    if config.export.schedule == ExportSchedule::Off && config.store.keep_changes.is_none() {
        return Ok(None);
    }
    let mut session = match ExportSession::open(config, Duration::ZERO) {
        Err(AppError::Lock(LockError::Held { .. }) | AppError::Store(StoreError::Missing(_))) => {
            return Ok(None);
        }
        session => session?,
    };
    let consumer = &config.export.consumer;
    let last = session.position(consumer)?.exported_at;
    let due = is_due(config.export.schedule, last, now());
    let format_options = FormatOptions::exact(config.export.format);
    let summary = due
        .then(|| session.write_packages(consumer, format_options, &config.export.dir, rows))
        .transpose()?;
    session.close()?;
    Ok(summary)
}

fn is_due(schedule: ExportSchedule, last: Option<Timestamp>, now: Timestamp) -> bool {
    match (schedule, last) {
        (ExportSchedule::Off, _) => false,
        (ExportSchedule::AfterSync, _) | (ExportSchedule::Every(_), None) => true,
        (ExportSchedule::Every(span), Some(last)) => {
            let since = now.instant() - last.instant();
            // After the clock stepped back, exports must not wait until it has caught up.
            since < TimeDelta::zero() || TimeDelta::from_std(span).is_ok_and(|span| span <= since)
        }
    }
}

impl ExportSession<'_> {
    fn position(&self, consumer: &ConsumerName) -> Result<ConsumerPosition, StoreError> {
        Ok(self.store.read(|tx| tx.consumer_position(consumer))?.unwrap_or_default())
    }

    fn write_packages(
        &mut self,
        consumer: &ConsumerName,
        format_options: FormatOptions,
        dir: &Path,
        rows: &WorkCounter,
    ) -> Result<DeltaSummary, AppError> {
        let folder = ConsumerFolder::new(dir, consumer);
        let prepared = self.prepare_folder(&folder, consumer, dir)?;
        let mut export = DeltaExport { session: self, folder, consumer, format_options, rows };
        let mut packages = Vec::new();
        packages.extend(export.finish_named_package()?);
        export.folder.remove_temporary_files()?;
        packages.extend(export.write_next_package()?);
        let folder = export.folder;
        self.write_position(&folder, consumer, dir)?;
        Ok(DeltaSummary {
            consumer: consumer.clone(),
            folder: folder.path().to_owned(),
            exported_seq: self.position(consumer)?.exported_seq,
            packages,
            new_lineage: prepared.new_lineage,
            superseded: prepared.superseded.map(|it| it.display().to_string()),
            foreign: prepared.foreign.iter().map(|it| it.display().to_string()).collect(),
        })
    }
}

/// An export for one consumer into its folder.
struct DeltaExport<'s, 'a> {
    session: &'s mut ExportSession<'a>,
    folder: ConsumerFolder,
    consumer: &'s ConsumerName,
    format_options: FormatOptions,
    rows: &'s WorkCounter,
}

impl DeltaExport<'_, '_> {
    /// Writes the package from the consumer's position to the newest change. Range, rows and manifest are
    /// read in one transaction.
    fn write_next_package(&mut self) -> Result<Option<WrittenPackage>, AppError> {
        let position = self.session.position(self.consumer)?;
        let from = position.exported_seq;
        let written = self.session.store.read(|tx| {
            let to = tx.greatest_seq()?;
            if to == from {
                return Ok::<_, AppError>(None);
            }
            let name = SeqRange { from, to }.data_file(self.format_options);
            let columns = delta_columns();
            let failed = |source| ExportError::CannotWrite { path: self.folder.path().join(&name), source };
            let (counts, data) = self.folder.write_data(&name, self.format_options, &columns, |rows| {
                tx.delta(from, |row| {
                    self.rows.add(1);
                    Ok::<_, AppError>(rows.write_row(row.all_cells()).map_err(failed)?)
                })
            })?;
            let package = self.metadata(tx, (from, to), &position, counts, self.format_options)?;
            Ok(Some((counts, data, package)))
        })?;
        let Some((counts, data, package)) = written else { return Ok(None) };
        let named = self.name_package(&data, counts.total(), package)?;
        data.commit(&named.record.data_file)?;
        self.publish(named).map(Some)
    }

    /// Records a package in the database, before its files have names.
    fn name_package(
        &mut self,
        data: &UnnamedFile,
        rows: u64,
        package: PackageMetadata,
    ) -> Result<NamedPackage, AppError> {
        let range = package.range();
        let data_file = range.data_file(self.format_options);
        let file = ManifestFile::new(data_file, self.format_options, rows, data.digest().clone());
        let manifest_file = range.manifest_file();
        let path = self.folder.path().join(&manifest_file);
        let failed = |source| ExportError::CannotWrite { path, source };
        let (manifest, content) = Manifest::build(package, vec![file.clone()]).map_err(failed)?;
        let record = PackageRecord {
            from_seq: range.from,
            to_seq: range.to,
            data_file: file.name,
            manifest_file,
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256,
            manifest_sha256: manifest.manifest_sha256,
            created_at: now(),
        };
        let named = NamedPackage { record, manifest: content };
        let folder = self.folder.path();
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        self.session.store.write(TxEnd::Commit, |tx| tx.name_package(self.consumer, &folder, &named))?;
        Ok(named)
    }

    /// Finishes the package that a killed process named, from a file with its hash; if there is none, nothing was published,
    /// and its changes go into the next package.
    fn finish_named_package(&mut self) -> Result<Option<WrittenPackage>, AppError> {
        let named = self.session.store.read(|tx| tx.named_package(self.consumer))?;
        let Some(named) = named else { return Ok(None) };
        let NamedPackage { record, .. } = &named;
        let digest = FileDigest { bytes: record.bytes, sha256: record.sha256.clone() };
        if self.folder.recover_data(&record.data_file, &digest)? {
            return self.publish(named).map(Some);
        }
        self.session.store.write(TxEnd::Commit, |tx| tx.discard_named_package(self.consumer))?;
        Ok(None)
    }

    /// Writes the manifest of a named package whose data file has its name.
    fn publish(&mut self, named: NamedPackage) -> Result<WrittenPackage, AppError> {
        let NamedPackage { record, manifest } = named;
        let path = self.folder.path().join(&record.manifest_file);
        let counts = Manifest::parse(manifest.as_bytes())
            .map_err(|why| ExportError::Contradiction { path, why })?
            .counts;
        self.folder.write_manifest(&record.manifest_file, &manifest)?;
        let acknowledged = self.session.config.export.ack == AckMode::Auto;
        let store = &mut self.session.store;
        store.write(TxEnd::Commit, |tx| tx.publish_package(self.consumer, &record, acknowledged, now()))?;
        Ok(WrittenPackage { record, counts })
    }

    fn metadata(
        &self,
        tx: &ReadTx<'_>,
        range: (i64, i64),
        position: &ConsumerPosition,
        counts: ChangeCounts,
        format_options: FormatOptions,
    ) -> Result<PackageMetadata, StoreError> {
        Ok(PackageMetadata {
            kind: PackageKind::Delta,
            consumer: Some(self.consumer.as_str().to_owned()),
            previous_manifest_sha256: position.last_manifest.clone(),
            ..package_metadata(tx, range, counts, ManifestOptions::new(format_options), now())?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_schedule_decides_when_a_package_is_due() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T12:00:00.000Z");
        let hour = ExportSchedule::Every(Duration::from_hours(1));
        for (schedule, last, due) in [
            (ExportSchedule::Off, None, false),
            (ExportSchedule::AfterSync, Some("2026-11-22T12:00:00.000Z"), true),
            (hour, None, true),
            (hour, Some("2026-11-22T11:00:00.000Z"), true),
            (hour, Some("2026-11-22T11:00:00.001Z"), false),
            // The clock was ahead when it was exported.
            (hour, Some("2027-01-01T00:00:00.000Z"), true),
        ] {
            assert_eq!(is_due(schedule, last.map(at), now), due, "{schedule:?} after {last:?}");
        }
    }
}
