//! `/api/status` and `/api/tickettype`: bare arrays without paging (halo-api.md §4).

use serde_json::{Value, json};

use crate::database::HaloDatabase;
use crate::fixtures::TICKET_TYPES;
use crate::json;
use crate::knobs::Knobs;
use crate::message::ApiResponse;
use crate::query::Query;
use crate::rng::SeededRng;

/// Statuses of other objects: the `type` filter does not work, so they are included.
const NON_TICKET_STATUSES: [(i32, &str, i32); 2] = [(101, "Quote Sent", 2), (102, "Ordered", 3)];

pub(crate) fn statuses(database: &HaloDatabase, knobs: &Knobs, query: &Query) -> ApiResponse {
    let without_closed = query.flag("excludeclosed") && knobs.excludeclosed.is_honored();
    let own = database.statuses.iter().filter(|status| !(without_closed && status.closed));
    let own = own.map(|status| (status.id, status.name.as_str(), 0, status.color));
    let non_ticket =
        NON_TICKET_STATUSES.iter().map(|&(id, name, status_type)| (id, name, status_type, "#888888"));
    let rows: Vec<Value> = own
        .chain(non_ticket)
        .zip(1..)
        .map(|((id, name, status_type, color), sequence)| {
            json!({
                "id": id, "guid": guid(database, id.into()), "name": name, "shortname": name, "type": status_type,
                "sequence": sequence * 10, "colour": color, "slaaction": 0, "showonquickchange": true,
            })
        })
        .collect();
    ApiResponse::json(200, Value::from(rows).to_string())
}

/// Inactive types are included with `showinactive=true` and `showall=true` (halo-api.md §4.2).
pub(crate) fn ticket_types(database: &HaloDatabase, query: &Query) -> ApiResponse {
    let include_inactive = query.flag("showall") && query.flag("showinactive");
    let rows: Vec<Value> = TICKET_TYPES
        .iter()
        .filter(|ticket_type| ticket_type.active || include_inactive)
        .zip(1..)
        .map(|(ticket_type, sequence)| {
            json!({
                "id": ticket_type.id, "guid": guid(database, 1_000 + i64::from(ticket_type.id)), "name": database.type_name(ticket_type),
                "use": "tickets", "sequence": sequence, "group_id": 0, "group_name": "",
                "jira_issue_type": "", "cancreate": true, "agentscanselect": true,
                "itilrequesttype": ticket_type.itil, "allowattachments": true, "copyattachmentstochild": false,
                "is_sprint": false, "enduserscanselect": true, "anonymouscanselect": true,
                "visible": ticket_type.active,
            })
        })
        .collect();
    ApiResponse::json(200, Value::from(rows).to_string())
}

pub(crate) fn guid(database: &HaloDatabase, number: i64) -> Value {
    let mut rng = SeededRng::for_ticket(database.seed ^ 0x601D, number);
    let mut text = Vec::new();
    json::guid(&mut text, rng.next(), rng.next());
    serde_json::from_slice(&text).unwrap_or_default()
}
