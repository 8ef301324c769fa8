//! `halosync sync`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{Arguments, Sync};
use super::{Ended, block_on, export, progress, say, say_json, stop_signal};
use crate::agent::{self, Loaded, Wish};
use crate::sync::{Outcome, Report};
use crate::watermark::Walk;

pub(super) fn sync(arguments: &Arguments, loaded: &Loaded, wish: &Sync) -> Ended {
    let wish = Wish { full: wish.full, accept_deletes: wish.accept_deletes, dry_run: wish.dry_run };
    let report = block_on(async {
        Ok(agent::sync(loaded, wish, progress::progress(arguments), stop_signal()).await?)
    })?;
    // What the pass did is told first, whatever becomes of the packages.
    let handed_on = if report.dry_run { Ok(None) } else { agent::deliver_if_due(loaded) };
    let handover = handed_on.as_ref().ok().and_then(Option::as_ref);
    if arguments.json {
        let mut document = as_json(&report);
        document["export"] = handover.map_or(Value::Null, export::as_json);
        say_json(&document)?;
    } else {
        say(&(in_words(&report) + &handover.map_or(String::new(), export::in_words)))?;
    }
    handed_on?;
    Ok(if report.outcome == Outcome::Complete { 0 } else { 3 })
}

/// A pass in a few lines.
pub(super) fn in_words(report: &Report) -> String {
    let Report { run, figures, .. } = report;
    let mut text = String::new();
    let verb = if report.dry_run { "would be" } else { "are" };
    let headline = match &report.outcome {
        Outcome::Complete => format!("complete: {} tickets {verb} here", report.tickets),
        Outcome::Incomplete(why) => format!("incomplete: {why}"),
        brake @ Outcome::Brake { .. } => {
            format!("stopped before deleting: {}", brake.why().unwrap_or_default())
        }
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{headline}");
    let _ = writeln!(
        text,
        "  changes    {} created, {} updated, {} deleted",
        run.created, run.updated, run.deleted
    );
    let from = match report.walk {
        Walk::Full => "every ticket".to_owned(),
        Walk::Following { from } => format!("what was updated since {from}"),
    };
    let counted = figures.record_count.map_or("no count".to_owned(), |count| count.to_string());
    let _ = writeln!(
        text,
        "  walk       {} ({from}): {} different tickets on {} pages, the server counts {counted}",
        report.walk.word(),
        figures.unique_ids,
        figures.pages,
    );
    let _ = writeln!(
        text,
        "  requests   {}, {} of them for the list, {} repeated",
        run.requests, run.list_requests, run.retries
    );
    let covered = report.covered_until.map_or("not yet".to_owned(), |at| at.to_string());
    let _ = writeln!(text, "  complete until {covered} (the server's clock)");
    for warning in &report.warnings {
        let _ = writeln!(text, "  note: {warning}");
    }
    match &report.outcome {
        outcome @ Outcome::Brake { .. } => {
            let _ = writeln!(text, "  {}", outcome.help().unwrap_or_default());
        }
        Outcome::Incomplete(_) => {
            let _ = writeln!(
                text,
                "  What was received is stored; the watermark stays. The next pass asks again."
            );
        }
        Outcome::Complete => {}
    }
    text
}

pub(super) fn as_json(report: &Report) -> Value {
    let from = match report.walk {
        Walk::Full => Value::Null,
        Walk::Following { from } => json!(from.to_string()),
    };
    json!({
        "run_id": report.run_id,
        "outcome": report.outcome.word(),
        "why": report.outcome.why(),
        "help": report.outcome.help(),
        "dry_run": report.dry_run,
        "walk": {
            "kind": report.walk.word(),
            "from": from,
            "pages": report.figures.pages,
            "unique_ids": report.figures.unique_ids,
            "record_count": report.figures.record_count,
            "count_fell": report.figures.count_fell,
        },
        "changes": {
            "created": report.run.created,
            "updated": report.run.updated,
            "deleted": report.run.deleted,
        },
        "requests": {
            "all": report.run.requests,
            "list": report.run.list_requests,
            "repeated": report.run.retries,
        },
        "received": report.run.received,
        "tickets": report.tickets,
        "covered_until": report.covered_until.map(|at| at.to_string()),
        "warnings": report.warnings,
    })
}
