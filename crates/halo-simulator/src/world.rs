//! The tickets, and what happens to them.
//!
//! Tickets lie in ascending order of id and are never taken out, so a place in the vector stays valid for ever. Every
//! change goes through `World::change`, which keeps the index by last update in step and marks earlier list selections
//! as outdated. Knobs are not known here: whoever changes something says whether `last_update` moves.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::custom_fields::{self, CustomFieldDef};
use crate::derived_fields::Phrases;
use crate::fixtures::{self, Client, TicketStatus};
use crate::json;
use crate::rng::SeededRng;
use crate::seed::{self, InitialTickets};
use crate::ticket::{Edit, Lifecycle, MergeRecord, TicketOverrides, TicketRecord, saturating_i32};
use crate::timestamp::SqlDateTime;

/// The place of a ticket in the world.
pub(crate) type TicketIndex = u32;

#[derive(Clone, Debug)]
pub(crate) struct HaloDatabase {
    pub(crate) seed: u64,
    /// When the world was made; nothing in it is younger, apart from later changes.
    pub(crate) epoch: SqlDateTime,
    pub(crate) statuses: Vec<TicketStatus>,
    pub(crate) clients: Vec<Client>,
    pub(crate) fields: Vec<CustomFieldDef>,
    pub(crate) details_bytes: u32,
    pub(crate) phrases: Phrases,
    tickets: Vec<TicketRecord>,
    by_update: BTreeSet<(SqlDateTime, TicketIndex)>,
    overrides: HashMap<TicketIndex, TicketOverrides>,
    merges: HashMap<TicketIndex, MergeRecord>,
    changes: u32,
    generation: u64,
}

impl HaloDatabase {
    pub(crate) fn new(
        seed: u64,
        how_many: u32,
        undated: u32,
        details_bytes: u32,
        now: DateTime<Utc>,
    ) -> HaloDatabase {
        let epoch = SqlDateTime::from_utc(now);
        let statuses = fixtures::statuses();
        let tickets = InitialTickets { seed, how_many, undated, epoch, statuses: &statuses }.generate();
        let mut timestamps: Vec<_> =
            (0..).zip(&tickets).filter_map(|(index, it)| Some((it.updated?, index))).collect();
        // Sorted first, because a set is built from sorted entries in one sweep.
        timestamps.sort_unstable();
        HaloDatabase {
            seed,
            epoch,
            statuses,
            clients: fixtures::clients(),
            fields: custom_fields::initial_fields(),
            details_bytes,
            phrases: Phrases::new(),
            by_update: timestamps.into_iter().collect(),
            changes: how_many,
            tickets,
            overrides: HashMap::new(),
            merges: HashMap::new(),
            generation: 0,
        }
    }

    /// Grows with every change; equal generations list the same tickets in the same order.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// All tickets that ever were, with their places, in ascending order of id.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = (TicketIndex, &TicketRecord)> {
        (0..).zip(&self.tickets)
    }

    pub(crate) fn ticket(&self, index: TicketIndex) -> &TicketRecord {
        &self.tickets[to_usize(index)]
    }

    pub(crate) fn find(&self, id: i64) -> Option<TicketIndex> {
        let position = self.tickets.binary_search_by_key(&id, |ticket| ticket.id).ok()?;
        TicketIndex::try_from(position).ok()
    }

    /// The places of tickets last updated at or after `from`, without looking at the others.
    pub(crate) fn updated_since(&self, from: SqlDateTime) -> impl Iterator<Item = TicketIndex> {
        self.by_update.range((from, 0)..).map(|(_, index)| *index)
    }

    pub(crate) fn overrides(&self, index: TicketIndex) -> Option<&TicketOverrides> {
        // Most worlds have no written texts at all; then a page need not hash a hundred places.
        if self.overrides.is_empty() { None } else { self.overrides.get(&index) }
    }

    pub(crate) fn merge_of(&self, index: TicketIndex) -> Option<&MergeRecord> {
        if self.merges.is_empty() { None } else { self.merges.get(&index) }
    }

    pub(crate) fn is_closed(&self, ticket: &TicketRecord) -> bool {
        self.statuses.iter().any(|status| status.id == ticket.status && status.closed)
    }

    /// New tickets, opened at `stamp`; their ids go on where the last one ended, with gaps.
    pub(crate) fn create(&mut self, how_many: u32, timestamp: SqlDateTime) -> Vec<i64> {
        (0..how_many)
            .map(|_| {
                let last = self.tickets.last().map_or(seed::FIRST_ID, |ticket| ticket.id);
                let id = last + seed::id_gap(self.seed, last);
                let ticket = seed::new_ticket(self.seed, id, timestamp, self.changes + 1);
                let index = TicketIndex::try_from(self.tickets.len()).unwrap_or(TicketIndex::MAX);
                self.tickets.push(ticket);
                self.by_update.insert((timestamp, index));
                self.bump_counters();
                id
            })
            .collect()
    }

    pub(crate) fn edit(&mut self, index: TicketIndex, edit: Edit, timestamp: SqlDateTime) {
        let is_closing_status =
            |database: &HaloDatabase, status| database.statuses.iter().any(|it| it.id == status && it.closed);
        match edit {
            Edit::Touch => {}
            Edit::Summary(text) => self.overrides.entry(index).or_default().summary = Some(text),
            Edit::Details(text) => self.overrides.entry(index).or_default().details = Some(text),
            Edit::TicketType(kind) => self.tickets[to_usize(index)].ticket_type = saturating_i32(kind),
            Edit::Agent(agent) => self.tickets[to_usize(index)].agent = saturating_i32(agent),
            Edit::Status(status) => {
                let status = saturating_i32(status);
                let closes = is_closing_status(self, status);
                let ticket = &mut self.tickets[to_usize(index)];
                ticket.closed = if closes { ticket.closed.or(Some(timestamp)) } else { None };
                ticket.status = status;
            }
            Edit::CustomField { field, value, display } => {
                let values = &mut self.overrides.entry(index).or_default().custom_values;
                values.retain(|(known, _, _)| *known != field);
                values.push((field, value, display));
            }
        }
        self.record_change(index, Some(timestamp));
    }

    /// One of the changes that a service desk makes all day.
    pub(crate) fn edit_randomly(&mut self, index: TicketIndex, rng: &mut SeededRng, timestamp: SqlDateTime) {
        let edit = match rng.below(4) {
            0 => Edit::Status(i64::from(rng.pick(&self.statuses).id)),
            1 => Edit::Agent(i64::from(*rng.pick(&fixtures::AGENTS))),
            2 => Edit::Summary((*rng.pick(&fixtures::SUMMARIES)).to_owned()),
            _ => Edit::Details(format!(
                "{}\n{}",
                rng.pick(&fixtures::SENTENCES),
                rng.pick(&fixtures::SENTENCES)
            )),
        };
        self.edit(index, edit, timestamp);
    }

    pub(crate) fn delete(&mut self, index: TicketIndex, timestamp: Option<SqlDateTime>) {
        self.tickets[to_usize(index)].lifecycle = Lifecycle::Deleted;
        self.record_change(index, timestamp);
    }

    pub(crate) fn restore(&mut self, index: TicketIndex, timestamp: Option<SqlDateTime>) {
        let merged = self.merges.contains_key(&index);
        self.tickets[to_usize(index)].lifecycle = if merged { Lifecycle::Merged } else { Lifecycle::Live };
        self.record_change(index, timestamp);
    }

    /// The merged ticket is closed, as usual configurations do (halo-api.md §2.5).
    pub(crate) fn merge(
        &mut self,
        index: TicketIndex,
        into: i64,
        at: SqlDateTime,
        timestamp: Option<SqlDateTime>,
    ) {
        let ticket = &mut self.tickets[to_usize(index)];
        let merge = MergeRecord { into, status: ticket.status, closed: ticket.closed };
        ticket.lifecycle = Lifecycle::Merged;
        ticket.status = fixtures::CLOSED;
        ticket.closed = ticket.closed.or(Some(at));
        self.merges.insert(index, merge);
        self.record_change(index, timestamp);
    }

    pub(crate) fn unmerge(&mut self, index: TicketIndex, timestamp: Option<SqlDateTime>) {
        let Some(merge) = self.merges.remove(&index) else { return };
        let ticket = &mut self.tickets[to_usize(index)];
        ticket.lifecycle = Lifecycle::Live;
        ticket.status = merge.status;
        ticket.closed = merge.closed;
        self.record_change(index, timestamp);
    }

    pub(crate) fn recount_sla(&mut self, index: TicketIndex, timestamp: Option<SqlDateTime>) {
        let ticket = &mut self.tickets[to_usize(index)];
        ticket.sla_recounts = ticket.sla_recounts.wrapping_add(1);
        self.record_change(index, timestamp);
    }

    /// A permission does not touch the ticket: no stamp, no change counter.
    pub(crate) fn set_hidden(&mut self, index: TicketIndex, hidden: bool) {
        self.tickets[to_usize(index)].hidden = hidden;
        self.generation += 1;
    }

    pub(crate) fn set_raw_row(&mut self, index: TicketIndex, row: String) {
        self.overrides.entry(index).or_default().raw_row = Some(row);
        self.generation += 1;
    }

    /// A new definition touches no ticket.
    pub(crate) fn define_field(&mut self, field: CustomFieldDef) {
        self.fields.retain(|known| known.id != field.id);
        self.fields.push(field);
        self.generation += 1;
    }

    /// Everything is again as it was in an earlier copy of this world.
    pub(crate) fn restore_from(&mut self, backup: HaloDatabase) {
        let generation = self.generation + 1;
        *self = HaloDatabase { generation, ..backup };
    }

    /// Names are joined in when a row is read, so no ticket's stamp moves (halo-api.md §2.4).
    pub(crate) fn rename_status(&mut self, id: i64, name: &str) {
        for status in self.statuses.iter_mut().filter(|status| i64::from(status.id) == id) {
            name.clone_into(&mut status.name);
        }
    }

    pub(crate) fn rename_client(&mut self, id: i64, name: &str) {
        for client in self.clients.iter_mut().filter(|client| i64::from(client.id) == id) {
            client.name_json = json::escaped(name);
        }
    }

    fn record_change(&mut self, index: TicketIndex, timestamp: Option<SqlDateTime>) {
        let ticket = &mut self.tickets[to_usize(index)];
        if let Some(timestamp) = timestamp {
            if let Some(old) = ticket.updated.replace(timestamp) {
                self.by_update.remove(&(old, index));
            }
            self.by_update.insert((timestamp, index));
        }
        ticket.change_seq = self.changes + 1;
        self.bump_counters();
    }

    fn bump_counters(&mut self) {
        self.changes += 1;
        self.generation += 1;
    }
}

fn to_usize(index: TicketIndex) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
