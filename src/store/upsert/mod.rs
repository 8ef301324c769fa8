//! The only writer of `tickets` and `changes`: a row is compared with what is stored, written where it
//! differs, and every difference is recorded.

mod fields;
mod rows;

use std::collections::BTreeMap;

pub(super) use fields::stored_fields;
pub use fields::{FieldsRead, Paid};
use rows::{Record, Rows, State, Writer, modified};
pub(super) use rows::{cell, columns};

use super::{Snapshot, StoreError, Writing};
use crate::ticket::attribute::STATUS;
use crate::ticket::parse::{Named, Stray};
use crate::ticket::{Cell, Change, CustomFields, Op, Stamp, Ticket, Value, row_as_json};

/// A ticket as an answer showed it, and which answer that was.
#[derive(Debug)]
pub struct Sighting {
    /// The ticket.
    pub ticket: Ticket,
    /// [`Ticket::hash`], taken where the ticket was parsed, off the writer's thread.
    pub hash: u64,
    /// What the answer told of its custom fields.
    pub told: Told,
    /// The number of the request; a later request has a greater one, over restarts too.
    pub request_no: i64,
}

/// What an answer told of a ticket's custom fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// They are not copied.
    Off,
    /// Nothing: where the ticket changed, they are owed.
    Unknown,
    /// All of them.
    Known(CustomFields),
}

/// What storing some sightings did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Tickets that appeared.
    pub created: u64,
    /// Tickets that changed.
    pub updated: u64,
    /// Tickets that were stored already.
    pub unchanged: u64,
    /// Tickets shown in an older version than the stored one, which stays.
    pub older: Vec<i64>,
}

impl Applied {
    /// Adds the figures of a further batch.
    pub fn add(&mut self, more: Applied) {
        self.created += more.created;
        self.updated += more.updated;
        self.unchanged += more.unchanged;
        self.older.extend(more.older);
    }
}

/// Why a ticket leaves (`changes.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The server does not know it any more.
    Vanished,
    /// The server says that it is deleted.
    Deleted,
    /// It was merged into another ticket and is not listed any more.
    Merged,
    /// It does not belong to what is copied any more.
    OutOfScope,
}

impl Departure {
    /// Its word in `changes.reason`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Departure::Vanished => "vanished",
            Departure::Deleted => "deleted",
            Departure::Merged => "merged",
            Departure::OutOfScope => "out_of_scope",
        }
    }
}

/// A ticket that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which.
    pub id: i64,
    /// Why.
    pub reason: Departure,
}

impl Writing<'_> {
    /// Stores what answers showed.
    ///
    /// Applying the same sightings again, or in another order, gives the same rows and no further
    /// record: the later `last_update` wins; where they are equal or one is missing, the answer that
    /// was asked for later.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn upsert<'s>(
        &self,
        sightings: impl IntoIterator<Item = &'s Sighting>,
        run_id: i64,
        now: Stamp,
    ) -> Result<Applied, StoreError> {
        let writer = Writer { run_id, now: &now.to_string() };
        let mut rows = Rows::of(self.connection)?;
        let mut applied = Applied::default();
        for sighting in sightings {
            let ticket = &sighting.ticket;
            let Some(state) = rows.state(ticket.id())? else {
                rows.create(sighting, writer)?;
                applied.created += 1;
                continue;
            };
            if state.is_of(sighting) {
                applied.unchanged += 1;
                continue;
            }
            let old = rows.row(ticket.id())?;
            match newer(&old, &state, sighting) {
                Newer::Yes if rows.update((&state, &old), sighting, None, writer)? => applied.updated += 1,
                Newer::No => applied.older.push(ticket.id()),
                Newer::Yes | Newer::AskedEarlier => applied.unchanged += 1,
            }
        }
        Ok(applied)
    }

    /// Puts the names on the statuses, as they are now. In the transaction that stores them: names may come while
    /// rows are under way, and a ticket gets a new one only when it is stored or when the name changes.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn name_statuses(&self, sightings: &mut [Sighting]) -> Result<(), StoreError> {
        let names = self.snapshot().status_names()?;
        for sighting in sightings {
            sighting.ticket.name_status(|status| names.get(&status).cloned());
        }
        Ok(())
    }

    /// Stores versions that are older than the stored ones, because the server was asked and means
    /// them: it was restored from a backup.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn take_back(&self, sightings: &[Sighting], run_id: i64, now: Stamp) -> Result<u64, StoreError> {
        let writer = Writer { run_id, now: &now.to_string() };
        let mut rows = Rows::of(self.connection)?;
        let mut taken = 0;
        for sighting in sightings {
            let id = sighting.ticket.id();
            let Some(state) = rows.state(id)? else { continue };
            let old = rows.row(id)?;
            taken += u64::from(rows.update((&state, &old), sighting, Some("went_back"), writer)?);
        }
        Ok(taken)
    }

    /// Removes tickets and records why, with the last known row.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn remove(&self, departed: &[Departed], run_id: i64, now: Stamp) -> Result<u64, StoreError> {
        let writer = Writer { run_id, now: &now.to_string() };
        let mut rows = Rows::of(self.connection)?;
        let mut removed = 0;
        for Departed { id, reason } in departed {
            if rows.state(*id)?.is_none() {
                continue;
            }
            let row = rows.row(*id)?;
            let last_row = row_as_json(row.iter().map(Value::cell), &rows.fields(*id)?);
            let gone = Record {
                reason: Some(reason.word()),
                modified: modified(&row),
                last_row: Some(&last_row),
                ..Record::of(*id, Op::Delete)
            };
            rows.record(gone, writer)?;
            for table in ["tickets", "ticket_state", "custom_fields", "rejects", "absences", "debts"] {
                self.connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE UID = ?1"))?
                    .execute([id])?;
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Replaces the status list; tickets of a status that got another name get it too, each with a
    /// record.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn replace_statuses(
        &self,
        statuses: &[Named],
        closed: Option<&[i64]>,
        run_id: i64,
        now: Stamp,
    ) -> Result<u64, StoreError> {
        let old = self.snapshot().status_names()?;
        self.connection.execute("DELETE FROM statuses", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO statuses (ID, NAME, TYPE, SEQUENCE, COLOUR, CLOSED) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut names = BTreeMap::new();
        for status in statuses {
            let Named { id, name, details } = status;
            let closed = closed.map(|closed| closed.contains(id));
            insert.execute((id, name, details.kind, details.sequence, &details.colour, closed))?;
            names.insert(*id, name.clone());
        }
        let mut renamed = 0;
        let ids: std::collections::BTreeSet<_> = old.keys().chain(names.keys()).copied().collect();
        for id in ids {
            if old.get(&id) != names.get(&id) {
                let name = names.get(&id).cloned().unwrap_or_else(|| id.to_string());
                renamed += self.rename_status(id, &name, run_id, now)?;
            }
        }
        Ok(renamed)
    }

    fn rename_status(&self, status: i64, name: &str, run_id: i64, now: Stamp) -> Result<u64, StoreError> {
        let writer = Writer { run_id, now: &now.to_string() };
        let mut rows = Rows::of(self.connection)?;
        let mut select = self.connection.prepare_cached(
            "SELECT UID, STATUS, SOURCE_LAST_MODIFIED FROM tickets WHERE STATUS_ID = ?1 AND STATUS IS NOT ?2 ORDER BY UID",
        )?;
        let tickets: Vec<(i64, Option<String>, Option<String>)> = select
            .query_map((status, name), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, old, modified) in &tickets {
            let old = old.as_deref().map_or(Cell::Null, Cell::Text);
            let renamed = Record {
                reason: Some("status_renamed"),
                modified: modified.as_deref(),
                changed: Some(&Change::of(STATUS, old, Cell::Text(name)).to_json()),
                ..Record::of(*id, Op::Update)
            };
            rows.record_beside(renamed, writer)?;
            self.connection
                .prepare_cached("UPDATE tickets SET STATUS = ?2 WHERE UID = ?1")?
                .execute((id, name))?;
        }
        Ok(tickets.len() as u64)
    }

    /// Keeps rows that are no tickets, each once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn keep_strays(&self, strays: &[Stray], now: Stamp) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rejects (UID, attribute, reason, raw, seen_at)
             SELECT NULL, NULL, ?1, ?2, ?3
             WHERE NOT EXISTS (SELECT 1 FROM rejects WHERE UID IS NULL AND raw = ?2)",
        )?;
        for Stray { oddity } in strays {
            insert.execute((oddity.reason, &oddity.raw, now.to_string()))?;
        }
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Which of the sightings are older than the stored versions.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn older_among(&self, sightings: &[Sighting]) -> Result<Vec<i64>, StoreError> {
        let mut rows = Rows::of(self.connection)?;
        let mut older = Vec::new();
        for sighting in sightings {
            let id = sighting.ticket.id();
            let Some(state) = rows.state(id)? else { continue };
            if !state.is_of(sighting) && matches!(newer(&rows.row(id)?, &state, sighting), Newer::No) {
                older.push(id);
            }
        }
        Ok(older)
    }
}

enum Newer {
    Yes,
    No,
    AskedEarlier,
}

fn newer(old: &[Value], state: &State, sighting: &Sighting) -> Newer {
    match (modified(old), modified(sighting.ticket.values())) {
        // One spelling of 24 characters: the order of the texts is the order of the instants.
        (Some(stored), Some(shown)) if shown < stored => Newer::No,
        (Some(stored), Some(shown)) if stored < shown => Newer::Yes,
        _ if state.request_no <= sighting.request_no => Newer::Yes,
        _ => Newer::AskedEarlier,
    }
}
