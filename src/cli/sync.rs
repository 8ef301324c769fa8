//! `halosync sync`.

use std::sync::Arc;

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, SyncArgs};
use super::error_output::{print_interruption, print_stderr};
use super::progress::RunProgress;
use super::table::{pairs, paragraph, terminal_width};
use super::{
    CommandError, CommandResult, block_on, export, format_time, print_report, printable, stop_signal,
};
use crate::app::{
    self, AppError, DeltaSummary, ExitStatus, Health, InterruptedScan, LoadedConfig, SyncOptions,
    WorkCounter, count,
};
use crate::sync::{RunOutcome, RunReport};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::{ScanKind, WatermarkState};

pub(super) fn sync(arguments: &CliArgs, loaded: LoadedConfig, args: &SyncArgs) -> CommandResult {
    let loaded = Arc::new(loaded);
    let options = SyncOptions { full: args.full, accept_deletes: args.accept_deletes, dry_run: args.dry_run };
    let progress = RunProgress::start(arguments);
    let result = block_on(async {
        Ok::<_, CommandError>(app::sync(&loaded, options, progress.clone(), stop_signal()).await?)
    });
    let list_total = progress.list_total();
    // The live line is gone before anything else is printed.
    drop(progress);
    let report = match result {
        Err(CommandError::App(error @ AppError::Stopped(_))) => {
            let saved = if args.dry_run {
                "Nothing was stored".into()
            } else {
                let status = app::status(&loaded);
                status.map_or("What was committed is saved".into(), |status| {
                    SavedWork::new(&status.health, list_total).to_text()
                })
            };
            let help = "run `halosync sync` again to continue";
            print_interruption(&error, &saved, help, arguments.json);
            return Ok(error.exit_status());
        }
        result => result?,
    };
    // The run is reported even if the export fails or is interrupted.
    let export_result = if report.dry_run {
        Ok(None)
    } else {
        let work = move |rows: &WorkCounter| app::export_delta_if_due(&loaded, rows);
        export::run_with_progress(arguments, work)
    };
    let delta = export_result.as_ref().ok().and_then(Option::as_ref);
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(reason) = report.outcome.reason() {
        // The document of `--json` says it.
        if !arguments.json {
            let help = report.outcome.help().map_or(String::new(), |help| format!("help: {help}\n"));
            print_stderr(&format!("warning: incomplete: {}\n{help}", printable(&reason)));
        }
    }
    let text = to_text(&report, terminal_width()) + &delta.map_or(String::new(), export::to_text);
    print_report(arguments, &SyncJson { run: RunReportJson::new(&report), export: delta }, &text)?;
    if let Err(CommandError::App(error @ AppError::Stopped(_))) = &export_result {
        let help = "`halosync export delta` makes up for it";
        print_interruption(error, "The run is saved, the export was not made", help, arguments.json);
        return Ok(error.exit_status());
    }
    export_result?;
    Ok(if report.outcome == RunOutcome::Complete { ExitStatus::Ok } else { ExitStatus::Incomplete })
}

/// What an interrupted run left in the database.
struct SavedWork {
    is_initial: bool,
    /// The tickets that an initial load has stored.
    tickets: u64,
    /// The changes that the run stored.
    changes: u64,
    /// The tickets that a full scan after the initial load has read, if it can be resumed.
    read: Option<u64>,
    /// The server's count of the list.
    list_total: Option<u64>,
}

impl SavedWork {
    fn new(health: &Health, list_total: Option<u64>) -> SavedWork {
        let watermark = health.watermark.as_ref();
        SavedWork {
            is_initial: watermark.is_none_or(|watermark| watermark.state == WatermarkState::Initial),
            tickets: health.saved_by_initial_load(),
            changes: health.runs.first().map_or(0, |run| run.changes.total()),
            read: health.interrupted_scan.as_ref().map(InterruptedScan::received),
            list_total,
        }
    }

    fn to_text(&self) -> String {
        let is = |number| if number == 1 { "is" } else { "are" };
        let of_total = |number| match self.list_total {
            Some(total) if number < total => format!("{} of {}", HumanCount(number), count(total, "ticket")),
            _ => count(number, "ticket"),
        };
        match *self {
            SavedWork { is_initial: true, tickets: 0, .. } => "No ticket is saved yet".into(),
            SavedWork { is_initial: true, tickets, .. } => {
                format!("{} {} saved", of_total(tickets), is(tickets))
            }
            SavedWork { read: None, changes: 0, .. } => "No change is saved yet".into(),
            SavedWork { read: None, changes, .. } => {
                format!("{} {} saved", count(changes, "change"), is(changes))
            }
            SavedWork { read: Some(read), changes, .. } => {
                let changes = format!("{} {} saved", count(changes, "change"), is(changes));
                format!("{} {} read again, {changes}", of_total(read), is(read))
            }
        }
    }
}

/// Formats a run as a few lines, wrapped where a terminal is narrow.
pub(super) fn to_text(report: &RunReport, width: Option<u16>) -> String {
    let RunReport { run_stats: run, scan_stats, .. } = report;
    let (headline, advice) = match &report.outcome {
        RunOutcome::Complete if report.dry_run => ("complete, but nothing is stored: a dry run".into(), None),
        RunOutcome::Complete => (format!("complete: {} stored", count(report.tickets, "ticket")), None),
        RunOutcome::Incomplete(why) => {
            let watermark = if report.moved_watermark { "moved" } else { "did not move" };
            let advice = format!(
                "Everything received is stored; the watermark {watermark}. The next run tries again."
            );
            (format!("incomplete: {why}"), Some(advice))
        }
        outcome @ RunOutcome::ScopeGuard { .. } => {
            (format!("incomplete, nothing changed: {}", outcome.reason().unwrap_or_default()), None)
        }
        outcome @ RunOutcome::DeleteGuard { .. } => {
            (format!("incomplete, nothing deleted: {}", outcome.reason().unwrap_or_default()), None)
        }
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
    let scan = match scan_stats.pages {
        0 => "nothing was read".to_owned(),
        _ => format!("{kind} ({from}): {received} on {pages}, the server reports {server_count}"),
    };
    let complete_until = report
        .covered_until
        .map_or("not yet".into(), |at| format!("{} (the server's clock)", format_time(at)));
    let rows = [
        ("changes", format!("{created} created, {updated} updated, {deleted} deleted")),
        ("scan", scan),
        ("requests", format!("{requests}: {list_requests} for the list, {retries} retried")),
        ("complete until", complete_until),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value));
    let advice = advice.map_or(String::new(), |advice| paragraph(" ", &printable(&advice), width));
    paragraph("", &printable(&headline), width) + &pairs(&rows, 0, width) + &advice
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruption_says_how_much_is_saved() {
        for (is_initial, tickets, changes, read, list_total, text) in [
            (true, 0, 0, None, None, "No ticket is saved yet"),
            (true, 0, 0, None, Some(8_000), "No ticket is saved yet"),
            (true, 1, 1, None, Some(8_000), "1 of 8,000 tickets is saved"),
            (true, 1_600, 800, None, Some(8_000), "1,600 of 8,000 tickets are saved"),
            (true, 1_600, 800, None, None, "1,600 tickets are saved"),
            (true, 8_000, 800, None, Some(8_000), "8,000 tickets are saved"),
            (false, 8_000, 0, None, Some(3), "No change is saved yet"),
            (false, 8_000, 1, None, Some(3), "1 change is saved"),
            (false, 8_000, 1_200, None, Some(1_300), "1,200 changes are saved"),
            (
                false,
                8_000,
                0,
                Some(2_400),
                Some(8_000),
                "2,400 of 8,000 tickets are read again, 0 changes are saved",
            ),
            (false, 8_000, 1, Some(1), Some(8_000), "1 of 8,000 tickets is read again, 1 change is saved"),
        ] {
            let saved = SavedWork { is_initial, tickets, changes, read, list_total };
            assert_eq!(saved.to_text(), text);
        }
    }
}
