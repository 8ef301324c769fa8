//! `halosync sync`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{CliArgs, SyncArgs};
use super::{CommandResult, block_on, export, print, print_json, progress, stop_signal};
use crate::app::{self, ExitStatus, LoadedConfig, SyncOptions};
use crate::sync::{RunOutcome, RunReport};
use crate::watermark::ScanKind;

pub(super) fn sync(arguments: &CliArgs, loaded: &LoadedConfig, args: &SyncArgs) -> CommandResult {
    let options = SyncOptions { full: args.full, accept_deletes: args.accept_deletes, dry_run: args.dry_run };
    let report = block_on(async {
        Ok(app::sync(loaded, options, progress::progress(arguments), stop_signal()).await?)
    })?;
    // What the pass did is told first, whatever becomes of the packages.
    let export_result = if report.dry_run { Ok(None) } else { app::export_delta_if_due(loaded) };
    let delta = export_result.as_ref().ok().and_then(Option::as_ref);
    if arguments.json {
        let mut document = to_json(&report);
        document["export"] = delta.map_or(Value::Null, export::to_json);
        print_json(&document)?;
    } else {
        print(&(to_text(&report) + &delta.map_or(String::new(), export::to_text)))?;
    }
    export_result?;
    Ok(if report.outcome == RunOutcome::Complete { ExitStatus::Ok } else { ExitStatus::Incomplete })
}

/// A pass in a few lines.
pub(super) fn to_text(report: &RunReport) -> String {
    let RunReport { run_stats: run, scan_stats, .. } = report;
    let mut text = String::new();
    let verb = if report.dry_run { "would be" } else { "are" };
    let headline = match &report.outcome {
        RunOutcome::Complete => format!("complete: {} tickets {verb} here", report.tickets),
        RunOutcome::Incomplete(why) => format!("incomplete: {why}"),
        outcome @ RunOutcome::DeleteGuard { .. } => {
            format!("stopped before deleting: {}", outcome.reason().unwrap_or_default())
        }
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{headline}");
    let _ = writeln!(
        text,
        "  changes    {} created, {} updated, {} deleted",
        run.changes.created, run.changes.updated, run.changes.deleted
    );
    let from = match report.scan_kind {
        ScanKind::Full => "every ticket".to_owned(),
        ScanKind::Incremental { from } => format!("what was updated since {from}"),
    };
    let server_count = scan_stats.record_count.map_or("no count".to_owned(), |count| count.to_string());
    let _ = writeln!(
        text,
        "  walk       {} ({from}): {} different tickets on {} pages, the server counts {server_count}",
        report.scan_kind.as_str(),
        scan_stats.unique_ids,
        scan_stats.pages,
    );
    let _ = writeln!(
        text,
        "  requests   {}, {} of them for the list, {} repeated",
        run.requests, run.list_requests, run.retries
    );
    let complete_until = report.covered_until.map_or("not yet".to_owned(), |at| at.to_string());
    let _ = writeln!(text, "  complete until {complete_until} (the server's clock)");
    for warning in &report.warnings {
        let _ = writeln!(text, "  note: {warning}");
    }
    match &report.outcome {
        outcome @ RunOutcome::DeleteGuard { .. } => {
            let _ = writeln!(text, "  {}", outcome.help().unwrap_or_default());
        }
        RunOutcome::Incomplete(_) => {
            let _ = writeln!(
                text,
                "  What was received is stored; the watermark stays. The next pass asks again."
            );
        }
        RunOutcome::Complete => {}
    }
    text
}

pub(super) fn to_json(report: &RunReport) -> Value {
    let from = match report.scan_kind {
        ScanKind::Full => Value::Null,
        ScanKind::Incremental { from } => json!(from.to_string()),
    };
    json!({
        "run_id": report.run_id,
        "outcome": report.outcome.as_str(),
        "why": report.outcome.reason(),
        "help": report.outcome.help(),
        "dry_run": report.dry_run,
        "scan": {
            "kind": report.scan_kind.as_str(),
            "from": from,
            "pages": report.scan_stats.pages,
            "unique_ids": report.scan_stats.unique_ids,
            "record_count": report.scan_stats.record_count,
            "count_fell": report.scan_stats.count_fell,
        },
        "changes": {
            "created": report.run_stats.changes.created,
            "updated": report.run_stats.changes.updated,
            "deleted": report.run_stats.changes.deleted,
        },
        "requests": {
            "all": report.run_stats.requests,
            "list": report.run_stats.list_requests,
            "repeated": report.run_stats.retries,
        },
        "received": report.run_stats.received,
        "tickets": report.tickets,
        "covered_until": report.covered_until.map(|at| at.to_string()),
        "warnings": report.warnings,
    })
}
