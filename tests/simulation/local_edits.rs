//! What other programs and damaged disks do to the local database between runs, and a consumer that must not be led astray
//! by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use halosync::store::{Store, StoreError};
use halosync::ticket::{AttributeValue, Op, attribute};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::{Map, Value as Json};

use crate::change_log;
use crate::db_reader::DbReader;
use crate::reference_model::Seq;
use crate::support::mapping::{self, Tickets};

/// No server ticket has an id from here on.
const FOREIGN_ID: i64 = 5_000_000;

/// A change of the local database that no run made.
pub(crate) struct LocalEdit {
    /// The tickets that it changes.
    pub(crate) tickets: Vec<i64>,
    pub(crate) sql: String,
    /// Whether triggers fire: they do in every program, but not where a disk loses rows.
    pub(crate) fires_triggers: bool,
}

impl LocalEdit {
    /// Draws a change of what is stored; `None` if nothing is.
    pub(crate) fn draw(stored: &[i64], rng: &mut Rng) -> Option<LocalEdit> {
        let id = *rng.choice(stored)?;
        let year = [1999, 2099][rng.usize(..2)];
        let edit = |tickets: Vec<i64>, fires_triggers: bool, sql: String| {
            Some(LocalEdit { tickets, sql, fires_triggers })
        };
        let seen = |sql: String| edit(vec![id], true, sql);
        let lost = |sql: String| edit(vec![id], false, sql);
        match rng.u32(..100) {
            0..12 => seen(format!("UPDATE tickets SET NAME = 'mine', ESTIMATE = 9 WHERE UID = {id}")),
            12..20 => seen(format!("UPDATE tickets SET STATUS = 'mine' WHERE UID = {id}")),
            20..28 => seen(format!(
                "UPDATE tickets SET SOURCE_LAST_MODIFIED = '{year}-01-01T00:00:00.000Z' WHERE UID = {id}"
            )),
            28..38 => seen(format!("DELETE FROM tickets WHERE UID = {id}")),
            38..44 => seen(format!("REPLACE INTO tickets (UID, NAME) VALUES ({id}, 'mine')")),
            44..52 => {
                // Sometimes the id of a ticket that the server does not have yet.
                let newest = stored.last().copied().unwrap_or(0);
                let id = [FOREIGN_ID + rng.i64(..9), newest + rng.i64(1..4)][rng.usize(..2)];
                edit(
                    vec![id],
                    true,
                    format!("INSERT OR IGNORE INTO tickets (UID, NAME) VALUES ({id}, 'mine')"),
                )
            }
            52..60 => seen(format!("UPDATE custom_fields SET VALUE = 'mine' WHERE UID = {id}")),
            60..66 => seen(format!("DELETE FROM custom_fields WHERE UID = {id}")),
            66..72 => seen(format!(
                "REPLACE INTO custom_fields (UID, FIELD_ID, VALUE) VALUES ({id}, {}, 'mine')",
                rng.i64(120..130)
            )),
            72..80 => lost(format!("DELETE FROM tickets WHERE UID = {id}")),
            80..86 => lost(format!("DELETE FROM ticket_state WHERE UID = {id}")),
            86..93 => lost(format!(
                "DELETE FROM tickets WHERE UID = {id}; DELETE FROM ticket_state WHERE UID = {id}"
            )),
            93..95 => lost(format!("DELETE FROM custom_fields WHERE UID = {id}")),
            95..97 => seen(format!(
                "UPDATE ticket_extra SET CLOSED_AT = '{year}-01-01T00:00:00.000Z', PARENT_ID = 7 WHERE UID = {id}"
            )),
            97..99 => seen(format!("DELETE FROM ticket_extra WHERE UID = {id}")),
            _ => lost(format!("DELETE FROM ticket_extra WHERE UID = {id}")),
        }
    }

    pub(crate) fn apply(&self, database: &Path) {
        let connection = Connection::open(database).expect("a database");
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, self.fires_triggers)
            .expect("an option");
        connection.execute_batch(&self.sql).expect("an edit");
    }
}

/// A consumer: folds the deltas, which it takes at any time, also while rows are edited or lost.
#[derive(Default)]
pub(crate) struct Consumer {
    rows: Tickets,
    /// What they carry beside the attributes, as far as that is not NULL.
    extras: BTreeMap<i64, Map<String, Json>>,
    position: i64,
}

impl Consumer {
    /// Takes what has changed since the last time.
    pub(crate) fn take_delta(&mut self, database: &Path) {
        let store = Store::open_read_only(database, Duration::from_secs(10)).expect("a database");
        let Consumer { rows, extras, position } = self;
        let greatest = store.read(|tx| {
            // A package that follows nothing is made even if there is nothing in it; one that would be empty is not.
            let greatest = tx.greatest_seq()?;
            if *position < greatest {
                tx.delta(*position, |row| {
                    let cells: Vec<_> = row.cells.iter().map(|cell| AttributeValue::from(*cell)).collect();
                    let AttributeValue::Integer(id) = cells[attribute::UID] else {
                        panic!("a row without an id: {:?}", row.op)
                    };
                    extras.remove(&id);
                    match row.op {
                        Op::Create | Op::Update => {
                            rows.insert(id, without_volatile(cells));
                            let carried =
                                row.extra.map(|text| serde_json::from_str(text).expect("an object"));
                            let mut carried: Map<String, Json> = carried.unwrap_or_default();
                            carried.retain(|_, value| !value.is_null());
                            extras.insert(id, carried);
                        }
                        Op::Delete => drop(rows.remove(&id)),
                    }
                    Ok::<_, StoreError>(())
                })?;
            }
            Ok::<_, StoreError>(greatest)
        });
        self.position = greatest.expect("a delta");
    }

    /// Checks that the deltas fold to the tickets, but for some.
    pub(crate) fn check(
        &mut self,
        database: &Path,
        db: &DbReader,
        but_for: &BTreeSet<i64>,
        edited: &BTreeMap<i64, Seq>,
    ) -> Result<(), String> {
        self.take_delta(database);
        let tickets: Tickets =
            db.tickets().into_iter().map(|(id, row)| (id, without_volatile(row))).collect();
        let stored = db.extras();
        for (id, extras) in self.extras.iter().filter(|(id, _)| !edited.contains_key(id)) {
            let values = stored.get(id).cloned().unwrap_or_default();
            let values = mapping::extra_columns().zip(values.into_iter().map(change_log::json));
            let stored: Map<String, Json> = values
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            if *extras != stored {
                return Err(format!(
                    "the deltas do not fold to ticket_extra: of ticket {id} they have {extras:?}, stored is {stored:?}"
                ));
            }
        }
        let ids = tickets.keys().chain(self.rows.keys());
        let mut ids = ids.copied().filter(|id| !but_for.contains(id));
        match ids.find(|id| self.rows.get(id) != tickets.get(id)) {
            Some(id) => {
                let (none, stored) = (Vec::new(), tickets.contains_key(&id));
                let [ours, theirs] = [&self.rows, &tickets].map(|rows| rows.get(&id).unwrap_or(&none));
                let differences = mapping::differences(ours, theirs).join(", ");
                Err(format!(
                    "the deltas do not fold to the tickets: ticket {id} (stored: {stored}): {differences}"
                ))
            }
            None => Ok(()),
        }
    }
}

fn without_volatile(mut row: Vec<AttributeValue>) -> Vec<AttributeValue> {
    for position in attribute::VOLATILE {
        row[position] = AttributeValue::Null;
    }
    row
}
