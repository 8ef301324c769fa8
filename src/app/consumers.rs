//! The consumers: what they have taken, what waits for them, who is forgotten.

use std::path::PathBuf;

use super::export_session::{ExportSession, NewLineage};
use super::{AppError, LoadedConfig};
use crate::config::ConsumerName;
use crate::export::ConsumerFolder;
use crate::store::{ConsumerPosition, PackageRecord, Store, TxEnd};

/// What the book does not know.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Nothing was ever handed on to a consumer of that name.
    #[error("there is no consumer {consumer}")]
    NoConsumer {
        /// The name.
        consumer: String,
    },
    /// No package ends there.
    #[error("no package of {consumer} ends at change {seq}")]
    NoPackage {
        /// Whose.
        consumer: String,
        /// Where.
        seq: i64,
        /// Where the nearest do.
        ends: Vec<i64>,
    },
    /// The package is of an earlier lineage.
    #[error(
        "no package of {consumer} ends at change {seq} any more: an older copy of the database was restored"
    )]
    BackupRestored {
        /// Whose.
        consumer: String,
        /// Where.
        seq: i64,
        /// What shows it.
        evidence: PathBuf,
        /// The lineage that begins.
        lineage: String,
    },
}

/// Notes that a consumer has taken all its packages up to change `seq`, where one ends.
///
/// # Errors
/// [`AgentError`]; nothing is noted then.
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
        // A package that has aged out was acknowledged before.
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

/// Forgets a consumer: its packages are removed, and it no longer holds change records back.
///
/// # Errors
/// [`AgentError`]; where a package could not be removed, it is not forgotten.
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

/// What the book says of the consumers.
#[derive(Debug)]
pub struct ConsumerList {
    /// The present lineage.
    pub lineage: String,
    /// The newest change.
    pub last_seq: i64,
    /// The consumers.
    pub consumers: Vec<ConsumerEntry>,
}

/// A consumer in the book.
#[derive(Debug)]
pub struct ConsumerEntry {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub position: ConsumerPosition,
    /// How many changes wait for it.
    pub waiting: i64,
    /// Its packages, and whether both files of each are where they were put.
    pub packages: Vec<(PackageRecord, bool)>,
}

/// Lists all consumers, or one, with their packages; takes no lock and reads no secret.
///
/// # Errors
/// [`AgentError`]
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
