//! What the commands and the service do: sync, reset, purge, export, status, history.
//!
//! This layer brings settings, secret, locks, clock, server, database and files together. Decisions are made in
//! the layers below, output is formatted in `cli`.

mod consumer_chain;
mod consumers;
mod duration;
mod error;
mod export_delta;
mod export_session;
mod export_snapshot;
mod halo_connector;
mod health;
mod history;
mod init;
mod lake;
mod locked_store;
mod privacy;
mod purge;
mod report;
mod reset;
mod service;
mod settings;
mod status;
mod trusted_file;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

pub use consumers::{
    Acknowledgment, ConsumerEntry, ConsumerList, ListedPackage, acknowledge, forget_consumer, list_consumers,
};
pub use duration::{age_to_text, duration_to_text, rough_duration};
pub use error::{
    AppError, ConsumerError, ExitStatus, FileProblem, HistoryError, LakePushError, PurgeError, ResetError,
    SecretError, SecretLocation, Signal, removal_to_text,
};
pub use export_delta::{DeltaSummary, WrittenPackage, export_delta, export_delta_if_due};
pub use export_session::NewLineage;
pub use export_snapshot::{SnapshotOptions, SnapshotOutcome, export_snapshot};
pub use health::{Assessment, HealthLevel, HealthReason, unlisted_to_text, was_interrupted};
#[cfg(test)]
pub(crate) use history::example as history_example;
pub use history::{
    ChangeMark, ChangedAttribute, EventKind, EventLine, LifeEvent, Presence, ShownValue, TicketHistory,
    TicketNames, TicketRowAt, TicketVersion, history, pending_to_text, row_at,
};
pub use init::{InitSummary, init};
#[cfg(feature = "lake")]
pub(crate) use lake::probe_lake;
#[cfg(feature = "lake")]
pub use lake::{EpochStart, LakePush, claim as claim_lake, push as push_to_lake, verify_lake};
pub use lake::{LakeStatus, lake_status};
pub use purge::{Erasure, HeldPackage, UndoneErasure, purge, undo_purge};
pub use report::{
    AGE_NAMES, AgentLoad, FigureUnit, GroupRow, Headline, OldTicket, Report, ReportOptions,
    ServiceDeskFigures, StatusTime, WeekRow, report,
};
pub use reset::{WatermarkReset, reset};
pub use service::{abort_on_panic, run_service};
pub use settings::{LoadedConfig, load, load_log_from_environment};
pub use status::{Inspection, StatusReport, inspected_status, status};
pub(crate) use status::{LATENESS_FOR, NEW_FIELDS_FOR};

pub use crate::export::{
    Chain, ExportError, PackageKind, VerifyFinding, VerifyNote, VerifyOptions, VerifyProblem, VerifyReport,
    WorkCounter, verify,
};
pub use crate::halo::is_hidden;
pub use crate::store::{
    ConsumerPosition, Health, InterruptedScan, LakeBacklog, LakePushes, LastRun, LastScan, Lateness,
    PendingOfTicket, PeriodRuns, ReaderProcess, ReferenceList, RejectDetails, RejectOfTicket, RunKind,
    RunOfChange, RunStatus, ServerProbe, UnlistedStatus, UnlistedTicket, UnmappedField,
};
pub(crate) use halo_connector::{client_options, http_options, requests_in_window};
pub(crate) use privacy::{exports_before_rules, privacy_rules};
pub(crate) use settings::{DEMO_MARKER, find_secret, read_secret, settings_path};

use halo_connector::HaloConnector;
use locked_store::LockedStore;

use crate::config::Config;
use crate::halo::HaloError;
use crate::scope::{MAPPING_VERSION, Scope};
use crate::store::{StoreOptions, ensure_free_disk};
use crate::sync::{self, Clock, Progress, RunReport, RunSettings, SyncError};
use crate::ticket::Timestamp;
use crate::watermark::ScanSchedule;

/// The time by the local clock; everything below this layer gets it as an argument.
///
/// # Panics
/// After the year 9999, which a timestamp cannot hold.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::new(Utc::now()).unwrap_or_else(|| unreachable!("a clock beyond the year 9999"))
}

/// The time that long ago.
pub(crate) fn ago(span: Duration) -> Timestamp {
    now().minus(TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX))
}

/// Whether that much time has passed since then. After the clock stepped back it has: nothing must wait until the clock
/// has caught up.
fn has_passed(span: Duration, since: Timestamp, now: Timestamp) -> bool {
    let elapsed = now.instant() - since.instant();
    elapsed < TimeDelta::zero() || TimeDelta::from_std(span).is_ok_and(|span| span <= elapsed)
}

/// The options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncOptions {
    /// Do a full scan even if none is due.
    pub full: bool,
    /// Delete tickets even if the delete guard would hold.
    pub accept_deletes: bool,
    /// Only report what would change.
    pub dry_run: bool,
}

/// Runs one synchronization; `stop` ends it early, with what was committed so far saved.
pub async fn sync(
    loaded: &LoadedConfig,
    options: SyncOptions,
    progress: Arc<dyn Progress>,
    stop: impl Future<Output = Signal>,
) -> Result<RunReport, AppError> {
    let config = &loaded.config;
    let connector = HaloConnector::from_config(loaded)?;
    ensure_free_disk(&config.store.path, config.store.min_free_disk)?;
    let locked_store = LockedStore::open(config, options.dry_run)?;
    let halo = Arc::new(connector.into_client(
        config,
        Arc::clone(&locked_store.privacy),
        locked_store.requests_in_window(config)?,
    ));
    let mut signal = None;
    let stop = pin!(stop);
    let stopped = async { signal = Some(stop.await) };
    let settings = run_settings(config, options);
    let done = sync::run(halo, locked_store.store.clone(), settings, clock(), progress, stopped).await;
    locked_store.close()?;
    match (done, signal) {
        (Ok(report), _) => Ok(report),
        (Err(_), Some(signal)) => Err(AppError::Stopped(signal)),
        (Err(SyncError::Halo(error @ HaloError::Unreachable { .. })), None) if loaded.is_demo() => {
            Err(AppError::DemoEnded(error))
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// The local clock, for runs.
fn clock() -> Clock {
    Arc::new(now)
}

fn run_settings(config: &Config, options: SyncOptions) -> RunSettings {
    RunSettings {
        scope: configured_scope(config),
        ticket_types: config.halo.ticket_types.clone(),
        reference: config.halo.reference.clone(),
        page_size: config.halo.page_size,
        parallel_requests: config.halo.parallel_requests,
        requests_per_window: config.halo.rate_limit.requests,
        batch_rows: sync::BATCH_ROWS,
        schedule: ScanSchedule {
            full_requested: options.full || options.accept_deletes,
            full_every: config.sync.full_every,
            overlap: config.sync.overlap,
            incremental_every: config.sync.interval,
        },
        accept_shortfall: u64::from(config.sync.accept_shortfall),
        delete_guard: config.sync.delete_guard,
        accept_deletes: options.accept_deletes,
        dry_run: options.dry_run,
        keep_runs: TimeDelta::from_std(config.store.keep_runs).unwrap_or(TimeDelta::MAX),
    }
}

/// The scope of the settings; a run looks up the numbers of the ticket types.
pub(crate) fn configured_scope(config: &Config) -> Scope {
    Scope {
        server: config.halo.server.as_str().to_owned(),
        tenant: config.halo.tenant.clone().unwrap_or_default(),
        ticket_types: Vec::new(),
        custom_fields: config.halo.include_custom_fields,
        mapping: MAPPING_VERSION,
    }
}

fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        busy_timeout: config.store.busy_timeout,
        full_text: config.store.full_text,
        index_last_modified: config.store.index_last_modified,
        now: now(),
    }
}

/// A number with thousands separators and its noun: `1 ticket`, `1,600 tickets`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", indicatif::HumanCount(number))
}
