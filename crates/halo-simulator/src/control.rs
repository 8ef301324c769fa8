//! Control endpoints under `/_sim`, to control a simulator in another process with `curl`.
//!
//! They are not part of Halo: no token, log, faults or rate limit apply. Parameters are in the query; a fault
//! specification or a raw row is in the body, which avoids quoting.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::endpoint::ApiEndpoint;
use crate::faults::ServerFault;
use crate::knobs::Knobs;
use crate::message::{ApiRequest, ApiResponse};
use crate::query::{InvalidParameter, Query};
use crate::reference_key::ReferenceKey;
use crate::replay::ReplayedResponse;
use crate::row_defect::RowDefect;
use crate::server::Server;
use crate::ticket::Edit;

const PREFIX: &str = "/_sim";

/// The list of endpoints, as returned by `GET /_sim`.
pub(crate) const HELP: &str = "\
GET  /_sim/ids                               ids of the tickets in the plain list
GET  /_sim/row?id=N                          the list row of a ticket
GET  /_sim/log[?last=N]                      counts and the last N requests (default 50)
POST /_sim/log                               clear the log
POST /_sim/create?count=N[&visible_in=S]     create tickets; they are visible after S seconds
POST /_sim/edit?count=N                      edit some tickets
POST /_sim/edit?id=N[&summary=T][&details=T][&status=N][&type=N][&agent=N][&field=N&value=T][&visible_in=S]
POST /_sim/property?of=E&name=T[&id=N] (JSON)  add a property to the rows of an endpoint (list, ticket, agent, status, …), or
                                             change it; no JSON drops it; undo with property?of=E&name=T[&id=N]&reset=true
POST /_sim/delete?id=N | ?count=N            delete tickets; undo with restore?id=N
POST /_sim/merge?id=N&into=N                 merge a ticket; undo with unmerge?id=N
POST /_sim/recount?id=N                      recalculate the SLA
POST /_sim/hide?ids=N,N | ?count=N           hide tickets from the agent; undo with reveal?ids=N,N | ?count=N
POST /_sim/defect?id=N        (body: words)  serve the ticket's row with defects; no words repair it
POST /_sim/rename?status=N&name=T            rename a status; type=N renames a ticket type; other OBJECTs: see below
POST /_sim/add?OBJECT&name=T                 add OBJECT: agent=N, team=N, priority=N&sla=N, sla=N, category=N, client=N, site=N or user=N
POST /_sim/remove?OBJECT                     remove OBJECT from its list; tickets still name it
POST /_sim/disable?OBJECT                    disable OBJECT; undo with enable?OBJECT
POST /_sim/define?field=N&name=T[&label=T]   define a custom field
POST /_sim/backup                            back up all data
POST /_sim/rollback                          restore the backup
POST /_sim/raw?id=N           (body: text)   serve this text as the ticket's list row
GET  /_sim/knobs                             show the knobs and their values
POST /_sim/knobs?NAME=VALUE                  set knobs
POST /_sim/fault              (body: spec)   inject a fault
POST /_sim/heal                              remove all faults and replayed responses
POST /_sim/replay?path=P[&status=N]  (body)  serve this body to requests for a path
POST /_sim/revoke                            revoke all tokens
POST /_sim/clock?offset=SECONDS              set the offset of the server's clock
";

pub(crate) fn is_control(path: &str) -> bool {
    path == PREFIX || path.starts_with("/_sim/")
}

pub(crate) fn respond(server: &mut Server, request: &ApiRequest, now: DateTime<Utc>) -> ApiResponse {
    let query = Query::parse(request.query.as_bytes());
    let action = request.path.strip_prefix(PREFIX).unwrap_or("").trim_matches('/');
    let body = String::from_utf8_lossy(&request.body);
    let done = match request.method.as_str() {
        "GET" => handle_get(server, action, &query, now),
        "POST" => handle_post(server, action, &query, &body, now),
        _ => Ok(None),
    };
    match done {
        Ok(Some(Value::String(text))) => ApiResponse::plain(200, text),
        Ok(Some(value)) => ApiResponse::json(200, format!("{value:#}\n")),
        Ok(None) => ApiResponse::plain(404, HELP),
        Err(InvalidParameter(message)) => ApiResponse::plain(400, format!("{message}\n")),
    }
}

fn handle_get(
    server: &mut Server,
    action: &str,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Option<Value>, InvalidParameter> {
    Ok(Some(match action {
        "" => json!(HELP),
        "ids" => json!(server.ids()),
        "row" => json!(server.row(required_number(query, "id")?, now)),
        "log" => log(server, query.number("last")?.unwrap_or(50)),
        "knobs" => knobs(server),
        _ => return Ok(None),
    }))
}

fn handle_post(
    server: &mut Server,
    action: &str,
    query: &Query,
    body: &str,
    now: DateTime<Utc>,
) -> Result<Option<Value>, InvalidParameter> {
    Ok(Some(match action {
        "create" => match visible_in(query)? {
            None => json!(server.create(query.number("count")?.unwrap_or(1), now)),
            Some(delay) => {
                let count = query.number("count")?.unwrap_or(1);
                confirm(|| server.create_visible_later(count, delay, now))
            }
        },
        "property" => property(server, query, body)?,
        "edit" => json!(edit(server, query, now)?),
        "delete" => json!(for_each_ticket(server, query, |server, id| server.delete(id, now))?),
        "restore" => json!(for_each_ticket(server, query, |server, id| server.restore(id, now))?),
        "unmerge" => json!(for_each_ticket(server, query, |server, id| server.unmerge(id, now))?),
        "recount" => json!(for_each_ticket(server, query, |server, id| server.recount_sla(id, now))?),
        "hide" => json!(for_each_ticket(server, query, |server, id| server.hide(&[id]))?),
        "reveal" => json!(reveal(server, query)?),
        "merge" => {
            let into = required_number(query, "into")?;
            json!(for_each_ticket(server, query, |server, id| server.merge(id, into, now))?)
        }
        "raw" => json!(for_each_ticket(server, query, |server, id| server.set_raw_row(id, body.to_owned()))?),
        "defect" => {
            let defects = body.split_whitespace().map(str::parse::<RowDefect>);
            let defects: Vec<_> =
                defects.collect::<Result<_, _>>().map_err(|error| InvalidParameter(error.to_string()))?;
            json!(for_each_ticket(server, query, |server, id| server.set_row_defects(id, defects.clone()))?)
        }
        "replay" => {
            let path = query.text("path").filter(|path| path.starts_with('/'));
            let path = path.ok_or_else(|| InvalidParameter("the parameter `path` is missing".to_owned()))?;
            let status = query.number("status")?.unwrap_or(200);
            if !(200..=599).contains(&status) {
                return Err(InvalidParameter("the parameter `status` must be 200 to 599".to_owned()));
            }
            let response = ReplayedResponse { path: path.to_owned(), status, body: body.as_bytes().to_vec() };
            confirm(|| server.replay(response))
        }
        "rename" => rename(server, query)?,
        "add" => {
            let (key, name) = (required_reference_key(query)?, required_name(query)?);
            confirm(|| server.add_reference(key, name))
        }
        "remove" => {
            let key = required_reference_key(query)?;
            confirm(|| server.remove_reference(key))
        }
        "disable" | "enable" => {
            let key = required_reference_key(query)?;
            confirm(|| server.set_reference_inactive(key, action == "disable"))
        }
        "define" => {
            let (id, name) = (required_number(query, "field")?, required_name(query)?);
            server.define_field(id, name, query.text("label").unwrap_or(name));
            json!("ok\n")
        }
        "backup" => confirm(|| server.back_up()),
        "rollback" => confirm(|| server.restore_backup()),
        "knobs" => {
            for (name, value) in query.pairs() {
                server
                    .knobs()
                    .set(&format!("{name}={value}"))
                    .map_err(|error| InvalidParameter(error.to_string()))?;
            }
            knobs(server)
        }
        "fault" => {
            for spec in body.split_whitespace() {
                server.inject(ServerFault::parse(spec).map_err(|error| InvalidParameter(error.to_string()))?);
            }
            json!("ok\n")
        }
        "log" => confirm(|| server.log_mut().reset()),
        "heal" => confirm(|| {
            server.clear_faults();
            server.clear_replays();
        }),
        "revoke" => confirm(|| server.revoke_tokens()),
        "clock" => {
            let offset = TimeDelta::try_seconds(required_number(query, "offset")?);
            let offset = offset
                .ok_or_else(|| InvalidParameter("the parameter `offset` is out of range".to_owned()))?;
            confirm(|| server.set_clock_offset(offset))
        }
        _ => return Ok(None),
    }))
}

fn confirm(action: impl FnOnce()) -> Value {
    action();
    json!("ok\n")
}

fn required_number(query: &Query, name: &str) -> Result<i64, InvalidParameter> {
    query.number(name)?.ok_or_else(|| InvalidParameter(format!("the parameter `{name}` is missing")))
}

/// Applies `action` to the tickets in `id` or `ids`, or to `count` random ones, and returns their ids.
fn for_each_ticket(
    server: &mut Server,
    query: &Query,
    mut action: impl FnMut(&mut Server, i64),
) -> Result<Vec<i64>, InvalidParameter> {
    let named = query.integers("ids")?.or(query.integers("id")?);
    let ids = match named {
        Some(ids) => ids,
        None => match query.number("count")? {
            Some(count) => server.pick_listed(count),
            None => {
                return Err(InvalidParameter(
                    "one of the parameters `id`, `ids` and `count` is required".to_owned(),
                ));
            }
        },
    };
    for &id in &ids {
        action(server, id);
    }
    Ok(ids)
}

/// Reveals the named tickets, or `count` hidden ones: those that are listed have nothing to reveal.
fn reveal(server: &mut Server, query: &Query) -> Result<Vec<i64>, InvalidParameter> {
    let is_named = query.integers("ids")?.or(query.integers("id")?).is_some();
    match query.number("count")? {
        Some(count) if !is_named => Ok(server.reveal_some(count)),
        _ => for_each_ticket(server, query, |server, id| server.unhide(&[id])),
    }
}

fn edit(server: &mut Server, query: &Query, now: DateTime<Utc>) -> Result<Vec<i64>, InvalidParameter> {
    let Some(id) = query.number("id")? else {
        return Ok(server.edit_some(query.number("count")?.unwrap_or(1), now));
    };
    let mut edits = Vec::new();
    edits.extend(query.text("summary").map(|text| Edit::Summary(text.to_owned())));
    edits.extend(query.text("details").map(|text| Edit::Details(text.to_owned())));
    edits.extend(query.number("status")?.map(Edit::Status));
    edits.extend(query.number("type")?.map(Edit::TicketType));
    edits.extend(query.number("agent")?.map(Edit::Agent));
    if let (Some(field), Some(text)) = (query.number("field")?, query.text("value")) {
        let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        edits.push(Edit::CustomField { field, value, display: text.to_owned() });
    }
    if edits.is_empty() {
        edits.push(Edit::Touch);
    }
    let delay = visible_in(query)?;
    for edit in edits {
        match delay {
            None => server.edit(id, edit, now),
            Some(delay) => server.edit_visible_later(id, edit, delay, now),
        }
    }
    Ok(vec![id])
}

/// After which time a change is visible; at once without the parameter.
fn visible_in(query: &Query) -> Result<Option<TimeDelta>, InvalidParameter> {
    let seconds = query.number::<i64>("visible_in")?;
    let span = |seconds| TimeDelta::try_seconds(seconds).filter(|span| TimeDelta::zero() <= *span);
    let out_of_range = || InvalidParameter("the parameter `visible_in` is out of range".to_owned());
    seconds.map(|seconds| span(seconds).ok_or_else(out_of_range)).transpose()
}

/// Adds, changes, drops or resets a property of the rows of an endpoint.
fn property(server: &mut Server, query: &Query, body: &str) -> Result<Value, InvalidParameter> {
    let (of, name, id) = (query.text("of").unwrap_or_default(), required_name(query)?, query.number("id")?);
    let endpoint = ApiEndpoint::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(of));
    let Some((endpoint, _)) = endpoint else {
        return Err(InvalidParameter(format!("the parameter `of` must be an endpoint, not `{of}`")));
    };
    if query.flag("reset") {
        return Ok(confirm(|| server.reset_field(*endpoint, name, id)));
    }
    if body.trim().is_empty() {
        return Ok(confirm(|| server.drop_field(*endpoint, name, id)));
    }
    let value = serde_json::from_str(body).map_err(|error| InvalidParameter(format!("no JSON: {error}")))?;
    Ok(confirm(|| server.set_field(*endpoint, name, id, &value)))
}

fn rename(server: &mut Server, query: &Query) -> Result<Value, InvalidParameter> {
    let name = required_name(query)?;
    match (query.number("status")?, query.number("type")?) {
        (Some(id), _) => server.rename_status(id, name),
        (None, Some(id)) => server.rename_ticket_type(id, name),
        (None, None) => {
            let key = reference_key(query)?.ok_or_else(|| missing_key("`status`, `type`, "))?;
            server.rename_reference(key, name);
        }
    }
    Ok(json!("ok\n"))
}

fn required_name(query: &Query) -> Result<&str, InvalidParameter> {
    query.text("name").ok_or_else(|| InvalidParameter("the parameter `name` is missing".to_owned()))
}

fn reference_key(query: &Query) -> Result<Option<ReferenceKey>, InvalidParameter> {
    if let Some(priority) = query.number("priority")? {
        return Ok(Some(ReferenceKey::Priority { sla: required_number(query, "sla")?, priority }));
    }
    let ids = ["agent", "team", "sla", "category", "client", "site", "user"]
        .map(|kind| query.number(kind).map(|id| id.map(|id| (kind, id))));
    for found in ids {
        let Some((kind, id)) = found? else { continue };
        return Ok(Some(match kind {
            "agent" => ReferenceKey::Agent(id),
            "team" => ReferenceKey::Team(id),
            "sla" => ReferenceKey::Sla(id),
            "category" => ReferenceKey::Category(id),
            "client" => ReferenceKey::Client(id),
            "site" => ReferenceKey::Site(id),
            _ => ReferenceKey::User(id),
        }));
    }
    Ok(None)
}

fn required_reference_key(query: &Query) -> Result<ReferenceKey, InvalidParameter> {
    reference_key(query)?.ok_or_else(|| missing_key(""))
}

fn missing_key(others: &str) -> InvalidParameter {
    InvalidParameter(format!(
        "one of the parameters {others}`agent`, `team`, `priority`, `sla`, `category`, `client`, `site` and `user` \
         is required"
    ))
}

fn knobs(server: &mut Server) -> Value {
    let values = server.knobs();
    let pairs = Knobs::table().iter().map(|knob| (knob.name.to_owned(), json!(knob.value(values))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn log(server: &Server, last: usize) -> Value {
    let log = server.log();
    let counts =
        ApiEndpoint::NAMES.iter().map(|(endpoint, name)| ((*name).to_owned(), json!(log.count(*endpoint))));
    let last: Vec<Value> = log
        .entries()
        .rev()
        .take(last)
        .map(|entry| {
            json!({ "at": entry.at.to_rfc3339(), "method": entry.method, "path": entry.path, "query": entry.query, "status": entry.status })
        })
        .collect();
    json!({
        "total": log.total(), "peak_in_flight": log.peak_in_flight(),
        "counts": counts.collect::<Map<_, _>>(), "last": last,
    })
}
