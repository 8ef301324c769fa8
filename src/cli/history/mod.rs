//! `halosync history`.

mod json;
mod text;

use super::args::{CliArgs, HistoryArgs};
use super::table::terminal_width;
use super::{CommandResult, print, print_json};
use crate::app::{self, ExitStatus, LoadedConfig};
use json::{HistoryJson, RowAtJson};
use text::{history_to_text, row_at_to_text};

pub(super) fn history(arguments: &CliArgs, loaded: &LoadedConfig, args: &HistoryArgs) -> CommandResult {
    let width = terminal_width();
    if let Some(at) = args.at {
        let row = app::row_at(loaded, args.id, at)?;
        if arguments.json {
            print_json(&RowAtJson::new(&row))?;
        } else {
            print(&row_at_to_text(&row, width))?;
        }
    } else {
        let history = app::history(loaded, args.id)?;
        if arguments.json {
            print_json(&HistoryJson::new(&history))?;
        } else {
            print(&history_to_text(&history, width))?;
        }
    }
    Ok(ExitStatus::Ok)
}
