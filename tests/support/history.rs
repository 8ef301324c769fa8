//! Checks the change log against the rows: undoes every record, the newest first, until nothing is left. Shares no code
//! with the writer of the log.

use std::collections::{BTreeMap, BTreeSet};

use halosync::ticket::AttributeValue;
use rusqlite::Connection;
use serde_json::{Map, Value as Json};

use super::database::attribute_value;

type TicketRow = BTreeMap<String, AttributeValue>;

/// The contradictions between the change log and the tickets, and gaps in the log; empty where there are none. The records of
/// an erased ticket have no values.
pub(crate) fn contradictions(database: &Connection) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rows = current_rows(database);
    let mut statement = database
        .prepare("SELECT seq, UID, op, changed, last_row, reason FROM changes ORDER BY seq DESC")
        .expect("the log");
    let mut records = statement.query([]).expect("the log");
    let mut next = None;
    let mut erased = BTreeSet::new();
    while let Some(record) = records.next().expect("a record") {
        let get = |column| record.get::<_, Option<String>>(column).expect("text");
        let (seq, id): (i64, i64) = (record.get(0).expect("a number"), record.get(1).expect("a number"));
        if next.is_some_and(|next| next != seq + 1) {
            wrong.push(format!("change {} is missing", seq + 1));
        }
        next = Some(seq);
        let object = |column| {
            get(column).map_or_else(Map::new, |text| serde_json::from_str(&text).expect("an object"))
        };
        let op = get(2).expect("an operation");
        let is_erasure = op == "d" && get(5).as_deref() == Some("erased");
        if is_erasure || erased.contains(&id) {
            let has_values = get(3).is_some() || get(4).is_some() || (!is_erasure && get(5).is_some());
            if has_values || (!erased.contains(&id) && rows.contains_key(&id)) {
                wrong.push(format!(
                    "change {seq} has values, or its ticket is stored: ticket {id} was erased"
                ));
            }
            erased.insert(id);
            continue;
        }
        let done = match op.as_str() {
            "c" => rows.remove(&id).map(|_| ()).ok_or("created a ticket that does not exist"),
            "u" => rows
                .get_mut(&id)
                .ok_or("changed a ticket that does not exist")
                .and_then(|row| undo(row, &object(3))),
            _ => match rows.insert(id, last_row(object(4))) {
                None => Ok(()),
                Some(_) => Err("deleted a ticket that exists"),
            },
        };
        if let Err(what) = done {
            wrong.push(format!("change {seq} {what}: ticket {id}"));
        }
    }
    if next.is_some_and(|first| first != 1) {
        wrong.push("change 1 is missing".into());
    }
    wrong.extend(rows.keys().map(|id| format!("ticket {id} was never created")));
    wrong
}

/// The rows of `tickets`. Tickets that were never changed after their creation need no values.
fn current_rows(database: &Connection) -> BTreeMap<i64, TicketRow> {
    let mut rows: BTreeMap<i64, TicketRow> = BTreeMap::new();
    let mut all = database.prepare("SELECT UID FROM tickets").expect("the tickets");
    rows.extend(
        all.query_map([], |row| Ok((row.get(0)?, TicketRow::new())))
            .expect("rows")
            .map(|row| row.expect("a row")),
    );
    let mut moved = database
        .prepare(
            "SELECT t.*, x.CLOSED_AT AS \"EXTRA.CLOSED_AT\", x.RESPONDED_AT AS \"EXTRA.RESPONDED_AT\",
                 x.ASSIGNED_AT AS \"EXTRA.ASSIGNED_AT\", x.PARENT_ID AS \"EXTRA.PARENT_ID\"
             FROM tickets t LEFT JOIN ticket_extra x ON x.UID = t.UID
             WHERE t.UID IN (SELECT UID FROM changes WHERE op <> 'c')",
        )
        .expect("the tickets");
    let names: Vec<String> = moved.column_names().map(ToOwned::to_owned).collect();
    let mut found = moved.query([]).expect("rows");
    while let Some(row) = found.next().expect("a row") {
        let values = names.iter().enumerate().map(|(column, name)| {
            let value = attribute_value(row.get_ref(column).expect("a value"));
            (name.clone(), value)
        });
        let values: TicketRow = values.collect();
        rows.insert(row.get("UID").expect("a number"), values);
    }
    rows
}

/// The row of a deleted ticket, with its extras under the names that change records have.
fn last_row(mut row: Map<String, Json>) -> TicketRow {
    let extras = row.remove("_extra");
    let extra = |name: &str| extras.as_ref().map_or(AttributeValue::Null, |it| from_json(&it[name]));
    let extras = ["CLOSED_AT", "RESPONDED_AT", "ASSIGNED_AT", "PARENT_ID"];
    let extras: TicketRow = extras.map(|name| (format!("EXTRA.{name}"), extra(name))).into();
    row.into_iter().map(|(name, value)| (name, from_json(&value))).chain(extras).collect()
}

fn undo(row: &mut TicketRow, changed: &Map<String, Json>) -> Result<(), &'static str> {
    if changed.is_empty() {
        return Err("changed nothing");
    }
    for (name, pair) in changed {
        let (old, new) = (from_json(&pair[0]), from_json(&pair[1]));
        match row.insert(name.clone(), old) {
            Some(value) if value == new => {}
            _ => return Err("changed to another value than the next record has"),
        }
    }
    Ok(())
}

fn from_json(value: &Json) -> AttributeValue {
    match value {
        Json::Null => AttributeValue::Null,
        Json::Bool(truth) => AttributeValue::Integer((*truth).into()),
        Json::Number(number) => number.as_i64().map_or_else(
            || AttributeValue::Real(number.as_f64().expect("a number")),
            AttributeValue::Integer,
        ),
        Json::String(text) => AttributeValue::Text(text.clone()),
        other => panic!("no value of an attribute: {other}"),
    }
}
