//! The only writer of `tickets` and `changes`: a row is compared with what is stored, written where it
//! differs, and every difference is recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, ToSql};

use super::{Snapshot, StoreError, Writing};
use crate::ticket::attribute::{COUNT, STATUS, UID};
use crate::ticket::parse::{Named, Stray};
use crate::ticket::{ATTRIBUTES, Cell, Change, Op, Stamp, Ticket, Value, row_as_json};

/// A ticket as an answer showed it, and which answer that was.
#[derive(Debug)]
pub struct Sighting {
    /// The ticket.
    pub ticket: Ticket,
    /// [`Ticket::hash`], taken where the ticket was parsed, off the writer's thread.
    pub hash: u64,
    /// The number of the request; a later request has a greater one, over restarts too.
    pub request_no: i64,
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

/// What stands in `ticket_state` beside a ticket.
struct State {
    hash: i64,
    request_no: i64,
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
        let now = now.to_string();
        let mut rows = Rows::of(self.connection)?;
        let mut applied = Applied::default();
        let mut seen = Vec::new();
        for sighting in sightings {
            let ticket = &sighting.ticket;
            seen.push(ticket.id());
            let Some(state) = rows.state(ticket.id())? else {
                rows.create(sighting, run_id, &now)?;
                applied.created += 1;
                continue;
            };
            if state.hash == stored_hash(sighting.hash) {
                applied.unchanged += 1;
                continue;
            }
            let old = rows.row(ticket.id())?;
            match newer(&old, &state, sighting) {
                Newer::Yes => {
                    rows.update(&old, sighting, None, run_id, &now)?;
                    applied.updated += 1;
                }
                Newer::No => applied.older.push(ticket.id()),
                Newer::AskedEarlier => applied.unchanged += 1,
            }
        }
        self.forget_absences(seen.into_iter())?;
        Ok(applied)
    }

    /// Stores versions that are older than the stored ones, because the server was asked and means
    /// them: it was restored from a backup.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn take_back(&self, sightings: &[Sighting], run_id: i64, now: Stamp) -> Result<u64, StoreError> {
        let mut rows = Rows::of(self.connection)?;
        for sighting in sightings {
            let old = rows.row(sighting.ticket.id())?;
            rows.update(&old, sighting, Some("went_back"), run_id, &now.to_string())?;
        }
        Ok(sightings.len() as u64)
    }

    /// Removes tickets and records why, with the last known row.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn remove(&self, departed: &[Departed], run_id: i64, now: Stamp) -> Result<u64, StoreError> {
        let mut rows = Rows::of(self.connection)?;
        let mut removed = 0;
        for Departed { id, reason } in departed {
            if rows.state(*id)?.is_none() {
                continue;
            }
            let row = rows.row(*id)?;
            let last_row = row_as_json(row.iter().map(Value::cell));
            let modified = text(&row, crate::ticket::attribute::SOURCE_LAST_MODIFIED);
            rows.record(&Record {
                id: *id,
                op: Op::Delete,
                reason: Some(reason.word()),
                observed_at: &now.to_string(),
                modified,
                run_id,
                changed: None,
                last_row: Some(&last_row),
            })?;
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
        let mut rows = Rows::of(self.connection)?;
        let mut select = self.connection.prepare_cached(
            "SELECT UID, STATUS, SOURCE_LAST_MODIFIED FROM tickets WHERE STATUS_ID = ?1 AND STATUS IS NOT ?2 ORDER BY UID",
        )?;
        let tickets: Vec<(i64, Option<String>, Option<String>)> = select
            .query_map((status, name), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, old, modified) in &tickets {
            let old = old.as_deref().map_or(Cell::Null, Cell::Text);
            let seq = rows.record(&Record {
                id: *id,
                op: Op::Update,
                reason: Some("status_renamed"),
                observed_at: &now.to_string(),
                modified: modified.as_deref(),
                run_id,
                changed: Some(&Change::of(STATUS, old, Cell::Text(name)).to_json()),
                last_row: None,
            })?;
            self.connection
                .prepare_cached("UPDATE tickets SET STATUS = ?2 WHERE UID = ?1")?
                .execute((id, name))?;
            self.connection
                .prepare_cached("UPDATE ticket_state SET last_seq = ?2 WHERE UID = ?1")?
                .execute((id, seq))?;
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

    /// A ticket that is seen is not absent.
    fn forget_absences(&self, ids: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        let any: bool =
            self.connection.query_row("SELECT EXISTS (SELECT 1 FROM absences)", [], |row| row.get(0))?;
        if any {
            let mut delete = self.connection.prepare_cached("DELETE FROM absences WHERE UID = ?1")?;
            for id in ids {
                delete.execute([id])?;
            }
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
            if state.hash != stored_hash(sighting.hash)
                && matches!(newer(&rows.row(id)?, &state, sighting), Newer::No)
            {
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
    let stored = text(old, crate::ticket::attribute::SOURCE_LAST_MODIFIED);
    let shown = text(sighting.ticket.values(), crate::ticket::attribute::SOURCE_LAST_MODIFIED);
    match (stored, shown) {
        // One spelling of 24 characters: the order of the texts is the order of the instants.
        (Some(stored), Some(shown)) if shown < stored => Newer::No,
        (Some(stored), Some(shown)) if stored < shown => Newer::Yes,
        _ if state.request_no <= sighting.request_no => Newer::Yes,
        _ => Newer::AskedEarlier,
    }
}

fn text(row: &[Value], position: usize) -> Option<&str> {
    match &row[position] {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// SQLite's integers are signed; the bits are what is compared.
fn stored_hash(hash: u64) -> i64 {
    hash.cast_signed()
}

/// The prepared statements of one batch.
struct Rows<'c> {
    state: CachedStatement<'c>,
    row: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    insert_state: CachedStatement<'c>,
    update_state: CachedStatement<'c>,
    record: CachedStatement<'c>,
    known_before: CachedStatement<'c>,
    connection: &'c Connection,
}

/// A line of `changes`, all but its number.
struct Record<'a> {
    id: i64,
    op: Op,
    reason: Option<&'a str>,
    observed_at: &'a str,
    modified: Option<&'a str>,
    run_id: i64,
    changed: Option<&'a str>,
    last_row: Option<&'a str>,
}

impl<'c> Rows<'c> {
    fn of(connection: &'c Connection) -> Result<Rows<'c>, StoreError> {
        Ok(Rows {
            state: connection.prepare_cached("SELECT hash, request_no FROM ticket_state WHERE UID = ?1")?,
            row: connection.prepare_cached(&SELECT_ROW)?,
            insert: connection.prepare_cached(&INSERT)?,
            update: connection.prepare_cached(&UPDATE)?,
            insert_state: connection.prepare_cached(
                "INSERT INTO ticket_state (UID, hash, request_no, first_seen_at, last_seen_at, last_seq)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
            )?,
            update_state: connection.prepare_cached(
                "UPDATE ticket_state SET hash = ?2, request_no = ?3, last_seen_at = ?4, last_seq = ?5 WHERE UID = ?1",
            )?,
            record: connection.prepare_cached(
                "INSERT INTO changes (UID, op, reason, observed_at, source_last_modified, run_id, changed, last_row)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            known_before: connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM changes WHERE UID = ?1)")?,
            connection,
        })
    }

    fn state(&mut self, id: i64) -> Result<Option<State>, StoreError> {
        let state =
            self.state.query_row([id], |row| Ok(State { hash: row.get(0)?, request_no: row.get(1)? }));
        Ok(state.optional()?)
    }

    fn row(&mut self, id: i64) -> Result<Vec<Value>, StoreError> {
        let row = self.row.query_row([id], |row| {
            (0..COUNT).map(|position| Ok(cell(row.get_ref(position)?).into())).collect()
        });
        Ok(row?)
    }

    fn create(&mut self, sighting: &Sighting, run_id: i64, now: &str) -> Result<(), StoreError> {
        let Sighting { ticket, hash, request_no } = sighting;
        execute(&mut self.insert, ticket)?;
        let returned: bool = self.known_before.query_row([ticket.id()], |row| row.get(0))?;
        let seq = self.record(&Record {
            id: ticket.id(),
            op: Op::Create,
            reason: returned.then_some("returned"),
            observed_at: now,
            modified: text(ticket.values(), crate::ticket::attribute::SOURCE_LAST_MODIFIED),
            run_id,
            changed: None,
            last_row: None,
        })?;
        self.insert_state.execute((ticket.id(), stored_hash(*hash), request_no, now, seq))?;
        self.reject(ticket, now)
    }

    fn update(
        &mut self,
        old: &[Value],
        sighting: &Sighting,
        reason: Option<&str>,
        run_id: i64,
        now: &str,
    ) -> Result<(), StoreError> {
        let Sighting { ticket, hash, request_no } = sighting;
        let change = Change::between(old.iter().map(Value::cell), ticket.values().iter().map(Value::cell));
        execute(&mut self.update, ticket)?;
        let seq = self.record(&Record {
            id: ticket.id(),
            op: Op::Update,
            reason,
            observed_at: now,
            modified: text(ticket.values(), crate::ticket::attribute::SOURCE_LAST_MODIFIED),
            run_id,
            changed: Some(&change.to_json()),
            last_row: None,
        })?;
        self.update_state.execute((ticket.id(), stored_hash(*hash), request_no, now, seq))?;
        self.connection.prepare_cached("DELETE FROM rejects WHERE UID = ?1")?.execute([ticket.id()])?;
        self.reject(ticket, now)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<i64, StoreError> {
        let Record { id, op, reason, observed_at, modified, run_id, changed, last_row } = record;
        self.record.execute((id, op.letter(), reason, observed_at, modified, run_id, changed, last_row))?;
        Ok(self.connection.last_insert_rowid())
    }

    fn reject(&self, ticket: &Ticket, now: &str) -> Result<(), StoreError> {
        for (position, oddity) in ticket.oddities() {
            self.connection
                .prepare_cached(
                    "INSERT INTO rejects (UID, attribute, reason, raw, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((ticket.id(), ATTRIBUTES[*position].name, oddity.reason, &oddity.raw, now))?;
        }
        Ok(())
    }
}

fn execute(statement: &mut CachedStatement<'_>, ticket: &Ticket) -> Result<(), StoreError> {
    for (position, value) in ticket.values().iter().enumerate() {
        statement.raw_bind_parameter(position + 1, Bound(value.cell()))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// A cell as a parameter, lent and not copied.
struct Bound<'a>(Cell<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Integer(number) => ValueRef::Integer(number),
            Cell::Real(number) => ValueRef::Real(number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// What SQLite lends, as a cell. The columns hold no blobs and only UTF-8, by their checks and writers.
pub(super) fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => std::str::from_utf8(text).map_or(Cell::Null, Cell::Text),
        ValueRef::Null | ValueRef::Blob(_) => Cell::Null,
    }
}

/// The attributes as a list of columns, each behind `prefix`.
pub(super) fn columns(prefix: &str) -> String {
    let names = ATTRIBUTES.iter().map(|attribute| format!("{prefix}\"{}\"", attribute.name));
    names.collect::<Vec<_>>().join(", ")
}

static SELECT_ROW: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM tickets WHERE UID = ?1", columns("")));

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<_> = (1..=COUNT).map(|place| format!("?{place}")).collect();
    format!("INSERT INTO tickets ({}) VALUES ({})", columns(""), places.join(", "))
});

static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let mut sets = String::new();
    for (position, attribute) in ATTRIBUTES.iter().enumerate().filter(|(position, _)| *position != UID) {
        let comma = if sets.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(sets, "{comma}\"{}\" = ?{}", attribute.name, position + 1);
    }
    format!("UPDATE tickets SET {sets} WHERE UID = ?{}", UID + 1)
});
