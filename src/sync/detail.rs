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
use super::conclusion::end_run;
use super::fields::FieldSource;
use super::pass::{Outcome, Pass, Report};
use crate::halo::{HaloError, Receipt, Single};
use crate::store::{Debt, Failing, Fate, FieldsRead, Paid, StoreError, Writing};
use crate::ticket::Stamp;
use crate::watermark::{State, Walk};

/// A debt that could not be paid is due again with the next pass, then after this, after twice this, and so
/// on.
const PAUSE: TimeDelta = TimeDelta::minutes(5);

/// And at least so often.
const PAUSE_MAX: TimeDelta = TimeDelta::days(1);

/// Tickets a lane between two commits: few enough that little is asked for twice after a kill.
const TICKETS_A_LANE: u32 = 4;

/// When so many at once cannot be read, and no other can, it is not the tickets that are to blame.
const FAILURES_MAX: usize = 4;

/// What became of a debt when its ticket was asked for.
#[derive(Clone, Debug)]
pub enum Answered {
    /// Here are its custom fields.
    Told(FieldsRead),
    /// The server knows no such ticket.
    Missing,
    /// It refuses to show it.
    Refused,
    /// It could not be read, for this reason; others may.
    Failed(&'static str),
}

/// Makes out what an answer means for a debt.
///
/// # Errors
/// The failure, where it is not one of this ticket alone: then nothing is known of the debt.
pub fn answered(id: i64, answer: Result<(Single, Receipt), HaloError>) -> Result<Answered, HaloError> {
    Ok(match answer {
        // What is null is left out (`halo-api.md` §2.7): a ticket that names no custom fields has none.
        Ok((Single::Found(ticket), _)) if ticket.has_unclear_fields() => Answered::Failed("not_understood"),
        Ok((Single::Found(mut ticket), Receipt { request_no, .. })) => Answered::Told(FieldsRead {
            id,
            last_update: ticket.last_update(),
            fields: ticket.take_custom_fields().unwrap_or_default(),
            request_no,
        }),
        Ok((Single::Missing, _)) => Answered::Missing,
        Ok((Single::Forbidden, _)) => Answered::Refused,
        Err(HaloError::Unreadable(_)) => Answered::Failed("not_understood"),
        Err(HaloError::TooLarge { .. }) => Answered::Failed("too_large"),
        Err(error) if error.may_be_of_one_ticket() => Answered::Failed("unavailable"),
        Err(error) => return Err(error),
    })
}

/// When a debt is due again that was just asked for in vain, as it was so many times before.
#[must_use]
pub fn due_again(before: u32, now: Stamp) -> Stamp {
    let Some(doublings) = before.checked_sub(1) else { return now };
    let pause = 2i32.checked_pow(doublings).map_or(PAUSE_MAX, |times| (PAUSE * times).min(PAUSE_MAX));
    now.minus(-pause)
}

/// The share of a window's requests that debts may take which could not be paid before.
#[must_use]
pub const fn share(requests_a_window: u32) -> u32 {
    requests_a_window / 4
}

/// What reading debts came to.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Tickets whose custom fields are known now.
    paid: u64,
    /// Those of them whose custom fields differed from the stored ones.
    changed: u64,
    /// Tickets that could not be read, this time.
    failed: usize,
}

/// What single tickets said, and the failure that is none of theirs.
type Answers = (Vec<(Debt, Answered)>, Option<HaloError>);

impl Pass {
    /// Reads what is owed, as far as the server lets it, and ends the pass. That something cannot be read
    /// is a warning and no failure of the pass.
    pub(super) async fn read_details(
        &self,
        source: &FieldSource,
        mut report: Report,
    ) -> Result<Report, SyncError> {
        match self.pay(source, &mut report).await {
            Ok(()) => {}
            Err(SyncError::Halo(error)) => {
                tracing::debug!(%error, "what custom fields are owed stays owed");
                report.warnings.push(format!("custom fields are still owed: {error}"));
            }
            Err(error) => return Err(error),
        }
        let (run_id, now) = (self.run_id, (self.wall)());
        let (run, outcome) = (report.tally.figures(self.spent()), report.outcome.clone());
        report.run = run;
        self.store
            .work(move |store| {
                store.write(Fate::Commit, |writing| end_run(writing, run_id, &run, &outcome, now))
            })
            .await?;
        Ok(report)
    }

    async fn pay(&self, source: &FieldSource, report: &mut Report) -> Result<(), SyncError> {
        if report.outcome == Outcome::Complete {
            match self.compare_fields(source).await {
                // What cannot be compared is no reason to leave unread what is owed.
                Err(SyncError::Halo(error)) if error.may_be_of_one_ticket() => {
                    tracing::warn!("the custom fields in the list could not be compared: {error}");
                }
                done => done?,
            }
            self.note_requests().await?;
        }
        let batch = self.settings.parallel_requests.max(1) * TICKETS_A_LANE;
        let (began, mut after, mut followed) = ((self.wall)(), i64::MIN, Instant::now());
        loop {
            let unread = self.store.work(move |store| store.read(|it| it.unread(after, batch))).await?;
            let Some(last) = unread.last() else { break };
            after = last.id;
            if !self.pay_batch(&unread, report).await? {
                return Ok(());
            }
            if self.settings.schedule.follow_every <= followed.elapsed() {
                self.follow_while_reading(report).await?;
                followed = Instant::now();
            }
        }
        let which = Failing {
            // Those that were refused just now are not asked for once more.
            before: began,
            latest: (self.wall)().minus(-PAUSE_MAX),
            unreadable: report.walk == Walk::Full,
            at_most: share(self.settings.requests_a_window),
        };
        let failing = self.store.work(move |store| store.read(|it| it.failing(&which))).await?;
        for batch in failing.chunks(batch as usize) {
            if !self.pay_batch(batch, report).await? {
                break;
            }
        }
        Ok(())
    }

    /// What changes meanwhile does not wait until everything is read.
    async fn follow_while_reading(&self, report: &mut Report) -> Result<(), SyncError> {
        let mark = self.store.lock().read(|snapshot| snapshot.watermark())?;
        if mark.is_some_and(|mark| mark.state == State::Following) {
            // What the walk before believed of the list may have been found wrong.
            let mapping = Arc::new(self.mapping(self.field_source()?)?);
            report.tally = self.follow_meanwhile(&mapping, report.tally.clone()).await?;
        }
        Ok(())
    }

    /// Asks for some tickets and stores what came in one transaction. Says whether to go on.
    async fn pay_batch(&self, debts: &[Debt], report: &mut Report) -> Result<bool, SyncError> {
        let (answers, failure) = self.ask_for(debts).await?;
        let told = answers.iter().filter_map(|(_, answer)| match answer {
            Answered::Told(read) => Some(read.fields.fields()),
            _ => None,
        });
        self.learn_fields(told.flatten().cloned().collect()).await?;
        let (run_id, now) = (self.run_id, (self.wall)());
        let (mut tally, spent) = (report.tally.clone(), self.spent());
        let (figures, tally) = self
            .store
            .work(move |store| {
                store.write(Fate::Commit, |writing| {
                    let figures = settle(writing, &answers, run_id, now)?;
                    tally.applied.updated += figures.changed;
                    writing.note_run(run_id, &tally.figures(spent))?;
                    Ok((figures, tally))
                })
            })
            .await?;
        report.tally = tally;
        let Figures { paid, changed, failed } = figures;
        tracing::debug!(paid, changed, failed, "custom fields ticket by ticket");
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(failed < FAILURES_MAX.max(debts.len())),
        }
    }

    async fn ask_for(&self, debts: &[Debt]) -> Result<Answers, SyncError> {
        let lanes = Arc::new(Semaphore::new(self.settings.parallel_requests.max(1) as usize));
        let mut asking = JoinSet::new();
        for debt in debts.iter().copied() {
            let (halo, lanes) = (Arc::clone(&self.halo), Arc::clone(&lanes));
            asking.spawn(async move {
                let _lane = lanes.acquire().await;
                (debt, answered(debt.id, halo.detail(debt.id).await))
            });
        }
        let (mut answers, mut failure) = (Vec::new(), None);
        while let Some(done) = asking.join_next().await {
            match done? {
                (debt, Ok(answer)) => answers.push((debt, answer)),
                (_, Err(error)) => failure = Some(error),
            }
        }
        answers.sort_by_key(|(debt, _)| debt.id);
        Ok((answers, failure))
    }
}

fn settle(
    writing: &Writing<'_>,
    answers: &[(Debt, Answered)],
    run_id: i64,
    now: Stamp,
) -> Result<Figures, StoreError> {
    let mut figures = Figures::default();
    for (Debt { id, attempts }, answer) in answers {
        let later = due_again(*attempts, now);
        match answer {
            Answered::Told(read) => match writing.store_fields(read, run_id, now)? {
                Paid::Gone => {}
                Paid::Stale => writing.put_off(*id, "stale", later)?,
                paid => {
                    figures.paid += 1;
                    figures.changed += u64::from(paid == Paid::Changed);
                }
            },
            Answered::Missing => writing.close_missing(*id, now)?,
            Answered::Refused => writing.put_off(*id, "unreadable", now)?,
            Answered::Failed(why) => {
                writing.put_off(*id, why, later)?;
                figures.failed += 1;
            }
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_that_cannot_be_paid_is_tried_by_the_next_pass_then_after_longer_and_longer_and_daily_at_least()
    {
        let now = Stamp::from_spelled("2026-03-04T10:20:30.000Z").unwrap();
        let minutes = |attempts| (due_again(attempts, now).instant() - now.instant()).num_minutes();
        let pauses: Vec<_> = (0..12).map(minutes).collect();
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(minutes(u32::MAX), 1440);
    }
}
