//! Errors for people and programs: what happened, why, what to do.

use std::io::Write as _;

use serde::Serialize;

use super::printable;
use crate::app::{AppError, ExitStatus};

/// An error as one line of JSON.
#[derive(Serialize)]
struct ErrorJson<'a> {
    cause: &'a [String],
    error: &'a str,
    exit_status: ExitStatus,
    help: &'a str,
}

pub(super) fn print_error(error: &AppError, as_json: bool) {
    let message = printable(&error.to_string());
    let causes = causes(error);
    if as_json {
        let exit_status = error.exit_status();
        print_error_json(&ErrorJson { cause: &causes, error: &message, exit_status, help: &error.help() });
        return;
    }
    let mut text = format!("error: {message}\n");
    for cause in &causes {
        text.push_str(&format!("cause: {cause}\n"));
    }
    text.push_str(&format!("help: {}\n", printable(&error.help())));
    print_stderr(&text);
}

/// Writes to stderr that a command was interrupted: what is saved, and how to continue.
pub(super) fn print_interruption(saved: &str, help: &str, exit_status: ExitStatus, as_json: bool) {
    if as_json {
        let message = format!("interrupted: {saved}");
        print_error_json(&ErrorJson { cause: &[], error: &message, exit_status, help });
    } else {
        print_stderr(&format!("Interrupted. {saved}; {help}.\n"));
    }
}

/// Writes the error of a command line that cannot be parsed to stderr and returns the exit status.
pub(super) fn print_usage_error(error: &clap::Error, as_json: bool) -> ExitStatus {
    if as_json {
        let text = error.render().to_string();
        let mut parts = text.trim_end().splitn(2, '\n').map(str::trim);
        let message = parts.next().unwrap_or_default();
        print_error_json(&ErrorJson {
            cause: &[],
            error: message.strip_prefix("error: ").unwrap_or(message),
            exit_status: ExitStatus::Usage,
            help: parts.next().filter(|help| !help.is_empty()).unwrap_or("see halosync --help"),
        });
    } else {
        let _ = error.print();
    }
    ExitStatus::Usage
}

/// Returns the causes of an error, nearest first, safe for a terminal.
pub(super) fn causes(error: &AppError) -> Vec<String> {
    error.causes().iter().map(|cause| printable(cause)).collect()
}

fn print_error_json(error: &ErrorJson<'_>) {
    print_stderr(&(serde_json::to_string(error).unwrap_or_default() + "\n"));
}

/// Ignores a failure: where stderr is closed, nobody reads it.
pub(super) fn print_stderr(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}
