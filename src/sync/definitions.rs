//! Asks which custom fields there are, and whether the list tells them: daily, and weekly.
//!
//! What the list says is compared with what single tickets say ([`super::fields::compare`]), when it was
//! first asked and weekly.

use std::collections::HashSet;

use chrono::TimeDelta;

use super::SyncError;
use super::calibration::VALID;
use super::fields::{Consequence, FieldSource, FieldVerdict, Sample, compare, conclude};
use super::names::DAILY;
use super::pass::Pass;
use crate::halo::{Coverage, Filter, HaloError, ListQuery, Single};
use crate::store::{StoreError, StoredRow};
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::{CustomField, CustomFields, Stamp, Ticket};

/// Whether the list tells custom fields.
pub const LISTED_FIELDS: &str = "custom_fields";

/// Where the definitions are from.
const DEFINITIONS: &str = "field_list";

/// Whether a full walk asked for every field that is known.
pub(super) const FIELDS_WALKED: &str = "field_walk";

/// What is forgotten when custom fields are not copied any more.
pub(super) const QUESTIONS: [&str; 3] = [LISTED_FIELDS, DEFINITIONS, FIELDS_WALKED];

/// The word while nothing was compared: what the list tells is believed, and not proven.
const UNCOMPARED: &str = "not_compared";

/// Tickets of each type that are compared.
const SAMPLES_PER_TYPE: u32 = 3;

/// Tickets that are compared at the most; every one costs a request.
pub const SAMPLES_MAX: u32 = 15;

/// How long a verdict that could not be reached is left alone.
const UNKNOWN_VALID: TimeDelta = TimeDelta::days(1);

impl Pass {
    /// Finds out where the custom fields are told, as far as can be before the list is read.
    pub(super) async fn settle_fields(&self) -> Result<FieldSource, SyncError> {
        if !self.settings.scope.custom_fields {
            return Ok(FieldSource::Off);
        }
        if self.is_due(DEFINITIONS, DAILY)? {
            self.define_fields().await?;
        }
        let source = self.field_source()?;
        // What was told once may be refused from some day on: then a pass has failed.
        let in_doubt = self.store.lock().read(|snapshot| {
            Ok::<_, StoreError>(
                snapshot.verdict(LISTED_FIELDS)?.is_none() || snapshot.failed_before(self.run_id)?,
            )
        })?;
        if in_doubt && self.refuses_fields(&source).await? {
            let details = "the list refuses `include_custom_fields`".to_owned();
            // An earlier walk, which was interrupted, may have got an answer.
            let wrong = (FieldVerdict::Wrong, Consequence::OweAll);
            self.keep_field_verdict(wrong, details, (self.wall)()).await?;
            return self.field_source();
        }
        Ok(source)
    }

    /// Whether the list is refused for the sake of the custom fields that are asked for: one ticket tells.
    async fn refuses_fields(&self, source: &FieldSource) -> Result<bool, SyncError> {
        let query = ListQuery { filter: self.whole_list(Coverage::Plain), fields: source.asked() };
        if query.fields.is_empty() {
            return Ok(false);
        }
        let refused = |it: &HaloError| matches!(it, HaloError::Refused { status: 400, .. });
        let tried = self.halo.page(&query, 1, 1).await;
        let without = ListQuery { fields: Vec::new(), ..query };
        Ok(tried.is_err_and(|error| refused(&error)) && self.halo.page(&without, 1, 1).await.is_ok())
    }

    /// Where the custom fields are told, as far as is known.
    pub(super) fn field_source(&self) -> Result<FieldSource, SyncError> {
        let (verdict, definitions) = self.store.lock().read(|snapshot| {
            Ok::<_, SyncError>((snapshot.verdict(LISTED_FIELDS)?, snapshot.field_definitions()?))
        })?;
        let verdict = verdict.and_then(|it| FieldVerdict::from_word(&it.verdict));
        Ok(FieldSource::by(verdict, definitions))
    }

    /// Adds fields that a ticket told of and nobody knew.
    pub(super) async fn learn_fields(&self, told: Vec<CustomField>) -> Result<(), SyncError> {
        let known = self.store.lock().read(|snapshot| snapshot.field_definitions())?;
        if adds_to(&known, &told) { self.keep_definitions(None, told).await } else { Ok(()) }
    }

    /// Whether fields are known that no full walk asked for.
    pub(super) fn fields_grew(&self, source: &FieldSource) -> Result<bool, SyncError> {
        let walked = self.store.lock().read(|snapshot| snapshot.verdict(FIELDS_WALKED))?;
        Ok(matches!(source, FieldSource::List { .. }) && walked.is_some_and(|it| it.verdict == "due"))
    }

    /// Asks which custom fields there are: the server's own list, else a ticket of each type.
    async fn define_fields(&self) -> Result<(), SyncError> {
        let listed = match self.halo.field_definitions().await {
            Ok(definitions) => definitions,
            Err(error) => {
                self.do_without(DEFINITIONS, error).await?;
                Vec::new()
            }
        };
        if !listed.is_empty() {
            return self.keep_definitions(Some("listed"), listed).await;
        }
        let stored = self
            .store
            .work(|store| store.read(|snapshot| snapshot.samples(SAMPLES_PER_TYPE, SAMPLES_MAX)))
            .await?;
        let mut found = self.fields_by_type(stored).await?;
        if found.is_empty() {
            found = self.fields_by_type(self.first_rows().await?).await?;
        }
        self.keep_definitions(Some("in_tickets"), found).await
    }

    /// The custom fields of one ticket of each type: the first that the server shows.
    async fn fields_by_type(&self, rows: Vec<StoredRow>) -> Result<Vec<CustomField>, SyncError> {
        let (mut shown, mut found) = (HashSet::new(), Vec::new());
        let mut asked = 0;
        for StoredRow { id, ticket_type } in rows {
            if shown.contains(&ticket_type) || asked == SAMPLES_MAX {
                continue;
            }
            asked += 1;
            if let Some(ticket) = self.detail_if_any(id).await? {
                shown.insert(ticket_type);
                found.extend(ticket.custom_fields().into_iter().flat_map(CustomFields::fields).cloned());
            }
        }
        Ok(found)
    }

    /// The tickets that the list begins with.
    async fn first_rows(&self) -> Result<Vec<StoredRow>, SyncError> {
        let query = self.whole_list(Coverage::Plain).into();
        let page = self.halo.page(&query, 1, self.settings.page_size).await?;
        let row = |it: &Ticket| StoredRow { id: it.id(), ticket_type: it.integer(TICKET_TYPE_ID) };
        Ok(page.list.tickets.iter().map(row).collect())
    }

    /// Adds definitions. Where a field is new, every ticket is to be seen again: a full walk that asked for
    /// the others only is given up, and the next one is due.
    async fn keep_definitions(
        &self,
        verdict: Option<&'static str>,
        definitions: Vec<CustomField>,
    ) -> Result<(), SyncError> {
        let (now, fate) = ((self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    let known = writing.snapshot().field_definitions()?;
                    if adds_to(&known, &definitions) {
                        writing.give_up_walks(now)?;
                        writing.set_verdict(FIELDS_WALKED, "due", None, now)?;
                    }
                    writing.add_field_definitions(&definitions)?;
                    match verdict {
                        Some(verdict) => writing.set_verdict(DEFINITIONS, verdict, None, now),
                        None => Ok(()),
                    }
                })
            })
            .await
    }

    /// Compares the list with single tickets, where that is open. `source` is what the walk believed.
    pub(super) async fn compare_fields(&self, source: &FieldSource) -> Result<(), SyncError> {
        let (was, walked) = self.store.lock().read(|snapshot| {
            Ok::<_, SyncError>((snapshot.verdict(LISTED_FIELDS)?, snapshot.verdict(FIELDS_WALKED)?))
        })?;
        let now = (self.wall)();
        let stands = was.as_ref().is_some_and(|was| {
            let valid = match FieldVerdict::from_word(&was.verdict) {
                Some(FieldVerdict::Unknown) => UNKNOWN_VALID,
                Some(_) => VALID,
                None => TimeDelta::zero(),
            };
            let age = (now.instant() - was.decided_at.instant()).abs();
            age < valid && walked.is_none_or(|walked| walked.decided_at <= was.decided_at)
        });
        if stands {
            return Ok(());
        }
        let rows = self
            .store
            .work(|store| store.read(|snapshot| snapshot.samples(SAMPLES_PER_TYPE, SAMPLES_MAX)))
            .await?;
        let mut ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return Ok(());
        }
        if was.is_none() {
            // Should it not come to an answer, `status` says so.
            self.keep_verdict(LISTED_FIELDS, UNCOMPARED, None).await?;
        }
        let definitions = self.store.lock().read(|snapshot| snapshot.field_definitions())?;
        let asked: Vec<i64> = definitions.iter().map(|field| field.id).collect();
        let mut samples = self.samples(&ids, &asked).await?;
        if compare(&samples, &asked) == FieldVerdict::Wrong {
            // A ticket may have changed between two answers without a sign; hardly twice.
            samples = self.samples(&ids, &asked).await.unwrap_or(samples);
        }
        let seen: Vec<CustomField> = samples.iter().flat_map(|it| it.alone.fields()).cloned().collect();
        self.keep_definitions(None, seen).await?;
        let found = compare(&samples, &asked);
        let was = was.and_then(|was| FieldVerdict::from_word(&was.verdict));
        let concluded = conclude(was, found, matches!(source, FieldSource::List { .. }));
        let (found_word, samples_len) = (found.word(), samples.len());
        tracing::info!(
            found = found_word,
            "what the list tells of custom fields, compared with {samples_len} tickets: {found_word}"
        );
        let details = format!("{} tickets compared", samples.len());
        // A verdict that could not be confirmed is looked at again as soon as one that could not be reached.
        let unconfirmed = found == FieldVerdict::Unknown && concluded.0 != found;
        let decided_at = if unconfirmed { now.minus(VALID - UNKNOWN_VALID) } else { now };
        self.keep_field_verdict(concluded, details, decided_at).await
    }

    /// Stores what is to be thought of the list, together with what follows from it.
    async fn keep_field_verdict(
        &self,
        (verdict, consequence): (FieldVerdict, Consequence),
        details: String,
        decided_at: Stamp,
    ) -> Result<(), SyncError> {
        let (now, fate) = ((self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    match consequence {
                        Consequence::None => {}
                        Consequence::OweAll => writing.owe_all(now)?,
                        Consequence::TakeUnlistedAsEmpty => writing.take_unlisted_as_empty()?,
                    }
                    writing.set_verdict(LISTED_FIELDS, verdict.word(), Some(&details), decided_at)
                })
            })
            .await
    }

    /// Some tickets by the list and alone; those that changed in between are left out. Where the server
    /// stops answering, those before it are better than none.
    async fn samples(&self, ids: &[i64], asked: &[i64]) -> Result<Vec<Sample>, SyncError> {
        let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: asked.to_vec() };
        let page = self.halo.page(&query, 1, self.settings.page_size.max(SAMPLES_MAX)).await?;
        let mut samples = Vec::new();
        for mut row in page.list.tickets {
            if ids.binary_search(&row.id()).is_err() {
                continue;
            }
            let mut alone = match self.detail_if_any(row.id()).await {
                Ok(Some(alone)) => alone,
                Ok(None) => continue,
                Err(SyncError::Halo(_)) if !samples.is_empty() => break,
                Err(error) => return Err(error),
            };
            let clear = !alone.has_unclear_fields() && !row.has_unclear_fields();
            if clear && alone.last_update() == row.last_update() {
                samples.push(Sample {
                    listed: row.take_custom_fields(),
                    alone: alone.take_custom_fields().unwrap_or_default(),
                });
            }
        }
        Ok(samples)
    }

    /// A ticket with all that it tells alone, unless the server does not show it, or not readably.
    async fn detail_if_any(&self, id: i64) -> Result<Option<Ticket>, SyncError> {
        match self.halo.detail(id).await {
            Ok((Single::Found(ticket), _)) => Ok(Some(*ticket)),
            Ok((Single::Missing | Single::Forbidden, _)) => Ok(None),
            Err(error) if error.may_be_of_one_ticket() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a field is told of that is not known.
fn adds_to(known: &[CustomField], told: &[CustomField]) -> bool {
    told.iter().any(|field| known.iter().all(|known| known.id != field.id))
}
