//! Compares what lies in the export folder with the database: whether an older copy of the database was restored, and what
//! belongs to no package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::export_session::{ExportSession, NewLineage};
use super::{AppError, ConsumerError};
use crate::config::ConsumerName;
use crate::export::{
    ChainOrigin, ChainPosition, ConsumerFolder, ExportError, RegisteredPackage, SeqRange, UnregisteredFiles,
    UnregisteredPackage, newer_snapshot, position_path, read_position, read_positions,
};
use crate::store::{ConsumerPosition, StoreError, TxEnd};

/// What preparing the folder of a consumer came to.
#[derive(Debug, Default)]
pub(super) struct PreparedFolder {
    /// The lineage that begins because an older copy of the database was restored.
    pub(super) new_lineage: Option<NewLineage>,
    /// The folder that packages of earlier lineages were moved to.
    pub(super) superseded: Option<PathBuf>,
    /// Where files are now that were part of no package.
    pub(super) foreign: Vec<PathBuf>,
}

impl ExportSession<'_> {
    /// Begins a new lineage if a position file, of whichever consumer, or a snapshot shows that an older copy of the database
    /// was restored.
    pub(super) fn detect_restored_backup(&mut self, dir: &Path) -> Result<Option<NewLineage>, AppError> {
        let found = self.store.read(|tx| {
            let lineages = tx.lineages()?;
            let known: BTreeMap<_, _> =
                tx.consumers()?.into_iter().map(|(name, position, _)| (name, position)).collect();
            let folder_of = |position: &ConsumerPosition| {
                position.folder.as_deref().and_then(ConsumerFolder::export_dir).map(Path::to_owned)
            };
            let mut dirs: BTreeSet<PathBuf> = known.values().filter_map(folder_of).collect();
            dirs.insert(dir.to_owned());
            for own_dir in dirs {
                for (name, chain) in read_positions(&own_dir)? {
                    let exported = match known.get(&name) {
                        Some(exported) if folder_of(exported).as_ref() == Some(&own_dir) => exported.clone(),
                        // A consumer that was first exported after the backup was made.
                        None if own_dir == dir => ConsumerPosition::default(),
                        _ => continue,
                    };
                    if origin(&chain, &lineages, &exported) == ChainOrigin::NewerDatabase {
                        return Ok((Some(position_path(&own_dir, &name)), chain.lineages));
                    }
                }
            }
            let snapshot =
                newer_snapshot(dir, lineages.first().map_or("", String::as_str), tx.greatest_seq()?)?;
            Ok::<_, AppError>((snapshot, Vec::new()))
        })?;
        let (Some(evidence), superseded) = found else { return Ok(None) };
        self.start_new_lineage(evidence.display().to_string(), &superseded).map(Some)
    }

    /// Makes the folder of a consumer ready for its next package: it exists, belongs to the consumer and to this database,
    /// and holds under the names of packages only packages of the present lineage.
    ///
    /// # Errors
    /// [`ExportError::OtherDatabase`] if another database wrote what is there; nothing is moved then.
    pub(super) fn prepare_folder(
        &mut self,
        folder: &ConsumerFolder,
        consumer: &ConsumerName,
        dir: &Path,
    ) -> Result<PreparedFolder, AppError> {
        self.check_place(folder, consumer, dir)?;
        folder.create()?;
        let mut prepared =
            PreparedFolder { new_lineage: self.detect_restored_backup(dir)?, ..PreparedFolder::default() };
        let position = read_position(dir, consumer.as_str())?;
        let mut files = self.unregistered_files(folder, consumer)?;
        let mut origins = self.origins(&files, consumer)?;
        // Without a position file the packages themselves tell whose they are.
        let chain = match &position {
            Some(position) => self.origins_of([position], consumer)?,
            None => origins.clone(),
        };
        if chain.contains(&ChainOrigin::OtherDatabase) {
            return Err(ExportError::OtherDatabase {
                dir: dir.to_owned(),
                consumer: consumer.as_str().to_owned(),
                packages: folder.path().to_owned(),
                position: position_path(dir, consumer.as_str()),
            }
            .into());
        }
        let newer = origins.iter().position(|it| *it == ChainOrigin::NewerDatabase);
        if let Some(package) = newer.and_then(|index| files.packages.get(index)) {
            let evidence = folder.path().join(package.manifest_file()).display().to_string();
            prepared.new_lineage = Some(self.start_new_lineage(evidence, &package.position().lineages)?);
            files = self.unregistered_files(folder, consumer)?;
            origins = self.origins(&files, consumer)?;
        }
        for (package, origin) in files.packages.iter().zip(origins) {
            match origin {
                // Packages that have aged out and that someone put back.
                ChainOrigin::Same => {}
                ChainOrigin::EarlierLineage | ChainOrigin::NewerDatabase => {
                    prepared.superseded = Some(folder.supersede(package)?);
                }
                ChainOrigin::OtherDatabase => {
                    for name in package.files() {
                        prepared.foreign.push(folder.move_foreign(name)?);
                    }
                }
            }
        }
        for name in &files.foreign {
            prepared.foreign.push(folder.move_foreign(name)?);
        }
        Ok(prepared)
    }

    /// Writes the position file of a consumer, if it is not up to date.
    pub(super) fn write_position(
        &self,
        folder: &ConsumerFolder,
        consumer: &ConsumerName,
        dir: &Path,
    ) -> Result<(), AppError> {
        let (mut lineages, exported) = self.chain_state(consumer)?;
        let Some(manifest_sha256) = exported.last_manifest else { return Ok(()) };
        let written = read_position(dir, consumer.as_str())?;
        for lineage in written.iter().flat_map(|it| &it.lineages) {
            if !lineages.contains(lineage) {
                lineages.push(lineage.clone());
            }
        }
        let position = ChainPosition { lineages, to_seq: exported.exported_seq, manifest_sha256 };
        if written.as_ref() != Some(&position) {
            folder.write_position(&position)?;
        }
        Ok(())
    }

    /// A consumer belongs to the folder of its first package. A folder that was moved as a whole, with its position file, is
    /// still that folder.
    fn check_place(
        &mut self,
        folder: &ConsumerFolder,
        consumer: &ConsumerName,
        dir: &Path,
    ) -> Result<(), AppError> {
        let (lineages, exported) = self.chain_state(consumer)?;
        let Some(known) = &exported.folder else { return Ok(()) };
        let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
        let is_same = absolute(known).ok() == absolute(folder.path()).ok();
        if is_same {
            return Ok(());
        }
        let position = if known.exists() { None } else { read_position(dir, consumer.as_str())? };
        if position.is_some_and(|it| origin(&it, &lineages, &exported) != ChainOrigin::OtherDatabase) {
            let path = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_owned());
            self.store.write(TxEnd::Commit, |tx| tx.set_consumer_folder(consumer, &path))?;
            return Ok(());
        }
        let consumer = consumer.as_str().to_owned();
        let (known, given) = (known.clone(), folder.path().to_owned());
        Err(ConsumerError::OtherFolder { consumer, folder: known, given }.into())
    }

    fn origins(
        &self,
        files: &UnregisteredFiles,
        consumer: &ConsumerName,
    ) -> Result<Vec<ChainOrigin>, StoreError> {
        let positions: Vec<_> = files.packages.iter().map(UnregisteredPackage::position).collect();
        self.origins_of(&positions, consumer)
    }

    fn origins_of<'p>(
        &self,
        positions: impl IntoIterator<Item = &'p ChainPosition>,
        consumer: &ConsumerName,
    ) -> Result<Vec<ChainOrigin>, StoreError> {
        let (lineages, exported) = self.chain_state(consumer)?;
        Ok(positions.into_iter().map(|it| origin(it, &lineages, &exported)).collect())
    }

    fn chain_state(&self, consumer: &ConsumerName) -> Result<(Vec<String>, ConsumerPosition), StoreError> {
        self.store.read(|tx| Ok((tx.lineages()?, tx.consumer_position(consumer)?.unwrap_or_default())))
    }

    fn unregistered_files(
        &self,
        folder: &ConsumerFolder,
        consumer: &ConsumerName,
    ) -> Result<UnregisteredFiles, AppError> {
        let (published, named) = self
            .store
            .read(|tx| Ok::<_, StoreError>((tx.packages(consumer.as_str())?, tx.named_package(consumer)?)))?;
        let records = published.into_iter().chain(named.map(|it| it.record));
        let registered = records.map(|it| {
            let range = SeqRange { from: it.from_seq, to: it.to_seq };
            (range, RegisteredPackage { data_file: it.data_file, manifest_sha256: it.manifest_sha256 })
        });
        Ok(folder.unregistered_files(&registered.collect())?)
    }
}

fn origin(chain: &ChainPosition, lineages: &[String], exported: &ConsumerPosition) -> ChainOrigin {
    // Before a package with nothing but reference tables, the chain ended at the same change with another manifest. A kill
    // between that package and the position file leaves the earlier one.
    let previous = exported.previous_manifest.as_ref().filter(|it| **it == chain.manifest_sha256);
    let last_manifest = previous.or(exported.last_manifest.as_ref());
    chain.origin(lineages, (exported.exported_seq, last_manifest.map(String::as_str)))
}
