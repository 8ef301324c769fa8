//! The change log against the rows: every record is taken back from the present state, the newest first, and nothing is
//! left at the end. Written from the contract, with none of the code that makes the log.

use std::collections::BTreeMap;

use halosync::ticket::AttributeValue;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value as Json};

type Row = BTreeMap<String, AttributeValue>;

/// What is wrong with the numbers of the records or with what they say; empty where all is well.
pub(crate) fn contradictions(database: &Connection) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rows = present(database);
    let mut statement = database
        .prepare("SELECT seq, UID, op, changed, last_row FROM changes ORDER BY seq DESC")
        .expect("the log");
    let mut records = statement.query([]).expect("the log");
    let mut next = None;
    while let Some(record) = records.next().expect("a record") {
        let get = |place| record.get::<_, Option<String>>(place).expect("text");
        let (seq, id): (i64, i64) = (record.get(0).expect("a number"), record.get(1).expect("a number"));
        if next.is_some_and(|next| next != seq + 1) {
            wrong.push(format!("there is no change {}", seq + 1));
        }
        next = Some(seq);
        let object =
            |place| get(place).map_or_else(Map::new, |text| serde_json::from_str(&text).expect("an object"));
        let op = get(2).expect("an operation");
        let done = match op.as_str() {
            "c" => rows.remove(&id).map(|_| ()).ok_or("created what is not there"),
            "u" => rows
                .get_mut(&id)
                .ok_or("changed what is not there")
                .and_then(|row| take_back(row, &object(3))),
            _ => match rows
                .insert(id, object(4).into_iter().map(|(name, value)| (name, of_json(&value))).collect())
            {
                None => Ok(()),
                Some(_) => Err("deleted what is there"),
            },
        };
        if let Err(what) = done {
            wrong.push(format!("change {seq} {what}: ticket {id}"));
        }
    }
    if next.is_some_and(|first| first != 1) {
        wrong.push("there is no change 1".into());
    }
    wrong.extend(rows.keys().map(|id| format!("ticket {id} was never created")));
    wrong
}

/// The rows of `tickets`. Those that were only ever created need no values.
fn present(database: &Connection) -> BTreeMap<i64, Row> {
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    let mut all = database.prepare("SELECT UID FROM tickets").expect("the tickets");
    rows.extend(
        all.query_map([], |row| Ok((row.get(0)?, Row::new()))).expect("rows").map(|row| row.expect("a row")),
    );
    let mut moved = database
        .prepare("SELECT * FROM tickets WHERE UID IN (SELECT UID FROM changes WHERE op <> 'c')")
        .expect("the tickets");
    let names: Vec<String> = moved.column_names().map(ToOwned::to_owned).collect();
    let mut found = moved.query([]).expect("rows");
    while let Some(row) = found.next().expect("a row") {
        let values = names.iter().enumerate().map(|(place, name)| {
            let value = match row.get_ref(place).expect("a value") {
                ValueRef::Null => AttributeValue::Null,
                ValueRef::Integer(number) => AttributeValue::Integer(number),
                ValueRef::Real(number) => AttributeValue::Real(number),
                ValueRef::Text(text) => {
                    AttributeValue::Text(String::from_utf8(text.to_vec()).expect("UTF-8"))
                }
                ValueRef::Blob(_) => panic!("a blob"),
            };
            (name.clone(), value)
        });
        let values: Row = values.collect();
        rows.insert(row.get("UID").expect("a number"), values);
    }
    rows
}

fn take_back(row: &mut Row, changed: &Map<String, Json>) -> Result<(), &'static str> {
    if changed.is_empty() {
        return Err("changed nothing");
    }
    for (name, pair) in changed {
        let (old, new) = (of_json(&pair[0]), of_json(&pair[1]));
        match row.insert(name.clone(), old) {
            Some(value) if value == new => {}
            _ => return Err("changed to something else than what came after"),
        }
    }
    Ok(())
}

fn of_json(value: &Json) -> AttributeValue {
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
