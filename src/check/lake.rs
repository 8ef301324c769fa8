//! Whether packages can be shipped to the lake of the settings.

use super::CheckOutcome;
use crate::config::Config;

/// Puts a small object into the lake, twice; `None` where that is left out because no request may be sent.
pub(super) fn check(config: &Config, offline: bool) -> Option<CheckOutcome> {
    let Some(lake) = &config.lake else { return Some(CheckOutcome::Ok("none in the settings".into())) };
    if offline { None } else { Some(probe(config, lake)) }
}

#[cfg(feature = "lake")]
fn probe(config: &Config, lake: &crate::config::LakeConfig) -> CheckOutcome {
    use tokio_util::sync::CancellationToken;

    use crate::app;

    let found = tokio::task::block_in_place(|| app::probe_lake(config, lake, CancellationToken::new()));
    match found {
        Ok(()) => CheckOutcome::Ok(format!(
            "{} takes each name once; this copy ships there as {}",
            lake.url,
            lake.server.as_str()
        )),
        Err(error) => CheckOutcome::Fail(error),
    }
}

#[cfg(not(feature = "lake"))]
fn probe(_: &Config, lake: &crate::config::LakeConfig) -> CheckOutcome {
    CheckOutcome::warning(
        format!("this halosync was built without lakes, and ships nothing to {}", lake.url),
        "build it with the feature `lake`, or remove `url` in [lake]",
    )
}
