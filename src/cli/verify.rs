//! `halosync export verify`.

use std::path::Path;

use serde::Serialize;

use super::args::CliArgs;
use super::progress::WorkProgress;
use super::{CommandResult, print_report, printable, run_blocking};
use crate::app::{ExitStatus, PackageKind, VerifyOptions, VerifyReport, count, verify as verify_packages};
use crate::config::size_to_text;

#[derive(Serialize)]
pub(super) struct VerifyJson<'a> {
    ok: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

impl VerifyJson<'_> {
    pub(super) fn of(report: &VerifyReport) -> VerifyJson<'_> {
        VerifyJson { ok: report.findings.is_empty(), report }
    }
}

pub(super) fn verify(arguments: &CliArgs, dir: &Path, options: &VerifyOptions) -> CommandResult {
    let bytes = options.bytes_read.clone();
    let text = move || format!("Verifying  {}", size_to_text(bytes.get()));
    let progress = WorkProgress::start(arguments, text);
    let (folder, options) = (dir.to_owned(), options.clone());
    let report = run_blocking(move || Ok(verify_packages(&folder, &options)?));
    drop(progress);
    print(arguments, &report?)
}

/// Prints what a verification found.
pub(super) fn print(arguments: &CliArgs, report: &VerifyReport) -> CommandResult {
    let document = VerifyJson::of(report);
    if document.ok && arguments.quiet && !arguments.json {
        return Ok(ExitStatus::Ok);
    }
    print_report(arguments, &document, &to_text(report))?;
    Ok(if document.ok { ExitStatus::Ok } else { ExitStatus::DataError })
}

pub(super) fn to_text(report: &VerifyReport) -> String {
    let mut text = String::new();
    for chain in &report.chains {
        let consumer = chain.consumer.as_deref().map_or(String::new(), |name| format!(" for {name}"));
        let aged_out_note =
            if chain.from_seq == 0 { "" } else { "; earlier packages have aged out, or are missing" };
        let description = match chain.kind {
            PackageKind::Snapshot => format!("snapshot{consumer} at change {}", chain.to_seq),
            PackageKind::Delta => format!(
                "{}{consumer}, changes after {} up to {}{aged_out_note}",
                count(chain.packages as u64, "package"),
                chain.from_seq,
                chain.to_seq
            ),
        };
        let path = printable(&chain.path.display().to_string());
        text += &format!("{path}: {}, {}\n", printable(&description), count(chain.rows, "row"));
    }
    for note in &report.notes {
        let path = printable(&note.path.display().to_string());
        text += &format!("note: {path}: {}\n", printable(&note.message));
    }
    for finding in &report.findings {
        let path = printable(&finding.path.display().to_string());
        text += &format!("{}: {path}: {}\n", finding.problem.as_str(), printable(&finding.message));
    }
    match report.findings.len() as u64 {
        0 => text + "verified: nothing is missing, repeated or altered\n",
        problems => text + &format!("{}: do not load these files\n", count(problems, "problem")),
    }
}
