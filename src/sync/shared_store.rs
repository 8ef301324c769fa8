//! The store, shared by the tasks of a run and the service.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use super::SyncError;
use crate::store::{Store, StoreError};

/// A store that several tasks use, one at a time.
#[derive(Clone)]
pub struct SharedStore {
    store: Arc<Mutex<Store>>,
    /// Whether its jobs run on the calling thread.
    inline: bool,
    /// Jobs finished on blocking threads; with `ticks`, the watchdog's sign of progress.
    jobs_done: Arc<AtomicU64>,
    /// Grows while SQLite computes.
    ticks: Arc<AtomicU64>,
}

/// A job that runs while something else is awaited.
pub(super) enum StoreJob<T> {
    Done(T),
    Running(JoinHandle<T>),
}

impl<T> StoreJob<T> {
    pub(super) async fn join(self) -> Result<T, SyncError> {
        match self {
            StoreJob::Done(done) => Ok(done),
            StoreJob::Running(handle) => Ok(handle.await?),
        }
    }
}

impl SharedStore {
    /// Shares a store; its jobs run on threads that may block.
    #[must_use]
    pub fn new(store: Store) -> SharedStore {
        let ticks = store.progress_steps();
        SharedStore { store: Arc::new(Mutex::new(store)), inline: false, jobs_done: Arc::default(), ticks }
    }

    /// Shares a store whose jobs run on the calling thread: everything happens in one order, so that a test can be
    /// repeated.
    #[must_use]
    pub fn new_inline(store: Store) -> SharedStore {
        SharedStore { inline: true, ..SharedStore::new(store) }
    }

    /// Locks the store. A panic while it was locked left no transaction open: SQLite rolled it back.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs finished on blocking threads; with `ticks`, the watchdog's sign of progress.
    #[must_use]
    pub fn jobs_done(&self) -> u64 {
        self.jobs_done.load(Ordering::Relaxed)
    }

    /// A number that grows while SQLite computes.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Ends as soon as the store is idle; does not count as a job.
    #[must_use]
    pub fn wait_until_idle(&self) -> JoinHandle<()> {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || drop(shared.lock()))
    }

    /// Closes the store; while others share it, it closes with the last of them.
    pub fn close(self) -> Result<(), StoreError> {
        match Arc::try_unwrap(self.store) {
            Ok(store) => store.into_inner().unwrap_or_else(PoisonError::into_inner).close(),
            Err(_) => Ok(()),
        }
    }

    /// Starts a job with the store.
    pub(super) fn start<T: Send + 'static>(
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

    /// Runs a job with the store.
    ///
    /// # Errors
    /// The error of the job, or [`SyncError::TaskFailed`] if it panicked.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SyncError> {
        Ok(self.start(job).join().await??)
    }
}
