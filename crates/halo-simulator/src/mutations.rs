//! What people do on the server while somebody reads from it: the hands of a test, the demo and the control endpoints.
//!
//! Each method moves the stamps as the knobs say the real server would. `now` is the moment the change becomes
//! readable; its stamp is older by the knob `commit_delay_ms`, because the real server takes the stamp before it is
//! done writing (halo-api.md §2.4).

use chrono::{DateTime, TimeDelta, Utc};

use crate::custom_fields::{self, CustomFieldDef};
use crate::faults::ServerFault;
use crate::knob_values::Switch;
use crate::knobs::Knobs;
use crate::list;
use crate::log::RequestLog;
use crate::message::millis;
use crate::selection::Selection;
use crate::server::Server;
use crate::ticket::Edit;
use crate::timestamp::SqlDateTime;
use crate::world::TicketIndex;

impl Server {
    /// The tickets that a plain list shows, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        self.listed().into_iter().map(|index| self.database.ticket(index).id).collect()
    }

    /// The list row of a ticket exactly as it is served at `now`; `None` for an unknown id and for a row that is no
    /// JSON.
    #[must_use]
    pub fn row(&self, id: i64, now: DateTime<Utc>) -> Option<serde_json::Value> {
        let index = self.database.find(id)?;
        let now = SqlDateTime::from_utc(now + self.clock_offset);
        serde_json::from_slice(&list::row(&self.database, &self.knobs, index, now)).ok()
    }

    /// The custom fields of a ticket as the ticket alone shows them; `None` for an unknown id.
    #[must_use]
    pub fn custom_fields(&self, id: i64) -> Option<serde_json::Value> {
        let index = self.database.find(id)?;
        let mut body = b"{\"id\":0}".to_vec();
        custom_fields::append_to_detail(&self.database, index, &mut body);
        let mut body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        body.get_mut("customfields").map(serde_json::Value::take)
    }

    /// Defines a custom field, a text; the tickets that are there hold nothing in it until somebody types.
    pub fn define_field(&mut self, id: i64, name: &str, label: &str) {
        self.database.define_field(CustomFieldDef::new_text(id, name, label));
    }

    /// Keeps a copy of everything, in place of an earlier one.
    pub fn back_up(&mut self) {
        self.backup = Some(Box::new(self.database.clone()));
    }

    /// Everything is again as it was when it was backed up, if it was; what changed since is gone, and numbers of new
    /// tickets are given again.
    pub fn restore_backup(&mut self) {
        if let Some(backup) = self.backup.clone() {
            self.database.restore_from(*backup);
        }
    }

    /// Opens new tickets; their ids.
    pub fn create(&mut self, how_many: u32, now: DateTime<Utc>) -> Vec<i64> {
        let timestamp = self.timestamp(now);
        self.database.create(how_many, timestamp)
    }

    /// Changes one ticket. An unknown id changes nothing.
    pub fn edit(&mut self, id: i64, edit: Edit, now: DateTime<Utc>) {
        let timestamp = self.timestamp(now);
        if let Some(index) = self.database.find(id) {
            self.database.edit(index, edit, timestamp);
        }
    }

    /// Changes some listed tickets, chosen by the seed; their ids, ascending.
    pub fn edit_some(&mut self, how_many: u32, now: DateTime<Utc>) -> Vec<i64> {
        let timestamp = self.timestamp(now);
        let ids = self.pick_listed(how_many);
        for &id in &ids {
            if let Some(index) = self.database.find(id) {
                self.database.edit_randomly(index, &mut self.rng, timestamp);
            }
        }
        ids
    }

    /// Deletes a ticket, softly.
    pub fn delete(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.delete_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.delete(index, timestamp);
        }
    }

    /// Takes a deletion back.
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

    /// Takes a merge back.
    pub fn unmerge(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.merge_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.unmerge(index, timestamp);
        }
    }

    /// Counts the SLA of a ticket anew, which moves `fixbydate`.
    pub fn recount_sla(&mut self, id: i64, now: DateTime<Utc>) {
        let timestamp = self.timestamp_if(self.knobs.sla_stamps, now);
        if let Some(index) = self.database.find(id) {
            self.database.recount_sla(index, timestamp);
        }
    }

    /// Cuts the agent's permissions: it sees these tickets no more.
    pub fn hide(&mut self, ids: &[i64]) {
        self.set_hidden(ids, true);
    }

    /// Gives the permissions back.
    pub fn unhide(&mut self, ids: &[i64]) {
        self.set_hidden(ids, false);
    }

    /// Gives a status another name; no ticket's stamp moves.
    pub fn rename_status(&mut self, status_id: i64, name: &str) {
        self.database.rename_status(status_id, name);
    }

    /// Gives a client another name; no ticket's stamp moves.
    pub fn rename_client(&mut self, client_id: i64, name: &str) {
        self.database.rename_client(client_id, name);
    }

    /// From now on this text is served, verbatim, where the ticket's row was. It need not be JSON; stamp, filters and
    /// order stay those of the ticket.
    pub fn set_raw_row(&mut self, id: i64, row: String) {
        if let Some(index) = self.database.find(id) {
            self.database.set_raw_row(index, row);
        }
    }

    /// What was asked so far.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// The log, to be reset.
    pub fn log_mut(&mut self) -> &mut RequestLog {
        &mut self.log
    }

    /// The knobs, to be turned.
    pub fn knobs(&mut self) -> &mut Knobs {
        self.selections.clear();
        &mut self.knobs
    }

    /// Adds a fault; its counting begins now.
    pub fn inject(&mut self, fault: ServerFault) {
        self.faults.add(fault);
    }

    /// Removes all faults; what they did to the world stays.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Makes every token worthless.
    pub fn revoke_tokens(&mut self) {
        self.auth.revoke_all();
    }

    /// From now on the server believes that it is so much later (or earlier) than it is told.
    pub fn set_clock_offset(&mut self, offset: TimeDelta) {
        self.clock_offset = offset;
    }

    /// Some listed tickets, chosen by the seed; ascending, none twice.
    pub(crate) fn pick_listed(&mut self, how_many: u32) -> Vec<i64> {
        let mut listed = self.listed();
        let how_many = listed.len().min(usize::try_from(how_many).unwrap_or(usize::MAX));
        for drawn in 0..how_many {
            let other = drawn + self.rng.index(listed.len() - drawn);
            listed.swap(drawn, other);
        }
        let mut chosen = listed[..how_many].to_vec();
        chosen.sort_unstable();
        chosen.into_iter().map(|index| self.database.ticket(index).id).collect()
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

    fn timestamp_if(&self, moves: Switch, now: DateTime<Utc>) -> Option<SqlDateTime> {
        moves.is_on().then(|| self.timestamp(now))
    }
}
