//! Remembers where the server has tokens requested, so that a run need not ask before its first request.
//!
//! The token itself is not kept: secrets stay out of the database.

use chrono::TimeDelta;
use url::Url;

use super::SyncError;
use super::context::RunContext;
use crate::store::Probe;

/// How long an answer is used without asking again. A process that runs for longer keeps what it was told until a token is
/// refused.
const VALID_FOR: TimeDelta = TimeDelta::days(1);

/// The word in `server_probes.result`: whose tenant is part of the address, if there is one.
const fn word(context: &RunContext) -> &'static str {
    if context.settings.scope.tenant.is_empty() { "reported" } else { "tenant_of_settings" }
}

/// Has the client use what an earlier run was told.
pub(super) async fn recall(context: &RunContext) -> Result<(), SyncError> {
    let stored = context.store.lock().read(|tx| tx.probe(Probe::TokenUrl))?;
    let usable =
        stored.filter(|it| context.now().is_within(VALID_FOR, it.probed_at) && it.result == word(context));
    // Another program may have stored anything.
    if let Some(url) = usable.and_then(|it| Url::parse(&it.details?).ok()) {
        context.halo.recall_token_url(url).await;
    }
    Ok(())
}

/// Stores what the server said in this run, if it was asked and has issued a token.
pub(super) async fn remember(context: &RunContext) -> Result<(), SyncError> {
    let Some(url) = context.halo.take_reported_token_url().await else { return Ok(()) };
    let (tx_end, now, word) = (context.tx_end(), context.now(), word(context));
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| tx.record_probe(Probe::TokenUrl, word, Some(url.as_str()), now))
        })
        .await
}
