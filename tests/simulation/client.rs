//! The client under test: runs over a real database file that are killed, stopped, or left to end by themselves.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use halosync::config::RateLimit;
use halosync::halo::{HaloClient, RateLimiter};
use halosync::reference::ReferenceTable;
use halosync::scope::Scope;
use halosync::store::{Store, StoreOptions, TxEnd};
use halosync::sync::{self, RunReport, RunSettings, SharedStore, SyncError};
use halosync::ticket::Timestamp;
use halosync::watermark::ScanSchedule;
use rusqlite::Connection;
use rusqlite::backup::Progress;
use tokio::time::sleep;

use crate::fault_transport::FaultTransport;
use crate::scenario::{PlannedEnd, RunScenario, Scenario, stream};
use crate::support::virtual_env::{client_options, run_settings};

/// No run takes that long, however slow the server and however low the limits.
const RUN_TIMEOUT: Duration = Duration::from_hours(72);

/// How many requests per parallel task may be missing from the database after a kill; the program assumes the same.
const UNRECORDED_REQUESTS: u64 = 60;

/// How a run ended.
pub(crate) enum RunEnd {
    Finished(Box<Result<RunReport, SyncError>>),
    Killed,
    /// It did not end.
    Endless,
}

impl RunEnd {
    /// Whether it ended at any moment, so that the client may have received what it did not store.
    pub(crate) fn is_cut_off(&self) -> bool {
        match self {
            RunEnd::Killed | RunEnd::Endless => true,
            RunEnd::Finished(result) => matches!(**result, Err(SyncError::Stopped)),
        }
    }

    /// What a run that ended by itself reports.
    pub(crate) fn report(&self) -> Option<&RunReport> {
        match self {
            RunEnd::Finished(result) => result.as_ref().as_ref().ok(),
            RunEnd::Killed | RunEnd::Endless => None,
        }
    }
}

/// A new database, created once: creating its tables takes longer than a small simulation run.
static NEW_DATABASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("halosync.db");
    let now = Timestamp::new(DateTime::UNIX_EPOCH).expect("a timestamp");
    Store::open(&path, &options(now)).expect("a database").close().expect("a database that closes");
    std::fs::read(path).expect("a database")
});

fn options(now: Timestamp) -> StoreOptions {
    StoreOptions { busy_timeout: Duration::from_secs(10), full_text: false, index_last_modified: false, now }
}

/// A client with its database.
pub(crate) struct Client<'s> {
    scenario: &'s Scenario,
    transport: Arc<FaultTransport>,
    path: PathBuf,
    /// The database, if the previous run left it open, as the service does for as long as it runs.
    open_store: RefCell<Option<SharedStore>>,
}

impl<'s> Client<'s> {
    pub(crate) fn new(scenario: &'s Scenario, transport: Arc<FaultTransport>, folder: &Path) -> Client<'s> {
        let path = folder.join("halosync.db");
        std::fs::write(&path, &*NEW_DATABASE).expect("a database");
        Client { scenario, transport, path, open_store: RefCell::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Executes one run over the database, which is opened unless the previous run left it open. Afterwards closes the
    /// database, keeps it open, or abandons it if the client was killed.
    pub(crate) async fn run(&self, number: u64, scenario: &RunScenario) -> RunEnd {
        let clock = self.transport.simulated.local_clock(TimeDelta::seconds(scenario.clock_offset));
        let open_store = self.open_store.take();
        let open =
            || SharedStore::new_inline(Store::open(&self.path, &options(clock())).expect("a database"));
        let store = open_store.unwrap_or_else(open);
        let (requests, window) = self.scenario.rate_limit;
        let since = clock().minus(TimeDelta::from_std(window).expect("a window"));
        let unrecorded = UNRECORDED_REQUESTS * u64::from(self.scenario.parallel_requests);
        let used = store.lock().read(|snapshot| snapshot.requests_since(since, unrecorded)).expect("runs");
        let rate_limiter = RateLimiter::new(RateLimit { requests, window }, used);
        self.transport.start_run(number, scenario);
        let end = scenario.end;
        let after = |after_ms: Option<u64>| async move {
            match after_ms {
                Some(after_ms) => sleep(Duration::from_millis(after_ms)).await,
                None => std::future::pending().await,
            }
        };
        let stop = after(if let PlannedEnd::StoppedAfter(after_ms) = end { Some(after_ms) } else { None });
        let kill = after(if let PlannedEnd::KilledAfter(after_ms) = end { Some(after_ms) } else { None });
        let (halo, settings) = (self.halo_client(number, rate_limiter), self.run_settings(scenario));
        let ended = {
            let run = sync::run(Arc::new(halo), store.clone(), settings, clock, Arc::new(()), stop);
            tokio::select! {
                biased;
                () = self.transport.killed.notified() => RunEnd::Killed,
                () = kill => RunEnd::Killed,
                () = sleep(RUN_TIMEOUT) => RunEnd::Endless,
                result = run => RunEnd::Finished(Box::new(result)),
            }
        };
        let ended = if self.transport.trace().has_too_many_requests() { RunEnd::Endless } else { ended };
        // Paused time advances only when no task is busy: after this, running commits are done and the other tasks of
        // the run are gone.
        sleep(Duration::from_millis(1)).await;
        match ended {
            RunEnd::Finished(_) if scenario.closes_store => store.close().expect("a database that closes"),
            RunEnd::Finished(_) => *self.open_store.borrow_mut() = Some(store),
            RunEnd::Killed | RunEnd::Endless => {}
        }
        ended
    }

    /// Copies the database to a file.
    pub(crate) fn back_up(&self) {
        let connection = Connection::open(&self.path).expect("a database");
        connection.backup("main", self.backup_path(), None::<fn(Progress)>).expect("a backup");
    }

    /// Replaces the database by its copy, while no run is using it.
    pub(crate) fn restore_backup(&self) {
        if let Some(store) = self.open_store.take() {
            store.close().expect("a database that closes");
        }
        let mut connection = Connection::open(&self.path).expect("a database");
        connection.restore("main", self.backup_path(), None::<fn(Progress)>).expect("a restored database");
    }

    fn backup_path(&self) -> PathBuf {
        self.path.with_extension("backup")
    }

    /// Marks what does not match its hash, as the service does once a day.
    pub(crate) fn check_hashes(&self) {
        self.with_store(|store, _| {
            let unequal = store.read(|tx| tx.unequal_hashes()).expect("hashes").tickets();
            store.write(TxEnd::Commit, |tx| tx.empty_hashes(&unequal)).expect("marks");
        });
    }

    /// Erases a ticket, as `purge` does; returns whether anything was known of it.
    pub(crate) fn purge(&self, id: i64, removes_traces: bool) -> bool {
        let canary_max = u64::from(self.scenario.page_size);
        self.with_store(|store, now| {
            let purged = store.write(TxEnd::Commit, |tx| tx.purge(id, "asked for", canary_max, now));
            if removes_traces {
                store.remove_traces().expect("a database that is written anew");
            }
            purged.expect("an erasure").is_some()
        })
    }

    /// Lets an erased ticket be stored again.
    pub(crate) fn undo_purge(&self, id: i64) {
        self.with_store(|store, _| store.write(TxEnd::Commit, |tx| tx.undo_purge(id)).expect("an undo"));
    }

    /// Works on the database, which is opened unless the previous run left it open, and stays open.
    fn with_store<T>(&self, work: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = self.transport.simulated.local_clock(TimeDelta::zero())();
        let store = self.open_store.take();
        let store = store.unwrap_or_else(|| {
            SharedStore::new_inline(Store::open(&self.path, &options(now)).expect("a database"))
        });
        let done = work(&mut store.lock(), now);
        *self.open_store.borrow_mut() = Some(store);
        done
    }

    fn halo_client(&self, number: u64, rate_limiter: RateLimiter) -> HaloClient {
        let mut options = client_options(self.scenario.max_retries, &self.scenario.parsed_knobs());
        if self.scenario.names.may_read_customers && options.scope == "read:tickets" {
            (options.scope, options.narrower_scope) =
                ("read:tickets read:customers".into(), Some("read:tickets".into()));
        }
        let rng = Mutex::new(stream(self.scenario.seed, 1_000, number));
        let random = move || rng.lock().expect("no earlier panic").f64();
        HaloClient::new(Arc::clone(&self.transport) as _, rate_limiter, options, random)
    }

    fn run_settings(&self, scenario: &RunScenario) -> RunSettings {
        let default = run_settings();
        RunSettings {
            scope: Scope { custom_fields: scenario.scope.custom_fields, ..default.scope },
            ticket_types: scenario.scope.types.iter().map(|name| (*name).to_owned()).collect(),
            reference: scenario
                .reference
                .iter()
                .map(|name| ReferenceTable::named(name).expect("a table"))
                .collect(),
            page_size: self.scenario.page_size,
            parallel_requests: self.scenario.parallel_requests,
            // Enough for all pending fetches to be completed in the end.
            requests_per_window: self.scenario.rate_limit.0.max(400),
            batch_rows: self.scenario.batch_rows,
            schedule: ScanSchedule {
                full_requested: scenario.full || scenario.accept_deletes,
                full_every: self.scenario.full_every,
                overlap: TimeDelta::from_std(self.scenario.overlap).expect("an overlap"),
                incremental_every: self.scenario.incremental_every,
            },
            accept_deletes: scenario.accept_deletes,
            accept_shortfall: self.scenario.hazards.accept_shortfall,
            ..default
        }
    }
}
