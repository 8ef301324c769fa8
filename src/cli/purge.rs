//! `halosync purge`.

use std::path::PathBuf;

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, PurgeArgs};
use super::progress::WorkProgress;
use super::table::{paragraph, terminal_width};
use super::{CommandResult, format_time, print_report, printable, run_blocking};
use crate::app::{self, Erasure, ExitStatus, HeldPackage, LoadedConfig, UndoneErasure, count};
use crate::ticket::Timestamp;

/// The document of `docs/purge.schema.json`.
#[derive(Serialize)]
struct PurgeJson<'a> {
    database: String,
    ticket: i64,
    action: &'static str,
    erased_at: Timestamp,
    reason: &'a str,
    seq: Option<i64>,
    packages: &'a [HeldPackage],
    files: Vec<String>,
    snapshots: Vec<String>,
    rows_without_id: u64,
    earlier_lineages: u64,
    lake: Option<&'a str>,
}

pub(super) fn purge(arguments: &CliArgs, loaded: LoadedConfig, args: &PurgeArgs) -> CommandResult {
    let (id, database) = (args.id, loaded.config.store.path.display().to_string());
    let progress = WorkProgress::start(arguments, || "Erasing".into());
    let Some(reason) = args.reason.clone() else {
        let undone = run_blocking(move || app::undo_purge(&loaded, id))?;
        drop(progress);
        return print_undone(arguments, id, database, &undone);
    };
    let erasure = run_blocking(move || app::purge(&loaded, id, &reason))?;
    drop(progress);
    let text = to_text(&erasure, terminal_width());
    let Erasure {
        ticket,
        erased_at,
        reason,
        was_erased,
        seq,
        packages,
        files,
        snapshots,
        rows_without_id,
        earlier_lineages,
        lake,
    } = &erasure;
    let report = PurgeJson {
        database,
        ticket: *ticket,
        action: if *was_erased { "already_erased" } else { "erased" },
        erased_at: *erased_at,
        reason,
        seq: *seq,
        packages,
        files: paths(files),
        snapshots: paths(snapshots),
        rows_without_id: *rows_without_id,
        earlier_lineages: *earlier_lineages,
        lake: lake.as_deref(),
    };
    print_report(arguments, &report, &text)?;
    Ok(ExitStatus::Ok)
}

fn print_undone(arguments: &CliArgs, id: i64, database: String, undone: &UndoneErasure) -> CommandResult {
    let UndoneErasure { erased_at, reason } = undone;
    let report = PurgeJson {
        database,
        ticket: id,
        action: "undone",
        erased_at: *erased_at,
        reason,
        seq: None,
        packages: &[],
        files: Vec::new(),
        snapshots: Vec::new(),
        rows_without_id: 0,
        earlier_lineages: 0,
        lake: None,
    };
    let text = format!(
        "ticket {id} may be stored again\n  was erased {}\n  reason     {}\n  \
         The next full scan stores it, if the server lists it; `halosync sync --full` does so at once.\n",
        format_time(*erased_at),
        printable(reason),
    );
    print_report(arguments, &report, &text)?;
    Ok(ExitStatus::Ok)
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// Formats an erasure: what was done, and what still holds the ticket.
fn to_text(erasure: &Erasure, width: Option<u16>) -> String {
    let Erasure { ticket, erased_at, reason, was_erased, seq, packages, files, snapshots, .. } = erasure;
    let (since, reason) = (format_time(*erased_at), printable(reason));
    let mut text = if *was_erased {
        format!("ticket {ticket} has been erased since {since}; its traces were removed again\n")
    } else {
        format!("ticket {ticket} is erased\n  at         {since}\n")
    };
    text += &format!("  reason     {reason}\n");
    if let Some(seq) = seq {
        text += &format!(
            "  consumers  told by change {}, with their next package\n",
            HumanCount(seq.unsigned_abs())
        );
    }
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n");
            for line in &lines {
                text += &format!("  {}\n", printable(line));
            }
        }
    };
    let package_line = |package: &HeldPackage| {
        let path = package.folder.join(&package.file);
        let taken = if package.present { "" } else { " (no longer there: its consumer has it)" };
        format!("{}: {}{taken}", package.consumer, path.display())
    };
    section("Packages that hold it, by consumer:", packages.iter().map(package_line).collect());
    section("Other exported files that may hold it:", paths(files));
    section("Snapshots that hold it:", paths(snapshots));
    if 0 < erasure.rows_without_id {
        let rows = count(erasure.rows_without_id, "row");
        text += "\n";
        text += &paragraph(
            "note:",
            &format!(
                "{rows} without an id may be of this ticket; nobody can tell. They are in the table `rejects`, \
                 where UID and attribute are NULL."
            ),
            width,
        );
    }
    if 0 < erasure.earlier_lineages {
        let lineages = count(erasure.earlier_lineages, "earlier lineage");
        text += "\n";
        text += &paragraph(
            "note:",
            &format!(
                "the database has {lineages}, of which it no longer knows the packages: tell by hand whoever \
                 loaded them."
            ),
            width,
        );
    }
    if let Some(lake) = &erasure.lake {
        text += "\n";
        text += &paragraph(
            "note:",
            &format!(
                "the lake {} may hold it in its present and earlier epochs. The next `halosync lake push` begins an epoch \
                 without it; then delete the objects of the epochs before that (docs/lake.md).",
                printable(lake)
            ),
            width,
        );
    }
    if !(packages.is_empty() && files.is_empty() && snapshots.is_empty()) {
        text += "\n";
        text += &paragraph(
            "next:",
            "delete these files when their consumers have loaded them, and have the consumers delete the ticket. \
             Backups of the database, and files that were copied elsewhere, are not known here.",
            width,
        );
    }
    text
}
