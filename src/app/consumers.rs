//! Consumers: acknowledge packages, list, forget.

use serde::Serialize;

use super::export_session::{ExportSession, NewLineage};
use super::{AppError, ConsumerError, LoadedConfig};
use crate::config::ConsumerName;
use crate::export::ConsumerFolder;
use crate::store::{ConsumerPosition, PackageRecord, Store, TxEnd};
use crate::ticket::Timestamp;

/// Records that a consumer has loaded all its packages up to change `seq`, at which a package must end.
///
/// `restored` says that an older copy of the database may have been restored: then a change beyond the packages of the
/// consumer begins a new lineage, in which every consumer starts again at 0.
pub fn acknowledge(
    loaded: &LoadedConfig,
    consumer: &ConsumerName,
    seq: i64,
    restored: bool,
) -> Result<Acknowledgment, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    session.refuse_lake(consumer)?;
    if let Some(NewLineage { lineage, evidence, .. }) = session.detect_restored_backup(&config.export.dir)? {
        let consumer = consumer.as_str().to_owned();
        return Err(ConsumerError::BackupRestored { consumer, seq, evidence, lineage }.into());
    }
    let position = session.store.read(|tx| tx.consumer_position(consumer))?;
    if restored && position.as_ref().map_or(0, |it| it.exported_seq) < seq {
        let evidence = format!("change {seq}, which {} has loaded,", consumer.as_str());
        let new_lineage = Some(session.start_new_lineage(evidence, &[])?);
        session.close()?;
        return Ok(Acknowledgment { position: ConsumerPosition::default(), new_lineage });
    }
    let position = position.ok_or_else(|| no_such_consumer(consumer))?;
    let packages = session.store.read(|tx| tx.packages(consumer.as_str()))?;
    let ends: Vec<_> = packages.iter().map(|it| it.to_seq).collect();
    // Its package may have expired since it was acknowledged.
    let is_repeat = 0 < seq && seq == position.acked_seq;
    if !is_repeat && !ends.contains(&seq) {
        let newest = session.store.read(|tx| tx.greatest_seq())?;
        let consumer = consumer.as_str().to_owned();
        return Err(ConsumerError::NoPackage { consumer, seq, ends, newest }.into());
    }
    session.store.write(TxEnd::Commit, |tx| tx.acknowledge(consumer, seq))?;
    session.close()?;
    let position = ConsumerPosition { acked_seq: position.acked_seq.max(seq), ..position };
    Ok(Acknowledgment { position, new_lineage: None })
}

/// What an acknowledgment came to.
#[derive(Debug)]
pub struct Acknowledgment {
    /// The position of the consumer now.
    pub position: ConsumerPosition,
    /// The lineage that begins because an older copy of the database was restored.
    pub new_lineage: Option<NewLineage>,
}

/// Forgets a consumer and returns how many packages were removed; change records are no longer kept for it.
///
/// # Errors
/// If a package cannot be removed, the consumer is not forgotten.
pub fn forget_consumer(loaded: &LoadedConfig, consumer: &ConsumerName) -> Result<usize, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let position = session.store.read(|tx| tx.consumer_position(consumer))?;
    let position = position.ok_or_else(|| no_such_consumer(consumer))?;
    let packages = session.store.read(|tx| tx.packages(consumer.as_str()))?;
    if let Some(folder) = &position.folder {
        for package in &packages {
            ConsumerFolder::remove_package(folder, &package.manifest_file, &package.data_file)?;
        }
        if let Some(dir) = ConsumerFolder::export_dir(folder) {
            ConsumerFolder::new(dir, consumer).remove_position()?;
        }
    }
    session.store.write(TxEnd::Commit, |tx| tx.forget_consumer(consumer))?;
    session.close()?;
    Ok(packages.len())
}

fn no_such_consumer(consumer: &ConsumerName) -> ConsumerError {
    ConsumerError::NoConsumer(consumer.as_str().to_owned())
}

/// Consumers as the database records them.
#[derive(Debug, Serialize)]
pub struct ConsumerList {
    /// The present lineage.
    pub lineage: String,
    /// The number of the newest change.
    pub last_seq: i64,
    /// The consumers.
    pub consumers: Vec<ConsumerEntry>,
}

/// A consumer with its packages.
#[derive(Debug, Serialize)]
pub struct ConsumerEntry {
    /// Its name.
    pub name: String,
    /// How far it has got.
    #[serde(flatten)]
    pub position: ConsumerPosition,
    /// Changes that no package of it contains yet.
    pub waiting: i64,
    /// Its packages.
    pub packages: Vec<ListedPackage>,
}

/// A package of a consumer.
#[derive(Debug, Serialize)]
pub struct ListedPackage {
    /// Its record.
    #[serde(flatten)]
    pub record: PackageRecord,
    /// Its folder, as it is shown.
    pub folder: String,
    /// When it was recorded, by the local clock.
    pub created_at: Timestamp,
    /// Whether the consumer has acknowledged it.
    pub acked: bool,
    /// Whether both of its files still exist.
    pub present: bool,
}

impl ListedPackage {
    fn new(record: PackageRecord, position: &ConsumerPosition) -> ListedPackage {
        let folder = position.folder.clone().unwrap_or_default();
        let exists = |name: &String| folder.join(name).is_file();
        ListedPackage {
            folder: folder.display().to_string(),
            created_at: record.created_at,
            acked: record.to_seq <= position.acked_seq,
            present: exists(&record.data_file) && exists(&record.manifest_file),
            record,
        }
    }
}

/// Lists all consumers, or one, with their packages. Takes no lock and reads no secret.
pub fn list_consumers(
    loaded: &LoadedConfig,
    consumer: Option<&ConsumerName>,
) -> Result<ConsumerList, AppError> {
    let config = &loaded.config;
    let store = Store::open_read_only(&config.store.path, config.store.busy_timeout)?;
    store.read(|tx| {
        let mut consumers = Vec::new();
        for (name, position, waiting) in tx.consumers()? {
            if consumer.is_some_and(|wanted| wanted.as_str() != name) {
                continue;
            }
            let packages = tx.packages(&name)?.into_iter();
            let packages = packages.map(|record| ListedPackage::new(record, &position)).collect();
            consumers.push(ConsumerEntry { name, position, waiting, packages });
        }
        if let Some(wanted) = consumer.filter(|_| consumers.is_empty()) {
            return Err(no_such_consumer(wanted).into());
        }
        let (lineage, last_seq) = (tx.lineage()?, tx.greatest_seq()?);
        Ok::<_, AppError>(ConsumerList { lineage, last_seq, consumers })
    })
}
