//! The requests of a check: how many it may make, and its record in `runs`.

use crate::app::{self, AppError, now};
use crate::config::{Config, RateLimit};
use crate::halo::effective_limit;
use crate::store::{LockHolders, Store, StoreError, TxEnd};
use crate::ticket::Timestamp;

/// Requests that a check makes at most, unless some of them fail and are repeated.
pub(super) const CHECK_REQUESTS: u64 = 10;

/// Requests in the window of the rate limit before a check begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UsedRequests {
    /// Those of runs and of checks.
    pub(super) total: u64,
    /// Those of checks.
    pub(super) by_checks: u64,
    /// Whether a run is under way, which does not see the requests of checks.
    pub(super) is_running: bool,
}

impl UsedRequests {
    /// The limit for a check, and how many requests of it are used. Beside a run all checks together use only the margin
    /// that the run leaves.
    pub(super) fn limit_for_check(self, limit: RateLimit) -> (RateLimit, u64) {
        if self.is_running {
            let margin = limit.requests.saturating_sub(effective_limit(limit)).max(1);
            (RateLimit { requests: margin, ..limit }, self.by_checks)
        } else {
            (limit, self.total)
        }
    }
}

/// The row of a check in `runs`.
pub(super) struct CheckRecord {
    store: Store,
    run_id: i64,
}

impl CheckRecord {
    /// Reserves requests; returns what was used before. Without a database that can be written as it is, nothing is recorded.
    pub(super) fn begin(config: &Config) -> Result<(UsedRequests, Option<CheckRecord>), AppError> {
        let (window, now) = (config.halo.rate_limit.window, now());
        let has_writer = LockHolders::detect(&config.store.path).writer.is_some();
        let Some(mut store) = Store::open_as_is(&config.store.path, config.store.busy_timeout)? else {
            return Ok((UsedRequests::default(), None));
        };
        let (used, run_id) = store.write(TxEnd::Commit, |tx| {
            let read_tx = tx.as_read_tx();
            let used = UsedRequests {
                total: app::requests_in_window(config, &read_tx)?,
                by_checks: read_tx.check_requests_since(app::ago(window))?,
                is_running: has_writer && !read_tx.has_newest_run_ended()?,
            };
            Ok::<_, StoreError>((used, tx.begin_check(CHECK_REQUESTS, now)?))
        })?;
        Ok((used, Some(CheckRecord { store, run_id })))
    }

    /// Records how many requests there were.
    pub(super) fn end(mut self, requests: u64, now: Timestamp) -> Result<(), StoreError> {
        self.store.write(TxEnd::Commit, |tx| tx.end_check(self.run_id, requests, now))
    }
}
