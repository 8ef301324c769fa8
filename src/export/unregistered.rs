//! What lies in a consumer's folder under the names of packages and is in no record of the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::{fsync_folder, move_file};
use super::folder::{create_parents, list_package_files, parent};
use super::held_files::snapshot_folders;
use super::manifest::Manifest;
use super::name::{FileKind, MANIFEST, SeqRange, parse_file_name};
use super::package_reader::read_package_manifest;
use super::position::ChainPosition;
use super::{ConsumerFolder, ExportError};

/// A package that the database does not know, with a manifest that can be read.
#[derive(Clone, Debug)]
pub struct UnregisteredPackage {
    /// Its manifest.
    pub manifest: Manifest,
    /// The names of its files, the manifest last.
    files: Vec<String>,
}

impl UnregisteredPackage {
    /// The end of the chain that this package is the last one of.
    #[must_use]
    pub fn position(&self) -> ChainPosition {
        ChainPosition {
            lineages: vec![self.manifest.lineage.clone()],
            to_seq: self.manifest.to_seq,
            manifest_sha256: self.manifest.manifest_sha256.clone(),
        }
    }

    /// The name of its manifest.
    #[must_use]
    pub fn manifest_file(&self) -> String {
        self.manifest.range().manifest_file()
    }

    /// The names of its files, the manifest last.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }
}

/// A package that the database knows: the name of its data file, and the hash of its manifest.
#[derive(Clone, Debug)]
pub struct RegisteredPackage {
    /// The name of its data file.
    pub data_file: String,
    /// The `manifest_sha256` of its manifest.
    pub manifest_sha256: String,
}

/// What has the name of a package file and is not registered.
#[derive(Clone, Debug, Default)]
pub struct UnregisteredFiles {
    /// Packages, in order.
    pub packages: Vec<UnregisteredPackage>,
    /// The names of other files: no readable manifest lists them.
    pub foreign: Vec<String>,
}

impl ConsumerFolder {
    /// Returns what is in the folder and not in `registered`. Of the registered packages only the newest one in the folder is
    /// looked at: if its manifest has another hash, another database has written here.
    ///
    /// # Errors
    /// A link or special file under the name of a package file is refused.
    pub fn unregistered_files(
        &self,
        registered: &BTreeMap<SeqRange, RegisteredPackage>,
    ) -> Result<UnregisteredFiles, ExportError> {
        let mut by_range: BTreeMap<SeqRange, Vec<(String, FileKind)>> = BTreeMap::new();
        for name in list_package_files(&self.path)? {
            if let Some((range, kind)) = parse_file_name(&name) {
                by_range.entry(range).or_default().push((name, kind));
            }
        }
        let has_manifest = |range: &&SeqRange| {
            by_range.get(range).is_some_and(|files| files.iter().any(|(_, kind)| *kind == FileKind::Manifest))
        };
        let newest = registered.keys().rev().find(has_manifest).copied();
        let mut unregistered = UnregisteredFiles::default();
        for (range, files) in by_range {
            let mut names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
            let manifest_file = range.manifest_file();
            if let Some(package) = registered.get(&range) {
                let is_replaced = newest == Some(range)
                    && read_package_manifest(&self.path, &manifest_file)
                        .is_ok_and(|(it, _)| it.manifest_sha256 != package.manifest_sha256);
                if !is_replaced {
                    // Parts have a name of their own; their format tells whether they can be the package's.
                    let data = parse_file_name(&package.data_file);
                    let is_data = |name: &str| data.is_some() && parse_file_name(name) == data;
                    names.retain(|name| *name != manifest_file && !is_data(name));
                    unregistered.foreign.append(&mut names);
                    continue;
                }
            }
            for name in &names {
                self.check_regular(name)?;
            }
            let manifest = names
                .contains(&manifest_file)
                .then(|| read_package_manifest(&self.path, &manifest_file))
                .and_then(Result::ok)
                .map(|(manifest, _)| manifest)
                .filter(|manifest| manifest.range() == range && is_lineage(&manifest.lineage));
            if let Some(manifest) = manifest {
                let is_listed = |name: &String| manifest.files.iter().any(|file| file.name == *name);
                let mut files: Vec<String> = names.extract_if(.., |name| is_listed(name)).collect();
                names.retain(|name| *name != manifest_file);
                files.push(manifest_file);
                unregistered.packages.push(UnregisteredPackage { manifest, files });
            }
            unregistered.foreign.append(&mut names);
        }
        for name in &unregistered.foreign {
            self.check_regular(name)?;
        }
        Ok(unregistered)
    }

    /// Moves a package of an earlier lineage to `superseded/`, and returns the folder it is in now.
    pub fn supersede(&self, package: &UnregisteredPackage) -> Result<PathBuf, ExportError> {
        let target = self.create_superseded(&package.manifest.lineage)?;
        // The manifest is moved last, because it has the lineage, which is needed again if the move is interrupted.
        for name in &package.files {
            create_parents(&target, name)?;
            let folder = target.join(name);
            move_file(&self.path.join(name), parent(&folder))?;
        }
        fsync_folder(&target)?;
        fsync_folder(&self.path)?;
        Ok(target)
    }
}

/// Whether a lineage can be the name of a folder.
fn is_lineage(lineage: &str) -> bool {
    !lineage.is_empty() && lineage.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

/// Returns a snapshot of this lineage below the export folder that is newer than `seq`.
pub fn newer_snapshot(dir: &Path, lineage: &str, seq: i64) -> Result<Option<PathBuf>, ExportError> {
    let is_newer = |(folder, to): &(PathBuf, Option<i64>)| {
        to.is_some_and(|to| seq < to)
            && read_package_manifest(folder, MANIFEST).is_ok_and(|(it, _)| it.lineage == lineage)
    };
    Ok(snapshot_folders(dir)?.into_iter().find(is_newer).map(|(folder, _)| folder))
}
