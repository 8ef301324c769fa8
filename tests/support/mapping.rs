//! The row of `tickets` that a list row must become, by `fixtures/attributes.tsv`. Shares no code with the program.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::DateTime;
use halo_simulator::{ApiRequest, Server, SimulatorSettings};
use halosync::ticket::AttributeValue;
use serde_json::Value as Json;

/// Tickets by id, each with its attributes in the order of [`columns`].
pub(crate) type Tickets = BTreeMap<i64, Vec<AttributeValue>>;

/// The names of the statuses by id.
pub(crate) type Names = BTreeMap<i64, String>;

/// Attributes that change with every request, so they are not compared.
const VOLATILE: [&str; 2] = ["TICKET_AGE", "OPEN_SEARCH_SCORE"];

struct Line {
    attribute: &'static str,
    field: &'static str,
    kind: &'static str,
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let table = include_str!("../../fixtures/attributes.tsv");
    let line = |line: &'static str| {
        let cells: Vec<_> = line.split('\t').collect();
        Line { attribute: cells[0], field: cells[2], kind: cells[3] }
    };
    table.lines().skip(1).map(line).collect()
});

/// The attributes in the order of the table.
pub(crate) fn columns() -> impl Iterator<Item = &'static str> {
    LINES.iter().map(|line| line.attribute)
}

/// The attributes that a field of a list row becomes.
pub(crate) fn attributes_of(field: &str) -> impl Iterator<Item = &'static str> {
    LINES.iter().filter(move |line| line.field == field).map(|line| line.attribute)
}

/// What list rows carry beside the attributes: column of `ticket_extra`, property, kind.
const EXTRAS: [(&str, &str, &str); 4] = [
    ("CLOSED_AT", "dateclosed", "timestamp"),
    ("RESPONDED_AT", "responsedate", "timestamp"),
    ("ASSIGNED_AT", "dateassigned", "timestamp"),
    ("PARENT_ID", "parent_id", "integer"),
];

/// The columns of `ticket_extra`, in order.
pub(crate) fn extra_columns() -> impl Iterator<Item = &'static str> {
    EXTRAS.iter().map(|(column, ..)| *column)
}

/// What a row that carries all extras says about them, in the order of [`extra_columns`].
pub(crate) fn expected_extras(row: &Json) -> Vec<AttributeValue> {
    EXTRAS
        .iter()
        .map(|(_, property, kind)| of_kind(kind, row.get(*property).unwrap_or(&Json::Null)))
        .collect()
}

/// The attributes of a row.
pub(crate) fn expected(row: &Json, names: &Names) -> Vec<AttributeValue> {
    let value = |line: &Line| {
        let value = row.get(line.field).unwrap_or(&Json::Null);
        if line.attribute == "STATUS" {
            let number = value.as_i64().expect("a status");
            return AttributeValue::Text(names.get(&number).cloned().unwrap_or_else(|| number.to_string()));
        }
        of_kind(line.kind, value)
    };
    LINES.iter().map(value).collect()
}

fn of_kind(kind: &str, value: &Json) -> AttributeValue {
    match (kind, value) {
        (_, Json::Null) => AttributeValue::Null,
        ("integer", Json::Number(number)) => {
            AttributeValue::Integer(number.as_i64().expect("a whole number"))
        }
        // Adding zero makes `-0.0` positive.
        ("real", Json::Number(number)) => AttributeValue::Real(number.as_f64().expect("a number") + 0.0),
        ("boolean", Json::Bool(truth)) => AttributeValue::Integer(i64::from(*truth)),
        ("text" | "clock", Json::String(text)) => AttributeValue::Text(text.replace('\0', "\u{FFFD}")),
        ("timestamp", Json::String(text)) => moment(text),
        other => panic!("the simulated server has no such value: {other:?}"),
    }
}

/// `2025-10-28T17:03:13.23` with none to three digits, as list rows have it; a year before 1980 is no date.
fn moment(text: &str) -> AttributeValue {
    if text[..4] < *"1980" {
        return AttributeValue::Null;
    }
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    AttributeValue::Text(format!("{clock}.{fraction:0<3}Z"))
}

/// The attributes that differ, each with the actual and the expected value.
pub(crate) fn differences(is: &[AttributeValue], should_be: &[AttributeValue]) -> Vec<String> {
    let triples = LINES.iter().zip(is.iter().zip(should_be));
    triples
        .filter(|(line, (is, should_be))| !VOLATILE.contains(&line.attribute) && is != should_be)
        .map(|(line, (is, should_be))| {
            let short = |value: &AttributeValue| format!("{value:?}").chars().take(80).collect::<String>();
            format!("{} is {}, expected {}", line.attribute, short(is), short(should_be))
        })
        .collect()
}

/// The custom fields of one ticket by id: name, label, type, value, display.
pub(crate) type Fields = BTreeMap<i64, [Option<String>; 5]>;

/// The rows of `custom_fields` that a `customfields` of the server must become.
pub(crate) fn expected_fields(elements: &Json) -> Fields {
    let text = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let field = |element: &Json| {
        let members = ["name", "label", "type", "value", "display"].map(|name| text(&element[name]));
        (element["id"].as_i64().expect("a number"), members)
    };
    elements.as_array().expect("an array").iter().map(field).collect()
}

/// The custom fields that differ, each with the actual and the expected value. A server may omit empty ones.
pub(crate) fn field_differences(is: &Fields, should_be: &Fields) -> Vec<String> {
    let holds_nothing =
        |field: &[Option<String>; 5]| matches!(field[3].as_deref(), None | Some("" | "[]" | "0" | "false"));
    let ids: std::collections::BTreeSet<_> = is.keys().chain(should_be.keys()).collect();
    let differs = |id: &&i64| match (is.get(id), should_be.get(id)) {
        (None, Some(should_be)) => !holds_nothing(should_be),
        (is, should_be) => is != should_be,
    };
    let ids = ids.into_iter().filter(differs);
    ids.map(|id| format!("custom field {id} is {:?}, expected {:?}", is.get(id), should_be.get(id))).collect()
}

/// The names of the statuses of every new simulated server.
pub(crate) fn status_names() -> Names {
    let now = DateTime::UNIX_EPOCH;
    let mut server = Server::new(SimulatorSettings { tickets: 0, ..SimulatorSettings::default() }, now);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "halosync-demo"),
        ("client_secret", "demo-secret"),
        ("scope", "read:tickets"),
    ];
    let token = server.respond(&ApiRequest::form("/auth/token", &form), now).json_body().expect("a token");
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let list = server
        .respond(&ApiRequest::get("/api/status?showall=true", &token), now)
        .json_body()
        .expect("a list");
    let name = |row: &Json| Some((row["id"].as_i64()?, row["name"].as_str()?.to_owned()));
    list.as_array().expect("an array").iter().filter_map(name).collect()
}
