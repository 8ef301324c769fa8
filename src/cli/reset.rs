//! `halosync reset`.

use serde_json::json;

use super::args::{Arguments, Reset};
use super::{Ended, printable, say, say_json};
use crate::agent::{self, Loaded};

pub(super) fn reset(arguments: &Arguments, loaded: &Loaded, wish: &Reset) -> Ended {
    let done = agent::reset(loaded, wish.to, &wish.reason)?;
    if arguments.json {
        say_json(&json!({
            "database": loaded.config.store.path.display().to_string(),
            "from": done.from.to_string(),
            "to": done.to.to_string(),
            "reason": wish.reason,
        }))?;
    } else {
        say(&format!(
            "the watermark went back\n  from       {}\n  to         {}\n  reason     {}\n  \
             The rows stay. The next sync asks for what was updated since {}, or before.\n",
            done.from,
            done.to,
            printable(&wish.reason),
            done.asks_from,
        ))?;
    }
    Ok(0)
}
