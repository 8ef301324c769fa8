//! `GET /api/tickets/{id}`: the bare ticket object with the properties that the list leaves out (halo-api.md §3).

use serde_json::{Value, json};

use crate::custom_fields;
use crate::database::{HaloDatabase, TicketIndex};
use crate::derived_fields::DerivedFields;
use crate::directory;
use crate::error_response::error_response;
use crate::fixtures::TICKET_TYPES;
use crate::knob_values::{DeletedGet, HiddenGet};
use crate::knobs::Knobs;
use crate::list;
use crate::message::ApiResponse;
use crate::ticket::Lifecycle;
use crate::timestamp::SqlDateTime;

/// Responds to a request for one ticket.
pub(crate) fn respond(database: &HaloDatabase, knobs: &Knobs, id: i64, now: SqlDateTime) -> ApiResponse {
    let unknown = || error_response(404, knobs.error_body, &format!("Ticket {id} could not be found."));
    let forbidden =
        || error_response(403, knobs.error_body, "You do not have permission to view this ticket.");
    let Some(index) = database.find(id) else { return unknown() };
    let ticket = database.ticket(index);
    if ticket.hidden {
        return if knobs.hidden_get == HiddenGet::NotFound { unknown() } else { forbidden() };
    }
    match (ticket.lifecycle, knobs.deleted_get) {
        (Lifecycle::Deleted, DeletedGet::NotFound) => unknown(),
        (Lifecycle::Deleted, DeletedGet::Forbidden) => forbidden(),
        _ => ApiResponse::json(200, body(database, knobs, index, now)),
    }
}

fn body(database: &HaloDatabase, knobs: &Knobs, index: TicketIndex, now: SqlDateTime) -> Vec<u8> {
    let mut body = list::row(database, knobs, index, now);
    let raw = database.overrides(index).is_some_and(|overrides| overrides.raw_row.is_some());
    if raw || body.pop() != Some(b'}') {
        return body;
    }
    let extras = extras(database, knobs, index, now).to_string();
    body.push(b',');
    body.extend_from_slice(&extras.as_bytes()[1..]);
    custom_fields::append_to_detail(database, index, &mut body);
    body
}

/// Returns about 40 of the 94 properties that only the detail has, including all that halo-api.md names.
fn extras(database: &HaloDatabase, knobs: &Knobs, index: TicketIndex, now: SqlDateTime) -> Value {
    let ticket = database.ticket(index);
    let derived = DerivedFields::for_ticket(database, ticket);
    let status = database.statuses.iter().find(|status| status.id == ticket.status);
    let ticket_type = TICKET_TYPES.iter().find(|it| it.id == ticket.ticket_type);
    let priority = directory::priority_name(database, knobs, derived.sla, derived.priority.into());
    let open_hours = ticket.closed.unwrap_or(now).millis_since(ticket.opened) / 3_600_000;
    let mut extras = json!({
        "status_name": status.map(|status| &status.name),
        "tickettype_name": ticket_type.map(|it| database.type_name(it)),
        "workflow_name": "Standard workflow",
        "datecreated": text(ticket.opened),
        "startdate": "1900-01-01T00:00:00",
        "auditdate": "1899-12-30T00:00:00",
        "reviewed_date": "1899-12-30T00:00:00",
        "laststatuschangestatusdate": "1899-12-30T00:00:00",
        "deleted": ticket.lifecycle == Lifecycle::Deleted,
        "hasbeenclosed": ticket.closed.is_some(),
        "changeseq": ticket.change_seq,
        "details_html": "",
        "sla_name": directory::sla_name(database, derived.sla),
        "slatimeleft": -f64::from(i32::try_from(open_hours).unwrap_or(0)),
        "slapercused": 27.0,
        "currentelapsedhours": f64::from(i32::try_from(open_hours).unwrap_or(0)),
        "slaresponsestate": "I",
        "priority": { "slaid": derived.sla, "priorityid": derived.priority, "name": priority, "colour": "#c0392b" },
        "dateclosed": ticket.closed.map(text),
        "responsedate": derived.responded_at(ticket).map(text),
        "dateassigned": derived.assigned_at(ticket).map(text),
        "parent_id": derived.has_parent.then_some(ticket.id - 1),
        "timetaken": 0.750_000_000_000_000_1,
        "reassigncount": 0,
        "isdetailscreen": false,
        "is_sensitive": false,
        "allowallstatuses": true,
        "address": { "line1": directory::site_name(database, derived.site_id()), "line2": "", "postcode": "" },
        "user": derived.user.as_ref().map(|user| json!({
            // Only here is the site id a floating-point number (halo-api.md §5).
            "id": user.id, "name": directory::user_name(database, user.id), "site_id": site_id(&derived),
        })),
    });
    if let Value::Object(properties) = &mut extras {
        // What the row carries is there already.
        let extra_columns = ["dateclosed", "responsedate", "dateassigned", "parent_id"];
        properties.retain(|name, value| {
            let is_in_row = extra_columns.contains(&name.as_str()) && knobs.row_extras.carries(name);
            !value.is_null() && !is_in_row
        });
    }
    extras
}

fn site_id(derived: &DerivedFields<'_>) -> f64 {
    i32::try_from(derived.site_id()).map_or(0.0, f64::from)
}

fn text(timestamp: SqlDateTime) -> String {
    let mut text = Vec::new();
    timestamp.write(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
