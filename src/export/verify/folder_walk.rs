//! Verifies the files of every folder below one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::chain_links::verify_links;
use super::counted_rows::CountedRows;
use super::data_file::read_data;
use super::manifest_check::{ManifestProblem, check_package, check_snapshot, total_rows};
use super::report::{Chain, VerifyProblem, VerifyReport};
use crate::content_digest::hex;
use crate::export::ExportError;
use crate::export::file::{MAX_MANIFEST_BYTES, is_temporary};
use crate::export::folder::{FOREIGN, SUPERSEDED};
use crate::export::manifest::{FileRole, Manifest, ManifestCounts, ManifestFile, PackageKind};
use crate::export::name::{FileKind, MANIFEST, REFERENCE_FOLDER, SeqRange, parse_file_name, snapshot_seq};
use crate::export::position::POSITIONS;
use crate::export::snapshot::{CHECKSUMS, checksums};
use crate::export::work_counter::WorkCounter;
use crate::regular_file::{LinkPolicy, OpenedFile, describe_other, open_regular, read_small};

/// Files that file managers leave in folders, in lower case.
const FILE_MANAGER_FILES: [&str; 6] =
    [".ds_store", ".localized", ".directory", "thumbs.db", "ehthumbs.db", "desktop.ini"];

/// Beginning of the names of the files in which macOS keeps attributes on foreign file systems.
const APPLE_DOUBLE_PREFIX: &str = "._";

/// The entries of a folder, by name.
#[derive(Default)]
struct FolderEntries {
    folders: Vec<PathBuf>,
    /// Everything else, with what it is if it is not a regular file.
    files: BTreeMap<String, Option<&'static str>>,
}

/// Verifies one folder after another, from `root` on.
pub(super) struct FolderWalk<'a> {
    root: &'a Path,
    bytes_read: &'a WorkCounter,
    report: VerifyReport,
}

/// Whether a path is among the packages of earlier lineages below `root`.
pub(super) fn is_superseded(root: &Path, path: &Path) -> bool {
    path.starts_with(root.join(SUPERSEDED))
}

impl FolderWalk<'_> {
    /// Adds a file that belongs to no package. Among those of earlier lineages halosync puts such files itself.
    fn add_foreign(&mut self, path: &Path, message: &str) {
        if is_superseded(self.root, path) {
            self.report.add_note(path, message);
        } else {
            self.report.add_finding(path, VerifyProblem::Foreign, message);
        }
    }

    /// Verifies everything below a folder.
    pub(super) fn verify(root: &Path, bytes_read: &WorkCounter) -> Result<VerifyReport, ExportError> {
        let mut walk = FolderWalk { root, bytes_read, report: VerifyReport::default() };
        walk.verify_folder(root)?;
        Ok(walk.report)
    }

    fn verify_folder(&mut self, folder: &Path) -> Result<(), ExportError> {
        let FolderEntries { mut folders, mut files } = self.list(folder)?;
        let is_chain = files.keys().any(|name| parse_file_name(name).is_some());
        let reference = folder.join(REFERENCE_FOLDER);
        if is_chain && folders.contains(&reference) {
            folders.retain(|it| *it != reference);
            self.list_reference(&reference, &mut files)?;
        }
        if folder == self.root.join(POSITIONS) {
            self.verify_positions(folder, &files);
        } else if files.contains_key(MANIFEST) || files.contains_key(CHECKSUMS) {
            self.verify_snapshot(folder, &files)?;
        } else if !files.is_empty() {
            self.verify_chain(folder, &files)?;
        }
        let foreign = self.root.join(SUPERSEDED).join(FOREIGN);
        for subfolder in folders {
            if subfolder == foreign {
                self.report.add_note(
                    &subfolder,
                    "files that were part of no package were moved here; they are not checked",
                );
            } else {
                self.verify_folder(&subfolder)?;
            }
        }
        Ok(())
    }

    /// Lists a folder without the temporary files of halosync, which are not checked, and without the files of file
    /// managers, which are noted.
    fn list(&mut self, folder: &Path) -> Result<FolderEntries, ExportError> {
        let cannot_read = || ExportError::cannot_read(folder);
        let mut entries = FolderEntries::default();
        for entry in fs::read_dir(folder).map_err(cannot_read())? {
            let entry = entry.map_err(cannot_read())?;
            let kind = entry.file_type().map_err(cannot_read())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_temporary(&name) {
                continue;
            }
            if kind.is_dir() {
                entries.folders.push(entry.path());
            } else if kind.is_file() && is_of_file_manager(&name) {
                self.report
                    .add_note(&entry.path(), "a file manager left it here; it is not part of the export");
            } else {
                entries.files.insert(name, describe_other(kind));
            }
        }
        entries.folders.sort();
        Ok(entries)
    }

    /// Adds the files of the reference tables of a chain, with their folders.
    fn list_reference(
        &mut self,
        reference: &Path,
        files: &mut BTreeMap<String, Option<&'static str>>,
    ) -> Result<(), ExportError> {
        let FolderEntries { folders, files: beside } = self.list(reference)?;
        files.extend(
            beside.into_iter().map(|(name, special)| (format!("{REFERENCE_FOLDER}/{name}"), special)),
        );
        for folder in folders {
            let table = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let FolderEntries { folders, files: tables } = self.list(&folder)?;
            let named = |name: String| format!("{REFERENCE_FOLDER}/{table}/{name}");
            files.extend(tables.into_iter().map(|(name, special)| (named(name), special)));
            for folder in folders {
                self.verify_folder(&folder)?;
            }
        }
        Ok(())
    }

    /// Opens a file; one that does not exist or is no regular file is a finding.
    fn open(&mut self, path: &Path) -> Result<Option<(File, u64)>, ExportError> {
        match open_regular(path, LinkPolicy::Refuse) {
            Ok(OpenedFile::Regular(file, metadata)) => return Ok(Some((file, metadata.len()))),
            Ok(OpenedFile::Other(what)) => self.report.add_finding(path, VerifyProblem::Foreign, what),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report.add_finding(path, VerifyProblem::Missing, "it is gone");
            }
            Err(error) => return Err(ExportError::cannot_read(path)(error)),
        }
        Ok(None)
    }

    /// Reads a manifest and returns it with the hash of its file; a damaged one is a finding.
    fn read_manifest(&mut self, path: &Path) -> Result<Option<(Manifest, String)>, ExportError> {
        let Some((file, _)) = self.open(path)? else { return Ok(None) };
        let bytes = read_small(file, MAX_MANIFEST_BYTES).map_err(ExportError::cannot_read(path))?;
        let (problem, why) = match bytes {
            None => (VerifyProblem::Edited, "it is too large for a manifest".to_owned()),
            Some(bytes) if bytes.is_empty() => (VerifyProblem::Empty, "it is empty".to_owned()),
            Some(bytes) => match Manifest::parse(&bytes) {
                Ok(manifest) => return Ok(Some((manifest, hex(&Sha256::digest(&bytes))))),
                Err(why) => (VerifyProblem::Edited, why),
            },
        };
        self.report.add_finding(path, problem, why);
        Ok(None)
    }

    /// Compares a data file with its entry in the manifest; returns its rows if it is as described. `range` is given
    /// for the changes of a delta.
    fn verify_data_file(
        &mut self,
        path: &Path,
        file: &ManifestFile,
        range: Option<SeqRange>,
    ) -> Result<Option<CountedRows>, ExportError> {
        let Some((opened, length)) = self.open(path)? else { return Ok(None) };
        let (problem, message) = if length == 0 && file.bytes != 0 {
            (VerifyProblem::Empty, format!("it is empty, but the manifest says {} bytes", file.bytes))
        } else if length != file.bytes {
            let message = format!("its size is {length} bytes, but the manifest says {}", file.bytes);
            (VerifyProblem::Edited, message)
        } else {
            let content =
                read_data(opened, file, range, self.bytes_read).map_err(ExportError::cannot_read(path))?;
            let edited = match content.rows {
                _ if content.sha256 != file.sha256 => {
                    "its hash differs from the one in the manifest".to_owned()
                }
                Err(why) => why,
                Ok(counted) if counted.rows != file.rows => {
                    format!("its number of rows is {}, but the manifest says {}", counted.rows, file.rows)
                }
                Ok(counted) => return Ok(Some(counted)),
            };
            (VerifyProblem::Edited, edited)
        };
        self.report.add_finding(path, problem, message);
        Ok(None)
    }

    fn add_manifest_problems(&mut self, path: &Path, problems: Vec<ManifestProblem>) {
        for (problem, message) in problems {
            self.report.add_finding(path, problem, message);
        }
    }

    /// Names what is in the folder of positions beside them.
    fn verify_positions(&mut self, folder: &Path, files: &BTreeMap<String, Option<&'static str>>) {
        for (name, special) in files {
            let is_position = Path::new(name).extension().is_some_and(|it| it == "json");
            let message = special.or((!is_position).then_some("it is not the position of a consumer"));
            if let Some(message) = message {
                self.report.add_finding(&folder.join(name), VerifyProblem::Foreign, message);
            }
        }
    }

    fn verify_snapshot(
        &mut self,
        folder: &Path,
        names: &BTreeMap<String, Option<&'static str>>,
    ) -> Result<(), ExportError> {
        for name in [MANIFEST, CHECKSUMS] {
            if !names.contains_key(name) {
                let message = "every snapshot must have one";
                self.report.add_finding(&folder.join(name), VerifyProblem::Missing, message);
            }
        }
        let path = folder.join(MANIFEST);
        if !names.contains_key(MANIFEST) {
            for name in names.keys().filter(|name| *name != CHECKSUMS) {
                self.add_foreign(&folder.join(name), "there is no manifest that lists it");
            }
            return Ok(());
        }
        let Some((manifest, sha256)) = self.read_manifest(&path)? else { return Ok(()) };
        let folder_name = folder.file_name().map(|name| name.to_string_lossy());
        let (problems, files) = check_snapshot(&manifest, folder_name.and_then(|name| snapshot_seq(&name)));
        self.add_manifest_problems(&path, problems);
        for file in &files {
            let path = folder.join(&file.name);
            if names.contains_key(&file.name) {
                self.verify_data_file(&path, file, None)?;
            } else {
                self.report.add_finding(&path, VerifyProblem::Missing, NOT_THERE);
            }
        }
        let is_listed = |name: &String| {
            name == MANIFEST || name == CHECKSUMS || manifest.files.iter().any(|file| file.name == *name)
        };
        for (name, special) in names.iter().filter(|(name, _)| !is_listed(name)) {
            self.add_foreign(&folder.join(name), special.unwrap_or("it is not listed in the manifest"));
        }
        if names.contains_key(CHECKSUMS) {
            self.verify_checksums(&folder.join(CHECKSUMS), &checksums(&manifest, &sha256))?;
        }
        self.report.chains.push(Chain {
            path: folder.to_owned(),
            kind: PackageKind::Snapshot,
            rows: total_rows(&manifest.files),
            consumer: manifest.consumer,
            lineage: Some(manifest.lineage),
            packages: 1,
            from_seq: manifest.from_seq,
            to_seq: manifest.to_seq,
        });
        Ok(())
    }

    fn verify_checksums(&mut self, path: &Path, expected: &str) -> Result<(), ExportError> {
        let Some((file, _)) = self.open(path)? else { return Ok(()) };
        let bytes = read_small(file, expected.len() as u64).map_err(ExportError::cannot_read(path))?;
        if bytes.as_deref() != Some(expected.as_bytes()) {
            let is_empty = bytes.is_some_and(|bytes| bytes.is_empty());
            let problem = if is_empty { VerifyProblem::Empty } else { VerifyProblem::Edited };
            self.report.add_finding(path, problem, "it does not match the manifest");
        }
        Ok(())
    }

    fn verify_chain(
        &mut self,
        folder: &Path,
        names: &BTreeMap<String, Option<&'static str>>,
    ) -> Result<(), ExportError> {
        let mut manifests: BTreeMap<SeqRange, Option<Manifest>> = BTreeMap::new();
        let mut data = Vec::new();
        for (name, special) in names {
            let path = folder.join(name);
            match parse_file_name(name) {
                Some((range, FileKind::Manifest)) => {
                    let manifest = self.read_manifest(&path)?.map(|(manifest, _)| manifest);
                    manifests.insert(range, manifest);
                }
                Some((range, FileKind::Data(_))) => data.push((name, range, *special)),
                None => self.add_foreign(&path, special.unwrap_or("it is not the name of a package file")),
            }
        }
        for (range, manifest) in &manifests {
            if let Some(manifest) = manifest {
                self.verify_package(folder, *range, manifest, names)?;
            }
        }
        for (name, range, special) in data {
            let path = folder.join(name);
            match manifests.get(&range) {
                Some(Some(manifest)) if manifest.files.iter().any(|file| file.name == *name) => {}
                _ if special.is_some() => self.add_foreign(&path, special.unwrap_or_default()),
                None if is_superseded(self.root, &path) => self.report.add_note(&path, "it has no manifest"),
                None => self.report.add_finding(&path, VerifyProblem::Missing, "its manifest does not exist"),
                Some(Some(_)) => self.add_foreign(&path, "it is not listed in its manifest"),
                // It cannot be checked, as the finding about its manifest says.
                Some(None) => {}
            }
        }
        let path_of = |range: SeqRange| folder.join(range.manifest_file());
        verify_links(folder, path_of, &manifests, &mut self.report);
        Ok(())
    }

    /// Verifies the manifest of a package and its files.
    fn verify_package(
        &mut self,
        folder: &Path,
        range: SeqRange,
        manifest: &Manifest,
        names: &BTreeMap<String, Option<&'static str>>,
    ) -> Result<(), ExportError> {
        let manifest_path = folder.join(range.manifest_file());
        let (problems, files) = check_package(manifest, range);
        self.add_manifest_problems(&manifest_path, problems);
        let parts = manifest.files.iter().filter(|file| file.role == FileRole::Tickets).count();
        let mut counted_parts = Vec::new();
        for file in files {
            let path = folder.join(&file.name);
            if !names.contains_key(&file.name) {
                self.report.add_finding(&path, VerifyProblem::Missing, NOT_THERE);
                continue;
            }
            let changes = (file.role == FileRole::Tickets).then_some(range);
            let counted = self.verify_data_file(&path, file, changes)?.filter(|_| changes.is_some());
            counted_parts.extend(counted.and_then(|it| it.counts()));
        }
        let counts = ManifestCounts::sum(&counted_parts);
        if 0 < parts && counted_parts.len() == parts && counts != manifest.counts {
            let message = format!(
                "it says that {} tickets were created, {} updated and {} deleted, but the data says {}, {} and {}",
                manifest.counts.c, manifest.counts.u, manifest.counts.d, counts.c, counts.u, counts.d
            );
            self.report.add_finding(&manifest_path, VerifyProblem::Edited, message);
        }
        Ok(())
    }
}

/// Message about a file that is in a manifest and not in the folder.
const NOT_THERE: &str = "it is listed in the manifest, but does not exist";

fn is_of_file_manager(name: &str) -> bool {
    name.starts_with(APPLE_DOUBLE_PREFIX) || FILE_MANAGER_FILES.contains(&name.to_ascii_lowercase().as_str())
}
