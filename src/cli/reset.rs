//! `halosync reset`.

use serde::Serialize;

use super::args::{CliArgs, ResetArgs};
use super::{CommandResult, format_time, print_report, printable};
use crate::app::{self, ExitStatus, LoadedConfig};
use crate::ticket::Timestamp;

#[derive(Serialize)]
struct ResetJson<'a> {
    database: String,
    from: Timestamp,
    to: Timestamp,
    reason: &'a str,
}

pub(super) fn reset(arguments: &CliArgs, loaded: &LoadedConfig, args: &ResetArgs) -> CommandResult {
    let done = app::reset(loaded, args.to, &args.reason)?;
    let database = loaded.config.store.path.display().to_string();
    let report = ResetJson { database, from: done.from, to: done.to, reason: &args.reason };
    let text = format!(
        "watermark moved back\n  from       {}\n  to         {}\n  reason     {}\n  \
         No ticket was changed. The next sync fetches everything updated since {}.\n",
        format_time(done.from),
        format_time(done.to),
        printable(&args.reason),
        format_time(done.next_scan_from),
    );
    print_report(arguments, &report, &text)?;
    Ok(ExitStatus::Ok)
}
