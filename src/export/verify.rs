//! Judging packages without a database: whether everything is there, once, and unaltered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ExportError;
use super::file::{DRAFT_PREFIX, entries, hex, measure};
use super::manifest::{File, Manifest};
use super::name::{MANIFEST, Part, Range, part};
use super::snapshot::{SUMS, sums};
use super::stray::SUPERSEDED;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
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

impl Problem {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Problem::Gap => "gap",
            Problem::Repeat => "repeat",
            Problem::Edited => "edited",
            Problem::Foreign => "foreign",
            Problem::Missing => "missing",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub problem: Problem,
    /// The particulars, for people.
    pub what: String,
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
pub struct Verdict {
    /// What was looked at.
    pub chains: Vec<Chain>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Judges everything below a folder: an export folder, that of one consumer, or a snapshot. Where a change
/// is `expected`, every chain must reach it that is not superseded, and so must a snapshot that the folder is
/// itself; where there is neither, any snapshot will do.
///
/// # Errors
/// [`ExportError`], where something cannot be read or there is nothing to judge.
pub fn verify(dir: &Path, expected: Option<i64>) -> Result<Verdict, ExportError> {
    let mut verdict = Verdict::default();
    if dir.is_dir() {
        verdict.look_into(dir)?;
    }
    if verdict.chains.is_empty() && verdict.findings.is_empty() {
        return Err(ExportError::NoPackage { path: dir.to_owned() });
    }
    if let Some(expected) = expected {
        let superseded = dir.join(SUPERSEDED);
        let must = |chain: &Chain| match chain.kind {
            "delta" => !chain.path.starts_with(&superseded),
            _ => chain.path == dir,
        };
        let of_snapshots = verdict.chains.iter().filter(|chain| chain.kind == "snapshot");
        let reached = of_snapshots.map(|chain| chain.to_seq).max();
        if !verdict.chains.iter().any(must) && reached < Some(expected) {
            let what = format!("nothing here reaches change {expected}, which was to be expected");
            verdict.find(dir, Problem::Missing, what);
        }
        let short = |chain: &&Chain| chain.to_seq < expected && must(chain);
        let short: Vec<_> = verdict.chains.iter().filter(short).cloned().collect();
        for chain in short {
            let what = format!("it ends at change {}, and {expected} was to be expected", chain.to_seq);
            verdict.find(&chain.path, Problem::Missing, what);
        }
    }
    Ok(verdict)
}

impl Verdict {
    fn find(&mut self, path: &Path, problem: Problem, what: impl Into<String>) {
        self.findings.push(Finding { path: path.to_owned(), problem, what: what.into() });
    }

    fn look_into(&mut self, folder: &Path) -> Result<(), ExportError> {
        let (folders, files): (Vec<_>, Vec<_>) =
            entries(folder)?.into_iter().partition(|(_, kind)| kind.is_dir());
        // Unfinished files of the agent are nothing yet.
        let names = |them: Vec<(String, fs::FileType)>| -> BTreeSet<String> {
            them.into_iter().map(|it| it.0).filter(|name| !name.starts_with(DRAFT_PREFIX)).collect()
        };
        let files = names(files);
        if files.contains(MANIFEST) || files.contains(SUMS) {
            self.snapshot(folder, &files)?;
        } else if !files.is_empty() {
            self.chain(folder, &files)?;
        }
        for name in names(folders) {
            self.look_into(&folder.join(name))?;
        }
        Ok(())
    }

    /// Reads a manifest; one that cannot be trusted is a finding.
    fn manifest(&mut self, path: &Path) -> Result<Option<(Manifest, Vec<u8>)>, ExportError> {
        let bytes = fs::read(path).map_err(ExportError::read(path))?;
        match Manifest::read(&bytes) {
            Ok(manifest) => Ok(Some((manifest, bytes))),
            Err(why) => {
                self.find(path, Problem::Edited, why);
                Ok(None)
            }
        }
    }

    /// Compares a data file with what its manifest tells of it.
    fn data(&mut self, folder: &Path, file: &File, names: &BTreeSet<String>) -> Result<(), ExportError> {
        let path = folder.join(&file.name);
        if !names.contains(&file.name) {
            self.find(&path, Problem::Missing, "its manifest tells of it, and it is not here");
            return Ok(());
        }
        let written = measure(&path)?;
        if written.bytes != file.bytes {
            let what = format!("it has {} bytes, and its manifest tells of {}", written.bytes, file.bytes);
            self.find(&path, Problem::Edited, what);
        } else if written.sha256 != file.sha256 {
            self.find(&path, Problem::Edited, "its hash is not the one in its manifest");
        }
        Ok(())
    }

    fn snapshot(&mut self, folder: &Path, names: &BTreeSet<String>) -> Result<(), ExportError> {
        for name in [MANIFEST, SUMS] {
            if !names.contains(name) {
                self.find(&folder.join(name), Problem::Missing, "every snapshot has one");
            }
        }
        let path = folder.join(MANIFEST);
        if !names.contains(MANIFEST) {
            for name in names.iter().filter(|name| *name != SUMS) {
                self.find(&folder.join(name), Problem::Foreign, "no manifest tells of it");
            }
            return Ok(());
        }
        let Some((manifest, bytes)) = self.manifest(&path)? else { return Ok(()) };
        if manifest.kind != "snapshot" {
            self.find(&path, Problem::Foreign, "it is no snapshot's");
        }
        let mut expected = BTreeSet::from([MANIFEST.to_owned(), SUMS.to_owned()]);
        for file in &manifest.files {
            self.data(folder, file, names)?;
            expected.insert(file.name.clone());
        }
        for name in names.difference(&expected) {
            self.find(&folder.join(name), Problem::Foreign, "the manifest does not tell of it");
        }
        let there = folder.join(SUMS);
        if names.contains(SUMS)
            && fs::read(&there).map_err(ExportError::read(&there))?
                != sums(&manifest, &hex(&Sha256::digest(&bytes))).as_bytes()
        {
            self.find(&there, Problem::Edited, "it is not what the manifest and its own hash come to");
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

    fn chain(&mut self, folder: &Path, names: &BTreeSet<String>) -> Result<(), ExportError> {
        let mut manifests: BTreeMap<Range, Option<Manifest>> = BTreeMap::new();
        for name in names {
            let path = folder.join(name);
            match part(name) {
                Some((range, Part::Manifest)) => {
                    let manifest = self.manifest(&path)?.map(|(manifest, _)| manifest);
                    manifests.insert(range, manifest);
                }
                Some((range, Part::Data { .. })) => {
                    if !names.contains(&range.manifest_file()) {
                        self.find(&path, Problem::Missing, "its manifest is not here");
                    }
                }
                None => self.find(&path, Problem::Foreign, "no package has a file of that name"),
            }
        }
        let mut told = BTreeSet::new();
        for (range, manifest) in &manifests {
            let Some(manifest) = manifest else { continue };
            let path = folder.join(range.manifest_file());
            if manifest.range() != *range {
                let what = format!("it is the manifest of {}-{}", manifest.from_seq, manifest.to_seq);
                self.find(&path, Problem::Foreign, what);
            }
            for file in &manifest.files {
                told.insert(file.name.clone());
                self.data(folder, file, names)?;
            }
        }
        let is_untold = |name: &&String| {
            let of_a_read_one =
                |range: &Range| manifests.get(range).is_some_and(|manifest| manifest.is_some());
            !told.contains(*name)
                && part(name).is_some_and(|(range, it)| it != Part::Manifest && of_a_read_one(&range))
        };
        for name in names.iter().filter(is_untold) {
            self.find(&folder.join(name), Problem::Foreign, "the manifest beside it does not tell of it");
        }
        self.links(folder, &manifests);
        Ok(())
    }

    /// Whether each package begins where the one before ended, and knows it.
    fn links(&mut self, folder: &Path, manifests: &BTreeMap<Range, Option<Manifest>>) {
        let Some((first, last)) = manifests.keys().next().zip(manifests.keys().map(|range| range.to).max())
        else {
            return;
        };
        let model = manifests.values().flatten().next();
        let mut before: Option<(Range, Option<&Manifest>)> = None;
        let mut reached = first.from;
        for (range, manifest) in manifests {
            let path = folder.join(range.manifest_file());
            if reached < range.from {
                let hole = Range { from: reached, to: range.from };
                let what = format!("the package before it is not here, or several: {hole}");
                self.find(&path, Problem::Gap, what);
            } else if range.from < reached {
                let what = format!("changes {} to {} are in an earlier package too", range.from + 1, reached);
                self.find(&path, Problem::Repeat, what);
            }
            if let (Some(manifest), Some(model)) = (manifest, model) {
                if manifest.kind != "delta" || manifest.consumer != model.consumer {
                    self.find(&path, Problem::Foreign, "it is for another consumer than the packages here");
                } else if manifest.lineage != model.lineage || manifest.server != model.server {
                    self.find(&path, Problem::Foreign, "it is of another lineage than the packages here");
                }
            }
            if let Some(what) = manifest.as_ref().and_then(|it| broken_link(*range, it, before)) {
                self.find(&path, Problem::Foreign, what);
            }
            reached = reached.max(range.to);
            before = Some((*range, manifest.as_ref()));
        }
        let files = manifests.values().flatten().flat_map(|manifest| &manifest.files);
        self.chains.push(Chain {
            path: folder.to_owned(),
            kind: "delta",
            consumer: model.and_then(|manifest| manifest.consumer.clone()),
            lineage: model.map(|manifest| manifest.lineage.clone()),
            packages: manifests.len(),
            from_seq: first.from,
            to_seq: last,
            rows: files.map(|file| file.rows).sum(),
        });
    }
}

/// What is wrong with the link from a package to the one before it.
fn broken_link(
    range: Range,
    manifest: &Manifest,
    before: Option<(Range, Option<&Manifest>)>,
) -> Option<&'static str> {
    let previous = manifest.previous_manifest_sha256.as_deref();
    if (range.from == 0) != previous.is_none() {
        return Some("only the first package of all has none before it");
    }
    let (earlier, manifest_before) = before?;
    let expected = manifest_before.filter(|_| earlier.to == range.from)?;
    (previous != Some(&expected.manifest_sha256))
        .then_some("the package that it was made to follow is another than the one before it here")
}
