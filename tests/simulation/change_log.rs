//! Undoes the change log record by record: nothing must be left of the present tickets.

use std::collections::{BTreeMap, BTreeSet};

use halosync::ticket::AttributeValue;
use serde_json::{Map, Value as Json};

use crate::db_reader::DbReader;
use crate::support::mapping::{self, Fields};

/// Goes back from the present tickets to the empty database. `c` records hold no row, so this is the direction in which
/// every part of the log is needed and checked. Tickets whose rows another program changed are left out, because no record
/// was written of that: what consumers make of them is checked by `local_edits::Consumer`. So are those before an erasure,
/// whose records have no values.
pub(crate) fn undo(db: &DbReader, edited: &BTreeSet<i64>) -> Result<(), String> {
    let columns: Vec<_> = mapping::columns().collect();
    let (extra_columns, mut extras) = (extra_columns(), db.extras());
    let mut named = |id: i64, row: Vec<AttributeValue>| -> BTreeMap<String, Json> {
        let carried = extras.remove(&id).unwrap_or_else(|| vec![AttributeValue::Null; extra_columns.len()]);
        let attributes = columns.iter().map(|name| (*name).to_owned()).zip(row);
        attributes
            .chain(extra_columns.iter().cloned().zip(carried))
            .map(|(name, value)| (name, json(value)))
            .collect()
    };
    let mut tickets: BTreeMap<i64, BTreeMap<String, Json>> =
        db.tickets().into_iter().map(|(id, row)| (id, named(id, row))).collect();
    if let Some(id) = extras.keys().find(|id| !edited.contains(id)) {
        return Err(format!("extras of ticket {id} are stored, but not the ticket"));
    }
    let mut fields: BTreeMap<i64, BTreeMap<String, Json>> =
        db.custom_fields().into_iter().map(|(id, fields)| (id, members(&fields))).collect();
    tickets.retain(|id, _| !edited.contains(id));
    let sql = "SELECT seq, UID, op, changed, last_row, reason FROM changes ORDER BY seq DESC";
    let records = db.query(sql, |row| {
        let text = |column| row.get::<_, Option<String>>(column).expect("a text").unwrap_or_default();
        (
            row.get::<_, i64>(0).expect("a number"),
            row.get::<_, i64>(1).expect("a ticket"),
            text(2),
            text(3),
            text(4),
            text(5),
        )
    });
    let mut erased = BTreeSet::new();
    let mut expected = i64::try_from(records.len()).expect("few records");
    for (seq, id, op, changed, last_row, reason) in records {
        if seq != expected {
            return Err(format!("change {expected} is missing or duplicated: found {seq}"));
        }
        expected -= 1;
        if edited.contains(&id) {
            continue;
        }
        let wrong = |what: &str| Err(format!("change {seq} ({op} of {id}): {what}"));
        let is_erasure = op == "d" && reason == "erased";
        if is_erasure || erased.contains(&id) {
            if !(changed.is_empty() && last_row.is_empty() && (is_erasure || reason.is_empty())) {
                return wrong("it has values although the ticket was erased later");
            }
            if erased.insert(id) && tickets.contains_key(&id) {
                return wrong("the ticket exists after it was erased");
            }
            continue;
        }
        match op.as_str() {
            "c" if tickets.remove(&id).is_none() => return wrong("the ticket does not exist after it"),
            // It lists neither the attributes nor the custom fields that the ticket was created with.
            "c" => drop(fields.remove(&id)),
            "u" => {
                let Some(row) = tickets.get_mut(&id) else {
                    return wrong("the ticket does not exist after it");
                };
                let changed: Map<String, Json> = serde_json::from_str(&changed).expect("JSON");
                for (attribute, pair) in changed {
                    if attribute.starts_with("CUSTOM.") {
                        let fields = fields.entry(id).or_default();
                        let is = fields.remove(&attribute).unwrap_or_default();
                        if is != pair[1] {
                            return wrong(&format!("{attribute} is {is} after it, not {}", pair[1]));
                        }
                        fields.insert(attribute, pair[0].clone());
                        continue;
                    }
                    let Some(value) = row.get_mut(attribute.as_str()) else {
                        return wrong("no such attribute");
                    };
                    if *value != plain(&pair[1]) {
                        return wrong(&format!("{attribute} is {value} after it, not {}", pair[1]));
                    }
                    // Allowed only if the server confirmed the older version, as a restored server does.
                    let older = pair[1].as_str().zip(pair[0].as_str()).is_some_and(|(new, old)| new < old);
                    if attribute == "SOURCE_LAST_MODIFIED" && older && reason != "went_back" {
                        return wrong("an older version overwrote a newer one");
                    }
                    *value = plain(&pair[0]);
                }
            }
            "d" => {
                let last: Map<String, Json> = serde_json::from_str(&last_row).expect("JSON");
                fields.insert(id, last_members(&last));
                let attributes = columns
                    .iter()
                    .map(|name| ((*name).to_owned(), last.get(*name).map_or(Json::Null, plain)));
                let carried = mapping::extra_columns()
                    .zip(&extra_columns)
                    .map(|(column, name)| (name.clone(), last_extra(&last, column)));
                if tickets.insert(id, attributes.chain(carried).collect()).is_some() {
                    return wrong("the ticket exists after it");
                }
            }
            _ => return wrong("no such operation"),
        }
    }
    let created = tickets.keys().next();
    created.map_or(Ok(()), |id| Err(format!("ticket {id} is stored, but no change created it")))
}

/// The suffixes of `CUSTOM.<FIELD_ID>` in change records, in the column order of `custom_fields`.
const SUFFIXES: [(&str, &str); 5] =
    [(".NAME", "NAME"), (".LABEL", "LABEL"), (".TYPE", "TYPE"), ("", "VALUE"), (".DISPLAY", "DISPLAY")];

/// The custom fields of a ticket, with their members named as in change records.
fn members(fields: &Fields) -> BTreeMap<String, Json> {
    let of = |(id, members): (&i64, &[Option<String>; 5])| {
        let id = *id;
        SUFFIXES.iter().zip(members.clone()).map(move |((suffix, column), member)| {
            let member = match member {
                Some(number) if *column == "TYPE" => number.parse::<i64>().expect("a type").into(),
                member => Json::from(member),
            };
            (format!("CUSTOM.{id}{suffix}"), member)
        })
    };
    fields.iter().flat_map(of).collect()
}

/// The same for the last row of a removed ticket.
fn last_members(last: &Map<String, Json>) -> BTreeMap<String, Json> {
    let fields = last.get("_custom_fields").and_then(Json::as_array);
    let of = |field: &Json| {
        let id = field["FIELD_ID"].as_i64().expect("an id");
        SUFFIXES.map(|(suffix, column)| (format!("CUSTOM.{id}{suffix}"), field[column].clone()))
    };
    fields.into_iter().flatten().flat_map(of).collect()
}

/// An extra of the last row of a removed ticket.
fn last_extra(last: &Map<String, Json>, column: &str) -> Json {
    last.get("_extra").and_then(|extras| extras.get(column)).map_or(Json::Null, plain)
}

/// The extras, named as in change records.
fn extra_columns() -> Vec<String> {
    mapping::extra_columns().map(|column| format!("EXTRA.{column}")).collect()
}

pub(crate) fn json(value: AttributeValue) -> Json {
    match value {
        AttributeValue::Null => Json::Null,
        AttributeValue::Integer(number) => number.into(),
        AttributeValue::Real(number) => plain(&number.into()),
        AttributeValue::Text(text) => text.into(),
    }
}

/// A value as the database stores it: no booleans, and whole numbers as integers.
fn plain(json: &Json) -> Json {
    match json {
        Json::Bool(truth) => i64::from(*truth).into(),
        Json::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and small, as tested")]
            Some(real) if number.is_f64() && real.fract() == 0.0 && real.abs() < 1e15 => (real as i64).into(),
            _ => json.clone(),
        },
        other => other.clone(),
    }
}
