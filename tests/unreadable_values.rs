//! Values and rows that cannot be read, from the bytes of a response to the database: what is unreadable is not empty.
//! The last good value stays, one row of `rejects` says so, and consumers are not told of a change.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use halosync::reference::{ReferenceRow, STATUSES, TICKET_TYPES, parse_reference_list};
use halosync::store::{
    CustomFieldsState, FetchedCustomFields, ObservedTicket, Removal, RemovalReason, Store, StoreOptions,
    StoreOutcome, TxEnd, UpsertOutcome,
};
use halosync::ticket::parse::{self, ParsedPage};
use halosync::ticket::{Ticket, Timestamp};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

fn now() -> Timestamp {
    "2026-11-22T12:00:00.000Z".parse().unwrap()
}

fn input(name: &str) -> Vec<u8> {
    fs::read(format!("{}/fixtures/inputs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A list page with these rows.
fn page(rows: &[Json]) -> Vec<u8> {
    json!({ "record_count": rows.len(), "tickets": rows }).to_string().into_bytes()
}

/// A database, and a reader of it.
struct Copy {
    store: Store,
    reader: Connection,
    wal: PathBuf,
    custom_fields: bool,
    requests: i64,
    _folder: tempfile::TempDir,
}

impl Copy {
    fn new(custom_fields: bool) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("halosync.db");
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(10),
            full_text: false,
            index_last_modified: false,
            now: now(),
        };
        let store = Store::open(&path, &options).unwrap();
        let reader = Connection::open(&path).unwrap();
        let wal = folder.path().join("halosync.db-wal");
        Copy { store, reader, wal, custom_fields, requests: 0, _folder: folder }
    }

    fn observe(&mut self, mut ticket: Ticket) -> ObservedTicket {
        self.requests += 1;
        let custom_fields = match ticket.take_custom_fields() {
            _ if !self.custom_fields => CustomFieldsState::NotSynced,
            Some(fields) => CustomFieldsState::Provided(fields),
            None => CustomFieldsState::NotProvided,
        };
        ObservedTicket { hash: ticket.hash(), ticket, custom_fields, request_no: self.requests }
    }

    fn receive(&mut self, bytes: &[u8]) -> UpsertOutcome {
        let tickets = ParsedPage::parse(bytes).unwrap().tickets;
        let mut observed: Vec<_> = tickets.into_iter().map(|ticket| self.observe(ticket)).collect();
        self.store
            .write(TxEnd::Commit, |tx| {
                tx.apply_status_names(&mut observed)?;
                tx.upsert(&observed, 1, now())
            })
            .unwrap()
    }

    /// Stores the custom fields of a single ticket, if it shows any.
    fn receive_detail(&mut self, bytes: &[u8]) -> Option<StoreOutcome> {
        let mut ticket = parse::parse_ticket(bytes).unwrap();
        self.requests += 1;
        let fetched = FetchedCustomFields {
            id: ticket.id(),
            last_update: ticket.last_update(),
            fields: ticket.take_custom_fields()?,
            request_no: self.requests,
        };
        Some(self.store.write(TxEnd::Commit, |tx| tx.store_custom_fields(&fetched, 1, now())).unwrap())
    }

    /// The first column of each row, as text.
    fn texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.reader.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => format!("{number:?}"),
                other => other.as_str().unwrap().to_owned(),
            })
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn row(&self, columns: &[&str]) -> Vec<String> {
        columns.iter().map(|it| self.texts(&format!("SELECT \"{it}\" FROM tickets")).remove(0)).collect()
    }

    fn rejects(&self) -> Vec<String> {
        self.texts("SELECT COALESCE(UID, '-') || ' ' || COALESCE(attribute, '-') || ' ' || raw FROM rejects ORDER BY UID, attribute, reject_id")
    }

    fn changed(&self) -> Vec<String> {
        self.texts("SELECT changed FROM changes WHERE op = 'u' ORDER BY seq")
    }

    /// The names of the attributes that change records of updates name.
    fn changed_names(&self) -> Vec<String> {
        self.texts("SELECT DISTINCT e.key FROM changes c JOIN json_each(c.changed) e WHERE c.op = 'u' ORDER BY e.key")
    }

    /// How much was ever written: a transaction that changes nothing adds nothing.
    fn written(&self) -> u64 {
        fs::metadata(&self.wal).unwrap().len()
    }

    fn remove(&mut self, id: i64) {
        let gone = [Removal::new(id, RemovalReason::Vanished)];
        self.store.write(TxEnd::Commit, |tx| tx.remove(&gone, 1, now())).unwrap();
    }
}

const VALUES: [&str; 3] = ["CLIENT_ID", "COST", "FLAGGED"];

#[test]
fn values_as_text_are_the_same_values() {
    let mut copy = Copy::new(false);
    copy.receive(&input("list-good-values.json"));
    copy.receive(&input("list-good-values-then-as-text.json"));
    assert_eq!(copy.row(&VALUES), ["12", "27.5", "1"]);
    assert_eq!((copy.changed_names(), copy.rejects()), (vec!["SOURCE_LAST_MODIFIED".to_owned()], vec![]));
}

#[test]
fn unreadable_values_leave_the_last_good_ones() {
    let mut copy = Copy::new(false);
    copy.receive(&input("list-good-values.json"));
    copy.receive(&input("list-good-values-then-unreadable.json"));
    assert_eq!(copy.row(&VALUES), ["12", "27.5", "1"]);
    assert_eq!(copy.changed_names(), ["SOURCE_LAST_MODIFIED"], "consumers are told of another change");
    let rejects = [r#"1001 CLIENT_ID {"id":12}"#, r#"1001 COST "n/a""#, r#"1001 FLAGGED "perhaps""#];
    assert_eq!(copy.rejects(), rejects);
    assert_eq!(copy.texts("SELECT rejects FROM sync_health"), ["3"]);

    let (written, records) = (copy.written(), copy.changed().len());
    let outcome = copy.receive(&input("list-good-values-then-unreadable.json"));
    assert_eq!(
        (outcome.unchanged, copy.written(), copy.changed().len()),
        (1, written, records),
        "a repeated page"
    );

    // The same version, readable again: the row hash does not change, and the rejects go.
    let text = String::from_utf8(input("list-good-values.json")).unwrap();
    let again = text.replace("2026-03-02T09:20:11.153", "2026-03-02T09:31:00");
    copy.receive(again.as_bytes());
    assert_eq!((copy.rejects(), copy.changed().len()), (vec![], records));
}

#[test]
fn reject_without_another_change_is_recorded_without_a_change_record() {
    let mut copy = Copy::new(false);
    let row = |cost: Json| [json!({ "id": 7, "cost": cost, "last_update": "2026-03-02T09:20:11" })];
    copy.receive(&page(&row(json!(1.5))));
    for cost in ["n/a", "none"] {
        let outcome = copy.receive(&page(&row(json!(cost))));
        assert_eq!((outcome.unchanged, copy.row(&["COST"])), (1, vec!["1.5".to_owned()]), "{cost}");
        assert_eq!(copy.rejects(), [format!("7 COST \"{cost}\"")], "the text is that of the newest version");
    }
    copy.receive(&page(&row(Json::Null)));
    assert_eq!((copy.row(&["COST"]), copy.rejects()), (vec!["NULL".to_owned()], vec![]), "null is a value");
    assert_eq!(copy.changed(), [r#"{"COST":[1.5,null]}"#]);
}

#[test]
fn unreadable_value_of_a_new_ticket_is_null() {
    let mut copy = Copy::new(false);
    let bytes = page(&[json!({ "id": 7, "cost": "n/a", "summary": "new" })]);
    copy.receive(&bytes);
    assert_eq!(
        (copy.row(&["COST", "NAME"]), copy.rejects().len()),
        (vec!["NULL".to_owned(), "new".to_owned()], 1)
    );
    let written = copy.written();
    assert_eq!((copy.receive(&bytes).unchanged, copy.written()), (1, written));
}

#[test]
fn text_of_an_unreadable_volatile_attribute_may_move() {
    let mut copy = Copy::new(false);
    let row = |age: &str| page(&[json!({ "id": 7, "ticketage": age })]);
    copy.receive(&row("3 days"));
    let written = copy.written();
    assert_eq!((copy.receive(&row("4 days")).unchanged, copy.written()), (1, written));
    assert_eq!(copy.rejects(), [r#"7 TICKET_AGE "3 days""#]);
}

#[test]
fn unreadable_status_keeps_number_and_name() {
    let mut copy = Copy::new(false);
    let list = parse_reference_list(STATUSES, br#"[{"id": 2, "name": "In Progress"}]"#).unwrap();
    copy.store.write(TxEnd::Commit, |tx| tx.store_reference_list(STATUSES, &list, 1, now())).unwrap();
    copy.receive(&page(&[json!({ "id": 7, "status_id": 2 })]));
    copy.receive(&page(&[json!({ "id": 7, "status_id": { "id": 3 }, "summary": "new" })]));
    assert_eq!(copy.row(&["STATUS_ID", "STATUS", "NAME"]), ["2", "In Progress", "new"]);
}

#[test]
fn older_version_with_unreadable_values_changes_no_rejects() {
    let mut copy = Copy::new(false);
    copy.receive(&page(&[json!({ "id": 7, "cost": 1, "last_update": "2026-03-02T10:00:00" })]));
    let outcome =
        copy.receive(&page(&[json!({ "id": 7, "cost": "n/a", "last_update": "2026-03-02T09:00:00" })]));
    assert_eq!((outcome.older, copy.rejects()), (vec![7], vec![]));
}

#[test]
fn ids_as_text_are_ids() {
    let page = ParsedPage::parse(&input("list-ids-as-text.json")).unwrap();
    assert_eq!(page.tickets.iter().map(Ticket::id).collect::<Vec<_>>(), [1001, 1002, 1003]);
    assert_eq!(page.rejected_rows, []);
}

#[test]
fn rows_without_an_id_are_the_set_of_the_last_full_scan() {
    let mut copy = Copy::new(false);
    let text = String::from_utf8(input("list-one-row-with-null-id-moving-text.json")).unwrap();
    let replace = |copy: &mut Copy, bytes: &[u8], at: &str| {
        let rows = ParsedPage::parse(bytes).unwrap().rejected_rows;
        let now = at.parse().unwrap();
        copy.store.write(TxEnd::Commit, |tx| tx.replace_rejected_rows(&rows, now)).unwrap();
        copy.texts("SELECT after_id || ' ' || count || ' ' || substr(seen_at, 1, 10) FROM rejects WHERE UID IS NULL AND attribute IS NULL")
    };
    let first = replace(&mut copy, text.as_bytes(), "2026-11-22T12:00:00.000Z");
    assert_eq!(first, ["1001 1 2026-11-22"]);
    let written = copy.written();
    assert_eq!(replace(&mut copy, text.as_bytes(), "2026-11-23T12:00:00.000Z"), first, "it is still there");
    assert_eq!(copy.written(), written);
    let moved = text.replace("3.2", "3.3");
    assert_ne!(moved, text);
    assert_eq!(replace(&mut copy, moved.as_bytes(), "2026-11-24T12:00:00.000Z").len(), 1, "its text moved");
    let twice = replace(
        &mut copy,
        &input("list-row-without-id-twice-hides-another.json"),
        "2026-11-25T12:00:00.000Z",
    );
    assert_eq!(twice, ["1001 1 2026-11-25", "1001 1 2026-11-25"]);
    assert_eq!(
        replace(&mut copy, &input("list-one-row-without-id.json"), "2026-11-26T12:00:00.000Z").len(),
        1
    );
    assert_eq!(replace(&mut copy, &input("list-good-values.json"), "2026-11-27T12:00:00.000Z"), [""; 0]);

    let mut rows = ParsedPage::parse(text.as_bytes()).unwrap().rejected_rows;
    rows = std::iter::repeat_n(rows.remove(0), 1_001).collect();
    copy.store.write(TxEnd::Commit, |tx| tx.replace_rejected_rows(&rows, now())).unwrap();
    assert_eq!(copy.texts("SELECT count FROM rejects"), ["1001"]);
}

#[test]
fn custom_field_with_its_id_as_text_is_the_same_field() {
    let mut copy = Copy::new(true);
    copy.receive(&input("list-good-values.json"));
    assert_eq!(copy.receive_detail(&input("detail-custom-field.json")), Some(StoreOutcome::Changed));
    let with_text_id = input("detail-custom-field-with-text-id.json");
    assert_eq!(copy.receive_detail(&with_text_id), Some(StoreOutcome::Unchanged));
    assert_eq!(copy.texts("SELECT FIELD_ID || VALUE FROM custom_fields"), ["101precious"]);
}

#[test]
fn custom_fields_that_are_null_or_absent_leave_the_stored_ones_and_stay_pending() {
    let row = |rest: &str, minute: u32| {
        format!(r#"{{"tickets":[{{"id":1001,"last_update":"2026-03-02T09:{minute}:00"{rest}}}]}}"#)
            .into_bytes()
    };
    for rest in [r#","customfields":null"#, "", r#","customfields":{}"#] {
        let mut copy = Copy::new(true);
        copy.receive(&row(r#","customfields":[{"id":101,"value":"precious"}]"#, 20));
        copy.receive(&row(rest, 41));
        assert_eq!(copy.texts("SELECT VALUE FROM custom_fields"), ["precious"], "{rest}");
        assert_eq!(copy.texts("SELECT UID FROM pending_fetches"), ["1001"], "{rest}");
        assert_eq!(copy.changed_names(), ["SOURCE_LAST_MODIFIED"], "{rest}");
    }
    let mut copy = Copy::new(true);
    copy.receive(&input("list-good-values.json"));
    assert_eq!(copy.receive_detail(&input("detail-custom-fields-null.json")), None);
    assert!(
        parse::parse_ticket(&input("detail-custom-fields-null.json")).unwrap().has_unreadable_custom_fields()
    );
}

#[test]
fn custom_field_without_an_id_removes_nothing_and_stays_pending() {
    let row = |fields: Json| page(&[json!({ "id": 7, "customfields": fields })]);
    let known = json!([{ "id": 1, "value": "a" }, { "id": 2, "value": "b" }]);
    let unknown =
        json!([{ "id": 1, "value": "c" }, { "id": null, "value": "lost" }, { "id": "3", "value": "d" }]);
    let fields = |copy: &Copy| copy.texts("SELECT FIELD_ID || VALUE FROM custom_fields ORDER BY 1");
    let detail = |fields: &Json| json!({ "id": 7, "customfields": fields }).to_string().into_bytes();

    let mut copy = Copy::new(true);
    copy.receive(&row(known.clone()));
    copy.receive(&row(unknown.clone()));
    assert_eq!(fields(&copy), ["1c", "2b", "3d"]);
    assert_eq!(copy.rejects(), [r#"7 customfields {"id":null,"value":"lost"}"#]);
    assert_eq!(copy.texts("SELECT UID FROM pending_fetches"), ["7"]);
    assert_eq!(copy.changed(), [r#"{"CUSTOM.1":["a","c"],"CUSTOM.3":[null,"d"]}"#]);
    let written = copy.written();
    assert_eq!(
        (copy.receive(&row(unknown.clone())).unchanged, copy.written()),
        (1, written),
        "a repeated page"
    );
    // Alone it shows no more.
    assert_eq!(copy.receive_detail(&detail(&unknown)), Some(StoreOutcome::Incomplete { changed: false }));
    assert_eq!(copy.texts("SELECT fields_hash FROM ticket_state"), ["NULL"]);
    // Then it shows all.
    assert_eq!(copy.receive_detail(&detail(&known)), Some(StoreOutcome::Changed));
    assert_eq!((fields(&copy), copy.rejects()), (vec!["1a".to_owned(), "2b".to_owned()], vec![]));
    assert_eq!(copy.texts("SELECT UID FROM pending_fetches"), [""; 0]);
}

#[test]
fn unreadable_member_of_a_custom_field_leaves_the_last_good_one() {
    let row =
        |kind: Json| page(&[json!({ "id": 7, "customfields": [{ "id": 1, "type": kind, "value": "a" }] })]);
    let mut copy = Copy::new(true);
    copy.receive(&row(json!(2)));
    assert_eq!(copy.receive(&row(json!("two"))).unchanged, 1);
    assert_eq!(copy.texts("SELECT TYPE FROM custom_fields"), ["2"]);
    assert_eq!((copy.rejects(), copy.changed()), (vec![r#"7 CUSTOM.1.TYPE "two""#.to_owned()], vec![]));
    let written = copy.written();
    assert_eq!((copy.receive(&row(json!("two"))).unchanged, copy.written()), (1, written));
    // Other attributes may be rejected, read again, or changed meanwhile.
    copy.receive(&page(&[json!({ "id": 7, "cost": "n/a", "customfields": null })]));
    assert_eq!(copy.rejects(), [r#"7 COST "n/a""#, r#"7 CUSTOM.1.TYPE "two""#]);
    copy.receive(&row(json!("2")));
    assert_eq!(
        (copy.rejects(), copy.texts("SELECT rejected FROM ticket_state")),
        (vec![], vec!["NULL".to_owned()])
    );
}

#[test]
fn field_of_which_nothing_can_be_read_is_a_reject_and_no_change() {
    let mut copy = Copy::new(true);
    copy.receive(&page(&[json!({ "id": 7, "customfields": [{ "id": 1, "name": [] }] })]));
    assert_eq!(copy.texts("SELECT FIELD_ID FROM custom_fields"), [""; 0]);
    assert_eq!((copy.rejects(), copy.changed()), (vec!["7 CUSTOM.1.NAME []".to_owned()], vec![]));
}

#[test]
fn switched_off_custom_fields_leave_no_rejects() {
    let mut copy = Copy::new(true);
    copy.receive(&page(&[
        json!({ "id": 7, "cost": "n/a", "customfields": [{ "id": 1, "type": [], "value": "a" }, 7] }),
    ]));
    assert_eq!(copy.rejects().len(), 3);
    copy.store.write(TxEnd::Commit, |tx| tx.clear_custom_fields(1, now())).unwrap();
    assert_eq!(copy.rejects(), [r#"7 COST "n/a""#]);
    assert_eq!(copy.texts("SELECT rejected FROM ticket_state"), ["COST"]);
}

#[test]
fn elements_of_a_reference_list_that_cannot_be_read_are_one_reject() {
    let mut copy = Copy::new(false);
    let parse = |json: &[u8]| parse_reference_list(STATUSES, json).unwrap();
    let list = parse(&input("status-elements-that-cannot-be-read.json"));
    let names: Vec<_> = list.items.iter().map(|it| (it.id().unwrap(), it.name(STATUSES).unwrap())).collect();
    assert_eq!((names, list.unreadable), (vec![(1, "New"), (2, "In Progress")], 3));
    let record = |copy: &mut Copy, list: &parse::ParsedItems<ReferenceRow>| {
        copy.store.write(TxEnd::Commit, |tx| tx.replace_rejected_items("statuses", list, now())).unwrap();
        copy.texts("SELECT attribute || ' ' || count || ' ' || raw FROM rejects")
    };
    let rejects = record(&mut copy, &list);
    assert_eq!(rejects, [r#"statuses 3 {"id":null,"name":"Lost"}"#]);
    let written = copy.written();
    assert_eq!((record(&mut copy, &list), copy.written()), (rejects, written));
    // Rows of tickets are another set.
    copy.store.write(TxEnd::Commit, |tx| tx.replace_rejected_rows(&[], now())).unwrap();
    assert_eq!(copy.rejects().len(), 1);
    let good = parse(br#"[{"id": 1, "name": "New"}]"#);
    assert_eq!(record(&mut copy, &good), [""; 0]);
}

#[test]
fn unreadable_detail_of_a_status_leaves_the_last_good_one() {
    let mut copy = Copy::new(false);
    for json in [
        r##"[{"id": 1, "name": "New", "colour": "#fff", "type": 0}]"##,
        r#"[{"id": 1, "name": "Newer", "colour": {}, "use": [], "type": "1"}]"#,
    ] {
        for table in [STATUSES, TICKET_TYPES] {
            let list = parse_reference_list(table, json.as_bytes()).unwrap();
            copy.store.write(TxEnd::Commit, |tx| tx.store_reference_list(table, &list, 1, now())).unwrap();
        }
    }
    assert_eq!(copy.texts("SELECT NAME || COLOUR || TYPE FROM statuses"), ["Newer#fff1"]);
}

/// Receives tickets from 1 on, each with a cost.
fn receive_costs(copy: &mut Copy, ids: std::ops::RangeInclusive<i64>, cost: &Json) {
    let rows: Vec<_> = ids.map(|id| json!({ "id": id, "cost": cost })).collect();
    rows.chunks(1_000).for_each(|rows| drop(copy.receive(&page(rows))));
}

#[test]
fn more_than_a_thousand_rejects_of_one_attribute_are_one_row_with_a_count() {
    let mut copy = Copy::new(false);
    let rows = |copy: &Copy| copy.texts("SELECT COALESCE(UID, '-') || ' ' || count FROM rejects");
    receive_costs(&mut copy, 1..=1_000, &json!("n/a"));
    assert_eq!(rows(&copy).len(), 1_000);
    receive_costs(&mut copy, 1_001..=1_500, &json!("n/a"));
    assert_eq!(
        (rows(&copy), copy.texts("SELECT rejects FROM sync_health")),
        (vec!["- 1500".into()], vec!["1500".into()])
    );
    let written = copy.written();
    receive_costs(&mut copy, 1..=1_500, &json!("n/a"));
    assert_eq!(copy.written(), written, "a repeated scan");
    receive_costs(&mut copy, 1..=10, &json!(1));
    copy.remove(11);
    assert_eq!(rows(&copy), ["- 1489"]);
    receive_costs(&mut copy, 1..=1, &json!("n/a"));
    assert_eq!(rows(&copy), ["- 1490"]);
    receive_costs(&mut copy, 1..=1_500, &Json::Null);
    assert_eq!(rows(&copy), [""; 0]);
}

#[test]
fn removed_ticket_takes_its_rejects_with_it() {
    let mut copy = Copy::new(false);
    receive_costs(&mut copy, 1..=2, &json!("n/a"));
    copy.remove(1);
    assert_eq!(copy.rejects(), [r#"2 COST "n/a""#]);
}

#[test]
fn ticket_that_a_batch_shows_twice_in_one_version_is_stored_the_same_in_any_order() {
    let row = |name: &str| {
        let row = json!({ "id": 7, "summary": name, "last_update": "2026-03-02T09:00:00" }).to_string();
        parse::parse_ticket(row.as_bytes()).unwrap()
    };
    let other = || parse::parse_ticket(br#"{"id":9}"#).unwrap();
    let mut kept = Vec::new();
    for order in [["a", "b"], ["b", "a"]] {
        let mut copy = Copy::new(false);
        for _ in 0..3 {
            let tickets = [row(order[0]), other(), row(order[1])];
            let observed: Vec<_> = tickets.into_iter().map(|ticket| copy.observe(ticket)).collect();
            copy.store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
        }
        assert_eq!(copy.changed(), [""; 0], "the two replace each other with every scan");
        kept.push(copy.texts("SELECT NAME FROM tickets WHERE UID = 7"));
    }
    assert_eq!(kept[0], kept[1]);
}

/// What a version of a ticket says about an attribute.
#[derive(Clone, Debug, PartialEq)]
enum Received {
    Value(u8),
    Null,
    Absent,
    Unreadable(u8),
}

fn received() -> impl Strategy<Value = Received> {
    prop_oneof![
        3 => (0u8..3).prop_map(Received::Value),
        1 => Just(Received::Null),
        1 => Just(Received::Absent),
        3 => (0u8..2).prop_map(Received::Unreadable),
    ]
}

/// Attributes of different kinds: the property, the column, and the index of the kind below.
const COLUMNS: [(&str, &str); 4] =
    [("client_id", "CLIENT_ID"), ("cost", "COST"), ("summary", "NAME"), ("targetdate", "TARGET_DATE")];

fn write_member(row: &mut String, column: usize, received: &Received) {
    let property = COLUMNS[column].0;
    let json = match (received, column) {
        (Received::Absent, _) => return,
        (Received::Null, _) => "null".to_owned(),
        (Received::Unreadable(number), _) => format!("[{number}]"),
        (Received::Value(number), 0) => number.to_string(),
        (Received::Value(number), 1) => format!("{number}.5"),
        (Received::Value(number), 2) => format!("\"text {number}\""),
        (Received::Value(number), _) => format!("\"2026-01-0{}T00:00:00\"", number + 1),
    };
    write!(row, ",\"{property}\":{json}").unwrap();
}

fn stored_text(column: usize, number: u8) -> String {
    match column {
        0 => number.to_string(),
        1 => format!("{number}.5"),
        2 => format!("text {number}"),
        _ => format!("2026-01-0{}T00:00:00.000Z", number + 1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stored_row_has_the_last_good_value_of_each_attribute(
        versions in proptest::collection::vec((1i64..3, any::<bool>(), proptest::array::uniform4(received())), 1..12),
    ) {
        let mut copy = Copy::new(false);
        let mut expected: BTreeMap<i64, ([String; 4], Vec<String>)> = BTreeMap::new();
        let mut minute = 0;
        for (id, is_stamped, values) in &versions {
            minute += u32::from(*is_stamped);
            let mut row = format!("{{\"id\":{id},\"last_update\":\"2026-01-01T00:{minute:02}:00\"");
            let (stored, rejects) = expected.entry(*id).or_insert_with(|| (std::array::from_fn(|_| "NULL".to_owned()), vec![]));
            rejects.clear();
            for (column, received) in values.iter().enumerate() {
                write_member(&mut row, column, received);
                match received {
                    Received::Value(number) => stored[column] = stored_text(column, *number),
                    Received::Null | Received::Absent => "NULL".clone_into(&mut stored[column]),
                    Received::Unreadable(number) => rejects.push(format!("{id} {} [{number}]", COLUMNS[column].1)),
                }
            }
            let bytes = format!("{{\"tickets\":[{row}}}]}}");
            copy.receive(bytes.as_bytes());
            let written = copy.written();
            let outcome = copy.receive(bytes.as_bytes());
            prop_assert_eq!((outcome.unchanged, copy.written()), (1, written), "a replay is not silent");
        }
        let mut all_rejects = Vec::new();
        for (id, (stored, rejects)) in &expected {
            for (column, text) in stored.iter().enumerate() {
                let sql = format!("SELECT {} FROM tickets WHERE UID = {id}", COLUMNS[column].1);
                prop_assert_eq!(&copy.texts(&sql)[0], text, "{} of {}", COLUMNS[column].1, id);
            }
            let mut rejects = rejects.clone();
            rejects.sort();
            all_rejects.extend(rejects);
        }
        prop_assert_eq!(copy.rejects(), all_rejects);
        // Each record names what changed: no record is empty, and none names a value twice the same.
        prop_assert!(!copy.changed().contains(&"{}".to_owned()), "{:?}", copy.changed());
    }
}
