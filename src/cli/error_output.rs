//! Errors for people and programs: what happened, why, what to do.

use std::io::Write as _;

use serde::Serialize;

use super::{JsonDocument, printable};
use crate::app::{AppError, ExitStatus};

/// The code of a command line that cannot be parsed.
const USAGE: &str = "usage";

/// The code of results that cannot be written to stdout.
const OUTPUT: &str = "cannot_write_output";

/// The document of `docs/error.schema.json`, in one line.
#[derive(Serialize)]
struct ErrorJson<'a> {
    code: &'a str,
    error: &'a str,
    cause: &'a [String],
    help: &'a str,
    exit_status: ExitStatus,
}

pub(super) fn print_error(error: &AppError, as_json: bool) {
    let message = printable(&error.to_string());
    let (cause, help) = (causes(error), printable(&error.help()));
    let document = ErrorJson {
        code: error.code(),
        error: &message,
        cause: &cause,
        help: &help,
        exit_status: error.exit_status(),
    };
    document.print(as_json);
}

/// Writes to stderr that a command was interrupted: what is saved, and how to continue.
pub(super) fn print_interruption(error: &AppError, saved: &str, help: &str, as_json: bool) {
    if !as_json {
        print_stderr(&format!("Interrupted. {saved}; {help}.\n"));
        return;
    }
    let document = ErrorJson {
        code: error.code(),
        error: &format!("interrupted: {saved}"),
        cause: &[],
        help,
        exit_status: error.exit_status(),
    };
    document.print(true);
}

/// Writes to stderr that the results cannot be written to stdout, and returns the exit status.
pub(super) fn print_output_error(error: &std::io::Error, as_json: bool) -> ExitStatus {
    let document = ErrorJson {
        code: OUTPUT,
        error: "cannot write the output",
        cause: &[printable(&error.to_string())],
        help: "check where the output goes: the disk may be full",
        exit_status: ExitStatus::Io,
    };
    document.print(as_json);
    ExitStatus::Io
}

/// Writes the error of a command line that cannot be parsed to stderr and returns the exit status.
pub(super) fn print_usage_error(error: &clap::Error, as_json: bool) -> ExitStatus {
    if as_json {
        let text = error.render().to_string();
        let mut parts = text.trim_end().splitn(2, '\n').map(str::trim);
        let message = parts.next().unwrap_or_default();
        let document = ErrorJson {
            code: USAGE,
            error: message.strip_prefix("error: ").unwrap_or(message),
            cause: &[],
            help: parts.next().filter(|help| !help.is_empty()).unwrap_or("see halosync --help"),
            exit_status: ExitStatus::Usage,
        };
        document.print(true);
    } else {
        let _ = error.print();
    }
    ExitStatus::Usage
}

/// Returns the causes of an error, nearest first, safe for a terminal.
pub(super) fn causes(error: &AppError) -> Vec<String> {
    error.causes().iter().map(|cause| printable(cause)).collect()
}

impl ErrorJson<'_> {
    fn print(&self, as_json: bool) {
        if as_json {
            print_stderr(&(serde_json::to_string(&JsonDocument::new(self)).unwrap_or_default() + "\n"));
            return;
        }
        let mut text = format!("error: {}\n", self.error);
        for cause in self.cause {
            text.push_str(&format!("cause: {cause}\n"));
        }
        text.push_str(&format!("help: {}\n", self.help));
        print_stderr(&text);
    }
}

/// Ignores a failure: where stderr is closed, nobody reads it.
pub(super) fn print_stderr(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}
