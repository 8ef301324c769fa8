//! Exports a snapshot: every table as of one change, whatever is written meanwhile.

use std::path::PathBuf;

use super::export_session::{ExportSession, NewLineage, package_metadata};
use super::{AppError, LoadedConfig, now};
use crate::config::{ConsumerName, FormatOptions};
use crate::export::{
    Manifest, ManifestOptions, PackageMetadata, SnapshotWriter, WorkCounter, snapshot_names,
};
use crate::reference::Selection;
use crate::snapshot_table::SnapshotTable;
use crate::store::{ReadTx, StoreError};
use crate::ticket::{CUSTOM_FIELDS_KEY, ChangeCounts, EXTRA_KEY};

/// The options of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// The consumer that it is for, if any.
    pub consumer: Option<ConsumerName>,
    /// The file format.
    pub format_options: FormatOptions,
    /// The export folder, if not that of the settings.
    pub dir: Option<PathBuf>,
    /// Whether to export before the initial load has completed.
    pub allow_incomplete: bool,
    /// Whether to export when there is no ticket.
    pub allow_empty: bool,
}

/// A snapshot, or why there is none.
#[derive(Debug)]
pub enum SnapshotOutcome {
    /// It was written.
    Written {
        /// Its folder.
        folder: PathBuf,
        /// Its manifest.
        manifest: Box<Manifest>,
        /// The lineage that begins because a backup of the database was restored.
        new_lineage: Option<NewLineage>,
    },
    /// The initial load has not completed, and `allow_incomplete` is not set.
    Incomplete,
    /// There is no ticket, and `allow_empty` is not set.
    Empty,
}

/// Writes all tables as of the newest change, and counts the rows.
///
/// # Errors
/// No snapshot folder is then left behind.
pub fn export_snapshot(
    loaded: &LoadedConfig,
    options: &SnapshotOptions,
    rows_written: &WorkCounter,
) -> Result<SnapshotOutcome, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let dir = options.dir.as_ref().unwrap_or(&config.export.dir);
    let new_lineage = session.detect_restored_backup(dir)?;
    let outcome = session.store.read(|tx| {
        let at = now();
        let to = tx.greatest_seq()?;
        let counts = ChangeCounts { created: tx.ticket_count()?, ..ChangeCounts::default() };
        let package = PackageMetadata {
            consumer: options.consumer.as_ref().map(|it| it.as_str().to_owned()),
            ..package_metadata(tx, (0, to), counts, ManifestOptions::new(options.format_options), at)?
        };
        if !package.complete && !options.allow_incomplete {
            return Ok::<_, AppError>(SnapshotOutcome::Incomplete);
        }
        if counts.created == 0 && !options.allow_empty {
            return Ok(SnapshotOutcome::Empty);
        }
        let mut writer = SnapshotWriter::create(dir)?;
        for table in SnapshotTable::all() {
            if !is_exported(table, tx, options)? {
                continue;
            }
            let display_path = writer.display_path(table, options.format_options);
            writer.write_table(table, options.format_options, |rows| {
                tx.for_each_row(table, |cells| {
                    rows_written.add(1);
                    Ok::<_, AppError>(
                        rows.write_row(cells.iter().copied()).map_err(|error| error.at(&display_path))?,
                    )
                })
            })?;
        }
        let (folder, manifest) = writer.commit(snapshot_names(at, to), package)?;
        Ok(SnapshotOutcome::Written { folder, manifest: Box::new(manifest), new_lineage })
    })?;
    session.close()?;
    Ok(outcome)
}

/// Whether a table is in the snapshot: where columns are selected, extras and custom fields are among them or left out;
/// reference tables that the settings do not ask for are empty.
fn is_exported(table: SnapshotTable, tx: &ReadTx<'_>, options: &SnapshotOptions) -> Result<bool, StoreError> {
    let is_selected =
        |column| options.format_options.columns.is_none_or(|selected| selected.contains(column));
    Ok(match table {
        SnapshotTable::TicketExtra => is_selected(EXTRA_KEY),
        SnapshotTable::CustomFields | SnapshotTable::FieldDefinitions => is_selected(CUSTOM_FIELDS_KEY),
        SnapshotTable::Reference(table) => {
            table.selection == Selection::Always || !tx.is_reference_empty(table)?
        }
        SnapshotTable::Tickets | SnapshotTable::DeletedTickets => true,
    })
}
