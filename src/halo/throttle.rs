//! One gate for every request.
//!
//! `rate_limit` is a promise: in no rolling window are there more requests. It is kept by a ring of
//! cells, each good for one request per window; requests take the cells in turn, so that the cell a
//! request takes was last used a whole ring of requests ago. That uses a window fully, where one leaky
//! bucket would have to choose between a burst and a steady rate. An answer 429 closes the gate for
//! everyone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::RateLimit;

type Cell = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// The share of the promise that is used; the rest is for clocks that differ.
const USED_PERCENT: u32 = 95;

/// How many requests leave in a window of this limit.
#[must_use]
pub fn allowed(limit: RateLimit) -> u32 {
    let allowed = u64::from(limit.requests) * u64::from(USED_PERCENT) / 100;
    u32::try_from(allowed.max(1)).unwrap_or(u32::MAX)
}

/// A ring is no longer than this; a faster promise is cut into that many parts of a shorter window,
/// which is stricter.
const RING_MAX: u32 = 1_000;

/// The gate.
pub struct Throttle {
    closed_until: watch::Sender<Option<Instant>>,
    clock: TokioClock,
    ring: Vec<Cell>,
    turn: AtomicUsize,
    /// The latest end of a wait, in nanoseconds of the clock.
    holds_until: AtomicU64,
    /// How long the gate was closed, in nanoseconds.
    throttled: AtomicU64,
}

impl Throttle {
    /// A gate that keeps the promise; `spent` requests were made in the window before, by earlier
    /// processes, and count as made just now.
    #[must_use]
    pub fn new(limit: RateLimit, spent: u64) -> Throttle {
        let allowed = allowed(limit);
        let parts = allowed.div_ceil(RING_MAX);
        let window = (limit.window / parts).max(Duration::from_nanos(1));
        let clock = TokioClock { start: Instant::now() };
        let cell = || {
            // A period above zero always makes a quota.
            Quota::with_period(window).map(|quota| Cell::direct_with_clock(quota, clock.clone()))
        };
        let ring: Vec<Cell> = (0..allowed / parts).filter_map(|_| cell()).collect();
        let spent = usize::try_from(spent).unwrap_or(usize::MAX).min(ring.len());
        for cell in &ring[..spent] {
            let _ = cell.check();
        }
        Throttle {
            closed_until: watch::Sender::new(None),
            clock,
            ring,
            turn: AtomicUsize::new(spent),
            holds_until: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        }
    }

    /// Waits until a request may leave.
    pub async fn pass(&self) {
        loop {
            self.opened().await;
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = self.ring.get(turn % self.ring.len().max(1)) else { return };
            while let Err(not_yet) = cell.check() {
                let wait = not_yet.wait_time_from(self.clock.now());
                self.hold(wait);
                sleep(wait).await;
            }
            // A cell that was taken while the gate closed is given up: its window begins when the
            // request really leaves.
            if self.is_open() {
                return;
            }
        }
    }

    /// Closes the gate for everyone; a shorter wait never shortens a longer one.
    pub fn close_for(&self, wait: Duration) {
        let now = Instant::now();
        self.closed_until.send_modify(|until| {
            let closed = until.map_or(now, |until| until.max(now));
            let more = (now + wait).saturating_duration_since(closed);
            self.throttled.fetch_add(nanos(more), Ordering::Relaxed);
            *until = Some(closed + more);
        });
        self.hold(wait);
    }

    /// How long the gate is still closed.
    pub(super) fn closed_for(&self) -> Duration {
        let until = *self.closed_until.borrow();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// How long the gate was closed, and will be by what is known now.
    pub(super) fn throttled(&self) -> Duration {
        Duration::from_nanos(self.throttled.load(Ordering::Relaxed))
    }

    /// Until when anybody waits here.
    pub(super) fn holds_until(&self) -> Instant {
        let held = Duration::from_nanos(self.holds_until.load(Ordering::Relaxed));
        self.clock.start.checked_add(held).unwrap_or(self.clock.start)
    }

    fn hold(&self, wait: Duration) {
        let until = nanos(self.clock.start.elapsed().saturating_add(wait));
        self.holds_until.fetch_max(until, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.closed_until.borrow().is_none_or(|until| until <= Instant::now())
    }

    async fn opened(&self) {
        loop {
            let until = *self.closed_until.borrow();
            match until {
                Some(at) if Instant::now() < at => sleep_until(at).await,
                _ => return,
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// governor by tokio's clock, which tests can pause; its own would run on.
#[derive(Clone, Debug)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn limit(requests: u32, seconds: u64) -> RateLimit {
        RateLimit { requests, window: Duration::from_secs(seconds) }
    }

    /// Lets four tasks pass as often as they can for a while, and gives the times in seconds.
    async fn passes(throttle: Throttle, seconds: u64) -> Vec<f64> {
        let throttle = Arc::new(throttle);
        let start = Instant::now();
        let lanes: Vec<_> = (0..4)
            .map(|_| {
                let throttle = Arc::clone(&throttle);
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < Duration::from_secs(seconds) {
                        throttle.pass().await;
                        times.push(start.elapsed().as_secs_f64());
                        sleep(Duration::from_millis(50)).await;
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for lane in lanes {
            times.extend(lane.await.unwrap());
        }
        times.sort_by(f64::total_cmp);
        times
    }

    #[tokio::test(start_paused = true)]
    async fn no_rolling_window_holds_more_requests_than_promised_and_most_of_them_are_used() {
        for (requests, window) in [(300u32, 300u64), (10, 1), (1, 2), (2_500, 60)] {
            let times = passes(Throttle::new(limit(requests, window), 0), window * 4).await;
            let span = Duration::from_secs(window).as_secs_f64();
            let most = times
                .iter()
                .map(|from| times.iter().filter(|at| (*from..from + span).contains(*at)).count())
                .max();
            assert!(most <= Some(requests as usize), "{most:?} requests in {window} s, promised {requests}");
            let possible = (80.0 * span).min(f64::from(requests));
            let used = times.iter().filter(|at| **at < 3.0 * span).count();
            assert!(
                3.0 * 0.9 * possible <= f64::from(u32::try_from(used).unwrap()) + 1.0,
                "only {used} of {requests} in {window} s were used"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_an_earlier_process_count() {
        let times = passes(Throttle::new(limit(100, 60), 90), 59).await;
        assert_eq!(times.len(), 5 + 4, "five cells were left, and each lane waits for one more");
        assert!(60.0 <= times[5], "the sixth request left after {} s", times[5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_holds_everyone_and_a_shorter_wait_does_not_open_it() {
        let throttle = Arc::new(Throttle::new(limit(1_000, 1), 0));
        let start = Instant::now();
        throttle.close_for(Duration::from_secs(30));
        throttle.close_for(Duration::from_secs(5));
        assert_eq!(throttle.throttled(), Duration::from_secs(30));
        assert_eq!(throttle.holds_until(), start + Duration::from_secs(30));
        let lanes: Vec<_> = (0..4)
            .map(|_| {
                let throttle = Arc::clone(&throttle);
                tokio::spawn(async move { throttle.pass().await })
            })
            .collect();
        for lane in lanes {
            lane.await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 30);
        }
    }
}
