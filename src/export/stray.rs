//! Packages that are where the book does not know them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::file::{entries, make_folders, sync_folder};
use super::folder::{DELTAS, read_manifest};
use super::manifest::Manifest;
use super::name::{MANIFEST, Part, Range, part, snapshot_seq};
use super::{ExportError, Folder};
use crate::config::Style;
use crate::ticket::Stamp;

/// Where packages of earlier lineages are, below the export folder.
pub(super) const SUPERSEDED: &str = "superseded";

/// File systems note the time of a change no finer than that.
const COARSE: TimeDelta = TimeDelta::seconds(2);

/// A package that is in no book: its process was killed on the way, or the book is not the one it was
/// entered in.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Its range.
    pub range: Range,
    /// Its manifest, where it has one.
    pub manifest: Option<Manifest>,
    /// The names of its data files, usually one, and how each is written, as far as a name tells.
    pub data: Vec<(String, Style)>,
    /// When it was made, by the local clock.
    pub made_at: Option<Stamp>,
}

impl Stray {
    fn of(range: Range) -> Stray {
        Stray { range, manifest: None, data: Vec::new(), made_at: None }
    }

    /// The lineage it is of; `unsaid` where no manifest tells.
    #[must_use]
    pub fn lineage<'a>(&'a self, unsaid: &'a str) -> &'a str {
        self.manifest.as_ref().map_or(unsaid, |manifest| &manifest.lineage)
    }

    /// The name of one of its files.
    #[must_use]
    pub fn file(&self) -> String {
        match self.data.first() {
            Some((name, _)) if self.manifest.is_none() => name.clone(),
            _ => self.range.manifest_file(),
        }
    }
}

impl Folder {
    /// The packages that are here and not among `known`, in order: ranges with the hashes of their manifests.
    /// The newest known one that is here is looked at too, for another database may have written here.
    ///
    /// # Errors
    /// [`ExportError`], where a manifest among them was altered too.
    pub fn strays(&self, known: &BTreeMap<Range, String>) -> Result<Vec<Stray>, ExportError> {
        let parts: Vec<_> = entries(&self.path)?
            .into_iter()
            .filter_map(|(name, _)| part(&name).map(|it| (name, it)))
            .collect();
        let is_here = |range: &&Range| parts.iter().any(|(_, it)| *it == (**range, Part::Manifest));
        let newest = known.keys().rev().find(is_here).copied();
        let replaced = newest.is_some_and(|range| {
            let manifest = read_manifest(&self.path.join(range.manifest_file()));
            manifest.is_ok_and(|it| Some(&it.manifest_sha256) != known.get(&range))
        });
        let mut strays: BTreeMap<Range, Stray> = BTreeMap::new();
        for (name, (range, part)) in parts {
            if known.contains_key(&range) && !(replaced && newest == Some(range)) {
                continue;
            }
            let path = self.path.join(&name);
            let stray = strays.entry(range).or_insert_with(|| Stray::of(range));
            match part {
                Part::Manifest => {
                    let manifest = read_manifest(&path)?;
                    stray.made_at = Stamp::from_spelled(&manifest.created_at).ok();
                    stray.manifest = Some(manifest);
                }
                Part::Data { format, gzip } => {
                    if stray.manifest.is_none() {
                        let modified = fs::metadata(&path).and_then(|it| it.modified());
                        let modified = modified.map_err(ExportError::read(&path))?;
                        stray.made_at = Stamp::new(DateTime::<Utc>::from(modified) + COARSE);
                    }
                    stray.data.push((name, Style { gzip, ..Style::exact(format) }));
                }
            }
        }
        Ok(strays.into_values().collect())
    }

    /// Moves packages of an earlier lineage out of the way of the present one, and gives the folder they
    /// are in now. `fallback` is the lineage of those without a manifest.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn supersede(&self, strays: &[Stray], fallback: &str) -> Result<Option<PathBuf>, ExportError> {
        let mut last = None;
        for stray in strays {
            let lineage = stray.lineage(fallback);
            if lineage.is_empty() || !lineage.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
                let path = self.path.join(stray.file());
                return Err(ExportError::contradiction(path, "its lineage is none"));
            }
            let above = self.dir.join(SUPERSEDED);
            let (of_lineage, place) = (above.join(lineage), above.join(lineage).join(&self.consumer));
            make_folders([&above, &of_lineage, &place])?;
            // The manifest goes last: it tells whose the data is, should the move be interrupted.
            let data = stray.data.iter().map(|(name, _)| name.clone());
            let manifest = stray.manifest.iter().map(|_| stray.range.manifest_file());
            for name in data.chain(manifest) {
                let to = place.join(&name);
                if to.exists() {
                    return Err(ExportError::create(&to)(io::ErrorKind::AlreadyExists.into()));
                }
                fs::rename(self.path.join(&name), &to).map_err(ExportError::create(&to))?;
            }
            sync_folder(&place)?;
            last = Some(place);
        }
        sync_folder(&self.path)?;
        Ok(last)
    }
}

/// A package or snapshot below the export folder, for whomever, that is of this lineage and ends behind
/// `seq`.
///
/// # Errors
/// [`ExportError`]
pub fn beyond(dir: &Path, lineage: &str, seq: i64) -> Result<Option<PathBuf>, ExportError> {
    let is_of_it = |manifest: &Path| read_manifest(manifest).is_ok_and(|it| it.lineage == lineage);
    let folders = |path: &Path| -> Result<Vec<String>, ExportError> {
        let there = if path.is_dir() { entries(path)? } else { Vec::new() };
        Ok(there.into_iter().filter(|(_, kind)| kind.is_dir()).map(|(name, _)| name).collect())
    };
    let (deltas, snapshots) = (dir.join(DELTAS), dir.join(super::snapshot::SNAPSHOTS));
    for consumer in folders(&deltas)? {
        let folder = deltas.join(consumer);
        for (name, _) in entries(&folder)? {
            let is_behind = part(&name).is_some_and(|(range, part)| part == Part::Manifest && seq < range.to);
            if is_behind && is_of_it(&folder.join(&name)) {
                return Ok(Some(folder.join(name)));
            }
        }
    }
    for name in folders(&snapshots)? {
        let is_behind = snapshot_seq(&name).is_some_and(|to| seq < to);
        if is_behind && is_of_it(&snapshots.join(&name).join(MANIFEST)) {
            return Ok(Some(snapshots.join(name)));
        }
    }
    Ok(None)
}
