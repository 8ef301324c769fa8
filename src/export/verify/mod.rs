//! Verification of packages without a database: whether all are present, none twice, and none changed.
//!
//! Anybody may have put anything into the folder. No link is followed, no special file is opened, and nothing is kept
//! in memory that grows with a file.

mod counted_rows;
mod csv_rows;
mod data_file;
mod json_rows;
mod manifest_check;
mod row_text;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::ExportError;
use super::file::{hex, is_temporary};
use super::folder::{FOREIGN, SUPERSEDED};
use super::manifest::{FileRole, Manifest, ManifestFile, PackageKind};
use super::name::{FileKind, MANIFEST, SeqRange, parse_file_name, snapshot_seq};
use super::position::POSITIONS;
use super::snapshot::{CHECKSUMS, checksums};
use super::untrusted::{MAX_MANIFEST_BYTES, Opened, describe, open_regular, read_small};

use counted_rows::CountedRows;
use data_file::read_data;
use manifest_check::{ManifestProblem, check_package, check_snapshot};

/// Files that file managers leave in folders, in lower case.
const FILE_MANAGER_FILES: [&str; 6] =
    [".ds_store", ".localized", ".directory", "thumbs.db", "ehthumbs.db", "desktop.ini"];

/// Beginning of the names of the files in which macOS keeps attributes on foreign file systems.
const APPLE_DOUBLE_PREFIX: &str = "._";

/// Kind of a problem with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, Serialize)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum VerifyProblem {
    /// Changes are in no package.
    Gap,
    /// Changes are in two packages.
    Repeat,
    /// The file was changed after it was written.
    Edited,
    /// The file does not belong in this folder.
    Foreign,
    /// There is nothing in it.
    Empty,
    /// The file does not exist.
    Missing,
}

impl VerifyProblem {
    /// Returns its name in the output of `export verify`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A problem with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyFinding {
    /// Kind of the problem.
    pub problem: VerifyProblem,
    /// File or folder.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Details, for people.
    #[serde(rename = "what")]
    pub message: String,
}

/// A chain of packages in one folder, or one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Folder.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Packages of changes, or a snapshot.
    pub kind: PackageKind,
    /// Consumer.
    pub consumer: Option<String>,
    /// Lineage of the sequence numbers.
    pub lineage: Option<String>,
    /// Number of packages.
    pub packages: usize,
    /// Start of the first package; above 0 if earlier ones have aged out or were removed.
    pub from_seq: i64,
    /// End of the last package.
    pub to_seq: i64,
    /// Number of rows in all data files.
    pub rows: u64,
}

/// A file that does not belong to the export and does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyNote {
    /// File.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// What it is, for people.
    #[serde(rename = "what")]
    pub message: String,
}

/// What is expected of the packages, beside that they are whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Change that must be reached by every chain that is not superseded, and by the snapshot if the folder is one.
    /// If it has neither, any snapshot below it is enough.
    pub expect_to: Option<i64>,
    /// Whether every chain that is not superseded must begin at 0.
    pub from_start: bool,
}

/// Writes a path as it is shown, even if it is not UTF-8.
pub(crate) fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Result of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Chains and snapshots that were verified.
    pub chains: Vec<Chain>,
    /// Problems.
    #[serde(rename = "problems")]
    pub findings: Vec<VerifyFinding>,
    /// What was found beside the export and does no harm.
    pub notes: Vec<VerifyNote>,
}

/// Verifies everything below a folder, which may be an export folder, the folder of a consumer, or a
/// snapshot.
///
/// # Errors
/// A file that cannot be read is an error, and so is a folder without packages.
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<VerifyReport, ExportError> {
    let mut verification = Verification { root: dir, report: VerifyReport::default() };
    if dir.is_dir() {
        verification.verify_folder(dir)?;
    }
    if verification.report.chains.is_empty() && verification.report.findings.is_empty() {
        return Err(ExportError::NoPackage { path: dir.to_owned() });
    }
    if options.from_start {
        verification.verify_starts();
    }
    if let Some(expected) = options.expect_to {
        verification.verify_ends(expected);
    }
    Ok(verification.report)
}

/// The entries of a folder, by name.
#[derive(Default)]
struct FolderEntries {
    folders: Vec<PathBuf>,
    /// Everything else, with what it is if it is not a regular file.
    files: BTreeMap<String, Option<&'static str>>,
}

/// A verification of everything below `root`.
struct Verification<'a> {
    root: &'a Path,
    report: VerifyReport,
}

impl Verification<'_> {
    fn add_finding(&mut self, path: &Path, problem: VerifyProblem, message: impl Into<String>) {
        let message = message.into();
        self.report.findings.push(VerifyFinding { path: path.to_owned(), problem, message });
    }

    fn add_note(&mut self, path: &Path, message: &str) {
        self.report.notes.push(VerifyNote { path: path.to_owned(), message: message.to_owned() });
    }

    fn is_superseded(&self, path: &Path) -> bool {
        path.starts_with(self.root.join(SUPERSEDED))
    }

    /// Adds a file that belongs to no package. Among those of earlier lineages halosync puts such files itself.
    fn add_foreign(&mut self, path: &Path, message: &str) {
        if self.is_superseded(path) {
            self.add_note(path, message);
        } else {
            self.add_finding(path, VerifyProblem::Foreign, message);
        }
    }

    fn verify_starts(&mut self) {
        let deltas: Vec<_> =
            self.report.chains.iter().filter(|it| it.kind == PackageKind::Delta).cloned().collect();
        let current = deltas.iter().filter(|chain| !self.is_superseded(&chain.path)).collect::<Vec<_>>();
        if current.is_empty() {
            let root = self.root;
            self.add_finding(root, VerifyProblem::Missing, "no chain of packages begins at 0 here");
        }
        for chain in current.into_iter().filter(|chain| chain.from_seq != 0) {
            let message = format!("it begins after change {}, not at 0", chain.from_seq);
            self.add_finding(&chain.path, VerifyProblem::Missing, message);
        }
    }

    fn verify_ends(&mut self, expected: i64) {
        let root = self.root;
        let must_reach = |it: &Self, chain: &Chain| match chain.kind {
            PackageKind::Delta => !it.is_superseded(&chain.path),
            PackageKind::Snapshot => chain.path == root,
        };
        let chains = &self.report.chains;
        let snapshots = chains.iter().filter(|chain| chain.kind == PackageKind::Snapshot);
        let reached = snapshots.map(|chain| chain.to_seq).max();
        if !chains.iter().any(|chain| must_reach(self, chain)) && reached < Some(expected) {
            let message = format!("nothing here reaches the expected change {expected}");
            self.add_finding(root, VerifyProblem::Missing, message);
        }
        let chains = &self.report.chains;
        let is_short = |chain: &&Chain| chain.to_seq < expected && must_reach(self, chain);
        let short_chains: Vec<_> = chains.iter().filter(is_short).cloned().collect();
        for chain in short_chains {
            let message = format!("it ends at change {}, but {expected} was expected", chain.to_seq);
            self.add_finding(&chain.path, VerifyProblem::Missing, message);
        }
    }

    fn verify_folder(&mut self, folder: &Path) -> Result<(), ExportError> {
        let FolderEntries { folders, files } = self.list(folder)?;
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
                self.add_note(
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
                self.add_note(&entry.path(), "a file manager left it here; it is not part of the export");
            } else {
                entries.files.insert(name, describe(kind));
            }
        }
        entries.folders.sort();
        Ok(entries)
    }

    /// Opens a file; one that does not exist or is no regular file is a finding.
    fn open(&mut self, path: &Path) -> Result<Option<(File, u64)>, ExportError> {
        match open_regular(path) {
            Ok(Opened::Regular(file, length)) => return Ok(Some((file, length))),
            Ok(Opened::Other(what)) => self.add_finding(path, VerifyProblem::Foreign, what),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.add_finding(path, VerifyProblem::Missing, "it is gone");
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
        self.add_finding(path, problem, why);
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
            let content = read_data(opened, file, range).map_err(ExportError::cannot_read(path))?;
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
        self.add_finding(path, problem, message);
        Ok(None)
    }

    fn add_manifest_problems(&mut self, path: &Path, problems: Vec<ManifestProblem>) {
        for (problem, message) in problems {
            self.add_finding(path, problem, message);
        }
    }

    /// Names what is in the folder of positions beside them.
    fn verify_positions(&mut self, folder: &Path, files: &BTreeMap<String, Option<&'static str>>) {
        for (name, special) in files {
            let is_position = Path::new(name).extension().is_some_and(|it| it == "json");
            let message = special.or((!is_position).then_some("it is not the position of a consumer"));
            if let Some(message) = message {
                self.add_finding(&folder.join(name), VerifyProblem::Foreign, message);
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
                self.add_finding(&folder.join(name), VerifyProblem::Missing, message);
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
                self.add_finding(&path, VerifyProblem::Missing, NOT_THERE);
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
            self.add_finding(path, problem, "it does not match the manifest");
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
                None if self.is_superseded(&path) => self.add_note(&path, "it has no manifest"),
                None => self.add_finding(&path, VerifyProblem::Missing, "its manifest does not exist"),
                Some(Some(_)) => self.add_foreign(&path, "it is not listed in its manifest"),
                // It cannot be checked, as the finding about its manifest says.
                Some(None) => {}
            }
        }
        self.verify_links(folder, &manifests);
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
        for file in files {
            let path = folder.join(&file.name);
            if !names.contains_key(&file.name) {
                self.add_finding(&path, VerifyProblem::Missing, NOT_THERE);
                continue;
            }
            let changes = (file.role == FileRole::Tickets).then_some(range);
            let counted = self.verify_data_file(&path, file, changes)?;
            if let Some(counts) = counted.map(|it| it.counts).filter(|counts| *counts != manifest.counts) {
                let message = format!(
                    "it says that {} tickets were created, {} updated and {} deleted, but the data says {}, {} and {}",
                    manifest.counts.c, manifest.counts.u, manifest.counts.d, counts.c, counts.u, counts.d
                );
                self.add_finding(&manifest_path, VerifyProblem::Edited, message);
            }
        }
        Ok(())
    }

    /// Checks that each package begins where the previous one ended, and has its hash.
    fn verify_links(&mut self, folder: &Path, manifests: &BTreeMap<SeqRange, Option<Manifest>>) {
        let Some((first, last)) = manifests.keys().next().zip(manifests.keys().map(|range| range.to).max())
        else {
            return;
        };
        let first_manifest = manifests.values().flatten().next();
        let mut predecessor: Option<(SeqRange, Option<&Manifest>)> = None;
        let mut covered_to = first.from;
        for (range, manifest) in manifests {
            let path = folder.join(range.manifest_file());
            if covered_to < range.from {
                let gap = SeqRange { from: covered_to, to: range.from };
                let message = format!("one or more packages before it are missing: {gap}");
                self.add_finding(&path, VerifyProblem::Gap, message);
            } else if range.from < covered_to {
                let message =
                    format!("changes {} to {} are also in an earlier package", range.from + 1, covered_to);
                self.add_finding(&path, VerifyProblem::Repeat, message);
            }
            if let (Some(manifest), Some(first)) = (manifest, first_manifest) {
                if manifest.kind != PackageKind::Delta || manifest.consumer != first.consumer {
                    self.add_finding(
                        &path,
                        VerifyProblem::Foreign,
                        "it is not for the same consumer as the first package",
                    );
                } else if manifest.lineage != first.lineage || manifest.server != first.server {
                    self.add_finding(
                        &path,
                        VerifyProblem::Foreign,
                        "its lineage or server differs from that of the first package",
                    );
                }
            }
            if let Some(message) = manifest.as_ref().and_then(|it| broken_link(*range, it, predecessor)) {
                self.add_finding(&path, VerifyProblem::Foreign, message);
            }
            covered_to = covered_to.max(range.to);
            predecessor = Some((*range, manifest.as_ref()));
        }
        let files = manifests.values().flatten().flat_map(|manifest| &manifest.files);
        self.report.chains.push(Chain {
            path: folder.to_owned(),
            kind: PackageKind::Delta,
            consumer: first_manifest.and_then(|manifest| manifest.consumer.clone()),
            lineage: first_manifest.map(|manifest| manifest.lineage.clone()),
            packages: manifests.len(),
            from_seq: first.from,
            to_seq: last,
            rows: total_rows(files),
        });
    }
}

/// Returns the problem with the link from a package to the previous one, if there is one.
fn broken_link(
    range: SeqRange,
    manifest: &Manifest,
    predecessor: Option<(SeqRange, Option<&Manifest>)>,
) -> Option<&'static str> {
    let previous_sha256 = manifest.previous_manifest_sha256.as_deref();
    match previous_sha256 {
        Some(_) if range.from == 0 => return Some("it begins at 0, but names a previous package"),
        None if range.from != 0 => return Some("it names no previous package, but does not begin at 0"),
        _ => {}
    }
    let (previous_range, previous_manifest) = predecessor?;
    let expected = previous_manifest.filter(|_| previous_range.to == range.from)?;
    (previous_sha256 != Some(&expected.manifest_sha256))
        .then_some("it was made to follow another package than the one before it")
}

/// Message about a file that is in a manifest and not in the folder.
const NOT_THERE: &str = "it is listed in the manifest, but does not exist";

fn is_of_file_manager(name: &str) -> bool {
    name.starts_with(APPLE_DOUBLE_PREFIX) || FILE_MANAGER_FILES.contains(&name.to_ascii_lowercase().as_str())
}

/// The rows in data files; a forged manifest may say any number.
fn total_rows<'f>(files: impl IntoIterator<Item = &'f ManifestFile>) -> u64 {
    files.into_iter().fold(0, |sum, file| sum.saturating_add(file.rows))
}
