//! The desk that packages are handed out at: the database and the exporter's lock, and what is looked
//! after whenever somebody is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AgentError, ago, now, options};
use crate::config::Config;
use crate::export::{Counts, Folder, Options, Package, beyond};
use crate::store::{Fate, Lock, SCHEMA_VERSION, Snapshot, Store, StoreError};
use crate::ticket::{Stamp, Tally};
use crate::watermark::State;

/// The database, open for handing out. Nobody else hands out meanwhile; a sync may go on.
pub(super) struct Desk<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Store,
    _lock: Lock,
}

/// An older copy of the database was put in its place: a new line of changes begins, and every consumer
/// starts again at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The new lineage.
    pub lineage: String,
    /// The one that packages so far are of.
    pub superseded: String,
    /// The file or folder that this database cannot have made.
    pub evidence: PathBuf,
}

impl<'a> Desk<'a> {
    /// Opens the desk; waits that long where another is at it.
    pub(super) fn open(config: &'a Config, patience: Duration) -> Result<Desk<'a>, AgentError> {
        let database = &config.store.path;
        // An empty file is a database that `sync` has yet to make; nothing can be handed on from it.
        if fs::metadata(database).map_or(true, |it| it.len() == 0) {
            return Err(StoreError::Missing(database.clone()).into());
        }
        let lock = Lock::of_the_exporter(database, patience)?;
        Ok(Desk { config, store: Store::open_made(database, &options(config))?, _lock: lock })
    }

    /// Closes it, when old packages and change records were removed.
    pub(super) fn close(mut self) -> Result<(), AgentError> {
        self.age_packages()?;
        self.age_changes()?;
        Ok(self.store.close()?)
    }

    /// Begins a new lineage where the export folder holds what this database cannot have made.
    pub(super) fn compare(&mut self, dir: &Path) -> Result<Option<Restart>, AgentError> {
        let (lineage, seq) =
            self.store.read(|it| Ok::<_, StoreError>((it.lineage()?, it.greatest_seq()?)))?;
        let evidence = beyond(dir, &lineage, seq)?;
        evidence.map(|evidence| self.restart(evidence, &lineage)).transpose()
    }

    pub(super) fn restart(&mut self, evidence: PathBuf, superseded: &str) -> Result<Restart, AgentError> {
        let lineage = self.store.write(Fate::Commit, |writing| writing.begin_lineage(superseded, now()))?;
        let file = evidence.display();
        tracing::warn!(
            lineage,
            "an older copy of the database was restored, {file} shows it: lineage {lineage} begins"
        );
        Ok(Restart { lineage, superseded: superseded.to_owned(), evidence })
    }

    /// Removes packages that were taken and are older than `keep`, the oldest of a consumer first. What
    /// cannot be removed now is tried again next time.
    fn age_packages(&mut self) -> Result<(), AgentError> {
        let since = ago(self.config.export.keep);
        let consumers = self.store.read(|snapshot| snapshot.waiting())?;
        for (consumer, position, _) in consumers {
            let packages = self.store.read(|snapshot| snapshot.packages(&consumer))?;
            let is_old = |seq: i64, at: Stamp| seq <= position.acked_seq && at < since;
            for package in packages.iter().take_while(|it| is_old(it.to_seq, it.created_at)) {
                let removed =
                    Folder::remove_package(&package.folder, &package.manifest_file, &package.data_file);
                if let Err(error) = removed {
                    tracing::warn!(consumer, "a package that has aged out cannot be removed: {error}");
                    break;
                }
                self.store
                    .write(Fate::Commit, |writing| writing.forget_package(&consumer, package.to_seq))?;
            }
        }
        Ok(())
    }

    fn age_changes(&mut self) -> Result<(), AgentError> {
        let Some(keep) = self.config.store.keep_changes else { return Ok(()) };
        let removed = self.store.write(Fate::Commit, |writing| writing.forget_changes(ago(keep)))?;
        if 0 < removed {
            tracing::info!(removed, "{removed} change records have aged out");
        }
        Ok(())
    }
}

/// What a manifest says of the database, as one transaction sees it.
pub(super) fn facts(
    snapshot: &Snapshot<'_>,
    (from_seq, to_seq): (i64, i64),
    tally: Tally,
    options: Options,
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
        options,
        previous: None,
    })
}
