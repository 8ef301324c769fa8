//! `halosync reset`.

use serde_json::json;

use super::args::{CliArgs, ResetArgs};
use super::{CommandResult, print, print_json, printable};
use crate::app::{self, ExitStatus, LoadedConfig};

pub(super) fn reset(arguments: &CliArgs, loaded: &LoadedConfig, args: &ResetArgs) -> CommandResult {
    let done = app::reset(loaded, args.to, &args.reason)?;
    if arguments.json {
        print_json(&json!({
            "database": loaded.config.store.path.display().to_string(),
            "from": done.from.to_string(),
            "to": done.to.to_string(),
            "reason": args.reason,
        }))?;
    } else {
        print(&format!(
            "the watermark went back\n  from       {}\n  to         {}\n  reason     {}\n  \
             The rows stay. The next sync asks for what was updated since {}, or before.\n",
            done.from,
            done.to,
            printable(&args.reason),
            done.next_scan_from,
        ))?;
    }
    Ok(ExitStatus::Ok)
}
