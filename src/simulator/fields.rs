//! Custom fields: their definitions (`/api/FieldInfo`) and the `customfields` of a ticket.
//!
//! One field of each type code (halo-api.md §3.1). The order of the array is not fixed there, so here it differs from
//! ticket to ticket.

use serde_json::{Value, json};

use super::catalogue::{self, TAGS};
use super::chance::Chance;
use super::knobs::Knobs;
use super::query::{Malformed, Query};
use super::world::{Place, World};

struct CustomField {
    id: i64,
    name: &'static str,
    label: &'static str,
    kind: Kind,
}

/// What the field holds; the discriminant is Halo's type code.
#[derive(Clone, Copy)]
enum Kind {
    Text = 0,
    Memo = 1,
    Single = 2,
    Multiple = 3,
    Date = 4,
    Time = 5,
    Checkbox = 6,
    Table = 7,
    Rich = 10,
}

#[rustfmt::skip]
const CUSTOM_FIELDS: [CustomField; 9] = [
    CustomField { id: 120, name: "CFService",        label: "Service",             kind: Kind::Single },
    CustomField { id: 121, name: "CFCostCentre",     label: "Cost centre",         kind: Kind::Text },
    CustomField { id: 122, name: "CFWorkaround",     label: "Workaround",          kind: Kind::Memo },
    CustomField { id: 123, name: "CFPlatforms",      label: "Platforms affected",  kind: Kind::Multiple },
    CustomField { id: 124, name: "CFVisitOn",        label: "Visit on",            kind: Kind::Date },
    CustomField { id: 125, name: "CFVisitAt",        label: "Visit at",            kind: Kind::Time },
    CustomField { id: 126, name: "CFUserConfirmed",  label: "Confirmed by user",   kind: Kind::Checkbox },
    CustomField { id: 127, name: "CFParts",          label: "Parts",               kind: Kind::Table },
    // The label repeats on purpose: labels are no keys.
    CustomField { id: 131, name: "CFResolutionNote", label: "Workaround",          kind: Kind::Rich },
];

const SERVICES: [&str; 5] = ["Data Workspace", "Telephony", "Printing", "Payroll", "Building access"];

/// The body of `/api/FieldInfo`: a bare array.
pub(super) fn definitions() -> Value {
    CUSTOM_FIELDS.iter().map(definition).collect()
}

/// The body of `/api/FieldInfo/{id}`.
pub(super) fn definition_of(id: i64) -> Option<Value> {
    CUSTOM_FIELDS.iter().find(|field| field.id == id).map(definition)
}

fn definition(field: &CustomField) -> Value {
    let values: Vec<Value> = match field.kind {
        Kind::Single | Kind::Multiple => {
            (1..).zip(SERVICES).map(|(id, name)| json!({ "id": id, "name": name })).collect()
        }
        _ => Vec::new(),
    };
    json!({
        "id": field.id, "name": field.name, "label": field.label, "type": field.kind as i64, "usage": 1,
        "inputtype": 0, "lookup": 0, "values": values,
    })
}

/// The ids a list request asks for, `None` where the server does not know the parameter or was not asked.
pub(super) fn asked(query: &Query, knobs: &Knobs) -> Result<Option<Vec<i64>>, Malformed> {
    if !knobs.include_custom_fields.is_honoured() {
        return Ok(None);
    }
    query.integers("include_custom_fields")
}

/// Puts `customfields` into the row that ends `body`, all of them or those asked for.
pub(super) fn append(world: &World, place: Place, only: Option<&[i64]>, body: &mut Vec<u8>) {
    if world.written(place).is_some_and(|written| written.raw.is_some()) || body.pop() != Some(b'}') {
        return;
    }
    let id = world.at(place).id;
    let turn = usize::try_from(id % 9).unwrap_or(0);
    let fields = CUSTOM_FIELDS.iter().cycle().skip(turn).take(CUSTOM_FIELDS.len());
    let wanted = fields.filter(|field| only.is_none_or(|ids| ids.contains(&field.id)));
    let fields: Value = wanted.map(|field| element(world, place, field)).collect();
    body.extend_from_slice(b",\"customfields\":");
    body.extend_from_slice(fields.to_string().as_bytes());
    body.push(b'}');
}

fn element(world: &World, place: Place, field: &CustomField) -> Value {
    let typed =
        world.written(place).and_then(|written| written.custom.iter().find(|(id, _, _)| *id == field.id));
    let (value, display) = match typed {
        Some((_, value, display)) => (value.clone(), display.clone()),
        None => content(world, place, field),
    };
    json!({
        "id": field.id, "name": field.name, "label": field.label, "type": field.kind as i64,
        "value": value, "display": display, "usage": 1, "inputtype": 0, "characterlimit": 0,
        "searchable": false, "copytochild": false, "showondetailsscreen": true, "isencrypted": false,
    })
}

/// Value and display; the display is in the agent's locale and never meant to be parsed.
fn content(world: &World, place: Place, field: &CustomField) -> (Value, String) {
    let ticket = world.at(place);
    let mut chance = Chance::of_ticket(world.seed ^ field.id.unsigned_abs(), ticket.id);
    if chance.per_mille(300) {
        return match field.kind {
            Kind::Multiple | Kind::Table => (json!([]), String::new()),
            Kind::Single => (json!(0), String::new()),
            Kind::Checkbox => (json!(false), "No".to_owned()),
            _ => (json!(""), String::new()),
        };
    }
    match field.kind {
        Kind::Text => {
            let text = format!("CC-{:04}", chance.below(10_000));
            (json!(text), text)
        }
        Kind::Memo => {
            let text =
                format!("{}\r\n{}", chance.pick(&catalogue::SENTENCES), chance.pick(&catalogue::SENTENCES));
            (json!(text), text)
        }
        Kind::Single => {
            let choice = chance.place(SERVICES.len());
            (json!(choice + 1), SERVICES[choice].to_owned())
        }
        Kind::Multiple => {
            let choice = chance.place(SERVICES.len() - 1);
            (json!([choice + 1, choice + 2]), format!("{}, {}", SERVICES[choice], SERVICES[choice + 1]))
        }
        Kind::Date => {
            let mut text = Vec::new();
            ticket.opened.plus(chrono::TimeDelta::days(3)).midnight().write(&mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            let display = format!("{}/{}/{}", &text[8..10], &text[5..7], &text[..4]);
            (json!(text), display)
        }
        Kind::Time => (json!("09:30:00"), "09:30".to_owned()),
        Kind::Checkbox => (json!(true), "Yes".to_owned()),
        Kind::Table => {
            let row = json!({ "part": chance.pick(&TAGS), "quantity": 1 + chance.below(3), "price": 27.0 });
            (json!([row]), String::new())
        }
        Kind::Rich => {
            let text = format!("<p>{}</p>", chance.pick(&catalogue::SENTENCES));
            (json!(text), text)
        }
    }
}
