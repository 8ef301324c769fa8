//! The watermark: up to when the local copy is complete, and when it moves.
//!
//! The functions are pure. The watermark is the server's time at the start of a verified scan. It is never
//! taken from the local clock, which may be wrong, nor from the newest row, because a row may become
//! visible later than its `last_update` (`halo-api.md` §2.4).

mod lateness;
mod scan_schedule;
mod server_clock;

use chrono::TimeDelta;
use strum::{EnumString, IntoStaticStr};

pub use lateness::{LATENESS_MAX, is_near_overlap, lateness, proposed_overlap};
pub use scan_schedule::{
    DateFilterBehavior, MAX_ZONE_DIFFERENCE, ScanHistory, ScanKind, ScanSchedule, UnverifiedFullScans,
    VerifiedFullScan, incremental_start, next_scan,
};
pub use server_clock::{ClockStep, ScanStart, clock_difference, is_start_believable, run_start};

use crate::scope::Scope;
use crate::ticket::Timestamp;

/// The watermark of a database: the one row of `watermarks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The scope that it belongs to.
    pub scope: Scope,
    /// Whether the initial load has completed.
    pub state: WatermarkState,
    /// Every listed ticket that was updated before this instant is stored.
    pub covered_until: Option<Timestamp>,
    /// The newest stored `last_update` that is not after the start of the last scan.
    pub newest_seen: Option<Timestamp>,
    /// The canary: a ticket with that `last_update`, unless more than one page shares it. Every incremental
    /// scan must bring it back; if one does not, the date filter is no longer trusted.
    pub canary: Option<i64>,
    /// What `covered_until` becomes when the initial load in progress is verified.
    pub initial_started_at: Option<Timestamp>,
    /// The greatest id that the initial load has committed.
    pub initial_last_id: Option<i64>,
}

/// Whether the local copy has ever been complete (`watermarks.state`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize, serde::Deserialize,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum WatermarkState {
    /// No full scan of this scope has been verified.
    Initial,
    /// A full scan has been verified, and incremental scans follow.
    Incremental,
}

impl WatermarkState {
    /// The word in `watermarks.state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Watermark {
    /// The watermark of an empty database.
    #[must_use]
    pub fn new(scope: Scope) -> Watermark {
        Watermark {
            scope,
            state: WatermarkState::Initial,
            covered_until: None,
            newest_seen: None,
            canary: None,
            initial_started_at: None,
            initial_last_id: None,
        }
    }
}

/// How the watermark moves after a verified scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkMove {
    /// Forward to the start of the scan.
    Advance(Timestamp),
    /// Back to the server's time, which is before the watermark; a full scan is due.
    ClockStepped(Timestamp),
    /// Not at all.
    Stay,
}

/// Decides how the watermark moves. Only the time of this session shows a step of the clock: a resumed scan that began
/// long ago may end after incremental scans moved the watermark past its start. `tolerance` is the overlap and the
/// difference of the clocks of the server's nodes, by which scans ask further back.
#[must_use]
pub fn after_verified_scan(
    covered_until: Option<Timestamp>,
    start: ScanStart,
    tolerance: TimeDelta,
) -> WatermarkMove {
    let (Some(session), Some(covers)) = (start.session, start.covers()) else { return WatermarkMove::Stay };
    match covered_until {
        Some(covered) if session < covered.minus(tolerance) => WatermarkMove::ClockStepped(session),
        Some(covered) if covers < covered => WatermarkMove::Stay,
        _ => WatermarkMove::Advance(covers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    #[test]
    fn watermark_moves_back_only_when_the_server_clock_did() {
        let overlap = TimeDelta::minutes(10);
        let once = |start| ScanStart { first: Some(start), session: Some(start) };
        let resumed = |first, session| ScanStart { first: Some(first), session: Some(session) };
        for (name, start, expected) in [
            ("later start", once(at(5)), WatermarkMove::Advance(at(5))),
            ("earlier within the overlap", once(at(-599)), WatermarkMove::Stay),
            ("earlier by the overlap", once(at(-600)), WatermarkMove::Stay),
            ("earlier by more than the overlap", once(at(-601)), WatermarkMove::ClockStepped(at(-601))),
            ("no `Date`", ScanStart::default(), WatermarkMove::Stay),
            ("resumed after incremental scans", resumed(at(-1_200), at(30)), WatermarkMove::Stay),
            ("resumed", resumed(at(10), at(30)), WatermarkMove::Advance(at(10))),
            ("stepped while interrupted", resumed(at(10), at(-601)), WatermarkMove::ClockStepped(at(-601))),
        ] {
            assert_eq!(after_verified_scan(Some(at(0)), start, overlap), expected, "{name}");
        }
        let started = resumed(at(10), at(-5_000));
        assert_eq!(after_verified_scan(None, started, overlap), WatermarkMove::Advance(at(-5_000)));
    }
}
