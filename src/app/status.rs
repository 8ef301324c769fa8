//! The state of the database and of its consumers, for `status`, the metrics and `/readyz`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use super::{AppError, LakeStatus, LoadedConfig, now};
use crate::store::{
    ConsumerPosition, Health, Lateness, LockHolders, Store, StoreError, UnmappedField, wal_size,
};
use crate::sync::{RunOutcome, held_delete_guard};
use crate::ticket::Timestamp;
use crate::watermark::WatermarkState;

/// After that many intervals without a complete run the data is stale.
const STALE_AFTER_INTERVALS: u32 = 3;

/// For so long a field counts as new.
pub(crate) const NEW_FIELDS_FOR: TimeDelta = TimeDelta::days(7);

/// For so long a late change is remembered.
pub(crate) const LATENESS_FOR: TimeDelta = TimeDelta::days(30);

/// A database up to this size is read as a whole by `status`, within about a second, in bytes.
const INSPECTED_BYTES_MAX: u64 = 128 << 20;

/// The state of the database and of its consumers.
#[derive(Debug)]
pub struct StatusReport {
    /// The database.
    pub database: PathBuf,
    /// The facts that the database records.
    pub health: Health,
    /// The delete guard that holds, if one does.
    pub delete_guard: Option<RunOutcome>,
    /// How many tickets and rows may be missing in a complete run.
    pub accept_shortfall: u64,
    /// The consumers with their positions, and how many changes no package of theirs contains yet.
    pub consumers: Vec<(String, ConsumerPosition, i64)>,
    /// How far the lake is; `None` where the settings name none.
    pub lake: Option<LakeStatus>,
    /// The size of the database file, in bytes.
    pub database_bytes: u64,
    /// The size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// The free space on its disk, in bytes, if the file system says.
    pub free_disk_bytes: Option<u64>,
    /// The free space below which runs stop, in bytes; 0: never.
    pub min_free_disk: u64,
    /// The processes that have it open.
    pub holders: LockHolders,
    /// What a look at all of it found; `None` where nothing looked.
    pub inspection: Option<Inspection>,
    /// The fields that no mapping knows and that were first seen within the last seven days.
    pub unmapped_fields: Vec<UnmappedField>,
    /// The greatest lateness of the last thirty days, if any change was late.
    pub lateness: Option<Lateness>,
    /// The greatest lateness of the last day.
    pub lateness_of_day: Option<Lateness>,
    /// How far before the watermark incremental scans start.
    pub overlap: TimeDelta,
    /// The age of the last complete run from which on the data is stale.
    pub stale_after: TimeDelta,
    /// When the report was made, by the local clock.
    pub now: Timestamp,
}

/// What a look at the whole database found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Whether the file is damaged.
    pub is_damaged: bool,
    /// What another program changed in the schema.
    pub schema_changes: Option<String>,
    /// Which rows another program changed.
    pub local_edits: Option<String>,
}

impl StatusReport {
    /// How long ago the last complete run ended.
    #[must_use]
    pub fn last_complete_age(&self) -> Option<TimeDelta> {
        self.health.last_complete_at.map(|at| self.now.instant() - at.instant())
    }

    /// Whether the last complete run ended too long ago, or there was none.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.last_complete_age().is_none_or(|age| self.stale_after < age)
    }

    /// Whether a process is writing a run now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.holders.writer.is_some() && self.health.runs.first().is_some_and(|run| run.outcome.is_none())
    }

    /// The fields of them that the server did not send before: not those that the first search of their object found.
    #[must_use]
    pub fn new_fields(&self) -> Vec<UnmappedField> {
        self.unmapped_fields.iter().filter(|field| !field.in_first_search).cloned().collect()
    }

    /// How many pending tickets and rows without an id `accept_shortfall` accepts; 0 where there are none or too many.
    #[must_use]
    pub fn accepted_lacks(&self) -> u64 {
        let lacks = self.health.pending_tickets.count + self.health.rejected_rows;
        if lacks <= self.accept_shortfall { lacks } else { 0 }
    }
}

/// Reports the state of the database and of its consumers. Takes no lock and reads no secret.
pub fn status(loaded: &LoadedConfig) -> Result<StatusReport, AppError> {
    report(loaded, &open(loaded)?)
}

/// The same, with a look at the whole database where it is small. With `max_age` the data is stale when it is older than
/// that, whatever the interval between runs.
pub fn inspected_status(loaded: &LoadedConfig, max_age: Option<Duration>) -> Result<StatusReport, AppError> {
    let store = open(loaded)?;
    let mut report = report(loaded, &store)?;
    if report.database_bytes + report.wal_bytes <= INSPECTED_BYTES_MAX {
        report.inspection = Some(inspect(&store, &report)?);
    }
    if let Some(max_age) = max_age {
        report.stale_after = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
    }
    Ok(report)
}

fn open(loaded: &LoadedConfig) -> Result<Store, AppError> {
    let store = &loaded.config.store;
    Ok(Store::open_read_only(&store.path, store.busy_timeout)?)
}

fn report(loaded: &LoadedConfig, store: &Store) -> Result<StatusReport, AppError> {
    let config = &loaded.config;
    let path = &config.store.path;
    let database_bytes = std::fs::metadata(path).map_or(0, |it| it.len());
    let (wal_bytes, holders) = (wal_size(path), LockHolders::detect(path));
    let stale_after = config.sync.interval.saturating_mul(STALE_AFTER_INTERVALS);
    let now = now();
    store.read(|tx| {
        Ok(StatusReport {
            database: path.clone(),
            database_bytes,
            wal_bytes,
            free_disk_bytes: store.free_disk(),
            min_free_disk: config.store.min_free_disk,
            holders,
            health: tx.health(5)?,
            delete_guard: held_delete_guard(tx, config.sync.delete_guard)?,
            accept_shortfall: u64::from(config.sync.accept_shortfall),
            consumers: tx.consumers()?,
            lake: LakeStatus::read(config, tx)?,
            inspection: None,
            unmapped_fields: tx.unmapped_fields_since(now.minus(NEW_FIELDS_FOR))?,
            lateness: tx.greatest_lateness(now.minus(LATENESS_FOR))?,
            lateness_of_day: tx.greatest_lateness(now.minus(TimeDelta::days(1)))?,
            overlap: config.sync.overlap,
            stale_after: TimeDelta::from_std(stale_after).unwrap_or(TimeDelta::MAX),
            now,
        })
    })
}

fn inspect(store: &Store, report: &StatusReport) -> Result<Inspection, StoreError> {
    if is_damaged(store, report)? {
        // What a damaged file says about itself proves nothing.
        return Ok(Inspection { is_damaged: true, ..Inspection::default() });
    }
    let schema_changes = match store.check_schema() {
        Ok(_) => None,
        Err(StoreError::SchemaChanged { faults, .. }) => {
            Some(faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("; "))
        }
        Err(error) => return Err(error),
    };
    // A load after a change of scope has marked rows that nobody edited.
    let state = report.health.watermark.as_ref().map(|watermark| watermark.state);
    let local_edits = match state {
        Some(WatermarkState::Incremental) => {
            Some(store.read(|tx| tx.find_local_edits())?).filter(|edits| !edits.is_empty())
        }
        _ => None,
    };
    Ok(Inspection {
        is_damaged: false,
        schema_changes,
        local_edits: local_edits.map(|edits| edits.to_string()),
    })
}

fn is_damaged(store: &Store, report: &StatusReport) -> Result<bool, StoreError> {
    // A process that is writing has checked its log when it opened the database.
    let wal = match report.holders.writer {
        Some(_) => Ok(()),
        None => store.read(|tx| tx.check_wal_fits(store.path())),
    };
    match wal.and_then(|()| store.check_integrity()) {
        Ok(()) => Ok(false),
        Err(
            StoreError::Damaged { .. }
            | StoreError::IntegrityCheckFailed { .. }
            | StoreError::RestoredBesideWal { .. },
        ) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
impl StatusReport {
    /// A server that was read completely a minute ago.
    pub(crate) fn example() -> StatusReport {
        use crate::scope::Scope;
        use crate::store::PendingTickets;
        use crate::watermark::Watermark;

        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let scope = Scope::example();
        let watermark = Watermark {
            state: WatermarkState::Incremental,
            covered_until: Some(at("2026-11-22T11:58:51.000Z")),
            newest_seen: Some(at("2026-11-22T11:57:02.000Z")),
            ..Watermark::new(scope)
        };
        let health = Health {
            watermark: Some(watermark),
            tickets: 8_000,
            last_seq: 8_123,
            pending_tickets: PendingTickets::default(),
            pending_fetches: 0,
            unreadable: 0,
            unlisted_tickets: 0,
            unlisted_by_status: vec![],
            erased_tickets: 0,
            has_privacy_traces: false,
            rejects: 0,
            rejected_rows: 0,
            last_complete_at: Some(at("2026-11-22T11:59:00.000Z")),
            last_full_scan: None,
            last_scan: None,
            interrupted_scan: None,
            interrupted_scan_count: None,
            runs: vec![],
            probes: vec![],
            reference_lists: vec![],
        };
        StatusReport {
            database: "/var/lib/halosync/halosync.db".into(),
            health,
            delete_guard: None,
            accept_shortfall: 0,
            consumers: vec![],
            lake: None,
            database_bytes: 25_400_000,
            wal_bytes: 4_100_000,
            free_disk_bytes: Some(48 << 30),
            min_free_disk: 256 << 20,
            holders: LockHolders::default(),
            inspection: Some(Inspection::default()),
            unmapped_fields: vec![],
            lateness: None,
            lateness_of_day: None,
            overlap: TimeDelta::minutes(10),
            stale_after: TimeDelta::minutes(15),
            now: at("2026-11-22T12:00:00.000Z"),
        }
    }
}
