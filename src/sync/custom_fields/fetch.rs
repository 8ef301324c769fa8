//! Pending fetches: custom fields that the list did not return, fetched ticket by ticket after the scan.
//!
//! No scan and no watermark waits for them: the pending fetch was stored with the row. Those that were never attempted
//! are fetched at once, however many there are; those that failed are tried again with growing pauses, and use at most a
//! quarter of the rate limit.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::discover::{compare_fields, record_new_fields};
use super::source::FieldSource;
use crate::halo::{BudgetPermit, HaloError, TicketDetails, TicketLookup};
use crate::store::{
    DueFetchFilter, FetchFailure, FetchedCustomFields, PendingFetch, StoreError, StoreOutcome, TxEnd, WriteTx,
};
use crate::sync::SyncError;
use crate::sync::context::{DECISION_TARGET, Interleave, RunContext, RunPhase};
use crate::sync::report::RunReport;
use crate::ticket::Timestamp;
use crate::watermark::ScanKind;

/// A failed fetch is due again in the next run, then after this, after twice this, and so on.
const RETRY_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// And at least this often.
const RETRY_PAUSE_MAX: TimeDelta = TimeDelta::days(1);

/// Tickets per parallel request between two commits: few enough that little is requested again after a kill.
const TICKETS_PER_SLOT: u32 = 4;

/// Custom fields that take so much memory, in bytes, are stored before the others of their batch are there: a quarter of
/// what all responses may take.
const STORED_MEMORY_MAX: usize = 16 << 20;

/// If a whole batch of at least so many tickets fails, the server is the problem: stop.
const FAILURES_MAX: usize = 4;

/// What became of a pending fetch when its ticket was requested.
#[derive(Debug)]
pub enum FetchOutcome {
    /// The custom fields of the ticket, and the memory that the ticket took.
    Fetched(FetchedCustomFields, BudgetPermit),
    /// The server knows no such ticket.
    Missing,
    /// The server refuses to show the ticket.
    Forbidden,
    /// The ticket could not be read, for this reason; others may.
    Failed(FetchFailure),
}

/// Decides what an answer means for a pending fetch.
///
/// # Errors
/// A failure that is not about this ticket alone: then nothing is known about the fetch.
pub fn classify_answer(id: i64, answer: Result<TicketDetails, HaloError>) -> Result<FetchOutcome, HaloError> {
    let TicketDetails { lookup, meta, memory } = match answer {
        Ok(details) => details,
        Err(error) => return classify_error(error),
    };
    Ok(match lookup {
        _ if meta.is_aged() => FetchOutcome::Failed(FetchFailure::Stale),
        TicketLookup::Found(mut ticket) => match ticket.take_custom_fields() {
            Some(fields) => {
                let (last_update, request_no) = (ticket.last_update(), meta.request_no);
                FetchOutcome::Fetched(FetchedCustomFields { id, fields, last_update, request_no }, memory)
            }
            // Absent, null or no array tells nothing: not that the ticket has none.
            None => FetchOutcome::Failed(FetchFailure::Unreadable),
        },
        TicketLookup::Missing => FetchOutcome::Missing,
        TicketLookup::Forbidden => FetchOutcome::Forbidden,
    })
}

fn classify_error(error: HaloError) -> Result<FetchOutcome, HaloError> {
    Ok(match error {
        HaloError::Unreadable(_) => FetchOutcome::Failed(FetchFailure::Unreadable),
        HaloError::TooLarge { .. } => FetchOutcome::Failed(FetchFailure::TooLarge),
        error if error.can_be_ticket_specific() => FetchOutcome::Failed(FetchFailure::Unavailable),
        error => return Err(error),
    })
}

/// When a fetch that just failed is due again, after `attempts_before` earlier attempts.
#[must_use]
pub fn next_attempt_at(attempts_before: u32, now: Timestamp) -> Timestamp {
    let Some(doublings) = attempts_before.checked_sub(1) else { return now };
    let pause = 2i32
        .checked_pow(doublings)
        .map_or(RETRY_PAUSE_MAX, |times| (RETRY_PAUSE * times).min(RETRY_PAUSE_MAX));
    now.plus(pause)
}

/// How many requests per window of the rate limit fetches that failed before may use.
#[must_use]
pub const fn retry_budget(requests_per_window: u32) -> u32 {
    requests_per_window / 4
}

/// What a batch of fetches did.
#[derive(Clone, Copy, Default)]
struct FetchCounts {
    /// Tickets whose custom fields are known now.
    fetched: u64,
    /// Those of them whose custom fields differ from the stored ones.
    changed: u64,
    /// Tickets that could not be read, this time.
    failed: usize,
}

/// The requests that are under way, each with its outcome or a failure that is not about its ticket.
type Fetches = JoinSet<(PendingFetch, Result<FetchOutcome, HaloError>)>;

/// Fetches the custom fields that are pending, as far as the server allows. A failure is a warning: the run stays what it
/// was. `interleave` runs between two commits when an incremental scan is due.
pub(in crate::sync) async fn fetch_pending_fields(
    context: &RunContext,
    source: &FieldSource,
    mut report: RunReport,
    interleave: &Interleave<'_>,
) -> Result<RunReport, SyncError> {
    match fetch_pending(context, source, &mut report, interleave).await {
        Ok(()) => {}
        Err(SyncError::Halo(error)) => {
            tracing::debug!(%error, "custom fields stay pending");
            report.warnings.push(format!("custom fields are still pending: {error}"));
        }
        Err(error) => return Err(error),
    }
    Ok(report)
}

async fn fetch_pending(
    context: &RunContext,
    source: &FieldSource,
    report: &mut RunReport,
    interleave: &Interleave<'_>,
) -> Result<(), SyncError> {
    if report.is_settled {
        match compare_fields(context, source).await {
            // A failed comparison does not keep the pending fields from being fetched.
            Err(SyncError::Halo(error)) if error.can_be_ticket_specific() => {
                tracing::warn!("the custom fields in the list could not be compared: {error}");
            }
            done => done?,
        }
        context.record_requests().await?;
    }
    let batch_size = context.settings.parallel_requests.max(1) * TICKETS_PER_SLOT;
    let total = context.store.call(|store| store.read(|it| it.unattempted_fetch_count())).await?;
    if total != 0 {
        tracing::info!(target: DECISION_TARGET, total, "fetching custom fields one by one, tickets: {total}");
        context.progress.phase(RunPhase::CustomFields);
        context.report_progress(0, Some(total), 1);
    }
    let mut fetched = 0;
    let (started_at, mut after, mut last_incremental) = (context.now(), i64::MIN, Instant::now());
    loop {
        let pending = context
            .store
            .call(move |store| store.read(|it| it.unattempted_fetches(after, batch_size)))
            .await?;
        let Some(last) = pending.last() else { break };
        after = last.id;
        if !fetch_batch(context, &pending, report).await? {
            return Ok(());
        }
        fetched += pending.len() as u64;
        context.report_progress(fetched, Some(total.max(fetched)), 1);
        if context.settings.schedule.incremental_every <= last_incremental.elapsed() {
            report.totals = interleave(report.totals).await?;
            last_incremental = Instant::now();
            context.progress.phase(RunPhase::CustomFields);
        }
    }
    let selection = DueFetchFilter {
        // Those that failed just now are not requested again.
        due_before: started_at,
        latest_due: context.now().plus(RETRY_PAUSE_MAX),
        include_forbidden: report.scan_kind == ScanKind::Full,
        limit: retry_budget(context.settings.requests_per_window),
    };
    let due_retries = context.store.call(move |store| store.read(|it| it.due_fetches(&selection))).await?;
    for batch in due_retries.chunks(batch_size as usize) {
        if !fetch_batch(context, batch, report).await? {
            break;
        }
    }
    Ok(())
}

/// Fetches some tickets and stores what was received. Returns whether to continue.
async fn fetch_batch(
    context: &RunContext,
    pending: &[PendingFetch],
    report: &mut RunReport,
) -> Result<bool, SyncError> {
    let mut fetches = start_fetches(context, pending);
    let (mut failed, mut failure) = (0, None);
    while !fetches.is_empty() {
        let answers = next_answers(&mut fetches, &mut failure).await?;
        failed += store_received(context, answers, report).await?;
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(failed < FAILURES_MAX.max(pending.len())),
    }
}

fn start_fetches(context: &RunContext, pending: &[PendingFetch]) -> Fetches {
    let permits = Arc::new(Semaphore::new(context.settings.parallel_requests.max(1) as usize));
    let mut fetches = JoinSet::new();
    for fetch in pending.iter().copied() {
        let (halo, permits) = (Arc::clone(&context.halo), Arc::clone(&permits));
        fetches.spawn(async move {
            let _permit = permits.acquire().await;
            (fetch, classify_answer(fetch.id, halo.fetch_ticket_details(fetch.id).await))
        });
    }
    fetches
}

/// Waits for the outcomes for all tickets, or for as many as take [`STORED_MEMORY_MAX`]. A failure that is not about one
/// ticket is set aside.
async fn next_answers(
    fetches: &mut Fetches,
    failure: &mut Option<HaloError>,
) -> Result<Vec<(PendingFetch, FetchOutcome)>, SyncError> {
    let (mut answers, mut bytes) = (Vec::new(), 0);
    while bytes < STORED_MEMORY_MAX
        && let Some(done) = fetches.join_next().await
    {
        match done? {
            (fetch, Ok(answer)) => {
                bytes += if let FetchOutcome::Fetched(_, memory) = &answer { memory.bytes() } else { 0 };
                answers.push((fetch, answer));
            }
            (_, Err(error)) => *failure = Some(error),
        }
    }
    answers.sort_by_key(|(fetch, _)| fetch.id);
    Ok(answers)
}

/// Stores outcomes in one transaction; returns how many tickets could not be read.
async fn store_received(
    context: &RunContext,
    answers: Vec<(PendingFetch, FetchOutcome)>,
    report: &mut RunReport,
) -> Result<usize, SyncError> {
    for (_, answer) in &answers {
        if let FetchOutcome::Fetched(read, _) = answer {
            record_new_fields(context, &read.fields).await?;
        }
    }
    let (run_id, now) = (context.run_id, context.now());
    let (mut totals, requests) = (report.totals, context.requests());
    let (counts, totals) = context
        .store
        .call(move |store| {
            store.write(TxEnd::Commit, |tx| {
                let counts = store_answers(tx, &answers, run_id, now)?;
                totals.changes.updated += counts.changed;
                tx.record_run_stats(run_id, &totals.run_stats(requests))?;
                Ok((counts, totals))
            })
        })
        .await?;
    report.totals = totals;
    let FetchCounts { fetched, changed, failed } = counts;
    tracing::debug!(fetched, changed, failed, "custom fields ticket by ticket");
    Ok(failed)
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
            FetchOutcome::Fetched(read, _) => match tx.store_custom_fields(read, run_id, now)? {
                StoreOutcome::TicketRemoved => {}
                StoreOutcome::Stale => tx.reschedule_fetch(*id, FetchFailure::Stale, next_attempt)?,
                StoreOutcome::Incomplete { changed } => {
                    tx.reschedule_fetch(*id, FetchFailure::Unreadable, next_attempt)?;
                    counts.changed += u64::from(changed);
                    counts.failed += 1;
                }
                outcome => {
                    counts.fetched += 1;
                    counts.changed += u64::from(outcome == StoreOutcome::Changed);
                }
            },
            FetchOutcome::Missing => tx.move_to_unlisted(*id, now)?,
            FetchOutcome::Forbidden => tx.reschedule_fetch(*id, FetchFailure::Forbidden, now)?,
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
    use crate::halo::ResponseMeta;

    #[test]
    fn failed_fetch_is_retried_next_run_then_with_growing_pauses_up_to_a_day() {
        let now: Timestamp = "2026-03-04T10:20:30.000Z".parse().unwrap();
        let minutes = |attempts| (next_attempt_at(attempts, now).instant() - now.instant()).num_minutes();
        let pauses: Vec<_> = (0..12).map(minutes).collect();
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(minutes(u32::MAX), 1440);
    }

    #[test]
    fn answer_without_custom_fields_tells_nothing() {
        let outcome = |json: &str| {
            let ticket = crate::ticket::parse::parse_ticket(json.as_bytes()).unwrap();
            let meta = ResponseMeta {
                request_no: 1,
                arrival_no: 1,
                date: None,
                took: std::time::Duration::ZERO,
                bytes: json.len(),
                age: None,
            };
            let (lookup, memory) = (TicketLookup::Found(Box::new(ticket)), BudgetPermit::default());
            classify_answer(7, Ok(TicketDetails { lookup, meta, memory })).unwrap()
        };
        for json in [r#"{"id":7}"#, r#"{"id":7,"customfields":null}"#, r#"{"id":7,"customfields":{}}"#] {
            let outcome = outcome(json);
            assert!(matches!(outcome, FetchOutcome::Failed(FetchFailure::Unreadable)), "{json}: {outcome:?}");
        }
        let outcome = outcome(r#"{"id":7,"customfields":[]}"#);
        assert!(
            matches!(&outcome, FetchOutcome::Fetched(it, _) if it.fields.fields().is_empty()),
            "{outcome:?}"
        );
    }
}
