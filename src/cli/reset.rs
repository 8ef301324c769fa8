//! `halosync reset`.

use serde::Serialize;

use super::args::{CliArgs, ResetArgs};
use super::{CommandResult, format_time, print, print_json, printable};
use crate::app::{self, ExitStatus, LoadedConfig};

#[derive(Serialize)]
struct ResetJson<'a> {
    database: String,
    from: String,
    to: String,
    reason: &'a str,
}

pub(super) fn reset(arguments: &CliArgs, loaded: &LoadedConfig, args: &ResetArgs) -> CommandResult {
    let done = app::reset(loaded, args.to, &args.reason)?;
    if arguments.json {
        print_json(&ResetJson {
            database: loaded.config.store.path.display().to_string(),
            from: done.from.to_string(),
            to: done.to.to_string(),
            reason: &args.reason,
        })?;
    } else {
        print(&format!(
            "watermark moved back\n  from       {}\n  to         {}\n  reason     {}\n  \
             No ticket was changed. The next sync fetches everything updated since {}.\n",
            format_time(done.from),
            format_time(done.to),
            printable(&args.reason),
            format_time(done.next_scan_from),
        ))?;
    }
    Ok(ExitStatus::Ok)
}
