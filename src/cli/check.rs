//! `halosync check`.

use serde_json::{Value, json};

use super::args::Arguments;
use super::complaint::causes;
use super::{Ended, Failure, block_on, printable, say, say_json, stop_signal};
use crate::agent::AgentError;
use crate::check::{self, Checked, Finding, Verdict};

pub(super) fn check(arguments: &Arguments, offline: bool) -> Ended {
    let mut broken = None;
    let mut tell = |finding: &Finding| {
        if !arguments.json && broken.is_none() {
            broken = say(&in_words(finding)).err();
        }
    };
    let checked = block_on(async {
        tokio::select! {
            checked = check::check(arguments.config.as_deref(), offline, &mut tell) => Ok(checked),
            signal = stop_signal() => Err(Failure::Agent(AgentError::Stopped(signal))),
        }
    })?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    if arguments.json {
        say_json(&as_json(&checked, offline))?;
    } else {
        say(&ending(&checked, offline))?;
    }
    Ok(checked.exit_status())
}

/// A finding in a line, and what to do in further ones.
fn in_words(finding: &Finding) -> String {
    let (sign, causes) = match &finding.verdict {
        Verdict::Good(_) => ("\x1b[32m✓\x1b[0m", Vec::new()),
        Verdict::Warning { .. } => ("\x1b[33m!\x1b[0m", Vec::new()),
        Verdict::Bad(error) => ("\x1b[31m✗\x1b[0m", causes(error)),
    };
    let mut text = format!("{sign} {:<14} {}\n", finding.step.word(), printable(&finding.verdict.says()));
    for cause in causes {
        text.push_str(&format!("    cause: {cause}\n"));
    }
    if let Some(help) = finding.help() {
        text.push_str(&format!("    help: {}\n", printable(&help)));
    }
    text
}

/// The verdicts of the passes, and how it all stands.
fn ending(checked: &Checked, offline: bool) -> String {
    let mut text = String::new();
    for it in &checked.calibrations {
        let details = it.details.as_deref().map_or(String::new(), |details| format!(" ({details})"));
        let verdict = printable(&format!("{}: {}{details}", it.question, it.verdict));
        text.push_str(&format!("    {} {verdict}\n", it.decided_at));
    }
    let (warnings, failures) = tally(checked);
    let left_out: Vec<_> = checked.left_out().map(check::Step::word).collect();
    if failures != 0 && !left_out.is_empty() {
        text.push_str(&format!("not looked at: {}\n", left_out.join(", ")));
    }
    let asked = if offline { ", without asking the server" } else { "" };
    text.push_str(&match (failures, warnings) {
        (0, 0) => format!("all is well{asked}\n"),
        (0, warnings) => format!("nothing fails{asked}; worth a look: {warnings}\n"),
        (failures, _) => format!("failures: {failures}{asked}\n"),
    });
    text
}

fn tally(checked: &Checked) -> (usize, usize) {
    let count = |wanted: fn(&Verdict) -> bool| {
        checked.findings.iter().filter(|finding| wanted(&finding.verdict)).count()
    };
    (count(|it| matches!(it, Verdict::Warning { .. })), count(|it| matches!(it, Verdict::Bad(_))))
}

fn as_json(checked: &Checked, offline: bool) -> Value {
    let (warnings, failures) = tally(checked);
    json!({
        "offline": offline,
        "exit_status": checked.exit_status(),
        "warnings": warnings,
        "failures": failures,
        "steps": checked.findings.iter().map(finding).collect::<Vec<_>>(),
        "left_out": checked.left_out().map(check::Step::word).collect::<Vec<_>>(),
        "clock_ahead_seconds": checked.clock_ahead.map(|ahead| ahead.num_seconds()),
        "counts": checked.counts.map(|counts| json!({
            "plain": counts.plain,
            "open": counts.open,
            "closed": counts.closed,
        })),
        "page_rows": checked.page_rows,
        "ticket_bytes": checked.ticket_bytes,
        "first_pass": checked.first_pass.map(|estimate| json!({
            "requests": estimate.requests,
            "seconds": estimate.takes.as_secs(),
        })),
        "calibrations": checked.calibrations.iter().map(|it| json!({
            "question": it.question,
            "verdict": it.verdict,
            "details": it.details,
            "decided_at": it.decided_at.to_string(),
        })).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let (outcome, causes, exit_status) = match &finding.verdict {
        Verdict::Good(_) => ("good", Vec::new(), 0),
        Verdict::Warning { .. } => ("warning", Vec::new(), 0),
        Verdict::Bad(error) => ("failure", causes(error), error.exit_status()),
    };
    json!({
        "step": finding.step.word(),
        "outcome": outcome,
        "says": printable(&finding.verdict.says()),
        "cause": causes,
        "help": finding.help().map(|help| printable(&help)),
        "exit_status": exit_status,
    })
}
