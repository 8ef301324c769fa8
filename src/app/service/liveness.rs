//! Decides whether the service makes progress, for systemd's watchdog. Pure.
//!
//! The main loop shows that it is alive by checking. A run shows it by heartbeats (requests, responses, commits,
//! steps of SQLite), unless it waits until a known time. The writer shows it by answering or by computing.

use std::time::Duration;

use tokio::time::Instant;

/// The signs of progress at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heartbeats {
    /// A counter that grows with every request, response and commit.
    pub(super) progress: u64,
    /// A counter that changes while SQLite computes or its files are written.
    pub(super) db_activity: u64,
    /// Whether the writer has answered the last ping.
    pub(super) writer_answered: bool,
    /// How long there may be no progress; `None` while there is nothing to do.
    pub(super) stall_timeout: Option<Duration>,
    /// The end of a wait for the rate limit or the server.
    pub(super) wait_until: Instant,
}

/// What makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StuckTask {
    /// The database writer neither answers nor computes.
    Writer,
    /// The run or its maintenance has made no progress for that long.
    Cycle(Duration),
}

/// Compares the heartbeats of successive checks.
#[derive(Debug)]
pub(super) struct LivenessMonitor {
    progress: u64,
    db_activity: u64,
    /// When progress was last made, or not expected.
    last_progress_at: Instant,
    stuck: Option<StuckTask>,
}

impl LivenessMonitor {
    pub(super) fn new(now: Instant) -> LivenessMonitor {
        LivenessMonitor { progress: 0, db_activity: 0, last_progress_at: now, stuck: None }
    }

    /// Compares the heartbeats with those of the last check and returns what is stuck.
    pub(super) fn check(&mut self, heartbeats: Heartbeats, now: Instant) -> Option<StuckTask> {
        let is_computing = heartbeats.db_activity != self.db_activity;
        if heartbeats.stall_timeout.is_none()
            || heartbeats.progress != self.progress
            || is_computing
            || now < heartbeats.wait_until
        {
            self.last_progress_at = now;
        }
        (self.progress, self.db_activity) = (heartbeats.progress, heartbeats.db_activity);
        self.stuck = match heartbeats.stall_timeout {
            _ if !heartbeats.writer_answered && !is_computing => Some(StuckTask::Writer),
            Some(stall_timeout) if stall_timeout <= now.saturating_duration_since(self.last_progress_at) => {
                Some(StuckTask::Cycle(now.saturating_duration_since(self.last_progress_at)))
            }
            _ => None,
        };
        self.stuck
    }

    /// The result of the last check.
    pub(super) fn stuck(&self) -> Option<StuckTask> {
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each check: the second, the heartbeats, and whether the service counts as alive. The timeout is a minute.
    #[test]
    fn liveness_requires_progress_or_a_known_wait() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let idle = Heartbeats {
            progress: 0,
            db_activity: 0,
            writer_answered: true,
            stall_timeout: None,
            wait_until: start,
        };
        let busy = Heartbeats { stall_timeout: Some(Duration::from_mins(1)), ..idle };
        let stuck = Heartbeats { writer_answered: false, ..busy };
        let progress = |progress| Heartbeats { progress, ..busy };
        let waiting = |until| Heartbeats { wait_until: at(until), ..busy };
        let computing = |db_activity| Heartbeats { db_activity, ..stuck };
        let stuck_idle = Heartbeats { stall_timeout: None, ..stuck };
        for (name, checks) in [
            ("idle for hours is alive", vec![(0, idle, true), (9_999, idle, true)]),
            ("a run that gets responses is alive", vec![(50, progress(1), true), (100, progress(2), true)]),
            ("a run without progress is stuck", vec![(1, busy, true), (59, busy, true), (60, busy, false)]),
            ("a run that makes progress again is alive", vec![(61, busy, false), (62, progress(1), true)]),
            (
                "a run that must wait is alive until then, and the timeout starts after that",
                vec![(299, waiting(300), true), (358, waiting(300), true), (359, waiting(300), false)],
            ),
            ("a writer that does not answer is stuck", vec![(1, stuck, false)]),
            (
                "a writer that computes is alive, even for hours",
                vec![(3_000, computing(5), true), (6_000, computing(6), true), (6_001, computing(6), false)],
            ),
            ("a writer is stuck even while idle", vec![(1, stuck_idle, false)]),
        ] {
            let mut monitor = LivenessMonitor::new(start);
            for (second, heartbeats, alive) in checks {
                assert_eq!(monitor.check(heartbeats, at(second)).is_none(), alive, "{name}: second {second}");
            }
        }
    }
}
