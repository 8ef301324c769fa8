//! Verification of packages without a database: whether all are present, none twice, and none changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::ExportError;
use super::file::{hash_file, hex, is_temporary, list_entries};
use super::folder::{FOREIGN, SUPERSEDED};
use super::manifest::{Manifest, ManifestFile, PackageKind};
use super::name::{FileKind, MANIFEST, SeqRange, parse_file_name};
use super::position::POSITIONS;
use super::snapshot::{CHECKSUMS, checksums};

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
}

/// Verifies everything below a folder, which may be an export folder, the folder of a consumer, or a
/// snapshot.
///
/// If a sequence number is `expected`, it must be reached by every chain that is not superseded, and by the
/// snapshot if `dir` is one. If `dir` has neither, any snapshot below it is enough.
///
/// # Errors
/// A file that cannot be read is an error, and so is a folder without packages.
pub fn verify(dir: &Path, expected: Option<i64>) -> Result<VerifyReport, ExportError> {
    let mut report = VerifyReport::default();
    if dir.is_dir() {
        report.verify_folder(dir)?;
    }
    if report.chains.is_empty() && report.findings.is_empty() {
        return Err(ExportError::NoPackage { path: dir.to_owned() });
    }
    if let Some(expected) = expected {
        let superseded = dir.join(SUPERSEDED);
        let must_reach = |chain: &Chain| match chain.kind {
            PackageKind::Delta => !chain.path.starts_with(&superseded),
            PackageKind::Snapshot => chain.path == dir,
        };
        let snapshots = report.chains.iter().filter(|chain| chain.kind == PackageKind::Snapshot);
        let reached = snapshots.map(|chain| chain.to_seq).max();
        if !report.chains.iter().any(must_reach) && reached < Some(expected) {
            let message = format!("nothing here reaches the expected change {expected}");
            report.add_finding(dir, VerifyProblem::Missing, message);
        }
        let is_short = |chain: &&Chain| chain.to_seq < expected && must_reach(chain);
        let short_chains: Vec<_> = report.chains.iter().filter(is_short).cloned().collect();
        for chain in short_chains {
            let message = format!("it ends at change {}, but {expected} was expected", chain.to_seq);
            report.add_finding(&chain.path, VerifyProblem::Missing, message);
        }
    }
    Ok(report)
}

impl VerifyReport {
    fn add_finding(&mut self, path: &Path, problem: VerifyProblem, message: impl Into<String>) {
        self.findings.push(VerifyFinding { path: path.to_owned(), problem, message: message.into() });
    }

    fn verify_folder(&mut self, folder: &Path) -> Result<(), ExportError> {
        let (folders, files): (Vec<_>, Vec<_>) =
            list_entries(folder)?.into_iter().partition(|(_, kind)| kind.is_dir());
        // Temporary files of halosync are not checked.
        let visible_names = |listed: Vec<(String, fs::FileType)>| -> BTreeSet<String> {
            listed.into_iter().map(|it| it.0).filter(|name| !is_temporary(name)).collect()
        };
        let files = visible_names(files);
        if files.contains(MANIFEST) || files.contains(CHECKSUMS) {
            self.verify_snapshot(folder, &files)?;
        } else if !files.is_empty() {
            self.verify_chain(folder, &files)?;
        }
        for name in visible_names(folders) {
            // Neither holds packages.
            let is_aside = name == POSITIONS || (name == FOREIGN && folder.ends_with(SUPERSEDED));
            if !is_aside {
                self.verify_folder(&folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Reads a manifest; a damaged one is a finding.
    fn read_manifest(&mut self, path: &Path) -> Result<Option<(Manifest, Vec<u8>)>, ExportError> {
        let bytes = fs::read(path).map_err(ExportError::cannot_read(path))?;
        match Manifest::parse(&bytes) {
            Ok(manifest) => Ok(Some((manifest, bytes))),
            Err(why) => {
                self.add_finding(path, VerifyProblem::Edited, why);
                Ok(None)
            }
        }
    }

    /// Compares a data file with its entry in the manifest.
    fn verify_data_file(
        &mut self,
        folder: &Path,
        file: &ManifestFile,
        names: &BTreeSet<String>,
    ) -> Result<(), ExportError> {
        let path = folder.join(&file.name);
        if !names.contains(&file.name) {
            self.add_finding(
                &path,
                VerifyProblem::Missing,
                "it is listed in the manifest, but does not exist",
            );
            return Ok(());
        }
        let digest = hash_file(&path)?;
        if digest.bytes != file.bytes {
            let message = format!("its size is {} bytes, but the manifest says {}", digest.bytes, file.bytes);
            self.add_finding(&path, VerifyProblem::Edited, message);
        } else if digest.sha256 != file.sha256 {
            self.add_finding(&path, VerifyProblem::Edited, "its hash differs from the one in the manifest");
        }
        Ok(())
    }

    fn verify_snapshot(&mut self, folder: &Path, names: &BTreeSet<String>) -> Result<(), ExportError> {
        for name in [MANIFEST, CHECKSUMS] {
            if !names.contains(name) {
                self.add_finding(&folder.join(name), VerifyProblem::Missing, "every snapshot must have one");
            }
        }
        let path = folder.join(MANIFEST);
        if !names.contains(MANIFEST) {
            for name in names.iter().filter(|name| *name != CHECKSUMS) {
                self.add_finding(
                    &folder.join(name),
                    VerifyProblem::Foreign,
                    "there is no manifest that lists it",
                );
            }
            return Ok(());
        }
        let Some((manifest, bytes)) = self.read_manifest(&path)? else { return Ok(()) };
        if manifest.kind != PackageKind::Snapshot {
            self.add_finding(&path, VerifyProblem::Foreign, "it is not the manifest of a snapshot");
        }
        let mut expected = BTreeSet::from([MANIFEST.to_owned(), CHECKSUMS.to_owned()]);
        for file in &manifest.files {
            self.verify_data_file(folder, file, names)?;
            expected.insert(file.name.clone());
        }
        for name in names.difference(&expected) {
            self.add_finding(&folder.join(name), VerifyProblem::Foreign, "it is not listed in the manifest");
        }
        let checksums_path = folder.join(CHECKSUMS);
        if names.contains(CHECKSUMS)
            && fs::read(&checksums_path).map_err(ExportError::cannot_read(&checksums_path))?
                != checksums(&manifest, &hex(&Sha256::digest(&bytes))).as_bytes()
        {
            self.add_finding(&checksums_path, VerifyProblem::Edited, "it does not match the manifest");
        }
        self.chains.push(Chain {
            path: folder.to_owned(),
            kind: PackageKind::Snapshot,
            rows: manifest.files.iter().map(|file| file.rows).sum(),
            consumer: manifest.consumer,
            lineage: Some(manifest.lineage),
            packages: 1,
            from_seq: manifest.from_seq,
            to_seq: manifest.to_seq,
        });
        Ok(())
    }

    fn verify_chain(&mut self, folder: &Path, names: &BTreeSet<String>) -> Result<(), ExportError> {
        let mut manifests: BTreeMap<SeqRange, Option<Manifest>> = BTreeMap::new();
        for name in names {
            let path = folder.join(name);
            match parse_file_name(name) {
                Some((range, FileKind::Manifest)) => {
                    let manifest = self.read_manifest(&path)?.map(|(manifest, _)| manifest);
                    manifests.insert(range, manifest);
                }
                Some((range, FileKind::Data { .. })) => {
                    if !names.contains(&range.manifest_file()) {
                        self.add_finding(&path, VerifyProblem::Missing, "its manifest does not exist");
                    }
                }
                None => {
                    self.add_finding(&path, VerifyProblem::Foreign, "it is not the name of a package file");
                }
            }
        }
        let mut listed_files = BTreeSet::new();
        for (range, manifest) in &manifests {
            let Some(manifest) = manifest else { continue };
            let path = folder.join(range.manifest_file());
            if manifest.range() != *range {
                let message = format!("it is the manifest of package {}", manifest.range());
                self.add_finding(&path, VerifyProblem::Foreign, message);
            }
            for file in &manifest.files {
                listed_files.insert(file.name.clone());
                self.verify_data_file(folder, file, names)?;
            }
        }
        let is_not_listed = |name: &&String| {
            let has_readable_manifest =
                |range: &SeqRange| manifests.get(range).is_some_and(|manifest| manifest.is_some());
            !listed_files.contains(*name)
                && parse_file_name(name)
                    .is_some_and(|(range, it)| it != FileKind::Manifest && has_readable_manifest(&range))
        };
        for name in names.iter().filter(is_not_listed) {
            self.add_finding(&folder.join(name), VerifyProblem::Foreign, "it is not listed in its manifest");
        }
        self.verify_links(folder, &manifests);
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
        self.chains.push(Chain {
            path: folder.to_owned(),
            kind: PackageKind::Delta,
            consumer: first_manifest.and_then(|manifest| manifest.consumer.clone()),
            lineage: first_manifest.map(|manifest| manifest.lineage.clone()),
            packages: manifests.len(),
            from_seq: first.from,
            to_seq: last,
            rows: files.map(|file| file.rows).sum(),
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
