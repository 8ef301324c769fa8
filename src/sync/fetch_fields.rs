//! Debts: custom fields that no list told, asked for ticket by ticket when the walk is over.
//!
//! No walk waits for them and no watermark: the debt was stored with the row. Those that were never asked
//! for are read at once, however many there are; those that could not be read are tried again with growing
//! pauses, and take no more than a quarter of a window's requests.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::SyncError;
use super::fields::FieldSource;
use super::finish::end_run;
use super::run::{RunContext, RunOutcome, RunReport};
use crate::halo::{HaloError, ResponseMeta, TicketLookup};
use crate::store::{
    DueFetchFilter, FetchFailure, FetchedCustomFields, PendingFetch, StoreError, StoreOutcome, TxEnd, WriteTx,
};
use crate::ticket::Timestamp;
use crate::watermark::{ScanKind, WatermarkState};

/// A debt that could not be paid is due again with the next pass, then after this, after twice this, and so
/// on.
const RETRY_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// And at least so often.
const RETRY_PAUSE_MAX: TimeDelta = TimeDelta::days(1);

/// Tickets a lane between two commits: few enough that little is asked for twice after a kill.
const TICKETS_PER_SLOT: u32 = 4;

/// When so many at once cannot be read, and no other can, it is not the tickets that are to blame.
const FAILURES_MAX: usize = 4;

/// What became of a debt when its ticket was asked for.
#[derive(Clone, Debug)]
pub enum FetchOutcome {
    /// Here are its custom fields.
    Fetched(FetchedCustomFields),
    /// The server knows no such ticket.
    Missing,
    /// It refuses to show it.
    Refused,
    /// It could not be read, for this reason; others may.
    Failed(FetchFailure),
}

/// Makes out what an answer means for a debt.
///
/// # Errors
/// The failure, where it is not one of this ticket alone: then nothing is known of the debt.
pub fn classify_answer(
    id: i64,
    answer: Result<(TicketLookup, ResponseMeta), HaloError>,
) -> Result<FetchOutcome, HaloError> {
    Ok(match answer {
        // What is null is left out (`halo-api.md` §2.7): a ticket that names no custom fields has none.
        Ok((TicketLookup::Found(ticket), _)) if ticket.has_unreadable_custom_fields() => {
            FetchOutcome::Failed(FetchFailure::NotUnderstood)
        }
        Ok((TicketLookup::Found(mut ticket), ResponseMeta { request_no, .. })) => {
            FetchOutcome::Fetched(FetchedCustomFields {
                id,
                last_update: ticket.last_update(),
                fields: ticket.take_custom_fields().unwrap_or_default(),
                request_no,
            })
        }
        Ok((TicketLookup::Missing, _)) => FetchOutcome::Missing,
        Ok((TicketLookup::Forbidden, _)) => FetchOutcome::Refused,
        Err(HaloError::Unreadable(_)) => FetchOutcome::Failed(FetchFailure::NotUnderstood),
        Err(HaloError::TooLarge { .. }) => FetchOutcome::Failed(FetchFailure::TooLarge),
        Err(error) if error.can_be_ticket_specific() => FetchOutcome::Failed(FetchFailure::Unavailable),
        Err(error) => return Err(error),
    })
}

/// When a debt is due again that was just asked for in vain, as it was so many times before.
#[must_use]
pub fn next_attempt_at(attempts_before: u32, now: Timestamp) -> Timestamp {
    let Some(doublings) = attempts_before.checked_sub(1) else { return now };
    let pause = 2i32
        .checked_pow(doublings)
        .map_or(RETRY_PAUSE_MAX, |times| (RETRY_PAUSE * times).min(RETRY_PAUSE_MAX));
    now.plus(pause)
}

/// The share of a window's requests that debts may take which could not be paid before.
#[must_use]
pub const fn retry_budget(requests_per_window: u32) -> u32 {
    requests_per_window / 4
}

/// What reading debts came to.
#[derive(Clone, Copy, Default)]
struct FetchCounts {
    /// Tickets whose custom fields are known now.
    fetched: u64,
    /// Those of them whose custom fields differed from the stored ones.
    changed: u64,
    /// Tickets that could not be read, this time.
    failed: usize,
}

/// What single tickets said, and the failure that is none of theirs.
type FetchResults = (Vec<(PendingFetch, FetchOutcome)>, Option<HaloError>);

impl RunContext {
    /// Reads what is owed, as far as the server lets it, and ends the pass. That something cannot be read
    /// is a warning and no failure of the pass.
    pub(super) async fn fetch_pending_fields(
        &self,
        source: &FieldSource,
        mut report: RunReport,
    ) -> Result<RunReport, SyncError> {
        match self.fetch_pending(source, &mut report).await {
            Ok(()) => {}
            Err(SyncError::Halo(error)) => {
                tracing::debug!(%error, "what custom fields are owed stays owed");
                report.warnings.push(format!("custom fields are still owed: {error}"));
            }
            Err(error) => return Err(error),
        }
        let (run_id, now) = (self.run_id, (self.clock)());
        let (run_stats, outcome) = (report.totals.run_stats(self.request_stats()), report.outcome.clone());
        report.run_stats = run_stats;
        self.store
            .call(move |store| {
                store.write(TxEnd::Commit, |tx| end_run(tx, run_id, &run_stats, &outcome, now))
            })
            .await?;
        Ok(report)
    }

    async fn fetch_pending(&self, source: &FieldSource, report: &mut RunReport) -> Result<(), SyncError> {
        if report.outcome == RunOutcome::Complete {
            match self.compare_fields(source).await {
                // What cannot be compared is no reason to leave unread what is owed.
                Err(SyncError::Halo(error)) if error.can_be_ticket_specific() => {
                    tracing::warn!("the custom fields in the list could not be compared: {error}");
                }
                done => done?,
            }
            self.record_requests().await?;
        }
        let batch_size = self.settings.parallel_requests.max(1) * TICKETS_PER_SLOT;
        let (started_at, mut after, mut last_incremental) = ((self.clock)(), i64::MIN, Instant::now());
        loop {
            let pending = self
                .store
                .call(move |store| store.read(|it| it.unattempted_fetches(after, batch_size)))
                .await?;
            let Some(last) = pending.last() else { break };
            after = last.id;
            if !self.fetch_batch(&pending, report).await? {
                return Ok(());
            }
            if self.settings.schedule.incremental_every <= last_incremental.elapsed() {
                self.incremental_scan_while_fetching(report).await?;
                last_incremental = Instant::now();
            }
        }
        let selection = DueFetchFilter {
            // Those that were refused just now are not asked for once more.
            due_before: started_at,
            latest_due: (self.clock)().plus(RETRY_PAUSE_MAX),
            include_unreadable: report.scan_kind == ScanKind::Full,
            limit: retry_budget(self.settings.requests_per_window),
        };
        let due_retries = self.store.call(move |store| store.read(|it| it.due_fetches(&selection))).await?;
        for batch in due_retries.chunks(batch_size as usize) {
            if !self.fetch_batch(batch, report).await? {
                break;
            }
        }
        Ok(())
    }

    /// What changes meanwhile does not wait until everything is read.
    async fn incremental_scan_while_fetching(&self, report: &mut RunReport) -> Result<(), SyncError> {
        let watermark = self.store.lock().read(|tx| tx.watermark())?;
        if watermark.is_some_and(|watermark| watermark.state == WatermarkState::Incremental) {
            // What the walk before believed of the list may have been found wrong.
            let mapping = Arc::new(self.mapping(self.field_source()?)?);
            report.totals = self.interleave_incremental_scan(&mapping, report.totals.clone()).await?;
        }
        Ok(())
    }

    /// Asks for some tickets and stores what came in one transaction. Says whether to go on.
    async fn fetch_batch(&self, pending: &[PendingFetch], report: &mut RunReport) -> Result<bool, SyncError> {
        let (answers, failure) = self.fetch_fields_concurrently(pending).await?;
        let fields = answers.iter().filter_map(|(_, answer)| match answer {
            FetchOutcome::Fetched(read) => Some(read.fields.fields()),
            _ => None,
        });
        self.record_new_fields(fields.flatten().cloned().collect()).await?;
        let (run_id, now) = (self.run_id, (self.clock)());
        let (mut totals, request_stats) = (report.totals.clone(), self.request_stats());
        let (counts, totals) = self
            .store
            .call(move |store| {
                store.write(TxEnd::Commit, |tx| {
                    let counts = store_answers(tx, &answers, run_id, now)?;
                    totals.upserted.changes.updated += counts.changed;
                    tx.record_run_stats(run_id, &totals.run_stats(request_stats))?;
                    Ok((counts, totals))
                })
            })
            .await?;
        report.totals = totals;
        let FetchCounts { fetched, changed, failed } = counts;
        tracing::debug!(fetched, changed, failed, "custom fields ticket by ticket");
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(failed < FAILURES_MAX.max(pending.len())),
        }
    }

    async fn fetch_fields_concurrently(&self, pending: &[PendingFetch]) -> Result<FetchResults, SyncError> {
        let permits = Arc::new(Semaphore::new(self.settings.parallel_requests.max(1) as usize));
        let mut tasks = JoinSet::new();
        for fetch in pending.iter().copied() {
            let (halo, permits) = (Arc::clone(&self.halo), Arc::clone(&permits));
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                (fetch, classify_answer(fetch.id, halo.fetch_ticket_details(fetch.id).await))
            });
        }
        let (mut answers, mut failure) = (Vec::new(), None);
        while let Some(done) = tasks.join_next().await {
            match done? {
                (fetch, Ok(answer)) => answers.push((fetch, answer)),
                (_, Err(error)) => failure = Some(error),
            }
        }
        answers.sort_by_key(|(fetch, _)| fetch.id);
        Ok((answers, failure))
    }
}

fn store_answers(
    tx: &WriteTx<'_>,
    answers: &[(PendingFetch, FetchOutcome)],
    run_id: i64,
    now: Timestamp,
) -> Result<FetchCounts, StoreError> {
    let mut counts = FetchCounts::default();
    for (PendingFetch { id, attempts }, answer) in answers {
        let next_attempt = next_attempt_at(*attempts, now);
        match answer {
            FetchOutcome::Fetched(read) => match tx.store_custom_fields(read, run_id, now)? {
                StoreOutcome::TicketRemoved => {}
                StoreOutcome::Stale => tx.reschedule_fetch(*id, FetchFailure::Stale, next_attempt)?,
                outcome => {
                    counts.fetched += 1;
                    counts.changed += u64::from(outcome == StoreOutcome::Changed);
                }
            },
            FetchOutcome::Missing => tx.move_to_unlisted(*id, now)?,
            FetchOutcome::Refused => tx.reschedule_fetch(*id, FetchFailure::Unreadable, now)?,
            FetchOutcome::Failed(reason) => {
                tx.reschedule_fetch(*id, *reason, next_attempt)?;
                counts.failed += 1;
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_fetch_is_retried_next_run_then_with_growing_pauses_up_to_a_day() {
        let now: Timestamp = "2026-03-04T10:20:30.000Z".parse().unwrap();
        let minutes = |attempts| (next_attempt_at(attempts, now).instant() - now.instant()).num_minutes();
        let pauses: Vec<_> = (0..12).map(minutes).collect();
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(minutes(u32::MAX), 1440);
    }
}
