//! The memory that responses take: the bodies that are being received and the rows parsed from them share one
//! budget.
//!
//! Requests are admitted one after another, each with as much memory as recent bodies needed. A body that outgrows
//! what is free gives everything back and is requested once more, alone. Rows may be waiting for the very page that
//! waits for their memory; therefore a wait for rows ends after `ROWS_WAIT`, and this request and those after it make do
//! with what is left, until some rows give memory back. Then the page may be too large for the moment, and is read in
//! parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::timeout;

/// The most memory that all responses take together, in bytes after decompression: a small compressed response can
/// be a thousand times its size.
pub(super) const MEMORY_MAX: usize = 64 << 20;

/// The least that a request gets while nothing else is received, even where rows take everything.
const ALONE_MIN: usize = 2 << 20;

/// A request counts as alone while no more than this is taken by rows: a few pages are kept for a long time.
pub(super) const ROWS_LEFT: usize = 4 << 20;

/// How long a request waits for rows to be stored while nothing else is received.
const ROWS_WAIT: Duration = Duration::from_secs(3);

/// The least that a request starts with.
const RESERVED_MIN: usize = 512 << 10;

/// Memory is taken in steps of this many bytes while a body grows.
const GROWTH_STEP: usize = 64 << 10;

/// What is in use.
#[derive(Clone, Copy, Debug, Default)]
struct MemoryUsage {
    bytes: usize,
    /// Requests that were admitted and whose bodies are not parsed yet.
    bodies: usize,
    /// Whether rows were waited for in vain, and none has given memory back since: who holds them is waiting itself.
    rows_are_stuck: bool,
}

/// What a budget and its permits share.
#[derive(Debug)]
struct SharedBudget {
    total: usize,
    usage: watch::Sender<MemoryUsage>,
    /// The size of the largest recent body; it fades with every smaller one.
    recent_body: AtomicUsize,
}

/// The memory for all responses of a client.
pub(super) struct MemoryBudget {
    shared: Arc<SharedBudget>,
    queue: Arc<Mutex<()>>,
}

/// What a request wants.
#[derive(Clone, Copy)]
pub(super) struct MemoryRequest {
    /// The longest body that is accepted.
    pub(super) body_max: usize,
    /// What earlier parts of the same page hold.
    pub(super) held: usize,
    /// Whether to wait until nothing else is received, for a body that did not fit beside others.
    pub(super) alone: bool,
}

/// Why a body cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryShortage {
    /// Others use the memory.
    Busy,
    /// It would not fit alone either.
    TooLarge,
}

/// A share of the memory for responses, given back on drop. The default one is empty.
#[derive(Debug, Default)]
pub struct BudgetPermit {
    shared: Option<Arc<SharedBudget>>,
    bytes: usize,
    /// The longest body that it may hold.
    limit: usize,
    is_body: bool,
    /// Keeps others from being admitted while this request is alone.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Default for MemoryBudget {
    fn default() -> MemoryBudget {
        MemoryBudget::new(MEMORY_MAX)
    }
}

impl MemoryBudget {
    fn new(total: usize) -> MemoryBudget {
        let shared = SharedBudget {
            total,
            usage: watch::Sender::new(MemoryUsage::default()),
            recent_body: AtomicUsize::new(0),
        };
        MemoryBudget { shared: Arc::new(shared), queue: Arc::default() }
    }

    /// Waits until a request may be sent.
    pub(super) async fn acquire(&self, request: MemoryRequest) -> BudgetPermit {
        let turn = Arc::clone(&self.queue).lock_owned().await;
        let expected = self.shared.expected_bytes().saturating_sub(request.held).max(RESERVED_MIN);
        let mut changes = self.shared.usage.subscribe();
        loop {
            let usage = *changes.borrow_and_update();
            if request.alone {
                if usage.bodies == 0 && usage.bytes <= ROWS_LEFT + request.held {
                    break;
                }
            } else {
                // While nothing else is received, only rows could give memory back, and the body may be smaller than
                // expected: the request begins with what is free.
                let least = if usage.bodies == 0 { RESERVED_MIN } else { expected };
                if let Some(taken) = self.shared.try_take_between(least, expected) {
                    return self.permit(taken, request.body_max, None);
                }
            }
            let change = changes.changed();
            if usage.bodies != 0 {
                // A body ends by itself, by the timeouts of its request at the latest.
                let _ = change.await;
            } else if usage.rows_are_stuck || timeout(ROWS_WAIT, change).await.is_err() {
                self.shared.usage.send_if_modified(|usage| {
                    usage.rows_are_stuck = true;
                    false
                });
                break;
            }
        }
        let rest = self.shared.take_rest();
        self.permit(rest, request.body_max.min(rest), Some(turn))
    }

    fn permit(&self, bytes: usize, limit: usize, turn: Option<OwnedMutexGuard<()>>) -> BudgetPermit {
        BudgetPermit { shared: Some(Arc::clone(&self.shared)), bytes, limit, is_body: true, turn }
    }
}

impl SharedBudget {
    /// What a body and the rows that are parsed from it need together.
    fn needed_for(&self, body: usize) -> usize {
        (2 * body).min(self.total)
    }

    /// What the next body will probably need.
    fn expected_bytes(&self) -> usize {
        let recent = self.recent_body.load(Ordering::Relaxed);
        self.needed_for(recent + recent / 8).min(self.total.saturating_sub(ROWS_LEFT))
    }

    fn record_body(&self, bytes: usize) {
        let faded = |recent: usize| Some(bytes.max(recent - recent / 8));
        let _ = self.recent_body.fetch_update(Ordering::Relaxed, Ordering::Relaxed, faded);
    }

    /// Takes more memory for a body, if it is free.
    fn try_take(&self, bytes: usize) -> bool {
        let mut taken = false;
        // Nobody waits for less memory.
        self.usage.send_if_modified(|usage| {
            if usage.bytes + bytes <= self.total {
                usage.bytes += bytes;
                taken = true;
            }
            false
        });
        taken
    }

    /// Takes at most `most` of what is free for a body, if that is at least `least`.
    fn try_take_between(&self, least: usize, most: usize) -> Option<usize> {
        let mut taken = None;
        self.usage.send_if_modified(|usage| {
            let bytes = most.min(self.total.saturating_sub(usage.bytes));
            if least <= bytes {
                usage.bytes += bytes;
                usage.bodies += 1;
                taken = Some(bytes);
            }
            false
        });
        taken
    }

    /// Takes all that is free, and `ALONE_MIN` at least, for a body.
    fn take_rest(&self) -> usize {
        let mut rest = 0;
        self.usage.send_if_modified(|usage| {
            rest = self.total.saturating_sub(usage.bytes).max(ALONE_MIN.min(self.total));
            usage.bytes += rest;
            usage.bodies += 1;
            false
        });
        rest
    }

    /// Replaces a share by one of another size, whether or not that is free.
    fn resize(&self, from: usize, to: usize, bodies_ended: usize) {
        self.usage.send_modify(|usage| {
            usage.bytes = usage.bytes - from + to;
            usage.bodies -= bodies_ended;
        });
    }

    /// Gives a share back.
    fn release(&self, bytes: usize, is_body: bool) {
        self.usage.send_modify(|usage| {
            usage.bytes -= bytes;
            usage.bodies -= usize::from(is_body);
            usage.rows_are_stuck &= is_body || bytes == 0;
        });
    }
}

impl BudgetPermit {
    /// A share of a budget that nobody else uses.
    #[cfg(test)]
    pub(super) fn of_rows(bytes: usize) -> BudgetPermit {
        let shared = MemoryBudget::default().shared;
        shared.resize(0, bytes, 0);
        BudgetPermit { shared: Some(shared), bytes, limit: 0, is_body: false, turn: None }
    }

    /// Returns the size of the share in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the longest body that the permit allows; `None` for an empty one.
    pub(super) fn limit(&self) -> Option<usize> {
        self.shared.as_ref().map(|_| self.limit)
    }

    /// Makes room for a body of this size.
    pub(super) fn grow(&mut self, body: usize) -> Result<(), MemoryShortage> {
        let Some(shared) = &self.shared else { return Ok(()) };
        if self.limit < body {
            return Err(MemoryShortage::TooLarge);
        }
        let needed = shared.needed_for(body);
        if needed <= self.bytes || self.turn.is_some() {
            return Ok(());
        }
        let more = needed.next_multiple_of(GROWTH_STEP).min(shared.total).max(needed) - self.bytes;
        if !shared.try_take(more) {
            return Err(MemoryShortage::Busy);
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back what a complete body of this size does not need. What is still to be parsed counts as well.
    pub(super) fn complete_body(&mut self, body: usize) {
        if let Some(shared) = &self.shared {
            shared.record_body(body);
            let needed = shared.needed_for(body).min(self.bytes);
            shared.resize(self.bytes, needed, 0);
            self.bytes = needed;
        }
    }

    /// Turns the share of a body into that of the rows parsed from it, which others need not wait for.
    pub(super) fn into_rows(mut self, bytes: usize) -> BudgetPermit {
        if let Some(shared) = &self.shared {
            shared.resize(self.bytes, bytes, usize::from(self.is_body));
            (self.bytes, self.is_body) = (bytes, false);
        }
        self.turn = None;
        self
    }

    /// Adds the share of other rows.
    pub fn merge(&mut self, mut other: BudgetPermit) {
        if self.shared.is_none() {
            *self = other;
        } else {
            self.bytes += std::mem::take(&mut other.bytes);
        }
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.release(self.bytes, self.is_body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const MIB: usize = 1 << 20;

    fn request(alone: bool) -> MemoryRequest {
        MemoryRequest { body_max: MEMORY_MAX, held: 0, alone }
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_does_not_fit_beside_others_fits_alone() {
        let budget = MemoryBudget::default();
        let mut one = budget.acquire(request(false)).await;
        let mut other = budget.acquire(request(false)).await;
        one.grow(20 * MIB).unwrap();
        assert_eq!(other.grow(20 * MIB), Err(MemoryShortage::Busy));
        drop(other);
        let waiting = budget.acquire(request(true));
        tokio::pin!(waiting);
        assert!(timeout(ROWS_WAIT * 9, &mut waiting).await.is_err(), "a body is still being received");
        drop(one);
        let mut alone = waiting.await;
        alone.grow(MEMORY_MAX).unwrap();
        assert_eq!(alone.grow(MEMORY_MAX + 1), Err(MemoryShortage::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_admitted_while_a_body_is_received_alone() {
        let budget = MemoryBudget::default();
        let alone = budget.acquire(request(true)).await;
        assert!(timeout(ROWS_WAIT * 9, budget.acquire(request(false))).await.is_err());
        let rows = alone.into_rows(MIB);
        let started = Instant::now();
        let _next = budget.acquire(request(false)).await;
        assert_eq!((started.elapsed(), rows.bytes()), (Duration::ZERO, MIB));
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_for_rows_but_not_without_end() {
        let budget = MemoryBudget::default();
        let rows = budget.acquire(request(true)).await.into_rows(MEMORY_MAX);
        let started = Instant::now();
        let mut squeezed = budget.acquire(request(false)).await;
        assert_eq!(started.elapsed(), ROWS_WAIT, "these rows may wait for this very request");
        squeezed.grow(ALONE_MIN).unwrap();
        assert_eq!(squeezed.grow(ALONE_MIN + 1), Err(MemoryShortage::TooLarge));
        drop(squeezed);
        drop(budget.acquire(request(true)).await);
        assert_eq!(started.elapsed(), ROWS_WAIT, "they were waited for in vain");
        let more_rows = budget.acquire(request(true)).await.into_rows(MIB);
        drop(more_rows);
        let free_soon = async {
            tokio::time::sleep(ROWS_WAIT / 2).await;
            drop(rows);
        };
        let (mut next, ()) = tokio::join!(budget.acquire(request(true)), free_soon);
        next.grow(MEMORY_MAX).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_the_same_page_and_a_few_others_are_not_waited_for() {
        let budget = MemoryBudget::default();
        let _few = budget.acquire(request(true)).await.into_rows(ROWS_LEFT);
        let _held = budget.acquire(request(true)).await.into_rows(20 * MIB);
        let started = Instant::now();
        let alone = budget.acquire(MemoryRequest { held: 20 * MIB, ..request(true) }).await;
        assert_eq!((started.elapsed(), alone.limit()), (Duration::ZERO, Some(40 * MIB)));
    }

    #[tokio::test(start_paused = true)]
    async fn next_request_starts_with_what_recent_bodies_needed() {
        let budget = MemoryBudget::default();
        let mut first = budget.acquire(request(false)).await;
        assert_eq!(first.bytes(), RESERVED_MIN);
        first.grow(16 * MIB).unwrap();
        first.complete_body(16 * MIB);
        drop(first);
        let second = budget.acquire(request(false)).await;
        assert_eq!(second.bytes(), 36 * MIB);
        assert!(
            timeout(ROWS_WAIT * 9, budget.acquire(request(false))).await.is_err(),
            "there is no room for two"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn small_request_does_not_wait_for_the_rows_of_a_large_one() {
        let budget = MemoryBudget::default();
        let mut large = budget.acquire(request(true)).await;
        large.grow(56 * MIB).unwrap();
        large.complete_body(56 * MIB);
        let _rows = large.into_rows(56 * MIB);
        let started = Instant::now();
        let mut small = budget.acquire(request(false)).await;
        small.grow(MIB).unwrap();
        assert_eq!((started.elapsed(), small.bytes()), (Duration::ZERO, 8 * MIB));
        assert_eq!(small.grow(20 * MIB), Err(MemoryShortage::Busy), "it is requested again, alone");
    }

    #[tokio::test(start_paused = true)]
    async fn every_share_is_given_back() {
        let budget = MemoryBudget::default();
        let mut body = budget.acquire(request(false)).await;
        body.grow(5 * MIB).unwrap();
        body.complete_body(4 * MIB);
        let mut rows = body.into_rows(3 * MIB);
        rows.merge(budget.acquire(request(true)).await.into_rows(2 * MIB));
        let mut merged = BudgetPermit::default();
        merged.merge(rows);
        assert_eq!((merged.bytes(), budget.shared.usage.borrow().bytes), (5 * MIB, 5 * MIB));
        drop(budget.acquire(request(true)));
        drop(merged);
        let MemoryUsage { bytes, bodies, .. } = *budget.shared.usage.borrow();
        assert_eq!((bytes, bodies), (0, 0));
    }
}
