//! Whether the agent gets on: what systemd's watchdog is told.
//!
//! Pure. The loop proves itself by asking; a pass proves itself by signs (requests, answers, commits,
//! steps of SQLite), unless it waits for a moment that is known; the writer by answering, or by computing.

use std::time::Duration;

use tokio::time::Instant;

/// What is seen of the work at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heartbeats {
    /// A number that grows with everything that a pass gets done.
    pub(super) progress: u64,
    /// A number that changes while SQLite computes, or its files are written.
    pub(super) db_activity: u64,
    /// Whether the writer answered since it was last asked.
    pub(super) writer_answered: bool,
    /// How long there may be no sign; `None` where there is nothing to do.
    pub(super) stall_timeout: Option<Duration>,
    /// Until when a wait was ordered, by the rate limit or the server.
    pub(super) wait_until: Instant,
}

/// What does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StuckTask {
    /// The writer neither answers nor computes.
    Writer,
    /// The pass, or what follows it, got nothing done for that long.
    Cycle(Duration),
}

/// The watch over the signs.
#[derive(Debug)]
pub(super) struct LivenessMonitor {
    progress: u64,
    db_activity: u64,
    /// When the work last grew, or had to.
    last_progress_at: Instant,
    stuck: Option<StuckTask>,
}

impl LivenessMonitor {
    pub(super) fn new(now: Instant) -> LivenessMonitor {
        LivenessMonitor { progress: 0, db_activity: 0, last_progress_at: now, stuck: None }
    }

    /// Looks at the signs and tells what does not get on.
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

    /// What the last look came to.
    pub(super) fn stuck(&self) -> Option<StuckTask> {
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute of patience; looks come at these seconds and see these signs.
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
        for (name, checks) in [
            ("nothing to do is well, however long", vec![(0, idle, true), (9_999, idle, true)]),
            (
                "a pass that gets requests answered is well",
                vec![
                    (50, Heartbeats { progress: 1, ..busy }, true),
                    (100, Heartbeats { progress: 2, ..busy }, true),
                ],
            ),
            ("a pass without a sign is stuck", vec![(1, busy, true), (59, busy, true), (60, busy, false)]),
            (
                "one that comes round again is well",
                vec![(61, busy, false), (62, Heartbeats { progress: 1, ..busy }, true)],
            ),
            (
                "one that was told to wait is well until then, and has its patience after it",
                vec![
                    (299, Heartbeats { wait_until: at(300), ..busy }, true),
                    (358, Heartbeats { wait_until: at(300), ..busy }, true),
                    (359, Heartbeats { wait_until: at(300), ..busy }, false),
                ],
            ),
            ("a writer that does not answer is stuck", vec![(1, stuck, false)]),
            (
                "unless it computes, for hours if need be",
                vec![
                    (3_000, Heartbeats { db_activity: 5, ..stuck }, true),
                    (6_000, Heartbeats { db_activity: 6, ..stuck }, true),
                    (6_001, Heartbeats { db_activity: 6, ..stuck }, false),
                ],
            ),
            (
                "also when there is nothing to do",
                vec![(1, Heartbeats { stall_timeout: None, ..stuck }, false)],
            ),
        ] {
            let mut monitor = LivenessMonitor::new(start);
            for (second, heartbeats, alive) in checks {
                assert_eq!(monitor.check(heartbeats, at(second)).is_none(), alive, "{name}: second {second}");
            }
        }
    }
}
