//! `halosync status`.

mod json;
mod lake;
mod text;

#[cfg(feature = "lake")]
pub(super) use lake::lake_facts;

use std::time::Duration;

use super::args::CliArgs;
use super::table::terminal_width;
use super::{CommandResult, print_report};
use crate::app::{self, ExitStatus, HealthReason, LoadedConfig};
use json::StatusJson;
pub(super) use text::blocks;
use text::{TextOptions, to_text};

pub(super) fn status(arguments: &CliArgs, loaded: &LoadedConfig, max_age: Option<Duration>) -> CommandResult {
    let status = app::inspected_status(loaded, max_age)?;
    let is_fresh = max_age.is_none() || !status.is_stale();
    let reasons = status.assess(None).reasons;
    let exit_status = match reasons.first() {
        Some(HealthReason::DatabaseDamaged) => ExitStatus::DataError,
        _ if is_fresh => ExitStatus::Ok,
        _ => ExitStatus::NotFresh,
    };
    let options = TextOptions { width: terminal_width(), is_verbose: 0 < arguments.verbose };
    let text = to_text(&status, &reasons, options);
    print_report(arguments, &StatusJson::new(&status, reasons, is_fresh), &text)?;
    Ok(exit_status)
}
