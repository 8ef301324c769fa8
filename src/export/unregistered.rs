//! Packages that are where the book does not know them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::file::{create_folders, fsync_folder, list_entries};
use super::folder::{DELTAS, read_manifest};
use super::manifest::Manifest;
use super::name::{FileKind, MANIFEST, SeqRange, parse_file_name, snapshot_seq};
use super::{ConsumerFolder, ExportError};
use crate::config::FormatOptions;
use crate::ticket::Timestamp;

/// Where packages of earlier lineages are, below the export folder.
pub(super) const SUPERSEDED: &str = "superseded";

/// File systems note the time of a change no finer than that.
const MTIME_GRANULARITY: TimeDelta = TimeDelta::seconds(2);

/// A package that is in no book: its process was killed on the way, or the book is not the one it was
/// entered in.
#[derive(Clone, Debug)]
pub struct UnregisteredPackage {
    /// Its range.
    pub range: SeqRange,
    /// Its manifest, where it has one.
    pub manifest: Option<Manifest>,
    /// The names of its data files, usually one, and how each is written, as far as a name tells.
    pub data: Vec<(String, FormatOptions)>,
    /// When it was made, by the local clock.
    pub created_at: Option<Timestamp>,
}

impl UnregisteredPackage {
    fn new(range: SeqRange) -> UnregisteredPackage {
        UnregisteredPackage { range, manifest: None, data: Vec::new(), created_at: None }
    }

    /// The lineage it is of; `unsaid` where no manifest tells.
    #[must_use]
    pub fn lineage_or<'a>(&'a self, fallback: &'a str) -> &'a str {
        self.manifest.as_ref().map_or(fallback, |manifest| &manifest.lineage)
    }

    /// The name of one of its files.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.data.first() {
            Some((name, _)) if self.manifest.is_none() => name.clone(),
            _ => self.range.manifest_file(),
        }
    }
}

impl ConsumerFolder {
    /// The packages that are here and not among `known`, in order: ranges with the hashes of their manifests.
    /// The newest known one that is here is looked at too, for another database may have written here.
    ///
    /// # Errors
    /// [`ExportError`], where a manifest among them was altered too.
    pub fn unregistered_packages(
        &self,
        known: &BTreeMap<SeqRange, String>,
    ) -> Result<Vec<UnregisteredPackage>, ExportError> {
        let files: Vec<_> = list_entries(&self.path)?
            .into_iter()
            .filter_map(|(name, _)| parse_file_name(&name).map(|it| (name, it)))
            .collect();
        let is_here = |range: &&SeqRange| files.iter().any(|(_, it)| *it == (**range, FileKind::Manifest));
        let newest = known.keys().rev().find(is_here).copied();
        let replaced = newest.is_some_and(|range| {
            let manifest = read_manifest(&self.path.join(range.manifest_file()));
            manifest.is_ok_and(|it| Some(&it.manifest_sha256) != known.get(&range))
        });
        let mut unregistered: BTreeMap<SeqRange, UnregisteredPackage> = BTreeMap::new();
        for (name, (range, kind)) in files {
            if known.contains_key(&range) && !(replaced && newest == Some(range)) {
                continue;
            }
            let path = self.path.join(&name);
            let package = unregistered.entry(range).or_insert_with(|| UnregisteredPackage::new(range));
            match kind {
                FileKind::Manifest => {
                    let manifest = read_manifest(&path)?;
                    package.created_at = Timestamp::parse(&manifest.created_at).ok();
                    package.manifest = Some(manifest);
                }
                FileKind::Data { format, gzip } => {
                    if package.manifest.is_none() {
                        let modified = fs::metadata(&path).and_then(|it| it.modified());
                        let modified = modified.map_err(ExportError::cannot_read(&path))?;
                        package.created_at =
                            Timestamp::new(DateTime::<Utc>::from(modified) + MTIME_GRANULARITY);
                    }
                    package.data.push((name, FormatOptions { gzip, ..FormatOptions::exact(format) }));
                }
            }
        }
        Ok(unregistered.into_values().collect())
    }

    /// Moves packages of an earlier lineage out of the way of the present one, and gives the folder they
    /// are in now. `fallback` is the lineage of those without a manifest.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn supersede(
        &self,
        packages: &[UnregisteredPackage],
        fallback: &str,
    ) -> Result<Option<PathBuf>, ExportError> {
        let mut moved_to = None;
        for package in packages {
            let lineage = package.lineage_or(fallback);
            if lineage.is_empty() || !lineage.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
                let path = self.path.join(package.file_name());
                return Err(ExportError::contradiction(path, "its lineage is none"));
            }
            let superseded = self.dir.join(SUPERSEDED);
            let (lineage_folder, target) =
                (superseded.join(lineage), superseded.join(lineage).join(&self.consumer));
            create_folders([&superseded, &lineage_folder, &target])?;
            // The manifest goes last: it tells whose the data is, should the move be interrupted.
            let data = package.data.iter().map(|(name, _)| name.clone());
            let manifest = package.manifest.iter().map(|_| package.range.manifest_file());
            for name in data.chain(manifest) {
                let destination = target.join(&name);
                if destination.exists() {
                    return Err(ExportError::cannot_create(&destination)(
                        io::ErrorKind::AlreadyExists.into(),
                    ));
                }
                fs::rename(self.path.join(&name), &destination)
                    .map_err(ExportError::cannot_create(&destination))?;
            }
            fsync_folder(&target)?;
            moved_to = Some(target);
        }
        fsync_folder(&self.path)?;
        Ok(moved_to)
    }
}

/// A package or snapshot below the export folder, for whomever, that is of this lineage and ends behind
/// `seq`.
///
/// # Errors
/// [`ExportError`]
pub fn newer_than(dir: &Path, lineage: &str, seq: i64) -> Result<Option<PathBuf>, ExportError> {
    let has_lineage = |manifest: &Path| read_manifest(manifest).is_ok_and(|it| it.lineage == lineage);
    let subfolders = |path: &Path| -> Result<Vec<String>, ExportError> {
        let found = if path.is_dir() { list_entries(path)? } else { Vec::new() };
        Ok(found.into_iter().filter(|(_, kind)| kind.is_dir()).map(|(name, _)| name).collect())
    };
    let (deltas, snapshots) = (dir.join(DELTAS), dir.join(super::snapshot::SNAPSHOTS));
    for consumer in subfolders(&deltas)? {
        let folder = deltas.join(consumer);
        for (name, _) in list_entries(&folder)? {
            let is_newer = parse_file_name(&name)
                .is_some_and(|(range, kind)| kind == FileKind::Manifest && seq < range.to);
            if is_newer && has_lineage(&folder.join(&name)) {
                return Ok(Some(folder.join(name)));
            }
        }
    }
    for name in subfolders(&snapshots)? {
        let is_newer = snapshot_seq(&name).is_some_and(|to| seq < to);
        if is_newer && has_lineage(&snapshots.join(&name).join(MANIFEST)) {
            return Ok(Some(snapshots.join(name)));
        }
    }
    Ok(None)
}
