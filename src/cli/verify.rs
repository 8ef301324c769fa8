//! `halosync export verify`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::CliArgs;
use super::{CommandResult, print, print_json, printable};
use crate::app::{ExitStatus, PackageKind, VerifyReport, verify as judged};

pub(super) fn verify(arguments: &CliArgs, dir: &Path, expected_seq: Option<i64>) -> CommandResult {
    let report = judged(dir, expected_seq)?;
    if arguments.json {
        print_json(&to_json(&report))?;
    } else {
        print(&to_text(&report))?;
    }
    Ok(if report.findings.is_empty() { ExitStatus::Ok } else { ExitStatus::DataError })
}

fn to_text(report: &VerifyReport) -> String {
    let mut text = String::new();
    for chain in &report.chains {
        let consumer = chain.consumer.as_deref().map_or(String::new(), |name| format!(" for {name}"));
        let aged_out_note =
            if chain.from_seq == 0 { "" } else { "; what came before has aged out, or was taken away" };
        let what = match chain.kind {
            PackageKind::Snapshot => format!("a snapshot{consumer} at change {}", chain.to_seq),
            PackageKind::Delta => format!(
                "{} package{}{consumer}, changes after {} up to {}{aged_out_note}",
                chain.packages,
                if chain.packages == 1 { "" } else { "s" },
                chain.from_seq,
                chain.to_seq
            ),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}: {}, {} rows",
            printable(&chain.path.display().to_string()),
            printable(&what),
            chain.rows
        );
    }
    for finding in &report.findings {
        let path = printable(&finding.path.display().to_string());
        let _ = writeln!(text, "{}: {path}: {}", finding.problem.as_str(), printable(&finding.message));
    }
    text.push_str(match report.findings.len() {
        0 => "everything is there, once, and unaltered\n",
        _ => "this cannot be trusted as it is\n",
    });
    text
}

fn to_json(report: &VerifyReport) -> Value {
    json!({
        "ok": report.findings.is_empty(),
        "chains": report.chains.iter().map(|chain| json!({
            "path": chain.path.display().to_string(),
            "kind": chain.kind,
            "consumer": chain.consumer,
            "lineage": chain.lineage,
            "packages": chain.packages,
            "from_seq": chain.from_seq,
            "to_seq": chain.to_seq,
            "rows": chain.rows,
        })).collect::<Vec<_>>(),
        "problems": report.findings.iter().map(|finding| json!({
            "problem": finding.problem.as_str(),
            "path": finding.path.display().to_string(),
            "what": finding.message,
        })).collect::<Vec<_>>(),
    })
}
