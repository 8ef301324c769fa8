//! `halosync export verify`.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::args::CliArgs;
use super::{CommandResult, print, print_json, printable};
use crate::app::{ExitStatus, PackageKind, VerifyReport, count, verify as verify_packages};

pub(super) fn verify(arguments: &CliArgs, dir: &Path, expected_seq: Option<i64>) -> CommandResult {
    let report = verify_packages(dir, expected_seq)?;
    if arguments.json {
        print_json(&VerifyJson::new(&report))?;
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
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}: {}, {}",
            printable(&chain.path.display().to_string()),
            printable(&description),
            count(chain.rows, "row")
        );
    }
    for finding in &report.findings {
        let path = printable(&finding.path.display().to_string());
        let _ = writeln!(text, "{}: {path}: {}", finding.problem.as_str(), printable(&finding.message));
    }
    match report.findings.len() as u64 {
        0 => text.push_str("verified: nothing is missing, repeated or altered\n"),
        problems => text.push_str(&format!("{}: do not load these files\n", count(problems, "problem"))),
    }
    text
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    ok: bool,
    chains: Vec<ChainJson<'a>>,
    problems: Vec<VerifyFindingJson<'a>>,
}

#[derive(Serialize)]
struct ChainJson<'a> {
    path: String,
    kind: PackageKind,
    consumer: Option<&'a str>,
    lineage: Option<&'a str>,
    packages: usize,
    from_seq: i64,
    to_seq: i64,
    rows: u64,
}

#[derive(Serialize)]
struct VerifyFindingJson<'a> {
    problem: &'static str,
    path: String,
    what: &'a str,
}

impl<'a> VerifyJson<'a> {
    fn new(report: &'a VerifyReport) -> VerifyJson<'a> {
        let chains = report.chains.iter().map(|chain| ChainJson {
            path: chain.path.display().to_string(),
            kind: chain.kind,
            consumer: chain.consumer.as_deref(),
            lineage: chain.lineage.as_deref(),
            packages: chain.packages,
            from_seq: chain.from_seq,
            to_seq: chain.to_seq,
            rows: chain.rows,
        });
        let problems = report.findings.iter().map(|finding| VerifyFindingJson {
            problem: finding.problem.as_str(),
            path: finding.path.display().to_string(),
            what: &finding.message,
        });
        VerifyJson { ok: report.findings.is_empty(), chains: chains.collect(), problems: problems.collect() }
    }
}
