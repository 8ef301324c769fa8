//! Counts work for whoever shows how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of rows or bytes that grows while they are written or read; clones share it.
#[derive(Clone, Debug, Default)]
pub struct WorkCounter(Arc<AtomicU64>);

impl WorkCounter {
    /// Adds so many.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// The present number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
