//! How late the changes were that a scan found: measured at its end, and compared with the overlap.

use chrono::TimeDelta;

use super::context::RunContext;
use super::scan::ScanPlan;
use super::{SyncError, probes};
use crate::store::{StoreError, WriteTx};
use crate::ticket::Timestamp;
use crate::watermark::{self, LATENESS_MAX, ScanKind, WatermarkState};

/// A scan whose changes can be late: an incremental one after a verified scan.
pub(super) struct LatenessMeasurement {
    scan_id: i64,
    /// The newest change record when the scan was planned.
    seq: i64,
    /// The start of the newest verified scan before.
    covered_until: Timestamp,
    clock_difference: TimeDelta,
    overlap: TimeDelta,
}

impl LatenessMeasurement {
    /// Plans the measurement of a scan. A full scan also finds what became visible without an update; where a canary is
    /// missing, earlier scans may have asked for something else than was thought.
    pub(super) fn plan(
        context: &RunContext,
        plan: &ScanPlan,
    ) -> Result<Option<LatenessMeasurement>, SyncError> {
        // The scans of a dry run are not kept.
        let is_measured = !context.settings.dry_run
            && matches!(plan.kind, ScanKind::Incremental { .. })
            && plan.is_filter_trusted
            && plan.watermark.state == WatermarkState::Incremental;
        let Some(covered_until) = plan.watermark.covered_until.filter(|_| is_measured) else {
            return Ok(None);
        };
        Ok(Some(LatenessMeasurement {
            scan_id: plan.scan_id,
            seq: plan.seq_at_start,
            covered_until,
            clock_difference: probes::clock_difference(context)?,
            overlap: context.settings.schedule.overlap,
        }))
    }

    /// Records how late the latest change of the scan was; returns a warning if that is near the overlap. Call it in the
    /// transaction that ends the scan, when its rows are stored, and before the watermark moves.
    pub(super) fn record(&self, tx: &WriteTx<'_>, now: Timestamp) -> Result<Option<String>, StoreError> {
        let read_tx = tx.as_read_tx();
        if !read_tx.is_watermark_verified()? {
            return Ok(None);
        }
        let until = self.covered_until.minus(self.clock_difference);
        let oldest = read_tx.oldest_new_version(self.seq, until.minus(LATENESS_MAX), until)?;
        let late =
            oldest.and_then(|oldest| watermark::lateness(self.covered_until, oldest, self.clock_difference));
        let Some(late) = late else { return Ok(None) };
        tx.record_lateness(self.scan_id, late, now)?;
        Ok(lateness_warning(late, self.overlap))
    }
}

/// What to do about a lateness that comes near the overlap.
#[must_use]
pub fn lateness_warning(lateness: TimeDelta, overlap: TimeDelta) -> Option<String> {
    watermark::is_near_overlap(lateness, overlap).then(|| {
        format!(
            "a change became visible {} or more after its last update, and `overlap` is {}: only a full scan finds what is \
             later than that; set `{}` in `[sync]`",
            seconds_to_text(lateness),
            seconds_to_text(overlap),
            overlap_line(lateness)
        )
    })
}

/// The line of the settings that allows for a lateness: `overlap = "15m"`.
#[must_use]
pub fn overlap_line(lateness: TimeDelta) -> String {
    format!("overlap = \"{}m\"", watermark::proposed_overlap(lateness).num_minutes())
}

/// `32 s`, `7 min`, `7 min 30 s`; a part of a second counts as one.
#[must_use]
pub fn seconds_to_text(span: TimeDelta) -> String {
    let seconds = u64::try_from(span.num_milliseconds()).unwrap_or(0).div_ceil(1_000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_names_lateness_overlap_and_the_line_to_set() {
        let overlap = TimeDelta::minutes(10);
        assert_eq!(lateness_warning(TimeDelta::minutes(5), overlap), None);
        assert_eq!(
            lateness_warning(TimeDelta::milliseconds(449_100), overlap).unwrap(),
            "a change became visible 7 min 30 s or more after its last update, and `overlap` is 10 min: only a full scan \
             finds what is later than that; set `overlap = \"15m\"` in `[sync]`"
        );
    }
}
