//! Handing changes on: from the position of a consumer to a package on disk and in the book.
//!
//! The order of work makes every kill harmless: the data file gets its name, then the manifest, then
//! the book of the database is written. A data file without a manifest, or a package that the book does
//! not know, is finished by the next call; it is never made twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;

use super::desk::{Desk, Restart, facts};
use super::{AgentError, Loaded, now};
use crate::config::{Ack, Consumer, Schedule, Style};
use crate::export::{ExportError, Folder, Manifest, Options, Package, Range, Stray};
use crate::store::{Delivered, Fate, LockError, Position, Snapshot, StoreError};
use crate::ticket::{Stamp, Tally, delta_columns};

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
    /// An older copy of the database was restored.
    pub restart: Option<Restart>,
    /// Where packages of an earlier lineage were moved to.
    pub superseded: Option<PathBuf>,
}

/// Makes the next package of a consumer, if anything changed.
///
/// # Errors
/// [`AgentError`]; the consumer's position is as it was then.
pub fn deliver(
    loaded: &Loaded,
    consumer: &Consumer,
    style: Style,
    dir: Option<&Path>,
) -> Result<Handover, AgentError> {
    let config = &loaded.config;
    let mut desk = Desk::open(config, config.store.busy_timeout)?;
    let handover = desk.hand_over(consumer, style, dir.unwrap_or(&config.export.dir))?;
    desk.close()?;
    Ok(handover)
}

/// What is due when a pass has ended: the package of the consumer in the settings, as `[export] schedule`
/// wants it, and the removal of what has aged out. While another export is under way, nothing is.
///
/// # Errors
/// [`AgentError`]; what the pass stored stays, and is handed on by the next export.
pub fn deliver_if_due(loaded: &Loaded) -> Result<Option<Handover>, AgentError> {
    let config = &loaded.config;
    if config.export.schedule == Schedule::Off && config.store.keep_changes.is_none() {
        return Ok(None);
    }
    let mut desk = match Desk::open(config, Duration::ZERO) {
        Err(AgentError::Lock(LockError::Held { .. }) | AgentError::Store(StoreError::Missing(_))) => {
            return Ok(None);
        }
        desk => desk?,
    };
    let consumer = &config.export.consumer;
    let last = desk.position(consumer)?.exported_at;
    let due = is_due(config.export.schedule, last, now());
    let style = Style::exact(config.export.format);
    let handover = due.then(|| desk.hand_over(consumer, style, &config.export.dir)).transpose()?;
    desk.close()?;
    Ok(handover)
}

fn is_due(schedule: Schedule, last: Option<Stamp>, now: Stamp) -> bool {
    match (schedule, last) {
        (Schedule::Off, _) => false,
        (Schedule::AfterSync, _) | (Schedule::Every(_), None) => true,
        (Schedule::Every(span), Some(last)) => {
            let since = now.instant() - last.instant();
            // A clock that stepped back must not hold packages up until it is there again.
            since < TimeDelta::zero() || TimeDelta::from_std(span).is_ok_and(|span| span <= since)
        }
    }
}

impl Desk<'_> {
    fn position(&self, consumer: &Consumer) -> Result<Position, StoreError> {
        Ok(self.store.read(|snapshot| snapshot.position(consumer))?.unwrap_or_default())
    }

    fn hand_over(&mut self, consumer: &Consumer, style: Style, dir: &Path) -> Result<Handover, AgentError> {
        let folder = Folder::of(dir, consumer)?;
        let mut restart = self.compare(dir)?;
        let mut strays = self.strays(&folder, consumer)?;
        if restart.is_none() {
            restart = self.judge(&folder, &strays)?;
            strays = self.strays(&folder, consumer)?;
        }
        let superseded = self.clear(&folder, &mut strays, restart.as_ref())?;
        let mut packages = Vec::new();
        for stray in &strays {
            packages.extend(self.finish(&folder, consumer, style, stray)?);
        }
        packages.extend(self.make(&folder, consumer, style)?);
        let reached = self.position(consumer)?.exported_seq;
        let folder = folder.path().to_owned();
        Ok(Handover { consumer: consumer.clone(), folder, packages, reached, restart, superseded })
    }

    /// Makes the package from the consumer's position to the newest change. Range, rows and what the
    /// manifest says are read in one transaction.
    fn make(
        &mut self,
        folder: &Folder,
        consumer: &Consumer,
        style: Style,
    ) -> Result<Option<(Delivered, Tally)>, AgentError> {
        let position = self.position(consumer)?;
        let from = position.exported_seq;
        let made = self.store.read(|snapshot| {
            let to = snapshot.greatest_seq()?;
            if to == from {
                return Ok::<_, AgentError>(None);
            }
            let name = Range { from, to }.data_file(style);
            let columns = delta_columns(snapshot.copies_fields()?);
            let failed = |source| ExportError::Io { path: folder.path().join(&name), source };
            let (tally, data) = folder.write(&name, style, &columns, |rows| {
                snapshot.delta(from, |row| Ok::<_, AgentError>(rows.row(row.all_cells()).map_err(failed)?))
            })?;
            let package = package(snapshot, (from, to), consumer, &position, tally, style)?;
            Ok(Some((tally, data, package)))
        })?;
        let Some((tally, data, package)) = made else { return Ok(None) };
        let manifest = folder.publish(data, style, tally.rows(), package)?;
        self.enter(folder, consumer, &manifest).map(|delivered| Some((delivered, tally)))
    }

    /// Finishes what a killed process left: its data file is kept.
    fn finish(
        &mut self,
        folder: &Folder,
        consumer: &Consumer,
        style: Style,
        stray: &Stray,
    ) -> Result<Option<(Delivered, Tally)>, AgentError> {
        let position = self.position(consumer)?;
        let Range { from, to } = stray.range;
        if to <= position.exported_seq {
            // It has aged out once, and somebody put it back; it holds nothing that is not handed on.
            return Ok(None);
        }
        let path = || folder.path().join(stray.file());
        let contradiction =
            |why: &str| AgentError::from(ExportError::Contradiction { path: path(), why: why.to_owned() });
        if from != position.exported_seq {
            return Err(contradiction("the package before it ends elsewhere"));
        }
        let manifest = match (&stray.manifest, stray.data.as_slice()) {
            (Some(manifest), _) => {
                if manifest.previous_manifest_sha256 != position.last_manifest || !folder.holds(manifest)? {
                    return Err(contradiction("it tells of another package than the file beside it"));
                }
                manifest.clone()
            }
            (None, [(name, written)]) => {
                // The name tells format and packing; the options are those of this call.
                let style = Style { format: written.format, gzip: written.gzip, ..style };
                let (tally, package) = self.store.read(|snapshot| {
                    if from + 1 < snapshot.oldest_seq()? {
                        return Err(contradiction("its changes have aged out, and with them what it holds"));
                    }
                    let tally = snapshot.tally(from, to)?;
                    Ok((tally, package(snapshot, (from, to), consumer, &position, tally, style)?))
                })?;
                folder.complete(name, style, tally.rows(), package)?
            }
            (None, _) => return Err(contradiction("there is other data for the same changes")),
        };
        let tally =
            Tally { created: manifest.counts.c, updated: manifest.counts.u, deleted: manifest.counts.d };
        self.enter(folder, consumer, &manifest).map(|delivered| Some((delivered, tally)))
    }

    fn enter(
        &mut self,
        folder: &Folder,
        consumer: &Consumer,
        manifest: &Manifest,
    ) -> Result<Delivered, AgentError> {
        let range = manifest.range();
        let Some(file) = manifest.files.first() else {
            let path = folder.path().join(range.manifest_file());
            return Err(ExportError::Contradiction { path, why: "it tells of no file".into() }.into());
        };
        let folder = folder.path();
        let delivered = Delivered {
            from_seq: range.from,
            to_seq: range.to,
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            data_file: file.name.clone(),
            manifest_file: range.manifest_file(),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            manifest_sha256: manifest.manifest_sha256.clone(),
            created_at: now(),
        };
        let acknowledged = self.config.export.ack == Ack::Auto;
        self.store.write(Fate::Commit, |writing| writing.enter(consumer, &delivered, acknowledged))?;
        Ok(delivered)
    }
}

fn package(
    snapshot: &Snapshot<'_>,
    range: (i64, i64),
    consumer: &Consumer,
    position: &Position,
    tally: Tally,
    style: Style,
) -> Result<Package, StoreError> {
    Ok(Package {
        kind: "delta",
        consumer: Some(consumer.as_str().to_owned()),
        previous: position.last_manifest.clone(),
        ..facts(snapshot, range, tally, Options::of(style), now())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_due_as_the_schedule_says() {
        let at = |text| Stamp::from_spelled(text).unwrap();
        let now = at("2026-11-22T12:00:00.000Z");
        let hour = Schedule::Every(Duration::from_hours(1));
        for (schedule, last, due) in [
            (Schedule::Off, None, false),
            (Schedule::AfterSync, Some("2026-11-22T12:00:00.000Z"), true),
            (hour, None, true),
            (hour, Some("2026-11-22T11:00:00.000Z"), true),
            (hour, Some("2026-11-22T11:00:00.001Z"), false),
            // By a clock that was ahead.
            (hour, Some("2027-01-01T00:00:00.000Z"), true),
        ] {
            assert_eq!(is_due(schedule, last.map(at), now), due, "{schedule:?} after {last:?}");
        }
    }
}
