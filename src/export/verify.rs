//! Judging packages without a database: whether everything is there, once, and unaltered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ExportError;
use super::file::{TEMP_PREFIX, hash_file, hex, list_entries};
use super::manifest::{Manifest, ManifestFile};
use super::name::{FileKind, MANIFEST, SeqRange, parse_file_name};
use super::snapshot::{CHECKSUMS, checksums};
use super::unregistered::SUPERSEDED;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyProblem {
    /// Changes are in no package.
    Gap,
    /// Changes are in two packages.
    Repeat,
    /// It is not as it was made.
    Edited,
    /// It does not belong here.
    Foreign,
    /// It is not here.
    Missing,
}

impl VerifyProblem {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            VerifyProblem::Gap => "gap",
            VerifyProblem::Repeat => "repeat",
            VerifyProblem::Edited => "edited",
            VerifyProblem::Foreign => "foreign",
            VerifyProblem::Missing => "missing",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyFinding {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub problem: VerifyProblem,
    /// The particulars, for people.
    pub message: String,
}

/// Packages that follow each other, or one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The folder.
    pub path: PathBuf,
    /// `delta` or `snapshot`.
    pub kind: &'static str,
    /// For whom.
    pub consumer: Option<String>,
    /// The line of changes that the numbers belong to.
    pub lineage: Option<String>,
    /// How many packages.
    pub packages: usize,
    /// Where the first begins; later than 0 where earlier ones have aged out, or were taken away.
    pub from_seq: i64,
    /// Where the last ends.
    pub to_seq: i64,
    /// Rows in all data files.
    pub rows: u64,
}

/// What was found below a folder.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// What was looked at.
    pub chains: Vec<Chain>,
    /// What is wrong with it.
    pub findings: Vec<VerifyFinding>,
}

/// Judges everything below a folder: an export folder, that of one consumer, or a snapshot. Where a change
/// is `expected`, every chain must reach it that is not superseded, and so must a snapshot that the folder is
/// itself; where there is neither, any snapshot will do.
///
/// # Errors
/// [`ExportError`], where something cannot be read or there is nothing to judge.
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
            "delta" => !chain.path.starts_with(&superseded),
            _ => chain.path == dir,
        };
        let snapshots = report.chains.iter().filter(|chain| chain.kind == "snapshot");
        let reached = snapshots.map(|chain| chain.to_seq).max();
        if !report.chains.iter().any(must_reach) && reached < Some(expected) {
            let message = format!("nothing here reaches change {expected}, which was to be expected");
            report.add_finding(dir, VerifyProblem::Missing, message);
        }
        let is_short = |chain: &&Chain| chain.to_seq < expected && must_reach(chain);
        let short_chains: Vec<_> = report.chains.iter().filter(is_short).cloned().collect();
        for chain in short_chains {
            let message = format!("it ends at change {}, and {expected} was to be expected", chain.to_seq);
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
        // Unfinished files of the agent are nothing yet.
        let visible_names = |listed: Vec<(String, fs::FileType)>| -> BTreeSet<String> {
            listed.into_iter().map(|it| it.0).filter(|name| !name.starts_with(TEMP_PREFIX)).collect()
        };
        let files = visible_names(files);
        if files.contains(MANIFEST) || files.contains(CHECKSUMS) {
            self.verify_snapshot(folder, &files)?;
        } else if !files.is_empty() {
            self.verify_chain(folder, &files)?;
        }
        for name in visible_names(folders) {
            self.verify_folder(&folder.join(name))?;
        }
        Ok(())
    }

    /// Reads a manifest; one that cannot be trusted is a finding.
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

    /// Compares a data file with what its manifest tells of it.
    fn verify_data_file(
        &mut self,
        folder: &Path,
        file: &ManifestFile,
        names: &BTreeSet<String>,
    ) -> Result<(), ExportError> {
        let path = folder.join(&file.name);
        if !names.contains(&file.name) {
            self.add_finding(&path, VerifyProblem::Missing, "its manifest tells of it, and it is not here");
            return Ok(());
        }
        let digest = hash_file(&path)?;
        if digest.bytes != file.bytes {
            let message = format!("it has {} bytes, and its manifest tells of {}", digest.bytes, file.bytes);
            self.add_finding(&path, VerifyProblem::Edited, message);
        } else if digest.sha256 != file.sha256 {
            self.add_finding(&path, VerifyProblem::Edited, "its hash is not the one in its manifest");
        }
        Ok(())
    }

    fn verify_snapshot(&mut self, folder: &Path, names: &BTreeSet<String>) -> Result<(), ExportError> {
        for name in [MANIFEST, CHECKSUMS] {
            if !names.contains(name) {
                self.add_finding(&folder.join(name), VerifyProblem::Missing, "every snapshot has one");
            }
        }
        let path = folder.join(MANIFEST);
        if !names.contains(MANIFEST) {
            for name in names.iter().filter(|name| *name != CHECKSUMS) {
                self.add_finding(&folder.join(name), VerifyProblem::Foreign, "no manifest tells of it");
            }
            return Ok(());
        }
        let Some((manifest, bytes)) = self.read_manifest(&path)? else { return Ok(()) };
        if manifest.kind != "snapshot" {
            self.add_finding(&path, VerifyProblem::Foreign, "it is no snapshot's");
        }
        let mut expected = BTreeSet::from([MANIFEST.to_owned(), CHECKSUMS.to_owned()]);
        for file in &manifest.files {
            self.verify_data_file(folder, file, names)?;
            expected.insert(file.name.clone());
        }
        for name in names.difference(&expected) {
            self.add_finding(&folder.join(name), VerifyProblem::Foreign, "the manifest does not tell of it");
        }
        let checksums_path = folder.join(CHECKSUMS);
        if names.contains(CHECKSUMS)
            && fs::read(&checksums_path).map_err(ExportError::cannot_read(&checksums_path))?
                != checksums(&manifest, &hex(&Sha256::digest(&bytes))).as_bytes()
        {
            self.add_finding(
                &checksums_path,
                VerifyProblem::Edited,
                "it is not what the manifest and its own hash come to",
            );
        }
        self.chains.push(Chain {
            path: folder.to_owned(),
            kind: "snapshot",
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
                        self.add_finding(&path, VerifyProblem::Missing, "its manifest is not here");
                    }
                }
                None => self.add_finding(&path, VerifyProblem::Foreign, "no package has a file of that name"),
            }
        }
        let mut listed_files = BTreeSet::new();
        for (range, manifest) in &manifests {
            let Some(manifest) = manifest else { continue };
            let path = folder.join(range.manifest_file());
            if manifest.range() != *range {
                let message = format!("it is the manifest of {}-{}", manifest.from_seq, manifest.to_seq);
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
            self.add_finding(
                &folder.join(name),
                VerifyProblem::Foreign,
                "the manifest beside it does not tell of it",
            );
        }
        self.verify_links(folder, &manifests);
        Ok(())
    }

    /// Whether each package begins where the one before ended, and knows it.
    fn verify_links(&mut self, folder: &Path, manifests: &BTreeMap<SeqRange, Option<Manifest>>) {
        let Some((first, last)) = manifests.keys().next().zip(manifests.keys().map(|range| range.to).max())
        else {
            return;
        };
        let first_manifest = manifests.values().flatten().next();
        let mut predecessor: Option<(SeqRange, Option<&Manifest>)> = None;
        let mut reached = first.from;
        for (range, manifest) in manifests {
            let path = folder.join(range.manifest_file());
            if reached < range.from {
                let gap = SeqRange { from: reached, to: range.from };
                let message = format!("the package before it is not here, or several: {gap}");
                self.add_finding(&path, VerifyProblem::Gap, message);
            } else if range.from < reached {
                let message =
                    format!("changes {} to {} are in an earlier package too", range.from + 1, reached);
                self.add_finding(&path, VerifyProblem::Repeat, message);
            }
            if let (Some(manifest), Some(model)) = (manifest, first_manifest) {
                if manifest.kind != "delta" || manifest.consumer != model.consumer {
                    self.add_finding(
                        &path,
                        VerifyProblem::Foreign,
                        "it is for another consumer than the packages here",
                    );
                } else if manifest.lineage != model.lineage || manifest.server != model.server {
                    self.add_finding(
                        &path,
                        VerifyProblem::Foreign,
                        "it is of another lineage than the packages here",
                    );
                }
            }
            if let Some(message) = manifest.as_ref().and_then(|it| broken_link(*range, it, predecessor)) {
                self.add_finding(&path, VerifyProblem::Foreign, message);
            }
            reached = reached.max(range.to);
            predecessor = Some((*range, manifest.as_ref()));
        }
        let files = manifests.values().flatten().flat_map(|manifest| &manifest.files);
        self.chains.push(Chain {
            path: folder.to_owned(),
            kind: "delta",
            consumer: first_manifest.and_then(|manifest| manifest.consumer.clone()),
            lineage: first_manifest.map(|manifest| manifest.lineage.clone()),
            packages: manifests.len(),
            from_seq: first.from,
            to_seq: last,
            rows: files.map(|file| file.rows).sum(),
        });
    }
}

/// What is wrong with the link from a package to the one before it.
fn broken_link(
    range: SeqRange,
    manifest: &Manifest,
    predecessor: Option<(SeqRange, Option<&Manifest>)>,
) -> Option<&'static str> {
    let previous_sha256 = manifest.previous_manifest_sha256.as_deref();
    if (range.from == 0) != previous_sha256.is_none() {
        return Some("only the first package of all has none predecessor it");
    }
    let (previous_range, previous_manifest) = predecessor?;
    let expected = previous_manifest.filter(|_| previous_range.to == range.from)?;
    (previous_sha256 != Some(&expected.manifest_sha256))
        .then_some("the package that it was made to follow is another than the one predecessor it here")
}
