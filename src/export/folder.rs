//! The folder of a consumer: its packages by the numbers in their names, and what a killed process
//! left there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::file::{Draft, Written, measure, remove_litter};
use super::manifest::{File, Manifest, Package};
use super::{ExportError, Rows};
use crate::config::{Consumer, Format};
use crate::ticket::Column;

/// The folder of one consumer.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A data file that has its name but is in no book yet: its process was killed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The end of its range.
    pub to_seq: i64,
    /// Its format.
    pub format: Format,
    /// Its name.
    pub name: String,
}

impl Folder {
    /// The folder of a consumer below the export folder. The export folder is made where its own
    /// parent is there; a longer missing path is more likely a slip of the pen.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn of(dir: &Path, consumer: &Consumer) -> Result<Folder, ExportError> {
        let path = dir.join("deltas").join(consumer.as_str());
        Folder::make([dir, &dir.join("deltas"), &path])?;
        remove_litter(&path)?;
        Ok(Folder { path })
    }

    /// Makes folders that are not there yet.
    pub(super) fn make<const N: usize>(folders: [&Path; N]) -> Result<(), ExportError> {
        for folder in folders {
            match fs::create_dir(folder) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                made => made.map_err(ExportError::create(folder))?,
            }
        }
        Ok(())
    }

    /// A folder that is being made: it has no name yet, so nothing in it is taken for a package.
    pub(super) fn nameless(path: &Path) -> Folder {
        Folder { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data file that begins where the last package in the book ended, if there is one.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn leftover(&self, from_seq: i64) -> Result<Option<Leftover>, ExportError> {
        let begin = format!("{from_seq:012}-");
        for entry in fs::read_dir(&self.path).map_err(ExportError::io(&self.path))? {
            let name = entry.map_err(ExportError::io(&self.path))?.file_name().to_string_lossy().into_owned();
            let Some((to, ending)) = name.strip_prefix(&begin).and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            if let (Ok(to_seq), Some(format)) = (to.parse(), Format::parse(ending)) {
                return Ok(Some(Leftover { to_seq, format, name }));
            }
        }
        Ok(None)
    }

    /// Writes a data file: `fill` gives the rows.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports; there is no file then.
    pub fn write_data<T, E: From<ExportError>>(
        &self,
        name: &str,
        format: Format,
        columns: &[Column],
        fill: impl FnOnce(&mut Rows<Draft>) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        let failed = || ExportError::io(&self.path.join(name));
        let mut rows = Rows::begin(format, columns, Draft::new(&self.path)?).map_err(failed())?;
        let filled = fill(&mut rows)?;
        let draft = rows.end().map_err(failed())?;
        Ok((filled, draft.publish(name)?))
    }

    /// What is in a data file that is there already.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn measure(&self, name: &str) -> Result<Written, ExportError> {
        measure(&self.path.join(name))
    }

    /// The manifest of a range, where there is one already.
    ///
    /// # Errors
    /// [`ExportError`], where it was altered too.
    pub fn manifest(&self, from_seq: i64, to_seq: i64) -> Result<Option<Manifest>, ExportError> {
        let path = self.path.join(manifest_name(from_seq, to_seq));
        match fs::read(&path) {
            Ok(bytes) => match Manifest::read(&bytes) {
                Ok(manifest) => Ok(Some(manifest)),
                Err(why) => Err(ExportError::Contradiction { path, why }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ExportError::io(&path)(error)),
        }
    }

    /// Writes the manifest of a package.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn write_manifest(&self, package: Package, file: File) -> Result<Manifest, ExportError> {
        let name = manifest_name(package.from_seq, package.to_seq);
        let failed = ExportError::io(&self.path.join(&name));
        let (manifest, bytes) = match Manifest::seal(package, vec![file]) {
            Ok(made) => made,
            Err(error) => return Err(failed(error.into())),
        };
        let mut draft = Draft::new(&self.path)?;
        draft.write_all(&bytes).map_err(failed)?;
        draft.publish(&name)?;
        Ok(manifest)
    }
}

/// The name of a data file.
#[must_use]
pub fn data_name(from_seq: i64, to_seq: i64, format: Format) -> String {
    format!("{from_seq:012}-{to_seq:012}.{}", format.word())
}

/// The name of the manifest beside it.
#[must_use]
pub fn manifest_name(from_seq: i64, to_seq: i64) -> String {
    format!("{from_seq:012}-{to_seq:012}.manifest.json")
}
