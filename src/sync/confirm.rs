//! What the server says of single tickets that a walk left open: those it did not show, those it showed
//! in an older version, and the one that had to come back.

use std::collections::{HashMap, HashSet};

use roaring::RoaringTreemap;

use super::SyncError;
use super::absence::{self, Conclusion, Judgement, NOT_ASKED, Word};
use super::mapping::Mapping;
use super::pass::{Outcome, Pass, out_of_scope};
use super::walk::Walked;
use crate::halo::{Filter, ListQuery, Listed, Single};
use crate::store::{Departed, Sighting};
use crate::ticket::{Stamp, Ticket};
use crate::watermark::Watermark;

/// How many tickets one request asks for by number.
const IDS_A_REQUEST: usize = 100;

/// And how many rows: as many as a server gives at the most.
const IDS_A_PAGE: u32 = 100;

/// After so many single tickets it is written down how often the server was asked: a kill must not let the
/// next pass ask too often.
const NOTED_EVERY: usize = 16;

/// When so many single tickets cannot be read in one pass, it is not the tickets that are to blame.
const FAILURES_MAX: u32 = 5;

/// What the end of a pass stores besides the last rows.
#[derive(Default)]
pub(super) struct End {
    /// Older versions that the server means.
    pub(super) took_back: Vec<Sighting>,
    /// Tickets that leave.
    pub(super) departed: Vec<Departed>,
    /// Tickets that are missed and stay.
    pub(super) absences: Vec<Missed>,
    /// Tickets that the list did not show and the server has all the same.
    pub(super) present: Vec<Sighting>,
}

/// A ticket that is missed and stays.
pub(super) struct Missed {
    pub(super) id: i64,
    /// The server's word.
    pub(super) status: &'static str,
    /// When it is asked about again.
    pub(super) ask_again_at: Stamp,
}

impl Pass {
    /// Asks about the stored tickets that a counted full walk did not show. Gives the brake, where it
    /// holds: then none of them leaves.
    pub(super) async fn absent(
        &self,
        mapping: &Mapping,
        walked: &Walked,
        end: &mut End,
    ) -> Result<Option<Outcome>, SyncError> {
        let (seen, now) = (walked.seen(), (self.wall)());
        let (unique, outside) = (seen.len(), walked.outside.clone());
        let (absent, outside, known, stored) = self
            .store
            .work(move |store| {
                store.read(|snapshot| {
                    let absent = snapshot.absent_from(&seen)?;
                    let outside = snapshot.stored_among(&outside)?;
                    Ok((absent, outside, snapshot.absences()?, snapshot.ticket_count()?))
                })
            })
            .await?;
        let (guard, accepted) = (self.settings.delete_guard, self.settings.accept_deletes);
        let sorted = absence::sort(&absent, &known, now);
        let not_asked = |id: &i64| Missed { id: *id, status: NOT_ASKED, ask_again_at: now };
        let news = sorted.news.len() as u64;
        if let Judgement::Brake { allowed } = absence::judge(news, stored, unique, guard, accepted) {
            end.absences.extend(sorted.news.iter().map(not_asked));
            return Ok(Some(Outcome::Brake { absent: news, allowed }));
        }
        let mut asked = sorted.news;
        asked.extend(sorted.again);
        asked.sort_unstable();
        let first_missed: HashMap<i64, Stamp> =
            known.into_iter().map(|absence| (absence.id, absence.first_missed_at)).collect();
        let mut gone = Vec::new();
        for (id, conclusion) in self.ask_about(mapping, &asked, &mut end.present).await? {
            match conclusion {
                Conclusion::Leaves(reason) => gone.push(Departed { id, reason }),
                Conclusion::Stays(status) => {
                    let ask_again_at = absence::ask_again_at(first_missed.get(&id).copied(), now);
                    end.absences.push(Missed { id, status, ask_again_at });
                }
            }
        }
        // Those that were kept back and are gone now count as well, and those that are of another type now.
        let (allowed, leaving) = (absence::allowed(stored, guard), (gone.len() + outside.len()) as u64);
        if allowed < leaving && !accepted {
            end.absences.extend(gone.iter().map(|gone| not_asked(&gone.id)));
            return Ok(Some(Outcome::Brake { absent: leaving, allowed }));
        }
        end.departed.extend(gone);
        end.departed.extend(outside.into_iter().map(out_of_scope));
        Ok(None)
    }

    /// By the hundred first: what comes back is present. Then one by one.
    async fn ask_about(
        &self,
        mapping: &Mapping,
        absent: &[i64],
        present: &mut Vec<Sighting>,
    ) -> Result<Vec<(i64, Conclusion)>, SyncError> {
        for ids in absent.chunks(IDS_A_REQUEST) {
            match self.sightings(mapping, ids).await {
                Ok(sightings) => present.extend(sightings),
                // Then each of them is asked for alone.
                Err(SyncError::Halo(error)) if error.may_be_of_one_ticket() => {
                    tracing::warn!("the list cannot be asked for tickets by number: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        let shown: HashSet<i64> = present.iter().map(|sighting| sighting.ticket.id()).collect();
        let (mut concluded, mut failures) = (Vec::new(), 0);
        for (place, id) in absent.iter().filter(|id| !shown.contains(id)).enumerate() {
            if failures == FAILURES_MAX {
                concluded.push((*id, Conclusion::Stays(NOT_ASKED)));
                continue;
            }
            if place % NOTED_EVERY == 0 {
                self.note_requests().await?;
            }
            let conclusion = match self.halo.ticket(*id).await {
                Ok((single, _)) => absence::conclude(word(&single), &self.settings.scope),
                // One ticket that cannot be read does not keep the others from being judged.
                Err(error) if error.may_be_of_one_ticket() => {
                    failures += 1;
                    Conclusion::Stays("unreadable")
                }
                Err(error) => return Err(error.into()),
            };
            concluded.push((*id, conclusion));
        }
        Ok(concluded)
    }

    /// Those of some tickets that the list shows when asked for them by number.
    async fn sightings(&self, mapping: &Mapping, ids: &[i64]) -> Result<Vec<Sighting>, SyncError> {
        let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: mapping.fields.asked() };
        let (mut sightings, mut received) = (Vec::new(), 0);
        // More than one page where the server gives fewer rows than it is asked for.
        for number in 1.. {
            let Listed { list, receipt } = self.halo.page(&query, number, IDS_A_PAGE).await?;
            self.note_requests().await?;
            received += list.received;
            let last = list.received == 0 || list.record_count.is_none_or(|count| count <= received as u64);
            let wanted = list.tickets.into_iter().filter(|ticket| ids.binary_search(&ticket.id()).is_ok());
            sightings.extend(wanted.filter_map(|ticket| mapping.sighting(ticket, receipt.request_no)));
            // A server that does not know `ticketids` would show everything, page by page.
            if last || ids.len() <= received {
                break;
            }
        }
        Ok(sightings)
    }

    async fn listed(&self, id: i64) -> Result<Listed, SyncError> {
        Ok(self.halo.page(&Filter::Ids(vec![id]).into(), 1, IDS_A_PAGE).await?)
    }

    /// Which of the versions that are older than the stored ones the server really means. `before` are
    /// tickets that an interrupted part of the walk had seen in an older version.
    pub(super) async fn confirm_older(
        &self,
        mapping: &Mapping,
        walked: &mut Walked,
        before: &RoaringTreemap,
    ) -> Result<Vec<Sighting>, SyncError> {
        let mut shown = std::mem::take(&mut walked.rest.sightings);
        shown.append(&mut walked.older);
        let before: Vec<i64> = before.iter().map(u64::cast_signed).collect();
        for ids in before.chunks(IDS_A_REQUEST) {
            shown.extend(self.sightings(mapping, ids).await?);
        }
        let (shown, ids) = self
            .store
            .work(move |store| {
                let ids = store.read(|snapshot| snapshot.older_among(&shown))?;
                Ok((shown, ids))
            })
            .await?;
        let is_older = |sighting: &Sighting| ids.contains(&sighting.ticket.id());
        let (older, newer): (Vec<_>, Vec<_>) = shown.into_iter().partition(is_older);
        walked.rest.sightings = newer;
        let mut confirmed = Vec::new();
        for (place, sighting) in older.into_iter().enumerate() {
            if place % NOTED_EVERY == 0 {
                self.note_requests().await?;
            }
            let now = self.shown_now(sighting.ticket.id()).await?;
            if now.is_some_and(|now| now.last_update() == sighting.ticket.last_update()) {
                confirmed.push(sighting);
            }
        }
        Ok(confirmed)
    }

    /// A ticket as the server shows it alone, else as its list does.
    async fn shown_now(&self, id: i64) -> Result<Option<Ticket>, SyncError> {
        match self.halo.ticket(id).await {
            Ok((Single::Found(ticket), _)) => return Ok(Some(*ticket)),
            // It is listed and not to be had alone: then the list has the last word.
            Ok((Single::Missing | Single::Forbidden, _)) => {}
            Err(error) if error.may_be_of_one_ticket() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.listed(id).await?.list.tickets.into_iter().find(|ticket| ticket.id() == id))
    }

    /// Whether the ticket that had to come back did, or is excused: it is not listed any more, or has
    /// changed since the walk.
    pub(super) async fn canary_is_well(&self, mark: &Watermark, walked: &Walked) -> Result<bool, SyncError> {
        let Some(id) = mark.canary else { return Ok(true) };
        if walked.accounts.iter().any(|account| account.seen().contains(id.cast_unsigned())) {
            return Ok(true);
        }
        let was_due = |ticket: &Ticket| {
            let updated = ticket.last_update();
            ticket.id() == id && updated.is_some_and(|at| walked.start.is_none_or(|start| at <= start))
        };
        let Listed { list, .. } = self.listed(id).await?;
        if let Some(ticket) = list.tickets.iter().find(|ticket| ticket.id() == id) {
            return Ok(!was_due(ticket));
        }
        // An empty list may be as wrong as the one of the walk, and a server that does not know `ticketids`
        // gives whatever it likes: the ticket itself has the last word.
        let single = self.halo.ticket(id).await?.0;
        let gone = absence::conclude(word(&single), &self.settings.scope) != Conclusion::Stays("not_listed");
        Ok(gone || matches!(&single, Single::Found(ticket) if !was_due(ticket)))
    }
}

/// What the server says of a ticket, as the judgement of an absence takes it.
fn word(single: &Single) -> Word<'_> {
    match single {
        Single::Missing => Word::Missing,
        Single::Forbidden => Word::Forbidden,
        Single::Found(ticket) => Word::Found(ticket),
    }
}
