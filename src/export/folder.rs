//! The folder of a consumer: its packages by the numbers in their names, and what a killed process
//! left there.

use std::fs;
use std::path::{Path, PathBuf};

use super::draft::{Nameless, Sink};
use super::file::{DRAFT_PREFIX, entries, make_folders, measure, remove, sync_folder};
use super::manifest::{File, Manifest, Package};
use super::{ExportError, Rows};
use crate::config::{Consumer, Style};
use crate::ticket::Column;

pub(super) const DELTAS: &str = "deltas";

/// The folder of one consumer.
#[derive(Debug)]
pub struct Folder {
    pub(super) dir: PathBuf,
    pub(super) consumer: String,
    pub(super) path: PathBuf,
}

impl Folder {
    /// The folder of a consumer below the export folder. The export folder is made where its own
    /// parent is there; a longer missing path is more likely a slip of the pen. What a killed process
    /// left unfinished is finished or removed.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn of(dir: &Path, consumer: &Consumer) -> Result<Folder, ExportError> {
        let path = dir.join(DELTAS).join(consumer.as_str());
        make_folders([dir, &dir.join(DELTAS), &path])?;
        let folder = Folder { dir: dir.to_owned(), consumer: consumer.as_str().to_owned(), path };
        folder.settle()?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the data of a package: `fill` gives the rows. It has no name yet; errors call it `name`.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports; there is no file then.
    pub fn write<T, E: From<ExportError>>(
        &self,
        name: &str,
        style: Style,
        columns: &[Column],
        fill: impl FnOnce(&mut Rows<Sink>) -> Result<T, E>,
    ) -> Result<(T, Nameless), E> {
        write((&self.path, &self.path.join(name)), style, columns, fill)
    }

    /// Names data and manifest, in this order. The manifest is on the disk before: should the process be
    /// killed between the two names, the next one finds it.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such package then.
    pub fn publish(
        &self,
        data: Nameless,
        style: Style,
        rows: u64,
        package: Package,
    ) -> Result<Manifest, ExportError> {
        let range = package.range();
        let name = range.data_file(style);
        let file = File::of(name.clone(), style, rows, data.written().clone());
        let (manifest, sealed) = self.seal(package, file)?;
        data.publish(&name)?;
        if let Err(error) = sealed.publish(&range.manifest_file()) {
            // Nobody has heard of it yet, and it would be in the way of the next attempt.
            let _ = remove(&self.path.join(name));
            return Err(error);
        }
        Ok(manifest)
    }

    /// Adds the manifest to data that has its name already.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn complete(
        &self,
        data: &str,
        style: Style,
        rows: u64,
        package: Package,
    ) -> Result<Manifest, ExportError> {
        let range = package.range();
        let written = measure(&self.path.join(data))?;
        let (manifest, sealed) = self.seal(package, File::of(data.to_owned(), style, rows, written))?;
        sealed.publish(&range.manifest_file())?;
        Ok(manifest)
    }

    fn seal(&self, package: Package, file: File) -> Result<(Manifest, Nameless), ExportError> {
        let range = package.range();
        let shown = self.path.join(range.manifest_file());
        let (manifest, bytes) = Manifest::seal(package, vec![file]).map_err(ExportError::io(&shown))?;
        let sealed = Nameless::of(&self.path, &shown, &bytes)?;
        Ok((manifest, sealed))
    }

    /// Whether the data is what a manifest tells of.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn holds(&self, manifest: &Manifest) -> Result<bool, ExportError> {
        for file in &manifest.files {
            let path = self.path.join(&file.name);
            if !path.is_file() {
                return Ok(false);
            }
            let written = measure(&path)?;
            if (written.bytes, written.sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the files of a package, wherever it is: first the manifest, without which nobody takes the
    /// data for a package.
    ///
    /// # Errors
    /// [`ExportError`]; files that are not there are removed already.
    pub fn remove_package(folder: &Path, manifest: &str, data: &str) -> Result<(), ExportError> {
        remove(&folder.join(manifest))?;
        remove(&folder.join(data))?;
        if folder.exists() { sync_folder(folder) } else { Ok(()) }
    }

    /// Finishes or removes what a killed process left: a manifest whose data has its name already gets
    /// its own, everything else was never heard of.
    fn settle(&self) -> Result<(), ExportError> {
        for (name, kind) in entries(&self.path)? {
            if !name.starts_with(DRAFT_PREFIX) || !kind.is_file() {
                continue;
            }
            let path = self.path.join(&name);
            if let Ok(manifest) = read_manifest(&path) {
                let place = self.path.join(manifest.range().manifest_file());
                if !place.exists() && self.holds(&manifest)? {
                    fs::rename(&path, &place).map_err(ExportError::create(&place))?;
                    sync_folder(&self.path)?;
                    continue;
                }
            }
            remove(&path)?;
        }
        Ok(())
    }
}

/// Writes rows into a folder; errors call the file `shown`.
pub(super) fn write<T, E: From<ExportError>>(
    (folder, shown): (&Path, &Path),
    style: Style,
    columns: &[Column],
    fill: impl FnOnce(&mut Rows<Sink>) -> Result<T, E>,
) -> Result<(T, Nameless), E> {
    let mut rows = Rows::begin(style, columns, Sink::new(folder, shown, style.gzip)?);
    let filled = fill(&mut rows)?;
    let sink = rows.end().map_err(ExportError::io(shown))?;
    Ok((filled, sink.finish(shown)?))
}

/// A manifest that stands alone; the draft of data, which may be long, is not read for one.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ExportError> {
    const LONGEST: u64 = 1 << 20;
    let length = fs::metadata(path).map_err(ExportError::read(path))?.len();
    if LONGEST < length {
        return Err(ExportError::contradiction(path.to_owned(), "it is too long for a manifest"));
    }
    let bytes = fs::read(path).map_err(ExportError::read(path))?;
    Manifest::read(&bytes).map_err(|why| ExportError::Contradiction { path: path.to_owned(), why })
}
