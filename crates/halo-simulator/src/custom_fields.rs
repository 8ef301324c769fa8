//! Responses of `/api/FieldInfo`, and the `customfields` of a ticket.
//!
//! The order of that array is not specified (halo-api.md §3.1), so it differs from ticket to ticket.

use serde_json::{Value, json};

use crate::database::{HaloDatabase, TicketIndex};
use crate::field_definitions::{CustomFieldDef, CustomFieldType};
use crate::fixtures::{self, TAGS};
use crate::knob_values::{ListedFields, UnfilledFields};
use crate::knobs::Knobs;
use crate::query::{InvalidParameter, Query};
use crate::rng::SeededRng;

const SERVICES: [&str; 5] = ["Data Workspace", "Telephony", "Printing", "Payroll", "Building access"];

/// Returns the response of `/api/FieldInfo`, a bare array.
pub(crate) fn definitions(database: &HaloDatabase, knobs: &Knobs) -> Option<Value> {
    knobs.field_info.is_on().then(|| database.fields.iter().map(definition).collect())
}

/// Returns the response of `/api/FieldInfo/{id}`.
pub(crate) fn definition_of(database: &HaloDatabase, knobs: &Knobs, id: i64) -> Option<Value> {
    let known = database.fields.iter().filter(|_| knobs.field_info.is_on());
    known.filter(|field| field.id == id).map(definition).next()
}

fn definition(field: &CustomFieldDef) -> Value {
    let values: Vec<Value> = match field.field_type {
        CustomFieldType::Single | CustomFieldType::Multiple => {
            (1..).zip(SERVICES).map(|(id, name)| json!({ "id": id, "name": name })).collect()
        }
        _ => Vec::new(),
    };
    json!({
        "id": field.id, "name": field.name, "label": field.label, "type": field.field_type as i64, "usage": 1,
        "inputtype": 0, "lookup": 0, "values": values,
    })
}

/// Returns the field ids of a list request; `None` if it has none or the server ignores the parameter.
pub(crate) fn requested_ids(query: &Query, knobs: &Knobs) -> Result<Option<Vec<i64>>, InvalidParameter> {
    if !knobs.include_custom_fields.is_honored() {
        return Ok(None);
    }
    query.integers("include_custom_fields")
}

/// Appends the requested `customfields` to the list row at the end of `body`.
pub(crate) fn append_to_row(
    database: &HaloDatabase,
    knobs: &Knobs,
    index: TicketIndex,
    ids: &[i64],
    body: &mut Vec<u8>,
) {
    let mut elements = elements(database, index, |field| ids.contains(&field.id));
    if knobs.unfilled_fields == UnfilledFields::LeftOut && elements.iter().all(is_unfilled) {
        return;
    }
    if knobs.listed_fields == ListedFields::Display {
        for element in &mut elements {
            element["value"] = element["display"].clone();
        }
    }
    append(database, index, elements, body);
}

/// Appends all `customfields` to the ticket at the end of `body`.
pub(crate) fn append_to_detail(database: &HaloDatabase, index: TicketIndex, body: &mut Vec<u8>) {
    append(database, index, elements(database, index, |_| true), body);
}

fn append(database: &HaloDatabase, index: TicketIndex, elements: Vec<Value>, body: &mut Vec<u8>) {
    if database.overrides(index).is_some_and(|overrides| overrides.raw_row.is_some())
        || body.pop() != Some(b'}')
    {
        return;
    }
    body.extend_from_slice(b",\"customfields\":");
    body.extend_from_slice(Value::from(elements).to_string().as_bytes());
    body.push(b'}');
}

/// Returns the custom fields of a ticket, in an order that depends on its id.
fn elements(
    database: &HaloDatabase,
    index: TicketIndex,
    is_included: impl Fn(&CustomFieldDef) -> bool,
) -> Vec<Value> {
    let rotation = usize::try_from(database.ticket(index).id).unwrap_or(0) % database.fields.len().max(1);
    let fields = database.fields.iter().cycle().skip(rotation).take(database.fields.len());
    fields.filter(|field| is_included(field)).map(|field| element(database, index, field)).collect()
}

fn is_unfilled(element: &Value) -> bool {
    let value = &element["value"];
    [json!(""), json!([]), json!(0), json!(false), Value::Null].contains(value)
}

fn element(database: &HaloDatabase, index: TicketIndex, field: &CustomFieldDef) -> Value {
    let edited = database
        .overrides(index)
        .and_then(|overrides| overrides.custom_values.iter().find(|(id, _, _)| *id == field.id));
    let (value, display) = match edited {
        Some((_, value, display)) => (value.clone(), display.clone()),
        None if field.added_later => (json!(""), String::new()),
        None => generated_value(database, index, field),
    };
    json!({
        "id": field.id, "name": field.name, "label": field.label, "type": field.field_type as i64,
        "value": value, "display": display, "usage": 1, "inputtype": 0, "characterlimit": 0,
        "searchable": false, "copytochild": false, "showondetailsscreen": true, "isencrypted": false,
    })
}

/// Returns value and display text; the latter is in the agent's locale and not meant to be parsed.
fn generated_value(database: &HaloDatabase, index: TicketIndex, field: &CustomFieldDef) -> (Value, String) {
    let ticket = database.ticket(index);
    let mut rng = SeededRng::for_ticket(database.seed ^ field.id.unsigned_abs(), ticket.id);
    if rng.per_mille(300) {
        return match field.field_type {
            CustomFieldType::Multiple | CustomFieldType::Table => (json!([]), String::new()),
            CustomFieldType::Single => (json!(0), String::new()),
            CustomFieldType::Checkbox => (json!(false), "No".to_owned()),
            _ => (json!(""), String::new()),
        };
    }
    match field.field_type {
        CustomFieldType::Text => {
            let text = format!("CC-{:04}", rng.below(10_000));
            (json!(text), text)
        }
        CustomFieldType::Memo => {
            let text = format!("{}\r\n{}", rng.pick(&fixtures::SENTENCES), rng.pick(&fixtures::SENTENCES));
            (json!(text), text)
        }
        CustomFieldType::Single => {
            let choice = rng.index(SERVICES.len());
            (json!(choice + 1), SERVICES[choice].to_owned())
        }
        CustomFieldType::Multiple => {
            let choice = rng.index(SERVICES.len() - 1);
            (json!([choice + 1, choice + 2]), format!("{}, {}", SERVICES[choice], SERVICES[choice + 1]))
        }
        CustomFieldType::Date => {
            let mut text = Vec::new();
            ticket.opened.plus(chrono::TimeDelta::days(3)).midnight().write(&mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            let display = format!("{}/{}/{}", &text[8..10], &text[5..7], &text[..4]);
            (json!(text), display)
        }
        CustomFieldType::Time => (json!("09:30:00"), "09:30".to_owned()),
        CustomFieldType::Checkbox => (json!(true), "Yes".to_owned()),
        CustomFieldType::Table => {
            let row = json!({ "part": rng.pick(&TAGS), "quantity": 1 + rng.below(3), "price": 27.0 });
            (json!([row]), String::new())
        }
        CustomFieldType::Rich => {
            let text = format!("<p>{}</p>", rng.pick(&fixtures::SENTENCES));
            (json!(text), text)
        }
    }
}
