//! Whether the agent gets on: what systemd's watchdog is told.
//!
//! Pure. The loop proves itself by asking; a pass proves itself by signs (requests, answers, commits,
//! steps of SQLite), unless it waits for a moment that is known; the writer by answering, or by computing.

use std::time::Duration;

use tokio::time::Instant;

/// What is seen of the work at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    /// A number that grows with everything that a pass gets done.
    pub(super) work: u64,
    /// A number that changes while SQLite computes, or its files are written.
    pub(super) moves: u64,
    /// Whether the writer answered since it was last asked.
    pub(super) writer_answered: bool,
    /// How long there may be no sign; `None` where there is nothing to do.
    pub(super) patience: Option<Duration>,
    /// Until when a wait was ordered, by the rate limit or the server.
    pub(super) holds_until: Instant,
}

/// What does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// The writer neither answers nor computes.
    Writer,
    /// The pass, or what follows it, got nothing done for that long.
    Work(Duration),
}

/// The watch over the signs.
#[derive(Debug)]
pub(super) struct Vigil {
    work: u64,
    moves: u64,
    /// When the work last grew, or had to.
    since: Instant,
    stuck: Option<Stuck>,
}

impl Vigil {
    pub(super) fn begin(now: Instant) -> Vigil {
        Vigil { work: 0, moves: 0, since: now, stuck: None }
    }

    /// Looks at the signs and tells what does not get on.
    pub(super) fn look(&mut self, signs: Signs, now: Instant) -> Option<Stuck> {
        let computes = signs.moves != self.moves;
        if signs.patience.is_none() || signs.work != self.work || computes || now < signs.holds_until {
            self.since = now;
        }
        (self.work, self.moves) = (signs.work, signs.moves);
        self.stuck = match signs.patience {
            _ if !signs.writer_answered && !computes => Some(Stuck::Writer),
            Some(patience) if patience <= now.saturating_duration_since(self.since) => {
                Some(Stuck::Work(now.saturating_duration_since(self.since)))
            }
            _ => None,
        };
        self.stuck
    }

    /// What the last look came to.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute of patience; looks come at these seconds and see these signs.
    #[test]
    fn only_what_gets_on_is_alive() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let idle = Signs { work: 0, moves: 0, writer_answered: true, patience: None, holds_until: start };
        let busy = Signs { patience: Some(Duration::from_mins(1)), ..idle };
        let stuck = Signs { writer_answered: false, ..busy };
        for (name, looks) in [
            ("nothing to do is well, however long", vec![(0, idle, true), (9_999, idle, true)]),
            (
                "a pass that gets requests answered is well",
                vec![(50, Signs { work: 1, ..busy }, true), (100, Signs { work: 2, ..busy }, true)],
            ),
            ("a pass without a sign is stuck", vec![(1, busy, true), (59, busy, true), (60, busy, false)]),
            (
                "one that comes round again is well",
                vec![(61, busy, false), (62, Signs { work: 1, ..busy }, true)],
            ),
            (
                "one that was told to wait is well until then, and has its patience after it",
                vec![
                    (299, Signs { holds_until: at(300), ..busy }, true),
                    (358, Signs { holds_until: at(300), ..busy }, true),
                    (359, Signs { holds_until: at(300), ..busy }, false),
                ],
            ),
            ("a writer that does not answer is stuck", vec![(1, stuck, false)]),
            (
                "unless it computes, for hours if need be",
                vec![
                    (3_000, Signs { moves: 5, ..stuck }, true),
                    (6_000, Signs { moves: 6, ..stuck }, true),
                    (6_001, Signs { moves: 6, ..stuck }, false),
                ],
            ),
            ("also when there is nothing to do", vec![(1, Signs { patience: None, ..stuck }, false)]),
        ] {
            let mut vigil = Vigil::begin(start);
            for (second, signs, alive) in looks {
                assert_eq!(vigil.look(signs, at(second)).is_none(), alive, "{name}: second {second}");
            }
        }
    }
}
