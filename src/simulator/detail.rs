//! `GET /api/tickets/{id}`: the bare ticket object with what the list leaves out (halo-api.md §3).

use serde_json::{Value, json};

use super::catalogue::TICKET_TYPES;
use super::choices::{DeletedGet, HiddenGet};
use super::fields;
use super::knobs::Knobs;
use super::list;
use super::message::Answer;
use super::refusal::refusal;
use super::stamp::Stamp;
use super::story::Story;
use super::ticket::Standing;
use super::world::{Place, World};

/// The answer for a ticket id.
pub(super) fn answer(world: &World, knobs: &Knobs, id: i64, now: Stamp) -> Answer {
    let unknown = || refusal(404, knobs.error_body, &format!("Ticket {id} could not be found."));
    let forbidden = || refusal(403, knobs.error_body, "You do not have permission to view this ticket.");
    let Some(place) = world.find(id) else { return unknown() };
    let ticket = world.at(place);
    if ticket.hidden {
        return if knobs.hidden_get == HiddenGet::NotFound { unknown() } else { forbidden() };
    }
    match (ticket.standing, knobs.deleted_get) {
        (Standing::Deleted, DeletedGet::NotFound) => unknown(),
        (Standing::Deleted, DeletedGet::Forbidden) => forbidden(),
        _ => Answer::json(200, body(world, knobs, place, now)),
    }
}

fn body(world: &World, knobs: &Knobs, place: Place, now: Stamp) -> Vec<u8> {
    let mut body = list::row(world, knobs, place, now);
    let raw = world.written(place).is_some_and(|written| written.raw.is_some());
    if raw || body.pop() != Some(b'}') {
        return body;
    }
    let extras = extras(world, place, now).to_string();
    body.push(b',');
    body.extend_from_slice(&extras.as_bytes()[1..]);
    fields::append_all(world, place, &mut body);
    body
}

/// Some forty of the ninety-four properties that only the detail has, among them every one the notes name.
fn extras(world: &World, place: Place, now: Stamp) -> Value {
    let ticket = world.at(place);
    let story = Story::of(world, ticket);
    let status = world.statuses.iter().find(|status| status.id == ticket.status);
    let kind = TICKET_TYPES.iter().find(|kind| kind.id == ticket.kind);
    let priority = ["Critical", "High", "Medium", "Low"][usize::from(story.priority - 1)];
    let open_hours = ticket.closed.unwrap_or(now).millis_since(ticket.opened) / 3_600_000;
    let mut extras = json!({
        "status_name": status.map(|status| &status.name),
        "tickettype_name": kind.map(|kind| kind.name),
        "workflow_name": "Standard workflow",
        "datecreated": text(ticket.opened),
        "startdate": "1900-01-01T00:00:00",
        "auditdate": "1899-12-30T00:00:00",
        "reviewed_date": "1899-12-30T00:00:00",
        "laststatuschangestatusdate": "1899-12-30T00:00:00",
        "deleted": ticket.standing == Standing::Deleted,
        "hasbeenclosed": ticket.closed.is_some(),
        "changeseq": ticket.change,
        "details_html": "",
        "sla_name": "Standard",
        "slatimeleft": -f64::from(i32::try_from(open_hours).unwrap_or(0)),
        "slapercused": 27.0,
        "currentelapsedhours": f64::from(i32::try_from(open_hours).unwrap_or(0)),
        "slaresponsestate": "I",
        "priority": { "slaid": 1, "priorityid": story.priority, "name": priority, "colour": "#c0392b" },
        "responsedate": text(story.respond_by(ticket)),
        "dateassigned": text(ticket.opened),
        "timetaken": 0.750_000_000_000_000_1,
        "reassigncount": 0,
        "isdetailscreen": false,
        "is_sensitive": false,
        "allowallstatuses": true,
        "address": { "line1": story.site_name(), "line2": "", "postcode": "" },
        "user": story.user.as_ref().map(|user| json!({
            // Here, and only here, the site's id comes as a floating number (halo-api.md §5).
            "id": user.id, "name": format!("{} {}", user.first, user.last), "site_id": site_id(&story),
        })),
    });
    if let Value::Object(properties) = &mut extras {
        properties.retain(|_, value| !value.is_null());
    }
    extras
}

fn site_id(story: &Story<'_>) -> f64 {
    i32::try_from(story.site_id()).map_or(0.0, f64::from)
}

fn text(stamp: Stamp) -> String {
    let mut text = Vec::new();
    stamp.write(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
