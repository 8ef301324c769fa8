//! Handing changes on: from the position of a consumer to a package on disk and in the book.
//!
//! The order of work makes every kill harmless: the data file gets its name, then the manifest, then
//! the book of the database is written. A data file without a manifest, or a package that the book does
//! not know, is finished by the next call; it is never made twice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{AgentError, Loaded, now, options};
use crate::config::{Ack, Consumer, Format};
use crate::export::{
    Counts, ExportError, File, Folder, Leftover, Manifest, Package, SnapshotFolder, data_name, manifest_name,
};
use crate::store::{Delivered, Lock, Position, SCHEMA_VERSION, Snapshot, Store, StoreError};
use crate::ticket::{Stamp, Table, Tally, delta_columns};
use crate::watermark::State;

/// What a call handed on.
#[derive(Debug)]
pub struct Handover {
    /// For whom.
    pub consumer: Consumer,
    /// Where the packages are.
    pub folder: PathBuf,
    /// The packages, usually one; one more where an earlier call was killed.
    pub packages: Vec<(Delivered, Tally)>,
    /// Up to which change the consumer's packages reach now.
    pub reached: i64,
}

/// Makes the next package of a consumer, if anything changed.
///
/// # Errors
/// [`AgentError`]; the consumer's position is as it was then.
pub fn deliver(
    loaded: &Loaded,
    consumer: &Consumer,
    format: Format,
    dir: Option<&Path>,
) -> Result<Handover, AgentError> {
    let config = &loaded.config;
    let database = &config.store.path;
    // An empty file is a database that `sync` has yet to make; nothing can be handed on from it.
    if fs::metadata(database).map_or(true, |it| it.len() == 0) {
        return Err(StoreError::Missing(database.clone()).into());
    }
    let _lock = Lock::of_the_exporter(database, config.store.busy_timeout)?;
    let store = Store::open(database, &options(config))?;
    let folder = Folder::of(dir.unwrap_or(&config.export.dir), consumer)?;
    let mut desk = Desk { store, folder, consumer, acknowledged: config.export.ack == Ack::Auto };
    let mut packages = Vec::new();
    let position = desk.position()?;
    if let Some(leftover) = desk.folder.leftover(position.exported_seq)? {
        packages.push(desk.finish(&leftover, &position)?);
    }
    packages.extend(desk.make(format, &desk.position()?)?);
    let reached = desk.position()?.exported_seq;
    let Desk { store, folder, .. } = desk;
    store.close()?;
    Ok(Handover { consumer: consumer.clone(), folder: folder.path().to_owned(), packages, reached })
}

struct Desk<'a> {
    store: Store,
    folder: Folder,
    consumer: &'a Consumer,
    acknowledged: bool,
}

impl Desk<'_> {
    fn position(&self) -> Result<Position, StoreError> {
        self.store.read(|snapshot| snapshot.position(self.consumer))
    }

    /// Makes the package from the consumer's position to the newest change. Range, rows and what the
    /// manifest says are read in one transaction.
    fn make(
        &mut self,
        format: Format,
        position: &Position,
    ) -> Result<Option<(Delivered, Tally)>, AgentError> {
        let from = position.exported_seq;
        let made = self.store.read(|snapshot| {
            let to = snapshot.greatest_seq()?;
            if to == from {
                return Ok::<_, AgentError>(None);
            }
            let name = data_name(from, to, format);
            let written = self.folder.write_data(&name, format, &delta_columns(), |rows| {
                snapshot
                    .delta(from, |row| rows.row(row.all_cells()).map_err(|source| self.failed(&name, source)))
            })?;
            let package = self.package(snapshot, (from, to), position, written.0)?;
            Ok(Some((name, written, package)))
        })?;
        let Some((name, (tally, written), package)) = made else { return Ok(None) };
        let file = data_file(name, format, tally, written.bytes, written.sha256);
        let manifest = self.folder.write_manifest(package, file)?;
        self.enter(&manifest).map(|delivered| Some((delivered, tally)))
    }

    /// Finishes what a killed process left: its data file is kept.
    fn finish(&mut self, leftover: &Leftover, position: &Position) -> Result<(Delivered, Tally), AgentError> {
        let (from, to) = (position.exported_seq, leftover.to_seq);
        let (tally, package) = self.store.read(|snapshot| {
            if snapshot.greatest_seq()? < to {
                let path = self.folder.path().join(&leftover.name);
                let why =
                    "it ends behind the newest change of the database, which may be an older copy".into();
                return Err(AgentError::from(ExportError::Contradiction { path, why }));
            }
            let tally = snapshot.tally(from, to)?;
            Ok((tally, self.package(snapshot, (from, to), position, tally)?))
        })?;
        let written = self.folder.measure(&leftover.name)?;
        let file = data_file(leftover.name.clone(), leftover.format, tally, written.bytes, written.sha256);
        let manifest = match self.folder.manifest(from, to)? {
            None => self.folder.write_manifest(package, file)?,
            Some(there) if there.files == [file] && there.previous_manifest_sha256 == package.previous => {
                there
            }
            Some(_) => {
                let path = self.folder.path().join(manifest_name(from, to));
                let why = "it tells of another package than the file beside it".into();
                return Err(ExportError::Contradiction { path, why }.into());
            }
        };
        self.enter(&manifest).map(|delivered| (delivered, tally))
    }

    fn package(
        &self,
        snapshot: &Snapshot<'_>,
        range: (i64, i64),
        position: &Position,
        tally: Tally,
    ) -> Result<Package, StoreError> {
        Ok(Package {
            kind: "delta",
            consumer: Some(self.consumer.as_str().to_owned()),
            previous: position.last_manifest.clone(),
            ..facts(snapshot, range, tally, now())?
        })
    }

    fn enter(&mut self, manifest: &Manifest) -> Result<Delivered, AgentError> {
        let (from_seq, to_seq) = (manifest.from_seq, manifest.to_seq);
        let file = manifest.files.first();
        let delivered = Delivered {
            from_seq,
            to_seq,
            data_file: file.map_or(String::new(), |file| file.name.clone()),
            manifest_file: manifest_name(from_seq, to_seq),
            rows: file.map_or(0, |file| file.rows),
            bytes: file.map_or(0, |file| file.bytes),
            sha256: file.map_or(String::new(), |file| file.sha256.clone()),
            manifest_sha256: manifest.manifest_sha256.clone(),
        };
        let (consumer, acknowledged) = (self.consumer, self.acknowledged);
        self.store.write(crate::store::Fate::Commit, |writing| {
            writing.enter(consumer, &delivered, acknowledged, now())
        })?;
        Ok(delivered)
    }

    fn failed(&self, name: &str, source: io::Error) -> AgentError {
        ExportError::Io { path: self.folder.path().join(name), source }.into()
    }
}

fn data_file(name: String, format: Format, tally: Tally, bytes: u64, sha256: String) -> File {
    File {
        name,
        format: format.word().to_owned(),
        compression: "none".into(),
        rows: tally.rows(),
        bytes,
        sha256,
    }
}

/// What a manifest says of the database, as one transaction sees it.
fn facts(
    snapshot: &Snapshot<'_>,
    (from_seq, to_seq): (i64, i64),
    tally: Tally,
    now: Stamp,
) -> Result<Package, StoreError> {
    let mark = snapshot.watermark()?;
    // As it was at the end of the range: the package of a killed process is finished later, and must not
    // promise what only a later package holds.
    let covered_until = snapshot.covered_at(to_seq)?;
    let state = if covered_until.is_some() { State::Following } else { State::Filling };
    Ok(Package {
        kind: "snapshot",
        lineage: snapshot.lineage()?,
        server: mark.map_or(String::new(), |mark| mark.scope.server),
        consumer: None,
        from_seq,
        to_seq,
        complete: state == State::Following,
        state: state.word().to_owned(),
        covered_until: covered_until.map(|at| at.to_string()),
        schema_version: SCHEMA_VERSION,
        created_at: now.to_string(),
        counts: Counts { c: tally.created, u: tally.updated, d: tally.deleted },
        previous: None,
    })
}

/// A snapshot that was made, or not: a copy that was never complete is given out only on request.
#[derive(Debug)]
pub enum Taken {
    /// Here it is.
    Snapshot {
        /// Its folder.
        folder: PathBuf,
        /// Its manifest.
        manifest: Box<Manifest>,
    },
    /// The copy has never been complete.
    Incomplete,
}

/// Writes all tables as they stand at one change, whatever is written meanwhile.
///
/// # Errors
/// [`AgentError`]; there is no folder then.
pub fn snapshot(
    loaded: &Loaded,
    format: Format,
    dir: Option<&Path>,
    allow_incomplete: bool,
) -> Result<Taken, AgentError> {
    let config = &loaded.config;
    let store = Store::open_read_only(&config.store.path, config.store.busy_timeout)?;
    let _lock = Lock::of_the_exporter(&config.store.path, config.store.busy_timeout)?;
    store.read(|snapshot| {
        let at = now();
        let to = snapshot.greatest_seq()?;
        let tickets = Tally { created: snapshot.ticket_count()?, ..Tally::default() };
        let package = facts(snapshot, (0, to), tickets, at)?;
        if !package.complete && !allow_incomplete {
            return Ok(Taken::Incomplete);
        }
        let mut draft = SnapshotFolder::begin(dir.unwrap_or(&config.export.dir))?;
        for table in Table::ALL {
            draft.write(table.name(), format, &table.columns(), |rows| {
                snapshot.table(table, |cells| {
                    let written = rows.row(cells.iter().copied());
                    written.map_err(|source| {
                        let path = PathBuf::from(table.name());
                        AgentError::from(ExportError::Io { path, source })
                    })
                })
            })?;
        }
        let name = format!("{}-seq{to:012}", at.instant().format("%Y-%m-%dT%H%M%SZ"));
        let (folder, manifest) = draft.publish(&name, package)?;
        Ok(Taken::Snapshot { folder, manifest: Box::new(manifest) })
    })
}
