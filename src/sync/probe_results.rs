//! The stored results of probes and of refreshed reference tables: when they are due again, and how they are recorded.

use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::context::RunContext;
use crate::halo::{HaloError, Responder};
use crate::store::Probe;

/// Whether a result is missing or older than `max_age`.
pub(super) fn is_older_than(
    context: &RunContext,
    probe: Probe,
    max_age: Duration,
) -> Result<bool, SyncError> {
    let stored = context.store.lock().read(|tx| tx.probe(probe))?;
    let max_age = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
    let now = context.now();
    // A result from the future was recorded when the local clock was wrong.
    Ok(stored.is_none_or(|it| max_age <= (now.instant() - it.probed_at.instant()).abs()))
}

/// Records a result.
pub(super) async fn record(
    context: &RunContext,
    probe: Probe,
    result: impl Into<String>,
    details: Option<String>,
) -> Result<(), SyncError> {
    let (result, now, tx_end) = (result.into(), context.now(), context.tx_end());
    context
        .store
        .call(move |store| store.write(tx_end, |tx| tx.record_probe(probe, &result, details.as_deref(), now)))
        .await
}

/// Records that a list is not available. `missing` names what it holds, in the plural, for the log. An error that is
/// not about this list alone is passed on.
pub(super) async fn record_unavailable(
    context: &RunContext,
    probe: Probe,
    missing: &str,
    error: HaloError,
) -> Result<(), SyncError> {
    if error.is_token_error() {
        return Err(error.into());
    }
    let result = match &error {
        HaloError::Refused { status: 401 | 403, answered_by: Responder::Server, .. } => "forbidden",
        HaloError::Refused { .. }
        | HaloError::Unreadable(_)
        | HaloError::TooLarge { .. }
        | HaloError::Unavailable { .. } => "unreadable",
        HaloError::Unreachable { .. }
        | HaloError::RateLimited { .. }
        | HaloError::Credentials { .. }
        | HaloError::OtherAuthServer { .. } => return Err(error.into()),
    };
    tracing::warn!("the {missing} are not available; continuing with those already stored: {error}");
    record(context, probe, result, Some(error.to_string())).await
}
