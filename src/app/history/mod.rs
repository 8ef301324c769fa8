//! The life of a ticket, and its row at a time, for `halosync history`. Takes no lock and reads no secret.

mod event;
#[cfg(test)]
pub(crate) mod example;
mod labels;
mod names;
mod row_at;
#[cfg(test)]
mod tests;
mod version;

pub use event::{ChangedAttribute, EventKind, EventLine, LifeEvent};
pub use names::{ShownValue, TicketNames};
pub use row_at::ChangeMark;
pub use version::TicketVersion;

use labels::{labels, unlabeled};
use names::raw_value;
use row_at::past_version;

use super::{AppError, HistoryError, LoadedConfig, count, now};
use crate::store::{PendingOfTicket, ReadTx, RejectOfTicket, Store, TicketRecords, UnlistedTicket};
use crate::ticket::{CustomFields, Timestamp};

/// What a ticket is here.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// It is stored.
    Stored,
    /// It should be stored, and another program or a damaged file lost its row.
    RowLost,
    /// It was erased here: nothing of it is shown.
    Erased {
        /// When it was erased first, by the local clock.
        at: Timestamp,
        /// The reason that was given.
        reason: String,
    },
    /// It was removed.
    Removed {
        /// Why, as in `changes.reason`.
        reason: String,
        /// When that was noticed, by the local clock.
        observed_at: Timestamp,
        /// When a full scan last showed it, by the same clock.
        not_before: Option<Timestamp>,
        /// The ticket that it was merged into.
        merged_into: Option<i64>,
    },
}

/// A ticket, what is waiting for it, and its life.
#[derive(Clone, Debug)]
pub struct TicketHistory {
    /// Its number.
    pub id: i64,
    /// Whether it is stored.
    pub presence: Presence,
    /// Its present row, or the last known one.
    pub version: Option<TicketVersion>,
    /// Whether its status is an open one.
    pub is_open: Option<bool>,
    /// What it is like, for people: label and value.
    pub facts: Vec<(&'static str, ShownValue)>,
    /// Names for its numbers.
    pub names: TicketNames,
    /// When it was stored first, by the local clock.
    pub first_seen_at: Option<Timestamp>,
    /// Whether another program edited its row or its custom fields.
    pub is_edited: bool,
    /// What must still be fetched of it.
    pub pending: Vec<PendingOfTicket>,
    /// Why it is unlisted, if it is.
    pub unlisted: Option<UnlistedTicket>,
    /// What of it could not be stored as received.
    pub rejects: Vec<RejectOfTicket>,
    /// Its change records, the oldest first.
    pub events: Vec<LifeEvent>,
    /// The number of the last change record of any ticket that is no longer kept; 0 where all are.
    pub complete_after: i64,
    /// When this was read, by the local clock.
    pub now: Timestamp,
}

/// The row of a ticket at a time.
#[derive(Clone, Debug)]
pub struct TicketRowAt {
    /// Its number.
    pub id: i64,
    /// The time.
    pub at: Timestamp,
    /// The row.
    pub version: TicketVersion,
    /// Names for its numbers, as they are today.
    pub names: TicketNames,
    /// Whether its status was an open one.
    pub is_open: Option<bool>,
    /// The change record that made it so; `None` where it aged out.
    pub since: Option<ChangeMark>,
    /// The next change record.
    pub until: Option<ChangeMark>,
    /// Attributes whose value at that time is not known.
    pub unknown: Vec<String>,
}

/// The labels of what a ticket is like.
const FACTS: [&str; 17] = [
    "Status",
    "Type",
    "Priority",
    "SLA",
    "Agent",
    "Team",
    "Client",
    "Site",
    "User",
    "Opened",
    "Assigned at",
    "Responded at",
    "Closed at",
    "Fix by",
    "Parent ticket",
    "Merged into",
    "Last update",
];

/// Reads the life of a ticket.
pub fn history(loaded: &LoadedConfig, id: i64) -> Result<TicketHistory, AppError> {
    open(loaded)?.read(|tx| TicketHistory::read(tx, id, now()))
}

/// Reads the row of a ticket as it was stored at a time.
pub fn row_at(loaded: &LoadedConfig, id: i64, at: Timestamp) -> Result<TicketRowAt, AppError> {
    open(loaded)?.read(|tx| TicketRowAt::read(tx, id, at, now()))
}

fn open(loaded: &LoadedConfig) -> Result<Store, AppError> {
    let store = &loaded.config.store;
    Ok(Store::open_read_only(&store.path, store.busy_timeout)?)
}

impl TicketHistory {
    /// Reads it in a transaction.
    pub(crate) fn read(tx: &ReadTx<'_>, id: i64, now: Timestamp) -> Result<TicketHistory, AppError> {
        let records = known_records(tx, id)?;
        let names = TicketNames::read(tx, &records)?;
        let events = event::life_events(&records, &names);
        let row = records.row.as_deref().map(|row| TicketVersion::of_row(row, &records.custom_fields));
        let erased = records.purged.map(|it| Presence::Erased { at: it.purged_at, reason: it.reason });
        let (presence, version) = match (row, events.last()) {
            (Some(version), _) => (Presence::Stored, Some(version)),
            (None, Some(removal)) if removal.kind == EventKind::Removed && records.state.is_none() => {
                let presence = Presence::Removed {
                    reason: removal.reason.clone().unwrap_or_default(),
                    observed_at: removal.observed_at,
                    not_before: removal.not_before,
                    merged_into: removal.merged_into,
                };
                (presence, removal.last_row.clone())
            }
            (None, _) => (Presence::RowLost, None),
        };
        let (presence, version) = erased.map_or((presence, version), |erased| (erased, None));
        let facts = version.as_ref().map_or_else(Vec::new, |version| facts(version, &names));
        let state = records.state.as_ref();
        let is_stored = presence == Presence::Stored;
        Ok(TicketHistory {
            id,
            is_open: version.as_ref().and_then(|version| names.is_open(version)),
            facts,
            first_seen_at: events
                .first()
                .filter(|event| event.kind == EventKind::FirstSeen)
                .map(|event| event.observed_at)
                .or(state.and_then(|state| state.first_seen_at)),
            is_edited: is_stored && state.is_none_or(|it| it.is_row_edited || it.are_fields_edited),
            presence,
            version,
            names,
            pending: records.pending,
            unlisted: records.unlisted,
            rejects: records.rejects,
            events,
            complete_after: records.complete_after,
            now,
        })
    }

    /// Whether change records of it may be missing at the beginning: older ones of some ticket are no longer kept, and its
    /// first one is none of a ticket that is new here.
    #[must_use]
    pub fn has_lost_beginning(&self) -> bool {
        let first = self.events.first();
        0 < self.complete_after
            && first.is_none_or(|it| it.kind != EventKind::FirstSeen || it.seq <= self.complete_after)
    }

    /// Its summary.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.version.as_ref()?.text("NAME")
    }
}

impl TicketRowAt {
    /// Reads it in a transaction.
    pub(crate) fn read(
        tx: &ReadTx<'_>,
        id: i64,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<TicketRowAt, AppError> {
        if now < at {
            return Err(HistoryError::Future(at).into());
        }
        let records = known_records(tx, id)?;
        if let Some(purged) = records.purged {
            let (erased_at, reason) = (purged.purged_at, purged.reason);
            return Err(HistoryError::Erased { id, at, erased_at, reason }.into());
        }
        // Counted for a row only: the life of a ticket costs as much as the ticket changed.
        if !tx.change_log_extent()?.is_complete() {
            let why = "change records are missing from the database";
            return Err(HistoryError::RowUnknown { id, at, why }.into());
        }
        let past = past_version(&records, at)?;
        let names = TicketNames::read(tx, &records)?;
        let is_open = names.is_open(&past.version);
        let row_at::PastVersion { version, since, until, unknown } = past;
        Ok(TicketRowAt { id, at, version, names, is_open, since, until, unknown })
    }

    /// Every value that is not NULL, for people: the labeled ones first, then the others in the order of the table, then
    /// the custom fields. Each with the number behind its name.
    #[must_use]
    pub fn values(&self) -> Vec<(String, ShownValue, Option<i64>)> {
        let version = &self.version;
        let labeled = labels().into_iter().map(|label| {
            let number = labels::attributes_of(label)
                .find(|it| matches!(it.meaning, labels::Meaning::Number(..) | labels::Meaning::Priority));
            let number = number.and_then(|it| version.integer(it.name));
            (label.to_owned(), self.names.value_of(label, version), number)
        });
        let others = unlabeled().map(|name| (name.to_owned(), raw_value(name, version.get(name)), None));
        let fields = version
            .field_ids()
            .into_iter()
            .map(|id| (self.names.field_label(id), TicketNames::field_value(id, version), None));
        let all = labeled.chain(others).chain(fields);
        all.filter(|(_, value, _)| *value != ShownValue::Nothing).collect()
    }
}

fn facts(version: &TicketVersion, names: &TicketNames) -> Vec<(&'static str, ShownValue)> {
    let all = FACTS.iter().map(|label| (*label, names.value_of(label, version)));
    all.filter(|(label, value)| *value != ShownValue::Nothing || *label == "Agent").collect()
}

/// Everything that is stored of a ticket; of an erased one only its change records, also where another program put rows of
/// it back.
///
/// # Errors
/// [`HistoryError::UnknownTicket`] if it is not stored and never was, as far as change records are kept.
fn known_records(tx: &ReadTx<'_>, id: i64) -> Result<TicketRecords, AppError> {
    let records = tx.ticket_records(id)?;
    if records.purged.is_some() {
        return Ok(TicketRecords {
            row: None,
            custom_fields: CustomFields::default(),
            state: None,
            pending: Vec::new(),
            unlisted: None,
            rejects: Vec::new(),
            ..records
        });
    }
    if records.row.is_some() || records.state.is_some() || !records.changes.is_empty() {
        return Ok(records);
    }
    let known = known_all_the_same(&records);
    Err(HistoryError::UnknownTicket { id, known, complete_after: records.complete_after }.into())
}

/// What is known of a ticket that is not stored.
fn known_all_the_same(records: &TicketRecords) -> Option<String> {
    let pending = records.pending.iter().map(|it| {
        let attempts = count(it.attempts.into(), "failed attempt");
        let why = pending_to_text(it);
        format!("the server lists it, but {why}; {attempts}, next one at {}", it.due_at.to_second())
    });
    let unlisted = records
        .unlisted
        .iter()
        .map(|it| format!("the server has not listed it since {}", it.first_missed_at.to_second()));
    let rejects =
        records.rejects.iter().map(|it| format!("{} could not be stored as received", it.attribute));
    let known: Vec<_> = pending.chain(unlisted).chain(rejects).collect();
    (!known.is_empty()).then(|| known.join("; "))
}

/// Why something of a ticket is still to be fetched, as a clause.
#[must_use]
pub fn pending_to_text(pending: &PendingOfTicket) -> String {
    let is_ticket = pending.kind == "ticket";
    let text = match pending.reason.as_str() {
        "unread" => "not requested yet",
        // One word of the database has two meanings.
        "unreadable" if is_ticket => "its row could not be read",
        "unreadable" => "the server refuses to show them",
        "not_understood" => "the answer could not be read",
        "stale" => "the answer was older than the row",
        "too_large" if is_ticket => "its row is too large",
        "too_large" => "the answer was too large",
        "deferred" => "there was no memory for its row beside others",
        "forbidden" => "the server refuses to show it alone",
        "not_listed" => "the server does not list it by its number",
        "unavailable" => "the server failed to answer",
        other => return other.replace('_', " "),
    };
    text.to_owned()
}
