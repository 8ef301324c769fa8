//! The folder of a consumer: its packages by the numbers in their names, and what a killed process
//! left there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::file::{DRAFT_PREFIX, Nameless, Sink, entries, make_folders, measure, remove, sync_folder};
use super::manifest::{File, Manifest, Package};
use super::name::{Part, Range, part};
use super::{ExportError, Rows};
use crate::config::{Consumer, Style};
use crate::ticket::{Column, Stamp};

/// File systems note the time of a change no finer than that.
const COARSE: TimeDelta = TimeDelta::seconds(2);

const DELTAS: &str = "deltas";
const SUPERSEDED: &str = "superseded";

/// The folder of one consumer.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    consumer: String,
    path: PathBuf,
}

/// A package that is in no book: its process was killed on the way, or the book is not the one it was
/// entered in.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Its range.
    pub range: Range,
    /// Its manifest, where it has one.
    pub manifest: Option<Manifest>,
    /// The name of its data file and how that is written, as far as a name tells.
    pub data: Option<(String, Style)>,
    /// When it was made, by the local clock.
    pub made_at: Option<Stamp>,
}

impl Stray {
    fn of(range: Range) -> Stray {
        Stray { range, manifest: None, data: None, made_at: None }
    }

    /// The name of one of its files.
    #[must_use]
    pub fn file(&self) -> String {
        match &self.data {
            Some((name, _)) if self.manifest.is_none() => name.clone(),
            _ => self.range.manifest_file(),
        }
    }
}

impl Folder {
    /// The folder of a consumer below the export folder. The export folder is made where its own
    /// parent is there; a longer missing path is more likely a slip of the pen. What a killed process
    /// left unfinished is finished or removed.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn of(dir: &Path, consumer: &Consumer) -> Result<Folder, ExportError> {
        let path = dir.join(DELTAS).join(consumer.as_str());
        make_folders([dir, &dir.join(DELTAS), &path])?;
        let folder = Folder { dir: dir.to_owned(), consumer: consumer.as_str().to_owned(), path };
        folder.settle()?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the data of a package: `fill` gives the rows. It has no name yet; errors call it `name`.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports; there is no file then.
    pub fn write<T, E: From<ExportError>>(
        &self,
        name: &str,
        style: Style,
        columns: &[Column],
        fill: impl FnOnce(&mut Rows<Sink>) -> Result<T, E>,
    ) -> Result<(T, Nameless), E> {
        write((&self.path, &self.path.join(name)), style, columns, fill)
    }

    /// Names data and manifest, in this order. The manifest is on the disk before: should the process be
    /// killed between the two names, the next one finds it.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such package then.
    pub fn publish(
        &self,
        data: Nameless,
        style: Style,
        rows: u64,
        package: Package,
    ) -> Result<Manifest, ExportError> {
        let range = Range { from: package.from_seq, to: package.to_seq };
        let name = range.data_file(style);
        let file = File::of(name.clone(), style, rows, data.written().clone());
        let (manifest, sealed) = self.seal(package, file)?;
        data.publish(&name)?;
        if let Err(error) = sealed.publish(&range.manifest_file()) {
            // Nobody has heard of it yet, and it would be in the way of the next attempt.
            let _ = remove(&self.path.join(name));
            return Err(error);
        }
        Ok(manifest)
    }

    /// Adds the manifest to data that has its name already.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn complete(
        &self,
        data: &str,
        style: Style,
        rows: u64,
        package: Package,
    ) -> Result<Manifest, ExportError> {
        let range = Range { from: package.from_seq, to: package.to_seq };
        let written = measure(&self.path.join(data))?;
        let (manifest, sealed) = self.seal(package, File::of(data.to_owned(), style, rows, written))?;
        sealed.publish(&range.manifest_file())?;
        Ok(manifest)
    }

    fn seal(&self, package: Package, file: File) -> Result<(Manifest, Nameless), ExportError> {
        let range = Range { from: package.from_seq, to: package.to_seq };
        let shown = self.path.join(range.manifest_file());
        let (manifest, bytes) = Manifest::seal(package, vec![file]).map_err(ExportError::io(&shown))?;
        let sealed = Nameless::of(&self.path, &shown, &bytes)?;
        Ok((manifest, sealed))
    }

    /// Whether the data is what a manifest tells of.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn holds(&self, manifest: &Manifest) -> Result<bool, ExportError> {
        for file in &manifest.files {
            let path = self.path.join(&file.name);
            if !path.is_file() {
                return Ok(false);
            }
            let written = measure(&path)?;
            if (written.bytes, written.sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

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
                    stray.data = Some((name, Style { gzip, ..Style::exact(format) }));
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
            let lineage = stray.manifest.as_ref().map_or(fallback, |manifest| &manifest.lineage);
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

    /// Removes the files of a package, wherever it is: first the manifest, without which nobody takes the
    /// data for a package.
    ///
    /// # Errors
    /// [`ExportError`]; files that are not there are removed already.
    pub fn remove_package(folder: &Path, manifest: &str, data: &str) -> Result<(), ExportError> {
        remove(&folder.join(manifest))?;
        remove(&folder.join(data))?;
        if folder.exists() { sync_folder(folder) } else { Ok(()) }
    }

    /// Finishes or removes what a killed process left: a manifest whose data has its name already gets
    /// its own, everything else was never heard of.
    fn settle(&self) -> Result<(), ExportError> {
        for (name, kind) in entries(&self.path)? {
            if !name.starts_with(DRAFT_PREFIX) || !kind.is_file() {
                continue;
            }
            let path = self.path.join(&name);
            if let Ok(manifest) = read_manifest(&path) {
                let range = Range { from: manifest.from_seq, to: manifest.to_seq };
                let place = self.path.join(range.manifest_file());
                if !place.exists() && self.holds(&manifest)? {
                    fs::rename(&path, &place).map_err(ExportError::create(&place))?;
                    sync_folder(&self.path)?;
                    continue;
                }
            }
            remove(&path)?;
        }
        Ok(())
    }
}

/// Writes rows into a folder; errors call the file `shown`.
pub(super) fn write<T, E: From<ExportError>>(
    (folder, shown): (&Path, &Path),
    style: Style,
    columns: &[Column],
    fill: impl FnOnce(&mut Rows<Sink>) -> Result<T, E>,
) -> Result<(T, Nameless), E> {
    let mut rows = Rows::begin(style, columns, Sink::new(folder, shown, style.gzip)?);
    let filled = fill(&mut rows)?;
    let sink = rows.end().map_err(ExportError::io(shown))?;
    Ok((filled, sink.finish(shown)?))
}

/// A manifest that stands alone; the draft of data, which may be long, is not read for one.
fn read_manifest(path: &Path) -> Result<Manifest, ExportError> {
    const LONGEST: u64 = 1 << 20;
    let length = fs::metadata(path).map_err(ExportError::read(path))?.len();
    if LONGEST < length {
        return Err(ExportError::contradiction(path.to_owned(), "it is too long for a manifest"));
    }
    let bytes = fs::read(path).map_err(ExportError::read(path))?;
    Manifest::read(&bytes).map_err(|why| ExportError::Contradiction { path: path.to_owned(), why })
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
        let to = name.rsplit_once("-seq").and_then(|(_, to)| to.parse::<i64>().ok());
        if to.is_some_and(|to| seq < to) && is_of_it(&snapshots.join(&name).join("manifest.json")) {
            return Ok(Some(snapshots.join(name)));
        }
    }
    Ok(None)
}
