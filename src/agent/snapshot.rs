//! Snapshots: every table as it stands at one change, whatever is written meanwhile.

use std::path::{Path, PathBuf};

use super::desk::{Desk, Restart, facts};
use super::{AgentError, Loaded, now};
use crate::config::{Consumer, Style};
use crate::export::{ExportError, Manifest, Options, Package, SnapshotFolder, snapshot_names};
use crate::ticket::{Table, Tally};

/// How a snapshot is asked for.
#[derive(Clone, Debug)]
pub struct SnapshotWish<'a> {
    /// Whom it is for, where it is for somebody.
    pub consumer: Option<&'a Consumer>,
    /// How it is written.
    pub style: Style,
    /// The export folder, where it is not that of the settings.
    pub dir: Option<&'a Path>,
    /// Whether a copy that was never complete may be given out.
    pub allow_incomplete: bool,
    /// Whether one without a ticket is worth making.
    pub allow_empty: bool,
}

/// A snapshot that was made, or why not.
#[derive(Debug)]
pub enum Taken {
    /// Here it is.
    Snapshot {
        /// Its folder.
        folder: PathBuf,
        /// Its manifest.
        manifest: Box<Manifest>,
        /// An older copy of the database was restored.
        restart: Option<Restart>,
    },
    /// The copy has never been complete; it is given out only on request.
    Incomplete,
    /// There is no ticket in it, and that was not wanted.
    Empty,
}

/// Writes all tables as they stand at one change.
///
/// # Errors
/// [`AgentError`]; there is no folder then.
pub fn snapshot(loaded: &Loaded, wish: &SnapshotWish<'_>) -> Result<Taken, AgentError> {
    let config = &loaded.config;
    let mut desk = Desk::open(config, config.store.busy_timeout)?;
    let dir = wish.dir.unwrap_or(&config.export.dir);
    let restart = desk.compare(dir)?;
    let taken = desk.store.read(|snapshot| {
        let at = now();
        let to = snapshot.greatest_seq()?;
        let tickets = Tally { created: snapshot.ticket_count()?, ..Tally::default() };
        let facts = facts(snapshot, (0, to), tickets, Options::of(wish.style), at)?;
        let package = Package { consumer: wish.consumer.map(|it| it.as_str().to_owned()), ..facts };
        if !package.complete && !wish.allow_incomplete {
            return Ok::<_, AgentError>(Taken::Incomplete);
        }
        if tickets.created == 0 && !wish.allow_empty {
            return Ok(Taken::Empty);
        }
        let mut draft = SnapshotFolder::begin(dir)?;
        for table in Table::ALL {
            let shown = draft.shown(table.name(), wish.style);
            draft.write(table.name(), wish.style, &table.columns(), |rows| {
                let failed = |source| ExportError::Io { path: shown.clone(), source };
                snapshot.table(table, |cells| {
                    Ok::<_, AgentError>(rows.row(cells.iter().copied()).map_err(failed)?)
                })
            })?;
        }
        let (folder, manifest) = draft.publish(snapshot_names(at, to), package)?;
        Ok(Taken::Snapshot { folder, manifest: Box::new(manifest), restart })
    })?;
    desk.close()?;
    Ok(taken)
}
