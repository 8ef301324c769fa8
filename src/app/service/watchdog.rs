//! Checks whether the service makes progress, and if so notifies systemd's watchdog.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Service;
use super::liveness::{Heartbeats, StuckTask};
use super::state::CyclePhase;
use super::systemd;
use crate::store::write_activity;

/// How long a run may make no progress, beyond the longest request and the longest wait for the database.
const RUN_STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How long maintenance may make no progress: exports of whole tables, integrity checks of gigabytes.
const MAINTENANCE_STALL_TIMEOUT: Duration = Duration::from_mins(30);

impl Service {
    pub(super) fn check_liveness(&mut self) {
        let writer_answered = self.writer_ping.as_ref().is_none_or(JoinHandle::is_finished);
        if writer_answered {
            self.writer_ping = Some(self.locked_store.store.wait_until_idle());
        }
        let (phase, halo) = {
            let inner = self.state.lock();
            (inner.phase, Arc::clone(&inner.halo))
        };
        let (config, store, request_stats) = (self.config(), &self.locked_store.store, halo.request_stats());
        let heartbeats = Heartbeats {
            progress: request_stats.counts.requests
                + request_stats.by_status.values().sum::<u64>()
                + store.jobs_done(),
            db_activity: store.ticks().wrapping_add(write_activity(&config.store.path)),
            writer_answered,
            stall_timeout: match phase {
                CyclePhase::Idle => None,
                CyclePhase::Run => {
                    let longest = config.halo.request_timeout.saturating_add(config.store.busy_timeout);
                    Some(longest.saturating_add(RUN_STALL_TIMEOUT))
                }
                CyclePhase::Maintenance => Some(MAINTENANCE_STALL_TIMEOUT),
            },
            wait_until: halo.waiting_until(),
        };
        let now = Instant::now();
        let was_stuck = self.liveness.stuck();
        let stuck = self.liveness.check(heartbeats, now);
        self.state.lock().last_check = (stuck.is_none(), now);
        match stuck {
            None => systemd::notify(&[NotifyState::Watchdog]),
            Some(stuck) if was_stuck.is_none() => {
                let what = match (stuck, phase) {
                    (StuckTask::Writer, _) => {
                        "the database writer is stuck (waiting for a lock or for the disk)".to_owned()
                    }
                    (StuckTask::Cycle(span), CyclePhase::Maintenance) => {
                        format!(
                            "the export or integrity check is stuck (no progress for {} s)",
                            span.as_secs()
                        )
                    }
                    (StuckTask::Cycle(span), _) => {
                        format!("the run is stuck (no progress for {} s)", span.as_secs())
                    }
                };
                tracing::warn!("{what}; watchdog notifications suspended");
            }
            Some(_) => {}
        }
        self.write_textfile_if_due();
        self.update_status();
    }
}
