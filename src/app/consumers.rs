//! Consumers: acknowledge packages, list, forget.

use super::export_session::{ExportSession, NewLineage};
use super::{AppError, ConsumerError, LoadedConfig};
use crate::config::ConsumerName;
use crate::export::ConsumerFolder;
use crate::store::{ConsumerPosition, PackageRecord, Store, TxEnd};

/// Records that a consumer has loaded all its packages up to change `seq`, at which a package must end.
pub fn acknowledge(
    loaded: &LoadedConfig,
    consumer: &ConsumerName,
    seq: i64,
) -> Result<ConsumerPosition, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    if let Some(NewLineage { lineage, evidence, .. }) = session.detect_restored_backup(&config.export.dir)? {
        let consumer = consumer.as_str().to_owned();
        return Err(ConsumerError::BackupRestored { consumer, seq, evidence, lineage }.into());
    }
    let position = session.store.write(TxEnd::Commit, |tx| {
        let read_tx = tx.as_read_tx();
        let Some(position) = read_tx.consumer_position(consumer)? else {
            return Ok(Err(no_such_consumer(consumer)));
        };
        let ends: Vec<_> = read_tx.packages(consumer.as_str())?.iter().map(|it| it.to_seq).collect();
        // Its package may have expired since it was acknowledged.
        let is_repeat = 0 < seq && seq == position.acked_seq;
        if !is_repeat && !ends.contains(&seq) {
            return Ok(Err(ConsumerError::NoPackage { consumer: consumer.as_str().to_owned(), seq, ends }));
        }
        tx.acknowledge(consumer, seq)?;
        Ok(Ok(ConsumerPosition { acked_seq: position.acked_seq.max(seq), ..position }))
    })?;
    session.close()?;
    Ok(position?)
}

/// Forgets a consumer and returns how many packages were removed; change records are no longer kept for it.
///
/// # Errors
/// If a package cannot be removed, the consumer is not forgotten.
pub fn forget_consumer(loaded: &LoadedConfig, consumer: &ConsumerName) -> Result<usize, AppError> {
    let config = &loaded.config;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    let known = session.store.read(|tx| tx.consumer_position(consumer))?;
    known.ok_or_else(|| no_such_consumer(consumer))?;
    let packages = session.store.read(|tx| tx.packages(consumer.as_str()))?;
    for package in &packages {
        ConsumerFolder::remove_package(&package.folder, &package.manifest_file, &package.data_file)?;
    }
    session.store.write(TxEnd::Commit, |tx| tx.forget_consumer(consumer))?;
    session.close()?;
    Ok(packages.len())
}

fn no_such_consumer(consumer: &ConsumerName) -> ConsumerError {
    ConsumerError::NoConsumer { consumer: consumer.as_str().to_owned() }
}

/// Consumers as the database records them.
#[derive(Debug)]
pub struct ConsumerList {
    /// The present lineage.
    pub lineage: String,
    /// The number of the newest change.
    pub last_seq: i64,
    /// The consumers.
    pub consumers: Vec<ConsumerEntry>,
}

/// A consumer with its packages.
#[derive(Debug)]
pub struct ConsumerEntry {
    /// Its name.
    pub name: String,
    /// How far it has got.
    pub position: ConsumerPosition,
    /// Changes that no package of it contains yet.
    pub waiting: i64,
    /// Its packages, and whether both files of each still exist.
    pub packages: Vec<(PackageRecord, bool)>,
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
            let with_presence = |it: PackageRecord| {
                let exists =
                    [&it.data_file, &it.manifest_file].iter().all(|name| it.folder.join(name).is_file());
                (it, exists)
            };
            let packages = tx.packages(&name)?.into_iter().map(with_presence).collect();
            consumers.push(ConsumerEntry { name, position, waiting, packages });
        }
        if let Some(wanted) = consumer.filter(|_| consumers.is_empty()) {
            return Err(no_such_consumer(wanted).into());
        }
        let (lineage, last_seq) = (tx.lineage()?, tx.greatest_seq()?);
        Ok::<_, AppError>(ConsumerList { lineage, last_seq, consumers })
    })
}
