//! What a scan comes to: its outcome, and whether it moves the watermark. Pure.

use super::ScanEnd;
use super::list::ReadVerdict;
use super::page::ListReadError;
use super::plan::ScanPlan;
use crate::store::{MoveReason, ScanOutcome};
use crate::sync::completeness::Shortfall;
use crate::ticket::Timestamp;
use crate::watermark::{self, ScanKind};

/// What a scan comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sync) struct Evaluation {
    pub(in crate::sync) scan_outcome: ScanOutcome,
    /// Whether everything that can be received was received: then a full scan shows which tickets are unlisted.
    pub(in crate::sync) is_settled: bool,
    pub(in crate::sync) moves_watermark: bool,
    /// What the list did not show.
    pub(in crate::sync) shortfall: Shortfall,
    /// Why the scan is not complete, apart from its shortfall.
    pub(in crate::sync) lack: Option<String>,
}

impl Evaluation {
    fn incomplete(scan_outcome: ScanOutcome, lack: impl Into<String>) -> Evaluation {
        Evaluation {
            scan_outcome,
            is_settled: false,
            moves_watermark: false,
            shortfall: Shortfall::default(),
            lack: Some(lack.into()),
        }
    }

    /// Why the watermark moves, if it does.
    pub(in crate::sync) fn move_reason(&self, kind: ScanKind) -> MoveReason {
        match self.shortfall {
            Shortfall { missing: 0, unidentified: 0 } => MoveReason::Verified,
            Shortfall { missing: 0, .. } if kind == ScanKind::Full => MoveReason::UnidentifiedRows,
            Shortfall { .. } => MoveReason::AcceptedShortfall,
        }
    }
}

/// Evaluates a scan that came to its end. `accept_shortfall` is how much may be missing; `now` is the present by the
/// local clock, which only an impossible clock of the server is compared with.
pub(in crate::sync) fn evaluate(
    scan: &ScanEnd,
    plan: &ScanPlan,
    canary_missing: bool,
    accept_shortfall: u64,
    now: Timestamp,
) -> Evaluation {
    let mut evaluation = match scan.fault {
        _ if canary_missing => Evaluation::incomplete(
            ScanOutcome::Incomplete,
            "a ticket that the date filter must return is missing: the filter no longer works as probed",
        ),
        Some(
            fault @ (ListReadError::Endless(_)
            | ListReadError::TooManyChanges(_)
            | ListReadError::FalselyEmpty),
        ) => Evaluation::incomplete(ScanOutcome::Incomplete, fault.to_string()),
        Some(fault) => Evaluation::incomplete(ScanOutcome::Failed, fault.to_string()),
        None if scan.is_aged => Evaluation::incomplete(
            ScanOutcome::Incomplete,
            "a cache between halosync and the server answered (header `Age`), which proves nothing",
        ),
        None => evaluate_verdict(scan.verdict, plan.kind, accept_shortfall),
    };
    let newest_update = scan.newest().map(|newest| newest.last_update).max(plan.watermark.newest_seen);
    if let Some(start) = scan.start.covers()
        && evaluation.moves_watermark
        && !watermark::is_start_believable(start, now, newest_update)
    {
        evaluation.moves_watermark = false;
        evaluation.lack = Some(format!(
            "the server's clock says {start}, but the local clock says {now}: the watermark stays until one of them is \
             set right"
        ));
    }
    evaluation
}

fn evaluate_verdict(verdict: ReadVerdict, kind: ScanKind, accept_shortfall: u64) -> Evaluation {
    let settled = |scan_outcome, shortfall| Evaluation {
        scan_outcome,
        is_settled: true,
        moves_watermark: true,
        shortfall,
        lack: None,
    };
    match verdict {
        ReadVerdict::Verified => settled(ScanOutcome::Verified, Shortfall::default()),
        // A ticket behind a row without an id that is edited later is listed again: an incremental scan must not pass it,
        // a full scan may, because the next one shows the row again.
        ReadVerdict::Short(shortfall)
            if shortfall.total() <= accept_shortfall
                || (kind == ScanKind::Full && shortfall.missing == 0) =>
        {
            settled(ScanOutcome::CountMismatch, shortfall)
        }
        ReadVerdict::Short(shortfall) => Evaluation {
            is_settled: false,
            moves_watermark: false,
            ..settled(ScanOutcome::CountMismatch, shortfall)
        },
        ReadVerdict::CountMismatch { unique, count } => Evaluation::incomplete(
            ScanOutcome::CountMismatch,
            format!("{unique} different tickets were received, but the server counts {count}"),
        ),
        ReadVerdict::ReadAgain | ReadVerdict::Unstable => Evaluation::incomplete(
            ScanOutcome::Incomplete,
            "the list changes so quickly that every read shows tickets that the earlier ones missed",
        ),
        ReadVerdict::NoCount => Evaluation::incomplete(
            ScanOutcome::Incomplete,
            "the server does not report how many tickets there are",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Shortfall = Shortfall { missing: 2, unidentified: 0 };
    const UNIDENTIFIED: Shortfall = Shortfall { missing: 0, unidentified: 1 };

    fn at(text: &str) -> ScanKind {
        ScanKind::Incremental { from: text.parse().unwrap() }
    }

    #[test]
    fn incremental_scan_passes_rows_without_an_id_only_where_they_are_accepted() {
        let incremental = at("2026-03-04T10:20:30.000Z");
        let reason = |kind| evaluate_verdict(ReadVerdict::Short(UNIDENTIFIED), kind, 1).move_reason(kind);
        assert_eq!(reason(ScanKind::Full), MoveReason::UnidentifiedRows);
        assert_eq!(reason(incremental), MoveReason::AcceptedShortfall);
    }

    #[test]
    fn only_a_full_scan_moves_the_watermark_past_rows_without_an_id() {
        let incremental = at("2026-03-04T10:20:30.000Z");
        for (name, verdict, kind, accept, outcome, settled) in [
            ("verified", ReadVerdict::Verified, incremental, 0, ScanOutcome::Verified, true),
            (
                "row without id",
                ReadVerdict::Short(UNIDENTIFIED),
                ScanKind::Full,
                0,
                ScanOutcome::CountMismatch,
                true,
            ),
            (
                "in an incremental scan",
                ReadVerdict::Short(UNIDENTIFIED),
                incremental,
                0,
                ScanOutcome::CountMismatch,
                false,
            ),
            ("accepted", ReadVerdict::Short(UNIDENTIFIED), incremental, 1, ScanOutcome::CountMismatch, true),
            ("missing", ReadVerdict::Short(MISSING), ScanKind::Full, 1, ScanOutcome::CountMismatch, false),
            (
                "missing, accepted",
                ReadVerdict::Short(MISSING),
                ScanKind::Full,
                2,
                ScanOutcome::CountMismatch,
                true,
            ),
            (
                "other count",
                ReadVerdict::CountMismatch { unique: 9, count: 10 },
                ScanKind::Full,
                0,
                ScanOutcome::CountMismatch,
                false,
            ),
            ("no count", ReadVerdict::NoCount, ScanKind::Full, 9, ScanOutcome::Incomplete, false),
            ("unstable", ReadVerdict::Unstable, ScanKind::Full, 9, ScanOutcome::Incomplete, false),
        ] {
            let evaluation = evaluate_verdict(verdict, kind, accept);
            assert_eq!(evaluation.scan_outcome, outcome, "{name}");
            assert_eq!((evaluation.is_settled, evaluation.moves_watermark), (settled, settled), "{name}");
        }
    }
}
