//! Exports the changes after a consumer's position as a package.
//!
//! The order of steps makes every kill harmless, and publishes only what was written here: the package is named in the
//! database, with the hashes of its files, then the data files get their names, then the manifest, then the package is
//! recorded as published, then the position file is replaced. A package with nothing but reference tables ends where the one
//! before it does, so that a position file may name either (`consumer_chain`). The next call finishes a named package from a file with that hash, or
//! plans it anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::export_session::{ExportSession, NewLineage, package_metadata};
use super::{AppError, LoadedConfig, has_passed, now};
use crate::config::{AckMode, ConsumerName, DeletedRows, ExportSchedule, FormatOptions, LakeServer};
use crate::export::{
    ConsumerFolder, DataPart, ExportError, FileRole, Manifest, ManifestCounts, ManifestFile, ManifestOptions,
    PackageKind, PackageMetadata, SeqRange, UnnamedFile, WorkCounter, reference_name, serialize_path,
};
use crate::lake::{ChainPlace, LakeError, LakeLayout};
use crate::reference::ReferenceTable;
use crate::snapshot_table::SnapshotTable;
use crate::store::{ConsumerPosition, LockError, NamedPackage, PackageRecord, ReadTx, StoreError, TxEnd};
use crate::ticket::attribute::{ATTRIBUTE_COUNT, UID};
use crate::ticket::{
    CellValue, ChangeCounts, Column, DeltaRow, Op, SEQ_COLUMN, Timestamp, ValueKind, delta_columns,
};

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
    /// The reference tables that it has, because they changed.
    pub reference: Vec<String>,
}

/// What the packages for a lake have beside those of other consumers.
#[derive(Clone, Debug)]
pub(super) struct LakePackages {
    /// Number of the epoch that they are part of.
    pub(super) epoch: i64,
    /// Name of this copy in the lake.
    pub(super) server: LakeServer,
    /// Size in bytes that no data file should exceed.
    pub(super) max_file: u64,
    /// What the row of a deleted ticket holds.
    pub(super) deleted_rows: DeletedRows,
    /// Ends writing early.
    pub(super) stop: CancellationToken,
}

impl LakePackages {
    /// The cells of every row for [`DeltaExport::lake_columns`].
    fn cells(&self) -> [CellValue<'_>; 2] {
        [CellValue::Text(self.server.as_str()), CellValue::Integer(self.epoch)]
    }

    /// Gives the manifest and the files of a package their names in the lake.
    fn name_objects(&self, package: &mut PackageMetadata, files: &mut [DraftFile], after_reference: bool) {
        let layout = LakeLayout::new(self.server.clone());
        let day = package.created_at.get(..10).unwrap_or_default().to_owned();
        for DraftFile { entry, .. } in files {
            let object = match reference_name(&entry.name) {
                Some((table, file)) => layout.reference(table, self.epoch, file),
                None => layout.changes(self.epoch, &day, &entry.name),
            };
            entry.object = Some(object);
        }
        let place = ChainPlace { epoch: self.epoch, from_seq: package.from_seq, after_reference };
        package.in_lake = Some((self.epoch, layout.manifest(place)));
    }
}

/// A data file of a package before it has its name.
struct DraftFile {
    entry: ManifestFile,
    data: UnnamedFile,
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
        session.write_packages(consumer, format_options, dir.unwrap_or(&config.export.dir), None, rows)?;
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
        .then(|| session.write_packages(consumer, format_options, &config.export.dir, None, rows))
        .transpose()?;
    session.close()?;
    Ok(summary)
}

fn is_due(schedule: ExportSchedule, last: Option<Timestamp>, now: Timestamp) -> bool {
    match (schedule, last) {
        (ExportSchedule::Off, _) => false,
        (ExportSchedule::AfterSync, _) | (ExportSchedule::Every(_), None) => true,
        (ExportSchedule::Every(span), Some(last)) => has_passed(span, last, now),
    }
}

impl ExportSession<'_> {
    fn position(&self, consumer: &ConsumerName) -> Result<ConsumerPosition, StoreError> {
        Ok(self.store.read(|tx| tx.consumer_position(consumer))?.unwrap_or_default())
    }

    pub(super) fn write_packages(
        &mut self,
        consumer: &ConsumerName,
        format_options: FormatOptions,
        dir: &Path,
        lake: Option<LakePackages>,
        rows: &WorkCounter,
    ) -> Result<DeltaSummary, AppError> {
        let folder = ConsumerFolder::new(dir, consumer);
        let folder = if let Some(lake) = &lake {
            folder.of_epoch(lake.epoch)
        } else {
            self.refuse_lake(consumer)?;
            folder
        };
        let prepared = self.prepare_folder(&folder, consumer, dir)?;
        let mut export = DeltaExport { session: self, folder, consumer, format_options, lake, rows };
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
    lake: Option<LakePackages>,
    rows: &'s WorkCounter,
}

impl DeltaExport<'_, '_> {
    /// Writes the package from the consumer's position to the newest change, with the reference tables that changed. Range,
    /// rows and manifest are read in one transaction.
    fn write_next_package(&mut self) -> Result<Option<WrittenPackage>, AppError> {
        let position = self.session.position(self.consumer)?;
        let from = position.exported_seq;
        let written = self.session.store.read(|tx| {
            let range = SeqRange { from, to: tx.greatest_seq()? };
            let tables = tx.changed_reference(self.consumer)?;
            if range.from == range.to && !self.is_worth_a_package(tx, from, tables.len())? {
                return Ok::<_, AppError>(None);
            }
            let (counts, mut files) = self.write_tickets(tx, range)?;
            for (table, _) in &tables {
                files.push(self.write_reference(tx, table, range)?);
            }
            let mut package = self.metadata(tx, (from, range.to), &position, counts, self.format_options)?;
            if let Some(lake) = &self.lake {
                let after_reference =
                    range.from < range.to && tx.has_reference_package(self.consumer, from)?;
                lake.name_objects(&mut package, &mut files, after_reference);
            }
            let hashes = tables.iter().map(|(table, hash)| (table.name.to_owned(), *hash)).collect();
            Ok(Some((files, hashes, package)))
        })?;
        let Some((files, hashes, package)) = written else { return Ok(None) };
        let entries = files.iter().map(|file| file.entry.clone()).collect();
        let named = self.name_package(entries, hashes, package)?;
        let (mut committed, mut failed) = (Vec::new(), None);
        for DraftFile { entry, data } in files {
            let digest = data.digest().clone();
            if let Err(error) = data.commit(&entry.name) {
                // Where only the folder could not be flushed, the next export finishes the package. Otherwise nothing was
                // published, and it plans the package anew; what cannot be removed now, it moves away.
                if !self.folder.has_file(&entry.name, &digest) {
                    self.folder.remove_files(&committed);
                    return Err(error.into());
                }
                failed.get_or_insert(error);
            }
            committed.push(entry.name);
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.publish(named).map(Some)
    }

    /// Whether a package is made for reference tables alone. The first package begins at 0, and after each change there is
    /// one name for a package without changes; what changes then comes with the next change.
    fn is_worth_a_package(&self, tx: &ReadTx<'_>, seq: i64, tables: usize) -> Result<bool, StoreError> {
        Ok(0 < tables && 0 < seq && !tx.has_reference_package(self.consumer, seq)?)
    }

    fn write_tickets(
        &self,
        tx: &ReadTx<'_>,
        range: SeqRange,
    ) -> Result<(ChangeCounts, Vec<DraftFile>), AppError> {
        let name = range.data_file(self.format_options);
        let columns: Vec<_> = self.lake_columns().into_iter().chain(delta_columns()).collect();
        let lake = self.lake.as_ref();
        let max_file = lake.map(|lake| lake.max_file);
        let has_key_alone = lake.is_some_and(|lake| lake.deleted_rows == DeletedRows::Key);
        let written = self.folder.write_parts(&name, self.format_options, &columns, max_file, |rows| {
            if range.from == range.to {
                return Ok(ChangeCounts::default());
            }
            tx.delta(range.from, |row| {
                if lake.is_some_and(|lake| lake.stop.is_cancelled()) {
                    return Err(LakeError::Stopped.into());
                }
                self.rows.add(1);
                let mut key = [CellValue::Null; ATTRIBUTE_COUNT];
                let row = if has_key_alone && row.op == Op::Delete {
                    key[UID] = row.cells[UID];
                    DeltaRow { cells: &key, extra: None, custom_fields: None, ..row }
                } else {
                    row
                };
                let first = lake.into_iter().flat_map(LakePackages::cells);
                Ok::<_, AppError>(rows.write_row(first.chain(row.all_cells()))?)
            })
        });
        let (counts, parts) = written?;
        let is_cut = 1 < parts.len();
        let files = parts.into_iter().enumerate().map(|(index, DataPart { rows, data })| {
            let options = self.format_options;
            let name = if is_cut { range.part_file(index + 1, options) } else { name.clone() };
            let entry = ManifestFile::new(name, options, rows, data.digest().clone());
            DraftFile { entry, data }
        });
        Ok((counts, files.collect()))
    }

    fn write_reference(
        &self,
        tx: &ReadTx<'_>,
        table: &'static ReferenceTable,
        range: SeqRange,
    ) -> Result<DraftFile, AppError> {
        // Selected columns are those of tickets.
        let options = FormatOptions { columns: None, ..self.format_options };
        let name = range.reference_file(table.name, options);
        let table = SnapshotTable::Reference(table);
        let columns: Vec<_> =
            self.lake_columns().into_iter().chain(self.seq_column()).chain(table.columns()).collect();
        let path = self.folder.path().join(&name);
        let (rows, data) = self.folder.write_data((&name, table.name()), options, &columns, |rows| {
            tx.for_each_row(table, |cells| {
                let lake = self.lake.iter();
                let first =
                    lake.flat_map(|lake| lake.cells().into_iter().chain([CellValue::Integer(range.to)]));
                let written = rows.write_row(first.chain(cells.iter().copied()));
                Ok::<_, AppError>(written.map_err(|error| error.at(&path))?)
            })
        })?;
        let entry = ManifestFile::new(name, options, rows, data.digest().clone());
        Ok(DraftFile { entry: ManifestFile { role: FileRole::Reference, ..entry }, data })
    }

    /// The columns that files for a lake have before the others, so that they explain themselves.
    fn lake_columns(&self) -> Vec<Column> {
        let columns = [Column::new("_server", ValueKind::Text), Column::new("_epoch", ValueKind::Integer)];
        if self.lake.is_some() { columns.to_vec() } else { Vec::new() }
    }

    /// The column that reference tables for a lake have behind those: which of two files is the newer one.
    fn seq_column(&self) -> Option<Column> {
        self.lake.is_some().then(|| Column::new(SEQ_COLUMN, ValueKind::Integer))
    }

    /// Records a package in the database, before its files have names. The first file is that of the tickets.
    fn name_package(
        &mut self,
        files: Vec<ManifestFile>,
        reference: BTreeMap<String, i64>,
        package: PackageMetadata,
    ) -> Result<NamedPackage, AppError> {
        let range = package.range();
        let tickets = files[0].clone();
        let of_tickets = || files.iter().filter(|file| file.role == FileRole::Tickets);
        let (rows, bytes) = (of_tickets().map(|it| it.rows).sum(), of_tickets().map(|it| it.bytes).sum());
        let manifest_file = range.manifest_file();
        let path = self.folder.path().join(&manifest_file);
        let failed = |source| ExportError::CannotWrite { path, source };
        let (manifest, content) = Manifest::build(package, files).map_err(failed)?;
        let record = PackageRecord {
            from_seq: range.from,
            to_seq: range.to,
            data_file: tickets.name,
            manifest_file,
            rows,
            bytes,
            sha256: tickets.sha256,
            manifest_sha256: manifest.manifest_sha256,
            created_at: now(),
        };
        let named = NamedPackage { record, manifest: content, reference };
        let folder = self.folder.path();
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        self.session.store.write(TxEnd::Commit, |tx| tx.name_package(self.consumer, &folder, &named))?;
        Ok(named)
    }

    /// Finishes the package that a killed process named, from files with its hashes; if one is missing, nothing was published,
    /// and its changes go into the next package.
    fn finish_named_package(&mut self) -> Result<Option<WrittenPackage>, AppError> {
        let named = self.session.store.read(|tx| tx.named_package(self.consumer))?;
        let Some(named) = named else { return Ok(None) };
        let files = self.manifest_of(&named)?.files;
        let mut is_whole = true;
        for file in &files {
            is_whole &= self.folder.recover_data(&file.name, &file.digest())?;
        }
        if is_whole {
            return self.publish(named).map(Some);
        }
        for file in files {
            self.folder.make_room(&file.name)?;
        }
        self.session.store.write(TxEnd::Commit, |tx| tx.discard_named_package(self.consumer))?;
        Ok(None)
    }

    /// Writes the manifest of a named package whose data file has its name.
    fn publish(&mut self, named: NamedPackage) -> Result<WrittenPackage, AppError> {
        let counts = self.manifest_of(&named)?.counts;
        let NamedPackage { record, manifest, reference } = named;
        self.folder.write_manifest(&record.manifest_file, &manifest)?;
        // For the lake, shipping a package is what acknowledges it.
        let acknowledged = self.session.config.export.ack == AckMode::Auto && self.lake.is_none();
        let store = &mut self.session.store;
        store.write(TxEnd::Commit, |tx| tx.publish_package(self.consumer, &record, acknowledged, now()))?;
        Ok(WrittenPackage { record, counts, reference: reference.into_keys().collect() })
    }

    fn manifest_of(&self, named: &NamedPackage) -> Result<Manifest, ExportError> {
        let path = self.folder.path().join(&named.record.manifest_file);
        Manifest::parse(named.manifest.as_bytes()).map_err(|why| ExportError::Contradiction { path, why })
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
