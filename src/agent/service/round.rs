//! One round of the service: a pass, and what follows it whether it succeeded or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Stage};
use crate::agent::{AgentError, Handover, Loaded, Wish, deliver_if_due, pass_settings, wall};
use crate::halo::Halo;
use crate::store::{Checkpoint, Store};
use crate::sync::{Pass, Report, SharedStore, SyncError};

/// What a round works with.
pub(super) struct Round {
    pub(super) loaded: Arc<Loaded>,
    pub(super) halo: Arc<Halo>,
    pub(super) store: SharedStore,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
    /// Whether the database is to be inspected.
    pub(super) inspects: bool,
}

/// What a round came to.
pub(super) struct Ended {
    pub(super) pass: Result<Report, SyncError>,
    pub(super) took: Duration,
    pub(super) upkeep: Upkeep,
}

/// What followed the pass.
pub(super) struct Upkeep {
    pub(super) checkpoint: Option<Checkpoint>,
    /// The package, if one was due.
    pub(super) delivery: Result<Option<Handover>, AgentError>,
    /// What is wrong with the database, where it was inspected.
    pub(super) inspection: Option<Result<(), AgentError>>,
}

impl Upkeep {
    fn none() -> Upkeep {
        Upkeep { checkpoint: None, delivery: Ok(None), inspection: None }
    }
}

impl Round {
    /// Runs the pass and what follows; where the end of the service is near, only the pass.
    pub(super) async fn run(self) -> Ended {
        let began = Instant::now();
        self.board.enter(Stage::Pass);
        let settings = pass_settings(&self.loaded.config, Wish::default());
        let (halo, store) = (Arc::clone(&self.halo), self.store.clone());
        let (progress, stopped) = (Arc::clone(&self.board), self.stop.cancelled());
        let pass = Pass::run(halo, store, settings, wall(), progress, stopped).await;
        let took = began.elapsed();
        self.board.enter(Stage::Upkeep);
        let upkeep = if self.stop.is_cancelled() { Upkeep::none() } else { self.upkeep().await };
        self.board.enter(Stage::Idle);
        Ended { pass, took, upkeep }
    }

    async fn upkeep(&self) -> Upkeep {
        let checkpoint = self.store.work(|store| store.checkpoint()).await;
        if let Err(error) = &checkpoint {
            tracing::debug!(%error, "the write-ahead log could not be moved into the database");
        }
        let loaded = Arc::clone(&self.loaded);
        let delivery = apart(move || deliver_if_due(&loaded)).await;
        let mut inspection = None;
        if self.inspects {
            let loaded = Arc::clone(&self.loaded);
            inspection = Some(apart(move || inspect(&loaded)).await);
        }
        Upkeep { checkpoint: checkpoint.ok(), delivery, inspection }
    }
}

/// Looks for damage, with a connection of its own: nobody waits for it.
fn inspect(loaded: &Loaded) -> Result<(), AgentError> {
    let config = &loaded.config.store;
    Ok(Store::open_read_only(&config.path, config.busy_timeout)?.inspect()?)
}

/// Works on a thread that may block.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) => Err(SyncError::Broken(broken).into()),
    }
}
