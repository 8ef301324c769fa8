//! Remembers where the server has tokens requested, so that a run need not ask before its first request.
//!
//! The token itself is not kept: secrets stay out of the database.

use std::time::Duration;

use chrono::TimeDelta;
use url::Url;

use super::SyncError;
use super::context::RunContext;
use crate::store::Probe;

/// How long an answer is used without asking again: a tenant that was renamed is noticed within a day, even where tokens for
/// the old one are still issued.
const VALID_FOR: Duration = Duration::from_hours(24);

/// The word in `server_probes.result`.
const REPORTED: &str = "reported";

/// Has the client use what an earlier run was told.
pub(super) async fn recall(context: &RunContext) -> Result<(), SyncError> {
    let stored = context.store.lock().read(|tx| tx.probe(Probe::TokenUrl))?;
    let valid_for = TimeDelta::from_std(VALID_FOR).unwrap_or(TimeDelta::MAX);
    let fresh = stored.filter(|it| (context.now().instant() - it.probed_at.instant()).abs() < valid_for);
    // Another program may have stored anything.
    if let Some(url) = fresh.and_then(|it| Url::parse(&it.details?).ok()) {
        context.halo.recall_token_url(url).await;
    }
    Ok(())
}

/// Stores what the server said in this run, if it was asked.
pub(super) async fn remember(context: &RunContext) -> Result<(), SyncError> {
    let Some(url) = context.halo.take_reported_token_url().await else { return Ok(()) };
    let (tx_end, now) = (context.tx_end(), context.now());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| tx.record_probe(Probe::TokenUrl, REPORTED, Some(url.as_str()), now))
        })
        .await
}
