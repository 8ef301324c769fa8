//! Everything that the database holds of one ticket, and the names of the numbers in it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Row, params_from_iter};
use serde_json::{Map, Value as Json};

use super::tx::{parse_optional_timestamp, parse_timestamp, parse_word};
use super::upsert::{SELECT_ROW, read_custom_fields, read_row};
use super::{PurgedTicket, ReadTx, RunStatus, StoreError, UnlistedStatus, UnlistedTicket};
use crate::reference::{ColumnRole, PRIORITIES, ReferenceTable, STATUSES};
use crate::ticket::{AttributeValue, CustomFields, Op, Timestamp};

const CHANGES_OF_TICKET: &str = "
    SELECT seq, op, reason, observed_at, not_before, source_last_modified, run_id, changed, last_row
    FROM changes WHERE UID = ?1 ORDER BY seq";

/// Everything that is stored of one ticket.
#[derive(Clone, Debug)]
pub struct TicketRecords {
    /// Its id.
    pub id: i64,
    /// When and why it was erased here, if it was: then nothing else of it is shown.
    pub purged: Option<PurgedTicket>,
    /// Its row with its extras, in the order of [`crate::ticket::attribute::stored_attributes`].
    pub row: Option<Vec<AttributeValue>>,
    /// Its custom fields.
    pub custom_fields: CustomFields,
    /// What is known beside the row; `None` where the ticket is not stored.
    pub state: Option<StateOfTicket>,
    /// What must still be fetched of it.
    pub pending: Vec<PendingOfTicket>,
    /// Why it is unlisted, if it is.
    pub unlisted: Option<UnlistedTicket>,
    /// What of it could not be stored as received.
    pub rejects: Vec<RejectOfTicket>,
    /// Its change records, the oldest first.
    pub changes: Vec<RecordedChange>,
    /// The runs that wrote them, as far as they are kept.
    pub runs: BTreeMap<i64, RunOfChange>,
    /// The number of the last change record of any ticket that aged out or was lost; 0 where none was.
    pub complete_after: i64,
    /// When the first change record after that was written, if there is one.
    pub complete_since: Option<Timestamp>,
}

/// A row of `ticket_state`, as far as it concerns the history.
#[derive(Clone, Debug)]
pub struct StateOfTicket {
    /// When it was stored first, by the local clock.
    pub first_seen_at: Option<Timestamp>,
    /// Whether another program edited the row.
    pub is_row_edited: bool,
    /// Whether another program edited the custom fields.
    pub are_fields_edited: bool,
    /// The number of its newest change record.
    pub last_seq: i64,
}

/// A row of `pending_fetches`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PendingOfTicket {
    /// `ticket` or `custom_fields`.
    pub kind: String,
    /// Why the last attempt failed; `unread` before the first.
    pub reason: String,
    /// Failed attempts.
    pub attempts: u32,
    /// When it is requested next.
    pub due_at: Timestamp,
}

/// A row of `rejects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectOfTicket {
    /// What was rejected, as in `changes.changed`.
    pub attribute: String,
    /// More about it; `None` where many rejects of one attribute are one row.
    pub details: Option<RejectDetails>,
}

/// Why a value was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectDetails {
    /// Why.
    pub reason: String,
    /// The value as JSON, cut off.
    pub raw: Option<String>,
    /// Since when it is known.
    pub seen_at: Timestamp,
}

/// A row of `changes`.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedChange {
    /// Its number.
    pub seq: i64,
    /// What happened.
    pub op: Op,
    /// Why, where the record says so.
    pub reason: Option<String>,
    /// When it was written, by the local clock.
    pub observed_at: Timestamp,
    /// When the ticket was last seen without the change, by the same clock.
    pub not_before: Option<Timestamp>,
    /// The `last_update` of the version, by the server's clock.
    pub source_last_modified: Option<Timestamp>,
    /// The run that wrote it.
    pub run_id: i64,
    /// Of an update: what changed, by name; `None` where the record no longer says it.
    pub changed: Option<BTreeMap<String, OldAndNew>>,
    /// Of a deletion: the last known row, as in `changes.last_row`.
    pub last_row: Option<Map<String, Json>>,
}

/// A value before and after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct OldAndNew {
    /// Before it.
    pub old: Json,
    /// After it.
    pub new: Json,
}

/// The run that wrote a change record.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RunOfChange {
    /// Its number.
    pub run_id: i64,
    /// When it started; `None` where the run is no longer recorded.
    pub started_at: Option<Timestamp>,
    /// How it ended; `None` also while it is running.
    pub outcome: Option<RunStatus>,
    /// The kinds of its scans, each once.
    pub scans: Vec<String>,
}

impl ReadTx<'_> {
    /// Everything that is stored of a ticket. Reads only rows of that ticket, and the scans of the runs that changed it.
    pub fn ticket_records(&self, id: i64) -> Result<TicketRecords, StoreError> {
        let changes = self.changes_of(id)?;
        let complete_after = self.complete_after()?.unwrap_or(0);
        let first_complete = "SELECT observed_at FROM changes WHERE ?1 < seq ORDER BY seq LIMIT 1";
        let complete_since: Option<String> =
            self.connection.query_row(first_complete, [complete_after], |row| row.get(0)).optional()?;
        let (state, rejected) = self.state_of(id)?.unzip();
        Ok(TicketRecords {
            id,
            purged: self.purged_ticket(id)?,
            row: self.row_of(id)?,
            custom_fields: read_custom_fields(self.connection, id)?,
            state,
            pending: self.pending_of(id)?,
            unlisted: self.unlisted_ticket(id)?,
            rejects: self.rejects_of(id, &rejected.flatten().unwrap_or_default())?,
            runs: self.runs_of(&changes)?,
            changes,
            complete_after,
            complete_since: parse_optional_timestamp(complete_since)?,
        })
    }

    fn row_of(&self, id: i64) -> Result<Option<Vec<AttributeValue>>, StoreError> {
        read_row(&mut self.connection.prepare_cached(&SELECT_ROW)?, id)
    }

    /// The state of a ticket, and the names of what is rejected of it.
    fn state_of(&self, id: i64) -> Result<Option<(StateOfTicket, Option<String>)>, StoreError> {
        let sql =
            "SELECT first_seen_at, hash IS NULL, fields_no IS 0 AND fields_hash IS NULL, last_seq, rejected
                   FROM ticket_state WHERE UID = ?1";
        let state = self.connection.query_row(sql, [id], |row| {
            let state = StateOfTicket {
                first_seen_at: row.get::<_, String>(0)?.parse().ok(),
                is_row_edited: row.get(1)?,
                are_fields_edited: row.get(2)?,
                last_seq: row.get(3)?,
            };
            Ok((state, row.get(4)?))
        });
        Ok(state.optional()?)
    }

    fn pending_of(&self, id: i64) -> Result<Vec<PendingOfTicket>, StoreError> {
        let sql =
            "SELECT kind, reason, attempts, due_at FROM pending_fetches WHERE UID = ?1 ORDER BY kind DESC";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([id])?;
        let mut pending = Vec::new();
        while let Some(row) = rows.next()? {
            pending.push(PendingOfTicket {
                kind: row.get(0)?,
                reason: row.get(1)?,
                attempts: row.get(2)?,
                due_at: parse_timestamp(&row.get::<_, String>(3)?)?,
            });
        }
        Ok(pending)
    }

    fn unlisted_ticket(&self, id: i64) -> Result<Option<UnlistedTicket>, StoreError> {
        let sql = "SELECT status, first_missed_at, ask_again_at FROM unlisted_tickets WHERE UID = ?1";
        let row: Option<(String, String, String)> = self
            .connection
            .query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((status, first_missed_at, ask_again_at)) = row else { return Ok(None) };
        let status: UnlistedStatus = parse_word("unlisted_tickets.status", &status)?;
        let (first_missed_at, ask_again_at) =
            (parse_timestamp(&first_missed_at)?, parse_timestamp(&ask_again_at)?);
        Ok(Some(UnlistedTicket { id, status, first_missed_at, ask_again_at }))
    }

    /// The rejects of a ticket; `rejected` are their names in `ticket_state`.
    fn rejects_of(&self, id: i64, rejected: &str) -> Result<Vec<RejectOfTicket>, StoreError> {
        let sql = "SELECT attribute, reason, raw, seen_at FROM rejects WHERE UID = ?1";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([id])?;
        let mut rejects: BTreeMap<String, RejectOfTicket> = rejected
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| (name.to_owned(), RejectOfTicket { attribute: name.to_owned(), details: None }))
            .collect();
        while let Some(row) = rows.next()? {
            let attribute: String = row.get::<_, Option<String>>(0)?.unwrap_or_default();
            let seen_at = parse_timestamp(&row.get::<_, String>(3)?)?;
            let details = Some(RejectDetails { reason: row.get(1)?, raw: row.get(2)?, seen_at });
            rejects.insert(attribute.clone(), RejectOfTicket { attribute, details });
        }
        Ok(rejects.into_values().collect())
    }

    fn changes_of(&self, id: i64) -> Result<Vec<RecordedChange>, StoreError> {
        let mut statement = self.connection.prepare(CHANGES_OF_TICKET)?;
        let mut rows = statement.query([id])?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            changes.push(read_change(row)?);
        }
        Ok(changes)
    }

    fn runs_of(&self, changes: &[RecordedChange]) -> Result<BTreeMap<i64, RunOfChange>, StoreError> {
        let mut runs: BTreeMap<i64, RunOfChange> = BTreeMap::new();
        let ids: BTreeSet<i64> = changes.iter().map(|change| change.run_id).collect();
        let mut select = self.connection.prepare("SELECT started_at, outcome FROM runs WHERE run_id = ?1")?;
        for run_id in &ids {
            let mut rows = select.query([run_id])?;
            let Some(row) = rows.next()? else { continue };
            let outcome: Option<String> = row.get(1)?;
            runs.insert(
                *run_id,
                RunOfChange {
                    run_id: *run_id,
                    started_at: Some(parse_timestamp(&row.get::<_, String>(0)?)?),
                    outcome: outcome.map(|word| parse_word("runs.outcome", &word)).transpose()?,
                    scans: Vec::new(),
                },
            );
        }
        let (Some((first, _)), Some((last, _))) = (runs.first_key_value(), runs.last_key_value()) else {
            return Ok(runs);
        };
        // Reading all scans in between once is faster than looking for those of each run.
        let sql = "SELECT run_id, kind FROM scans WHERE run_id BETWEEN ?1 AND ?2 ORDER BY scan_id";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([*first, *last])?;
        while let Some(row) = rows.next()? {
            let Some(run) = runs.get_mut(&row.get(0)?) else { continue };
            let kind: String = row.get(1)?;
            if !run.scans.contains(&kind) {
                run.scans.push(kind);
            }
        }
        Ok(runs)
    }

    /// The names of some rows of a reference table whose key is one number.
    pub fn reference_names(
        &self,
        table: &ReferenceTable,
        ids: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, String>, StoreError> {
        let (Some(key), Some(name)) =
            (table.key().next(), table.columns.iter().find(|it| it.role == ColumnRole::Name))
        else {
            return Ok(BTreeMap::new());
        };
        let sql = format!("SELECT \"{}\" FROM {table} WHERE \"{key}\" = ?1", name.column.name);
        let mut statement = self.connection.prepare(&sql)?;
        let mut names = BTreeMap::new();
        for id in ids {
            let name: Option<Option<String>> =
                statement.query_row(params_from_iter([id]), |row| row.get(0)).optional()?;
            names.extend(name.flatten().map(|name| (*id, name)));
        }
        Ok(names)
    }

    /// The names of the priorities by SLA and number.
    pub fn priority_names(&self) -> Result<BTreeMap<(i64, i64), String>, StoreError> {
        let sql = format!("SELECT SLA_ID, PRIORITY_ID, NAME FROM {PRIORITIES} WHERE NAME IS NOT NULL");
        let mut statement = self.connection.prepare(&sql)?;
        let names = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The statuses of which the server says whether they count as closed.
    pub fn closed_statuses(&self) -> Result<BTreeMap<i64, bool>, StoreError> {
        let sql = format!("SELECT ID, CLOSED FROM {STATUSES} WHERE CLOSED IS NOT NULL");
        let mut statement = self.connection.prepare(&sql)?;
        let closed = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(closed.collect::<Result<_, _>>()?)
    }
}

fn read_change(row: &Row<'_>) -> Result<RecordedChange, StoreError> {
    let seq: i64 = row.get(0)?;
    let op = match row.get::<_, String>(1)?.as_str() {
        "c" => Op::Create,
        "u" => Op::Update,
        "d" => Op::Delete,
        other => return Err(invalid(seq, &format!("has the operation {other:?}"))),
    };
    let source_last_modified: Option<String> = row.get(5)?;
    Ok(RecordedChange {
        seq,
        op,
        reason: row.get(2)?,
        observed_at: parse_timestamp(&row.get::<_, String>(3)?)?,
        not_before: parse_optional_timestamp(row.get(4)?)?,
        source_last_modified: source_last_modified.and_then(|text| text.parse().ok()),
        run_id: row.get(6)?,
        changed: parse_object(seq, row.get(7)?)?.map(|object| read_pairs(seq, object)).transpose()?,
        last_row: parse_object(seq, row.get(8)?)?,
    })
}

fn parse_object(seq: i64, text: Option<String>) -> Result<Option<Map<String, Json>>, StoreError> {
    let parse = |text: String| {
        serde_json::from_str(&text).map_err(|error| invalid(seq, &format!("is not JSON ({error})")))
    };
    text.map(parse).transpose()
}

fn read_pairs(seq: i64, object: Map<String, Json>) -> Result<BTreeMap<String, OldAndNew>, StoreError> {
    let pair = |(name, value): (String, Json)| match value {
        Json::Array(pair) => {
            let [old, new] = <[Json; 2]>::try_from(pair)
                .map_err(|_| invalid(seq, &format!("has no old and new value of {name}")))?;
            Ok((name, OldAndNew { old, new }))
        }
        _ => Err(invalid(seq, &format!("has no old and new value of {name}"))),
    };
    object.into_iter().map(pair).collect()
}

fn invalid(seq: i64, what: &str) -> StoreError {
    StoreError::InvalidData { what: format!("change record {seq} {what}, which is not valid") }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    /// A ticket's history must cost as much as the ticket changed, whatever happened to others.
    #[test]
    fn change_records_of_a_ticket_are_read_by_their_index() {
        let store = Store::in_memory("2026-11-22T12:00:00.000Z".parse().unwrap()).unwrap();
        let plan: Vec<String> = store
            .read(|tx| {
                let sql = format!("EXPLAIN QUERY PLAN {}", super::CHANGES_OF_TICKET);
                let mut statement = tx.connection.prepare(&sql)?;
                let rows = statement.query_map([7], |row| row.get("detail"))?;
                Ok::<_, crate::store::StoreError>(rows.collect::<Result<_, _>>()?)
            })
            .unwrap();
        assert_eq!(plan, ["SEARCH changes USING INDEX changes_by_ticket (UID=?)"]);
    }
}
