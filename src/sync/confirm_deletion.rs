//! What the server says of single tickets that a walk left open: those it did not show, those it showed
//! in an older version, and the one that had to come back.

use std::collections::{HashMap, HashSet};

use roaring::RoaringTreemap;

use super::SyncError;
use super::row_intake::RowMapping;
use super::run::{RunContext, RunOutcome, out_of_scope_removal};
use super::scan::ScanEnd;
use super::unlisted::{self, DeleteGuardDecision, RemovalDecision, ServerAnswer};
use crate::halo::{Filter, ListPage, ListQuery, TicketLookup};
use crate::store::{ObservedTicket, Removal, UnlistedStatus};
use crate::ticket::{Ticket, Timestamp};
use crate::watermark::Watermark;

/// How many tickets one request asks for by number.
const IDS_PER_REQUEST: usize = 100;

/// And how many rows: as many as a server gives at the most.
const IDS_PAGE_SIZE: u32 = 100;

/// After so many single tickets it is written down how often the server was asked: a kill must not let the
/// next pass ask too often.
const RECORD_REQUESTS_EVERY: usize = 16;

/// When so many single tickets cannot be read in one pass, it is not the tickets that are to blame.
const FAILURES_MAX: u32 = 5;

/// What the end of a pass stores besides the last rows.
#[derive(Default)]
pub(super) struct FinalWrites {
    /// Older versions that the server means.
    pub(super) confirmed_older: Vec<ObservedTicket>,
    /// Tickets that leave.
    pub(super) removals: Vec<Removal>,
    /// Tickets that are missed and stay.
    pub(super) unlisted: Vec<UnconfirmedRemoval>,
    /// Tickets that the list did not show and the server has all the same.
    pub(super) present: Vec<ObservedTicket>,
}

/// A ticket that is missed and stays.
pub(super) struct UnconfirmedRemoval {
    pub(super) id: i64,
    /// The server's word.
    pub(super) status: UnlistedStatus,
    /// When it is asked about again.
    pub(super) ask_again_at: Timestamp,
}

impl RunContext {
    /// Asks about the stored tickets that a counted full walk did not show. Gives the brake, where it
    /// holds: then none of them leaves.
    pub(super) async fn check_unlisted(
        &self,
        mapping: &RowMapping,
        scan: &ScanEnd,
        final_writes: &mut FinalWrites,
    ) -> Result<Option<RunOutcome>, SyncError> {
        let (seen, now) = (scan.seen_ids(), (self.clock)());
        let (unique, out_of_scope_ids) = (seen.len(), scan.out_of_scope.clone());
        let (unlisted, out_of_scope_ids, known, stored) = self
            .store
            .call(move |store| {
                store.read(|tx| {
                    let unlisted = tx.unseen_ids(&seen)?;
                    let out_of_scope_ids = tx.stored_among(&out_of_scope_ids)?;
                    Ok((unlisted, out_of_scope_ids, tx.unlisted_tickets()?, tx.ticket_count()?))
                })
            })
            .await?;
        let (delete_guard, accept_deletes) = (self.settings.delete_guard, self.settings.accept_deletes);
        let groups = unlisted::group_unlisted(&unlisted, &known, now);
        let not_asked = |id: &i64| UnconfirmedRemoval { id: *id, status: UnlistedStatus::NotAsked, ask_again_at: now };
        let new_count = groups.new.len() as u64;
        if let DeleteGuardDecision::Exceeded { allowed } =
            unlisted::check_delete_guard(new_count, stored, unique, delete_guard, accept_deletes)
        {
            final_writes.unlisted.extend(groups.new.iter().map(not_asked));
            return Ok(Some(RunOutcome::DeleteGuard { removals: new_count, allowed }));
        }
        let mut to_ask = groups.new;
        to_ask.extend(groups.due);
        to_ask.sort_unstable();
        let first_missed: HashMap<i64, Timestamp> =
            known.into_iter().map(|ticket| (ticket.id, ticket.first_missed_at)).collect();
        let mut removals = Vec::new();
        for (id, decision) in self.resolve_unlisted(mapping, &to_ask, &mut final_writes.present).await? {
            match decision {
                RemovalDecision::Remove(reason) => removals.push(Removal { id, reason }),
                RemovalDecision::Keep(status) => {
                    let ask_again_at = unlisted::ask_again_at(first_missed.get(&id).copied(), now);
                    final_writes.unlisted.push(UnconfirmedRemoval { id, status, ask_again_at });
                }
            }
        }
        // Those that were kept back and are gone now count as well, and those that are of another type now.
        let (allowed, removal_count) = (
            unlisted::allowed_deletions(stored, delete_guard),
            (removals.len() + out_of_scope_ids.len()) as u64,
        );
        if allowed < removal_count && !accept_deletes {
            final_writes.unlisted.extend(removals.iter().map(|removal| not_asked(&removal.id)));
            return Ok(Some(RunOutcome::DeleteGuard { removals: removal_count, allowed }));
        }
        final_writes.removals.extend(removals);
        final_writes.removals.extend(out_of_scope_ids.into_iter().map(out_of_scope_removal));
        Ok(None)
    }

    /// By the hundred first: what comes back is present. Then one by one.
    async fn resolve_unlisted(
        &self,
        mapping: &RowMapping,
        unlisted: &[i64],
        present: &mut Vec<ObservedTicket>,
    ) -> Result<Vec<(i64, RemovalDecision)>, SyncError> {
        for ids in unlisted.chunks(IDS_PER_REQUEST) {
            match self.fetch_listed_tickets(mapping, ids).await {
                Ok(observed) => present.extend(observed),
                // Then each of them is asked for alone.
                Err(SyncError::Halo(error)) if error.can_be_ticket_specific() => {
                    tracing::warn!("the list cannot be asked for tickets by number: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        let present_ids: HashSet<i64> = present.iter().map(|observed| observed.ticket.id()).collect();
        let (mut decisions, mut failures) = (Vec::new(), 0);
        for (index, id) in unlisted.iter().filter(|id| !present_ids.contains(id)).enumerate() {
            if failures == FAILURES_MAX {
                decisions.push((*id, RemovalDecision::Keep(UnlistedStatus::NotAsked)));
                continue;
            }
            if index % RECORD_REQUESTS_EVERY == 0 {
                self.record_requests().await?;
            }
            let decision = match self.halo.fetch_ticket(*id).await {
                Ok((lookup, _)) => unlisted::decide_removal(server_answer(&lookup), &self.settings.scope),
                // One ticket that cannot be read does not keep the others from being judged.
                Err(error) if error.can_be_ticket_specific() => {
                    failures += 1;
                    RemovalDecision::Keep(UnlistedStatus::Unreadable)
                }
                Err(error) => return Err(error.into()),
            };
            decisions.push((*id, decision));
        }
        Ok(decisions)
    }

    /// Those of some tickets that the list shows when asked for them by number.
    async fn fetch_listed_tickets(
        &self,
        mapping: &RowMapping,
        ids: &[i64],
    ) -> Result<Vec<ObservedTicket>, SyncError> {
        let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: mapping.fields.requested_ids() };
        let (mut observed, mut received) = (Vec::new(), 0);
        // More than one page where the server gives fewer rows than it is asked for.
        for number in 1.. {
            let ListPage { list, meta } = self.halo.fetch_page(&query, number, IDS_PAGE_SIZE).await?;
            self.record_requests().await?;
            received += list.rows_received;
            let last =
                list.rows_received == 0 || list.record_count.is_none_or(|count| count <= received as u64);
            let wanted = list.tickets.into_iter().filter(|ticket| ids.binary_search(&ticket.id()).is_ok());
            observed.extend(wanted.filter_map(|ticket| mapping.map_ticket(ticket, meta.request_no)));
            // A server that does not know `ticketids` would show everything, page by page.
            if last || ids.len() <= received {
                break;
            }
        }
        Ok(observed)
    }

    async fn fetch_list_page(&self, id: i64) -> Result<ListPage, SyncError> {
        Ok(self.halo.fetch_page(&Filter::Ids(vec![id]).into(), 1, IDS_PAGE_SIZE).await?)
    }

    /// Which of the versions that are older than the stored ones the server really means. `before` are
    /// tickets that an interrupted part of the walk had seen in an older version.
    pub(super) async fn confirm_older(
        &self,
        mapping: &RowMapping,
        scan: &mut ScanEnd,
        older_before_interruption: &RoaringTreemap,
    ) -> Result<Vec<ObservedTicket>, SyncError> {
        let mut observed = std::mem::take(&mut scan.unstored.tickets);
        observed.append(&mut scan.older);
        let older_ids: Vec<i64> = older_before_interruption.iter().map(u64::cast_signed).collect();
        for ids in older_ids.chunks(IDS_PER_REQUEST) {
            observed.extend(self.fetch_listed_tickets(mapping, ids).await?);
        }
        let (observed, ids) = self
            .store
            .call(move |store| {
                let ids = store.read(|tx| tx.older_among(&observed))?;
                Ok((observed, ids))
            })
            .await?;
        let is_older = |observed: &ObservedTicket| ids.contains(&observed.ticket.id());
        let (older, newer): (Vec<_>, Vec<_>) = observed.into_iter().partition(is_older);
        scan.unstored.tickets = newer;
        let mut confirmed = Vec::new();
        for (index, observed) in older.into_iter().enumerate() {
            if index % RECORD_REQUESTS_EVERY == 0 {
                self.record_requests().await?;
            }
            let current = self.fetch_current(observed.ticket.id()).await?;
            if current.is_some_and(|current| current.last_update() == observed.ticket.last_update()) {
                confirmed.push(observed);
            }
        }
        Ok(confirmed)
    }

    /// A ticket as the server shows it alone, else as its list does.
    async fn fetch_current(&self, id: i64) -> Result<Option<Ticket>, SyncError> {
        match self.halo.fetch_ticket(id).await {
            Ok((TicketLookup::Found(ticket), _)) => return Ok(Some(*ticket)),
            // It is listed and not to be had alone: then the list has the last word.
            Ok((TicketLookup::Missing | TicketLookup::Forbidden, _)) => {}
            Err(error) if error.can_be_ticket_specific() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.fetch_list_page(id).await?.list.tickets.into_iter().find(|ticket| ticket.id() == id))
    }

    /// Whether the ticket that had to come back did, or is excused: it is not listed any more, or has
    /// changed since the walk.
    pub(super) async fn is_canary_ok(
        &self,
        watermark: &Watermark,
        scan: &ScanEnd,
    ) -> Result<bool, SyncError> {
        let Some(id) = watermark.canary else { return Ok(true) };
        if scan.list_scans.iter().any(|list| list.seen_ids().contains(id.cast_unsigned())) {
            return Ok(true);
        }
        let should_be_listed = |ticket: &Ticket| {
            let updated = ticket.last_update();
            ticket.id() == id && updated.is_some_and(|at| scan.start.is_none_or(|start| at <= start))
        };
        let ListPage { list, .. } = self.fetch_list_page(id).await?;
        if let Some(ticket) = list.tickets.iter().find(|ticket| ticket.id() == id) {
            return Ok(!should_be_listed(ticket));
        }
        // An empty list may be as wrong as the one of the walk, and a server that does not know `ticketids`
        // gives whatever it likes: the ticket itself has the last word.
        let lookup = self.halo.fetch_ticket(id).await?.0;
        let gone = unlisted::decide_removal(server_answer(&lookup), &self.settings.scope)
            != RemovalDecision::Keep(UnlistedStatus::NotListed);
        Ok(gone || matches!(&lookup, TicketLookup::Found(ticket) if !should_be_listed(ticket)))
    }
}

/// What the server says of a ticket, as the judgement of an absence takes it.
fn server_answer(lookup: &TicketLookup) -> ServerAnswer<'_> {
    match lookup {
        TicketLookup::Missing => ServerAnswer::Missing,
        TicketLookup::Forbidden => ServerAnswer::Forbidden,
        TicketLookup::Found(ticket) => ServerAnswer::Found(ticket),
    }
}
