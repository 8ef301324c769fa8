//! Unregistered packages: files in a consumer's folder that the database does not know.

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

/// Folder of packages of earlier lineages, below the export folder.
pub(super) const SUPERSEDED: &str = "superseded";

/// Coarsest resolution of modification times in common file systems.
const MTIME_GRANULARITY: TimeDelta = TimeDelta::seconds(2);

/// A package that is not registered in the database: halosync was killed before it could be, or an older
/// copy of the database was restored.
#[derive(Clone, Debug)]
pub struct UnregisteredPackage {
    /// Range of sequence numbers.
    pub range: SeqRange,
    /// Manifest, if it has one.
    pub manifest: Option<Manifest>,
    /// Names of its data files, usually one, each with its format and compression.
    pub data: Vec<(String, FormatOptions)>,
    /// When it was made, by the local clock; the latest possible time if there is no manifest.
    pub created_at: Option<Timestamp>,
}

impl UnregisteredPackage {
    fn new(range: SeqRange) -> UnregisteredPackage {
        UnregisteredPackage { range, manifest: None, data: Vec::new(), created_at: None }
    }

    /// Returns its lineage; `fallback` without a manifest.
    #[must_use]
    pub fn lineage_or<'a>(&'a self, fallback: &'a str) -> &'a str {
        self.manifest.as_ref().map_or(fallback, |manifest| &manifest.lineage)
    }

    /// Returns the name of one of its files, for messages: the manifest, if there is one.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.data.first() {
            Some((name, _)) if self.manifest.is_none() => name.clone(),
            _ => self.range.manifest_file(),
        }
    }
}

impl ConsumerFolder {
    /// Returns the packages in the folder that are not among `known`, in order. `known` has the ranges of
    /// the registered packages with the hashes of their manifests. The newest of those in the folder is
    /// returned too if its manifest has another hash, for then another database has written here.
    ///
    /// # Errors
    /// A damaged manifest of an unregistered package is an error.
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
                    package.created_at = manifest.created_at.parse().ok();
                    package.manifest = Some(manifest);
                }
                FileKind::Data(options) => {
                    if package.manifest.is_none() {
                        let modified = fs::metadata(&path).and_then(|it| it.modified());
                        let modified = modified.map_err(ExportError::cannot_read(&path))?;
                        package.created_at =
                            Timestamp::new(DateTime::<Utc>::from(modified) + MTIME_GRANULARITY);
                    }
                    package.data.push((name, options));
                }
            }
        }
        Ok(unregistered.into_values().collect())
    }

    /// Moves packages of an earlier lineage to `superseded/`, and returns the folder they are in now.
    /// `fallback` is the lineage of packages without a manifest.
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
                return Err(ExportError::contradiction(path, "its lineage is invalid"));
            }
            let superseded = self.dir.join(SUPERSEDED);
            let (lineage_folder, target) =
                (superseded.join(lineage), superseded.join(lineage).join(&self.consumer));
            create_folders([&superseded, &lineage_folder, &target])?;
            // The manifest is moved last, because it has the lineage, which is needed again if the move is
            // interrupted.
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

/// Returns a package or snapshot of this lineage below the export folder, of any consumer, that is newer than
/// `seq`.
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
