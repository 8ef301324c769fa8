//! Snapshots: every table as it stands at one change, whatever is written meanwhile.

use std::path::{Path, PathBuf};

use super::export_session::{ExportSession, NewLineage, package_metadata};
use super::{AppError, LoadedConfig, now};
use crate::config::{ConsumerName, FormatOptions};
use crate::export::{
    ExportError, Manifest, ManifestOptions, PackageMetadata, SnapshotWriter, snapshot_names,
};
use crate::ticket::{ChangeCounts, SnapshotTable};

/// How a snapshot is asked for.
#[derive(Clone, Debug)]
pub struct SnapshotOptions<'a> {
    /// Whom it is for, where it is for somebody.
    pub consumer: Option<&'a ConsumerName>,
    /// How it is written.
    pub format_options: FormatOptions,
    /// The export folder, where it is not that of the settings.
    pub dir: Option<&'a Path>,
    /// Whether a copy that was never complete may be given out.
    pub allow_incomplete: bool,
    /// Whether one without a ticket is worth making.
    pub allow_empty: bool,
}

/// A snapshot that was made, or why not.
#[derive(Debug)]
pub enum SnapshotOutcome {
    /// Here it is.
    Written {
        /// Its folder.
        folder: PathBuf,
        /// Its manifest.
        manifest: Box<Manifest>,
        /// An older copy of the database was restored.
        new_lineage: Option<NewLineage>,
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
pub fn export_snapshot(
    loaded: &LoadedConfig,
    options: &SnapshotOptions<'_>,
) -> Result<SnapshotOutcome, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let dir = options.dir.unwrap_or(&config.export.dir);
    let new_lineage = session.detect_restored_backup(dir)?;
    let outcome = session.store.read(|tx| {
        let at = now();
        let to = tx.greatest_seq()?;
        let counts = ChangeCounts { created: tx.ticket_count()?, ..ChangeCounts::default() };
        let metadata =
            package_metadata(tx, (0, to), counts, ManifestOptions::new(options.format_options), at)?;
        let package =
            PackageMetadata { consumer: options.consumer.map(|it| it.as_str().to_owned()), ..metadata };
        if !package.complete && !options.allow_incomplete {
            return Ok::<_, AppError>(SnapshotOutcome::Incomplete);
        }
        if counts.created == 0 && !options.allow_empty {
            return Ok(SnapshotOutcome::Empty);
        }
        let mut writer = SnapshotWriter::create(dir)?;
        for table in SnapshotTable::ALL {
            let display_path = writer.display_path(table.name(), options.format_options);
            writer.write_table(table.name(), options.format_options, &table.columns(), |rows| {
                let failed = |source| ExportError::CannotWrite { path: display_path.clone(), source };
                tx.for_each_row(table, |cells| {
                    Ok::<_, AppError>(rows.write_row(cells.iter().copied()).map_err(failed)?)
                })
            })?;
        }
        let (folder, manifest) = writer.commit(snapshot_names(at, to), package)?;
        Ok(SnapshotOutcome::Written { folder, manifest: Box::new(manifest), new_lineage })
    })?;
    session.close()?;
    Ok(outcome)
}
