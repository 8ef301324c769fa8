//! The consumers: what they have taken, what waits for them, who is forgotten.

use std::path::PathBuf;

use super::desk::{Desk, Restart};
use super::{AgentError, Loaded};
use crate::config::Consumer;
use crate::export::Folder;
use crate::store::{Delivered, Fate, Position, Store};

/// What the book does not know.
#[derive(Debug, thiserror::Error)]
pub enum BookProblem {
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
    Restarted {
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
pub fn acknowledge(loaded: &Loaded, consumer: &Consumer, seq: i64) -> Result<Position, AgentError> {
    let config = &loaded.config;
    let mut desk = Desk::open(config, config.store.busy_timeout)?;
    if let Some(Restart { lineage, evidence, .. }) = desk.compare(&config.export.dir)? {
        let consumer = consumer.as_str().to_owned();
        return Err(BookProblem::Restarted { consumer, seq, evidence, lineage }.into());
    }
    let position = desk.store.write(Fate::Commit, |writing| {
        let snapshot = writing.snapshot();
        let Some(position) = snapshot.position(consumer)? else { return Ok(Err(unknown(consumer))) };
        let ends: Vec<_> = snapshot.packages(consumer.as_str())?.iter().map(|it| it.to_seq).collect();
        // A package that has aged out was acknowledged before.
        let again = 0 < seq && seq == position.acked_seq;
        if !again && !ends.contains(&seq) {
            return Ok(Err(BookProblem::NoPackage { consumer: consumer.as_str().to_owned(), seq, ends }));
        }
        writing.acknowledge(consumer, seq)?;
        Ok(Ok(Position { acked_seq: position.acked_seq.max(seq), ..position }))
    })?;
    desk.close()?;
    Ok(position?)
}

/// Forgets a consumer: its packages are removed, and it no longer holds change records back.
///
/// # Errors
/// [`AgentError`]; where a package could not be removed, it is not forgotten.
pub fn forget(loaded: &Loaded, consumer: &Consumer) -> Result<usize, AgentError> {
    let config = &loaded.config;
    let mut desk = Desk::open(config, config.store.busy_timeout)?;
    let known = desk.store.read(|snapshot| snapshot.position(consumer))?;
    known.ok_or_else(|| unknown(consumer))?;
    let packages = desk.store.read(|snapshot| snapshot.packages(consumer.as_str()))?;
    for package in &packages {
        Folder::remove_package(&package.folder, &package.manifest_file, &package.data_file)?;
    }
    desk.store.write(Fate::Commit, |writing| writing.forget_consumer(consumer))?;
    desk.close()?;
    Ok(packages.len())
}

fn unknown(consumer: &Consumer) -> BookProblem {
    BookProblem::NoConsumer { consumer: consumer.as_str().to_owned() }
}

/// What the book says of the consumers.
#[derive(Debug)]
pub struct Listing {
    /// The present lineage.
    pub lineage: String,
    /// The newest change.
    pub last_seq: i64,
    /// The consumers.
    pub consumers: Vec<Listed>,
}

/// A consumer in the book.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub position: Position,
    /// How many changes wait for it.
    pub waiting: i64,
    /// Its packages, and whether both files of each are where they were put.
    pub packages: Vec<(Delivered, bool)>,
}

/// Lists all consumers, or one, with their packages; takes no lock and reads no secret.
///
/// # Errors
/// [`AgentError`]
pub fn list(loaded: &Loaded, consumer: Option<&Consumer>) -> Result<Listing, AgentError> {
    let config = &loaded.config;
    let store = Store::open_read_only(&config.store.path, config.store.busy_timeout)?;
    store.read(|snapshot| {
        let mut consumers = Vec::new();
        for (name, position, waiting) in snapshot.waiting()? {
            if consumer.is_some_and(|wanted| wanted.as_str() != name) {
                continue;
            }
            let there = |it: Delivered| {
                let there =
                    [&it.data_file, &it.manifest_file].iter().all(|name| it.folder.join(name).is_file());
                (it, there)
            };
            let packages = snapshot.packages(&name)?.into_iter().map(there).collect();
            consumers.push(Listed { name, position, waiting, packages });
        }
        if let Some(wanted) = consumer.filter(|_| consumers.is_empty()) {
            return Err(unknown(wanted).into());
        }
        let (lineage, last_seq) = (snapshot.lineage()?, snapshot.greatest_seq()?);
        Ok::<_, AgentError>(Listing { lineage, last_seq, consumers })
    })
}
