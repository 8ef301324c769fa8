//! Asks a store whether it takes each name only once.

use tokio_util::sync::CancellationToken;

use super::open_lake;
use crate::app::AppError;
use crate::config::{Config, LakeConfig};
use crate::content_digest::ContentDigest;
use crate::lake::{LakeError, LakeLayout, PutOutcome};

/// Puts a small object twice, with different content: the second must be refused. The object stays, and a later probe finds it.
///
/// Blocks, and must be called within a tokio runtime.
///
/// # Errors
/// [`LakeError::AcceptsSecond`] if both were taken; and whatever else prevents shipping.
pub(crate) fn probe_lake(
    config: &Config,
    lake: &LakeConfig,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let store = open_lake(config, lake, stop)?;
    let name = LakeLayout::new(lake.server.clone()).probe();
    let put = |content: &str| {
        let content = content.as_bytes().to_vec();
        let digest = ContentDigest::of(&content);
        store.create(&name, content, &digest)
    };
    put("halosync check\n")?;
    if put("halosync check, once more\n")? == PutOutcome::Created {
        return Err(LakeError::AcceptsSecond { object: store.address(&name) }.into());
    }
    Ok(())
}
