//! The metrics of the service in Prometheus' text format.
//!
//! Each text has a recorder of its own, so that a forgotten consumer leaves no series behind.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::app::{HealthLevel, StatusReport};
use crate::halo::RequestStats;
use crate::ticket::Timestamp;

/// Runs since the process started, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunOutcomeCounts {
    pub(super) complete: u64,
    pub(super) incomplete: u64,
    pub(super) failed: u64,
}

/// What happened since the process started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessStats {
    pub(super) run_counts: RunOutcomeCounts,
    /// Runs in a row that failed or were incomplete.
    pub(super) failures: u32,
    pub(super) last_duration: Option<Duration>,
    /// The result of the last integrity check, if there was one.
    pub(super) database_ok: Option<bool>,
}

/// The values of all metrics.
#[derive(Debug)]
pub(super) struct MetricsSnapshot {
    /// The state of the database; `None` if it cannot be read.
    pub(super) status: Option<StatusReport>,
    pub(super) process: ProcessStats,
    pub(super) interval: Duration,
    pub(super) request_stats: RequestStats,
}

/// The gauges with their HELP texts.
const GAUGES: [(&str, &str); 28] = [
    ("halosync_build_info", "Always 1; the label has the version"),
    ("halosync_interval_seconds", "The interval at which runs start"),
    (
        "halosync_last_success_timestamp_seconds",
        "When the last complete run ended, by the local clock; 0 means never",
    ),
    (
        "halosync_last_full_scan_timestamp_seconds",
        "When the last verified full scan ended, by the local clock; 0 means never",
    ),
    (
        "halosync_watermark_timestamp_seconds",
        "The time until which the data is complete, by the server's clock; 0 means not yet",
    ),
    ("halosync_watermark_lag_seconds", "The age of the watermark, by the local clock"),
    ("halosync_tickets", "Tickets in the database"),
    ("halosync_pending_tickets", "Tickets that the server lists and that could not be read"),
    ("halosync_pending_fetches", "Single-ticket requests that are still to be made"),
    ("halosync_unreadable_tickets", "Tickets whose custom fields the server refuses"),
    (
        "halosync_unlisted_tickets",
        "Tickets that the server no longer lists, and that are not confirmed as deleted",
    ),
    ("halosync_rejects", "Values and rows that could not be stored as received"),
    (
        "halosync_new_unmapped_fields",
        "Fields that are not stored, and that the server sends for at most seven days",
    ),
    (
        "halosync_lateness_seconds",
        "How late the most delayed change of the last 24 hours became visible, by the server's clock; 0 means none was late",
    ),
    ("halosync_consecutive_failures", "Runs in a row that failed or were incomplete"),
    ("halosync_last_run_duration_seconds", "The duration of the last run"),
    ("halosync_export_exported_seq", "The last change that the packages of a consumer contain"),
    ("halosync_export_acked_seq", "The last change that a consumer has acknowledged"),
    ("halosync_export_waiting_changes", "Changes that no package of a consumer contains yet"),
    ("halosync_lake_shipped_seq", "The last change up to which everything is in the lake"),
    (
        "halosync_lake_shipped_timestamp_seconds",
        "When the last push ended that shipped everything, by the local clock; 0 means never",
    ),
    ("halosync_lake_waiting_packages", "Packages that are made and not in the lake"),
    ("halosync_lake_waiting_bytes", "The size of those packages"),
    ("halosync_lake_push_failures", "Pushes in a row that failed"),
    ("halosync_database_bytes", "The size of the database file"),
    ("halosync_wal_bytes", "The size of the write-ahead log"),
    ("halosync_database_ok", "Whether the last integrity check passed (1) or found damage (0)"),
    ("halosync_healthy", "Whether health is OK (1) or needs ATTENTION (0), as in `halosync status`"),
];

/// The counters with their HELP texts.
const COUNTERS: [(&str, &str); 5] = [
    ("halosync_changes_total", "Changes ever recorded in the database"),
    ("halosync_runs_total", "Runs since the process started, by outcome"),
    (
        "halosync_requests_total",
        "Requests since the process started, by HTTP status; none: there was no response",
    ),
    ("halosync_retries_total", "Requests that were retries"),
    (
        "halosync_rate_limited_seconds_total",
        "How long the server asked to wait (429, or 503 with Retry-After)",
    ),
];

/// Renders the metrics in the text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
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
    let ProcessStats { run_counts, failures, last_duration, database_ok } = snapshot.process;
    gauge!("halosync_consecutive_failures").set(failures);
    if let Some(took) = last_duration {
        gauge!("halosync_last_run_duration_seconds").set(took);
    }
    let RunOutcomeCounts { complete, incomplete, failed } = run_counts;
    for (outcome, runs) in [("complete", complete), ("incomplete", incomplete), ("failed", failed)] {
        counter!("halosync_runs_total", "outcome" => outcome).absolute(runs);
    }
    for (status, requests) in &snapshot.request_stats.by_status {
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        counter!("halosync_requests_total", "status" => status).absolute(*requests);
    }
    counter!("halosync_retries_total").absolute(snapshot.request_stats.counts.retries);
    counter!("halosync_rate_limited_seconds_total").absolute(snapshot.request_stats.total_pause.as_secs());
    if let Some(ok) = database_ok {
        gauge!("halosync_database_ok").set(u8::from(ok));
    }
    // A database that cannot be read needs attention, too.
    let health = snapshot.status.as_ref().map(|status| status.assess(database_ok).level());
    gauge!("halosync_healthy").set(u8::from(health == Some(HealthLevel::Ok)));
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
    gauge!("halosync_pending_tickets").set(to_f64(health.pending_tickets.count));
    gauge!("halosync_pending_fetches").set(to_f64(health.pending_fetches));
    gauge!("halosync_unreadable_tickets").set(to_f64(health.unreadable));
    gauge!("halosync_unlisted_tickets").set(to_f64(health.unlisted_tickets));
    gauge!("halosync_rejects").set(to_f64(health.rejects));
    gauge!("halosync_new_unmapped_fields").set(to_f64(status.new_fields().len() as u64));
    gauge!("halosync_lateness_seconds")
        .set(status.lateness_of_day.map_or(0.0, |late| late.late_by.as_seconds_f64()));
    if let Some(lake) = &status.lake {
        let pushes = lake.pushes.as_ref();
        gauge!("halosync_lake_shipped_seq").set(to_f64(u64::try_from(lake.to_seq).unwrap_or(0)));
        gauge!("halosync_lake_shipped_timestamp_seconds")
            .set(seconds(pushes.and_then(|pushes| pushes.succeeded_at)));
        gauge!("halosync_lake_waiting_packages").set(to_f64(lake.waiting.packages));
        gauge!("halosync_lake_waiting_bytes").set(to_f64(lake.waiting.bytes));
        gauge!("halosync_lake_push_failures").set(pushes.map_or(0, |pushes| pushes.failures));
    }
    counter!("halosync_changes_total").absolute(u64::try_from(health.last_seq).unwrap_or(0));
    for (consumer, position, waiting) in &status.consumers {
        let label = || consumer.clone();
        let number = |seq: i64| to_f64(u64::try_from(seq).unwrap_or(0));
        gauge!("halosync_export_exported_seq", "consumer" => label()).set(number(position.exported_seq));
        gauge!("halosync_export_acked_seq", "consumer" => label()).set(number(position.acked_seq));
        gauge!("halosync_export_waiting_changes", "consumer" => label()).set(number(*waiting));
    }
}

/// Seconds since 1970, with milliseconds; 0 for never.
fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| to_f64(u64::try_from(at.instant().timestamp_millis()).unwrap_or(0)) / 1000.0)
}

/// Converts a count for a gauge, which is a double.
#[expect(clippy::cast_precision_loss, reason = "no count here reaches 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
