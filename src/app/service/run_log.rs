//! Which runs the service logs: those that changed something or went otherwise than the one before, and once an hour a
//! summary of all.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::{count, duration_to_text};
use crate::store::RunStats;
use crate::sync::RunOutcome;

/// How often runs that are not logged one by one are summed up.
const SUMMARY_INTERVAL: Duration = Duration::from_hours(1);

/// The runs since the last summary.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    /// The outcome of the last run; `None` at the start and after a run that failed.
    last_outcome: Option<&'static str>,
    /// When the first of these runs ended.
    since: Option<Instant>,
    counts: RunCounts,
}

/// What the runs since the last summary did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunCounts {
    runs: u64,
    complete: u64,
    failed: u64,
    quiet: u64,
    changes: u64,
    requests: u64,
}

/// What is logged of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunLogDecision {
    /// The run is like the one before and changed nothing: it is logged at debug level only.
    pub(super) is_quiet: bool,
    /// The summary that is due.
    pub(super) summary: Option<String>,
}

impl RunLog {
    /// Decides about a run that ended at `now`; somebody may wait for one that was asked for.
    pub(super) fn decide(
        &mut self,
        outcome: &RunOutcome,
        stats: &RunStats,
        was_requested: bool,
        now: Instant,
    ) -> RunLogDecision {
        let changes = stats.changes.total();
        let is_like_the_last = self.last_outcome.replace(outcome.as_str()) == Some(outcome.as_str());
        let is_quiet = is_like_the_last && changes == 0 && !was_requested;
        let counts = &mut self.counts;
        counts.runs += 1;
        counts.complete += u64::from(*outcome == RunOutcome::Complete);
        counts.quiet += u64::from(is_quiet);
        counts.changes += changes;
        counts.requests += stats.requests;
        let since = *self.since.get_or_insert(now);
        let summary = (SUMMARY_INTERVAL <= now - since).then(|| {
            self.since = None;
            std::mem::take(&mut self.counts)
        });
        // Where every run was logged, a summary says nothing new.
        let summary = summary.filter(|counts| counts.quiet != 0).map(|counts| counts.to_text(now - since));
        RunLogDecision { is_quiet, summary }
    }

    /// Counts a run that failed, so that the next one that does not is worth a line.
    pub(super) fn record_failure(&mut self, now: Instant) {
        self.last_outcome = None;
        self.since.get_or_insert(now);
        self.counts.runs += 1;
        self.counts.failed += 1;
    }
}

impl RunCounts {
    fn to_text(self, span: Duration) -> String {
        let RunCounts { runs, complete, failed, changes, requests, .. } = self;
        let outcome = match (complete == runs, failed) {
            (true, _) => "all complete".to_owned(),
            (false, 0) => format!("{complete} complete"),
            (false, failed) => format!("{complete} complete, {failed} failed"),
        };
        let (runs, changes, requests) =
            (count(runs, "run"), count(changes, "change"), count(requests, "request"));
        format!("{runs} in {}, {outcome}; {changes}, {requests}", duration_to_text(span.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::ChangeCounts;

    fn stats(created: u64) -> RunStats {
        let changes = ChangeCounts { created, ..ChangeCounts::default() };
        RunStats { changes, requests: 2, ..RunStats::default() }
    }

    #[test]
    fn runs_are_logged_that_differ_from_the_one_before_or_changed_something() {
        let (mut log, now) = (RunLog::default(), Instant::now());
        let incomplete = || RunOutcome::Incomplete("two tickets are missing".into());
        for (name, outcome, created, was_requested, is_quiet) in [
            ("the first", RunOutcome::Complete, 0, false, false),
            ("without changes", RunOutcome::Complete, 0, false, true),
            ("with a change", RunOutcome::Complete, 1, false, false),
            ("without changes again", RunOutcome::Complete, 0, false, true),
            ("asked for", RunOutcome::Complete, 0, true, false),
            ("incomplete", incomplete(), 0, false, false),
            ("incomplete again", incomplete(), 0, false, true),
            ("complete again", RunOutcome::Complete, 0, false, false),
        ] {
            let decision = log.decide(&outcome, &stats(created), was_requested, now);
            assert_eq!(decision, RunLogDecision { is_quiet, summary: None }, "{name}");
        }
        log.record_failure(now);
        assert!(!log.decide(&RunOutcome::Complete, &stats(0), false, now).is_quiet, "after a failure");
    }

    #[test]
    fn quiet_runs_are_summed_up_once_an_hour() {
        let (mut log, start) = (RunLog::default(), Instant::now());
        let mut summaries = vec![];
        for minute in (0..180).step_by(5) {
            let outcome =
                if minute == 70 { RunOutcome::Incomplete(String::new()) } else { RunOutcome::Complete };
            let now = start + Duration::from_mins(minute);
            let created = u64::from(minute == 30);
            summaries.extend(log.decide(&outcome, &stats(created), false, now).summary);
        }
        assert_eq!(
            summaries,
            [
                "13 runs in 1 h, all complete; 1 change, 26 requests",
                "13 runs in 1 h, 12 complete; 0 changes, 26 requests",
            ]
        );
        let mut log = RunLog::default();
        let at = |minutes| start + Duration::from_mins(minutes);
        for minutes in [0, 10] {
            log.decide(&RunOutcome::Complete, &stats(0), false, at(minutes));
        }
        log.record_failure(at(20));
        let late = log.decide(&RunOutcome::Complete, &stats(0), false, at(480)).summary;
        assert_eq!(late.as_deref(), Some("4 runs in 8 h, 3 complete, 1 failed; 0 changes, 6 requests"));
        let mut log = RunLog::default();
        for hour in 0..3 {
            let now = start + Duration::from_hours(hour);
            let decision = log.decide(&RunOutcome::Complete, &stats(1), false, now);
            assert_eq!(decision.summary, None, "nothing was quiet");
        }
    }
}
