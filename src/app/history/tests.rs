use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::json;

use super::example::{
    ExampleStore, NOW, TICKET, at, custom_fields, life_with_custom_fields, normal_life, returned_life, row,
    unlisted_life, with,
};
use super::*;
use crate::store::{CustomFieldsState, RemovalReason, TxEnd};

/// The lines of an event as text.
fn lines(event: &LifeEvent) -> Vec<String> {
    let text = |value: &ShownValue| match value {
        ShownValue::Nothing => "none".to_owned(),
        ShownValue::Name(text) | ShownValue::Text(text) | ShownValue::Number(text) => text.clone(),
        ShownValue::Unnamed(noun, number) => format!("{noun} {number}"),
        ShownValue::Time(at) => at.to_second(),
        ShownValue::Answer(answer) => answer.to_string(),
    };
    let line = |line: &EventLine| match &line.old {
        Some(old) => format!("{}: {} → {}", line.label, text(old), text(&line.new)),
        None => format!("{}: {}", line.label, text(&line.new)),
    };
    event.lines.iter().map(line).collect()
}

fn kinds(history: &TicketHistory) -> Vec<EventKind> {
    history.events.iter().map(|event| event.kind).collect()
}

#[test]
fn twins_are_one_line_and_priorities_have_the_name_of_their_sla() {
    let history = normal_life().history(NOW);
    let [_, assigned, worked_on, touched, renamed, closed, reopened] = history.events.as_slice() else {
        panic!("{:?}", kinds(&history))
    };
    assert_eq!(
        lines(assigned),
        ["Status: New → In Progress", "Agent: nobody → Ada Byron", "Team: 1st Line → 2nd Line"]
    );
    assert_eq!(
        lines(worked_on)[..3],
        [
            "Priority: Medium → Urgent",
            "SLA: Standard → Gold",
            "User: Jane Doe (jane@acme.example) → John Roe (jane@acme.example)"
        ]
    );
    assert_eq!((touched.kind, lines(touched).len()), (EventKind::Touched, 0));
    assert_eq!(lines(renamed), ["Client: Acme Ltd → Acme Limited"]);
    assert_eq!((closed.kind, reopened.kind), (EventKind::Closed, EventKind::Reopened));
    assert_eq!(
        lines(reopened),
        [
            "Status: Closed → In Progress",
            "Agent: Ada Byron → agent 57",
            "Closed at: 2026-11-20T23:59:59Z → none"
        ]
    );
    assert_eq!(history.is_open, Some(true));
}

#[test]
fn priority_has_another_name_where_only_the_sla_changed() {
    let mut example = ExampleStore::new();
    example.list(true, "2026-11-20T08:10:03.000Z", &with(row(), json!({ "priority_id": 2 })));
    let gold = with(row(), json!({ "priority_id": 2, "sla_id": 2, "last_update": "2026-11-20T09:00:00" }));
    example.list(false, "2026-11-20T09:00:30.000Z", &gold);
    let history = example.history(NOW);
    assert_eq!(lines(&history.events[1]), ["Priority: High → Urgent", "SLA: Standard → Gold"]);
}

#[test]
fn server_time_is_known_only_where_the_change_moved_the_last_update() {
    let history = normal_life().history(NOW);
    let times = history.events.iter().map(|event| event.server_time.map(Timestamp::to_second));
    let expected = [
        None,
        Some("2026-11-20T08:12:30Z"),
        Some("2026-11-20T09:00:00Z"),
        Some("2026-11-20T09:30:00Z"),
        None,
        Some("2026-11-20T23:59:59Z"),
        Some("2026-11-22T10:07:12Z"),
    ];
    assert_eq!(times.collect::<Vec<_>>(), expected.map(|it| it.map(str::to_owned)));
    let first = &history.events[0];
    assert_eq!(
        (first.not_before, first.run.run_id, first.run.scans.as_slice()),
        (None, 1, &["full".to_owned()][..])
    );
    let renamed = &history.events[4];
    assert_eq!(renamed.not_before, Some(at("2026-11-20T09:30:05.000Z")));
}

#[test]
fn repairs_renames_and_restored_servers_are_told_apart() {
    let history = returned_life().history(NOW);
    assert_eq!(
        kinds(&history),
        [
            EventKind::FirstSeen,
            EventKind::Removed,
            EventKind::Returned,
            EventKind::StatusRenamed,
            EventKind::Repaired,
            EventKind::Updated,
            EventKind::WentBack
        ]
    );
    assert_eq!(history.first_seen_at, Some(at("2026-11-20T08:10:03.000Z")), "in its first life");
    assert_eq!(history.events[1].reason.as_deref(), Some("out_of_scope"));
    assert_eq!(history.events[6].server_time, None, "an earlier last update is not when it went back");
}

#[test]
fn merge_names_its_target_and_what_waits_is_known() {
    let mut example = ExampleStore::new();
    example.list(true, "2026-11-20T08:10:03.000Z", &row());
    example.remove("2026-11-21T03:00:00.000Z", RemovalReason::Merged, Some(815));
    let history = example.history(NOW);
    assert!(
        matches!(history.presence, Presence::Removed { merged_into: Some(815), .. }),
        "{:?}",
        history.presence
    );
    assert_eq!(
        example.row_at(at("2026-11-22T00:00:00.000Z")).unwrap_err().to_string(),
        "ticket 4711 was not stored here at 2026-11-22T00:00:00.000Z: it was removed at 2026-11-21T03:00:00.000Z, \
         because it was merged into ticket 815"
    );
    let before = example.row_at(at("2026-11-20T12:00:00.000Z")).unwrap();
    assert_eq!(before.unknown, ["MERGED_INTO_ID"], "the last row has what it became by the merge");
    let history = unlisted_life().history(NOW);
    assert_eq!((history.pending.len(), history.rejects.len(), history.unlisted.is_some()), (1, 2, true));
}

#[test]
fn custom_fields_have_their_labels() {
    let history = life_with_custom_fields().history(NOW);
    let updated: Vec<_> = history.events[1..].iter().map(lines).collect();
    assert_eq!(
        updated,
        [vec!["Urgency: none → 2", "Service: E-mail → Telephone"], vec!["Status (field 121): a → b"]]
    );
}

fn code(result: Result<TicketRowAt, AppError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn row_at_a_time_is_that_of_the_newest_change_until_then() {
    let example = normal_life();
    for (time, status, until) in [
        ("2026-11-20T08:10:03.512Z", "New", Some(2)),
        ("2026-11-20T08:15:03.099Z", "New", Some(2)),
        ("2026-11-20T08:15:03.100Z", "In Progress", Some(3)),
        ("2026-11-21T12:00:00.000Z", "Closed", Some(7)),
        ("2026-11-23T00:00:00.000Z", "In Progress", None),
    ] {
        let row = example.row_at(at(time)).unwrap();
        assert_eq!((row.version.text("STATUS"), row.until.map(|it| it.seq)), (Some(status), until), "{time}");
    }
    assert_eq!(code(example.row_at(at("2026-11-20T08:10:03.511Z"))), "history_not_yet_seen");
    assert_eq!(code(example.row_at(at("2027-01-01T00:00:00.001Z"))), "history_future");
}

#[test]
fn row_of_a_removed_ticket_is_its_last_one_and_none_while_it_was_gone() {
    let example = returned_life();
    let name = |time| example.row_at(at(time)).unwrap().version.text("NAME").map(ToOwned::to_owned);
    assert_eq!(name("2026-11-20T12:00:00.000Z").as_deref(), Some("The printer does not print"));
    assert_eq!(code(example.row_at(at("2026-11-21T04:00:00.000Z"))), "history_removed");
    // The repair undid an edit of that name: it had been this all the time.
    assert_eq!(name("2026-11-21T05:30:00.000Z").as_deref(), Some("The printer prints"));
}

#[test]
fn no_row_is_shown_that_another_program_edited() {
    let mut example = normal_life();
    example.mark_edited();
    assert_eq!(code(example.row_at(at("2026-11-21T12:00:00.000Z"))), "history_row_unknown");
}

#[test]
fn unknown_ticket_says_what_is_known() {
    let example = ExampleStore::new();
    let error = example.store.read(|tx| TicketHistory::read(tx, 8, at(NOW))).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("history_unknown_ticket", "ticket 8 is not stored here")
    );
}

/// Something that happens to the ticket.
#[derive(Clone, Debug)]
enum Happening {
    /// It is listed: minutes since its last update, and which of some values it has.
    Listed { minutes: i64, summary: u8, status: u8, agent: u8, closed: bool, field: u8, score: u8 },
    /// It is removed.
    Removed(RemovalReason, Option<i64>),
    /// A status has another name.
    StatusRenamed(u8, u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    let listed = (0..3_i64, 0..3_u8, 0..3_u8, 0..3_u8, any::<bool>(), 0..4_u8, 0..9_u8).prop_map(
        |(minutes, summary, status, agent, closed, field, score)| Happening::Listed {
            minutes,
            summary,
            status,
            agent,
            closed,
            field,
            score,
        },
    );
    let reasons = prop_oneof![
        Just((RemovalReason::Vanished, None)),
        Just((RemovalReason::Deleted, None)),
        Just((RemovalReason::Merged, Some(9))),
    ];
    prop_oneof![
        8 => listed,
        2 => reasons.prop_map(|(reason, into)| Happening::Removed(reason, into)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(status, name)| Happening::StatusRenamed(status, name)),
    ]
}

impl Happening {
    fn apply(&self, example: &mut ExampleStore, last_update: &mut Timestamp, now: Timestamp) {
        match self {
            Happening::Listed { minutes, summary, status, agent, closed, field, score } => {
                *last_update = last_update.plus(TimeDelta::minutes(*minutes));
                let changes = json!({
                    "summary": format!("summary {summary}"), "status_id": status, "agent_id": agent, "onhold": closed,
                    "dateclosed": closed.then_some("2026-11-20T09:00:00"), "last_update": last_update.to_string(),
                    "_open_search_score": f64::from(*score) / 2.0, "cost": f64::from(*score),
                });
                let elements = match field {
                    0 => json!([]),
                    field => {
                        json!([{ "id": field % 2 + 1, "label": "a", "value": format!("value {field}") }])
                    }
                };
                let fields = CustomFieldsState::Provided(custom_fields(&elements));
                example.list_with(true, now, &with(row(), changes), Some(&fields));
            }
            Happening::Removed(reason, into) => example.remove(&now.to_string(), *reason, *into),
            Happening::StatusRenamed(status, name) => {
                let statuses = json!([{ "id": status, "name": format!("name {name}") }]);
                example.list_names("statuses", &statuses, now);
            }
        }
    }
}

fn stored_version(example: &ExampleStore) -> Option<TicketVersion> {
    let records = example.store.read(|tx| tx.ticket_records(TICKET)).unwrap();
    Some(TicketVersion::of_row(records.row.as_deref()?, &records.custom_fields))
}

/// The row at a time against the one that was stored then; `None` where it is not known any more.
fn agrees(example: &ExampleStore, time: Timestamp, stored: Option<&TicketVersion>) -> Option<bool> {
    match (example.row_at(time), stored) {
        (Ok(row), Some(stored)) => {
            let mut stored = stored.clone();
            row.unknown.iter().for_each(|name| stored.set(name, serde_json::Value::Null));
            Some(row.version == stored)
        }
        (Err(AppError::History(HistoryError::AgedOut { .. })), _) => None,
        (Err(AppError::History(error)), None) => Some(matches!(
            error,
            HistoryError::NotYetSeen { .. }
                | HistoryError::Removed { .. }
                | HistoryError::UnknownTicket { .. }
        )),
        _ => Some(false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// At each time at which something was recorded, and between them, the row is the one that was stored; after records
    /// have aged out it is that or none, and it is known from the oldest record on that is kept.
    #[test]
    fn row_at_a_time_is_the_row_that_was_stored_then(
        happenings in prop::collection::vec((happening(), 0..3_i64), 1..24),
        pruned in 0..24_usize,
    ) {
        let mut example = ExampleStore::new();
        let (mut now, mut last_update) = (at("2026-11-20T08:00:00.000Z"), at("2026-11-20T07:00:00.000Z"));
        let mut stored = BTreeMap::from([(now, None)]);
        for (happening, seconds) in &happenings {
            now = now.plus(TimeDelta::seconds(*seconds));
            happening.apply(&mut example, &mut last_update, now);
            stored.insert(now, stored_version(&example));
        }
        for (time, version) in &stored {
            for time in [*time, time.plus(TimeDelta::milliseconds(1))] {
                prop_assert_eq!(agrees(&example, time, version.as_ref()), Some(true), "{}", time);
            }
        }
        let records = example.store.read(|tx| tx.ticket_records(TICKET)).unwrap();
        let Some(oldest) = records.changes.get(pruned).map(|change| change.observed_at) else { return Ok(()) };
        example.store.write(TxEnd::Commit, |tx| tx.prune_changes(oldest)).unwrap();
        for (time, version) in &stored {
            let agrees = agrees(&example, *time, version.as_ref());
            prop_assert_ne!(agrees, Some(false), "{}", time);
            if oldest <= *time {
                prop_assert_eq!(agrees, Some(true), "{}", time);
            }
        }
    }
}
