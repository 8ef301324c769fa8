//! The store: what it writes, the change records, the deltas for consumers, and the view `sync_health`.
//!
//! Tickets are given as JSON and go through the parser, as the server sends them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use halosync::reference::{STATUSES, parse_reference_list};
use halosync::store::{
    CustomFieldsState, FetchedCustomFields, Health, MoveReason, ObservedTicket, Removal, RemovalReason,
    RunEnd, RunKind, RunStats, ScanOutcome, ScanStats, Store, StoreError, StoreOptions, TxEnd, UpsertOutcome,
    WriteTx,
};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CustomFields, Op, Timestamp};
use halosync::watermark::{ScanKind, Watermark, WatermarkState};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-22T12:00:00.000Z".parse().unwrap()
}

fn store() -> Store {
    Store::in_memory(now()).unwrap()
}

/// A version of a ticket: its id, the minute of its `last_update`, its summary.
fn version(id: i64, minute: Option<u32>, summary: &str) -> serde_json::Value {
    let last_update = minute.map(|minute| format!("2026-11-22T11:{minute:02}:00"));
    json!({ "id": id, "summary": summary, "status_id": 2, "last_update": last_update, "ticketage": 1.5 })
}

/// Rows as a run without custom fields observes them.
fn observed_tickets(request_no: i64, rows: &[serde_json::Value]) -> Vec<ObservedTicket> {
    support::database::observed_tickets(request_no, rows, false)
}

fn apply(store: &mut Store, request_no: i64, rows: &[serde_json::Value]) -> UpsertOutcome {
    let observed = observed_tickets(request_no, rows);
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap()
}

/// The delta after `from`, by id: the operation and the row.
fn delta(store: &Store, from: i64) -> BTreeMap<i64, (Op, Vec<AttributeValue>)> {
    let mut rows = BTreeMap::new();
    store
        .read(|tx| {
            tx.delta(from, |row| {
                let cells: Vec<AttributeValue> =
                    row.cells.iter().map(|cell| AttributeValue::from(*cell)).collect();
                let AttributeValue::Integer(id) = cells[halosync::ticket::attribute::UID] else {
                    unreachable!()
                };
                assert!(rows.insert(id, (row.op, cells)).is_none(), "ticket {id} is twice in a delta");
                Ok::<_, StoreError>(())
            })
        })
        .unwrap();
    rows
}

fn greatest_seq(store: &Store) -> i64 {
    store.read(|tx| tx.greatest_seq()).unwrap()
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
fn later_last_update_wins_and_of_equal_ones_the_later_request() {
    for (name, first, second, kept) in [
        ("later update", (5, Some(10)), (4, Some(11)), "second"),
        ("earlier update", (4, Some(11)), (5, Some(10)), "first"),
        ("equal update, later request", (4, Some(10)), (5, Some(10)), "second"),
        ("equal update, earlier request", (5, Some(10)), (4, Some(10)), "first"),
        ("no update time, later request", (4, Some(10)), (5, None), "second"),
        ("no update time, earlier request", (5, None), (4, None), "first"),
    ] {
        let mut store = store();
        apply(&mut store, first.0, &[version(7, first.1, "first")]);
        apply(&mut store, second.0, &[version(7, second.1, "second")]);
        assert_eq!(summaries(&store)[&7], kept, "{name}");
    }
}

#[test]
fn volatile_attributes_alone_are_no_change() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(1), "same")]);
    let mut older = version(7, Some(1), "same");
    older["ticketage"] = json!(9.75);
    older["_open_search_score"] = json!(0.5);
    let outcome = apply(&mut store, 2, &[older]);
    assert_eq!((outcome.unchanged, outcome.changes.updated, greatest_seq(&store)), (1, 0, 1));
}

#[test]
fn older_version_is_reported_and_stored_only_if_the_server_confirms_it() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(30), "new")]);
    let outcome = apply(&mut store, 2, &[version(7, Some(10), "old")]);
    assert_eq!((outcome.older, summaries(&store)[&7].as_str()), (vec![7], "new"));
    let observed = observed_tickets(3, &[version(7, Some(10), "old")]);
    store.write(TxEnd::Commit, |tx| tx.apply_older(&observed, 1, now())).unwrap();
    assert_eq!(summaries(&store)[&7], "old");
}

#[test]
fn removed_ticket_is_recorded_with_its_last_row_and_may_return() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(1), "here"), version(8, Some(1), "stays")]);
    let gone = [Removal::new(7, RemovalReason::Vanished)];
    let remove = |store: &mut Store| store.write(TxEnd::Commit, |tx| tx.remove(&gone, 1, now())).unwrap();
    assert_eq!(remove(&mut store), 1);
    assert_eq!(remove(&mut store), 0, "a ticket is removed only once");
    let (op, last) = &delta(&store, 2)[&7];
    assert_eq!(
        (op, &last[ATTRIBUTES.iter().position(|it| it.name == "NAME").unwrap()]),
        (&Op::Delete, &AttributeValue::Text("here".into()))
    );
    apply(&mut store, 2, &[version(7, Some(2), "back")]);
    assert_eq!(delta(&store, 3)[&7].0, Op::Create);
    assert_eq!(delta(&store, 2)[&7].0, Op::Update, "it existed before the range and exists after it");
}

#[test]
fn renamed_status_renames_its_tickets() {
    let mut store = store();
    let update = |store: &mut Store, name: &str| {
        let json = serde_json::json!([{ "id": 2, "name": name }]).to_string();
        let list = parse_reference_list(STATUSES, json.as_bytes()).unwrap();
        store.write(TxEnd::Commit, |tx| tx.store_reference_list(STATUSES, &list, 1, now())).unwrap()
    };
    update(&mut store, "In Progress");
    apply(&mut store, 1, &[version(7, Some(1), "a"), version(8, Some(1), "b")]);
    assert_eq!((update(&mut store, "Working"), update(&mut store, "Working")), (2, 0));
    let changed = delta(&store, 2);
    assert_eq!(changed.keys().copied().collect::<Vec<_>>(), [7, 8]);
    // The hash does not contain the name: the same page is still no change.
    assert_eq!(apply(&mut store, 2, &[version(7, Some(1), "a")]).unchanged, 1);
}

#[test]
fn dry_run_counts_changes_and_stores_nothing() {
    let mut store = store();
    let observed = observed_tickets(1, &[version(7, Some(1), "here")]);
    let outcome = store.write(TxEnd::Rollback, |tx| tx.upsert(&observed, 1, now())).unwrap();
    assert_eq!((outcome.changes.created, greatest_seq(&store), summaries(&store).len()), (1, 0, 0));
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
fn wal_files_remain_after_close_so_that_readers_can_open_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = Store::open(&path, &options()).unwrap();
    apply(&mut store, 1, &[version(7, Some(1), "a leaking tap")]);
    store.close().unwrap();
    for name in ["halosync.db-wal", "halosync.db-shm"] {
        assert!(folder.path().join(name).exists(), "{name} is missing");
    }
    // A reader without write permission, such as another user in the group.
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
fn full_text_index_is_maintained_and_can_be_switched_off() {
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
    assert_eq!(found("printer"), [7], "existing tickets are indexed too");
    apply(&mut store, 2, &[version(7, Some(2), "toner")]);
    let gone = [Removal::new(8, RemovalReason::Vanished)];
    store.write(TxEnd::Commit, |tx| tx.remove(&gone, 1, now())).unwrap();
    store.close().unwrap();
    assert_eq!((found("printer"), found("toner"), found("scanner")), (vec![], vec![7], vec![]));
    Store::open(&path, &StoreOptions { full_text: false, ..options() }).unwrap().close().unwrap();
    let left: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'tickets_fts%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

fn minutes_ago(minutes: i64) -> Timestamp {
    now().minus(chrono::TimeDelta::minutes(minutes))
}

/// The facts that the view `sync_health` and [`Health`] have in common, each as text.
fn health_facts(store: &Store) -> [Vec<Option<String>>; 2] {
    let it: Health = store.read(|tx| tx.health(1)).unwrap();
    let watermark = it.watermark.unwrap();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let mut facts = vec![
        Some(watermark.state.as_str().to_owned()),
        time(watermark.covered_until),
        time(watermark.newest_seen),
        time(it.last_complete_at),
        time(it.last_full_scan.map(|scan| scan.ended_at)),
        it.runs[0].outcome.map(|outcome| outcome.as_str().to_owned()),
        it.runs[0].error.clone(),
        Some(it.last_seq.to_string()),
    ];
    let counts = [it.tickets, it.pending_fetches, it.unreadable, it.unlisted_tickets, it.rejects];
    facts.extend(counts.map(|count| Some(count.to_string())));
    let view = Connection::open(store.path())
        .unwrap()
        .query_row(
            "SELECT state, covered_until, newest_seen, last_complete_at, last_full_at, last_outcome, last_error,
                 CAST(last_seq AS TEXT), CAST(tickets AS TEXT), CAST(pending_fetches AS TEXT),
                 CAST(unreadable AS TEXT), CAST(unlisted_tickets AS TEXT), CAST(rejects AS TEXT)
             FROM sync_health",
            [],
            |row| (0..13).map(|column| row.get(column)).collect(),
        )
        .unwrap();
    [facts, view]
}

#[test]
fn sync_health_view_agrees_with_status_when_records_aged_out_and_scans_interleave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = Store::open(&path, &options()).unwrap();
    apply(&mut store, 1, &[version(7, Some(1), "a"), version(8, Some(1), "b")]);
    let scope = r#"{"server":"https://halo.example","tenant":"","ticket_types":[],"custom_fields":false,"mapping":1}"#;
    let scope = serde_json::from_str(scope).unwrap();
    store
        .write(TxEnd::Commit, |tx| {
            let loaded = Watermark {
                state: WatermarkState::Incremental,
                covered_until: Some(minutes_ago(70)),
                ..Watermark::new(scope)
            };
            tx.set_watermark(&loaded, Some(MoveReason::Created), None, now())?;
            let run = tx.begin_run(RunKind::Sync, minutes_ago(90))?;
            tx.finish_run(run, RunEnd::Complete, minutes_ago(80))?;
            // A full scan that is still running, and a verified incremental scan inside it.
            let run = tx.begin_run(RunKind::Sync, minutes_ago(60))?;
            tx.begin_scan(run, &ScanKind::Full, true, minutes_ago(60))?;
            let incremental = ScanKind::Incremental { from: minutes_ago(70) };
            let scan = tx.begin_scan(run, &incremental, false, minutes_ago(30))?;
            tx.record_scan(scan, &ScanStats::default(), Some(ScanOutcome::Verified), minutes_ago(29))
        })
        .unwrap();
    let [facts, view] = health_facts(&store);
    assert_eq!(facts, view, "with an interleaved incremental scan");
    assert_eq!(facts[3], Some(minutes_ago(29).to_string()), "last_complete_at");
    let pruned = store.write(TxEnd::Commit, |tx| tx.prune_changes(minutes_ago(-1))).unwrap();
    assert_eq!(pruned, 2);
    let [facts, view] = health_facts(&store);
    assert_eq!(facts, view, "after all change records aged out");
    assert_eq!(facts[7].as_deref(), Some("2"), "last_seq after all change records aged out");
}

#[test]
fn requests_of_checks_count_and_a_check_ends_no_run() {
    let mut store = store();
    let write = |store: &mut Store, work: fn(&WriteTx<'_>) -> Result<i64, StoreError>| {
        store.write(TxEnd::Commit, work).unwrap()
    };
    write(&mut store, |tx| tx.begin_check(10, minutes_ago(59)));
    // This run is killed at some time.
    let run = write(&mut store, |tx| tx.begin_run(RunKind::Sync, minutes_ago(58)));
    let stats = RunStats { requests: 200, ..RunStats::default() };
    store.write(TxEnd::Commit, |tx| tx.record_run_stats(run, &stats)).unwrap();
    let check = write(&mut store, |tx| tx.begin_check(10, minutes_ago(57)));
    store.write(TxEnd::Commit, |tx| tx.end_check(check, 8, minutes_ago(56))).unwrap();
    let next = write(&mut store, |tx| tx.begin_check(10, minutes_ago(2)));
    let counts = |since| {
        store.read(|tx| Ok::<_, StoreError>((tx.requests_since(since, 7)?, tx.check_requests_since(since)?)))
    };
    assert_eq!(counts(minutes_ago(5)).unwrap(), (200 + 7 + 10, 10));
    assert_eq!(counts(minutes_ago(60)).unwrap(), (200 + 7 + 10 + 8 + 10, 10 + 8 + 10));
    let before = |run_id, since| store.read(|tx| tx.check_requests_before(run_id, since)).unwrap();
    assert_eq!(before(run, minutes_ago(60)), 10);
    assert_eq!(before(next + 1, minutes_ago(60)), 8 + 10);
    assert_eq!(before(next + 1, minutes_ago(5)), 10);
    let facts = store.read(|tx| tx.last_runs(5)).unwrap();
    assert_eq!(facts.len(), 1, "a check is no run");
    assert_eq!(store.read(|tx| tx.newest_run_id()).unwrap(), Some(run));
}

#[test]
fn unknown_word_in_the_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = Store::open(&path, &options()).unwrap();
    store.write(TxEnd::Commit, |tx| tx.begin_run(RunKind::Sync, now())).unwrap();
    for (sql, column) in [
        ("INSERT INTO server_probes VALUES ('x', '', '', '')", "server_probes.probe"),
        ("UPDATE runs SET kind = 'x'", "runs.kind"),
    ] {
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let error = store.read(|tx| tx.health(1)).unwrap_err().to_string();
        assert_eq!(error, format!("unknown {column} \"x\" in the database"));
    }
}

/// A step in a random sequence.
#[derive(Clone, Debug)]
enum Step {
    Upsert { rows: Vec<(i64, Option<u32>, u8)> },
    Remove { id: i64 },
    Export,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (1i64..12, proptest::option::of(0u32..60), 0u8..5);
    prop_oneof![
        4 => proptest::collection::vec(row, 1..6).prop_map(|rows| Step::Upsert { rows }),
        1 => (1i64..12).prop_map(|id| Step::Remove { id }),
        2 => Just(Step::Export),
    ]
}

fn rows(of: &[(i64, Option<u32>, u8)]) -> Vec<serde_json::Value> {
    of.iter().map(|(id, minute, text)| version(*id, *minute, &format!("text {text}"))).collect()
}

proptest! {
    #[test]
    fn deltas_fold_to_the_tickets(history in proptest::collection::vec(step(), 1..30)) {
        let mut store = store();
        let mut folded: BTreeMap<i64, Vec<AttributeValue>> = BTreeMap::new();
        let mut from = 0;
        for (request_no, step) in (1..).zip(history.iter().chain([&Step::Export])) {
            match step {
                Step::Upsert { rows: received } => { apply(&mut store, request_no, &rows(received)); }
                Step::Remove { id } => {
                    let gone = [Removal::new(*id, RemovalReason::Deleted)];
                    store.write(TxEnd::Commit, |tx| tx.remove(&gone, 1, now())).unwrap();
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
    fn repeated_and_reordered_pages_give_the_same_tickets_and_no_change_records(
        pages in proptest::collection::vec(proptest::collection::vec((1i64..12, proptest::option::of(0u32..60), 0u8..5), 1..6), 1..8),
        order in any::<u64>(),
    ) {
        // Each page has its own request; the pages arrive in another order and twice.
        let numbered: Vec<(i64, Vec<serde_json::Value>)> = (1..).zip(pages.iter().map(|page| rows(page))).collect();
        let mut shuffled = numbered.clone();
        let mut seed = order;
        for position in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(position, usize::try_from(seed >> 33).unwrap() % (position + 1));
        }
        let dated = |pages: &[(i64, Vec<serde_json::Value>)]| pages.iter().all(|(_, rows)| rows.iter().all(|row| !row["last_update"].is_null()));
        let mut ordered = store();
        for (request_no, page) in &numbered {
            apply(&mut ordered, *request_no, page);
        }
        let before = greatest_seq(&ordered);
        for (request_no, page) in numbered.iter().rev().take(1) {
            apply(&mut ordered, *request_no, page);
        }
        prop_assert_eq!(greatest_seq(&ordered), before, "a repeated page left a change record");
        // Without a `last_update` only the request decides, which with dated rows is no total order.
        if dated(&numbered) {
            let mut reordered = store();
            for (request_no, page) in shuffled.iter().chain(&shuffled) {
                apply(&mut reordered, *request_no, page);
            }
            prop_assert_eq!(summaries(&reordered), summaries(&ordered));
        }
    }
}

/// Custom fields of a later version than the row are fetched again where a later request still shows the earlier version: the
/// server was restored from a backup.
#[test]
fn custom_fields_of_a_version_that_is_gone_are_fetched_again() {
    let mut store = store();
    let observe = |store: &mut Store, request_no: i64, minute: u32| {
        let mut observed = observed_tickets(request_no, &[version(7, Some(minute), "same")]);
        observed[0].custom_fields = CustomFieldsState::NotProvided;
        store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
    };
    let fetch = |store: &mut Store, request_no: i64, minute: u32| {
        let last_update = Some(format!("2026-11-22T11:{minute:02}:00.000Z").parse().unwrap());
        let fetched = FetchedCustomFields { id: 7, fields: CustomFields::default(), last_update, request_no };
        store.write(TxEnd::Commit, |tx| tx.store_custom_fields(&fetched, 1, now())).unwrap()
    };
    let pending = |store: &Store| store.read(|tx| tx.unattempted_fetches(0, 10)).unwrap().len();
    observe(&mut store, 1, 10);
    fetch(&mut store, 3, 20);
    assert_eq!(pending(&store), 0);
    observe(&mut store, 2, 10);
    assert_eq!(pending(&store), 0, "the row was asked for earlier");
    observe(&mut store, 4, 10);
    assert_eq!(pending(&store), 1, "the later version is gone");
    fetch(&mut store, 5, 10);
    observe(&mut store, 6, 10);
    assert_eq!(pending(&store), 0);
}

/// Whether the older version is taken or not, some version is stored, whose custom fields nobody knows yet.
#[test]
fn custom_fields_of_a_ticket_shown_in_an_older_version_are_pending() {
    let mut store = store();
    apply(&mut store, 1, &[version(7, Some(30), "new")]);
    let mut observed = observed_tickets(2, &[version(7, Some(10), "old")]);
    observed[0].custom_fields = CustomFieldsState::Provided(CustomFields::default());
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
    assert_eq!(store.read(|tx| tx.unattempted_fetches(0, 10)).unwrap().len(), 1);
}
