//! The reference model: records what happened on the server and to which tickets, and what must therefore be stored. It
//! reads the server's state and never the client's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{PlainList, RowDefect, RowExtras, Server, ValueForm};
use halosync::ticket::{AttributeValue, Timestamp};

use crate::coverage::{Coverage, CoverageEvent};
use crate::reference_lists::ListOutage;
use crate::support::mapping::{self, Names};

/// The sequence number of a server event; 0 is the initial state.
pub(crate) type Seq = u64;

/// The state of one ticket, as far as the invariants depend on it.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none excludes another")]
pub(crate) struct ModelTicket {
    pub(crate) listed: bool,
    /// When it last entered the list.
    pub(crate) entered_at: Seq,
    /// When it last changed in any way.
    pub(crate) changed_at: Seq,
    /// Whether a run has promised that the present version is stored.
    pub(crate) promised: bool,
    /// Softly deleted.
    pub(crate) deleted: bool,
    /// Merged into another ticket.
    pub(crate) merged: bool,
    /// Outside of what the client may see.
    pub(crate) hidden: bool,
    /// What is wrong with its row.
    pub(crate) defects: TicketDefects,
    /// When what is wrong with its row last changed.
    pub(crate) defects_changed_at: Seq,
    /// Attributes whose values could not be read at some time.
    pub(crate) ever_rejected: BTreeSet<&'static str>,
    /// The newest `last_update` it ever had: only full scans see a version with an older one.
    newest: Option<Timestamp>,
    /// When it changed in any way, in true time.
    pub(crate) changes: Vec<DateTime<Utc>>,
    row: Option<Arc<Vec<AttributeValue>>>,
    extras: Option<Vec<AttributeValue>>,
}

/// What is wrong with the row of a ticket as it is served, by what a client can make of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TicketDefects {
    /// It has no usable id.
    pub(crate) without_id: bool,
    /// It cannot be parsed, but its id can be told.
    pub(crate) unreadable: bool,
    /// Attributes whose value cannot be read.
    pub(crate) rejected: BTreeSet<&'static str>,
}

impl TicketDefects {
    /// Whether the ticket cannot be stored as it is served.
    pub(crate) fn hides_ticket(&self) -> bool {
        self.without_id || self.unreadable
    }

    fn of(server: &Server, id: i64, now: DateTime<Utc>) -> TicketDefects {
        let mut defects = TicketDefects::default();
        for defect in server.row_defects(id) {
            match defect {
                RowDefect::Value { path, .. } if *path == ["id"] => defects.without_id = true,
                RowDefect::Value { form: ValueForm::Object | ValueForm::Array, path } => {
                    let row = server.row(id, now).unwrap_or_default();
                    // A property that the row does not have has no defect either.
                    let field = path.first().filter(|field| row.get(field.as_str()).is_some());
                    defects
                        .rejected
                        .extend(field.into_iter().flat_map(|field| mapping::attributes_of(field)));
                }
                RowDefect::Text(_) => defects.unreadable = true,
                other => panic!("no simulation run has the defect {other:?}"),
            }
        }
        defects
    }
}

impl ModelTicket {
    fn mark_changed(&mut self, seq: Seq, now: DateTime<Utc>) {
        (self.changed_at, self.promised, self.row, self.extras) = (seq, false, None, None);
        self.changes.push(now);
    }
}

/// Leaves out the row, which is long.
impl fmt::Debug for ModelTicket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = [
            (self.listed, "listed"),
            (self.deleted, "deleted"),
            (self.merged, "merged"),
            (self.hidden, "hidden"),
        ];
        let state: Vec<_> = state.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let ModelTicket { entered_at, changed_at, defects_changed_at, .. } = self;
        write!(out, "{}, entered at #{entered_at}, changed at #{changed_at}", state.join(", "))?;
        if *defects_changed_at != 0 {
            write!(out, ", since #{defects_changed_at} {:?}", self.defects)?;
        }
        Ok(())
    }
}

/// What one change on the server did to the list.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one event may do several of them")]
pub(crate) struct ServerEvent {
    pub(crate) seq: Seq,
    /// Whether a ticket disappeared from the list.
    disappeared: bool,
    /// Whether a ticket came back into it, at any position.
    returned: bool,
    /// Whether a new ticket was added, at the end.
    created: bool,
    /// Whether a ticket got a new `last_update`, and so entered the list of incremental scans.
    moved_last_update: bool,
}

impl ServerEvent {
    /// Whether a ticket disappeared from the list, and whether one entered the list that such a scan reads.
    pub(crate) fn disappeared_and_entered(self, full: bool) -> (bool, bool) {
        // Full scans verify against the set as it was at their start, so that a new ticket cannot stand in for one that
        // disappeared.
        (self.disappeared, self.returned || !full && (self.created || self.moved_last_update))
    }
}

/// A change that was made on the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerChange {
    /// The tickets that were changed.
    pub(crate) tickets: Vec<i64>,
    /// Whether they got a new `last_update`.
    pub(crate) moves_last_update: bool,
    /// Whether they got another type: they disappear from one filtered list and enter another one anywhere.
    pub(crate) type_changed: bool,
    pub(crate) description: String,
}

impl ServerChange {
    pub(crate) fn new(tickets: Vec<i64>, moves_last_update: bool, description: String) -> ServerChange {
        ServerChange { tickets, moves_last_update, description, type_changed: false }
    }
}

/// The history of the server and the state that follows from it.
pub(crate) struct ReferenceModel {
    pub(crate) seq: Seq,
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) tickets: BTreeMap<i64, ModelTicket>,
    /// The status names, empty where the client may not read them.
    pub(crate) status_names: Names,
    pub(crate) coverage: Coverage,
    /// The error of the server's clock.
    pub(crate) clock_offset: TimeDelta,
    /// What happened, one line per event; only in verbose simulation runs.
    log: Option<Vec<String>>,
    /// The state when the server was last backed up.
    backup: Option<Box<Backup>>,
    /// Custom fields that were defined during the simulation run.
    pub(crate) new_fields: BTreeSet<i64>,
    /// The tickets whose local rows other programs changed, and when that was last.
    pub(crate) local_edits: BTreeMap<i64, Seq>,
    /// The tickets that were erased in the local database.
    pub(crate) purged: BTreeSet<i64>,
    /// When the column profile last changed.
    pub(crate) profile_changed_at: Seq,
    /// The reference lists that are not what they should be, by table.
    pub(crate) outages: BTreeMap<&'static str, ListOutage>,
}

/// What was promised when the local database was copied.
pub(crate) struct PromiseBackup {
    /// Of each ticket with a promise, when it had last changed.
    promised: BTreeMap<i64, Seq>,
    local_edits: BTreeMap<i64, Seq>,
    purged: BTreeSet<i64>,
}

/// The state that restoring the server's backup brings back.
#[derive(Clone)]
struct Backup {
    tickets: BTreeMap<i64, ModelTicket>,
    status_names: Names,
    new_fields: BTreeSet<i64>,
}

impl ReferenceModel {
    pub(crate) fn of(server: &mut Server, status_names: Names, verbose: bool) -> ReferenceModel {
        let tickets = listed_ids(server)
            .into_iter()
            .map(|id| (id, ModelTicket { listed: true, ..ModelTicket::default() }));
        let (tickets, coverage) = (tickets.collect(), Coverage::default());
        ReferenceModel {
            seq: 0,
            events: Vec::new(),
            tickets,
            status_names,
            coverage,
            clock_offset: TimeDelta::zero(),
            log: verbose.then(Vec::new),
            backup: None,
            new_fields: BTreeSet::new(),
            local_edits: BTreeMap::new(),
            purged: BTreeSet::new(),
            profile_changed_at: 0,
            outages: BTreeMap::new(),
        }
    }

    /// Makes a change on the server and records what it did.
    pub(crate) fn apply(
        &mut self,
        server: &mut Server,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Server) -> ServerChange,
    ) {
        let before = listed_ids(server);
        let change = change(server);
        let after = listed_ids(server);
        self.seq += 1;
        let seq = self.seq;
        let disappeared: Vec<_> = before.difference(&after).copied().collect();
        let entered: Vec<_> = after.difference(&before).copied().collect();
        let created = entered.iter().any(|id| !self.tickets.contains_key(id));
        let returned = entered.iter().any(|id| self.tickets.contains_key(id));
        for id in &disappeared {
            self.tickets.entry(*id).or_default().listed = false;
        }
        for id in &entered {
            let ticket = self.tickets.entry(*id).or_default();
            (ticket.listed, ticket.entered_at) = (true, seq);
        }
        for id in change.tickets.iter().chain(&disappeared).chain(&entered) {
            let ticket = self.tickets.entry(*id).or_default();
            ticket.mark_changed(seq, now);
        }
        for id in &change.tickets {
            self.update_defects(*id, server, now);
        }
        if 0 < server.knobs().detail_cache_s {
            // Whether a version is older than an earlier one decides what a cache may excuse: every version must be seen.
            for id in &change.tickets {
                if self.tickets[id].listed {
                    self.expected_row(*id, server, now);
                }
            }
        }
        self.events.push(ServerEvent {
            seq,
            disappeared: !disappeared.is_empty() || change.type_changed,
            returned: returned || change.type_changed,
            created,
            moved_last_update: change.moves_last_update,
        });
        self.log(now, || format!("#{seq} {}", change.description));
    }

    /// Serves the row of a ticket with other defects. What was promised about the ticket stays promised: a version that is
    /// stored must not be lost because the row cannot be read for a while.
    pub(crate) fn set_defects(
        &mut self,
        id: i64,
        defects: Vec<RowDefect>,
        server: &mut Server,
        now: DateTime<Utc>,
    ) {
        self.seq += 1;
        let seq = self.seq;
        self.log(now, || format!("#{seq} serves the row of {id} with {defects:?}"));
        server.set_row_defects(id, defects);
        self.update_defects(id, server, now);
    }

    /// Records the present defects of a row.
    fn update_defects(&mut self, id: i64, server: &Server, now: DateTime<Utc>) {
        let defects = TicketDefects::of(server, id, now);
        let ticket = self.tickets.entry(id).or_default();
        if ticket.defects != defects {
            ticket.ever_rejected.extend(&defects.rejected);
            (ticket.defects, ticket.defects_changed_at) = (defects, self.seq);
            ticket.changes.push(now);
        }
    }

    /// The tickets whose rows have defects.
    pub(crate) fn defective_ids(&self) -> Vec<i64> {
        let defective = |ticket: &ModelTicket| ticket.defects != TicketDefects::default();
        self.tickets.iter().filter(|(_, ticket)| defective(ticket)).map(|(id, _)| *id).collect()
    }

    /// Records that another program changed the local rows of tickets. Only a full scan that begins later repairs them.
    pub(crate) fn record_local_edit(&mut self, ids: &[i64]) {
        self.seq += 1;
        for id in ids {
            self.local_edits.insert(*id, self.seq);
            if let Some(ticket) = self.tickets.get_mut(id) {
                ticket.promised = false;
            }
        }
    }

    /// Records that a ticket was erased in the local database. Nothing of it may be stored from now on.
    pub(crate) fn purge(&mut self, id: i64, now: DateTime<Utc>) {
        self.seq += 1;
        self.purged.insert(id);
        self.update(id, |ticket| ticket.promised = false);
        self.coverage.record(CoverageEvent::Purged);
        self.log(now, || format!("erases ticket {id} in the local database"));
    }

    /// Records that an erased ticket may be stored again. Nothing promises it until a scan shows it.
    pub(crate) fn undo_purge(&mut self, id: i64, now: DateTime<Utc>) {
        self.seq += 1;
        self.purged.remove(&id);
        self.coverage.record(CoverageEvent::PurgeUndone);
        self.log(now, || format!("lets ticket {id} be stored again"));
    }

    /// What is promised now, for a copy of the local database.
    pub(crate) fn back_up_promises(&self) -> PromiseBackup {
        let promised = self.tickets.iter().filter(|(_, ticket)| ticket.promised);
        PromiseBackup {
            promised: promised.map(|(id, ticket)| (*id, ticket.changed_at)).collect(),
            local_edits: self.local_edits.clone(),
            purged: self.purged.clone(),
        }
    }

    /// Records that the local database is an older copy again: what was promised then and has not changed since is stored.
    pub(crate) fn restore_promises(&mut self, backup: &PromiseBackup) {
        for (id, ticket) in &mut self.tickets {
            ticket.promised = backup.promised.get(id) == Some(&ticket.changed_at);
        }
        self.local_edits.clone_from(&backup.local_edits);
        self.purged.clone_from(&backup.purged);
    }

    /// Records that every row may have changed without a new `last_update`.
    pub(crate) fn mark_all_changed(&mut self, now: DateTime<Utc>) {
        for ticket in self.tickets.values_mut() {
            ticket.mark_changed(self.seq, now);
        }
    }

    /// Changes which extras the rows of the list carry; no ticket changes.
    pub(crate) fn set_profile(&mut self, profile: RowExtras, server: &mut Server, now: DateTime<Utc>) {
        if server.knobs().row_extras == profile {
            return;
        }
        self.seq += 1;
        (self.profile_changed_at, server.knobs().row_extras) = (self.seq, profile);
        self.coverage.record(CoverageEvent::ProfileChanged);
        let seq = self.seq;
        self.log(now, || format!("#{seq} list rows carry {profile:?} from now on"));
    }

    /// Backs up the server.
    pub(crate) fn back_up(&mut self, server: &mut Server, now: DateTime<Utc>) {
        server.back_up();
        self.backup = Some(Box::new(Backup {
            tickets: self.tickets.clone(),
            status_names: self.status_names.clone(),
            new_fields: self.new_fields.clone(),
        }));
        self.log(now, || "backs up the server".into());
    }

    /// Restores the server from its backup and returns true, if there is one: every ticket may be another version, and
    /// those created since are gone.
    pub(crate) fn restore_backup(&mut self, server: &mut Server, now: DateTime<Utc>) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        for id in self.listed_ids() {
            // Records its newest version, whatever comes back.
            self.expected_row(id, server, now);
        }
        self.apply(server, now, |server| {
            server.restore_backup();
            ServerChange {
                moves_last_update: true,
                type_changed: true,
                description: "restores the server from its backup".into(),
                ..ServerChange::default()
            }
        });
        let Backup { tickets, status_names, new_fields } = *backup;
        (self.status_names, self.new_fields) = (status_names, new_fields);
        for (id, ticket) in &mut self.tickets {
            let was = tickets.get(id).cloned().unwrap_or_default();
            (ticket.deleted, ticket.merged, ticket.hidden) = (was.deleted, was.merged, was.hidden);
        }
        for id in self.tickets.keys().copied().collect::<Vec<_>>() {
            self.update_defects(id, server, now);
        }
        self.mark_all_changed(now);
        true
    }

    /// Appends a line to the log of a verbose simulation run.
    pub(crate) fn log(&mut self, now: DateTime<Utc>, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{} {}", now.format("%d. %H:%M:%S%.3f"), line()));
        }
    }

    pub(crate) fn log_text(&self) -> String {
        self.log.as_ref().map(|log| log.join("\n")).unwrap_or_default()
    }

    /// Updates what is known about a ticket.
    pub(crate) fn update(&mut self, id: i64, update: impl FnOnce(&mut ModelTicket)) {
        update(self.tickets.entry(id).or_default());
    }

    /// The tickets that the server lists now.
    pub(crate) fn listed_ids(&self) -> Vec<i64> {
        self.tickets.iter().filter(|(_, ticket)| ticket.listed).map(|(id, _)| *id).collect()
    }

    /// The tickets that the server listed once and does not list now.
    pub(crate) fn removed_ids(&self) -> Vec<i64> {
        self.tickets.iter().filter(|(_, ticket)| !ticket.listed).map(|(id, _)| *id).collect()
    }

    /// The row that must be stored for a listed ticket.
    pub(crate) fn expected_row(
        &mut self,
        id: i64,
        server: &Server,
        now: DateTime<Utc>,
    ) -> Arc<Vec<AttributeValue>> {
        let ticket = self.tickets.entry(id).or_default();
        if let Some(row) = &ticket.row {
            return Arc::clone(row);
        }
        let row = Arc::new(mapping::expected(&server.row(id, now).expect("a row"), &self.status_names));
        ticket.newest = ticket.newest.max(last_update(&row));
        ticket.row = Some(Arc::clone(&row));
        row
    }

    /// What a row of the ticket says of the extras, or would say if it carried them.
    pub(crate) fn expected_extras(
        &mut self,
        id: i64,
        server: &mut Server,
        now: DateTime<Utc>,
    ) -> Vec<AttributeValue> {
        let ticket = self.tickets.entry(id).or_default();
        if let Some(extras) = &ticket.extras {
            return extras.clone();
        }
        let profile = std::mem::replace(&mut server.knobs().row_extras, RowExtras::ALL);
        let extras = mapping::expected_extras(&server.row(id, now).expect("a row"));
        server.knobs().row_extras = profile;
        ticket.extras = Some(extras.clone());
        extras
    }

    /// Whether an earlier version had a later `last_update` than the present one.
    pub(crate) fn went_back(&self, id: i64) -> bool {
        self.tickets
            .get(&id)
            .is_some_and(|ticket| ticket.row.as_deref().and_then(|row| last_update(row)) < ticket.newest)
    }
}

/// The ticket type of a row.
pub(crate) fn ticket_type(row: &[AttributeValue]) -> Option<i64> {
    let column = mapping::columns().position(|name| name == "TICKET_TYPE_ID").expect("the attribute");
    match row[column] {
        AttributeValue::Integer(number) => Some(number),
        _ => None,
    }
}

/// The `last_update` of a row.
pub(crate) fn last_update(row: &[AttributeValue]) -> Option<Timestamp> {
    let column = mapping::columns().position(|name| name == "SOURCE_LAST_MODIFIED").expect("the attribute");
    match &row[column] {
        AttributeValue::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// The tickets that the client may see and that are not deleted, including those that the plain list leaves out.
fn listed_ids(server: &mut Server) -> BTreeSet<i64> {
    let setting = server.knobs().plain_list;
    if setting == PlainList::All {
        return server.ids().into_iter().collect();
    }
    server.knobs().plain_list = PlainList::All;
    let ids = server.ids().into_iter().collect();
    server.knobs().plain_list = setting;
    ids
}
