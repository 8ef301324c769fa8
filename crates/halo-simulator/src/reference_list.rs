//! The lists of reference objects: agents, teams, priorities, SLAs, categories, clients, sites and users
//! (halo-objects.md §1 to §3).
//!
//! The first five are bare arrays. Clients, sites and users are in an envelope and paged as tickets are: only with
//! both `pageinate` and `page_no`.

use crate::database::HaloDatabase;
use crate::directory::{self, API_AGENT, ReferenceRow, SALES_TEAM, UserIds};
use crate::effect::ListFault;
use crate::endpoint::ApiEndpoint;
use crate::fixtures::UNASSIGNED;
use crate::knob_values::{AgentList, DisabledInList, ListEnvelope, ReferencePageCap};
use crate::knobs::Knobs;
use crate::message::ApiResponse;
use crate::query::{InvalidParameter, Query};
use crate::reference_key::ReferenceKey;
use crate::reference_object::ReferenceWriter;
use crate::row_defect;
use crate::row_range::RowRange;
use crate::timestamp::SqlDateTime;

/// Responds to a request for a list of reference objects.
pub(crate) fn respond(
    database: &HaloDatabase,
    user_ids: &mut UserIds,
    knobs: &Knobs,
    (endpoint, query): (ApiEndpoint, &Query),
    list_fault: &ListFault,
    now: SqlDateTime,
) -> Result<ApiResponse, InvalidParameter> {
    let mut rows = match endpoint {
        ApiEndpoint::Agent => directory::agents(database),
        ApiEndpoint::Team => directory::teams(database),
        ApiEndpoint::Priority => directory::priorities(database, knobs),
        ApiEndpoint::Sla => directory::slas(database),
        ApiEndpoint::Category => directory::categories(database),
        ApiEndpoint::Client => directory::clients(database),
        ApiEndpoint::Site => directory::sites(database),
        _ => directory::users(database, user_ids.get_or_compute(database)),
    };
    let client = query.number::<i64>("client_id")?;
    let sla = query.number::<i64>("slaid")?;
    rows.retain(|row| {
        is_listed(row, knobs, query)
            && match row.key {
                ReferenceKey::Site(id) => client.is_none_or(|it| it == directory::client_of_site(id)),
                ReferenceKey::User(id) => {
                    client.is_none_or(|it| it == directory::home_of_user(database, id).0)
                }
                ReferenceKey::Priority { sla: of, .. } => sla.is_none_or(|it| it == of),
                _ => true,
            }
    });
    let writer = ReferenceWriter { database, knobs, now, with_priorities: query.flag("showpriorities") };
    let Some(key) = array_key(endpoint, knobs, query) else {
        return Ok(ApiResponse::json(200, array(endpoint, &rows, 0, &writer, list_fault)));
    };
    let by_id = query.text("order").is_some_and(|order| order.eq_ignore_ascii_case("id"));
    if by_id && knobs.order_by_id.is_honored() {
        rows.sort_by_key(|row| row.key);
    } else {
        rows.sort_by(|a, b| (&a.name, a.key).cmp(&(&b.name, b.key)));
    }
    let range = RowRange::from_query(query, knobs, page_cap(knobs))?;
    // Agents are listed whole unless paging is requested.
    let is_whole = endpoint == ApiEndpoint::Agent && !range.is_paged();
    let (first, end) = if is_whole { (0, rows.len()) } else { range.bounds(rows.len(), knobs, list_fault) };
    let page = &rows[first..end];

    let mut body = b"{".to_vec();
    if let (RowRange::Page { number, size }, false) = (range, knobs.envelope == ListEnvelope::Bare) {
        body.extend_from_slice(format!("\"page_no\":{number},\"page_size\":{size},").as_bytes());
    }
    let count = if range.is_paged() { rows.len() } else { page.len() };
    list_fault.write_count(u64::try_from(count).unwrap_or(u64::MAX), &mut body);
    let (before, after) = if knobs.sidecar_arrays.is_on() { SIDECAR_ARRAYS } else { ("", "") };
    body.extend_from_slice(before.as_bytes());
    if list_fault.write_array_key(key, &mut body) {
        body.extend_from_slice(&array(endpoint, page, first, &writer, list_fault));
        body.push(b',');
    }
    body.extend_from_slice(after.as_bytes());
    // Every member ends with a comma.
    body.pop();
    body.push(b'}');
    Ok(ApiResponse::json(200, body))
}

/// Further arrays before and after the one with the objects.
const SIDECAR_ARRAYS: (&str, &str) =
    (r#""folders":[{"id":9001,"name":"Unfiled"},{"id":9002,"name":"Archive"}],"#, r#""views":[],"#);

fn page_cap(knobs: &Knobs) -> usize {
    match knobs.reference_page_cap {
        ReferencePageCap::Fifty => 50,
        ReferencePageCap::Hundred => 100,
        ReferencePageCap::Unlimited => usize::MAX,
    }
}

/// Returns the key of the array in the envelope; `None` for a bare array.
fn array_key(endpoint: ApiEndpoint, knobs: &Knobs, query: &Query) -> Option<&'static str> {
    let is_paged = || query.flag("pageinate") && query.text("page_no").is_some();
    match (endpoint, knobs.agent_list) {
        (ApiEndpoint::Client, _) => Some("clients"),
        (ApiEndpoint::Site, _) => Some("sites"),
        (ApiEndpoint::Users, _) => Some("users"),
        (ApiEndpoint::Agent, AgentList::Results) => Some("results"),
        (ApiEndpoint::Agent, AgentList::Paged) if is_paged() => Some("results"),
        _ => None,
    }
}

/// Returns whether a row is listed with the flags of this request. A hidden priority and a category are always.
fn is_listed(row: &ReferenceRow, knobs: &Knobs, query: &Query) -> bool {
    let is_denied = |name| query.text(name).is_some_and(|text: &str| text.eq_ignore_ascii_case("false"));
    let (wanted, active_denied) = match row.key {
        ReferenceKey::Agent(_) => (query.flag("includedisabled"), is_denied("includeenabled")),
        ReferenceKey::Team(_) => (query.flag("includedisabled") || query.flag("showall"), false),
        ReferenceKey::Client(_) | ReferenceKey::Site(_) | ReferenceKey::User(_) => {
            (query.flag("includeinactive"), is_denied("includeactive"))
        }
        _ => (true, false),
    };
    let can_be_listed = match (knobs.disabled_listed, row.key) {
        (DisabledInList::Asked, _) | (_, ReferenceKey::Priority { .. }) => wanted,
        (listed, _) => listed == DisabledInList::Always,
    };
    let by_state = if row.inactive { can_be_listed } else { !active_denied };
    by_state
        && match row.key {
            ReferenceKey::Agent(id) if id == i64::from(UNASSIGNED) => query.flag("includeunassigned"),
            ReferenceKey::Agent(API_AGENT) => query.flag("includeapiagents"),
            // Without flags, teams that are not for requests are left out (halo-objects.md §3.2).
            ReferenceKey::Team(SALES_TEAM) => query.flag("showall"),
            _ => true,
        }
}

/// Returns the rows as an array, the first of which has this place in the whole list.
fn array(
    endpoint: ApiEndpoint,
    rows: &[ReferenceRow],
    first: usize,
    writer: &ReferenceWriter<'_>,
    list_fault: &ListFault,
) -> Vec<u8> {
    let mut array = b"[".to_vec();
    let rows = if list_fault.no_rows { &[] } else { rows };
    for (place, row) in (first..).zip(rows) {
        if array.len() > 1 {
            array.push(b',');
        }
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let defects = list_fault.defects.iter().filter(|(places, _)| places.contains(place));
        let defects: Vec<_> = defects.map(|(_, defect)| defect.clone()).collect();
        let mut object = writer.to_json(row);
        writer.database.field_changes.apply(endpoint, &mut object);
        if !defects.is_empty() {
            // Nothing is generated in objects, which have neither `details` nor `customfields`.
            drop(row_defect::apply(&defects, &mut object));
        }
        array.extend_from_slice(&object);
    }
    array.push(b']');
    array
}
