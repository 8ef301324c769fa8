//! Exports the changes after a consumer's position as a package.
//!
//! The order of steps makes every kill harmless: the data file gets its name, then the manifest, then the
//! package is recorded in the database. The next call finishes a data file without a manifest and a package
//! that is not recorded; no package is written twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use super::export_session::{ExportSession, NewLineage, package_metadata};
use super::{AppError, LoadedConfig, now};
use crate::config::{AckMode, ConsumerName, ExportSchedule, FormatOptions};
use crate::export::{
    ConsumerFolder, ExportError, Manifest, ManifestCounts, ManifestOptions, PackageKind, PackageMetadata,
    SeqRange, UnregisteredPackage, serialize_path,
};
use crate::store::{ConsumerPosition, LockError, PackageRecord, ReadTx, StoreError, TxEnd};
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

/// Writes the next package of a consumer, if anything changed.
///
/// # Errors
/// The consumer's position is then unchanged.
pub fn export_delta(
    loaded: &LoadedConfig,
    consumer: &ConsumerName,
    format_options: FormatOptions,
    dir: Option<&Path>,
) -> Result<DeltaSummary, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let summary = session.write_packages(consumer, format_options, dir.unwrap_or(&config.export.dir))?;
    session.close()?;
    Ok(summary)
}

/// Does what is due after a run: exports for the consumer in the settings if `[export] schedule` says so, and
/// removes expired packages and change records. Does nothing while another export is running.
pub fn export_delta_if_due(loaded: &LoadedConfig) -> Result<Option<DeltaSummary>, AppError> {
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
    let summary =
        due.then(|| session.write_packages(consumer, format_options, &config.export.dir)).transpose()?;
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
    ) -> Result<DeltaSummary, AppError> {
        let folder = ConsumerFolder::open(dir, consumer)?;
        let mut new_lineage = self.detect_restored_backup(dir)?;
        let mut unregistered = self.unregistered_packages(&folder, consumer)?;
        if new_lineage.is_none() {
            new_lineage = self.detect_restored_backup_in(&folder, &unregistered)?;
            unregistered = self.unregistered_packages(&folder, consumer)?;
        }
        let superseded = self.move_superseded(&folder, &mut unregistered, new_lineage.as_ref())?;
        let mut export = DeltaExport { session: self, folder, consumer, format_options };
        let mut packages = Vec::new();
        for package in &unregistered {
            packages.extend(export.finish_package(package)?);
        }
        packages.extend(export.write_next_package()?);
        Ok(DeltaSummary {
            consumer: consumer.clone(),
            folder: export.folder.path().to_owned(),
            exported_seq: self.position(consumer)?.exported_seq,
            packages,
            new_lineage,
            superseded: superseded.map(|it| it.display().to_string()),
        })
    }
}

/// An export for one consumer into its folder.
struct DeltaExport<'s, 'a> {
    session: &'s mut ExportSession<'a>,
    folder: ConsumerFolder,
    consumer: &'s ConsumerName,
    format_options: FormatOptions,
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
                tx.delta(from, |row| Ok::<_, AppError>(rows.write_row(row.all_cells()).map_err(failed)?))
            })?;
            let package = self.metadata(tx, (from, to), &position, counts, self.format_options)?;
            Ok(Some((counts, data, package)))
        })?;
        let Some((counts, data, package)) = written else { return Ok(None) };
        let manifest = self.folder.commit(data, self.format_options, counts.total(), package)?;
        self.record_package(&manifest).map(Some)
    }

    /// Finishes a package that a killed process left behind; its data file is kept.
    fn finish_package(
        &mut self,
        unregistered: &UnregisteredPackage,
    ) -> Result<Option<WrittenPackage>, AppError> {
        let position = self.session.position(self.consumer)?;
        let SeqRange { from, to } = unregistered.range;
        if to <= position.exported_seq {
            // An expired package that someone put back: everything in it is exported already.
            return Ok(None);
        }
        let contradiction = |why| self.contradiction(&unregistered.file_name(), why);
        if from != position.exported_seq {
            return Err(contradiction("it does not start where the previous package ends"));
        }
        let manifest = match (&unregistered.manifest, unregistered.data.as_slice()) {
            (Some(manifest), _) => {
                if manifest.previous_manifest_sha256 != position.last_manifest
                    || !self.folder.data_matches(manifest)?
                {
                    let why = "its manifest describes another data file than the one beside it";
                    return Err(contradiction(why));
                }
                manifest.clone()
            }
            (None, [(name, written)]) => {
                // The name gives format and compression; the other options are those of this call.
                let format_options =
                    FormatOptions { format: written.format, gzip: written.gzip, ..self.format_options };
                let (counts, package) = self.session.store.read(|tx| {
                    if from + 1 < tx.oldest_seq()? {
                        return Err(contradiction(
                            "its change records have expired, so its manifest can no longer be written",
                        ));
                    }
                    let counts = tx.count_changes(from, to)?;
                    Ok((counts, self.metadata(tx, (from, to), &position, counts, format_options)?))
                })?;
                self.folder.add_manifest(name, format_options, counts.total(), package)?
            }
            (None, _) => return Err(contradiction("there is another data file for the same changes")),
        };
        self.record_package(&manifest).map(Some)
    }

    fn record_package(&mut self, manifest: &Manifest) -> Result<WrittenPackage, AppError> {
        let range = manifest.range();
        let Some(file) = manifest.files.first() else {
            return Err(self.contradiction(&range.manifest_file(), "its manifest lists no file"));
        };
        let folder = self.folder.path();
        let record = PackageRecord {
            from_seq: range.from,
            to_seq: range.to,
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            data_file: file.name.clone(),
            manifest_file: range.manifest_file(),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            manifest_sha256: manifest.manifest_sha256.clone(),
            created_at: now(),
        };
        let acknowledged = self.session.config.export.ack == AckMode::Auto;
        let store = &mut self.session.store;
        store.write(TxEnd::Commit, |tx| tx.record_package(self.consumer, &record, acknowledged))?;
        Ok(WrittenPackage { record, counts: manifest.counts })
    }

    fn contradiction(&self, file: &str, why: &str) -> AppError {
        ExportError::Contradiction { path: self.folder.path().join(file), why: why.to_owned() }.into()
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
