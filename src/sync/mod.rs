//! One pass: from the first request to the watermark.
//!
//! [`account`], [`reading`], [`seek`], [`calibration`], [`absence`] and [`fields`] decide and are pure:
//! answers go in, what to ask next and what to conclude come out. `settle` brings the copy to its scope,
//! `pages` fetches, `mapping` makes rows that can be stored, `writer` stores, `walk` does all that as the
//! account says, `confirm` asks about single tickets, `conclusion` ends a walk, `detail` reads what custom
//! fields are owed, `pass` puts the parts in order. Time comes in as a function, so that a test can give any.

mod confirm_deletion;
mod definitions;
pub mod fetch_fields;
pub mod fields;
mod finish;
pub mod list_read;
pub mod list_scan;
mod pages;
pub mod probes;
mod reference;
mod row_intake;
mod run;
mod scan;
mod scope_change;
pub mod seek;
pub mod unlisted;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

pub use definitions::{CUSTOM_FIELDS_PROBE, SAMPLES_MAX};
pub use reference::resolve_ticket_types as resolve_types;
pub use run::{RunContext, RunOutcome, RunReport, RunSettings};
pub use scope_change::check_same_server;

use crate::halo::HaloError;
use crate::store::{Store, StoreError};
use crate::ticket::Timestamp;

/// Rows a transaction, about: so many that the transaction costs little beside them, and so few that
/// little is asked for twice after a kill.
pub const BATCH_ROWS: usize = 800;

/// The time by the local clock, for records and schedules; never for the watermark.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a pass tells while it runs.
pub trait Progress: Send + Sync {
    /// So many rows were received, of so many that the server says there are.
    fn received(&self, rows: u64, total: Option<u64>);
}

/// Tells nobody.
impl Progress for () {
    fn received(&self, _: u64, _: Option<u64>) {}
}

/// Why a pass could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The server.
    #[error(transparent)]
    Halo(#[from] HaloError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is a copy of another server.
    #[error("the database is a copy of {stored}, not of {wanted}")]
    AnotherServer {
        /// The server it is a copy of.
        stored: String,
        /// The server in the settings.
        wanted: String,
    },
    /// A ticket type in the settings does not exist.
    #[error("the server has no ticket type {name:?}")]
    UnknownType {
        /// Its name in the settings.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Somebody asked to stop.
    #[error("stopped before the end; what was committed stays")]
    Stopped,
    /// A part of the pass panicked.
    #[error("a part of the pass failed: {0}")]
    TaskFailed(#[from] tokio::task::JoinError),
}

/// The store, shared with the thread that writes.
#[derive(Clone)]
pub struct SharedStore {
    store: Arc<Mutex<Store>>,
    /// Whether its work is done at once, where it is asked for.
    inline: bool,
    /// How often work with it was done.
    jobs_done: Arc<AtomicU64>,
    /// Grows while it computes.
    ticks: Arc<AtomicU64>,
}

/// Work with the store that goes on while something else is awaited.
enum StoreJob<T> {
    Done(T),
    Running(JoinHandle<T>),
}

impl<T> StoreJob<T> {
    async fn join(self) -> Result<T, SyncError> {
        match self {
            StoreJob::Done(done) => Ok(done),
            StoreJob::Running(handle) => Ok(handle.await?),
        }
    }
}

impl SharedStore {
    /// Shares a store; its work is done on threads that may block.
    #[must_use]
    pub fn new(store: Store) -> SharedStore {
        let ticks = store.progress_steps();
        SharedStore { store: Arc::new(Mutex::new(store)), inline: false, jobs_done: Arc::default(), ticks }
    }

    /// Shares a store whose work is done at once: then everything happens in one order, that of the
    /// runtime's one thread, and a test can be repeated.
    #[must_use]
    pub fn new_inline(store: Store) -> SharedStore {
        SharedStore { inline: true, ..SharedStore::new(store) }
    }

    /// The store, when nobody else is at it. A panic while it was held left no transaction open: SQLite
    /// rolled it back.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often work with it was done.
    #[must_use]
    pub fn jobs_done(&self) -> u64 {
        self.jobs_done.load(Ordering::Relaxed)
    }

    /// A number that grows while it computes ([`Store::ticks`]).
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Ends when the store has nothing else to do for a moment; that is no work.
    #[must_use]
    pub fn wait_until_idle(&self) -> JoinHandle<()> {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || drop(shared.lock()))
    }

    /// Closes the store, unless somebody else still shares it: then it closes with the last of them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn close(self) -> Result<(), StoreError> {
        match Arc::try_unwrap(self.store) {
            Ok(store) => store.into_inner().unwrap_or_else(PoisonError::into_inner).close(),
            Err(_) => Ok(()),
        }
    }

    /// Starts work with the store.
    fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreJob<Result<T, StoreError>> {
        if self.inline {
            return StoreJob::Done(job(&mut self.lock()));
        }
        let shared = self.clone();
        StoreJob::Running(tokio::task::spawn_blocking(move || {
            let done = job(&mut shared.lock());
            shared.jobs_done.fetch_add(1, Ordering::Relaxed);
            done
        }))
    }

    /// Works with the store.
    ///
    /// # Errors
    /// What `work` reports, or that it panicked.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SyncError> {
        Ok(self.start(job).join().await??)
    }
}
