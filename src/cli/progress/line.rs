//! The line that says how far a run is. Pure.

use std::time::Duration;

use chrono::NaiveDateTime;
use indicatif::HumanCount;

use crate::app::{count, duration_to_text};
use crate::sync::{RunPhase, WaitReason};

/// Cells of the bar.
const BAR_CELLS: u64 = 20;

/// What there is to say about a run at one moment.
#[derive(Clone, Debug)]
pub(super) struct ProgressView {
    pub(super) phase: RunPhase,
    pub(super) tickets: u64,
    pub(super) total: Option<u64>,
    /// Tickets per second.
    pub(super) rate: Option<f64>,
    pub(super) remaining: Option<Duration>,
    pub(super) wait: Option<WaitView>,
}

/// What a run waits for.
#[derive(Clone, Debug)]
pub(super) struct WaitView {
    pub(super) reason: WaitReason,
    /// In local time.
    pub(super) until: NaiveDateTime,
    pub(super) is_today: bool,
    pub(super) remaining: Duration,
}

/// Formats the line, in as many of the `width` columns as it needs; what matters least is left out where they are few.
pub(super) fn line(view: &ProgressView, width: usize) -> String {
    let phase = phase_text(view.phase);
    let counted = counted_text(view);
    let left = view.remaining.map_or(String::new(), |left| format!(", about {} left", duration_text(left)));
    let mut candidates = Vec::new();
    if let Some(wait) = &view.wait {
        let wait = wait_text(wait);
        if !counted.is_empty() {
            candidates.push(format!("{wait}  {phase}: {counted}{left}"));
            candidates.push(format!("{wait}  {phase}: {counted}"));
            candidates.push(format!("{wait}  {counted}"));
            candidates.push(format!("{wait}  {}", counted.trim_end_matches(" tickets")));
            candidates.extend(percent(view).map(|percent| format!("{wait}  {percent}%")));
        }
        candidates.push(wait);
    } else {
        if !counted.is_empty() {
            let rate = view.rate.map_or(String::new(), |rate| format!(", {}", rate_text(rate)));
            let bar = bar_text(view).map_or(String::new(), |bar| format!("  {bar}"));
            candidates.push(format!("{phase}{bar}  {counted}{rate}{left}"));
            candidates.push(format!("{phase}  {counted}{rate}{left}"));
            candidates.push(format!("{phase}  {counted}{left}"));
            candidates.push(format!("{phase}  {counted}"));
        }
        candidates.push(phase);
    }
    let fits = |text: &String| text.chars().count() <= width;
    let shortest = candidates.last().cloned().unwrap_or_default();
    candidates.into_iter().find(fits).unwrap_or_else(|| shortest.chars().take(width).collect())
}

fn phase_text(phase: RunPhase) -> String {
    match phase {
        RunPhase::Preparing => "Preparing".into(),
        RunPhase::InitialLoad => "Initial load".into(),
        RunPhase::FullScan => "Full scan".into(),
        RunPhase::IncrementalScan => "Incremental scan".into(),
        RunPhase::Confirming => "Confirming".into(),
        RunPhase::UnlistedTickets(tickets) => format!("Checking {}", count(tickets, "unlisted ticket")),
        RunPhase::PendingTickets(tickets) => format!("Checking {}", count(tickets, "pending ticket")),
        RunPhase::CustomFields => "Custom fields".into(),
    }
}

/// `3,200 of 8,000 tickets`; empty as long as there is nothing to count.
fn counted_text(view: &ProgressView) -> String {
    match view.total {
        Some(total) if view.tickets <= total => {
            format!("{} of {}", HumanCount(view.tickets), count(total, "ticket"))
        }
        _ if view.tickets == 0 => String::new(),
        _ => count(view.tickets, "ticket"),
    }
}

fn percent(view: &ProgressView) -> Option<u64> {
    let total = view.total.filter(|total| *total != 0)?;
    Some(view.tickets.min(total).saturating_mul(100) / total)
}

fn bar_text(view: &ProgressView) -> Option<String> {
    let done = usize::try_from(percent(view)? * BAR_CELLS / 100).unwrap_or(0);
    let rest = usize::try_from(BAR_CELLS).unwrap_or(0) - done;
    Some("█".repeat(done) + &"░".repeat(rest))
}

fn rate_text(rate: f64) -> String {
    if rate < 10.0 && rate != 0.0 {
        return format!("{rate:.1} tickets/s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is rounded and not negative"
    )]
    let rounded = rate.round() as u64;
    format!("{} tickets/s", HumanCount(rounded))
}

/// `Waiting for HaloITSM's rate limit until 14:05:10 (4 min 32 s)`.
fn wait_text(wait: &WaitView) -> String {
    let what = match wait.reason {
        WaitReason::RateLimit => "Waiting for HaloITSM's rate limit until",
        WaitReason::Retry => "Waiting to try again at",
    };
    let at = wait.until.format(if wait.is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" });
    format!("{what} {at} ({})", duration_text(wait.remaining))
}

/// A duration, rounded up to seconds.
fn duration_text(duration: Duration) -> String {
    duration_to_text(duration.as_secs() + u64::from(duration.subsec_nanos() != 0))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const NOON: &str = "2026-11-26T14:00:37.500";

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn wait(reason: WaitReason, seconds: u64) -> WaitView {
        let until = local(NOON) + TimeDelta::seconds(seconds.cast_signed());
        let is_today = until.date() == local(NOON).date();
        WaitView { reason, until, is_today, remaining: Duration::from_secs(seconds) }
    }

    fn view(phase: RunPhase, tickets: u64, total: Option<u64>) -> ProgressView {
        ProgressView { phase, tickets, total, rate: None, remaining: None, wait: None }
    }

    /// The whole line where there is room, and what is left of it in 80 columns.
    #[test]
    fn line_says_what_matters_most_in_the_columns_there_are() {
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        let loading = ProgressView {
            rate: Some(1_234.4),
            remaining: minutes(12),
            ..view(RunPhase::InitialLoad, 3_200, Some(8_000))
        };
        let many = ProgressView { tickets: 123_456, total: Some(1_234_567), ..loading.clone() };
        let throttled =
            ProgressView { wait: Some(wait(WaitReason::RateLimit, 272)), rate: None, ..loading.clone() };
        let retrying =
            ProgressView { wait: Some(wait(WaitReason::Retry, 12)), rate: None, ..loading.clone() };
        let next_day = ProgressView {
            wait: Some(wait(WaitReason::RateLimit, 43_200)),
            ..view(RunPhase::Preparing, 0, None)
        };
        let slow = ProgressView { rate: Some(3.46), ..view(RunPhase::CustomFields, 1, Some(1)) };
        let stalled = ProgressView { rate: Some(0.0), ..view(RunPhase::FullScan, 1, Some(2)) };
        for (view, wide, narrow) in [
            (view(RunPhase::Preparing, 0, None), "Preparing", "Preparing"),
            (view(RunPhase::InitialLoad, 0, None), "Initial load", "Initial load"),
            (
                view(RunPhase::InitialLoad, 0, Some(8_000)),
                "Initial load  ░░░░░░░░░░░░░░░░░░░░  0 of 8,000 tickets",
                "Initial load  ░░░░░░░░░░░░░░░░░░░░  0 of 8,000 tickets",
            ),
            (
                loading,
                "Initial load  ████████░░░░░░░░░░░░  3,200 of 8,000 tickets, 1,234 tickets/s, about 12 min left",
                "Initial load  3,200 of 8,000 tickets, 1,234 tickets/s, about 12 min left",
            ),
            (
                many,
                "Initial load  █░░░░░░░░░░░░░░░░░░░  123,456 of 1,234,567 tickets, 1,234 tickets/s, about 12 min left",
                "Initial load  123,456 of 1,234,567 tickets, about 12 min left",
            ),
            (
                throttled,
                "Waiting for HaloITSM's rate limit until 14:05:09 (4 min 32 s)  Initial load: 3,200 of 8,000 tickets, \
                 about 12 min left",
                "Waiting for HaloITSM's rate limit until 14:05:09 (4 min 32 s)  40%",
            ),
            (
                retrying,
                "Waiting to try again at 14:00:49 (12 s)  Initial load: 3,200 of 8,000 tickets, about 12 min left",
                "Waiting to try again at 14:00:49 (12 s)  3,200 of 8,000 tickets",
            ),
            (
                next_day,
                "Waiting for HaloITSM's rate limit until 2026-11-27 02:00:37 (12 h)",
                "Waiting for HaloITSM's rate limit until 2026-11-27 02:00:37 (12 h)",
            ),
            (
                slow,
                "Custom fields  ████████████████████  1 of 1 ticket, 3.5 tickets/s",
                "Custom fields  ████████████████████  1 of 1 ticket, 3.5 tickets/s",
            ),
            (
                stalled,
                "Full scan  ██████████░░░░░░░░░░  1 of 2 tickets, 0 tickets/s",
                "Full scan  ██████████░░░░░░░░░░  1 of 2 tickets, 0 tickets/s",
            ),
            (
                view(RunPhase::IncrementalScan, 1, None),
                "Incremental scan  1 ticket",
                "Incremental scan  1 ticket",
            ),
            (view(RunPhase::Confirming, 0, None), "Confirming", "Confirming"),
            (
                view(RunPhase::UnlistedTickets(1), 0, None),
                "Checking 1 unlisted ticket",
                "Checking 1 unlisted ticket",
            ),
            (
                view(RunPhase::UnlistedTickets(1_200), 0, None),
                "Checking 1,200 unlisted tickets",
                "Checking 1,200 unlisted tickets",
            ),
            (
                view(RunPhase::PendingTickets(2), 0, None),
                "Checking 2 pending tickets",
                "Checking 2 pending tickets",
            ),
        ] {
            assert_eq!(line(&view, 195), wide);
            assert_eq!(line(&view, 75), narrow);
            for width in 0..120 {
                assert!(line(&view, width).chars().count() <= width, "{width}: {view:?}");
            }
        }
    }
}
