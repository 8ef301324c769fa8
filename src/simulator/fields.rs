//! Custom fields: their definitions (`/api/FieldInfo`) and the `customfields` of a ticket.
//!
//! One field of each type code (halo-api.md §3.1). The order of the array is not fixed there, so here it differs from
//! ticket to ticket.

use serde_json::{Value, json};

use super::catalogue::{self, TAGS};
use super::chance::Chance;
use super::choices::{ListedFields, UnfilledFields};
use super::knobs::Knobs;
use super::query::{Malformed, Query};
use super::world::{Place, World};

/// A custom field as somebody defined it.
#[derive(Clone, Debug)]
pub(super) struct CustomField {
    pub(super) id: i64,
    name: String,
    label: String,
    kind: Kind,
    /// Defined when the tickets were there already: they hold nothing in it until somebody types.
    late: bool,
}

/// What the field holds; the discriminant is Halo's type code.
#[derive(Clone, Copy, Debug)]
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
const AT_FIRST: [(i64, &str, &str, Kind); 9] = [
    (120, "CFService",        "Service",             Kind::Single),
    (121, "CFCostCentre",     "Cost centre",         Kind::Text),
    (122, "CFWorkaround",     "Workaround",          Kind::Memo),
    (123, "CFPlatforms",      "Platforms affected",  Kind::Multiple),
    (124, "CFVisitOn",        "Visit on",            Kind::Date),
    (125, "CFVisitAt",        "Visit at",            Kind::Time),
    (126, "CFUserConfirmed",  "Confirmed by user",   Kind::Checkbox),
    (127, "CFParts",          "Parts",               Kind::Table),
    // The label repeats on purpose: labels are no keys.
    (131, "CFResolutionNote", "Workaround",          Kind::Rich),
];

const SERVICES: [&str; 5] = ["Data Workspace", "Telephony", "Printing", "Payroll", "Building access"];

/// The fields that a new world has.
pub(super) fn at_first() -> Vec<CustomField> {
    let field = |(id, name, label, kind): (i64, &str, &str, Kind)| CustomField {
        id,
        name: name.to_owned(),
        label: label.to_owned(),
        kind,
        late: false,
    };
    AT_FIRST.into_iter().map(field).collect()
}

impl CustomField {
    /// A text field that is defined now.
    pub(super) fn late(id: i64, name: &str, label: &str) -> CustomField {
        CustomField { id, name: name.to_owned(), label: label.to_owned(), kind: Kind::Text, late: true }
    }
}

/// The answer of `/api/FieldInfo`: a bare array.
pub(super) fn definitions(world: &World, knobs: &Knobs) -> Option<Value> {
    knobs.field_info.is_on().then(|| world.fields.iter().map(definition).collect())
}

/// The answer of `/api/FieldInfo/{id}`.
pub(super) fn definition_of(world: &World, knobs: &Knobs, id: i64) -> Option<Value> {
    let known = world.fields.iter().filter(|_| knobs.field_info.is_on());
    known.filter(|field| field.id == id).map(definition).next()
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

/// Puts `customfields` into the list row that ends `body`, those asked for.
pub(super) fn append_listed(world: &World, knobs: &Knobs, place: Place, ids: &[i64], body: &mut Vec<u8>) {
    let mut elements = elements(world, place, |field| ids.contains(&field.id));
    if knobs.unfilled_fields == UnfilledFields::LeftOut && elements.iter().all(is_unfilled) {
        return;
    }
    if knobs.listed_fields == ListedFields::Display {
        for element in &mut elements {
            element["value"] = element["display"].clone();
        }
    }
    append(world, place, elements, body);
}

/// Puts `customfields` into the detail that ends `body`, all of them.
pub(super) fn append_all(world: &World, place: Place, body: &mut Vec<u8>) {
    append(world, place, elements(world, place, |_| true), body);
}

fn append(world: &World, place: Place, elements: Vec<Value>, body: &mut Vec<u8>) {
    if world.written(place).is_some_and(|written| written.raw.is_some()) || body.pop() != Some(b'}') {
        return;
    }
    body.extend_from_slice(b",\"customfields\":");
    body.extend_from_slice(Value::from(elements).to_string().as_bytes());
    body.push(b'}');
}

/// The custom fields of a ticket, in an order of its own.
fn elements(world: &World, place: Place, wanted: impl Fn(&CustomField) -> bool) -> Vec<Value> {
    let turn = usize::try_from(world.at(place).id).unwrap_or(0) % world.fields.len().max(1);
    let fields = world.fields.iter().cycle().skip(turn).take(world.fields.len());
    fields.filter(|field| wanted(field)).map(|field| element(world, place, field)).collect()
}

fn is_unfilled(element: &Value) -> bool {
    let value = &element["value"];
    [json!(""), json!([]), json!(0), json!(false), Value::Null].contains(value)
}

fn element(world: &World, place: Place, field: &CustomField) -> Value {
    let typed =
        world.written(place).and_then(|written| written.custom.iter().find(|(id, _, _)| *id == field.id));
    let (value, display) = match typed {
        Some((_, value, display)) => (value.clone(), display.clone()),
        None if field.late => (json!(""), String::new()),
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
