//! The documents of `history --json`: the life of a ticket, or its row at a time.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::app::{
    ChangeMark, ChangedAttribute, EventKind, LifeEvent, PendingOfTicket, Presence, RejectOfTicket,
    RunOfChange, TicketHistory, TicketNames, TicketRowAt, TicketVersion, UnlistedStatus,
};
use crate::ticket::attribute::{EXTRA_PREFIX, EXTRAS};
use crate::ticket::{ATTRIBUTES, Timestamp};

/// The attributes whose numbers have names.
const NAMED: [&str; 9] = [
    "AGENT_ID",
    "CLIENT_ID",
    "PRIORITY_ID",
    "SITE_ID",
    "SLA_ID",
    "STATUS_ID",
    "TEAM_ID",
    "TICKET_TYPE_ID",
    "USER_ID",
];

/// The life of a ticket, as `docs/history.schema.json` describes it.
#[derive(Serialize)]
pub(super) struct HistoryJson<'a> {
    ticket: i64,
    at: Option<Timestamp>,
    presence: &'static str,
    open: Option<bool>,
    removal: Option<RemovalJson<'a>>,
    erased: Option<ErasedJson<'a>>,
    row: Option<RowJson>,
    first_seen_at: Option<Timestamp>,
    edited: bool,
    pending_fetches: &'a [PendingOfTicket],
    unlisted: Option<UnlistedTicketJson>,
    rejects: Vec<RejectJson<'a>>,
    beginning_kept: bool,
    changes: Vec<ChangeJson<'a>>,
}

/// The row of a ticket at a time.
#[derive(Serialize)]
pub(super) struct RowAtJson<'a> {
    ticket: i64,
    at: Timestamp,
    open: Option<bool>,
    since: Option<ChangeMark>,
    until: Option<ChangeMark>,
    row: RowJson,
    unknown: &'a [String],
}

#[derive(Serialize)]
struct RemovalJson<'a> {
    reason: &'a str,
    not_before: Option<Timestamp>,
    observed_at: Timestamp,
    merged_into: Option<i64>,
}

#[derive(Serialize)]
struct ErasedJson<'a> {
    at: Timestamp,
    reason: &'a str,
}

#[derive(Serialize)]
struct UnlistedTicketJson {
    status: UnlistedStatus,
    first_missed_at: Timestamp,
    ask_again_at: Timestamp,
}

#[derive(Serialize)]
struct RejectJson<'a> {
    attribute: &'a str,
    label: String,
    reason: Option<&'a str>,
    raw: Option<&'a str>,
    seen_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    seq: i64,
    op: &'static str,
    reason: Option<&'a str>,
    event: EventKind,
    not_before: Option<Timestamp>,
    observed_at: Timestamp,
    server_time: Option<Timestamp>,
    source_last_modified: Option<Timestamp>,
    run: &'a RunOfChange,
    changed: &'a [ChangedAttribute],
    last_row: Option<RowJson>,
}

/// A row with its extras, its custom fields, and names for its numbers.
#[derive(Serialize)]
struct RowJson {
    attributes: Map<String, Json>,
    extra: Map<String, Json>,
    custom_fields: Vec<Json>,
    names: Map<String, Json>,
}

impl RowJson {
    fn new(version: &TicketVersion, names: &TicketNames) -> RowJson {
        let attributes = ATTRIBUTES.iter().map(|it| (it.name.to_owned(), version.get(it.name).clone()));
        let extra = EXTRAS.iter().map(|it| {
            let column = it.name.trim_start_matches(EXTRA_PREFIX);
            (column.to_owned(), version.get(it.name).clone())
        });
        let texts = NAMED.map(|name| {
            let text = names.name_of(name, version.get(name), version);
            (name.to_owned(), text.map_or(Json::Null, Json::from))
        });
        RowJson {
            attributes: attributes.collect(),
            extra: extra.collect(),
            custom_fields: version.fields_to_json(),
            names: texts.into_iter().collect(),
        }
    }
}

impl<'a> HistoryJson<'a> {
    pub(super) fn new(history: &'a TicketHistory) -> HistoryJson<'a> {
        let (presence, removal) = match &history.presence {
            Presence::Stored => ("stored", None),
            Presence::RowLost => ("row_lost", None),
            Presence::Erased { .. } => ("erased", None),
            Presence::Removed { reason, observed_at, not_before, merged_into } => {
                let (observed_at, not_before, merged_into) = (*observed_at, *not_before, *merged_into);
                ("removed", Some(RemovalJson { reason, not_before, observed_at, merged_into }))
            }
        };
        let erased = match &history.presence {
            Presence::Erased { at, reason } => Some(ErasedJson { at: *at, reason }),
            _ => None,
        };
        let names = &history.names;
        HistoryJson {
            ticket: history.id,
            at: None,
            presence,
            open: history.is_open,
            removal,
            erased,
            row: history.version.as_ref().map(|version| RowJson::new(version, names)),
            first_seen_at: history.first_seen_at,
            edited: history.is_edited,
            pending_fetches: &history.pending,
            unlisted: history.unlisted.as_ref().map(|it| UnlistedTicketJson {
                status: it.status,
                first_missed_at: it.first_missed_at,
                ask_again_at: it.ask_again_at,
            }),
            rejects: history.rejects.iter().map(|it| reject_json(it, names)).collect(),
            beginning_kept: !history.has_lost_beginning(),
            changes: history.events.iter().map(|event| change_json(event, names)).collect(),
        }
    }
}

fn reject_json<'a>(reject: &'a RejectOfTicket, names: &TicketNames) -> RejectJson<'a> {
    let details = reject.details.as_ref();
    RejectJson {
        attribute: &reject.attribute,
        label: names.label_of(&reject.attribute),
        reason: details.map(|it| it.reason.as_str()),
        raw: details.and_then(|it| it.raw.as_deref()),
        seen_at: details.map(|it| it.seen_at),
    }
}

fn change_json<'a>(event: &'a LifeEvent, names: &TicketNames) -> ChangeJson<'a> {
    ChangeJson {
        seq: event.seq,
        op: event.op.as_str(),
        reason: event.reason.as_deref(),
        event: event.kind,
        not_before: event.not_before,
        observed_at: event.observed_at,
        server_time: event.server_time,
        source_last_modified: event.source_last_modified,
        run: &event.run,
        changed: &event.changed,
        last_row: event.last_row.as_ref().map(|version| RowJson::new(version, names)),
    }
}

impl<'a> RowAtJson<'a> {
    pub(super) fn new(row: &'a TicketRowAt) -> RowAtJson<'a> {
        RowAtJson {
            ticket: row.id,
            at: row.at,
            open: row.is_open,
            since: row.since,
            until: row.until,
            row: RowJson::new(&row.version, &row.names),
            unknown: &row.unknown,
        }
    }
}
