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

    /// Records how late the most delayed change of the scan was; returns a warning if that is near the overlap. Call it in the
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

/// How the warning about late changes begins. The rest differs from run to run, and is no news.
pub const LATENESS_WARNING: &str = "the server shows changes up to ";

/// What to do about a lateness that comes near the overlap.
#[must_use]
pub fn lateness_warning(lateness: TimeDelta, overlap: TimeDelta) -> Option<String> {
    watermark::is_near_overlap(lateness, overlap).then(|| {
        format!(
            "{LATENESS_WARNING}{} late, and `overlap` is {}: only a full scan finds what is later than that; set `{}` in \
             `[sync]`",
            lateness_to_text(lateness),
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

/// A lateness for "up to … late": from a minute on in whole minutes, of which a part counts as one.
#[must_use]
pub fn lateness_to_text(lateness: TimeDelta) -> String {
    let seconds = whole_seconds(lateness);
    let rounded = if seconds < 60 { seconds } else { seconds.div_ceil(60) * 60 };
    span_to_text(rounded)
}

/// `32 s`, `7 min`, `7 min 30 s`, `1 h 42 min`; a part of a second counts as one.
#[must_use]
pub fn seconds_to_text(span: TimeDelta) -> String {
    span_to_text(whole_seconds(span))
}

fn whole_seconds(span: TimeDelta) -> u64 {
    u64::try_from(span.num_milliseconds()).unwrap_or(0).div_ceil(1_000)
}

fn span_to_text(seconds: u64) -> String {
    let units = [(seconds / 3_600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<_> = units
        .iter()
        .filter(|(count, _)| *count != 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
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
            "the server shows changes up to 8 min late, and `overlap` is 10 min: only a full scan finds what is later than \
             that; set `overlap = \"15m\"` in `[sync]`"
        );
    }

    #[test]
    fn lateness_has_no_seconds_from_a_minute_on() {
        for (milliseconds, exact, rounded) in [
            (0, "0 s", "0 s"),
            (1, "1 s", "1 s"),
            (59_000, "59 s", "59 s"),
            (59_001, "1 min", "1 min"),
            (90_000, "1 min 30 s", "2 min"),
            (3_599_000, "59 min 59 s", "1 h"),
            (6_156_000, "1 h 42 min 36 s", "1 h 43 min"),
            (86_400_000, "24 h", "24 h"),
        ] {
            let span = TimeDelta::milliseconds(milliseconds);
            assert_eq!((seconds_to_text(span).as_str(), lateness_to_text(span).as_str()), (exact, rounded));
        }
    }
}
