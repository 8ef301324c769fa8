//! Reference tables: the names of statuses and ticket types. They are refreshed daily, and at most hourly when a number
//! without a name turns up. A server that forbids them does not stop the tickets.

use std::time::Duration;

use super::SyncError;
use super::context::RunContext;
use super::custom_fields::source::FieldSource;
use super::probe_results::{self, is_older_than, record_unavailable};
use super::row_intake::{MissingNames, RowMapping};
use crate::store::Probe;
use crate::ticket::parse::ReferenceItem;

const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

/// The result for a list that is available and empty.
const EMPTY: &str = "empty";

/// Refreshes the tables that are older than a day.
pub(super) async fn refresh(context: &RunContext) -> Result<(), SyncError> {
    refresh_statuses(context, DAILY).await?;
    refresh_types(context, DAILY).await
}

/// Looks up names for numbers that have none, at most hourly.
pub(super) async fn look_up(context: &RunContext, missing_names: MissingNames) -> Result<(), SyncError> {
    if missing_names.status {
        refresh_statuses(context, HOURLY).await?;
    }
    if missing_names.ticket_type {
        refresh_types(context, HOURLY).await?;
    }
    Ok(())
}

/// What rows are mapped with, from the stored tables.
pub(super) fn load_mapping(context: &RunContext, field_source: FieldSource) -> Result<RowMapping, SyncError> {
    context.store.lock().read(|tx| {
        let types = tx.ticket_types()?.into_iter().map(|it| it.id).collect();
        let statuses = tx.status_names()?.into_keys().collect();
        Ok(RowMapping { scope: context.settings.scope.clone(), statuses, types, fields: field_source })
    })
}

async fn refresh_types(context: &RunContext, max_age: Duration) -> Result<(), SyncError> {
    if !is_older_than(context, Probe::TypeNames, max_age)? {
        return Ok(());
    }
    match context.halo.fetch_ticket_types().await {
        Ok(types) if types.is_empty() => probe_results::record(context, Probe::TypeNames, EMPTY, None).await,
        Ok(types) => store_types(context, types).await,
        Err(error) => record_unavailable(context, Probe::TypeNames, "ticket type names", error).await,
    }
}

async fn refresh_statuses(context: &RunContext, max_age: Duration) -> Result<(), SyncError> {
    if !is_older_than(context, Probe::StatusNames, max_age)? {
        return Ok(());
    }
    let statuses = match context.halo.fetch_statuses(false).await {
        // Known names do not become numbers because a permission was taken away.
        Ok(statuses) if statuses.is_empty() => {
            return probe_results::record(context, Probe::StatusNames, EMPTY, None).await;
        }
        Ok(statuses) => statuses,
        Err(error) => return record_unavailable(context, Probe::StatusNames, "status names", error).await,
    };
    // A server that does not know `excludeclosed` returns the same list; then nobody knows which are closed.
    let open = context.halo.fetch_statuses(true).await.unwrap_or_default();
    let closed: Vec<i64> =
        statuses.iter().map(|it| it.id).filter(|id| !open.iter().any(|open| open.id == *id)).collect();
    let closed_known = !open.is_empty() && !closed.is_empty();
    let (run_id, now, tx_end) = (context.run_id, context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.replace_statuses(&statuses, closed_known.then_some(&closed), run_id, now)?;
                tx.record_probe(Probe::StatusNames, "listed", None, now)
            })
        })
        .await
}

async fn store_types(context: &RunContext, types: Vec<ReferenceItem>) -> Result<(), SyncError> {
    let (now, tx_end) = (context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.replace_ticket_types(&types)?;
                tx.record_probe(Probe::TypeNames, "listed", None, now)
            })
        })
        .await
}

/// The ids of ticket types by their names, which are compared trimmed and without regard to case;
/// several types may share a name.
///
/// # Errors
/// [`SyncError::UnknownType`]: an unknown name must never mean "no filter".
pub fn resolve_ticket_types(wanted: &[String], types: &[ReferenceItem]) -> Result<Vec<i64>, SyncError> {
    let fold = |name: &str| name.trim().to_lowercase();
    let mut ids = Vec::new();
    for name in wanted {
        let before = ids.len();
        ids.extend(types.iter().filter(|it| fold(&it.name) == fold(name)).map(|it| it.id));
        if ids.len() == before {
            let mut known: Vec<String> = types.iter().map(|it| it.name.trim().to_owned()).collect();
            known.sort();
            known.dedup();
            return Err(SyncError::UnknownType { name: name.clone(), known });
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
