//! The state of the simulated server.
//!
//! Nothing in it reads a clock, sleeps or does I/O. The time is an argument and random numbers come from the seed, so the
//! same requests at the same times get the same responses, and tests can use virtual time.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::auth::AuthServer;
use crate::cache::ResponseCache;
use crate::database::HaloDatabase;
use crate::directory::UserIds;
use crate::faults::FaultInjector;
use crate::knobs::Knobs;
use crate::log::RequestLog;
use crate::message::ApiResponse;
use crate::rate_limit::RollingWindow;
use crate::replay::Replays;
use crate::rng::SeededRng;
use crate::selection::SelectionCache;
use crate::settings::SimulatorSettings;
use crate::timestamp::SqlDateTime;
use crate::uncommitted::UncommittedChange;

/// The simulated server.
#[derive(Debug)]
pub struct Server {
    pub(crate) database: HaloDatabase,
    pub(crate) selections: SelectionCache,
    pub(crate) user_ids: UserIds,
    pub(crate) knobs: Knobs,
    pub(crate) faults: FaultInjector,
    pub(crate) auth: AuthServer,
    pub(crate) rate_limit: RollingWindow,
    pub(crate) log: RequestLog,
    pub(crate) rng: SeededRng,
    pub(crate) clock_offset: TimeDelta,
    pub(crate) origin: String,
    pub(crate) backup: Option<Box<HaloDatabase>>,
    /// Changes that are not visible yet.
    pub(crate) uncommitted: Vec<UncommittedChange>,
    /// Responses for single tickets, and when they were generated.
    pub(crate) ticket_cache: HashMap<i64, (SqlDateTime, ApiResponse)>,
    pub(crate) replays: Replays,
    pub(crate) cache: ResponseCache,
    /// The greatest page that was requested while the list had no end.
    pub(crate) endless_pages: u64,
}

impl Server {
    /// Creates a server with initial tickets as of `now`. The `listen` address only determines the URLs in responses.
    #[must_use]
    pub fn new(settings: SimulatorSettings, now: DateTime<Utc>) -> Server {
        let SimulatorSettings {
            listen,
            seed,
            tickets,
            client_id,
            client_secret,
            tenant,
            knobs,
            faults,
            replays,
        } = settings;
        Server {
            database: HaloDatabase::new(seed, tickets, &knobs, now),
            selections: SelectionCache::default(),
            user_ids: UserIds::default(),
            faults: FaultInjector::new(faults, seed),
            auth: AuthServer::new(client_id, client_secret, tenant, seed),
            rate_limit: RollingWindow::default(),
            log: RequestLog::default(),
            rng: SeededRng::from_seed(seed ^ 0x5EED),
            clock_offset: TimeDelta::zero(),
            origin: if listen.port() == 0 {
                format!("http://{}", listen.ip())
            } else {
                format!("http://{listen}")
            },
            backup: None,
            uncommitted: Vec::new(),
            ticket_cache: HashMap::new(),
            replays: Replays::new(replays),
            cache: ResponseCache::default(),
            endless_pages: 0,
            knobs,
        }
    }
}
