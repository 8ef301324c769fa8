//! Errors as people and programs read them: what happened, why, what to do.

use std::io::Write as _;

use serde_json::json;

use super::printable;
use crate::app::{AppError, ExitStatus};

/// Writes an error to stderr.
pub(super) fn print_error(error: &AppError, as_json: bool) {
    let causes = causes(error);
    let help = error.help();
    let mut err = anstream::stderr().lock();
    // Where stderr is closed there is nobody to tell.
    let _ = if as_json {
        let document = json!({
            "error": printable(&error.to_string()),
            "cause": causes,
            "help": help,
            "exit_status": error.exit_status(),
        });
        writeln!(err, "{document}")
    } else {
        let mut text = format!("error: {}\n", printable(&error.to_string()));
        for cause in &causes {
            text.push_str(&format!("cause: {cause}\n"));
        }
        text.push_str(&format!("help: {}\n", printable(&help)));
        err.write_all(text.as_bytes())
    };
}

/// Writes what is wrong with a command line to stderr, and gives the status to end with.
pub(super) fn print_usage_error(error: &clap::Error, as_json: bool) -> ExitStatus {
    // Where stderr is closed there is nobody to tell.
    let _ = if as_json {
        let text = error.render().to_string();
        let mut parts = text.trim_end().splitn(2, '\n').map(str::trim);
        let what = parts.next().unwrap_or_default();
        let document = json!({
            "error": what.strip_prefix("error: ").unwrap_or(what),
            "cause": [],
            "help": parts.next().filter(|help| !help.is_empty()).unwrap_or("see halosync --help"),
            "exit_status": ExitStatus::Usage,
        });
        writeln!(anstream::stderr().lock(), "{document}")
    } else {
        error.print()
    };
    ExitStatus::Usage
}

/// Why, from near to far, each fit for a terminal.
pub(super) fn causes(error: &AppError) -> Vec<String> {
    error.causes().iter().map(|cause| printable(cause)).collect()
}
