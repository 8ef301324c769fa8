//! `halosync check`.

use serde_json::{Value, json};

use super::args::CliArgs;
use super::error_output::causes;
use super::{CommandError, CommandResult, block_on, print, print_json, printable, stop_signal};
use crate::app::{AppError, ExitStatus};
use crate::check::{self, CheckFinding, CheckOutcome, CheckReport};

pub(super) fn check(arguments: &CliArgs, offline: bool) -> CommandResult {
    let mut output_error = None;
    let mut on_finding = |finding: &CheckFinding| {
        if !arguments.json && output_error.is_none() {
            output_error = print(&to_text(finding)).err();
        }
    };
    let report = block_on(async {
        tokio::select! {
            report = check::check(arguments.config.as_deref(), offline, &mut on_finding) => Ok(report),
            signal = stop_signal() => Err(CommandError::Agent(AppError::Stopped(signal))),
        }
    })?;
    if let Some(failure) = output_error {
        return Err(failure);
    }
    if arguments.json {
        print_json(&to_json(&report, offline))?;
    } else {
        print(&summary(&report, offline))?;
    }
    Ok(report.exit_status())
}

/// A finding in a line, and what to do in further ones.
fn to_text(finding: &CheckFinding) -> String {
    let (symbol, causes) = match &finding.outcome {
        CheckOutcome::Ok(_) => ("\x1b[32m✓\x1b[0m", Vec::new()),
        CheckOutcome::Warning { .. } => ("\x1b[33m!\x1b[0m", Vec::new()),
        CheckOutcome::Fail(error) => ("\x1b[31m✗\x1b[0m", causes(error)),
    };
    let mut text =
        format!("{symbol} {:<14} {}\n", finding.step.as_str(), printable(&finding.outcome.message()));
    for cause in causes {
        text.push_str(&format!("    cause: {cause}\n"));
    }
    if let Some(help) = finding.help() {
        text.push_str(&format!("    help: {}\n", printable(&help)));
    }
    text
}

/// The verdicts of the passes, and how it all stands.
fn summary(report: &CheckReport, offline: bool) -> String {
    let mut text = String::new();
    for it in &report.probes {
        let details = it.details.as_deref().map_or(String::new(), |details| format!(" ({details})"));
        let result = printable(&format!("{}: {}{details}", it.probe.as_str(), it.result));
        text.push_str(&format!("    {} {result}\n", it.probed_at));
    }
    let (warnings, failures) = count_outcomes(report);
    let skipped: Vec<_> = report.skipped_steps().map(check::CheckStep::as_str).collect();
    if failures != 0 && !skipped.is_empty() {
        text.push_str(&format!("not looked at: {}\n", skipped.join(", ")));
    }
    let offline_note = if offline { ", without asking the server" } else { "" };
    text.push_str(&match (failures, warnings) {
        (0, 0) => format!("all is well{offline_note}\n"),
        (0, warnings) => format!("nothing fails{offline_note}; worth a look: {warnings}\n"),
        (failures, _) => format!("failures: {failures}{offline_note}\n"),
    });
    text
}

fn count_outcomes(report: &CheckReport) -> (usize, usize) {
    let count = |predicate: fn(&CheckOutcome) -> bool| {
        report.findings.iter().filter(|finding| predicate(&finding.outcome)).count()
    };
    (count(|it| matches!(it, CheckOutcome::Warning { .. })), count(|it| matches!(it, CheckOutcome::Fail(_))))
}

fn to_json(report: &CheckReport, offline: bool) -> Value {
    let (warnings, failures) = count_outcomes(report);
    json!({
        "offline": offline,
        "exit_status": report.exit_status(),
        "warnings": warnings,
        "failures": failures,
        "steps": report.findings.iter().map(finding_to_json).collect::<Vec<_>>(),
        "skipped": report.skipped_steps().map(check::CheckStep::as_str).collect::<Vec<_>>(),
        "clock_ahead_seconds": report.clock_ahead.map(|offset| offset.num_seconds()),
        "counts": report.counts.map(|counts| json!({
            "plain": counts.default_list,
            "open": counts.open,
            "closed": counts.closed,
        })),
        "page_rows": report.page_rows,
        "ticket_bytes": report.ticket_bytes,
        "initial_load": report.initial_load.map(|estimate| json!({
            "requests": estimate.requests,
            "seconds": estimate.duration.as_secs(),
        })),
        "probes": report.probes.iter().map(|it| json!({
            "probe": it.probe.as_str(),
            "result": it.result,
            "details": it.details,
            "probed_at": it.probed_at.to_string(),
        })).collect::<Vec<_>>(),
    })
}

fn finding_to_json(finding: &CheckFinding) -> Value {
    let (outcome, causes, exit_status) = match &finding.outcome {
        CheckOutcome::Ok(_) => ("ok", Vec::new(), ExitStatus::Ok),
        CheckOutcome::Warning { .. } => ("warning", Vec::new(), ExitStatus::Ok),
        CheckOutcome::Fail(error) => ("failure", causes(error), error.exit_status()),
    };
    json!({
        "step": finding.step.as_str(),
        "outcome": outcome,
        "message": printable(&finding.outcome.message()),
        "cause": causes,
        "help": finding.help().map(|help| printable(&help)),
        "exit_status": exit_status,
    })
}
