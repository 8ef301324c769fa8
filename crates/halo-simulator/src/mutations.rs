//! Changes that users make on the server, for tests, the demo and the control endpoints.
//!
//! Each method updates timestamps as the knobs define. `now` is the time at which the change becomes visible; its
//! timestamp is older by the knob `commit_delay_ms`, because the real server takes the timestamp before it has finished
//! writing (halo-api.md §2.4).

use chrono::{DateTime, TimeDelta, Utc};

use crate::custom_fields;
use crate::database::TicketIndex;
use crate::effect;
use crate::endpoint::ApiEndpoint;
use crate::faults::ServerFault;
use crate::field_definitions::CustomFieldDef;
use crate::knob_values::Switch;
use crate::knobs::Knobs;
use crate::list;
use crate::log::RequestLog;
use crate::message::millis;
use crate::reference_key::ReferenceKey;
use crate::replay::ReplayedResponse;
use crate::row_defect::RowDefect;
use crate::selection::Selection;
use crate::server::Server;
use crate::ticket::{Edit, Lifecycle, TicketRecord};
use crate::timestamp::SqlDateTime;
use crate::uncommitted::{DelayedChange, UncommittedChange};

impl Server {
    /// Returns the ids of the tickets in the plain list, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        self.listed().into_iter().map(|index| self.database.ticket(index).id).collect()
    }

    /// Returns the list row of a ticket exactly as it is served at `now`, but without defects; `None` for an unknown id
    /// or a row that is not valid JSON.
    #[must_use]
    pub fn row(&self, id: i64, now: DateTime<Utc>) -> Option<serde_json::Value> {
        let index = self.database.find(id)?;
        let now = SqlDateTime::from_utc(now + self.clock_offset);
        serde_json::from_slice(&list::row(&self.database, &self.knobs, index, now)).ok()
    }

    /// Returns the custom fields of a ticket as in the single-ticket response; `None` for an unknown id.
    #[must_use]
    pub fn custom_fields(&self, id: i64) -> Option<serde_json::Value> {
        let index = self.database.find(id)?;
        let mut body = b"{\"id\":0}".to_vec();
        custom_fields::append_to_detail(&self.database, index, &mut body);
        let mut body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        body.get_mut("customfields").map(serde_json::Value::take)
    }

    /// Defines a custom text field; it is empty in existing tickets until they are edited.
    pub fn define_field(&mut self, id: i64, name: &str, label: &str) {
        self.database.define_field(CustomFieldDef::new_text(id, name, label));
    }

    /// Backs up all data and replaces an earlier backup.
    pub fn back_up(&mut self) {
        self.backup = Some(Box::new(self.database.clone()));
    }

    /// Restores the backup, if there is one. Later changes are lost, and ids of later tickets are assigned again.
    pub fn restore_backup(&mut self) {
        if let Some(backup) = self.backup.clone() {
            self.database.restore_from(*backup);
        }
    }

    /// Creates tickets and returns their ids.
    pub fn create(&mut self, count: u32, now: DateTime<Utc>) -> Vec<i64> {
        let timestamp = self.timestamp(now);
        self.database.create(count, timestamp)
    }

    /// Edits one ticket. An unknown id changes nothing.
    pub fn edit(&mut self, id: i64, edit: Edit, now: DateTime<Utc>) {
        let timestamp = self.timestamp(now);
        if let Some(index) = self.database.find(id) {
            self.database.edit(index, edit, timestamp);
        }
    }

    /// Edits some listed tickets, drawn from the seed, and returns their ids, ascending.
    pub fn edit_some(&mut self, count: u32, now: DateTime<Utc>) -> Vec<i64> {
        let timestamp = self.timestamp(now);
        let ids = self.pick_listed(count);
        for &id in &ids {
            if let Some(index) = self.database.find(id) {
                self.database.edit_randomly(index, &mut self.rng, timestamp);
            }
        }
        ids
    }

    /// Edits a ticket with a `last_update` of now; nobody sees it before `delay` is over.
    pub fn edit_visible_later(&mut self, id: i64, edit: Edit, delay: TimeDelta, now: DateTime<Utc>) {
        self.delay(DelayedChange::Edit(id, edit), delay, now);
    }

    /// Creates tickets with a `last_update` of now; nobody sees them before `delay` is over.
    pub fn create_visible_later(&mut self, count: u32, delay: TimeDelta, now: DateTime<Utc>) {
        self.delay(DelayedChange::Create(count), delay, now);
    }

    fn delay(&mut self, change: DelayedChange, delay: TimeDelta, now: DateTime<Utc>) {
        let timestamp = SqlDateTime::from_utc(now + self.clock_offset);
        let due = now + effect::shifted(TimeDelta::zero(), delay);
        self.uncommitted.push(UncommittedChange { due, timestamp, change });
    }

    /// Makes the changes visible whose time has come, in the order in which they were to.
    pub(crate) fn commit_due(&mut self, now: DateTime<Utc>) {
        let mut due: Vec<_> = self.uncommitted.extract_if(.., |it| it.due <= now).collect();
        due.sort_by_key(|it| it.due);
        for change in due {
            change.commit(&mut self.database);
        }
    }

    /// Soft-deletes a ticket.
    pub fn delete(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.delete_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.delete(index, timestamp);
        }
    }

    /// Restores a deleted ticket.
    pub fn restore(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.delete_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.restore(index, timestamp);
        }
    }

    /// Merges a ticket into another and closes it.
    pub fn merge(&mut self, id: i64, into: i64, now: DateTime<Utc>) {
        let (at, timestamp) = (self.timestamp(now), self.timestamp_if(self.knobs.merge_stamps, now));
        if let Some(index) = self.database.find(id) {
            self.database.merge(index, into, at, timestamp);
        }
    }

    /// Undoes a merge.
    pub fn unmerge(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.merge_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.unmerge(index, timestamp);
        }
    }

    /// Recalculates the SLA of a ticket, which moves `fixbydate`.
    pub fn recount_sla(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.sla_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.recount_sla(index, timestamp);
        }
    }

    /// Adds a property to the rows of an endpoint, or gives it this JSON value in place of its own: to all rows, or to that of
    /// one id. An administrator edits a column profile, or the server was updated.
    pub fn set_field(
        &mut self,
        endpoint: ApiEndpoint,
        name: &str,
        id: Option<i64>,
        value: &serde_json::Value,
    ) {
        self.database.field_changes.set(endpoint, name, id, Some(value.to_string()));
    }

    /// Drops a property from the rows of an endpoint.
    pub fn drop_field(&mut self, endpoint: ApiEndpoint, name: &str, id: Option<i64>) {
        self.database.field_changes.set(endpoint, name, id, None);
    }

    /// Serves a property of the rows of an endpoint as before.
    pub fn reset_field(&mut self, endpoint: ApiEndpoint, name: &str, id: Option<i64>) {
        self.database.field_changes.reset(endpoint, name, id);
    }

    /// Removes these tickets from the agent's permissions.
    pub fn hide(&mut self, ids: &[i64]) {
        self.set_hidden(ids, true);
    }

    /// Adds these tickets to the agent's permissions again.
    pub fn unhide(&mut self, ids: &[i64]) {
        self.set_hidden(ids, false);
    }

    /// Renames a status; no ticket's timestamp changes.
    pub fn rename_status(&mut self, status_id: i64, name: &str) {
        self.database.rename_status(status_id, name);
    }

    /// Renames a ticket type; no ticket's timestamp changes.
    pub fn rename_ticket_type(&mut self, type_id: i64, name: &str) {
        self.database.rename_ticket_type(type_id, name);
    }

    /// Renames a client; no ticket's timestamp changes.
    pub fn rename_client(&mut self, client_id: i64, name: &str) {
        self.database.rename_client(client_id, name);
    }

    /// Renames a reference object; no ticket's timestamp changes. Rows have the new name of a team, client, site or user
    /// at once, as they do with statuses, and the text of a category stays as it is.
    pub fn rename_reference(&mut self, key: ReferenceKey, name: &str) {
        self.database.rename_reference(key, name);
    }

    /// Adds a reference object, or lists a removed one again; no ticket names a new one.
    pub fn add_reference(&mut self, key: ReferenceKey, name: &str) {
        self.database.reference.add(key);
        self.database.rename_reference(key, name);
    }

    /// Deletes a reference object. Tickets that name it stay as they are, and it is in no list any more.
    pub fn remove_reference(&mut self, key: ReferenceKey) {
        self.database.reference.remove(key);
    }

    /// Disables or enables a reference object: an agent's `isdisabled`, a priority's `ishidden`, the `inactive` of
    /// others. SLAs and categories have no such flag.
    pub fn set_reference_inactive(&mut self, key: ReferenceKey, inactive: bool) {
        self.database.reference.set_inactive(key, inactive);
    }

    /// Serves this text verbatim in place of the ticket's row. It need not be valid JSON; filters and order still use
    /// the ticket.
    pub fn set_raw_row(&mut self, id: i64, row: String) {
        if let Some(index) = self.database.find(id) {
            self.database.set_raw_row(index, row);
        }
    }

    /// Serves the row of a ticket as it is again.
    pub fn clear_raw_row(&mut self, id: i64) {
        if let Some(index) = self.database.find(id) {
            self.database.clear_raw_row(index);
        }
    }

    /// Serves the row and the single-ticket response of a ticket with these defects, in place of earlier ones; none
    /// repairs it. An unknown id changes nothing.
    pub fn set_row_defects(&mut self, id: i64, defects: Vec<RowDefect>) {
        if let Some(index) = self.database.find(id) {
            self.database.set_row_defects(index, defects);
        }
    }

    /// Returns the defects of a ticket that [`Server::set_row_defects`] set.
    #[must_use]
    pub fn row_defects(&self, id: i64) -> &[RowDefect] {
        let overrides = self.database.find(id).and_then(|index| self.database.overrides(index));
        overrides.map_or(&[], |overrides| &overrides.defects)
    }

    /// Reveals this many hidden tickets, those with the lowest ids, and returns their ids; no timestamp changes.
    pub fn reveal_some(&mut self, count: u32) -> Vec<i64> {
        let ids = self.first_ids(count, |ticket| ticket.hidden);
        self.unhide(&ids);
        ids
    }

    /// Restores this many deleted tickets, those with the lowest ids, and returns their ids.
    pub fn restore_some(&mut self, count: u32, now: DateTime<Utc>) -> Vec<i64> {
        let ids = self.first_ids(count, |ticket| ticket.lifecycle == Lifecycle::Deleted);
        for &id in &ids {
            self.restore(id, now);
        }
        ids
    }

    /// Replays a response after the others of its path.
    pub fn replay(&mut self, response: ReplayedResponse) {
        self.replays.add(response);
    }

    /// Ends all replays.
    pub fn clear_replays(&mut self) {
        self.replays.clear();
    }

    /// Returns the request log.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// Returns the request log for changes.
    pub fn log_mut(&mut self) -> &mut RequestLog {
        &mut self.log
    }

    /// Returns the knobs for changes.
    pub fn knobs(&mut self) -> &mut Knobs {
        self.selections.clear();
        &mut self.knobs
    }

    /// Injects a fault; its requests are counted from now on.
    pub fn inject(&mut self, fault: ServerFault) {
        self.faults.add(fault);
    }

    /// Removes all faults; changes that they made to the data remain.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Revokes all tokens.
    pub fn revoke_tokens(&mut self) {
        self.auth.revoke_all();
    }

    /// Sets the offset of the server's clock from the time given to it.
    pub fn set_clock_offset(&mut self, offset: TimeDelta) {
        self.clock_offset = effect::shifted(TimeDelta::zero(), offset);
    }

    /// Draws distinct listed tickets from the seed and returns their ids, ascending.
    pub(crate) fn pick_listed(&mut self, count: u32) -> Vec<i64> {
        let mut listed = self.listed();
        let count = listed.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        for drawn in 0..count {
            let other = drawn + self.rng.index(listed.len() - drawn);
            listed.swap(drawn, other);
        }
        let mut chosen = listed[..count].to_vec();
        chosen.sort_unstable();
        chosen.into_iter().map(|index| self.database.ticket(index).id).collect()
    }

    /// Returns the lowest ids of such tickets.
    fn first_ids(&self, count: u32, is_wanted: impl Fn(&TicketRecord) -> bool) -> Vec<i64> {
        let wanted = self.database.tickets().filter(|(_, ticket)| is_wanted(ticket));
        wanted.map(|(_, ticket)| ticket.id).take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
    }

    fn listed(&self) -> Vec<TicketIndex> {
        Selection::default().matching_indices(&self.database, &self.knobs)
    }

    fn set_hidden(&mut self, ids: &[i64], hidden: bool) {
        for &id in ids {
            if let Some(index) = self.database.find(id) {
                self.database.set_hidden(index, hidden);
            }
        }
    }

    fn timestamp(&self, now: DateTime<Utc>) -> SqlDateTime {
        SqlDateTime::from_utc(now + self.clock_offset - millis(self.knobs.commit_delay_ms))
    }

    fn timestamp_if(&self, updates: Switch, now: DateTime<Utc>) -> Option<SqlDateTime> {
        updates.is_on().then(|| self.timestamp(now))
    }
}
