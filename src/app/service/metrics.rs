//! The figures of the service as Prometheus reads them: values in, text out.
//!
//! The recorder is made anew for each text, so that a consumer who was forgotten leaves no figure behind.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::app::StatusReport;
use crate::halo::RequestStats;
use crate::ticket::Timestamp;

/// How passes ended since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunOutcomeCounts {
    pub(super) complete: u64,
    pub(super) incomplete: u64,
    pub(super) failed: u64,
}

/// Everything that is exposed.
#[derive(Debug)]
pub(super) struct MetricsSnapshot {
    /// The copy; `None` where the database cannot be read.
    pub(super) status: Option<StatusReport>,
    pub(super) run_counts: RunOutcomeCounts,
    /// Passes in a row that were not complete.
    pub(super) failures: u32,
    pub(super) last_duration: Option<Duration>,
    pub(super) interval: Duration,
    pub(super) request_stats: RequestStats,
    /// What the last inspection of the database came to, where there was one.
    pub(super) database_ok: Option<bool>,
}

/// The names, which tell the unit, and what they are.
const GAUGES: [(&str, &str); 19] = [
    ("halosync_build_info", "1; the label tells the version"),
    ("halosync_interval_seconds", "How often a pass is due"),
    (
        "halosync_last_success_timestamp_seconds",
        "When a pass last ended complete, by the local clock; 0 is never",
    ),
    (
        "halosync_last_full_scan_timestamp_seconds",
        "When a walk over every ticket was last counted, by the local clock; 0 is never",
    ),
    (
        "halosync_watermark_timestamp_seconds",
        "Up to when the copy is complete, by the server's clock; 0 is not yet",
    ),
    ("halosync_watermark_lag_seconds", "How far that lies behind now, by the local clock"),
    ("halosync_tickets", "Tickets present"),
    ("halosync_pending_fetches", "Tickets whose custom fields are still owed"),
    ("halosync_unreadable_tickets", "Tickets whose custom fields the server refuses"),
    ("halosync_unlisted_tickets", "Tickets that the list does not show, and that are kept"),
    ("halosync_rejects", "Values and rows that could not be taken"),
    ("halosync_consecutive_failures", "Passes in a row that were not complete"),
    ("halosync_last_run_duration_seconds", "How long the last pass took"),
    ("halosync_export_exported_seq", "The change that the packages of a consumer reach"),
    ("halosync_export_acked_seq", "The change up to which a consumer has taken its packages"),
    ("halosync_export_waiting_changes", "Changes that no package of a consumer holds yet"),
    ("halosync_database_bytes", "The size of the database file"),
    ("halosync_wal_bytes", "The size of the write-ahead log beside it"),
    ("halosync_database_ok", "Whether the last daily inspection found the database sound (1) or not (0)"),
];

const COUNTERS: [(&str, &str); 5] = [
    ("halosync_changes_total", "Changes recorded in the database, ever"),
    ("halosync_runs_total", "Passes since the process began, by how they ended"),
    (
        "halosync_requests_total",
        "Requests since the process began, by the HTTP status of their answer; none: no answer came",
    ),
    ("halosync_retries_total", "Requests that repeated an earlier one"),
    (
        "halosync_rate_limited_seconds_total",
        "For how long the server asked to wait (429, or 503 with Retry-After)",
    ),
];

/// The figures in the text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
pub(super) fn render_metrics(snapshot: &MetricsSnapshot) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        for (name, text) in GAUGES {
            describe_gauge!(name, text);
        }
        for (name, text) in COUNTERS {
            describe_counter!(name, text);
        }
        gauge!("halosync_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        set_process_metrics(snapshot);
        if let Some(status) = &snapshot.status {
            set_store_metrics(status);
        }
    });
    recorder.handle().render()
}

fn set_process_metrics(snapshot: &MetricsSnapshot) {
    gauge!("halosync_interval_seconds").set(snapshot.interval);
    gauge!("halosync_consecutive_failures").set(snapshot.failures);
    if let Some(took) = snapshot.last_duration {
        gauge!("halosync_last_run_duration_seconds").set(took);
    }
    let RunOutcomeCounts { complete, incomplete, failed } = snapshot.run_counts;
    for (outcome, runs) in [("complete", complete), ("incomplete", incomplete), ("failed", failed)] {
        counter!("halosync_runs_total", "outcome" => outcome).absolute(runs);
    }
    for (status, requests) in &snapshot.request_stats.by_status {
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        counter!("halosync_requests_total", "status" => status).absolute(*requests);
    }
    counter!("halosync_retries_total").absolute(snapshot.request_stats.counts.retries);
    counter!("halosync_rate_limited_seconds_total").absolute(snapshot.request_stats.total_pause.as_secs());
    if let Some(ok) = snapshot.database_ok {
        gauge!("halosync_database_ok").set(u8::from(ok));
    }
}

fn set_store_metrics(status: &StatusReport) {
    let health = &status.health;
    let covered_until = health.watermark.as_ref().and_then(|watermark| watermark.covered_until);
    gauge!("halosync_last_success_timestamp_seconds").set(seconds(health.last_complete_at));
    gauge!("halosync_last_full_scan_timestamp_seconds")
        .set(seconds(health.last_full_scan.as_ref().map(|scan| scan.ended_at)));
    gauge!("halosync_watermark_timestamp_seconds").set(seconds(covered_until));
    if let Some(covered_until) = covered_until {
        let lag = status.now.instant() - covered_until.instant();
        gauge!("halosync_watermark_lag_seconds").set(lag.to_std().unwrap_or_default());
    }
    gauge!("halosync_database_bytes").set(to_f64(status.database_bytes));
    gauge!("halosync_wal_bytes").set(to_f64(status.wal_bytes));
    gauge!("halosync_tickets").set(to_f64(health.tickets));
    gauge!("halosync_pending_fetches").set(to_f64(health.pending_fetches));
    gauge!("halosync_unreadable_tickets").set(to_f64(health.unreadable));
    gauge!("halosync_unlisted_tickets").set(to_f64(health.unlisted_tickets));
    gauge!("halosync_rejects").set(to_f64(health.rejects));
    counter!("halosync_changes_total").absolute(u64::try_from(health.last_seq).unwrap_or(0));
    for (consumer, position, waiting) in &status.consumers {
        let label = || consumer.clone();
        let number = |seq: i64| to_f64(u64::try_from(seq).unwrap_or(0));
        gauge!("halosync_export_exported_seq", "consumer" => label()).set(number(position.exported_seq));
        gauge!("halosync_export_acked_seq", "consumer" => label()).set(number(position.acked_seq));
        gauge!("halosync_export_waiting_changes", "consumer" => label()).set(number(*waiting));
    }
}

/// Seconds since 1970, to the millisecond; 0 for never.
fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| to_f64(u64::try_from(at.instant().timestamp_millis()).unwrap_or(0)) / 1000.0)
}

/// A gauge is a double: it counts exactly to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "no count here reaches 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
