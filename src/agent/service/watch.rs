//! Looks whether everything gets on, and tells systemd so if it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Service;
use super::board::Stage;
use super::manager::Manager;
use super::vigil::{Signs, Stuck};
use crate::store::last_written;

/// How long a pass may get nothing done beyond the longest request and the longest wait for the database.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long what follows a pass may take: packages of whole tables, an inspection of gigabytes.
const PATIENCE_WITH_UPKEEP: Duration = Duration::from_mins(30);

impl Service {
    /// One look.
    pub(super) fn look(&mut self) {
        let writer_answered = self.question.as_ref().is_none_or(JoinHandle::is_finished);
        if writer_answered {
            self.question = Some(self.copy.store().at_leisure());
        }
        let (stage, halo) = {
            let entries = self.board.entries();
            (entries.stage, Arc::clone(&entries.halo))
        };
        let (config, store, traffic) = (self.config(), self.copy.store(), halo.traffic());
        let signs = Signs {
            work: traffic.spent.requests + traffic.answers.values().sum::<u64>() + store.done(),
            moves: store.ticks().wrapping_add(last_written(&config.store.path)),
            writer_answered,
            patience: match stage {
                Stage::Idle => None,
                Stage::Pass => {
                    let longest = config.halo.request_timeout.saturating_add(config.store.busy_timeout);
                    Some(longest.saturating_add(PATIENCE))
                }
                Stage::Upkeep => Some(PATIENCE_WITH_UPKEEP),
            },
            holds_until: halo.holds_until(),
        };
        let now = Instant::now();
        let was_stuck = self.vigil.stuck();
        let stuck = self.vigil.look(signs, now);
        self.board.entries().looked = (stuck.is_none(), now);
        match stuck {
            None => Manager::alive(),
            Some(stuck) if was_stuck.is_none() => {
                let what = match stuck {
                    Stuck::Writer => "the database is waited for, or its disk".to_owned(),
                    Stuck::Work(span) => format!("nothing was done for {} s", span.as_secs()),
                };
                tracing::warn!("stuck: {what}; systemd is given no sign of life until that is over");
            }
            Some(_) => {}
        }
        self.write_figures_if_due();
        self.tell_status();
    }
}
