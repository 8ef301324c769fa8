//! What the server says of single tickets that a walk left open: those it did not show, those it showed
//! in an older version, and the one that had to come back.

use roaring::RoaringTreemap;

use super::SyncError;
use super::absence::{self, Conclusion, Judgement, Word};
use super::pass::{Outcome, Pass, out_of_scope};
use super::walk::Walked;
use crate::halo::{Filter, HaloError, Listed, Single};
use crate::store::{Departed, Sighting};
use crate::ticket::Ticket;
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::watermark::Watermark;

/// How many tickets one request asks for by number.
const IDS_A_REQUEST: usize = 100;

/// What the end of a pass stores besides the last rows.
#[derive(Default)]
pub(super) struct End {
    /// Older versions that the server means.
    pub(super) took_back: Vec<Sighting>,
    /// Tickets that leave.
    pub(super) departed: Vec<Departed>,
    /// Tickets that are missed and stay, with the server's word.
    pub(super) absences: Vec<(i64, &'static str)>,
    /// Tickets that the list did not show and the server has all the same.
    pub(super) present: Vec<Sighting>,
}

impl Pass {
    /// Asks about the stored tickets that a counted full walk did not show. Gives the brake, where it
    /// holds.
    pub(super) async fn absent(&self, walked: &Walked, end: &mut End) -> Result<Option<Outcome>, SyncError> {
        let seen = walked.seen();
        let unique = seen.len();
        let (absent, stored) = self
            .store
            .work(move |store| {
                store.read(|snapshot| Ok((snapshot.absent_from(&seen)?, snapshot.ticket_count()?)))
            })
            .await?;
        end.departed.extend(walked.outside.iter().map(|id| out_of_scope(*id)));
        let settings = &self.settings;
        let (guard, accepted) = (settings.delete_guard, settings.accept_deletes);
        match absence::judge(absent.len() as u64, stored, unique, guard, accepted) {
            Judgement::NoneAbsent => Ok(None),
            Judgement::Brake { allowed } => {
                end.absences.extend(absent.iter().map(|id| (*id, "not_asked")));
                Ok(Some(Outcome::Brake { absent: absent.len() as u64, allowed }))
            }
            Judgement::Ask => {
                self.ask_about(&absent, end).await?;
                Ok(None)
            }
        }
    }

    /// By the hundred first: what comes back is present. Then one by one.
    async fn ask_about(&self, absent: &[i64], end: &mut End) -> Result<(), SyncError> {
        for ids in absent.chunks(IDS_A_REQUEST) {
            end.present.extend(self.sightings(ids).await?);
        }
        for id in absent {
            if end.present.iter().any(|sighting| sighting.ticket.id() == *id) {
                continue;
            }
            let single = match self.halo.ticket(*id).await {
                Ok((single, _)) => single,
                // One ticket that cannot be read does not keep the others from being judged.
                Err(HaloError::Unreadable(_) | HaloError::TooLarge { .. }) => {
                    end.absences.push((*id, "unreadable"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match absence::conclude(word(&single), &self.settings.scope) {
                Conclusion::Leaves(reason) => end.departed.push(Departed { id: *id, reason }),
                Conclusion::Stays(status) => end.absences.push((*id, status)),
            }
        }
        Ok(())
    }

    /// Those of some tickets that the list shows when asked for them by number.
    async fn sightings(&self, ids: &[i64]) -> Result<Vec<Sighting>, SyncError> {
        let names = self.store.lock().read(|snapshot| snapshot.status_names())?;
        let Listed { list, receipt } = self.listed(ids).await?;
        let mut sightings = Vec::new();
        for mut ticket in list.tickets {
            let wanted = ids.binary_search(&ticket.id()).is_ok();
            if wanted && self.settings.scope.holds(ticket.integer(TICKET_TYPE_ID)) {
                ticket.name_status(|status| names.get(&status).cloned());
                let hash = ticket.hash();
                sightings.push(Sighting { ticket, hash, request_no: receipt.request_no });
            }
        }
        Ok(sightings)
    }

    async fn listed(&self, ids: &[i64]) -> Result<Listed, SyncError> {
        let filter = Filter::Ids(ids.to_vec());
        Ok(self.halo.page(&filter, 1, self.settings.page_size.max(100)).await?)
    }

    /// Which of the versions that are older than the stored ones the server really means. `before` are
    /// tickets that an interrupted part of the walk had seen in an older version.
    pub(super) async fn confirm_older(
        &self,
        walked: &mut Walked,
        before: &RoaringTreemap,
    ) -> Result<Vec<Sighting>, SyncError> {
        let mut shown = std::mem::take(&mut walked.rest.sightings);
        shown.append(&mut walked.older);
        let before: Vec<i64> = before.iter().map(u64::cast_signed).collect();
        for id in &before {
            shown.extend(self.sightings(&[*id]).await?);
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
        for sighting in older {
            let id = sighting.ticket.id();
            let now = match self.halo.ticket(id).await?.0 {
                Single::Found(ticket) => Some(*ticket),
                // It is listed and not to be had alone: then the list has the last word.
                Single::Missing | Single::Forbidden => {
                    self.listed(&[id]).await?.list.tickets.into_iter().find(|ticket| ticket.id() == id)
                }
            };
            if now.is_some_and(|now| now.last_update() == sighting.ticket.last_update()) {
                confirmed.push(sighting);
            }
        }
        Ok(confirmed)
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
        let Listed { list, .. } = self.listed(&[id]).await?;
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
