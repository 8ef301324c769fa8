//! The database: tickets and their changes.
//!
//! Tickets are in ascending order of id and are never removed, so an index stays valid. Every change goes through
//! `record_change`, which updates the index by last update and invalidates cached selections. Callers decide whether
//! `last_update` changes, because the knobs of a change are not known here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::field_changes::FieldChanges;
use crate::field_definitions::{self, CustomFieldDef};
use crate::fixtures::{self, Client, TicketStatus, TicketType};
use crate::json;
use crate::knobs::Knobs;
use crate::phrases::Phrases;
use crate::reference_key::{ReferenceEdits, ReferenceKey};
use crate::rng::SeededRng;
use crate::row_defect::RowDefect;
use crate::seed::{self, InitialTickets};
use crate::ticket::{Edit, Lifecycle, MergeRecord, TicketOverrides, TicketRecord, saturating_i32};
use crate::timestamp::SqlDateTime;

/// The position of a ticket in the database.
pub(crate) type TicketIndex = u32;

#[derive(Clone, Debug)]
pub(crate) struct HaloDatabase {
    pub(crate) seed: u64,
    /// The time of creation; only later changes are newer.
    pub(crate) epoch: SqlDateTime,
    pub(crate) statuses: Vec<TicketStatus>,
    pub(crate) clients: Vec<Client>,
    /// Names of renamed ticket types by id.
    type_names: BTreeMap<i64, String>,
    pub(crate) fields: Vec<CustomFieldDef>,
    /// Properties that are served otherwise.
    pub(crate) field_changes: FieldChanges,
    /// What users have changed about agents, teams and other reference objects.
    pub(crate) reference: ReferenceEdits,
    /// The number of SLAs that tickets have.
    pub(crate) slas: u32,
    /// The number of clients without tickets.
    pub(crate) more_clients: u32,
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
    /// Generates the initial data; later changes of the knobs do not alter it.
    pub(crate) fn new(seed: u64, count: u32, knobs: &Knobs, now: DateTime<Utc>) -> HaloDatabase {
        let &Knobs { undated, lost_agents, details_bytes, slas, more_clients, .. } = knobs;
        let epoch = SqlDateTime::from_utc(now);
        let statuses = fixtures::statuses();
        let tickets =
            InitialTickets { seed, count, undated, lost_agents, epoch, statuses: &statuses }.generate();
        let mut timestamps: Vec<_> =
            (0..).zip(&tickets).filter_map(|(index, it)| Some((it.updated?, index))).collect();
        // Sorted first, because a set is built from sorted entries in one pass.
        timestamps.sort_unstable();
        HaloDatabase {
            seed,
            epoch,
            statuses,
            clients: fixtures::clients(),
            fields: field_definitions::initial_fields(),
            field_changes: FieldChanges::default(),
            reference: ReferenceEdits::default(),
            slas,
            more_clients,
            details_bytes,
            phrases: Phrases::new(),
            by_update: timestamps.into_iter().collect(),
            changes: count,
            tickets,
            overrides: HashMap::new(),
            type_names: BTreeMap::new(),
            merges: HashMap::new(),
            generation: 0,
        }
    }

    /// Increases with every change; in the same generation, lists have the same tickets in the same order.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns all tickets, including deleted ones, with their indices, in ascending order of id.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = (TicketIndex, &TicketRecord)> {
        (0..).zip(&self.tickets)
    }

    /// Returns the number of tickets, including deleted ones.
    pub(crate) fn ticket_count(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn ticket(&self, index: TicketIndex) -> &TicketRecord {
        &self.tickets[to_usize(index)]
    }

    pub(crate) fn find(&self, id: i64) -> Option<TicketIndex> {
        let position = self.tickets.binary_search_by_key(&id, |ticket| ticket.id).ok()?;
        TicketIndex::try_from(position).ok()
    }

    /// Returns the indices of tickets updated at or after `from`, without scanning the others.
    pub(crate) fn updated_since(&self, from: SqlDateTime) -> impl Iterator<Item = TicketIndex> {
        self.by_update.range((from, 0)..).map(|(_, index)| *index)
    }

    pub(crate) fn overrides(&self, index: TicketIndex) -> Option<&TicketOverrides> {
        // Usually there are no overrides; then a page need not compute 100 hashes.
        if self.overrides.is_empty() { None } else { self.overrides.get(&index) }
    }

    /// Returns whether the row of any ticket has defects.
    pub(crate) fn has_row_defects(&self) -> bool {
        self.overrides.values().any(|overrides| !overrides.defects.is_empty())
    }

    pub(crate) fn merge_of(&self, index: TicketIndex) -> Option<&MergeRecord> {
        if self.merges.is_empty() { None } else { self.merges.get(&index) }
    }

    pub(crate) fn is_closed(&self, ticket: &TicketRecord) -> bool {
        self.statuses.iter().any(|status| status.id == ticket.status && status.closed)
    }

    /// Creates tickets opened at `timestamp`; their ids continue after the last one, with gaps.
    pub(crate) fn create(&mut self, count: u32, timestamp: SqlDateTime) -> Vec<i64> {
        (0..count)
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
            Edit::TicketType(id) => self.tickets[to_usize(index)].ticket_type = saturating_i32(id),
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

    /// Makes a random edit that is typical of a service desk.
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

    /// Merges a ticket and closes it, as usual configurations do (halo-api.md §2.5).
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

    /// Changes a permission, which leaves the ticket's timestamp and change counter as they are.
    pub(crate) fn set_hidden(&mut self, index: TicketIndex, hidden: bool) {
        self.tickets[to_usize(index)].hidden = hidden;
        self.generation += 1;
    }

    pub(crate) fn set_raw_row(&mut self, index: TicketIndex, row: String) {
        self.overrides.entry(index).or_default().raw_row = Some(row);
        self.generation += 1;
    }

    pub(crate) fn clear_raw_row(&mut self, index: TicketIndex) {
        self.overrides.entry(index).or_default().raw_row = None;
        self.generation += 1;
    }

    pub(crate) fn set_row_defects(&mut self, index: TicketIndex, defects: Vec<RowDefect>) {
        self.overrides.entry(index).or_default().defects = defects;
        self.generation += 1;
    }

    /// Defines a custom field; tickets do not change.
    pub(crate) fn define_field(&mut self, field: CustomFieldDef) {
        self.fields.retain(|known| known.id != field.id);
        self.fields.push(field);
        self.generation += 1;
    }

    /// Restores a backup of this database.
    pub(crate) fn restore_from(&mut self, backup: HaloDatabase) {
        let generation = self.generation + 1;
        *self = HaloDatabase { generation, ..backup };
    }

    /// Names are joined in when a row is read, so no ticket's timestamp changes (halo-api.md §2.4).
    pub(crate) fn rename_status(&mut self, id: i64, name: &str) {
        for status in self.statuses.iter_mut().filter(|status| i64::from(status.id) == id) {
            name.clone_into(&mut status.name);
        }
    }

    pub(crate) fn rename_ticket_type(&mut self, id: i64, name: &str) {
        self.type_names.insert(id, name.to_owned());
    }

    /// The name of a ticket type, unless it was renamed its first one.
    pub(crate) fn type_name<'s>(&'s self, ticket_type: &'s TicketType) -> &'s str {
        self.type_names.get(&ticket_type.id.into()).map_or(ticket_type.name, String::as_str)
    }

    pub(crate) fn rename_client(&mut self, id: i64, name: &str) {
        self.reference.rename(ReferenceKey::Client(id), name);
        for client in self.clients.iter_mut().filter(|client| i64::from(client.id) == id) {
            client.name_json = json::escaped(name);
        }
    }

    /// Tickets do not change, as with the names of statuses.
    pub(crate) fn rename_reference(&mut self, key: ReferenceKey, name: &str) {
        match key {
            ReferenceKey::Client(id) => self.rename_client(id, name),
            _ => self.reference.rename(key, name),
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
