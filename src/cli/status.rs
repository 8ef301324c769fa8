//! `halosync status`.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::args::CliArgs;
use super::{CommandResult, print, print_json, printable};
use crate::app::{self, ExitStatus, LoadedConfig, StatusReport};
use crate::ticket::Timestamp;

pub(super) fn status(arguments: &CliArgs, loaded: &LoadedConfig, max_age: Option<Duration>) -> CommandResult {
    let status = app::status(loaded)?;
    let fresh = max_age.is_none_or(|max| is_fresh(&status, max));
    if arguments.json {
        print_json(&to_json(&status, fresh))?;
    } else {
        print(&to_text(&status))?;
    }
    Ok(if fresh { ExitStatus::Ok } else { ExitStatus::NotFresh })
}

/// Up to here a write-ahead log is as large as SQLite lets it become by itself, in bytes.
const LARGE_WAL_BYTES: u64 = 8 << 20;

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn is_fresh(status: &StatusReport, max: Duration) -> bool {
    let max = TimeDelta::from_std(max).unwrap_or(TimeDelta::MAX);
    age(status, status.health.last_complete_at).is_some_and(|age| age <= max)
}

fn age(status: &StatusReport, at: Option<Timestamp>) -> Option<TimeDelta> {
    at.map(|at| status.now.instant() - at.instant())
}

/// `2026-11-22T12:00:00.000Z (5m ago)`, or `never`.
fn format_time_with_age(status: &StatusReport, at: Option<Timestamp>) -> String {
    let Some((at, age)) = at.zip(age(status, at)) else { return "never".into() };
    let ago = Duration::from_secs(u64::try_from(age.num_seconds()).unwrap_or(0));
    format!("{at} ({} ago)", humantime::format_duration(ago))
}

/// `OK`, or `ATTENTION` with every reason.
fn health_line(status: &StatusReport) -> String {
    let reasons: Vec<_> =
        status.assess(None).reasons.iter().map(|reason| printable(&reason.to_string())).collect();
    if reasons.is_empty() { "OK\n".into() } else { format!("ATTENTION: {}\n", reasons.join("; ")) }
}

fn to_text(status: &StatusReport) -> String {
    let health = &status.health;
    let watermark = health.watermark.as_ref();
    let state = match watermark.map(|mark| mark.state.as_str()) {
        Some("incremental") => "following: the copy was complete once, changes are followed",
        Some(_) => "filling: the copy has never been complete",
        None => "empty: nothing was copied yet",
    };
    let mut text = health_line(status);
    let mut line = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:<16} {value}");
    };
    line("database", status.database.display().to_string());
    let holders = &status.holders;
    let service = holders.writer.map_or("not running".to_owned(), |pid| format!("at work, pid {pid}"));
    line("agent", service);
    line("server", watermark.map_or("none".into(), |mark| printable(&mark.scope.server)));
    line("state", state.into());
    line("complete until", format_time_with_age(status, watermark.and_then(|mark| mark.covered_until)));
    line("last complete", format_time_with_age(status, health.last_complete_at));
    let full = health.last_full_scan.as_ref();
    let full_outcome = full.map_or(String::new(), |scan| format!(", {}", scan.outcome.as_str()));
    line("last full walk", format_time_with_age(status, full.map(|scan| scan.ended_at)) + &full_outcome);
    if let Some(scan) = &health.last_scan {
        let stats = &scan.stats;
        let server_count = stats.record_count.map_or("no count".to_owned(), |count| count.to_string());
        let reads_note =
            if 1 < stats.reads { format!(", read {} times", stats.reads) } else { String::new() };
        line(
            "last walk",
            format!(
                "{}, {}: {} tickets, the server counts {server_count}{reads_note}",
                scan.kind.as_str(), scan.outcome.as_str(), stats.unique_ids
            ),
        );
    }
    if let Some(scan) = &health.interrupted_scan {
        let received = scan.checkpoint.ids.len() + scan.earlier_list_ids.len();
        let since = format_time_with_age(status, Some(scan.started_at));
        line(
            "interrupted walk",
            format!("{received} tickets received since {since}; it goes on with the next full walk"),
        );
    }
    for it in &health.probes {
        let details = it.details.as_deref().map_or(String::new(), |it| format!(": {}", printable(it)));
        let since = format_time_with_age(status, Some(it.probed_at));
        line(&it.probe.as_str().replace('_', " "), format!("{}{details}; since {since}", it.result));
    }
    line("newest update", format_time_with_age(status, watermark.and_then(|mark| mark.newest_seen)));
    line("tickets", health.tickets.to_string());
    line("changes", health.last_seq.to_string());
    line(
        "open questions",
        format!(
            "{} pending fetches, {} unlisted tickets, {} rejects",
            health.pending_fetches, health.unlisted_tickets, health.rejects
        ),
    );
    if 0 < health.unreadable {
        line("unreadable", format!("the server refuses the custom fields of {} tickets", health.unreadable));
    }
    line("size", format!("{}, log {}", megabytes(status.database_bytes), megabytes(status.wal_bytes)));
    if LARGE_WAL_BYTES < status.wal_bytes {
        for reader in &holders.readers {
            let program =
                reader.program.as_deref().map_or(String::new(), |it| format!(" ({})", printable(it)));
            line("reader", format!("pid {}{program} keeps the log from shrinking", reader.pid));
        }
    }
    for (consumer, position, waiting) in &status.consumers {
        let acked = position.acked_seq;
        line(
            "consumer",
            format!(
                "{consumer}: {waiting} changes wait, packages reach {}, taken up to {acked}",
                position.exported_seq
            ),
        );
    }
    for run in &health.runs {
        let outcome = run.outcome.map_or("under way, or killed", |it| it.as_str());
        let ChangeCounts { created, updated, deleted } = run.changes;
        let error = run.error.as_deref().map_or(String::new(), |error| format!(": {}", printable(error)));
        line(
            "pass",
            format!(
                "{} {} {outcome}, {} requests, {created} created, {updated} updated, {deleted} deleted{error}",
                run.started_at, run.kind.as_str(), run.requests
            ),
        );
    }
    text
}

fn to_json(status: &StatusReport, fresh: bool) -> Value {
    let assessment = status.assess(None);
    let health = &status.health;
    let watermark = health.watermark.as_ref();
    let format_time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let age_seconds = |at| age(status, at).map(|age| age.num_seconds());
    json!({
        "database": status.database.display().to_string(),
        "health": assessment.level(),
        "reasons": assessment.reasons,
        "fresh": fresh,
        "service_pid": status.holders.writer,
        "database_bytes": status.database_bytes,
        "wal_bytes": status.wal_bytes,
        "readers": status.holders.readers.iter().map(|reader| json!({
            "pid": reader.pid,
            "program": reader.program,
        })).collect::<Vec<_>>(),
        "state": watermark.map_or("empty", |mark| mark.state.as_str()),
        "server": watermark.map(|mark| &mark.scope.server),
        "covered_until": format_time(watermark.and_then(|mark| mark.covered_until)),
        "covered_age_seconds": age_seconds(watermark.and_then(|mark| mark.covered_until)),
        "newest_seen": format_time(watermark.and_then(|mark| mark.newest_seen)),
        "last_complete_at": format_time(health.last_complete_at),
        "last_complete_age_seconds": age_seconds(health.last_complete_at),
        "last_full_at": format_time(health.last_full_scan.as_ref().map(|scan| scan.ended_at)),
        "last_full_outcome": health.last_full_scan.as_ref().map(|scan| scan.outcome.as_str()),
        "last_scan": health.last_scan.as_ref().map(|scan| json!({
            "kind": scan.kind.as_str(),
            "outcome": scan.outcome.as_str(),
            "pages": scan.stats.pages,
            "unique_ids": scan.stats.unique_ids,
            "record_count": scan.stats.record_count,
            "count_fell": scan.stats.count_fell,
            "reads": scan.stats.reads,
        })),
        "interrupted_scan": health.interrupted_scan.as_ref().map(|scan| json!({
            "started_at": scan.started_at.to_string(),
            "received": scan.checkpoint.ids.len() + scan.earlier_list_ids.len(),
        })),
        "tickets": health.tickets,
        "last_seq": health.last_seq,
        "pending_fetches": health.pending_fetches,
        "unreadable": health.unreadable,
        "unlisted_tickets": health.unlisted_tickets,
        "rejects": health.rejects,
        "probes": health.probes.iter().map(|it| json!({
            "probe": it.probe.as_str(),
            "result": it.result,
            "details": it.details,
            "probed_at": it.probed_at.to_string(),
        })).collect::<Vec<_>>(),
        "consumers": status.consumers.iter().map(|(name, position, waiting)| json!({
            "name": name,
            "exported_seq": position.exported_seq,
            "acked_seq": position.acked_seq,
            "waiting": waiting,
        })).collect::<Vec<_>>(),
        "runs": health.runs.iter().map(|run| json!({
            "run_id": run.run_id,
            "kind": run.kind.as_str(),
            "outcome": run.outcome.map(|it| it.as_str()),
            "error": run.error,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "requests": run.requests,
            "created": run.changes.created,
            "updated": run.changes.updated,
            "deleted": run.changes.deleted,
        })).collect::<Vec<_>>(),
    })
}
