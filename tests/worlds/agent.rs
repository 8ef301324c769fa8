//! The agent in a world: passes over a real database file, killed, stopped, or left to end by themselves.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{ClientOptions, HaloClient, RateLimiter};
use halosync::retry::RetryPolicy;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{Store, StoreOptions};
use halosync::sync::{self, Clock, RunReport, RunSettings, SharedStore, SyncError};
use halosync::ticket::Timestamp;
use halosync::watermark::ScanSchedule;
use tokio::time::sleep;

use crate::plan::{End, PassPlan, Plan, stream};
use crate::wire::Wire;

/// No pass takes that long, however slow the server and tight the limits.
const PATIENCE: Duration = Duration::from_hours(72);

/// What a lane may have asked besides what is written down when it dies, as the program reckons.
const UNRECORDED: u64 = 60;

/// How a pass ended.
pub(crate) enum Ended {
    Itself(Box<Result<RunReport, SyncError>>),
    Killed,
    /// It did not end.
    Never,
}

/// A database that was never used, made once: its tables take longer to make than a small world takes to live.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("halosync.db");
    let now = Timestamp::new(DateTime::UNIX_EPOCH).expect("a moment");
    Store::open(&path, &options(now)).expect("a database").close().expect("a database that closes");
    std::fs::read(path).expect("a database")
});

fn options(now: Timestamp) -> StoreOptions {
    StoreOptions { busy_timeout: Duration::from_secs(10), full_text: false, index_last_modified: false, now }
}

/// An agent with its database.
pub(crate) struct Agent<'w> {
    plan: &'w Plan,
    wire: Arc<Wire>,
    path: PathBuf,
    /// The database, where the pass before left it open: the service keeps it for as long as it runs.
    open: RefCell<Option<SharedStore>>,
}

impl<'w> Agent<'w> {
    pub(crate) fn new(plan: &'w Plan, wire: Arc<Wire>, folder: &Path) -> Agent<'w> {
        let path = folder.join("halosync.db");
        std::fs::write(&path, &*EMPTY).expect("a database");
        Agent { plan, wire, path, open: RefCell::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn wall(&self, offset_seconds: i64) -> Clock {
        let world = Arc::clone(&self.wire.world);
        Arc::new(move || {
            Timestamp::new(world.now() + TimeDelta::seconds(offset_seconds)).expect("a moment of these years")
        })
    }

    /// Does one pass as planned, over a database that is open or opened now; closes it after that, keeps it, or lets go
    /// of it where the agent dies.
    pub(crate) async fn pass(&self, number: u64, pass: &PassPlan) -> Ended {
        let wall = self.wall(pass.wall_offset);
        let open = self.open.take();
        let opened =
            || SharedStore::new_inline(Store::open(&self.path, &options(wall())).expect("a database"));
        let store = open.unwrap_or_else(opened);
        let (requests, window) = self.plan.rate_limit;
        let since = wall().minus(TimeDelta::from_std(window).expect("a window"));
        let unrecorded = UNRECORDED * u64::from(self.plan.parallel_requests);
        let spent = store.lock().read(|snapshot| snapshot.requests_since(since, unrecorded)).expect("runs");
        let throttle = RateLimiter::new(RateLimit { requests, window }, spent);
        self.wire.begin(number, pass);
        let end = pass.end;
        let after = |after_ms: Option<u64>| async move {
            match after_ms {
                Some(after_ms) => sleep(Duration::from_millis(after_ms)).await,
                None => std::future::pending().await,
            }
        };
        let stop = after(if let End::StoppedAfter(after_ms) = end { Some(after_ms) } else { None });
        let kill = after(if let End::KilledAfter(after_ms) = end { Some(after_ms) } else { None });
        let (halo, settings) = (self.halo(number, throttle), self.settings(pass));
        let ended = {
            let passing = sync::run(Arc::new(halo), store.clone(), settings, wall, Arc::new(()), stop);
            tokio::select! {
                biased;
                () = self.wire.killed.notified() => Ended::Killed,
                () = kill => Ended::Killed,
                () = sleep(PATIENCE) => Ended::Never,
                done = passing => Ended::Itself(Box::new(done)),
            }
        };
        let ended = if self.wire.seen().requests_without_end() { Ended::Never } else { ended };
        // What was being committed is committed, and what else belonged to the pass is gone: a clock that stands still
        // goes on only when nobody works any more.
        sleep(Duration::from_millis(1)).await;
        match ended {
            Ended::Itself(_) if pass.closes => store.close().expect("a database that closes"),
            Ended::Itself(_) => *self.open.borrow_mut() = Some(store),
            Ended::Killed | Ended::Never => {}
        }
        ended
    }

    fn halo(&self, number: u64, throttle: RateLimiter) -> HaloClient {
        let terms = ClientOptions {
            server: ServerUrl::parse("http://127.0.0.1").expect("an address"),
            tenant: None,
            auth_url: None,
            client_id: "halosync-demo".into(),
            client_secret: "demo-secret".to_owned().into(),
            scope: "read:tickets".into(),
            retry: RetryPolicy {
                max_retries: self.plan.max_retries,
                rate_limit_wait: Duration::from_mins(1),
                max_wait: Duration::MAX,
            },
        };
        let draws = Mutex::new(stream(self.plan.seed, 1_000, number));
        let chance = move || draws.lock().expect("no panic before this one").f64();
        HaloClient::new(Arc::clone(&self.wire) as _, throttle, terms, chance)
    }

    fn settings(&self, pass: &PassPlan) -> RunSettings {
        RunSettings {
            scope: Scope {
                server: "http://127.0.0.1".into(),
                tenant: String::new(),
                ticket_types: Vec::new(),
                custom_fields: pass.scope.custom_fields,
                mapping: MAPPING_VERSION,
            },
            ticket_types: pass.scope.types.iter().map(|name| (*name).to_owned()).collect(),
            page_size: self.plan.page_size,
            parallel_requests: self.plan.parallel_requests,
            // Enough that what could not be read before is read in the end.
            requests_per_window: self.plan.rate_limit.0.max(400),
            batch_rows: self.plan.batch_rows,
            schedule: ScanSchedule {
                full_requested: pass.full || pass.accept_deletes,
                full_every: self.plan.full_every,
                overlap: TimeDelta::from_std(self.plan.overlap).expect("an overlap"),
                incremental_every: self.plan.follow_every,
            },
            accept_shortfall: 0,
            delete_guard: 0.05,
            accept_deletes: pass.accept_deletes,
            dry_run: false,
            keep_runs: TimeDelta::days(400),
        }
    }
}
