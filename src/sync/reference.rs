//! Reference tables: names for the numbers in tickets. They are refreshed daily and with every full scan on request. Lists
//! that come whole are read before the first page; those that are read page by page after the scan (`reference_pages`).
//!
//! An answer that cannot be read, is empty, or lost more than half of its rows is no result: what is known stays, and the
//! next run asks again, later ones with growing pauses. A server that forbids a list does not stop the tickets, nor the other lists.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::context::{DECISION_TARGET, RunContext};
use super::custom_fields::source::FieldSource;
use super::probe_results::{self, is_older_than};
use super::row_intake::{LOOKED_UP, MissingNames, RowMapping};
use crate::halo::{HaloError, Responder};
use crate::reference::{
    REFERENCE_TABLES, ReferenceItem, ReferenceRow, ReferenceTable, STATUS_CLOSED, STATUSES, Selection,
    TICKET_TYPES,
};
use crate::store::{Probe, ReferenceList, ReferenceResult};
use crate::ticket::parse::ParsedItems;
use crate::ticket::{AttributeValue, Timestamp};

pub(super) const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

/// How often it is asked which statuses are closed, unless the statuses changed.
const CLOSED_STATUSES_EVERY: Duration = Duration::from_hours(7 * 24);

/// Whether a table is read.
fn is_selected(context: &RunContext, table: &'static ReferenceTable) -> bool {
    table.selection == Selection::Always || context.settings.reference.contains(&table)
}

/// The tables that are read, in order.
pub(super) fn selected(context: &RunContext) -> impl Iterator<Item = &'static ReferenceTable> {
    REFERENCE_TABLES.iter().filter(|table| is_selected(context, table))
}

/// Refreshes the tables that are older than a day, or that have no result, and empties those that are no longer read.
pub(super) async fn refresh(context: &RunContext) -> Result<(), SyncError> {
    for table in REFERENCE_TABLES.iter().filter(|table| !is_selected(context, table)) {
        clear(context, table).await?;
    }
    let max_age = if context.settings.schedule.full_requested { Duration::ZERO } else { DAILY };
    refresh_older_than(context, max_age).await
}

/// Refreshes statuses and ticket types again before a full scan, where this run, which began at `started_at`, did not and
/// they are older than half the time between two such scans. Returns whether it asked.
pub(super) async fn refresh_for_full_scan(
    context: &RunContext,
    started_at: Timestamp,
) -> Result<bool, SyncError> {
    if context.settings.dry_run {
        return Ok(false);
    }
    let max_age = context.settings.schedule.full_every.map_or(DAILY, |every| (every / 2).min(DAILY));
    let mut asked = false;
    for table in selected(context).filter(|table| table.selection == Selection::Always) {
        let list = context.store.lock().read(|tx| tx.reference_list(table))?;
        let was_read = list.is_some_and(|list| started_at <= list.read_at);
        if !was_read && is_due(context, table, max_age)? {
            refresh_table(context, table, max_age).await?;
            asked = true;
        }
    }
    Ok(asked)
}

/// Asks again before an initial load ends for what had no result when it began.
pub(super) async fn refresh_before_load_ends(context: &RunContext) -> Result<(), SyncError> {
    // A dry run stores no result, so that everything would be asked for again.
    if context.settings.dry_run {
        return Ok(());
    }
    refresh_older_than(context, DAILY).await
}

async fn refresh_older_than(context: &RunContext, max_age: Duration) -> Result<(), SyncError> {
    for table in selected(context).filter(|table| !table.is_paged) {
        refresh_table(context, table, max_age).await?;
    }
    Ok(())
}

/// Looks up names for numbers that have none, at most hourly. A number that an answer did not show is not looked up again
/// before the daily refresh.
pub(super) async fn look_up(context: &RunContext, missing: &MissingNames) -> Result<(), SyncError> {
    for ((table, _), numbers) in LOOKED_UP.into_iter().zip(&missing.0) {
        let list = context.store.lock().read(|tx| tx.reference_list(table))?;
        let remembered = list.map(|list| list.unknown_ids).unwrap_or_default();
        let unknown: BTreeSet<_> = numbers.difference(&remembered).copied().collect();
        let is_asked = is_selected(context, table) && !context.settings.dry_run;
        if unknown.is_empty() || !is_asked || !is_due(context, table, HOURLY)? {
            continue;
        }
        refresh_table(context, table, HOURLY).await?;
        let tx_end = context.tx_end();
        context
            .store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    let Some(mut list) = tx.as_read_tx().reference_list(table)? else { return Ok(()) };
                    list.unknown_ids.extend(unknown);
                    tx.record_reference_list(table, &list)
                })
            })
            .await?;
    }
    Ok(())
}

/// What rows are mapped with, from the stored tables.
pub(super) fn load_mapping(context: &RunContext, field_source: FieldSource) -> Result<RowMapping, SyncError> {
    context.store.lock().read(|tx| {
        let mut named = [const { None }; LOOKED_UP.len()];
        for (slot, (table, _)) in named.iter_mut().zip(LOOKED_UP) {
            if is_selected(context, table) {
                *slot = Some(tx.reference_ids(table)?);
            }
        }
        Ok(RowMapping { scope: context.settings.scope.clone(), named, fields: field_source })
    })
}

/// Empties a table that is no longer read: nobody refreshes what it says about people.
async fn clear(context: &RunContext, table: &'static ReferenceTable) -> Result<(), SyncError> {
    let is_empty = context.store.lock().read(|tx| {
        Ok::<_, SyncError>(tx.is_reference_empty(table)? && tx.reference_list(table)?.is_none())
    })?;
    if is_empty {
        return Ok(());
    }
    tracing::info!(target: DECISION_TARGET, "`[halo] reference` no longer names {table}: the table is emptied");
    let tx_end = context.tx_end();
    context.store.call(move |store| store.write(tx_end, |tx| tx.clear_reference(table))).await
}

/// Whether a list is to be requested: its result is of at least `max_age`, or its answer changed nothing. Then it is
/// requested in the next run, and after that with growing pauses.
pub(super) fn is_due(
    context: &RunContext,
    table: &ReferenceTable,
    max_age: Duration,
) -> Result<bool, SyncError> {
    let list = context.store.lock().read(|tx| tx.reference_list(table))?;
    let now = context.now().instant();
    Ok(list.is_none_or(|list| {
        let pause = if list.result.is_final() { max_age } else { retry_pause(&list).min(max_age) };
        let pause = TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
        // A time in the future was recorded when the local clock was wrong.
        pause <= (now - list.read_at.instant()).abs()
    }))
}

/// How long to wait after an answer that changed nothing: not at all, then 1, 2, 4 … hours.
fn retry_pause(list: &ReferenceList) -> Duration {
    let doublings = list.attempts.checked_sub(2);
    doublings.map_or(Duration::ZERO, |doublings| HOURLY.saturating_mul(1 << doublings.min(5)).min(DAILY))
}

/// Why a list cannot be the whole of it: it is empty, or shows fewer than half of the `stored` rows.
pub(super) fn why_doubtful(table: &ReferenceTable, shown: u64, stored: u64) -> Option<ReferenceResult> {
    match shown {
        // Every server has statuses and ticket types.
        0 if 0 < stored || table.selection == Selection::Always => Some(ReferenceResult::Empty),
        shown if shown < stored.div_ceil(2) => Some(ReferenceResult::Shrunk),
        _ => None,
    }
}

/// Records a result that changes nothing, and how many such answers came in succession.
async fn record_result(
    context: &RunContext,
    table: &'static ReferenceTable,
    mut list: ReferenceList,
) -> Result<(), SyncError> {
    let tx_end = context.tx_end();
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                if !list.result.is_final() {
                    let before = tx.as_read_tx().reference_list(table)?;
                    list.attempts = before.map_or(0, |before| before.attempts) + 1;
                }
                tx.record_reference_list(table, &list)
            })
        })
        .await
}

/// Records that the answer, with `shown` rows, cannot be the whole list.
pub(super) async fn record_doubtful(
    context: &RunContext,
    table: &'static ReferenceTable,
    result: ReferenceResult,
    shown: u64,
) -> Result<(), SyncError> {
    let (before, stored) = context
        .store
        .lock()
        .read(|tx| Ok::<_, SyncError>((tx.reference_list(table)?, tx.present_rows(table)?)))?;
    if before.is_none_or(|list| list.result != result) {
        tracing::warn!(
            result = result.as_str(),
            "{} shows {shown} rows, and {stored} are stored: nothing is changed until it shows at least half of them",
            table.list_name
        );
    }
    record_result(context, table, ReferenceList::new(result, context.now())).await
}

/// Records that a list is not available. An error that is not about this list alone is passed on.
pub(super) async fn record_unavailable(
    context: &RunContext,
    table: &'static ReferenceTable,
    error: HaloError,
) -> Result<(), SyncError> {
    if error.is_token_error() {
        return Err(error.into());
    }
    let result = match &error {
        HaloError::Refused { status: 401 | 403, answered_by: Responder::Server, .. } => {
            ReferenceResult::Forbidden
        }
        HaloError::Refused { status: 404 | 410, answered_by: Responder::Server, .. } => {
            ReferenceResult::Missing
        }
        HaloError::Refused { .. }
        | HaloError::Unreadable(_)
        | HaloError::TooLarge { .. }
        | HaloError::Unavailable { .. } => ReferenceResult::Unreadable,
        // Statuses and ticket types answered, so it is this list that cannot be reached.
        HaloError::Unreachable { .. } if table.selection != Selection::Always => ReferenceResult::Unreadable,
        HaloError::Unreachable { .. }
        | HaloError::RateLimited { .. }
        | HaloError::Credentials { .. }
        | HaloError::OtherAuthServer { .. } => return Err(error.into()),
    };
    let stored = context.store.lock().read(|tx| tx.reference_list(table))?;
    let words = table.words();
    let message =
        format!("the names of {words} are not available; continuing with those already stored: {error}");
    // Some applications may never see a list: `status -v` and `check` say so.
    let is_normal = result.is_final() && table.selection != Selection::Always;
    if stored.as_ref().is_none_or(|it| it.result != result) && !is_normal {
        tracing::warn!("{message}");
    } else {
        tracing::debug!("{message}");
    }
    // A list that is half read goes on where it was, unless that will be long ago.
    let rest = stored.and_then(|it| it.rest).filter(|_| !result.is_final());
    let details = Some(error.to_string());
    record_result(
        context,
        table,
        ReferenceList { details, rest, ..ReferenceList::new(result, context.now()) },
    )
    .await
}

/// Reads a list that comes whole, if it is due.
async fn refresh_table(
    context: &RunContext,
    table: &'static ReferenceTable,
    max_age: Duration,
) -> Result<(), SyncError> {
    if !is_due(context, table, max_age)? {
        return Ok(());
    }
    let mut list = match context.halo.fetch_reference_list(table).await {
        Ok(list) => list,
        Err(error) => return record_unavailable(context, table, error).await,
    };
    let shown = (list.items.len() + list.unreadable) as u64;
    let stored = context.store.lock().read(|tx| tx.present_rows(table))?;
    let shown = if list.items.is_empty() { 0 } else { shown };
    if let Some(result) = why_doubtful(table, shown, stored) {
        return record_doubtful(context, table, result, shown).await;
    }
    if table == STATUSES {
        find_closed_statuses(context, &mut list, max_age).await?;
    }
    store_list(context, table, list).await
}

async fn store_list(
    context: &RunContext,
    table: &'static ReferenceTable,
    list: ParsedItems<ReferenceRow>,
) -> Result<(), SyncError> {
    let (run_id, now, tx_end) = (context.run_id, context.now(), context.tx_end());
    let findings = context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.store_reference_list(table, &list, run_id, now)?;
                let unmapped = list.unmapped.as_ref();
                unmapped.map(|it| tx.record_unmapped_fields(table.name, it, now)).transpose()
            })
        })
        .await?;
    context.add_new_fields(findings);
    Ok(())
}

/// Finds out which statuses are closed: weekly, on request, and where that is not known of one. Where it is not asked, or
/// cannot be told this time, the stored answer stays.
async fn find_closed_statuses(
    context: &RunContext,
    list: &mut ParsedItems<ReferenceRow>,
    max_age: Duration,
) -> Result<(), SyncError> {
    let (known, lacks_some) = context
        .store
        .lock()
        .read(|tx| Ok::<_, SyncError>((tx.reference_ids(STATUSES)?, tx.lacks_closed_flags()?)))?;
    let has_new = list.items.iter().filter_map(ReferenceRow::id).any(|id| !known.contains(&id));
    let every = if max_age.is_zero() { max_age } else { CLOSED_STATUSES_EVERY };
    let is_due = has_new || lacks_some || is_older_than(context, Probe::ClosedStatuses, every)?;
    // A failure is that of one request: the next refresh asks again.
    let open = if is_due { context.halo.fetch_open_statuses().await.ok() } else { None };
    let was_asked = open.is_some();
    let open: HashSet<i64> = open.iter().flat_map(|open| &open.items).filter_map(ReferenceRow::id).collect();
    let is_closed = |row: &ReferenceRow| row.id().is_some_and(|id| !open.contains(&id));
    // A server that does not know the parameter returns the same list; then nobody knows which are closed.
    let is_known = !open.is_empty() && list.items.iter().any(is_closed);
    for row in &mut list.items {
        if is_known {
            row.values[STATUS_CLOSED] = AttributeValue::Integer(is_closed(row).into());
        } else {
            row.rejected.push(STATUS_CLOSED);
        }
    }
    if !was_asked {
        return Ok(());
    }
    let result = if is_known { "known" } else { "unknown" };
    probe_results::record(context, Probe::ClosedStatuses, result, None).await
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

/// The ticket types of the server.
pub(super) async fn fetch_ticket_types(context: &RunContext) -> Result<Vec<ReferenceItem>, HaloError> {
    Ok(crate::reference::reference_items(
        TICKET_TYPES,
        &context.halo.fetch_reference_list(TICKET_TYPES).await?,
    ))
}
