//! Reference tables: the names of statuses and ticket types. They are refreshed daily and with every full scan, and at most hourly
//! when a number without a name turns up. An answer that cannot be read, is empty, or lost more than half of its rows is
//! no result: what is known stays, and the next run asks again. A server that forbids the lists does not stop the tickets.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::context::RunContext;
use super::custom_fields::source::FieldSource;
use super::probe_results::{self, is_older_than, record_unavailable};
use super::row_intake::{MissingNames, RowMapping};
use crate::store::{Probe, StoreError};
use crate::ticket::Timestamp;
use crate::ticket::parse::{ParsedItems, ReferenceItem};

const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

/// The result for a list that was stored.
const LISTED: &str = "listed";

/// The results that are none: the list is requested again in the next run.
const NO_RESULTS: [&str; 3] = ["empty", "shrunk", "unreadable"];

/// Refreshes the tables that are older than a day, or that have no result.
pub(super) async fn refresh(context: &RunContext) -> Result<(), SyncError> {
    let max_age = if context.settings.schedule.full_requested { Duration::ZERO } else { DAILY };
    refresh_statuses(context, max_age).await?;
    refresh_types(context, max_age).await
}

/// Refreshes the tables again where this run, which began at `started_at`, did not: a full scan brings everything up to
/// date. Returns whether it asked.
pub(super) async fn refresh_for_full_scan(
    context: &RunContext,
    started_at: Timestamp,
) -> Result<bool, SyncError> {
    let age = (context.now().instant() - started_at.instant()).abs() + TimeDelta::milliseconds(1);
    let max_age = age.to_std().unwrap_or(DAILY);
    let is_stale = |probe| is_older_than(context, probe, max_age);
    let (statuses, types) = (is_stale(Probe::StatusNames)?, is_stale(Probe::TypeNames)?);
    if statuses {
        refresh_statuses(context, max_age).await?;
    }
    if types {
        refresh_types(context, max_age).await?;
    }
    Ok(statuses || types)
}

/// Asks again before an initial load ends for what had no result when it began.
pub(super) async fn refresh_before_load_ends(context: &RunContext) -> Result<(), SyncError> {
    refresh_statuses(context, DAILY).await?;
    refresh_types(context, DAILY).await
}

/// Looks up names for numbers that have none, at most hourly. A number that an answer did not show is not looked up again
/// before the daily refresh.
pub(super) async fn look_up(context: &RunContext, missing: &MissingNames) -> Result<(), SyncError> {
    let unknown = new_numbers(context, Probe::UnknownStatuses, &missing.statuses)?;
    if !unknown.is_empty() && is_older_than(context, Probe::StatusNames, HOURLY)? {
        refresh_statuses(context, HOURLY).await?;
        remember_unknown(context, Probe::UnknownStatuses, unknown).await?;
    }
    let unknown = new_numbers(context, Probe::UnknownTypes, &missing.types)?;
    if !unknown.is_empty() && is_older_than(context, Probe::TypeNames, HOURLY)? {
        refresh_types(context, HOURLY).await?;
        remember_unknown(context, Probe::UnknownTypes, unknown).await?;
    }
    Ok(())
}

/// The numbers that were not looked up in vain since the last daily refresh.
fn new_numbers(
    context: &RunContext,
    probe: Probe,
    numbers: &BTreeSet<i64>,
) -> Result<BTreeSet<i64>, StoreError> {
    let stored = context.store.lock().read(|tx| tx.probe(probe))?;
    let remembered: HashSet<i64> = stored
        .iter()
        .flat_map(|probe| probe.result.split(','))
        .filter_map(|number| number.parse().ok())
        .collect();
    Ok(numbers.iter().copied().filter(|number| !remembered.contains(number)).collect())
}

/// Remembers that numbers were looked up.
async fn remember_unknown(
    context: &RunContext,
    probe: Probe,
    numbers: BTreeSet<i64>,
) -> Result<(), SyncError> {
    // Where the refresh had a result, nothing is remembered from before it.
    let earlier = context.store.lock().read(|tx| tx.probe(probe))?.map(|probe| probe.result);
    let all: Vec<_> = earlier.into_iter().chain(numbers.iter().map(ToString::to_string)).collect();
    probe_results::record(context, probe, all.join(","), None).await
}

/// What rows are mapped with, from the stored tables.
pub(super) fn load_mapping(context: &RunContext, field_source: FieldSource) -> Result<RowMapping, SyncError> {
    context.store.lock().read(|tx| {
        let types = tx.ticket_types()?.into_iter().map(|it| it.id).collect();
        let statuses = tx.status_names()?.into_keys().collect();
        Ok(RowMapping { scope: context.settings.scope.clone(), statuses, types, fields: field_source })
    })
}

/// Whether a list is to be requested: it has no result, or one older than `max_age`.
fn is_due(context: &RunContext, probe: Probe, max_age: Duration) -> Result<bool, SyncError> {
    let stored = context.store.lock().read(|tx| tx.probe(probe))?;
    let has_result = stored.is_some_and(|probe| !NO_RESULTS.contains(&probe.result.as_str()));
    Ok(!has_result || is_older_than(context, probe, max_age)?)
}

/// Why a list cannot be the whole of it: it is empty, or shows fewer than half of the `stored` rows.
fn why_doubtful(list: &ParsedItems<ReferenceItem>, stored: u64) -> Option<&'static str> {
    match list.items.len() as u64 {
        0 => Some("empty"),
        shown if shown + (list.unreadable as u64) < stored.div_ceil(2) => Some("shrunk"),
        _ => None,
    }
}

async fn record_doubtful(
    context: &RunContext,
    probe: Probe,
    result: &'static str,
    what: &str,
) -> Result<(), SyncError> {
    tracing::warn!(result, "the list of {what} is {result}; continuing with those already stored");
    probe_results::record(context, probe, result, None).await
}

async fn refresh_types(context: &RunContext, max_age: Duration) -> Result<(), SyncError> {
    if !is_due(context, Probe::TypeNames, max_age)? {
        return Ok(());
    }
    let types = match context.halo.fetch_ticket_types().await {
        Ok(types) => types,
        Err(error) => {
            return record_unavailable(context, Probe::TypeNames, "names of ticket types", error).await;
        }
    };
    let stored = context.store.lock().read(|tx| tx.present_ticket_types())?;
    if let Some(result) = why_doubtful(&types, stored) {
        return record_doubtful(context, Probe::TypeNames, result, "ticket types").await;
    }
    let (now, tx_end) = (context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.update_ticket_types(&types, now)?;
                tx.delete_probe(Probe::UnknownTypes)?;
                tx.record_probe(Probe::TypeNames, LISTED, None, now)
            })
        })
        .await
}

async fn refresh_statuses(context: &RunContext, max_age: Duration) -> Result<(), SyncError> {
    if !is_due(context, Probe::StatusNames, max_age)? {
        return Ok(());
    }
    let statuses = match context.halo.fetch_statuses(false).await {
        Ok(statuses) => statuses,
        Err(error) => {
            return record_unavailable(context, Probe::StatusNames, "names of statuses", error).await;
        }
    };
    let stored = context.store.lock().read(|tx| tx.present_statuses())?;
    if let Some(result) = why_doubtful(&statuses, stored) {
        return record_doubtful(context, Probe::StatusNames, result, "statuses").await;
    }
    // A server that does not know `excludeclosed` returns the same list; then nobody knows which are closed.
    let open: HashSet<i64> = match context.halo.fetch_statuses(true).await {
        Ok(open) => open.items.iter().map(|status| status.id).collect(),
        Err(_) => HashSet::new(),
    };
    let closed: HashSet<i64> =
        statuses.items.iter().map(|it| it.id).filter(|id| !open.contains(id)).collect();
    let closed_known = !open.is_empty() && !closed.is_empty();
    let (run_id, now, tx_end) = (context.run_id, context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.update_statuses(&statuses, closed_known.then_some(&closed), run_id, now)?;
                tx.delete_probe(Probe::UnknownStatuses)?;
                tx.record_probe(Probe::StatusNames, LISTED, None, now)
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
