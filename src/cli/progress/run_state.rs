//! What a run has reported, and what there is to say about it at one moment. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use tokio::time::Instant;

use super::line::{ProgressView, WaitView};
use crate::sync::{PhaseProgress, RequestWait, RunPhase};

/// Waits of at least this length are shown.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// The rate is that of this last span.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// A rate over less than this says nothing.
const RATE_SPAN_MIN: Duration = Duration::from_secs(1);

/// What a run has reported so far.
pub(super) struct RunState {
    phase: RunPhase,
    progress: Option<PhaseProgress>,
    /// The server's count of the list that was read last.
    pub(super) list_total: Option<u64>,
    /// When so many tickets of the phase were received; at most one is older than [`RATE_SPAN`].
    samples: VecDeque<(Instant, u64)>,
    /// The last known rate, in tickets per second.
    rate: Option<f64>,
    wait: Option<RequestWait>,
    wait_began: Instant,
}

impl RunState {
    pub(super) fn new(now: Instant) -> RunState {
        RunState {
            phase: RunPhase::Preparing,
            progress: None,
            list_total: None,
            samples: VecDeque::new(),
            rate: None,
            wait: None,
            wait_began: now,
        }
    }

    pub(super) fn begin(&mut self, phase: RunPhase, now: Instant) {
        *self = RunState {
            phase,
            list_total: self.list_total,
            wait: self.wait,
            wait_began: self.wait_began,
            ..RunState::new(now)
        };
    }

    pub(super) fn advance(&mut self, progress: PhaseProgress, now: Instant) {
        self.progress = Some(progress);
        if matches!(self.phase, RunPhase::InitialLoad | RunPhase::FullScan | RunPhase::IncrementalScan) {
            self.list_total = progress.total.or(self.list_total);
        }
        self.samples.push_back((now, progress.tickets));
        while self.samples.get(1).is_some_and(|(at, _)| RATE_SPAN <= now.saturating_duration_since(*at)) {
            self.samples.pop_front();
        }
        self.rate = self.rate_at(now).or(self.rate);
    }

    pub(super) fn set_wait(&mut self, wait: Option<RequestWait>, now: Instant) {
        // A long wait is no part of the rate.
        if self.wait.is_some() && WAIT_MIN <= now.saturating_duration_since(self.wait_began) {
            self.samples.clear();
            self.samples.extend(self.progress.map(|progress| (now, progress.tickets)));
        }
        (self.wait, self.wait_began) = (wait, now);
    }

    /// The tickets per second over the last seconds.
    fn rate_at(&self, now: Instant) -> Option<f64> {
        let ((start, before), (_, after)) = (self.samples.front()?, self.samples.back()?);
        let span = now.saturating_duration_since(*start);
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let tickets = after.saturating_sub(*before) as f64;
        (RATE_SPAN_MIN <= span).then(|| tickets / span.as_secs_f64())
    }

    /// Sums up the state; `local` is the local time of `now`.
    pub(super) fn view(&self, now: Instant, local: NaiveDateTime) -> ProgressView {
        let wait = self.wait.filter(|wait| WAIT_MIN <= wait.until.saturating_duration_since(self.wait_began));
        let wait = wait.map(|wait| {
            let remaining = wait.until.saturating_duration_since(now);
            let until = local + TimeDelta::from_std(remaining).unwrap_or_default();
            WaitView { reason: wait.reason, until, is_today: until.date() == local.date(), remaining }
        });
        let rate = if wait.is_some() { None } else { self.rate_at(now) };
        let (tickets, total) = self.progress.map_or((0, None), |progress| (progress.tickets, progress.total));
        ProgressView { phase: self.phase, tickets, total, rate, remaining: self.remaining(now), wait }
    }

    /// The time that the rest takes: at the present rate, and at least as long as the rate limit makes it.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let PhaseProgress { tickets, total, earliest_end } = self.progress?;
        let left = total?.checked_sub(tickets).filter(|left| *left != 0)?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate need not be exact")]
        let by_rate = self.rate.filter(|rate| 0.0 < *rate).map(|rate| left as f64 / rate);
        let by_rate = by_rate.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let by_limit = earliest_end.saturating_duration_since(now);
        match by_rate {
            Some(by_rate) => Some(by_rate.max(by_limit)),
            None => (RATE_SPAN_MIN <= by_limit).then_some(by_limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::WaitReason;

    const NOON: &str = "2026-11-26T14:00:37.500";

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    /// A load of 100 tickets a second that the rate limit holds back, then waits.
    #[test]
    fn remaining_time_includes_the_rate_limit_and_the_rate_leaves_waits_out() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut state = RunState::new(start);
        let view = |state: &RunState, seconds| state.view(at(seconds), local(NOON));
        state.begin(RunPhase::InitialLoad, at(0));
        assert_eq!(view(&state, 0).total, None);
        let progress = |tickets| PhaseProgress { tickets, total: Some(10_000), earliest_end: at(60) };
        for second in 0..=20 {
            state.advance(progress(2_000 + second * 100), at(second));
        }
        let free = view(&state, 20);
        assert_eq!(
            (free.tickets, free.rate, free.remaining),
            (4_000, Some(100.0), Some(Duration::from_mins(1)))
        );

        // The window is used up: 300 s from now at the earliest.
        state.advance(PhaseProgress { earliest_end: at(320), ..progress(4_000) }, at(20));
        let wait = |until| Some(RequestWait { reason: WaitReason::RateLimit, until: at(until) });
        state.set_wait(wait(220), at(20));
        let waiting = view(&state, 120);
        let shown = waiting.wait.unwrap();
        assert_eq!((shown.remaining, waiting.rate), (Duration::from_secs(100), None));
        assert_eq!(shown.until, local(NOON) + TimeDelta::seconds(100));
        assert_eq!(waiting.remaining, Some(Duration::from_secs(200)));

        state.set_wait(None, at(220));
        state.advance(PhaseProgress { earliest_end: at(320), ..progress(4_400) }, at(222));
        assert_eq!(view(&state, 222).rate, Some(200.0), "the wait is no part of the rate");
        // A wait of a moment is not shown.
        state.set_wait(Some(RequestWait { until: at(222) + WAIT_MIN / 2, ..wait(0).unwrap() }), at(222));
        assert!(view(&state, 222).wait.is_none());
    }

    #[test]
    fn total_of_the_list_is_kept_when_other_tickets_are_counted() {
        let now = Instant::now();
        let mut state = RunState::new(now);
        let progress = |total| PhaseProgress { tickets: 0, total, earliest_end: now };
        state.begin(RunPhase::InitialLoad, now);
        state.advance(progress(Some(8_000)), now);
        state.advance(progress(None), now);
        state.begin(RunPhase::CustomFields, now);
        state.advance(progress(Some(12)), now);
        assert_eq!(state.list_total, Some(8_000));
    }
}
