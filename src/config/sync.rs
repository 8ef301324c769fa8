//! `[sync]`: schedule and safety limits of runs.

use std::time::Duration;

use chrono::TimeDelta;

use super::reader::Section;

/// `[sync]`: schedule and safety limits of runs.
#[derive(Debug)]
pub struct SyncConfig {
    /// Interval between runs of the service.
    pub interval: Duration,
    /// Fraction of the interval by which it varies at random.
    pub jitter: f64,
    /// How far before the watermark an incremental scan starts.
    pub overlap: TimeDelta,
    /// Interval between full scans; `None` means no regular full scans.
    pub full_every: Option<Duration>,
    /// Fraction of the tickets that may be deleted by one full scan.
    pub delete_guard: f64,
    /// Number of tickets that a full scan may lack compared with the server's count.
    pub accept_shortfall: u32,
}

impl SyncConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> SyncConfig {
        SyncConfig {
            interval: section.duration("interval", Duration::from_mins(5)),
            jitter: section.percentage("jitter", 0.1),
            overlap: TimeDelta::from_std(section.duration("overlap", Duration::from_mins(10)))
                .unwrap_or(TimeDelta::minutes(10)),
            full_every: section.duration_or("full_every", "24h", "off", Some(Duration::from_hours(24))),
            delete_guard: section.percentage("delete_guard", 0.05),
            accept_shortfall: section.integer("accept_shortfall", 0..=u32::MAX, 0),
        }
    }
}
