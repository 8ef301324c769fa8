//! What requests wait for, as one value that can be watched.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Why requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The rate limit: its window is used up, or the server asked for a pause.
    RateLimit,
    /// A request failed and is tried again.
    Retry,
}

/// A wait of all requests: none is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestWait {
    /// What the next request waits for.
    pub reason: WaitReason,
    /// When the next request is sent.
    pub until: Instant,
}

/// Keeps count of the requests that are under way and of those that wait.
#[derive(Default)]
pub(super) struct WaitMonitor {
    state: Mutex<RequestStates>,
    current: watch::Sender<Option<RequestWait>>,
}

#[derive(Default)]
struct RequestStates {
    in_flight: u64,
    waits: BTreeMap<u64, RequestWait>,
    next_key: u64,
}

/// One request, in flight or waiting, until this is dropped.
pub(super) struct RequestGuard<'m> {
    monitor: &'m WaitMonitor,
    /// The key of its wait; `None` while it is in flight.
    wait: Option<u64>,
}

impl WaitMonitor {
    /// The present wait of all requests, if they wait.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<RequestWait>> {
        self.current.subscribe()
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn start_request(&self) -> RequestGuard<'_> {
        self.update(|states| states.in_flight += 1);
        RequestGuard { monitor: self, wait: None }
    }

    /// Waits with a request until this time.
    pub(super) async fn sleep_until(&self, reason: WaitReason, until: Instant) {
        let mut key = 0;
        self.update(|states| {
            key = states.next_key;
            states.next_key += 1;
            states.waits.insert(key, RequestWait { reason, until });
        });
        let _wait = RequestGuard { monitor: self, wait: Some(key) };
        sleep_until(until).await;
    }

    fn update(&self, change: impl FnOnce(&mut RequestStates)) {
        let mut states: MutexGuard<'_, _> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut states);
        let current = states.current();
        self.current.send_if_modified(|stored| std::mem::replace(stored, current) != current);
    }
}

impl RequestStates {
    /// The wait that ends first, if no request is in flight.
    fn current(&self) -> Option<RequestWait> {
        let first = self.waits.values().min_by_key(|wait| wait.until).copied();
        first.filter(|_| self.in_flight == 0)
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.monitor.update(|states| match self.wait {
            Some(key) => drop(states.waits.remove(&key)),
            None => states.in_flight -= 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn requests_wait_while_none_is_in_flight_and_until_the_first_of_them_goes_on() {
        let monitor = WaitMonitor::default();
        let mut watched = monitor.subscribe();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let request = monitor.start_request();
        let waits = async {
            tokio::join!(
                monitor.sleep_until(WaitReason::RateLimit, at(30)),
                monitor.sleep_until(WaitReason::Retry, at(10)),
            );
        };
        let observed = async {
            tokio::task::yield_now().await;
            assert_eq!(*watched.borrow_and_update(), None, "a request is in flight");
            drop(request);
            let mut seen = Vec::new();
            for _ in 0..3 {
                watched.changed().await.unwrap();
                seen.push((*watched.borrow_and_update()).map(|wait| (wait.reason, wait.until)));
            }
            let expected = [Some((WaitReason::Retry, at(10))), Some((WaitReason::RateLimit, at(30))), None];
            assert_eq!(seen, expected);
        };
        tokio::join!(waits, observed);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_that_is_cancelled_is_over() {
        let monitor = WaitMonitor::default();
        let until = Instant::now() + Duration::from_hours(1);
        let wait = monitor.sleep_until(WaitReason::Retry, until);
        assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err());
        assert_eq!(*monitor.subscribe().borrow(), None);
    }
}
