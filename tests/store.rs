//! The store: what is written, what is recorded of it, and what a consumer is handed.
//!
//! Pages come as JSON through the parser, so that every test tells its story in the server's words.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use halosync::store::{
    CustomFieldsState, ObservedTicket, Removal, RemovalReason, Store, StoreError, StoreOptions, TxEnd,
    UpsertCounts,
};
use halosync::ticket::parse::{ParsedPage, ReferenceDetails, ReferenceItem};
use halosync::ticket::{ATTRIBUTES, AttributeValue, Op, Timestamp};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-22T12:00:00.000Z".parse().unwrap()
}

fn store() -> Store {
    Store::in_memory(now()).unwrap()
}

/// A version of a ticket: its id, the minute it was updated in, its summary.
fn version(id: i64, minute: Option<u32>, summary: &str) -> serde_json::Value {
    let last_update = minute.map(|minute| format!("2026-11-22T11:{minute:02}:00"));
    json!({ "id": id, "summary": summary, "status_id": 2, "last_update": last_update, "ticketage": 1.5 })
}

/// What a page shows, as the answer to request `request_no`.
fn sightings(request_no: i64, rows: &[serde_json::Value]) -> Vec<ObservedTicket> {
    let page = json!({ "record_count": rows.len(), "tickets": rows }).to_string();
    let tickets = ParsedPage::parse(page.as_bytes()).unwrap().tickets;
    let seen = tickets.into_iter().map(|mut ticket| {
        ticket.resolve_status_name(|_| Some("In Progress".into()));
        ObservedTicket {
            hash: ticket.hash(),
            ticket,
            custom_fields: CustomFieldsState::NotSynced,
            request_no,
        }
    });
    seen.collect()
}

fn apply(store: &mut Store, request_no: i64, rows: &[serde_json::Value]) -> UpsertCounts {
    let seen = sightings(request_no, rows);
    store.write(TxEnd::Commit, |writing| writing.upsert(&seen, 1, now())).unwrap()
}

/// The delta after `from`, by id: what happened, and the row at its end.
fn delta(store: &Store, from: i64) -> BTreeMap<i64, (Op, Vec<AttributeValue>)> {
    let mut rows = BTreeMap::new();
    store
        .read(|snapshot| {
            snapshot.delta(from, |row| {
                let cells: Vec<AttributeValue> =
                    row.cells.iter().map(|cell| AttributeValue::from(*cell)).collect();
                let AttributeValue::Integer(id) = cells[halosync::ticket::attribute::UID] else {
                    unreachable!()
                };
                assert!(rows.insert(id, (row.op, cells)).is_none(), "ticket {id} stands in a delta twice");
                Ok::<_, StoreError>(())
            })
        })
        .unwrap();
    rows
}

fn greatest_seq(store: &Store) -> i64 {
    store.read(|snapshot| snapshot.greatest_seq()).unwrap()
}

fn summaries(store: &Store) -> BTreeMap<i64, String> {
    let name = ATTRIBUTES.iter().position(|attribute| attribute.name == "NAME").unwrap();
    let rows = delta(store, 0).into_iter().map(|(id, (_, cells))| match &cells[name] {
        AttributeValue::Text(text) => (id, text.clone()),
        other => panic!("{other:?}"),
    });
    rows.collect()
}

#[test]
fn the_later_update_wins_and_where_they_are_equal_the_later_request() {
    for (name, first, second, kept) in [
        ("a later update", (5, Some(10)), (4, Some(11)), "second"),
        ("an earlier update", (4, Some(11)), (5, Some(10)), "first"),
        ("equal, asked for later", (4, Some(10)), (5, Some(10)), "second"),
        ("equal, asked for earlier", (5, Some(10)), (4, Some(10)), "first"),
        ("no update time, asked for later", (4, Some(10)), (5, None), "second"),
        ("no update time, asked for earlier", (5, None), (4, None), "first"),
    ] {
        let mut store = store();
        apply(&mut store, first.0, &[version(7, first.1, "first")]);
        apply(&mut store, second.0, &[version(7, second.1, "second")]);
        assert_eq!(summaries(&store)[&7], kept, "{name}");
    }
}

#[test]
fn a_difference_in_volatile_attributes_alone_is_no_change() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(1), "same")]);
    let mut older = version(7, Some(1), "same");
    older["ticketage"] = json!(9.75);
    older["_open_search_score"] = json!(0.5);
    let applied = apply(&mut store, 2, &[older]);
    assert_eq!((applied.unchanged, applied.updated, greatest_seq(&store)), (1, 0, 1));
}

#[test]
fn an_older_version_is_reported_and_taken_only_when_the_server_means_it() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(30), "new")]);
    let applied = apply(&mut store, 2, &[version(7, Some(10), "old")]);
    assert_eq!((applied.older, summaries(&store)[&7].as_str()), (vec![7], "new"));
    let seen = sightings(3, &[version(7, Some(10), "old")]);
    store.write(TxEnd::Commit, |writing| writing.apply_older(&seen, 1, now())).unwrap();
    assert_eq!(summaries(&store)[&7], "old");
}

#[test]
fn a_ticket_that_leaves_is_recorded_with_its_last_row_and_may_return() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(1), "here"), version(8, Some(1), "stays")]);
    let gone = [Removal { id: 7, reason: RemovalReason::Vanished }];
    let remove =
        |store: &mut Store| store.write(TxEnd::Commit, |writing| writing.remove(&gone, 1, now())).unwrap();
    assert_eq!(remove(&mut store), 1);
    assert_eq!(remove(&mut store), 0, "what is gone cannot leave again");
    let (op, last) = &delta(&store, 2)[&7];
    assert_eq!(
        (op, &last[ATTRIBUTES.iter().position(|it| it.name == "NAME").unwrap()]),
        (&Op::Delete, &AttributeValue::Text("here".into()))
    );
    apply(&mut store, 2, &[version(7, Some(2), "back")]);
    assert_eq!(delta(&store, 3)[&7].0, Op::Create);
    assert_eq!(delta(&store, 2)[&7].0, Op::Update, "it was there before and is there after");
}

#[test]
fn a_renamed_status_renames_its_tickets_in_one_go() {
    let mut store = store();
    let named =
        |name: &str| vec![ReferenceItem { id: 2, name: name.into(), details: ReferenceDetails::default() }];
    store
        .write(TxEnd::Commit, |writing| writing.replace_statuses(&named("In Progress"), None, 1, now()))
        .unwrap();
    apply(&mut store, 1, &[version(7, Some(1), "a"), version(8, Some(1), "b")]);
    let rename = |store: &mut Store| {
        store
            .write(TxEnd::Commit, |writing| writing.replace_statuses(&named("Working"), None, 1, now()))
            .unwrap()
    };
    assert_eq!((rename(&mut store), rename(&mut store)), (2, 0));
    let changed = delta(&store, 2);
    assert_eq!(changed.keys().copied().collect::<Vec<_>>(), [7, 8]);
    // The hash leaves the name out: the same page is still no change.
    assert_eq!(apply(&mut store, 2, &[version(7, Some(1), "a")]).unchanged, 1);
}

#[test]
fn a_dry_run_counts_and_keeps_nothing() {
    let mut store = store();
    let seen = sightings(1, &[version(7, Some(1), "here")]);
    let applied = store.write(TxEnd::Rollback, |writing| writing.upsert(&seen, 1, now())).unwrap();
    assert_eq!((applied.created, greatest_seq(&store), summaries(&store).len()), (1, 0, 0));
}

fn options() -> StoreOptions {
    StoreOptions {
        busy_timeout: Duration::from_secs(1),
        full_text: true,
        index_last_modified: true,
        now: now(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_log_files_stay_when_the_database_is_closed_so_that_readers_can_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = Store::open(&path, &options()).unwrap();
    apply(&mut store, 1, &[version(7, Some(1), "a leaking tap")]);
    store.close().unwrap();
    for name in ["halosync.db-wal", "halosync.db-shm"] {
        assert!(folder.path().join(name).exists(), "{name} is gone");
    }
    // A reader who may not write, as another user in the group.
    for name in ["halosync.db", "halosync.db-wal", "halosync.db-shm"] {
        let file = folder.path().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode(&file) & 0o444)).unwrap();
    }
    let reader = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let found: i64 = reader
        .query_row("SELECT rowid FROM tickets_fts WHERE tickets_fts MATCH 'leaking'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, 7);
}

#[test]
fn the_full_text_index_follows_the_tickets_and_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let found = |word: &str| -> Vec<i64> {
        let reader = Connection::open(&path).unwrap();
        let mut statement =
            reader.prepare("SELECT rowid FROM tickets_fts WHERE tickets_fts MATCH ?1").unwrap();
        statement.query_map([word], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut store = Store::open(&path, &StoreOptions { full_text: false, ..options() }).unwrap();
    apply(&mut store, 1, &[version(7, Some(1), "printer"), version(8, Some(1), "scanner")]);
    store.close().unwrap();
    let mut store = Store::open(&path, &options()).unwrap();
    assert_eq!(found("printer"), [7], "what was there before is indexed too");
    apply(&mut store, 2, &[version(7, Some(2), "toner")]);
    let gone = [Removal { id: 8, reason: RemovalReason::Vanished }];
    store.write(TxEnd::Commit, |writing| writing.remove(&gone, 1, now())).unwrap();
    store.close().unwrap();
    assert_eq!((found("printer"), found("toner"), found("scanner")), (vec![], vec![7], vec![]));
    Store::open(&path, &StoreOptions { full_text: false, ..options() }).unwrap().close().unwrap();
    let left: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'tickets_fts%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Show { rows: Vec<(i64, Option<u32>, u8)> },
    Leave { id: i64 },
    Export,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (1i64..12, proptest::option::of(0u32..60), 0u8..5);
    prop_oneof![
        4 => proptest::collection::vec(row, 1..6).prop_map(|rows| Step::Show { rows }),
        1 => (1i64..12).prop_map(|id| Step::Leave { id }),
        2 => Just(Step::Export),
    ]
}

fn rows(of: &[(i64, Option<u32>, u8)]) -> Vec<serde_json::Value> {
    of.iter().map(|(id, minute, text)| version(*id, *minute, &format!("text {text}"))).collect()
}

proptest! {
    #[test]
    fn the_deltas_of_any_history_fold_to_the_tickets(history in proptest::collection::vec(step(), 1..30)) {
        let mut store = store();
        let mut folded: BTreeMap<i64, Vec<AttributeValue>> = BTreeMap::new();
        let mut from = 0;
        for (request_no, step) in (1..).zip(history.iter().chain([&Step::Export])) {
            match step {
                Step::Show { rows: shown } => { apply(&mut store, request_no, &rows(shown)); }
                Step::Leave { id } => {
                    let gone = [Removal { id: *id, reason: RemovalReason::Deleted }];
                    store.write(TxEnd::Commit, |writing| writing.remove(&gone, 1, now())).unwrap();
                }
                Step::Export => {
                    for (id, (op, cells)) in delta(&store, from) {
                        let before = match op {
                            Op::Create | Op::Update => folded.insert(id, cells),
                            Op::Delete => folded.remove(&id),
                        };
                        prop_assert_eq!(before.is_none(), op == Op::Create, "ticket {} as {:?}", id, op);
                    }
                    from = greatest_seq(&store);
                }
            }
        }
        let tickets: BTreeMap<_, _> = delta(&store, 0).into_iter().map(|(id, (_, cells))| (id, cells)).collect();
        prop_assert_eq!(folded, tickets);
    }

    #[test]
    fn pages_in_any_order_and_any_number_give_the_same_tickets_and_a_repetition_records_nothing(
        pages in proptest::collection::vec(proptest::collection::vec((1i64..12, proptest::option::of(0u32..60), 0u8..5), 1..6), 1..8),
        order in any::<u64>(),
    ) {
        // Each page is the answer to a request of its own; they arrive in another order and twice.
        let numbered: Vec<(i64, Vec<serde_json::Value>)> = (1..).zip(pages.iter().map(|page| rows(page))).collect();
        let mut shuffled = numbered.clone();
        let mut seed = order;
        for place in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(place, usize::try_from(seed >> 33).unwrap() % (place + 1));
        }
        let dated = |pages: &[(i64, Vec<serde_json::Value>)]| pages.iter().all(|(_, rows)| rows.iter().all(|row| !row["last_update"].is_null()));
        let mut straight = store();
        for (request_no, page) in &numbered {
            apply(&mut straight, *request_no, page);
        }
        let before = greatest_seq(&straight);
        for (request_no, page) in numbered.iter().rev().take(1) {
            apply(&mut straight, *request_no, page);
        }
        prop_assert_eq!(greatest_seq(&straight), before, "the same page again left a record");
        // Without a date only the request decides, and that is no total order together with dates.
        if dated(&numbered) {
            let mut crooked = store();
            for (request_no, page) in shuffled.iter().chain(&shuffled) {
                apply(&mut crooked, *request_no, page);
            }
            prop_assert_eq!(summaries(&crooked), summaries(&straight));
        }
    }
}
