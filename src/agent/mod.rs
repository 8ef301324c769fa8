//! What one can have the agent do: sync, move the watermark back, hand changes on, tell how it stands.
//!
//! Here settings, secrets, locks, the clock and the doors are put together; decisions are made below,
//! words are found above.

mod consumers;
mod desk;
mod error;
mod handover;
mod reset;
mod settings;
mod snapshot;
mod strays;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use secrecy::SecretString;

pub use consumers::{BookProblem, Listed, Listing, acknowledge, forget, list};
pub use desk::Restart;
pub use error::{AgentError, SecretProblem, Signal};
pub use handover::{Handover, deliver, deliver_if_due};
pub use reset::{Reset, ResetProblem, reset};
pub use settings::{Loaded, SecretPlace, init, load};
pub use snapshot::{SnapshotWish, Taken, snapshot};

pub use crate::export::{Chain, ExportError, Finding, Problem, Verdict, verify};
pub use crate::store::Delivered;
pub(crate) use settings::{secret, secret_place};

use crate::config::{self, Config};
use crate::halo::{Halo, Http, Terms, Throttle, Wiring};
use crate::scope::{MAPPING, Scope};
use crate::store::{Health, Lock, Options, Position, Snapshot, Store, StoreError};
use crate::sync::{self, Pass, Progress, Report, Settings, SharedStore, Wall};
use crate::ticket::Stamp;
use crate::watermark::Schedule;

/// The present, by the local clock: the one place that looks at it.
///
/// # Panics
/// After the year 9999, which the one spelling of time cannot hold.
#[must_use]
pub fn now() -> Stamp {
    Stamp::new(Utc::now()).unwrap_or_else(|| unreachable!("a clock beyond the year 9999"))
}

/// The moment that is so long ago.
fn ago(span: Duration) -> Stamp {
    now().minus(TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX))
}

/// How a pass is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// A full walk, whether due or not.
    pub full: bool,
    /// However many tickets are gone, they are.
    pub accept_deletes: bool,
    /// Only find out what would change.
    pub dry_run: bool,
}

/// Requests that a killed pass may have made without writing them down: the pages of two batches of rows,
/// those that the lanes fetched ahead, what comes before the first page, and what is compared after it.
fn unrecorded(halo: &config::Halo) -> u64 {
    const TWO_BATCHES: u64 = 2 * sync::BATCH_ROWS as u64;
    const AHEAD_A_LANE: u64 = 4;
    const BEFORE_THE_FIRST: u64 = 6;
    // Twice some tickets by the list and alone.
    const COMPARED: u64 = 2 * (sync::SAMPLES_MAX as u64 + 1);
    let pages = TWO_BATCHES.div_ceil(u64::from(halo.page_size.max(1)));
    let compared = if halo.include_custom_fields { COMPARED } else { 0 };
    pages + AHEAD_A_LANE * u64::from(halo.parallel_requests) + BEFORE_THE_FIRST + compared
}

/// Runs one pass.
///
/// # Errors
/// [`AgentError`]
pub async fn sync(
    loaded: &Loaded,
    wish: Wish,
    progress: Arc<dyn Progress>,
    stop: impl Future<Output = Signal>,
) -> Result<Report, AgentError> {
    let config = &loaded.config;
    let secret = secret(loaded)?;
    let http = Http::new(&wiring(config)?).map_err(AgentError::Wiring)?;
    Store::check_folder(&config.store.path)?;
    let _lock = Lock::of_the_writer(&config.store.path)?;
    let settings = pass_settings(config, wish);
    let store = Store::open_where(&config.store.path, &options(config), |snapshot| {
        sync::same_server(snapshot, &settings.scope)
    })?;
    let spent = store.read(|snapshot| spent(config, snapshot))?;
    let throttle = Throttle::new(config.halo.rate_limit, spent);
    let halo = Halo::new(Arc::new(http), throttle, terms(config, secret), fastrand::f64);
    let store = SharedStore::new(store);
    let wall: Wall = Arc::new(now);
    let mut signal = None;
    let stop = pin!(stop);
    let stopped = async { signal = Some(stop.await) };
    let done = Pass::run(Arc::new(halo), store.clone(), settings, wall, progress, stopped).await;
    store.close()?;
    match (done, signal) {
        (Ok(report), _) => Ok(report),
        (Err(_), Some(signal)) => Err(AgentError::Stopped(signal)),
        (Err(error), None) => Err(error.into()),
    }
}

/// How many requests earlier passes may have made in the window before now.
pub(crate) fn spent(config: &Config, snapshot: &Snapshot<'_>) -> Result<u64, StoreError> {
    snapshot.spent_since(ago(config.halo.rate_limit.window), unrecorded(&config.halo))
}

/// How the server of the settings is asked.
pub(crate) fn terms(config: &Config, secret: SecretString) -> Terms {
    Terms {
        server: config.halo.server.clone(),
        tenant: config.halo.tenant.clone(),
        auth_url: config.halo.auth_url.clone(),
        client_id: config.halo.client_id.clone(),
        client_secret: secret,
        scope: config.halo.scope.clone(),
        retry: config.halo.retry,
    }
}

/// How the copy stands, and how far each consumer is behind.
#[derive(Debug)]
pub struct Standing {
    /// The database.
    pub database: PathBuf,
    /// The copy.
    pub health: Health,
    /// Consumers with the changes that wait for them.
    pub consumers: Vec<(String, Position, i64)>,
    /// The present.
    pub now: Stamp,
}

/// Tells how the copy stands; takes no lock and reads no secret.
///
/// # Errors
/// [`AgentError`]
pub fn status(loaded: &Loaded) -> Result<Standing, AgentError> {
    let config = &loaded.config;
    let store = Store::open_read_only(&config.store.path, config.store.busy_timeout)?;
    store.read(|snapshot| {
        Ok(Standing {
            database: config.store.path.clone(),
            health: snapshot.health(5)?,
            consumers: snapshot.waiting()?,
            now: now(),
        })
    })
}

fn pass_settings(config: &Config, wish: Wish) -> Settings {
    Settings {
        scope: wanted_scope(config),
        ticket_types: config.halo.ticket_types.clone(),
        page_size: config.halo.page_size,
        parallel_requests: config.halo.parallel_requests,
        requests_a_window: config.halo.rate_limit.requests,
        batch_rows: sync::BATCH_ROWS,
        schedule: Schedule {
            full: wish.full || wish.accept_deletes,
            full_every: config.sync.full_every,
            overlap: config.sync.overlap,
            follow_every: config.sync.interval,
        },
        accept_shortfall: u64::from(config.sync.accept_shortfall),
        delete_guard: config.sync.delete_guard,
        accept_deletes: wish.accept_deletes,
        dry_run: wish.dry_run,
        keep_runs: TimeDelta::from_std(config.store.keep_runs).unwrap_or(TimeDelta::MAX),
    }
}

/// The scope of the settings; the numbers of the ticket types are found during a pass.
pub(crate) fn wanted_scope(config: &Config) -> Scope {
    Scope {
        server: config.halo.server.as_str().to_owned(),
        tenant: config.halo.tenant.clone().unwrap_or_default(),
        ticket_types: Vec::new(),
        custom_fields: config.halo.include_custom_fields,
        mapping: MAPPING,
    }
}

fn options(config: &Config) -> Options {
    Options {
        busy_timeout: config.store.busy_timeout,
        full_text: config.store.full_text,
        index_last_modified: config.store.index_last_modified,
        now: now(),
    }
}

pub(crate) fn wiring(config: &Config) -> Result<Wiring, AgentError> {
    let halo = &config.halo;
    let ca = halo.ca_file.as_deref().map(settings::certificates).transpose()?;
    Ok(Wiring {
        connect_timeout: halo.connect_timeout,
        request_timeout: halo.request_timeout,
        ca,
        proxy: halo.proxy.clone(),
        loopback: halo.server.is_loopback(),
    })
}
