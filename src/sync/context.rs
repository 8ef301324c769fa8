//! What a run works with.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use tokio::time::Instant;

use super::totals::RunTotals;
use super::{SharedStore, SyncError};
use crate::halo::{HaloClient, RequestWait};
use crate::reference::ReferenceTable;
use crate::retry::RequestCounts;
use crate::scope::Scope;
use crate::store::{FieldFindings, TxEnd};
use crate::ticket::Timestamp;
use crate::watermark::ScanSchedule;

/// The target of log events that say what a run decided: the service, whose runs are many, leaves them out at info.
pub const DECISION_TARGET: &str = "halosync::decision";

/// The local clock, for records and schedules; never for the watermark.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunPhase {
    /// Asking for what a scan needs.
    #[default]
    Preparing,
    /// Reading everything for the first time.
    InitialLoad,
    /// Reading everything.
    FullScan,
    /// Reading what was updated since the watermark.
    IncrementalScan,
    /// Finding out whether the scan missed anything.
    Confirming,
    /// Asking about so many tickets that a full scan did not show.
    UnlistedTickets(u64),
    /// Asking for so many tickets that could not be read.
    PendingTickets(u64),
    /// Fetching custom fields ticket by ticket.
    CustomFields,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseProgress {
    /// The tickets that are received, those before an interruption included.
    pub tickets: u64,
    /// How many there are, by the server's count.
    pub total: Option<u64>,
    /// The earliest time at which the rate limit lets the last request through.
    pub earliest_end: Instant,
}

/// Receives the progress of a run.
pub trait Progress: Send + Sync {
    /// The run begins this phase, or returns to it.
    fn phase(&self, _: RunPhase) {}

    /// The phase is this far.
    fn received(&self, progress: PhaseProgress);

    /// All requests wait, or wait no longer.
    fn waiting(&self, _: Option<RequestWait>) {}
}

/// Ignores the progress.
impl Progress for () {
    fn received(&self, _: PhaseProgress) {}
}

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The scope; its ticket types are filled in from `ticket_types`.
    pub scope: Scope,
    /// Names of the ticket types in the scope; an empty list means all.
    pub ticket_types: Vec<String>,
    /// The reference tables that are read besides statuses and ticket types.
    pub reference: Vec<&'static ReferenceTable>,
    /// Rows per page, at most 100.
    pub page_size: u32,
    /// Requests at the same time.
    pub parallel_requests: u32,
    /// Requests per window of the rate limit.
    pub requests_per_window: u32,
    /// Rows per transaction, about; usually [`super::BATCH_ROWS`].
    pub batch_rows: usize,
    /// Which scan is due when.
    pub schedule: ScanSchedule,
    /// The share of the tickets that may be deleted in one run, from 0 to 1.
    pub delete_guard: f64,
    /// Whether the delete guard is lifted for this run.
    pub accept_deletes: bool,
    /// Whether nothing is kept except the record of the run.
    pub dry_run: bool,
    /// How many tickets fewer than the server counts are accepted.
    pub accept_shortfall: u64,
    /// How long the records of runs are kept.
    pub keep_runs: TimeDelta,
}

/// What every part of a run works with: the server, the database, the settings and the clock.
pub struct RunContext {
    pub(super) halo: Arc<HaloClient>,
    pub(super) store: SharedStore,
    pub(super) settings: RunSettings,
    pub(super) clock: Clock,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) run_id: i64,
    /// The requests of earlier runs with the same client.
    pub(super) requests_before: RequestCounts,
    /// What searches for unmapped fields found so far.
    pub(super) new_fields: Mutex<Vec<FieldFindings>>,
}

/// An incremental scan that runs between two batches of a full scan or of the pending fetches. It is given the totals
/// of the run so far and returns them with its own.
pub(super) type Interleave<'a> = dyn Fn(RunTotals) -> InterleavedScan<'a> + Send + Sync + 'a;

pub(super) type InterleavedScan<'a> = Pin<Box<dyn Future<Output = Result<RunTotals, SyncError>> + Send + 'a>>;

impl RunContext {
    /// The time by the local clock.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The requests of this run so far.
    pub(super) fn requests(&self) -> RequestCounts {
        self.halo.request_counts().since(self.requests_before)
    }

    /// Reports how far the phase is; each further request brings at most so many tickets.
    pub(super) fn report_progress(&self, tickets: u64, total: Option<u64>, tickets_per_request: u32) {
        let requests =
            total.unwrap_or(0).saturating_sub(tickets).div_ceil(u64::from(tickets_per_request.max(1)));
        let earliest_end = self.halo.earliest_send(requests);
        self.progress.received(PhaseProgress { tickets, total, earliest_end });
    }

    /// Whether what the run writes is kept.
    pub(super) fn tx_end(&self) -> TxEnd {
        if self.settings.dry_run { TxEnd::Rollback } else { TxEnd::Commit }
    }

    /// Whether custom fields of single tickets are fetched after the scan.
    pub(super) fn fetches_custom_fields(&self) -> bool {
        self.settings.scope.custom_fields && !self.settings.dry_run
    }

    /// Records the requests so far, so that a run after a kill keeps to the rate limit.
    pub(super) async fn record_requests(&self) -> Result<(), SyncError> {
        let (run_id, run_stats) = (self.run_id, RunTotals::default().run_stats(self.requests()));
        self.store
            .call(move |store| store.write(TxEnd::Commit, |tx| tx.record_requests(run_id, &run_stats)))
            .await
    }
}
