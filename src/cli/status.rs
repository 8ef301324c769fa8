//! `halosync status`.

use std::time::Duration;

use chrono::TimeDelta;
use indicatif::{HumanCount, HumanDuration};
use serde::Serialize;

use super::args::CliArgs;
use super::export::consumer_to_text;
use super::{CommandResult, format_time, print_report, printable};
use crate::app::{
    self, ExitStatus, HealthLevel, HealthReason, LastRun, LastScan, LoadedConfig, ReaderProcess, RunStatus,
    ServerProbe, StatusReport, count,
};
use crate::ticket::{ChangeCounts, Timestamp};

pub(super) fn status(arguments: &CliArgs, loaded: &LoadedConfig, max_age: Option<Duration>) -> CommandResult {
    let status = app::status(loaded)?;
    let fresh = max_age.is_none_or(|max| is_fresh(&status, max));
    print_report(arguments, &StatusJson::new(&status, fresh), &to_text(&status))?;
    Ok(if fresh { ExitStatus::Ok } else { ExitStatus::NotFresh })
}

/// Size that SQLite lets a write-ahead log reach before it starts over, in bytes; a larger one has a reader.
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

/// `2026-11-22T12:00:00Z (5 minutes ago)`, or `never`.
fn format_time_with_age(status: &StatusReport, at: Option<Timestamp>) -> String {
    let Some((at, age)) = at.zip(age(status, at)) else { return "never".into() };
    let ago = Duration::from_secs(u64::try_from(age.num_seconds()).unwrap_or(0));
    format!("{} ({} ago)", format_time(at), HumanDuration(ago))
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
        Some("incremental") => "incremental: the initial load is complete, runs fetch what changed",
        Some(_) => "initial: the initial load is not complete yet",
        None => "empty: nothing was synced yet",
    };
    let mut text = health_line(status);
    let mut line = |name: &str, value: String| text += &format!("{name:<17} {value}\n");
    line("database", status.database.display().to_string());
    let holders = &status.holders;
    let service = holders.writer.map_or("not running".to_owned(), |pid| format!("running, pid {pid}"));
    line("service", service);
    line("server", watermark.map_or("none".into(), |mark| printable(&mark.scope.server)));
    line("state", state.into());
    line("complete until", format_time_with_age(status, watermark.and_then(|mark| mark.covered_until)));
    line("last complete run", format_time_with_age(status, health.last_complete_at));
    let full = health.last_full_scan.as_ref();
    let full_outcome = full.map_or(String::new(), |scan| {
        let accepted = if scan.is_accepted() { ", accepted" } else { "" };
        let unconfirmed = if scan.needs_confirmation { "; its first part is not yet confirmed" } else { "" };
        format!(", {}{accepted}{unconfirmed}", scan.outcome.as_str())
    });
    line("last full scan", format_time_with_age(status, full.map(|scan| scan.ended_at)) + &full_outcome);
    if let Some(last_scan) = &health.last_scan {
        line("last scan", format_last_scan(last_scan));
    }
    if let Some(scan) = &health.interrupted_scan {
        let received = count(scan.received(), "ticket");
        let since = format_time_with_age(status, Some(scan.started_at));
        let help = "run `halosync sync` again to continue";
        line("interrupted scan", format!("{received} received since {since}; {help}"));
    }
    for it in &health.probes {
        let details = it.details.as_deref().map_or(String::new(), |it| format!(": {}", printable(it)));
        let since = format_time_with_age(status, Some(it.probed_at));
        line(&it.probe.as_str().replace('_', " "), format!("{}{details}; probed {since}", it.result));
    }
    line("newest update", format_time_with_age(status, watermark.and_then(|mark| mark.newest_seen)));
    line("tickets", HumanCount(health.tickets).to_string());
    line("newest change", health.last_seq.to_string());
    line("pending tickets", HumanCount(health.pending_tickets).to_string());
    line("pending fetches", HumanCount(health.pending_fetches).to_string());
    line("unlisted tickets", HumanCount(health.unlisted_tickets).to_string());
    line("rejects", HumanCount(health.rejects).to_string());
    if 0 < health.unreadable {
        let tickets = count(health.unreadable, "ticket");
        line("unreadable", format!("the server refuses the custom fields of {tickets}"));
    }
    let sizes = (megabytes(status.database_bytes), megabytes(status.wal_bytes));
    line("size", format!("{}, write-ahead log {}", sizes.0, sizes.1));
    if LARGE_WAL_BYTES < status.wal_bytes {
        for reader in &holders.readers {
            let program =
                reader.program.as_deref().map_or(String::new(), |it| format!(" ({})", printable(it)));
            line("reader", format!("pid {}{program} keeps the log from shrinking", reader.pid));
        }
    }
    for (consumer, position, waiting) in &status.consumers {
        line("consumer", consumer_to_text(consumer, *waiting, position.exported_seq, position.acked_seq));
    }
    for run in &health.runs {
        line("run", format_run(run));
    }
    text
}

fn format_last_scan(scan: &LastScan) -> String {
    let read = &scan.stats;
    let server_count = read.record_count.map_or("no count".to_owned(), |number| count(number, "ticket"));
    let reads_note = if 1 < read.reads { format!("; read {} times", read.reads) } else { String::new() };
    let received = count(read.unique_ids, "ticket");
    let (kind, outcome) = (scan.kind.as_str(), scan.outcome.as_str());
    format!("{kind}, {outcome}: {received} received, the server reports {server_count}{reads_note}")
}

fn format_run(run: &LastRun) -> String {
    let started_at = run.started_at.get(..19).unwrap_or(&run.started_at);
    let outcome = run.outcome.map_or("running, or killed", RunStatus::as_str);
    let requests = count(run.requests.unsigned_abs(), "request");
    let ChangeCounts { created, updated, deleted } = run.changes;
    let [created, updated, deleted] = [created, updated, deleted].map(HumanCount);
    let error = run.error.as_deref().map_or(String::new(), |error| format!(": {}", printable(error)));
    format!(
        "{started_at}Z {} {outcome}, {requests}, {created} created, {updated} updated, {deleted} deleted{error}",
        run.kind.as_str()
    )
}

/// The report of `docs/status.schema.json`.
#[derive(Serialize)]
struct StatusJson<'a> {
    database: String,
    health: HealthLevel,
    reasons: Vec<HealthReason>,
    fresh: bool,
    service_pid: Option<u32>,
    database_bytes: u64,
    wal_bytes: u64,
    readers: &'a [ReaderProcess],
    state: &'static str,
    server: Option<&'a str>,
    covered_until: Option<Timestamp>,
    covered_age_seconds: Option<i64>,
    newest_seen: Option<Timestamp>,
    last_complete_at: Option<Timestamp>,
    last_complete_age_seconds: Option<i64>,
    last_full_at: Option<Timestamp>,
    last_full_outcome: Option<&'static str>,
    last_scan: Option<&'a LastScan>,
    interrupted_scan: Option<InterruptedScanJson>,
    tickets: u64,
    last_seq: i64,
    pending_tickets: u64,
    pending_fetches: u64,
    unreadable: u64,
    unlisted_tickets: u64,
    rejects: u64,
    probes: &'a [ServerProbe],
    consumers: Vec<ConsumerPositionJson<'a>>,
    runs: &'a [LastRun],
}

#[derive(Serialize)]
struct InterruptedScanJson {
    started_at: Timestamp,
    received: u64,
}

#[derive(Serialize)]
struct ConsumerPositionJson<'a> {
    name: &'a str,
    exported_seq: i64,
    acked_seq: i64,
    waiting: i64,
}

impl<'a> StatusJson<'a> {
    fn new(status: &'a StatusReport, fresh: bool) -> StatusJson<'a> {
        let assessment = status.assess(None);
        let health = &status.health;
        let watermark = health.watermark.as_ref();
        let full = health.last_full_scan.as_ref();
        let interrupted = health.interrupted_scan.as_ref();
        let covered_until = watermark.and_then(|mark| mark.covered_until);
        let age_seconds = |at| age(status, at).map(|age| age.num_seconds());
        let consumers = status.consumers.iter().map(|(name, position, waiting)| ConsumerPositionJson {
            name,
            exported_seq: position.exported_seq,
            acked_seq: position.acked_seq,
            waiting: *waiting,
        });
        StatusJson {
            database: status.database.display().to_string(),
            health: assessment.level(),
            reasons: assessment.reasons,
            fresh,
            service_pid: status.holders.writer,
            database_bytes: status.database_bytes,
            wal_bytes: status.wal_bytes,
            readers: &status.holders.readers,
            state: watermark.map_or("empty", |mark| mark.state.as_str()),
            server: watermark.map(|mark| mark.scope.server.as_str()),
            covered_until,
            covered_age_seconds: age_seconds(covered_until),
            newest_seen: watermark.and_then(|mark| mark.newest_seen),
            last_complete_at: health.last_complete_at,
            last_complete_age_seconds: age_seconds(health.last_complete_at),
            last_full_at: full.map(|scan| scan.ended_at),
            last_full_outcome: full.map(|scan| scan.outcome.as_str()),
            last_scan: health.last_scan.as_ref(),
            interrupted_scan: interrupted
                .map(|it| InterruptedScanJson { started_at: it.started_at, received: it.received() }),
            tickets: health.tickets,
            last_seq: health.last_seq,
            pending_tickets: health.pending_tickets,
            pending_fetches: health.pending_fetches,
            unreadable: health.unreadable,
            unlisted_tickets: health.unlisted_tickets,
            rejects: health.rejects,
            probes: &health.probes,
            consumers: consumers.collect(),
            runs: &health.runs,
        }
    }
}
