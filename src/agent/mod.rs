//! What one can have the agent do: sync, move the watermark back, hand changes on, tell how it stands.
//!
//! Here settings, secrets, locks, the clock and the doors are put together; decisions are made below,
//! words are found above.

mod consumers;
mod copy;
mod desk;
mod error;
mod handover;
mod reset;
mod service;
mod settings;
mod snapshot;
mod source;
mod strays;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

pub use consumers::{BookProblem, Listed, Listing, acknowledge, forget, list};
pub use desk::Restart;
pub use error::{AgentError, SecretProblem, Signal};
pub use handover::{Handover, deliver, deliver_if_due};
pub use reset::{Reset, ResetProblem, reset};
pub use service::{end_on_panic, run};
pub use settings::{Loaded, SecretPlace, init, load};
pub use snapshot::{SnapshotWish, Taken, snapshot};

pub use crate::export::{Chain, ExportError, Finding, Problem, Verdict, verify};
pub use crate::store::Delivered;
pub(crate) use settings::{secret, secret_place};
pub(crate) use source::{spent, terms, wiring};

use copy::LockedCopy;
use source::Source;

use crate::config::Config;
use crate::scope::{MAPPING, Scope};
use crate::store::{Health, Holders, Options, Position, Store, size_of_wal};
use crate::sync::{self, Pass, Progress, Report, Settings, Wall};
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
    let source = Source::of(loaded)?;
    let copy = LockedCopy::open(config)?;
    let halo = Arc::new(source.open(config, copy.spent(config)?));
    let mut signal = None;
    let stop = pin!(stop);
    let stopped = async { signal = Some(stop.await) };
    let settings = pass_settings(config, wish);
    let done = Pass::run(halo, copy.store().clone(), settings, wall(), progress, stopped).await;
    copy.close()?;
    match (done, signal) {
        (Ok(report), _) => Ok(report),
        (Err(_), Some(signal)) => Err(AgentError::Stopped(signal)),
        (Err(error), None) => Err(error.into()),
    }
}

/// The local clock, for passes.
fn wall() -> Wall {
    Arc::new(now)
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
    /// The size of the database file, in bytes.
    pub database_bytes: u64,
    /// The size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Who has it at this moment.
    pub holders: Holders,
    /// The present.
    pub now: Stamp,
}

/// Tells how the copy stands; takes no lock and reads no secret.
///
/// # Errors
/// [`AgentError`]
pub fn status(loaded: &Loaded) -> Result<Standing, AgentError> {
    let config = &loaded.config;
    let path = &config.store.path;
    let store = Store::open_read_only(path, config.store.busy_timeout)?;
    let database_bytes = std::fs::metadata(path).map_or(0, |it| it.len());
    let (wal_bytes, holders) = (size_of_wal(path), Holders::of(path));
    store.read(|snapshot| {
        Ok(Standing {
            database: path.clone(),
            database_bytes,
            wal_bytes,
            holders,
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
