//! How far the lake is; reads the database alone.

use serde::Serialize;

use crate::app::{AppError, LoadedConfig};
use crate::config::{Config, ConsumerName};
use crate::store::{LakeBacklog, LakePushes, ReadTx, Store, StoreError};

/// How far the lake is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LakeStatus {
    /// Where the lake is.
    pub url: String,
    /// Name of this copy there.
    pub server: String,
    /// Number of the present epoch, if one has begun there under that name.
    pub epoch: Option<i64>,
    /// Whether readers were told of it.
    pub announced: bool,
    /// Up to which change everything is in the lake.
    pub to_seq: i64,
    /// The number of the newest change.
    pub last_seq: i64,
    /// What is made and not in the lake.
    pub waiting: LakeBacklog,
    /// How the pushes went; `None` before the first one.
    pub pushes: Option<LakePushes>,
}

/// Reads how far the lake is; `None` where the settings name no lake. Takes no lock and reads no secret.
pub fn lake_status(loaded: &LoadedConfig) -> Result<Option<LakeStatus>, AppError> {
    let config = &loaded.config;
    let store = Store::open_read_only(&config.store.path, config.store.busy_timeout)?;
    Ok(store.read(|tx| LakeStatus::read(config, tx))?)
}

impl LakeStatus {
    /// Reads it; `None` where the settings name no lake.
    pub(crate) fn read(config: &Config, tx: &ReadTx<'_>) -> Result<Option<LakeStatus>, StoreError> {
        let Some(lake) = &config.lake else { return Ok(None) };
        let (url, server) = (lake.url.to_string(), lake.server.as_str().to_owned());
        let epoch = tx.lake_epoch()?.filter(|it| it.url == url && it.server == server);
        let position = tx.consumer_position(&ConsumerName::lake())?.unwrap_or_default();
        Ok(Some(LakeStatus {
            url,
            server,
            announced: epoch.as_ref().is_some_and(|it| it.announced_at.is_some()),
            to_seq: if epoch.is_some() { position.acked_seq } else { 0 },
            epoch: epoch.map(|it| it.epoch),
            last_seq: tx.greatest_seq()?,
            waiting: tx.lake_backlog()?,
            pushes: tx.lake_pushes()?,
        }))
    }
}
