//! `halosync sync`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, SyncArgs};
use super::error_output::print_interruption;
use super::{
    CommandError, CommandResult, block_on, export, format_time, print_report, progress, stop_signal,
};
use crate::app::{self, AppError, DeltaSummary, ExitStatus, LoadedConfig, SyncOptions, count};
use crate::sync::{Progress, RunOutcome, RunReport};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::ScanKind;

pub(super) fn sync(arguments: &CliArgs, loaded: &LoadedConfig, args: &SyncArgs) -> CommandResult {
    let options = SyncOptions { full: args.full, accept_deletes: args.accept_deletes, dry_run: args.dry_run };
    let progress = Arc::new(LastTotal { inner: progress::progress(arguments), total: AtomicU64::new(0) });
    let result = block_on(async {
        Ok::<_, CommandError>(app::sync(loaded, options, progress.clone(), stop_signal()).await?)
    });
    let report = match result {
        Err(CommandError::App(error @ AppError::Stopped(_))) => {
            let total = progress.total.load(Ordering::Relaxed);
            drop(progress);
            let saved = if args.dry_run { "Nothing was stored".into() } else { saved_so_far(loaded, total) };
            let help = "run `halosync sync` again to continue";
            print_interruption(&saved, help, error.exit_status(), arguments.json);
            return Ok(error.exit_status());
        }
        result => result?,
    };
    // The run is reported even if the export fails.
    let export_result = if report.dry_run { Ok(None) } else { app::export_delta_if_due(loaded) };
    let delta = export_result.as_ref().ok().and_then(Option::as_ref);
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(reason) = report.outcome.reason() {
        tracing::warn!("incomplete: {reason}");
    }
    let text = to_text(&report) + &delta.map_or(String::new(), export::to_text);
    print_report(arguments, &SyncJson { run: RunReportJson::new(&report), export: delta }, &text)?;
    export_result?;
    Ok(if report.outcome == RunOutcome::Complete { ExitStatus::Ok } else { ExitStatus::Incomplete })
}

/// Remembers the server's count of the list for the message of an interruption.
struct LastTotal {
    inner: Arc<dyn Progress>,
    total: AtomicU64,
}

impl Progress for LastTotal {
    fn received(&self, rows: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.total.store(total, Ordering::Relaxed);
        }
        self.inner.received(rows, total);
    }
}

/// What an interrupted run leaves in the database; `total` is the server's count of the list, 0 if unknown.
fn saved_so_far(loaded: &LoadedConfig, total: u64) -> String {
    let scan = app::status(loaded).ok().and_then(|status| status.health.interrupted_scan);
    let received = scan.map_or(0, |scan| scan.received());
    match received {
        0 => "The changes received so far are saved".to_owned(),
        received if received < total => {
            format!("{} of {} are saved", HumanCount(received), count(total, "ticket"))
        }
        1 => "1 ticket is saved".to_owned(),
        received => format!("{} are saved", count(received, "ticket")),
    }
}

/// Formats a run as a few lines.
pub(super) fn to_text(report: &RunReport) -> String {
    let RunReport { run_stats: run, scan_stats, .. } = report;
    let verb = if report.dry_run { "would be stored" } else { "stored" };
    let (headline, advice) = match &report.outcome {
        RunOutcome::Complete => {
            (format!("complete: {} {verb}", count(report.tickets, "ticket")), String::new())
        }
        RunOutcome::Incomplete(why) => {
            let watermark = if report.moved_watermark { "moved" } else { "did not move" };
            (
                format!("incomplete: {why}"),
                format!(
                    "  Everything received is stored; the watermark {watermark}. The next run tries again.\n"
                ),
            )
        }
        outcome @ RunOutcome::ScopeGuard { .. } => (
            format!("incomplete, nothing changed: {}", outcome.reason().unwrap_or_default()),
            format!("  {}\n", outcome.help().unwrap_or_default()),
        ),
        outcome @ RunOutcome::DeleteGuard { .. } => (
            format!("incomplete, nothing deleted: {}", outcome.reason().unwrap_or_default()),
            format!("  {}\n", outcome.help().unwrap_or_default()),
        ),
    };
    let ChangeCounts { created, updated, deleted } = run.changes;
    let [created, updated, deleted] = [created, updated, deleted].map(HumanCount);
    let kind = report.scan_kind.as_str();
    let from = match report.scan_kind {
        ScanKind::Full => "every ticket".to_owned(),
        ScanKind::Incremental { from } => format!("updated since {}", format_time(from)),
    };
    let (received, pages) = (count(scan_stats.unique_ids, "ticket"), count(scan_stats.pages, "page"));
    let server_count =
        scan_stats.record_count.map_or("no count".to_owned(), |number| count(number, "ticket"));
    let [requests, list_requests, retries] = [run.requests, run.list_requests, run.retries].map(HumanCount);
    let complete_until = report.covered_until.map_or("not yet".to_owned(), format_time);
    format!(
        "{headline}\n  \
         changes    {created} created, {updated} updated, {deleted} deleted\n  \
         scan       {kind} ({from}): {received} on {pages}, the server reports {server_count}\n  \
         requests   {requests}: {list_requests} for the list, {retries} retried\n  \
         complete until {complete_until} (the server's clock)\n{advice}"
    )
}

/// The document of `sync`: the run, and the export that followed it.
#[derive(Serialize)]
struct SyncJson<'a> {
    #[serde(flatten)]
    run: RunReportJson<'a>,
    export: Option<&'a DeltaSummary>,
}

/// A run, in `sync` and in `demo`.
#[derive(Serialize)]
pub(super) struct RunReportJson<'a> {
    run_id: i64,
    outcome: &'static str,
    why: Option<String>,
    help: Option<&'static str>,
    dry_run: bool,
    scan: ScanJson,
    changes: ChangeCounts,
    requests: RequestsJson,
    received: u64,
    tickets: u64,
    covered_until: Option<Timestamp>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct ScanJson {
    kind: ScanKind,
    from: Option<Timestamp>,
    pages: u64,
    unique_ids: u64,
    record_count: Option<u64>,
    count_fell: bool,
}

#[derive(Serialize)]
struct RequestsJson {
    all: u64,
    list: u64,
    repeated: u64,
}

impl<'a> RunReportJson<'a> {
    pub(super) fn new(report: &'a RunReport) -> RunReportJson<'a> {
        let RunReport { run_stats: run, scan_stats, .. } = report;
        RunReportJson {
            run_id: report.run_id,
            outcome: report.outcome.as_str(),
            why: report.outcome.reason(),
            help: report.outcome.help(),
            dry_run: report.dry_run,
            scan: ScanJson {
                kind: report.scan_kind,
                from: match report.scan_kind {
                    ScanKind::Full => None,
                    ScanKind::Incremental { from } => Some(from),
                },
                pages: scan_stats.pages,
                unique_ids: scan_stats.unique_ids,
                record_count: scan_stats.record_count,
                count_fell: scan_stats.count_fell,
            },
            changes: run.changes,
            requests: RequestsJson { all: run.requests, list: run.list_requests, repeated: run.retries },
            received: run.received,
            tickets: report.tickets,
            covered_until: report.covered_until,
            warnings: &report.warnings,
        }
    }
}
