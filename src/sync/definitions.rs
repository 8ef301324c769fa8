//! Asks which custom fields there are, and whether the list tells them: daily, and weekly.
//!
//! What the list says is compared with what single tickets say ([`super::fields::compare`]), when it was
//! first asked and weekly.

use std::collections::HashSet;

use chrono::TimeDelta;

use super::SyncError;
use super::fields::{
    FieldFollowUp, FieldProbeResult, FieldSample, FieldSource, compare_samples, conclude_probe,
};
use super::probes::PROBE_VALID_FOR;
use super::reference::DAILY;
use super::run::RunContext;
use crate::halo::{Coverage, Filter, HaloError, ListQuery, TicketLookup};
use crate::store::{Probe, StoreError, StoredTicket};
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::{CustomField, CustomFields, Ticket, Timestamp};

/// Whether the list tells custom fields.
pub const CUSTOM_FIELDS_PROBE: Probe = Probe::CustomFields;

/// Where the definitions are from.
const FIELD_LIST_PROBE: Probe = Probe::FieldList;

/// Whether a full walk asked for every field that is known.
pub(super) const FIELD_SCAN_PROBE: Probe = Probe::FieldScan;

/// What is forgotten when custom fields are not copied any more.
pub(super) const FIELD_PROBES: [Probe; 3] = [CUSTOM_FIELDS_PROBE, FIELD_LIST_PROBE, FIELD_SCAN_PROBE];

/// The word while nothing was compared: what the list tells is believed, and not proven.
const NOT_COMPARED: &str = "not_compared";

/// Tickets of each type that are compared.
const SAMPLES_PER_TYPE: u32 = 3;

/// Tickets that are compared at the most; every one costs a request.
pub const SAMPLES_MAX: u32 = 15;

/// How long a verdict that could not be reached is left alone.
const UNKNOWN_VALID_FOR: TimeDelta = TimeDelta::days(1);

impl RunContext {
    /// Finds out where the custom fields are told, as far as can be before the list is read.
    pub(super) async fn discover_field_source(&self) -> Result<FieldSource, SyncError> {
        if !self.settings.scope.custom_fields {
            return Ok(FieldSource::NotSynced);
        }
        if self.is_refresh_due(FIELD_LIST_PROBE, DAILY)? {
            self.refresh_field_definitions().await?;
        }
        let source = self.field_source()?;
        // What was told once may be refused from some day on: then a pass has failed.
        let in_doubt = self.store.lock().read(|tx| {
            Ok::<_, StoreError>(
                tx.probe(CUSTOM_FIELDS_PROBE)?.is_none() || tx.has_previous_run_failed(self.run_id)?,
            )
        })?;
        if in_doubt && self.is_list_refused_with_fields(&source).await? {
            let details = "the list refuses `include_custom_fields`".to_owned();
            // An earlier walk, which was interrupted, may have got an answer.
            let wrong = (FieldProbeResult::Unreliable, FieldFollowUp::EnqueueAll);
            self.store_field_verdict(wrong, details, (self.clock)()).await?;
            return self.field_source();
        }
        Ok(source)
    }

    /// Whether the list is refused for the sake of the custom fields that are asked for: one ticket tells.
    async fn is_list_refused_with_fields(&self, source: &FieldSource) -> Result<bool, SyncError> {
        let query = ListQuery { filter: self.whole_list(Coverage::Default), fields: source.requested_ids() };
        if query.fields.is_empty() {
            return Ok(false);
        }
        let is_bad_request = |it: &HaloError| matches!(it, HaloError::Refused { status: 400, .. });
        let with_fields = self.halo.fetch_page(&query, 1, 1).await;
        let without_fields = ListQuery { fields: Vec::new(), ..query };
        Ok(with_fields.is_err_and(|error| is_bad_request(&error))
            && self.halo.fetch_page(&without_fields, 1, 1).await.is_ok())
    }

    /// Where the custom fields are told, as far as is known.
    pub(super) fn field_source(&self) -> Result<FieldSource, SyncError> {
        let (verdict, definitions) = self
            .store
            .lock()
            .read(|tx| Ok::<_, SyncError>((tx.probe(CUSTOM_FIELDS_PROBE)?, tx.field_definitions()?)))?;
        let verdict = verdict.and_then(|it| FieldProbeResult::parse(&it.result));
        Ok(FieldSource::from_probe_result(verdict, definitions))
    }

    /// Adds fields that a ticket told of and nobody knew.
    pub(super) async fn record_new_fields(&self, fields: Vec<CustomField>) -> Result<(), SyncError> {
        let known = self.store.lock().read(|tx| tx.field_definitions())?;
        if has_new_field(&known, &fields) { self.store_definitions(None, fields).await } else { Ok(()) }
    }

    /// Whether fields are known that no full walk asked for.
    pub(super) fn has_unscanned_fields(&self, source: &FieldSource) -> Result<bool, SyncError> {
        let field_scan = self.store.lock().read(|tx| tx.probe(FIELD_SCAN_PROBE))?;
        Ok(matches!(source, FieldSource::List { .. }) && field_scan.is_some_and(|it| it.result == "due"))
    }

    /// Asks which custom fields there are: the server's own list, else a ticket of each type.
    async fn refresh_field_definitions(&self) -> Result<(), SyncError> {
        let listed = match self.halo.fetch_field_definitions().await {
            Ok(definitions) => definitions,
            Err(error) => {
                self.record_unavailable(FIELD_LIST_PROBE, error).await?;
                Vec::new()
            }
        };
        if !listed.is_empty() {
            return self.store_definitions(Some("listed"), listed).await;
        }
        let stored = self
            .store
            .call(|store| store.read(|tx| tx.sample_tickets(SAMPLES_PER_TYPE, SAMPLES_MAX)))
            .await?;
        let mut found = self.fields_by_type(stored).await?;
        if found.is_empty() {
            found = self.fields_by_type(self.first_rows().await?).await?;
        }
        self.store_definitions(Some("in_tickets"), found).await
    }

    /// The custom fields of one ticket of each type: the first that the server shows.
    async fn fields_by_type(&self, rows: Vec<StoredTicket>) -> Result<Vec<CustomField>, SyncError> {
        let (mut shown, mut found) = (HashSet::new(), Vec::new());
        let mut asked = 0;
        for StoredTicket { id, ticket_type } in rows {
            if shown.contains(&ticket_type) || asked == SAMPLES_MAX {
                continue;
            }
            asked += 1;
            if let Some(ticket) = self.try_fetch_ticket(id).await? {
                shown.insert(ticket_type);
                found.extend(ticket.custom_fields().into_iter().flat_map(CustomFields::fields).cloned());
            }
        }
        Ok(found)
    }

    /// The tickets that the list begins with.
    async fn first_rows(&self) -> Result<Vec<StoredTicket>, SyncError> {
        let query = self.whole_list(Coverage::Default).into();
        let page = self.halo.fetch_page(&query, 1, self.settings.page_size).await?;
        let row = |it: &Ticket| StoredTicket { id: it.id(), ticket_type: it.integer(TICKET_TYPE_ID) };
        Ok(page.list.tickets.iter().map(row).collect())
    }

    /// Adds definitions. Where a field is new, every ticket is to be seen again: a full walk that asked for
    /// the others only is given up, and the next one is due.
    async fn store_definitions(
        &self,
        result: Option<&'static str>,
        definitions: Vec<CustomField>,
    ) -> Result<(), SyncError> {
        let (now, tx_end) = ((self.clock)(), self.tx_end());
        self.store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    let known = tx.as_read_tx().field_definitions()?;
                    if has_new_field(&known, &definitions) {
                        tx.abandon_scans(now)?;
                        tx.record_probe(FIELD_SCAN_PROBE, "due", None, now)?;
                    }
                    tx.add_field_definitions(&definitions)?;
                    match result {
                        Some(result) => tx.record_probe(FIELD_LIST_PROBE, result, None, now),
                        None => Ok(()),
                    }
                })
            })
            .await
    }

    /// Compares the list with single tickets, where that is open. `source` is what the walk believed.
    pub(super) async fn compare_fields(&self, source: &FieldSource) -> Result<(), SyncError> {
        let (previous, field_scan) = self
            .store
            .lock()
            .read(|tx| Ok::<_, SyncError>((tx.probe(CUSTOM_FIELDS_PROBE)?, tx.probe(FIELD_SCAN_PROBE)?)))?;
        let now = (self.clock)();
        let still_valid = previous.as_ref().is_some_and(|previous| {
            let valid_for = match FieldProbeResult::parse(&previous.result) {
                Some(FieldProbeResult::Unknown) => UNKNOWN_VALID_FOR,
                Some(_) => PROBE_VALID_FOR,
                None => TimeDelta::zero(),
            };
            let age = (now.instant() - previous.probed_at.instant()).abs();
            age < valid_for && field_scan.is_none_or(|field_scan| field_scan.probed_at <= previous.probed_at)
        });
        if still_valid {
            return Ok(());
        }
        let rows = self
            .store
            .call(|store| store.read(|tx| tx.sample_tickets(SAMPLES_PER_TYPE, SAMPLES_MAX)))
            .await?;
        let mut ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return Ok(());
        }
        if previous.is_none() {
            // Should it not come to an answer, `status` says so.
            self.store_probe_result(CUSTOM_FIELDS_PROBE, NOT_COMPARED, None).await?;
        }
        let definitions = self.store.lock().read(|tx| tx.field_definitions())?;
        let field_ids: Vec<i64> = definitions.iter().map(|field| field.id).collect();
        let mut samples = self.fetch_samples(&ids, &field_ids).await?;
        if compare_samples(&samples, &field_ids) == FieldProbeResult::Unreliable {
            // A ticket may have changed between two answers without a sign; hardly twice.
            samples = self.fetch_samples(&ids, &field_ids).await.unwrap_or(samples);
        }
        let seen_fields: Vec<CustomField> =
            samples.iter().flat_map(|it| it.single.fields()).cloned().collect();
        self.store_definitions(None, seen_fields).await?;
        let found = compare_samples(&samples, &field_ids);
        let previous = previous.and_then(|previous| FieldProbeResult::parse(&previous.result));
        let conclusion = conclude_probe(previous, found, matches!(source, FieldSource::List { .. }));
        let (found_str, samples_len) = (found.as_str(), samples.len());
        tracing::info!(
            found = found_str,
            "what the list tells of custom fields, compared with {samples_len} tickets: {found_str}"
        );
        let details = format!("{} tickets compared", samples.len());
        // A verdict that could not be confirmed is looked at again as soon as one that could not be reached.
        let unconfirmed = found == FieldProbeResult::Unknown && conclusion.0 != found;
        let probed_at = if unconfirmed { now.minus(PROBE_VALID_FOR - UNKNOWN_VALID_FOR) } else { now };
        self.store_field_verdict(conclusion, details, probed_at).await
    }

    /// Stores what is to be thought of the list, together with what follows from it.
    async fn store_field_verdict(
        &self,
        (verdict, consequence): (FieldProbeResult, FieldFollowUp),
        details: String,
        probed_at: Timestamp,
    ) -> Result<(), SyncError> {
        let (now, tx_end) = ((self.clock)(), self.tx_end());
        self.store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    match consequence {
                        FieldFollowUp::None => {}
                        FieldFollowUp::EnqueueAll => tx.enqueue_all_fetches(now)?,
                        FieldFollowUp::TreatOmittedAsEmpty => tx.assume_omitted_fields_empty()?,
                    }
                    tx.record_probe(CUSTOM_FIELDS_PROBE, verdict.as_str(), Some(&details), probed_at)
                })
            })
            .await
    }

    /// Some tickets by the list and alone; those that changed in between are left out. Where the server
    /// stops answering, those before it are better than none.
    async fn fetch_samples(&self, ids: &[i64], field_ids: &[i64]) -> Result<Vec<FieldSample>, SyncError> {
        let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: field_ids.to_vec() };
        let page = self.halo.fetch_page(&query, 1, self.settings.page_size.max(SAMPLES_MAX)).await?;
        let mut samples = Vec::new();
        for mut row in page.list.tickets {
            if ids.binary_search(&row.id()).is_err() {
                continue;
            }
            let mut single = match self.try_fetch_ticket(row.id()).await {
                Ok(Some(single)) => single,
                Ok(None) => continue,
                Err(SyncError::Halo(_)) if !samples.is_empty() => break,
                Err(error) => return Err(error),
            };
            let clear = !single.has_unreadable_custom_fields() && !row.has_unreadable_custom_fields();
            if clear && single.last_update() == row.last_update() {
                samples.push(FieldSample {
                    listed: row.take_custom_fields(),
                    single: single.take_custom_fields().unwrap_or_default(),
                });
            }
        }
        Ok(samples)
    }

    /// A ticket with all that it tells alone, unless the server does not show it, or not readably.
    async fn try_fetch_ticket(&self, id: i64) -> Result<Option<Ticket>, SyncError> {
        match self.halo.fetch_ticket_details(id).await {
            Ok((TicketLookup::Found(ticket), _)) => Ok(Some(*ticket)),
            Ok((TicketLookup::Missing | TicketLookup::Forbidden, _)) => Ok(None),
            Err(error) if error.can_be_ticket_specific() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a field is told of that is not known.
fn has_new_field(known: &[CustomField], fields: &[CustomField]) -> bool {
    fields.iter().any(|field| known.iter().all(|known| known.id != field.id))
}
