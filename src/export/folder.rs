//! The folder of a consumer: writing packages, and finishing one after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::file::{
    create_folders, fsync_folder, hash_file, is_temporary, list_entries, move_file, read_small_file,
    remove_if_present, remove_temporary_files, remove_tree,
};
use super::name::{FileKind, REFERENCE_FOLDER, parse_file_name};
use super::package_reader::read_package_manifest;
use super::package_writer::{Sink, UnnamedFile};
use super::part_writer::{DataPart, PartWriter, finish_rows, open_rows};
use super::position::{ChainPosition, read_position, remove_position, write_position};
use super::{ExportError, RowWriter};
use crate::config::{ConsumerName, FormatOptions};
use crate::content_digest::ContentDigest;
use crate::regular_file::describe_other;
use crate::ticket::Column;

/// Folder of all consumers' folders, below the export folder.
const DELTAS: &str = "deltas";

/// Folder of what is no longer part of a chain, below the export folder.
pub(super) const SUPERSEDED: &str = "superseded";

/// Folder of files that are part of no package, below [`SUPERSEDED`].
pub(super) const FOREIGN: &str = "foreign";

/// The folder of one consumer.
#[derive(Debug)]
pub struct ConsumerFolder {
    dir: PathBuf,
    consumer: String,
    pub(super) path: PathBuf,
}

impl ConsumerFolder {
    /// Returns the folder of a consumer below the export folder `dir`; it need not exist.
    #[must_use]
    pub fn new(dir: &Path, consumer: &ConsumerName) -> ConsumerFolder {
        let path = dir.join(DELTAS).join(consumer.as_str());
        ConsumerFolder { dir: dir.to_owned(), consumer: consumer.as_str().to_owned(), path }
    }

    /// Returns the folder of an epoch's packages, below that of the consumer.
    #[must_use]
    pub fn of_epoch(self, epoch: i64) -> ConsumerFolder {
        let path = self.path.join(epoch_name(epoch));
        ConsumerFolder { path, ..self }
    }

    /// Returns the export folder of a consumer whose packages are in `path`.
    #[must_use]
    pub fn export_dir(path: &Path) -> Option<&Path> {
        // Folders of epochs are one deeper.
        path.ancestors().skip(1).take(2).find(|it| it.ends_with(DELTAS))?.parent()
    }

    /// Creates the folder. The export folder is created only if its parent exists: a longer missing path is more likely a
    /// typing error.
    pub fn create(&self) -> Result<(), ExportError> {
        let deltas = self.dir.join(DELTAS);
        create_folders([&self.dir, &deltas, &deltas.join(&self.consumer), &self.path])
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a data file with the rows of a table that `emit_rows` writes. The file has no name yet; errors name it
    /// `name`.
    ///
    /// # Errors
    /// Errors of writing, or those of `emit_rows`. No file is left behind.
    pub fn write_data<T, E: From<ExportError>>(
        &self,
        (name, table): (&str, &str),
        options: FormatOptions,
        columns: &[Column],
        emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<T, E>,
    ) -> Result<(T, UnnamedFile), E> {
        create_parents(&self.path, name)?;
        let path = self.path.join(name);
        write_rows((parent(&path), &path), table, options, columns, emit_rows)
    }

    /// Writes the data files of a package with the rows that `emit_rows` writes: one, or where `max_bytes` is given, as many as
    /// keep each below that. The files have no names yet; errors name them `name`.
    ///
    /// # Errors
    /// As [`ConsumerFolder::write_data`].
    pub fn write_parts<T, E: From<ExportError>>(
        &self,
        name: &str,
        options: FormatOptions,
        columns: &[Column],
        max_bytes: Option<u64>,
        emit_rows: impl FnOnce(&mut PartWriter<'_>) -> Result<T, E>,
    ) -> Result<(T, Vec<DataPart>), E> {
        create_parents(&self.path, name)?;
        let path = self.path.join(name);
        let mut writer = PartWriter::new(parent(&path), &path, options, columns, max_bytes)?;
        let output = emit_rows(&mut writer)?;
        Ok((output, writer.finish()?))
    }

    /// Finds the data file of a named package by its hash, under its name or a temporary one, and makes sure that it has its
    /// name. Returns whether there is one. Whatever else has that name is moved away.
    pub fn recover_data(&self, name: &str, digest: &ContentDigest) -> Result<bool, ExportError> {
        create_parents(&self.path, name)?;
        let path = self.path.join(name);
        let folder = parent(&path);
        if has_content(&path, digest)? {
            fsync_folder(folder)?;
            return Ok(true);
        }
        for (temporary, kind) in list_entries(folder)? {
            let is_temporary = kind.is_file() && is_temporary(&temporary);
            let temporary = folder.join(temporary);
            if is_temporary && has_content(&temporary, digest)? {
                self.make_room(name)?;
                fs::rename(&temporary, &path).map_err(ExportError::cannot_create(&path))?;
                fsync_folder(folder)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the manifest of a package, unless it is there.
    pub fn write_manifest(&self, name: &str, content: &str) -> Result<(), ExportError> {
        let path = self.path.join(name);
        let is_there = path.is_file() && read_small_file(&path).is_ok_and(|it| it == content.as_bytes());
        if is_there {
            return fsync_folder(&self.path);
        }
        self.make_room(name)?;
        UnnamedFile::from_bytes(&self.path, &path, content.as_bytes())?.commit(name)?;
        Ok(())
    }

    /// Records how far the packages of the consumer go.
    pub fn write_position(&self, position: &ChainPosition) -> Result<(), ExportError> {
        write_position(&self.dir, &self.consumer, position)
    }

    /// Whether a file has this content.
    #[must_use]
    pub fn has_file(&self, name: &str, digest: &ContentDigest) -> bool {
        has_content(&self.path.join(name), digest).unwrap_or(false)
    }

    /// Removes files that were not published, as far as that is possible.
    pub fn remove_files(&self, names: &[String]) {
        for name in names {
            if let Err(error) = remove_if_present(&self.path.join(name)) {
                tracing::debug!(%error, "a file of an unfinished package stays for now");
            }
        }
    }

    /// Moves what has the name of a file that is about to be published.
    pub fn make_room(&self, name: &str) -> Result<(), ExportError> {
        if fs::symlink_metadata(self.path.join(name)).is_ok() {
            self.move_foreign(name)?;
        }
        Ok(())
    }

    /// Moves a file that is part of no package to `superseded/foreign/`; returns its path there.
    pub fn move_foreign(&self, name: &str) -> Result<PathBuf, ExportError> {
        self.check_regular(name)?;
        let target = self.create_superseded(FOREIGN)?;
        create_parents(&target, name)?;
        let moved = move_file(&self.path.join(name), parent(&target.join(name)))?;
        tracing::warn!(
            "{} is part of no package of this database; moved to {}",
            self.path.join(name).display(),
            moved.display()
        );
        Ok(moved)
    }

    /// Refuses links and special files: what they lead to is not the export's to move or to publish.
    pub(super) fn check_regular(&self, name: &str) -> Result<(), ExportError> {
        let path = self.path.join(name);
        let kind = fs::symlink_metadata(&path).map_err(ExportError::cannot_read(&path))?.file_type();
        match describe_other(kind) {
            Some(what) => Err(ExportError::contradiction(path, what)),
            None => Ok(()),
        }
    }

    /// Creates this consumer's folder below `superseded/<part>/` and returns its path.
    pub(super) fn create_superseded(&self, part: &str) -> Result<PathBuf, ExportError> {
        let superseded = self.dir.join(SUPERSEDED);
        let target = superseded.join(part).join(&self.consumer);
        create_folders([&superseded, &superseded.join(part), &target])?;
        Ok(target)
    }

    /// Removes the temporary files of a killed process.
    pub fn remove_temporary_files(&self) -> Result<(), ExportError> {
        for folder in reference_folders(&self.path)? {
            remove_temporary_files(&folder)?;
        }
        remove_temporary_files(&self.path)
    }

    /// Removes the files of a package in any folder: first the manifest, without which the data is not a
    /// package. Missing files are not an error.
    pub fn remove_package(folder: &Path, manifest: &str, data: &str) -> Result<(), ExportError> {
        remove_if_present(&folder.join(manifest))?;
        if !folder.exists() {
            return Ok(());
        }
        let options = parse_file_name(data);
        for name in list_package_files(folder)? {
            if options.is_some() && parse_file_name(&name) == options {
                let path = folder.join(&name);
                remove_if_present(&path)?;
                fsync_folder(parent(&path))?;
            }
        }
        fsync_folder(folder)
    }

    /// Lists the folders of epochs in the folder of the consumer.
    pub fn epochs(&self) -> Result<Vec<PathBuf>, ExportError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let is_epoch = |name: &str| name.parse().is_ok_and(|number: i64| name == epoch_name(number));
        let entries = list_entries(&self.path)?.into_iter();
        let folders = entries.filter(|(name, kind)| kind.is_dir() && is_epoch(name));
        Ok(folders.map(|(name, _)| self.path.join(name)).collect())
    }

    /// The hashes of the manifests that lie in the folders of epochs, and that of the last one that was ever made.
    pub fn made_manifests(&self) -> Result<BTreeSet<String>, ExportError> {
        let position = read_position(&self.dir, &self.consumer)?;
        let mut made: BTreeSet<String> =
            position.map(|position| position.manifest_sha256).into_iter().collect();
        for folder in self.epochs()? {
            let names = list_package_files(&folder)?.into_iter();
            for name in names.filter(|name| matches!(parse_file_name(name), Some((_, FileKind::Manifest)))) {
                // One that is damaged is no evidence.
                made.extend(
                    read_package_manifest(&folder, &name).map(|(manifest, _)| manifest.manifest_sha256),
                );
            }
        }
        Ok(made)
    }

    /// Removes the folders of all epochs, or of all but one.
    pub fn remove_epochs(&self, all_but: Option<i64>) -> Result<(), ExportError> {
        let kept = all_but.map(|epoch| self.path.join(epoch_name(epoch)));
        for folder in self.epochs()?.into_iter().filter(|folder| Some(folder) != kept.as_ref()) {
            remove_tree(&folder)?;
        }
        Ok(())
    }

    /// Removes the record of how far the packages of the consumer go.
    pub fn remove_position(&self) -> Result<(), ExportError> {
        remove_position(&self.dir, &self.consumer)
    }
}

fn epoch_name(epoch: i64) -> String {
    format!("{epoch:06}")
}

/// Returns the folders of reference tables in the folder of a consumer. A link is no folder.
fn reference_folders(consumer_folder: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let reference = consumer_folder.join(REFERENCE_FOLDER);
    if !fs::symlink_metadata(&reference).is_ok_and(|it| it.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = list_entries(&reference)?;
    Ok(entries.into_iter().filter(|(_, kind)| kind.is_dir()).map(|(name, _)| reference.join(name)).collect())
}

/// Lists the files in the folder of a consumer, those of reference tables with their folders.
pub(super) fn list_package_files(consumer_folder: &Path) -> Result<Vec<String>, ExportError> {
    let mut names: Vec<String> = list_entries(consumer_folder)?.into_iter().map(|(name, _)| name).collect();
    for folder in reference_folders(consumer_folder)? {
        let table = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = list_entries(&folder)?.into_iter();
        names.extend(files.map(|(name, _)| format!("{REFERENCE_FOLDER}/{table}/{name}")));
    }
    Ok(names)
}

/// Creates the folders in `name` below an existing folder.
pub(super) fn create_parents(folder: &Path, name: &str) -> Result<(), ExportError> {
    let mut path = folder.to_owned();
    for part in name.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
        path.push(part);
        create_folders([&path])?;
    }
    Ok(())
}

/// The folder of a file.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether a regular file has this size and hash.
fn has_content(path: &Path, digest: &ContentDigest) -> Result<bool, ExportError> {
    let metadata = fs::symlink_metadata(path);
    let may_be = metadata.is_ok_and(|it| it.is_file() && it.len() == digest.bytes);
    Ok(may_be && hash_file(path)? == *digest)
}

/// Writes rows of a table to an unnamed file in a folder; errors name it `display_path`.
pub(super) fn write_rows<T, E: From<ExportError>>(
    (folder, display_path): (&Path, &Path),
    table: &str,
    options: FormatOptions,
    columns: &[Column],
    emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<T, E>,
) -> Result<(T, UnnamedFile), E> {
    let mut writer = open_rows((folder, display_path), table, options, columns)?;
    let output = emit_rows(&mut writer)?;
    Ok((output, finish_rows(writer, display_path)?))
}
