//! `halosync check`.

use clap::builder::styling::AnsiColor;
use serde::Serialize;

use super::args::CliArgs;
use super::error_output::causes;
use super::table::{paragraph, terminal_width};
use super::{
    CommandError, CommandResult, block_on, format_time, print, print_report, printable, stop_signal,
};
use crate::app::{AppError, ExitStatus, LoadedConfig, count};
use crate::check::{self, CheckFinding, CheckOptions, CheckOutcome, CheckReport, CheckStep, ProgramInfo};

pub(super) fn check(
    arguments: &CliArgs,
    loaded: Result<LoadedConfig, AppError>,
    options: CheckOptions,
    deny_warnings: bool,
) -> CommandResult {
    let offline = options.offline;
    let program = ProgramInfo::collect(arguments.config.as_deref());
    if !arguments.json && 0 < arguments.verbose {
        print(&printable_lines(&program.to_text()))?;
    }
    let (width, mut output_error) = (terminal_width(), None);
    let mut on_finding = |finding: &CheckFinding| {
        let is_shown = !arguments.quiet || !matches!(finding.outcome, CheckOutcome::Ok(_));
        if is_shown && !arguments.json && output_error.is_none() {
            output_error = print(&to_text(finding, width)).err();
        }
    };
    let report = block_on(async {
        tokio::select! {
            report = check::check(loaded, options, &mut on_finding) => Ok(report),
            signal = stop_signal() => Err(CommandError::App(AppError::Stopped(signal))),
        }
    })?;
    if let Some(failure) = output_error {
        return Err(failure);
    }
    let (warnings, _) = count_outcomes(&report);
    let exit_status = match report.exit_status() {
        ExitStatus::Ok if deny_warnings && 0 < warnings => ExitStatus::Config,
        status => status,
    };
    let document = CheckJson::new(&report, &program, offline, exit_status);
    if arguments.quiet && !arguments.json {
        return Ok(exit_status);
    }
    print_report(arguments, &document, &summary(&report, offline, deny_warnings))?;
    Ok(exit_status)
}

/// Makes the lines of a text safe for a terminal.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// Formats a finding with its causes and what to do, wrapped where a terminal is narrow.
fn to_text(finding: &CheckFinding, width: Option<u16>) -> String {
    let (symbol, color) = match &finding.outcome {
        CheckOutcome::Ok(_) => ("✓", AnsiColor::Green),
        CheckOutcome::Warning { .. } => ("!", AnsiColor::Yellow),
        CheckOutcome::Fail(_) => ("✗", AnsiColor::Red),
    };
    let lead = format!("{symbol} {:<14}", finding.step.as_str());
    let mut text = paragraph(&lead, &printable(&finding.outcome.message()), width);
    text.replace_range(..symbol.len(), &format!("{0}{symbol}{0:#}", color.on_default()));
    for cause in finding_causes(finding) {
        text += &paragraph("    cause:", &cause, width);
    }
    if let Some(help) = finding.help() {
        text += &paragraph("    help:", &printable(&help), width);
    }
    text
}

fn finding_causes(finding: &CheckFinding) -> Vec<String> {
    if let CheckOutcome::Fail(error) = &finding.outcome { causes(error) } else { Vec::new() }
}

/// Lists the server probes and sums up the findings.
fn summary(report: &CheckReport, offline: bool, deny_warnings: bool) -> String {
    let mut text = String::new();
    for it in &report.probes {
        let details = it.details.as_deref().map_or(String::new(), |details| format!(" ({details})"));
        let result = printable(&format!("{}: {}{details}", it.probe.as_str(), it.result));
        text.push_str(&format!("    {} {result}\n", format_time(it.probed_at)));
    }
    let (warnings, failures) = count_outcomes(report);
    let skipped: Vec<_> = report.skipped_steps().map(CheckStep::as_str).collect();
    if failures != 0 && !skipped.is_empty() {
        text.push_str(&paragraph("skipped:", &skipped.join(", "), terminal_width()));
    }
    let offline_note = if offline { " (offline: the server was not asked)" } else { "" };
    let outcome = match (failures, warnings) {
        (0, 0) => "all checks passed".to_owned(),
        (0, warnings) => {
            let denied = if deny_warnings { ", denied by --deny-warnings" } else { "" };
            format!("no failures, {}{denied}", count(warnings as u64, "warning"))
        }
        (failures, 0) => count(failures as u64, "failure"),
        (failures, warnings) => {
            format!("{}, {}", count(failures as u64, "failure"), count(warnings as u64, "warning"))
        }
    };
    text + &outcome + offline_note + "\n"
}

fn count_outcomes(report: &CheckReport) -> (usize, usize) {
    let count = |outcome| report.findings.iter().filter(|it| it.outcome.as_str() == outcome).count();
    (count("warning"), count("failure"))
}

/// The report of `docs/check.schema.json`.
#[derive(Serialize)]
struct CheckJson<'a> {
    program: &'a ProgramInfo,
    offline: bool,
    exit_status: ExitStatus,
    warnings: usize,
    failures: usize,
    steps: Vec<CheckStepJson>,
    skipped: Vec<&'static str>,
    #[serde(flatten)]
    report: &'a CheckReport,
}

#[derive(Serialize)]
struct CheckStepJson {
    step: &'static str,
    outcome: &'static str,
    code: Option<&'static str>,
    message: String,
    cause: Vec<String>,
    help: Option<String>,
    exit_status: ExitStatus,
}

impl<'a> CheckJson<'a> {
    fn new(
        report: &'a CheckReport,
        program: &'a ProgramInfo,
        offline: bool,
        exit_status: ExitStatus,
    ) -> CheckJson<'a> {
        let (warnings, failures) = count_outcomes(report);
        CheckJson {
            program,
            offline,
            exit_status,
            warnings,
            failures,
            steps: report.findings.iter().map(CheckStepJson::new).collect(),
            skipped: report.skipped_steps().map(CheckStep::as_str).collect(),
            report,
        }
    }
}

impl CheckStepJson {
    fn new(finding: &CheckFinding) -> CheckStepJson {
        CheckStepJson {
            step: finding.step.as_str(),
            outcome: finding.outcome.as_str(),
            code: match &finding.outcome {
                CheckOutcome::Fail(error) => Some(error.code()),
                CheckOutcome::Ok(_) | CheckOutcome::Warning { .. } => None,
            },
            message: printable(&finding.outcome.message()),
            cause: finding_causes(finding),
            help: finding.help().map(|help| printable(&help)),
            exit_status: finding.outcome.exit_status(),
        }
    }
}
