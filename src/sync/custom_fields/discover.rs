//! Finds out which custom fields there are (daily), and whether the list returns them (weekly).
//!
//! What the list returns is compared with single tickets ([`FieldComparison`]) when it is first requested, and weekly.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;

use super::source::{FieldComparison, FieldFollowUp, FieldProbeResult, FieldSource, conclude_probe};
use crate::halo::{BudgetPermit, Coverage, Filter, HaloError, ListQuery, TicketDetails, TicketLookup};
use crate::store::{Probe, StoreError, StoredTicket};
use crate::sync::context::RunContext;
use crate::sync::{SyncError, probe_results, probes};
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::{CustomField, CustomFields, Ticket, Timestamp};

/// The results that are deleted when custom fields are switched off.
pub(in crate::sync) const FIELD_PROBES: [Probe; 3] =
    [Probe::CustomFields, Probe::FieldList, Probe::FieldScan];

/// The result while nothing was compared: the list is trusted, not proved.
const NOT_COMPARED: &str = "not_compared";

/// Tickets of each type that are compared.
const SAMPLES_PER_TYPE: u32 = 3;

/// At most so many tickets are compared; each costs a request.
pub const SAMPLES_MAX: u32 = 15;

/// How long an unknown result is left alone.
const UNKNOWN_VALID_FOR: TimeDelta = TimeDelta::days(1);

/// Finds out where custom fields are read from, as far as that is possible before the list is read.
pub(in crate::sync) async fn field_source_for_scan(context: &RunContext) -> Result<FieldSource, SyncError> {
    if !context.settings.scope.custom_fields {
        return Ok(FieldSource::NotSynced);
    }
    if probe_results::is_older_than(context, Probe::FieldList, Duration::from_hours(24))? {
        refresh_field_definitions(context).await?;
    }
    let source = field_source(context)?;
    // A server may start to refuse the parameter. The run that noticed has failed, so it is checked again after that.
    let in_doubt = context.store.lock().read(|tx| {
        Ok::<_, StoreError>(
            tx.probe(Probe::CustomFields)?.is_none() || tx.has_previous_run_failed(context.run_id)?,
        )
    })?;
    if in_doubt && is_list_refused_with_fields(context, &source).await? {
        let details = "the list refuses `include_custom_fields`".to_owned();
        // Rows of an earlier, interrupted scan may have wrong custom fields from the list: all are fetched again.
        let refused = (FieldProbeResult::Unreliable, FieldFollowUp::EnqueueAll);
        store_probe_result(context, refused, details, context.now()).await?;
        return field_source(context);
    }
    Ok(source)
}

/// Whether the list is refused because of the custom fields requested: a page of one ticket shows it.
async fn is_list_refused_with_fields(context: &RunContext, source: &FieldSource) -> Result<bool, SyncError> {
    let query =
        ListQuery { filter: probes::whole_list(context, Coverage::Plain), fields: source.requested_ids() };
    if query.fields.is_empty() {
        return Ok(false);
    }
    let is_bad_request = |it: &HaloError| matches!(it, HaloError::Refused { status: 400, .. });
    let with_fields = context.halo.fetch_page(&query, 1, 1).await;
    let without_fields = ListQuery { fields: Vec::new(), ..query };
    Ok(with_fields.is_err_and(|error| is_bad_request(&error))
        && context.halo.fetch_page(&without_fields, 1, 1).await.is_ok())
}

/// Where custom fields are read from, as far as is known.
pub(in crate::sync) fn field_source(context: &RunContext) -> Result<FieldSource, SyncError> {
    let (probe, definitions) = context
        .store
        .lock()
        .read(|tx| Ok::<_, SyncError>((tx.probe(Probe::CustomFields)?, tx.field_definitions()?)))?;
    let result = probe.and_then(|it| FieldProbeResult::parse(&it.result));
    Ok(FieldSource::from_probe_result(result, definitions))
}

/// Adds the fields of a ticket that were not known.
pub(super) async fn record_new_fields(context: &RunContext, fields: &CustomFields) -> Result<(), SyncError> {
    let known = context.store.lock().read(|tx| tx.field_definitions())?;
    let known: HashSet<i64> = known.iter().map(|field| field.id).collect();
    let new: Vec<_> =
        fields.fields().iter().filter(|field| !known.contains(&field.id)).map(definition).collect();
    if new.is_empty() { Ok(()) } else { store_definitions(context, None, new).await }
}

/// Whether fields are known that no full scan has requested.
pub(in crate::sync) fn has_unscanned_fields(
    context: &RunContext,
    source: &FieldSource,
) -> Result<bool, SyncError> {
    let field_scan = context.store.lock().read(|tx| tx.probe(Probe::FieldScan))?;
    Ok(matches!(source, FieldSource::List { .. }) && field_scan.is_some_and(|it| it.result == "due"))
}

/// Finds out which custom fields there are: from the server's own list, otherwise from a ticket of each type.
async fn refresh_field_definitions(context: &RunContext) -> Result<(), SyncError> {
    let listed = match context.halo.fetch_field_definitions().await {
        Ok(definitions) => definitions,
        Err(error) => {
            let missing = "custom field definitions";
            probe_results::record_unavailable(context, Probe::FieldList, missing, error).await?;
            Vec::new()
        }
    };
    if !matches!(field_source(context)?, FieldSource::List { .. }) {
        fetch_removed_fields(context, &listed).await?;
    }
    if !listed.is_empty() {
        return store_definitions(context, Some("listed"), listed).await;
    }
    let stored =
        context.store.call(|store| store.read(|tx| tx.sample_tickets(SAMPLES_PER_TYPE, SAMPLES_MAX))).await?;
    if !store_fields_by_type(context, stored).await? {
        store_fields_by_type(context, first_rows(context).await?).await?;
    }
    store_definitions(context, Some("in_tickets"), Vec::new()).await
}

/// Has tickets fetched again that have a field which the server's own list leaves out and of which a ticket alone shows that
/// it is gone: nothing else tells that the definition of a field was removed, or that the server was restored from a backup
/// that lacks it.
async fn fetch_removed_fields(context: &RunContext, listed: &[CustomField]) -> Result<(), SyncError> {
    let mut unlisted = context.store.lock().read(|tx| tx.unlisted_fields(listed))?;
    unlisted.truncate(SAMPLES_MAX as usize);
    let mut removed = Vec::new();
    let mut shown: HashSet<i64> = HashSet::new();
    for (field_id, tickets) in unlisted {
        if shown.contains(&field_id) {
            continue;
        }
        let Some((fields, _memory)) = complete_fields_of_first(context, tickets).await? else { continue };
        shown.extend(fields.fields().iter().map(|field| field.id));
        if fields.get(field_id).is_none() {
            removed.push(field_id);
        }
    }
    if removed.is_empty() {
        return Ok(());
    }
    let (now, tx_end) = (context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store
                .write(tx_end, |tx| removed.iter().try_for_each(|id| tx.enqueue_fetches_with_field(*id, now)))
        })
        .await
}

/// Adds the custom fields of one ticket of each type: the first one that the server shows with them. Returns whether there
/// are any.
async fn store_fields_by_type(context: &RunContext, rows: Vec<StoredTicket>) -> Result<bool, SyncError> {
    let (mut shown, mut found) = (HashSet::new(), false);
    let mut asked = 0;
    for StoredTicket { id, ticket_type } in rows {
        if shown.contains(&ticket_type) || asked == SAMPLES_MAX {
            continue;
        }
        asked += 1;
        if let Some((ticket, _memory)) = ticket_details(context, id).await?
            && let Some(fields) = ticket.custom_fields()
        {
            shown.insert(ticket_type);
            found |= !fields.fields().is_empty();
            store_definitions(context, None, fields.fields().iter().map(definition).collect()).await?;
        }
    }
    Ok(found)
}

/// The tickets on the first page of the list.
async fn first_rows(context: &RunContext) -> Result<Vec<StoredTicket>, SyncError> {
    let query = probes::whole_list(context, Coverage::Plain).into();
    let page = context.halo.fetch_page(&query, 1, context.settings.page_size).await?;
    let row = |it: &Ticket| StoredTicket { id: it.id(), ticket_type: it.integer(TICKET_TYPE_ID) };
    Ok(page.list.tickets.iter().map(row).collect())
}

/// Adds definitions. If a field is new, every ticket must be seen again: an interrupted full scan, which requested only
/// the others, is abandoned, and the next one is due.
async fn store_definitions(
    context: &RunContext,
    result: Option<&'static str>,
    definitions: Vec<CustomField>,
) -> Result<(), SyncError> {
    let (now, tx_end) = (context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                let known = tx.as_read_tx().field_definitions()?;
                if has_new_field(&known, &definitions) {
                    tx.abandon_scans(now)?;
                    tx.record_probe(Probe::FieldScan, "due", None, now)?;
                }
                tx.add_field_definitions(&definitions)?;
                match result {
                    Some(result) => tx.record_probe(Probe::FieldList, result, None, now),
                    None => Ok(()),
                }
            })
        })
        .await
}

/// Compares the list with single tickets if that is due. `source` is what the scan assumed.
pub(super) async fn compare_fields(context: &RunContext, source: &FieldSource) -> Result<(), SyncError> {
    let (previous, field_scan) = context
        .store
        .lock()
        .read(|tx| Ok::<_, SyncError>((tx.probe(Probe::CustomFields)?, tx.probe(Probe::FieldScan)?)))?;
    let now = context.now();
    let still_valid = previous.as_ref().is_some_and(|previous| {
        let valid_for = match FieldProbeResult::parse(&previous.result) {
            Some(FieldProbeResult::Unknown) => UNKNOWN_VALID_FOR,
            Some(_) => probes::VALID_FOR,
            None => TimeDelta::zero(),
        };
        let age = (now.instant() - previous.probed_at.instant()).abs();
        age < valid_for && field_scan.is_none_or(|field_scan| field_scan.probed_at <= previous.probed_at)
    });
    if still_valid {
        return Ok(());
    }
    let rows =
        context.store.call(|store| store.read(|tx| tx.sample_tickets(SAMPLES_PER_TYPE, SAMPLES_MAX))).await?;
    let mut ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return Ok(());
    }
    if previous.is_none() {
        // If no comparison succeeds, `status` shows this.
        probe_results::record(context, Probe::CustomFields, NOT_COMPARED, None).await?;
    }
    let definitions = context.store.lock().read(|tx| tx.field_definitions())?;
    let field_ids: Vec<i64> = definitions.iter().map(|field| field.id).collect();
    let mut compared = compare_with_single_tickets(context, &ids, &field_ids).await?;
    if compared.result() == FieldProbeResult::Unreliable {
        // A ticket may have changed between two responses without a sign; hardly twice.
        compared = compare_with_single_tickets(context, &ids, &field_ids).await.unwrap_or(compared);
    }
    let (found, samples) = (compared.result(), compared.samples);
    let previous = previous.and_then(|previous| FieldProbeResult::parse(&previous.result));
    let (result, follow_up) = conclude_probe(previous, found, matches!(source, FieldSource::List { .. }));
    let found_str = found.as_str();
    tracing::info!(
        found = found_str,
        "custom fields of the list, compared with {samples} single tickets: {found_str}"
    );
    let details = format!("{samples} tickets compared");
    // A result that could not be confirmed is checked again as soon as an unknown one.
    let unconfirmed = found == FieldProbeResult::Unknown && result != found;
    let probed_at = if unconfirmed { now.minus(probes::VALID_FOR - UNKNOWN_VALID_FOR) } else { now };
    store_probe_result(context, (result, follow_up), details, probed_at).await
}

/// Records the result together with what follows from it.
async fn store_probe_result(
    context: &RunContext,
    (result, follow_up): (FieldProbeResult, FieldFollowUp),
    details: String,
    probed_at: Timestamp,
) -> Result<(), SyncError> {
    let (now, tx_end) = (context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                match follow_up {
                    FieldFollowUp::None => {}
                    FieldFollowUp::EnqueueAll => tx.enqueue_all_fetches(now)?,
                    FieldFollowUp::TreatOmittedAsEmpty => tx.assume_omitted_fields_empty()?,
                }
                tx.record_probe(Probe::CustomFields, result.as_str(), Some(&details), probed_at)
            })
        })
        .await
}

/// Compares some tickets, each from the list and alone, and adds fields that were not known. Tickets that changed in
/// between are left out, and those of which a response tells nothing about custom fields. If the server stops answering,
/// the samples so far are better than none.
async fn compare_with_single_tickets<'f>(
    context: &RunContext,
    ids: &[i64],
    field_ids: &'f [i64],
) -> Result<FieldComparison<'f>, SyncError> {
    let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: field_ids.to_vec() };
    let page = context.halo.fetch_page(&query, 1, context.settings.page_size.max(SAMPLES_MAX)).await?;
    let mut compared = FieldComparison::new(field_ids);
    for row in page.list.tickets {
        if ids.binary_search(&row.id()).is_err() {
            continue;
        }
        let (single, _memory) = match ticket_details(context, row.id()).await {
            Ok(Some(details)) => details,
            Ok(None) => continue,
            Err(SyncError::Halo(_)) if compared.samples != 0 => break,
            Err(error) => return Err(error),
        };
        if let Some(fields) = single.custom_fields()
            && !row.has_unreadable_custom_fields()
            && single.last_update() == row.last_update()
        {
            record_new_fields(context, fields).await?;
            compared.add(row.custom_fields(), fields);
        }
    }
    Ok(compared)
}

/// The ticket with all its members, and the memory that it takes; `None` if the server does not show it, or not in a
/// readable form.
async fn ticket_details(context: &RunContext, id: i64) -> Result<Option<(Ticket, BudgetPermit)>, SyncError> {
    match context.halo.fetch_ticket_details(id).await {
        Ok(TicketDetails { lookup: TicketLookup::Found(ticket), memory, .. }) => Ok(Some((*ticket, memory))),
        Ok(_) => Ok(None),
        Err(error) if error.can_be_ticket_specific() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The custom fields of the first of the tickets that the server shows with all of them, and the memory that they take.
async fn complete_fields_of_first(
    context: &RunContext,
    [first, second]: [i64; 2],
) -> Result<Option<(CustomFields, BudgetPermit)>, SyncError> {
    for id in std::iter::once(first).chain((first != second).then_some(second)) {
        let Some((mut ticket, memory)) = ticket_details(context, id).await? else { continue };
        if let Some(fields) = ticket.take_custom_fields().filter(CustomFields::is_complete) {
            return Ok(Some((fields, memory)));
        }
    }
    Ok(None)
}

/// Whether there is a field that is not known yet.
fn has_new_field(known: &[CustomField], fields: &[CustomField]) -> bool {
    fields.iter().any(|field| known.iter().all(|known| known.id != field.id))
}

/// A field without its value.
fn definition(field: &CustomField) -> CustomField {
    let (name, label) = (field.name.clone(), field.label.clone());
    CustomField { id: field.id, name, label, kind: field.kind, ..CustomField::default() }
}
