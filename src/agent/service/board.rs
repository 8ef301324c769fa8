//! What the parts of the service know of each other: how far the work is, and how it went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::exposition::{Figures, Passes};
use crate::agent::{AgentError, Loaded, Standing, status};
use crate::halo::{Halo, Traffic};
use crate::sync::Progress;
use crate::watermark::State;

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: the next pass is waited for.
    #[default]
    Idle,
    /// The server is asked.
    Pass,
    /// What follows a pass: packages are made, the database is inspected.
    Upkeep,
}

/// The board.
pub(super) struct Board {
    entries: Mutex<Entries>,
    rows: AtomicU64,
    total: AtomicU64,
}

/// What stands on it.
pub(super) struct Entries {
    pub(super) loaded: Arc<Loaded>,
    pub(super) halo: Arc<Halo>,
    /// What went over the wire before there was this `halo`.
    pub(super) traffic_before: Traffic,
    pub(super) stage: Stage,
    pub(super) passes: Passes,
    pub(super) failures: u32,
    pub(super) last_duration: Option<Duration>,
    pub(super) database_ok: Option<bool>,
    /// Whether the figures could not be written to their file.
    pub(super) figures_fail: bool,
    /// Whether everything got on at the last look, and when that was.
    pub(super) looked: (bool, Instant),
}

/// So many intervals after the last complete pass the copy counts as old.
const OLD_AFTER_INTERVALS: u32 = 3;

impl Board {
    pub(super) fn new(loaded: Arc<Loaded>, halo: Arc<Halo>) -> Board {
        let entries = Entries {
            loaded,
            halo,
            traffic_before: Traffic::default(),
            stage: Stage::Idle,
            passes: Passes::default(),
            failures: 0,
            last_duration: None,
            database_ok: None,
            figures_fail: false,
            looked: (true, Instant::now()),
        };
        Board { entries: Mutex::new(entries), rows: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    /// The entries; nobody keeps them for long.
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stage.
    pub(super) fn enter(&self, stage: Stage) {
        self.entries().stage = stage;
        self.rows.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }

    /// Rows received in this pass, of so many that the server counts, where it does.
    pub(super) fn received_so_far(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed);
        (self.rows.load(Ordering::Relaxed), (total != 0).then_some(total))
    }

    /// Whether everything got on a moment ago, looked at every `beat`.
    pub(super) fn is_alive(&self, beat: Duration) -> bool {
        let (got_on, at) = self.entries().looked;
        got_on && at.elapsed() < beat * 3
    }

    /// Everything there is to expose; reads the database.
    pub(super) fn figures(&self) -> Figures {
        let loaded = Arc::clone(&self.entries().loaded);
        let standing = status(&loaded);
        if let Err(error) = &standing {
            tracing::debug!(%error, "the database cannot be read for the figures");
        }
        let entries = self.entries();
        Figures {
            standing: standing.ok(),
            passes: entries.passes,
            failures: entries.failures,
            last_duration: entries.last_duration,
            interval: loaded.config.sync.interval,
            traffic: entries.traffic_before.plus(&entries.halo.traffic()),
            database_ok: entries.database_ok,
        }
    }

    /// Whether the copy can be relied on, or why not; reads the database.
    pub(super) fn readiness(&self) -> Result<Standing, String> {
        let (loaded, sound) = {
            let entries = self.entries();
            (Arc::clone(&entries.loaded), entries.database_ok != Some(false))
        };
        if !sound {
            return Err("the database is damaged".into());
        }
        let standing = status(&loaded).map_err(|error: AgentError| error.to_string())?;
        let max_age = loaded.config.sync.interval.saturating_mul(OLD_AFTER_INTERVALS);
        match why_not_ready(&standing, max_age) {
            Some(why) => Err(why),
            None => Ok(standing),
        }
    }
}

/// Why a copy cannot be relied on: it was never complete, or its last complete pass is too long ago.
fn why_not_ready(standing: &Standing, max_age: Duration) -> Option<String> {
    let health = &standing.health;
    if health.watermark.as_ref().map(|mark| mark.state) != Some(State::Following) {
        return Some("the copy has never been complete".into());
    }
    let Some(last) = health.last_complete_at else { return Some("no pass was complete".into()) };
    let age = standing.now.instant() - last.instant();
    let is_old = TimeDelta::from_std(max_age).is_ok_and(|max_age| max_age < age);
    is_old.then(|| format!("the last complete pass ended at {last}"))
}

impl Progress for Board {
    fn received(&self, rows: u64, total: Option<u64>) {
        self.rows.store(rows, Ordering::Relaxed);
        self.total.store(total.unwrap_or(0), Ordering::Relaxed);
    }
}
