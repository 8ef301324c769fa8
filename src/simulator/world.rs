//! The tickets, and what happens to them.
//!
//! Tickets lie in ascending order of id and are never taken out, so a place in the vector stays valid for ever. Every
//! change goes through `World::change`, which keeps the index by last update in step and marks earlier list selections
//! as outdated. Knobs are not known here: whoever changes something says whether `last_update` moves.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::catalogue::{self, Client, Status};
use super::chance::Chance;
use super::fields::{self, CustomField};
use super::genesis::{self, Genesis};
use super::json;
use super::stamp::Stamp;
use super::story::Phrases;
use super::ticket::{Edit, Merge, Standing, Ticket, Written, int32};

/// The place of a ticket in the world.
pub(super) type Place = u32;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    /// When the world was made; nothing in it is younger, apart from later changes.
    pub(super) epoch: Stamp,
    pub(super) statuses: Vec<Status>,
    pub(super) clients: Vec<Client>,
    pub(super) fields: Vec<CustomField>,
    pub(super) details_bytes: u32,
    pub(super) phrases: Phrases,
    tickets: Vec<Ticket>,
    by_update: BTreeSet<(Stamp, Place)>,
    written: HashMap<Place, Written>,
    merges: HashMap<Place, Merge>,
    changes: u32,
    generation: u64,
}

impl World {
    pub(super) fn new(
        seed: u64,
        how_many: u32,
        undated: u32,
        details_bytes: u32,
        now: DateTime<Utc>,
    ) -> World {
        let epoch = Stamp::nearest(now);
        let statuses = catalogue::statuses();
        let tickets = Genesis { seed, how_many, undated, epoch, statuses: &statuses }.tickets();
        let mut stamps: Vec<_> =
            (0..).zip(&tickets).filter_map(|(place, it)| Some((it.updated?, place))).collect();
        // Sorted first, because a set is built from sorted entries in one sweep.
        stamps.sort_unstable();
        World {
            seed,
            epoch,
            statuses,
            clients: catalogue::clients(),
            fields: fields::at_first(),
            details_bytes,
            phrases: Phrases::prepared(),
            by_update: stamps.into_iter().collect(),
            changes: how_many,
            tickets,
            written: HashMap::new(),
            merges: HashMap::new(),
            generation: 0,
        }
    }

    /// Grows with every change; equal generations list the same tickets in the same order.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// All tickets that ever were, with their places, in ascending order of id.
    pub(super) fn tickets(&self) -> impl Iterator<Item = (Place, &Ticket)> {
        (0..).zip(&self.tickets)
    }

    pub(super) fn at(&self, place: Place) -> &Ticket {
        &self.tickets[index(place)]
    }

    pub(super) fn find(&self, id: i64) -> Option<Place> {
        let place = self.tickets.binary_search_by_key(&id, |ticket| ticket.id).ok()?;
        Place::try_from(place).ok()
    }

    /// The places of tickets last updated at or after `from`, without looking at the others.
    pub(super) fn updated_since(&self, from: Stamp) -> impl Iterator<Item = Place> {
        self.by_update.range((from, 0)..).map(|(_, place)| *place)
    }

    pub(super) fn written(&self, place: Place) -> Option<&Written> {
        // Most worlds have no written texts at all; then a page need not hash a hundred places.
        if self.written.is_empty() { None } else { self.written.get(&place) }
    }

    pub(super) fn merge_of(&self, place: Place) -> Option<&Merge> {
        if self.merges.is_empty() { None } else { self.merges.get(&place) }
    }

    pub(super) fn is_closed(&self, ticket: &Ticket) -> bool {
        self.statuses.iter().any(|status| status.id == ticket.status && status.closed)
    }

    /// New tickets, opened at `stamp`; their ids go on where the last one ended, with gaps.
    pub(super) fn create(&mut self, how_many: u32, stamp: Stamp) -> Vec<i64> {
        (0..how_many)
            .map(|_| {
                let last = self.tickets.last().map_or(genesis::FIRST_ID, |ticket| ticket.id);
                let id = last + genesis::gap(self.seed, last);
                let ticket = genesis::newborn(self.seed, id, stamp, self.changes + 1);
                let place = Place::try_from(self.tickets.len()).unwrap_or(Place::MAX);
                self.tickets.push(ticket);
                self.by_update.insert((stamp, place));
                self.changed();
                id
            })
            .collect()
    }

    pub(super) fn edit(&mut self, place: Place, edit: Edit, stamp: Stamp) {
        let closes = |world: &World, status| world.statuses.iter().any(|it| it.id == status && it.closed);
        match edit {
            Edit::Touch => {}
            Edit::Summary(text) => self.written.entry(place).or_default().summary = Some(text),
            Edit::Details(text) => self.written.entry(place).or_default().details = Some(text),
            Edit::TicketType(kind) => self.tickets[index(place)].kind = int32(kind),
            Edit::Agent(agent) => self.tickets[index(place)].agent = int32(agent),
            Edit::Status(status) => {
                let status = int32(status);
                let closes = closes(self, status);
                let ticket = &mut self.tickets[index(place)];
                ticket.closed = if closes { ticket.closed.or(Some(stamp)) } else { None };
                ticket.status = status;
            }
            Edit::Custom { field, value, display } => {
                let custom = &mut self.written.entry(place).or_default().custom;
                custom.retain(|(known, _, _)| *known != field);
                custom.push((field, value, display));
            }
        }
        self.change(place, Some(stamp));
    }

    /// One of the changes that a service desk makes all day.
    pub(super) fn edit_somehow(&mut self, place: Place, chance: &mut Chance, stamp: Stamp) {
        let edit = match chance.below(4) {
            0 => Edit::Status(i64::from(chance.pick(&self.statuses).id)),
            1 => Edit::Agent(i64::from(*chance.pick(&catalogue::AGENTS))),
            2 => Edit::Summary((*chance.pick(&catalogue::SUMMARIES)).to_owned()),
            _ => Edit::Details(format!(
                "{}\n{}",
                chance.pick(&catalogue::SENTENCES),
                chance.pick(&catalogue::SENTENCES)
            )),
        };
        self.edit(place, edit, stamp);
    }

    pub(super) fn delete(&mut self, place: Place, stamp: Option<Stamp>) {
        self.tickets[index(place)].standing = Standing::Deleted;
        self.change(place, stamp);
    }

    pub(super) fn restore(&mut self, place: Place, stamp: Option<Stamp>) {
        let merged = self.merges.contains_key(&place);
        self.tickets[index(place)].standing = if merged { Standing::Merged } else { Standing::Live };
        self.change(place, stamp);
    }

    /// The merged ticket is closed, as usual configurations do (halo-api.md §2.5).
    pub(super) fn merge(&mut self, place: Place, into: i64, at: Stamp, stamp: Option<Stamp>) {
        let ticket = &mut self.tickets[index(place)];
        let merge = Merge { into, status: ticket.status, closed: ticket.closed };
        ticket.standing = Standing::Merged;
        ticket.status = catalogue::CLOSED;
        ticket.closed = ticket.closed.or(Some(at));
        self.merges.insert(place, merge);
        self.change(place, stamp);
    }

    pub(super) fn unmerge(&mut self, place: Place, stamp: Option<Stamp>) {
        let Some(merge) = self.merges.remove(&place) else { return };
        let ticket = &mut self.tickets[index(place)];
        ticket.standing = Standing::Live;
        ticket.status = merge.status;
        ticket.closed = merge.closed;
        self.change(place, stamp);
    }

    pub(super) fn recount_sla(&mut self, place: Place, stamp: Option<Stamp>) {
        let ticket = &mut self.tickets[index(place)];
        ticket.recounts = ticket.recounts.wrapping_add(1);
        self.change(place, stamp);
    }

    /// A permission does not touch the ticket: no stamp, no change counter.
    pub(super) fn set_hidden(&mut self, place: Place, hidden: bool) {
        self.tickets[index(place)].hidden = hidden;
        self.generation += 1;
    }

    pub(super) fn set_raw(&mut self, place: Place, row: String) {
        self.written.entry(place).or_default().raw = Some(row);
        self.generation += 1;
    }

    /// A new definition touches no ticket.
    pub(super) fn define(&mut self, field: CustomField) {
        self.fields.retain(|known| known.id != field.id);
        self.fields.push(field);
        self.generation += 1;
    }

    /// Everything is again as it was in an earlier copy of this world.
    pub(super) fn restore_from(&mut self, backup: World) {
        let generation = self.generation + 1;
        *self = World { generation, ..backup };
    }

    /// Names are joined in when a row is read, so no ticket's stamp moves (halo-api.md §2.4).
    pub(super) fn rename_status(&mut self, id: i64, name: &str) {
        for status in self.statuses.iter_mut().filter(|status| i64::from(status.id) == id) {
            name.clone_into(&mut status.name);
        }
    }

    pub(super) fn rename_client(&mut self, id: i64, name: &str) {
        for client in self.clients.iter_mut().filter(|client| i64::from(client.id) == id) {
            client.name_json = json::escaped(name);
        }
    }

    fn change(&mut self, place: Place, stamp: Option<Stamp>) {
        let ticket = &mut self.tickets[index(place)];
        if let Some(stamp) = stamp {
            if let Some(old) = ticket.updated.replace(stamp) {
                self.by_update.remove(&(old, place));
            }
            self.by_update.insert((stamp, place));
        }
        ticket.change = self.changes + 1;
        self.changed();
    }

    fn changed(&mut self) {
        self.changes += 1;
        self.generation += 1;
    }
}

fn index(place: Place) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
