//! The rate limiter, which every request goes through.
//!
//! No rolling window holds more requests than `rate_limit` allows. The limiter is a ring of cells, each good
//! for one request per window. Requests use the cells in turn, so the cell of a request was last used a
//! whole ring of requests ago. This uses a window fully, while a single leaky bucket would have to choose
//! between a burst and a steady rate. A 429 pauses all requests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use governor::Quota;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use tokio::sync::watch;
use tokio::time::Instant;

use super::wait::{WaitMonitor, WaitReason};
use crate::config::RateLimit;

type LimiterCell = governor::RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// How much of the limit is used; the rest is a margin for differences between clocks.
const USED_PERCENT: u32 = 95;

/// Returns how many requests are sent per window of this limit.
#[must_use]
pub fn effective_limit(limit: RateLimit) -> u32 {
    let allowed = u64::from(limit.requests) * u64::from(USED_PERCENT) / 100;
    u32::try_from(allowed.max(1)).unwrap_or(u32::MAX)
}

/// The most cells in a ring. A higher limit is split into equal parts of the window, which is stricter.
const RING_MAX: u32 = 1_000;

/// Limits the rate of requests, and pauses them when the server demands it.
pub struct RateLimiter {
    window: Duration,
    paused_until: watch::Sender<Option<Instant>>,
    clock: TokioClock,
    ring: Vec<LimiterCell>,
    /// The window of a cell.
    cell_window: Duration,
    /// When each cell was used, if that was after it was acquired, in nanoseconds since the start of the clock; 0 if not.
    late_uses: Vec<AtomicU64>,
    /// When each cell was last acquired, in nanoseconds since the start of the clock; 0 if never.
    uses: Vec<AtomicU64>,
    next_cell: AtomicUsize,
    /// The waits for this limiter, and those of its client before retries.
    pub(super) waits: WaitMonitor,
    /// The latest end of a wait, in nanoseconds since the start of the clock.
    waiting_until: AtomicU64,
    /// How long requests were paused, in nanoseconds.
    total_pause: AtomicU64,
}

/// The right to send one request.
#[derive(Debug)]
pub struct RequestSlot {
    index: usize,
    acquired_at: Instant,
}

impl RateLimiter {
    /// Creates a limiter. `prior_requests` were made by earlier processes within the last window; they count
    /// as made just now.
    #[must_use]
    pub fn new(limit: RateLimit, prior_requests: u64) -> RateLimiter {
        let allowed = effective_limit(limit);
        let parts = allowed.div_ceil(RING_MAX);
        let window = (limit.window / parts).max(Duration::from_nanos(1));
        let clock = TokioClock { start: Instant::now() };
        let cell = || {
            // `with_period` returns `None` only for a period of zero.
            Quota::with_period(window).map(|quota| LimiterCell::direct_with_clock(quota, clock.clone()))
        };
        let ring: Vec<LimiterCell> = (0..allowed / parts).filter_map(|_| cell()).collect();
        let limiter = RateLimiter {
            cell_window: window,
            late_uses: ring.iter().map(|_| AtomicU64::new(0)).collect(),
            uses: ring.iter().map(|_| AtomicU64::new(0)).collect(),
            window: limit.window,
            paused_until: watch::Sender::new(None),
            clock,
            ring,
            next_cell: AtomicUsize::new(0),
            waits: WaitMonitor::default(),
            waiting_until: AtomicU64::new(0),
            total_pause: AtomicU64::new(0),
        };
        limiter.count(prior_requests);
        limiter
    }

    /// Counts requests that other processes made, as if they were made now.
    pub fn count(&self, requests: u64) {
        let requests = usize::try_from(requests).unwrap_or(usize::MAX).min(self.ring.len());
        let first = self.next_cell.fetch_add(requests, Ordering::Relaxed);
        for index in first..first + requests {
            let index = index % self.ring.len();
            let _ = self.ring[index].check();
            self.record_use(index);
        }
    }

    /// The window of the limit.
    pub(super) fn window(&self) -> TimeDelta {
        TimeDelta::from_std(self.window).unwrap_or(TimeDelta::MAX)
    }

    /// Waits until a request may be sent.
    pub async fn acquire(&self) -> RequestSlot {
        loop {
            self.wait_until_resumed().await;
            let index = self.next_cell.fetch_add(1, Ordering::Relaxed) % self.ring.len().max(1);
            if let (Some(cell), Some(late_use)) = (self.ring.get(index), self.late_uses.get(index)) {
                while let Err(not_yet) = cell.check() {
                    self.wait(not_yet.wait_time_from(self.clock.now())).await;
                }
                if let Some(wait) = self.remaining_window(late_use) {
                    self.wait(wait).await;
                    late_use.store(nanos(self.clock.start.elapsed()), Ordering::Relaxed);
                }
            }
            // A cell acquired just before a pause is given up: its window must begin when the request is
            // really sent.
            if self.can_send() {
                self.record_use(index);
                return RequestSlot { index, acquired_at: Instant::now() };
            }
        }
    }

    /// Uses a slot for a request that is sent now. Returns whether that is still allowed: a pause may have begun since it was
    /// acquired, or its window may have ended.
    pub(super) fn use_slot(&self, slot: &RequestSlot) -> bool {
        let waited = slot.acquired_at.elapsed();
        if !self.can_send() || self.cell_window <= waited {
            return false;
        }
        if let Some(late_use) = self.late_uses.get(slot.index).filter(|_| !waited.is_zero()) {
            late_use.store(nanos(self.clock.start.elapsed()), Ordering::Relaxed);
        }
        true
    }

    /// How long a cell that was used late may not be used again.
    fn remaining_window(&self, late_use: &AtomicU64) -> Option<Duration> {
        let used_at = late_use.load(Ordering::Relaxed);
        let free_at = Duration::from_nanos(used_at) + self.cell_window;
        (used_at != 0)
            .then(|| free_at.saturating_sub(self.clock.start.elapsed()))
            .filter(|wait| !wait.is_zero())
    }

    async fn wait(&self, wait: Duration) {
        self.record_wait(wait);
        self.waits.sleep_until(WaitReason::RateLimit, Instant::now() + wait).await;
    }

    fn record_use(&self, index: usize) {
        if let Some(used_at) = self.uses.get(index) {
            used_at.store(nanos(self.clock.start.elapsed()).max(1), Ordering::Relaxed);
        }
    }

    /// Returns the earliest time at which the last of so many further requests can be sent.
    pub(super) fn earliest_send(&self, requests: u64) -> Instant {
        let (now, cells) = (self.clock.start.elapsed(), self.ring.len().max(1) as u64);
        let last = requests.saturating_sub(1);
        let index = (self.next_cell.load(Ordering::Relaxed) as u64 + last) % cells;
        let used_at =
            self.uses.get(usize::try_from(index).unwrap_or(0)).map_or(0, |at| at.load(Ordering::Relaxed));
        let free_at = if used_at == 0 { now } else { Duration::from_nanos(used_at) + self.cell_window };
        let rounds = u32::try_from(last / cells).unwrap_or(u32::MAX);
        let offset = free_at.max(now).saturating_add(self.cell_window.saturating_mul(rounds));
        let at = self.clock.start.checked_add(offset).unwrap_or(self.clock.start);
        self.paused_until.borrow().map_or(at, |paused| paused.max(at))
    }

    /// Pauses all requests. A shorter pause never ends a longer one.
    pub fn pause_for(&self, wait: Duration) {
        let now = Instant::now();
        self.paused_until.send_modify(|until| {
            let paused = until.map_or(now, |until| until.max(now));
            let extension = (now + wait).saturating_duration_since(paused);
            self.total_pause.fetch_add(nanos(extension), Ordering::Relaxed);
            *until = Some(paused + extension);
        });
        self.record_wait(wait);
    }

    /// Returns how long requests are still paused.
    pub(super) fn remaining_pause(&self) -> Duration {
        let until = *self.paused_until.borrow();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Returns how long requests were paused, including the rest of the current pause.
    pub(super) fn total_pause(&self) -> Duration {
        Duration::from_nanos(self.total_pause.load(Ordering::Relaxed))
    }

    /// Returns the time until which requests wait.
    pub(super) fn waiting_until(&self) -> Instant {
        let offset = Duration::from_nanos(self.waiting_until.load(Ordering::Relaxed));
        self.clock.start.checked_add(offset).unwrap_or(self.clock.start)
    }

    fn record_wait(&self, wait: Duration) {
        let until = nanos(self.clock.start.elapsed().saturating_add(wait));
        self.waiting_until.fetch_max(until, Ordering::Relaxed);
    }

    fn can_send(&self) -> bool {
        self.paused_until.borrow().is_none_or(|until| until <= Instant::now())
    }

    async fn wait_until_resumed(&self) {
        loop {
            let until = *self.paused_until.borrow();
            match until {
                Some(at) if Instant::now() < at => self.waits.sleep_until(WaitReason::RateLimit, at).await,
                _ => return,
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs governor on tokio's clock, which tests can pause.
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

    use tokio::time::sleep;

    fn limit(requests: u32, seconds: u64) -> RateLimit {
        RateLimit { requests, window: Duration::from_secs(seconds) }
    }

    /// Lets four tasks acquire as often as they can for a while, and returns the times in seconds.
    async fn acquire_times(limiter: RateLimiter, seconds: u64) -> Vec<f64> {
        let limiter = Arc::new(limiter);
        let start = Instant::now();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < Duration::from_secs(seconds) {
                        limiter.acquire().await;
                        times.push(start.elapsed().as_secs_f64());
                        sleep(Duration::from_millis(50)).await;
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        times.sort_by(f64::total_cmp);
        times
    }

    #[tokio::test(start_paused = true)]
    async fn rolling_window_never_exceeds_the_rate_limit_and_uses_most_of_it() {
        for (requests, window) in [(300u32, 300u64), (10, 1), (1, 2), (2_500, 60)] {
            let times = acquire_times(RateLimiter::new(limit(requests, window), 0), window * 4).await;
            let span = Duration::from_secs(window).as_secs_f64();
            let most = times
                .iter()
                .map(|from| times.iter().filter(|at| (*from..from + span).contains(*at)).count())
                .max();
            assert!(
                most <= Some(requests as usize),
                "{most:?} requests in {window} s, the limit is {requests}"
            );
            let possible = (80.0 * span).min(f64::from(requests));
            let used = times.iter().filter(|at| **at < 3.0 * span).count();
            assert!(
                3.0 * 0.9 * possible <= f64::from(u32::try_from(used).unwrap()) + 1.0,
                "only {used} of {requests} in {window} s were used"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slot_that_is_used_late_counts_from_its_use() {
        let limiter = RateLimiter::new(limit(3, 60), 0);
        let start = Instant::now();
        let slot = limiter.acquire().await;
        sleep(Duration::from_secs(20)).await;
        assert!(limiter.use_slot(&slot));
        limiter.acquire().await;
        assert_eq!(start.elapsed().as_secs(), 20);
        let slot = limiter.acquire().await;
        assert_eq!(start.elapsed().as_secs(), 80, "60 s after the first slot was used");
        limiter.pause_for(Duration::from_secs(5));
        assert!(!limiter.use_slot(&slot), "a pause began");
        sleep(Duration::from_mins(1)).await;
        assert!(!limiter.use_slot(&slot), "its window ended");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_an_earlier_process_count_against_the_limit() {
        let times = acquire_times(RateLimiter::new(limit(100, 60), 90), 59).await;
        assert_eq!(times.len(), 5 + 4, "five cells were left, and each task waits for one more");
        assert!(60.0 <= times[5], "the sixth request was sent after {} s", times[5]);
    }

    /// The estimate must be what really happens when requests are sent as fast as the limiter allows.
    #[tokio::test(start_paused = true)]
    async fn earliest_send_is_when_the_request_is_sent() {
        for (requests, window, prior) in [(100u32, 60u64, 0u64), (100, 60, 40), (10, 1, 9), (2_500, 60, 0)] {
            let limiter = RateLimiter::new(limit(requests, window), prior);
            for _ in 0..requests / 2 {
                limiter.acquire().await;
            }
            let ahead = u64::from(requests) * 3;
            let expected = limiter.earliest_send(ahead);
            for _ in 0..ahead {
                limiter.acquire().await;
            }
            let (early, late) = (expected.saturating_duration_since(Instant::now()), expected.elapsed());
            let tolerance = Duration::from_millis(50);
            assert!(early < tolerance && late < tolerance, "{requests}: {early:?} {late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pause_stops_every_request_and_a_shorter_one_does_not_end_it() {
        let limiter = Arc::new(RateLimiter::new(limit(1_000, 1), 0));
        let start = Instant::now();
        limiter.pause_for(Duration::from_secs(30));
        limiter.pause_for(Duration::from_secs(5));
        assert_eq!(limiter.total_pause(), Duration::from_secs(30));
        assert_eq!(limiter.waiting_until(), start + Duration::from_secs(30));
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { limiter.acquire().await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 30);
        }
    }
}
