//! `/api/status` and `/api/tickettype`: bare arrays that know no paging (halo-api.md §4).

use serde_json::{Value, json};

use super::catalogue::TICKET_TYPES;
use super::chance::Chance;
use super::json;
use super::knobs::Knobs;
use super::message::Answer;
use super::query::Query;
use super::world::World;

/// Statuses of other things than tickets: the `type` filter does not work, so they come along.
const FOREIGN_STATUSES: [(i32, &str, i32); 2] = [(101, "Quote Sent", 2), (102, "Ordered", 3)];

pub(super) fn statuses(world: &World, knobs: &Knobs, query: &Query) -> Answer {
    let without_closed = query.flag("excludeclosed") && knobs.excludeclosed.is_honoured();
    let own = world.statuses.iter().filter(|status| !(without_closed && status.closed));
    let own = own.map(|status| (status.id, status.name.as_str(), 0, status.colour));
    let foreign = FOREIGN_STATUSES.iter().map(|&(id, name, kind)| (id, name, kind, "#888888"));
    let rows: Vec<Value> = own
        .chain(foreign)
        .zip(1..)
        .map(|((id, name, kind, colour), sequence)| {
            json!({
                "id": id, "guid": guid(world, id.into()), "name": name, "shortname": name, "type": kind,
                "sequence": sequence * 10, "colour": colour, "slaaction": 0, "showonquickchange": true,
            })
        })
        .collect();
    Answer::json(200, Value::from(rows).to_string())
}

/// Inactive types need `showinactive=true` and the override `showall=true` (halo-api.md §4.2).
pub(super) fn ticket_types(world: &World, query: &Query) -> Answer {
    let all = query.flag("showall") && query.flag("showinactive");
    let rows: Vec<Value> = TICKET_TYPES
        .iter()
        .filter(|kind| kind.active || all)
        .zip(1..)
        .map(|(kind, sequence)| {
            json!({
                "id": kind.id, "guid": guid(world, 1_000 + i64::from(kind.id)), "name": kind.name,
                "use": "tickets", "sequence": sequence, "group_id": 0, "group_name": "",
                "jira_issue_type": "", "cancreate": true, "agentscanselect": true,
                "itilrequesttype": kind.itil, "allowattachments": true, "copyattachmentstochild": false,
                "is_sprint": false, "enduserscanselect": true, "anonymouscanselect": true,
                "visible": kind.active,
            })
        })
        .collect();
    Answer::json(200, Value::from(rows).to_string())
}

fn guid(world: &World, number: i64) -> Value {
    let mut chance = Chance::of_ticket(world.seed ^ 0x601D, number);
    let mut text = Vec::new();
    json::guid(&mut text, chance.next(), chance.next());
    serde_json::from_slice(&text).unwrap_or_default()
}
