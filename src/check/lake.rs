//! Whether packages can be shipped to the lake of the settings.

use super::CheckOutcome;
use crate::config::Config;

/// Puts a small object into the lake, twice; `None` where that is left out because no request may be sent.
pub(super) fn check(config: &Config, offline: bool) -> Option<CheckOutcome> {
    if config.lake.is_none() {
        return Some(CheckOutcome::Ok("none in the settings".into()));
    }
    if offline { None } else { probe(config) }
}

#[cfg(feature = "lake")]
fn probe(config: &Config) -> Option<CheckOutcome> {
    use tokio_util::sync::CancellationToken;

    use crate::app;

    let lake = config.lake.as_ref()?;
    let found = tokio::task::block_in_place(|| app::probe_lake(config, lake, CancellationToken::new()));
    Some(match found {
        Ok(()) => CheckOutcome::Ok(format!(
            "{} takes each name once; this copy ships there as {}",
            lake.url,
            lake.server.as_str()
        )),
        Err(error) => CheckOutcome::Fail(error),
    })
}

/// The settings can name no lake.
#[cfg(not(feature = "lake"))]
fn probe(_: &Config) -> Option<CheckOutcome> {
    None
}
