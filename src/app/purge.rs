//! Erases a ticket from the database, and finds the exported files that may still hold it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::locked_store::open_existing;
use super::privacy::{export_dirs, listed};
use super::{AppError, LoadedConfig, PurgeError, now};
use crate::config::{Config, ConsumerName};
use crate::export::{ConsumerFolder, data_files_but_for, serialize_path, snapshot_folders, superseded_files};
use crate::store::{
    HeldValues, HoldingPackage, Lock, LockHolders, PurgedTicket, ReadTx, Store, StoreError, TicketPurge,
    Traces, TxEnd,
};
use crate::ticket::Timestamp;

/// An erased ticket, and where it may still be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The ticket.
    pub ticket: i64,
    /// When it was erased first.
    pub erased_at: Timestamp,
    /// The reason that was given then.
    pub reason: String,
    /// Whether it had been erased before.
    pub was_erased: bool,
    /// The change record by which consumers are told; `None` where it aged out.
    pub seq: Option<i64>,
    /// The packages that may hold it, by consumer.
    pub packages: Vec<HeldPackage>,
    /// Files that may hold it and are no packages: superseded ones, and what a killed export left.
    pub files: Vec<PathBuf>,
    /// The snapshots that may hold it.
    pub snapshots: Vec<PathBuf>,
    /// Rows without an id that are stored as rejected rows, or in the checkpoint of an interrupted scan: nobody knows whose
    /// they are.
    pub rows_without_id: u64,
    /// How many lineages the database had before. It no longer knows their packages.
    pub earlier_lineages: u64,
    /// Where the lake is that may hold it, if anything was ever shipped.
    pub lake: Option<String>,
}

/// A package that may hold an erased ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldPackage {
    /// Its consumer.
    pub consumer: String,
    /// The folder of its consumer.
    #[serde(serialize_with = "serialize_path")]
    pub folder: PathBuf,
    /// The name of its data file.
    pub file: String,
    /// The change record before the first one in it.
    pub from_seq: i64,
    /// The last change record in it.
    pub to_seq: i64,
    /// Whether the file is in the folder; otherwise its consumer has taken it.
    pub present: bool,
}

/// A ticket that may be stored again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoneErasure {
    /// When it had been erased.
    pub erased_at: Timestamp,
    /// The reason that was given then.
    pub reason: String,
}

/// Erases a ticket, removes its traces from the files of the database, and finds the exported files that may hold it. For a
/// ticket that is erased already it does the same again.
///
/// # Errors
/// [`PurgeError::LogKeepsTraces`] and [`PurgeError::FileKeepsTraces`] after the ticket was erased.
pub fn purge(loaded: &LoadedConfig, id: i64, reason: &str) -> Result<Erasure, AppError> {
    let config = &loaded.config;
    let mut database = LockedDatabase::open(loaded)?;
    let canary_max = u64::from(config.halo.page_size);
    let done = database.store.write(TxEnd::Commit, |tx| tx.purge(id, reason, canary_max, now()))?;
    let TicketPurge { ticket, was_purged, seq } = done.ok_or(PurgeError::UnknownTicket(id))?;
    let held = database.store.read(|tx| HeldData::read(tx, id, config))?;
    match database.store.remove_traces() {
        Ok(Traces::Removed) => {}
        Ok(Traces::InLog | Traces::InDatabase) | Err(StoreError::Busy(_)) => {
            let readers = LockHolders::detect(&config.store.path).readers;
            database.store.close()?;
            return Err(PurgeError::LogKeepsTraces { id, readers }.into());
        }
        Err(source) => return Err(PurgeError::FileKeepsTraces { id, source }.into()),
    }
    database.store.close()?;
    let PurgedTicket { id, purged_at, reason } = ticket;
    let (files, snapshots) = held.find_files();
    let packages = held.packages.into_iter().map(HeldPackage::from).collect();
    Ok(Erasure {
        ticket: id,
        erased_at: purged_at,
        reason,
        was_erased: was_purged,
        seq,
        packages,
        files,
        snapshots,
        rows_without_id: held.rows_without_id,
        earlier_lineages: held.earlier_lineages,
        lake: held.lake,
    })
}

/// Lets an erased ticket be stored again by the next full scan.
///
/// # Errors
/// [`PurgeError::NotErased`] if it is not erased.
pub fn undo_purge(loaded: &LoadedConfig, id: i64) -> Result<UndoneErasure, AppError> {
    let mut database = LockedDatabase::open(loaded)?;
    let undone = database.store.write(TxEnd::Commit, |tx| tx.undo_purge(id))?;
    database.store.close()?;
    let PurgedTicket { purged_at, reason, .. } = undone.ok_or(PurgeError::NotErased(id))?;
    Ok(UndoneErasure { erased_at: purged_at, reason })
}

/// The database under both locks: no run stores the ticket meanwhile, and no export writes it.
struct LockedDatabase {
    store: Store,
    _locks: [Lock; 2],
}

impl LockedDatabase {
    fn open(loaded: &LoadedConfig) -> Result<LockedDatabase, AppError> {
        let config = &loaded.config;
        let path = &config.store.path;
        if !path.exists() {
            return Err(StoreError::Missing(path.clone()).into());
        }
        Store::check_folder(path)?;
        let writer = Lock::acquire_writer(path)?;
        let exporter = Lock::acquire_exporter(path, config.store.busy_timeout)?;
        let store = open_existing(config, |_| Ok(()))?;
        Ok(LockedDatabase { store, _locks: [writer, exporter] })
    }
}

/// What the database knows about files that may hold an erased ticket.
struct HeldData {
    values: HeldValues,
    packages: Vec<HoldingPackage>,
    /// The folder of each consumer, with the data files of its packages.
    folders: Vec<(PathBuf, BTreeSet<String>)>,
    /// The export folders: that of the settings, and those of the consumers.
    export_dirs: BTreeSet<PathBuf>,
    rows_without_id: u64,
    earlier_lineages: u64,
    lake: Option<String>,
}

impl HeldData {
    fn read(tx: &ReadTx<'_>, id: i64, config: &Config) -> Result<HeldData, StoreError> {
        let values = tx.held_values(id)?;
        let mut folders = Vec::new();
        for (name, position, _) in tx.consumers()? {
            let Some(folder) = position.folder else { continue };
            let packages = tx.packages(&name)?;
            folders.push((folder, packages.into_iter().map(|package| package.data_file).collect()));
        }
        Ok(HeldData {
            packages: tx.holding_packages(&values)?,
            folders,
            export_dirs: export_dirs(tx, config)?,
            rows_without_id: tx.rejected_row_count()? + rows_of_interrupted_scan(tx)?,
            earlier_lineages: tx.lineages()?.len().saturating_sub(1) as u64,
            lake: tx.lake_epoch()?.map(|epoch| epoch.url),
            values,
        })
    }

    /// The files that are no packages, and the snapshots. A folder that cannot be listed is reported, because what it holds
    /// is not known.
    fn find_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut files, mut snapshots) = (Vec::new(), Vec::new());
        for (folder, known) in &self.folders {
            files.extend(listed(data_files_but_for(folder, known)));
        }
        for dir in &self.export_dirs {
            files.extend(listed(superseded_files(dir)));
            // Those of earlier epochs leave the disk with the next push.
            let epochs = listed(ConsumerFolder::new(dir, &ConsumerName::lake()).epochs()).into_iter();
            for folder in epochs.filter(|folder| self.folders.iter().all(|(known, _)| known != folder)) {
                files.extend(listed(data_files_but_for(&folder, &BTreeSet::new())));
            }
            let found = listed(snapshot_folders(dir)).into_iter();
            let holding = found.filter(|(_, seq)| seq.is_none_or(|seq| self.values.are_in_snapshot(seq)));
            snapshots.extend(holding.map(|(folder, _)| folder));
        }
        (files, snapshots)
    }
}

/// How many rows without an id the checkpoint of an interrupted scan has.
fn rows_of_interrupted_scan(tx: &ReadTx<'_>) -> Result<u64, StoreError> {
    let scan = tx.interrupted_scan()?;
    Ok(scan.map_or(0, |it| it.checkpoint.rejected_rows.len() + it.earlier_rejected_rows.len()) as u64)
}

impl From<HoldingPackage> for HeldPackage {
    fn from(package: HoldingPackage) -> Self {
        let HoldingPackage { consumer, folder, data_file, from_seq, to_seq, .. } = package;
        let present = std::fs::symlink_metadata(folder.join(&data_file)).is_ok();
        HeldPackage { consumer, folder, file: data_file, from_seq, to_seq, present }
    }
}
