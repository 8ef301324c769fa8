//! Rows that another program edited or lost: what finds them, what a full scan makes of them, and what consumers get.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use halosync::reference::{ReferenceRow, STATUSES, parse_reference_list};
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{
    CustomFieldsState, FetchedCustomFields, LocalEdits, MoveReason, ObservedTicket, Removal, RemovalReason,
    Store, StoreError, StoreOptions, StoreOutcome, TxEnd, UnlistedStatus, UpsertOutcome,
};
use halosync::ticket::parse::{ParsedItems, ParsedPage};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CustomField, CustomFields, Op, Timestamp, attribute};
use halosync::watermark::Watermark;
use proptest::prelude::*;
use roaring::RoaringTreemap;
use rstest::rstest;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::{Value as Json, json};

fn now() -> Timestamp {
    "2026-11-22T12:00:00.000Z".parse().unwrap()
}

/// A ticket of the server.
#[derive(Clone, Debug, PartialEq)]
struct ServerTicket {
    /// The minute of its `last_update`.
    minute: Option<u32>,
    text: u8,
    /// The values of its custom fields, by field.
    fields: Vec<(i64, u8)>,
}

type Server = BTreeMap<i64, ServerTicket>;

fn ticket(minute: u32, text: u8) -> ServerTicket {
    ServerTicket { minute: Some(minute), text, fields: vec![(1, text), (2, 7)] }
}

fn fields(of: &[(i64, u8)]) -> CustomFields {
    let field = |(id, value): &(i64, u8)| CustomField {
        id: *id,
        name: Some("CFx".into()),
        value: Some(value.to_string()),
        ..CustomField::default()
    };
    of.iter().map(field).collect::<Vec<_>>().into()
}

fn statuses(named: [(i64, &str); 2]) -> ParsedItems<ReferenceRow> {
    let rows = named.map(|(id, name)| serde_json::json!({ "id": id, "name": name }));
    parse_reference_list(STATUSES, serde_json::json!(rows).to_string().as_bytes()).unwrap()
}

/// How custom fields are received.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FieldMode {
    Off,
    Listed,
    Fetched,
}

/// A database with the requests that were made for it, and a consumer of its deltas.
struct TestStore {
    folder: tempfile::TempDir,
    store: Store,
    mode: FieldMode,
    request_no: i64,
    consumer: BTreeMap<i64, Vec<AttributeValue>>,
    exported: i64,
}

impl TestStore {
    fn new(mode: FieldMode) -> TestStore {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(1),
            full_text: true,
            index_last_modified: false,
            now: now(),
        };
        let mut store = Store::open(&folder.path().join("halosync.db"), &options).unwrap();
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: Vec::new(),
            custom_fields: mode != FieldMode::Off,
            mapping: MAPPING_VERSION,
        };
        let statuses = statuses([(2, "In Progress"), (9, "Closed")]);
        store
            .write(TxEnd::Commit, |tx| {
                tx.set_watermark(&Watermark::new(scope), Some(MoveReason::Created), None, now())?;
                tx.store_reference_list(STATUSES, &statuses, 1, now())
            })
            .unwrap();
        TestStore { folder, store, mode, request_no: 0, consumer: BTreeMap::new(), exported: 0 }
    }

    /// A copy that has these tickets already.
    fn of(mode: FieldMode, server: &Server) -> TestStore {
        let mut copy = TestStore::new(mode);
        copy.full_scan(server);
        copy.export();
        copy
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("halosync.db")
    }

    /// What another program does.
    fn edit(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// What a damaged disk does: no trigger fires.
    fn lose(&self, sql: &str) {
        let connection = Connection::open(self.path()).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let text = |column| match row.get_ref(column)? {
                rusqlite::types::ValueRef::Null => Ok("NULL".to_owned()),
                rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
                rusqlite::types::ValueRef::Real(number) => Ok(number.to_string()),
                other => Ok::<_, rusqlite::Error>(other.as_str()?.to_owned()),
            };
            Ok((0..columns).map(text).collect::<Result<Vec<_>, _>>()?.join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The records after the first `after`: operation, ticket, reason, what changed, last row.
    fn records(&self, after: i64) -> Vec<String> {
        self.texts(&format!(
            "SELECT op, UID, reason, changed, CASE WHEN last_row IS NULL THEN NULL ELSE 'row' END
             FROM changes WHERE {after} < seq ORDER BY seq"
        ))
    }

    fn last_seq(&self) -> i64 {
        self.store.read(|tx| tx.greatest_seq()).unwrap()
    }

    fn observe(&mut self, server: &Server) -> Vec<ObservedTicket> {
        self.request_no += 1;
        let rows: Vec<_> = server
            .iter()
            .map(|(id, ticket)| {
                let last_update = ticket.minute.map(|minute| format!("2026-11-22T11:{minute:02}:00"));
                let status = if ticket.text % 2 == 0 { 2 } else { 9 };
                json!({ "id": id, "summary": format!("{id}: text {}", ticket.text), "status_id": status,
                        "last_update": last_update, "estimate": 1.5 })
            })
            .collect();
        let page = json!({ "record_count": rows.len(), "tickets": rows }).to_string();
        let tickets = ParsedPage::parse(page.as_bytes()).unwrap().tickets;
        let observed = tickets.into_iter().map(|ticket| ObservedTicket {
            hash: ticket.hash(),
            custom_fields: match self.mode {
                FieldMode::Off => CustomFieldsState::NotSynced,
                FieldMode::Listed => CustomFieldsState::Provided(fields(&server[&ticket.id()].fields)),
                FieldMode::Fetched => CustomFieldsState::NotProvided,
            },
            ticket,
            request_no: self.request_no,
        });
        observed.collect()
    }

    fn upsert(&mut self, server: &Server) -> UpsertOutcome {
        let mut observed = self.observe(server);
        self.store
            .write(TxEnd::Commit, |tx| {
                tx.apply_status_names(&mut observed)?;
                tx.upsert(&observed, 1, now())
            })
            .unwrap()
    }

    /// Receives one row as it is, with its custom fields if they are synchronized.
    fn receive(&mut self, row: &Json) -> UpsertOutcome {
        self.request_no += 1;
        let page = json!({ "record_count": 1, "tickets": [row] }).to_string();
        let mut ticket = ParsedPage::parse(page.as_bytes()).unwrap().tickets.remove(0);
        let provided = ticket.take_custom_fields();
        let custom_fields = match self.mode {
            FieldMode::Off => CustomFieldsState::NotSynced,
            FieldMode::Listed | FieldMode::Fetched => {
                provided.map_or(CustomFieldsState::NotProvided, CustomFieldsState::Provided)
            }
        };
        let observed =
            ObservedTicket { hash: ticket.hash(), custom_fields, ticket, request_no: self.request_no };
        self.store.write(TxEnd::Commit, |tx| tx.upsert([&observed], 1, now())).unwrap()
    }

    fn unequal_rows(&self) -> Vec<u64> {
        self.store.read(|tx| tx.unequal_hashes()).unwrap().tickets().iter().collect()
    }

    /// What a run with a verified full scan does: older versions and deletions are confirmed by the server.
    fn full_scan(&mut self, server: &Server) -> LocalEdits {
        let edits = self.store.write(TxEnd::Commit, |tx| tx.mark_local_edits(1, now())).unwrap();
        let outcome = self.upsert(server);
        let mut older = self.observe(server);
        older.retain(|observed| outcome.older.contains(&observed.ticket.id()));
        let seen: RoaringTreemap = server.keys().map(|id| id.cast_unsigned()).collect();
        self.store
            .write(TxEnd::Commit, |tx| {
                tx.apply_status_names(&mut older)?;
                tx.apply_older(&older, 1, now())?;
                let reason = RemovalReason::Vanished;
                let unseen = tx.as_read_tx().unseen_ids(&seen)?;
                let removals: Vec<_> = unseen.into_iter().map(|id| Removal::new(id, reason)).collect();
                tx.remove(&removals, 1, now())
            })
            .unwrap();
        self.fetch_pending(server);
        edits
    }

    fn fetch_pending(&mut self, server: &Server) {
        let pending = self.store.read(|tx| tx.unattempted_fetches(i64::MIN, 1_000)).unwrap();
        for fetch in pending {
            self.request_no += 1;
            let fetched = FetchedCustomFields {
                id: fetch.id,
                fields: fields(&server[&fetch.id].fields),
                last_update: None,
                request_no: self.request_no,
            };
            let outcome =
                self.store.write(TxEnd::Commit, |tx| tx.store_custom_fields(&fetched, 1, now())).unwrap();
            assert!(matches!(outcome, StoreOutcome::Changed | StoreOutcome::Unchanged), "{outcome:?}");
        }
    }

    /// Gives the consumer what it has not got yet.
    fn export(&mut self) {
        if self.exported == self.last_seq() {
            return;
        }
        let consumer = &mut self.consumer;
        self.store
            .read(|tx| {
                tx.delta(self.exported, |row| {
                    let mut cells: Vec<_> =
                        row.cells.iter().map(|cell| AttributeValue::from(*cell)).collect();
                    for position in attribute::VOLATILE {
                        cells[position] = AttributeValue::Null;
                    }
                    let AttributeValue::Integer(id) = cells[attribute::UID] else {
                        panic!("a row without an id: {:?}", row.op)
                    };
                    match row.op {
                        Op::Create | Op::Update => consumer.insert(id, cells),
                        Op::Delete => consumer.remove(&id),
                    };
                    Ok::<_, StoreError>(())
                })
            })
            .unwrap();
        self.exported = self.last_seq();
    }

    /// Lets the records age out that the consumer has.
    fn prune(&mut self) {
        let since = now().plus(TimeDelta::days(1));
        let exported = self.exported;
        self.edit(&format!(
            "INSERT OR REPLACE INTO consumers (name, folder, exported_seq) VALUES ('c', '', {exported})"
        ));
        self.store.write(TxEnd::Commit, |tx| tx.prune_changes(since)).unwrap();
    }

    /// The rows of `tickets` without volatile attributes.
    fn tickets(&self) -> Vec<String> {
        let columns: Vec<_> = ATTRIBUTES
            .iter()
            .enumerate()
            .filter(|(position, _)| !attribute::VOLATILE.contains(position))
            .map(|(_, attribute)| format!("\"{}\"", attribute.name))
            .collect();
        self.texts(&format!("SELECT {} FROM tickets ORDER BY UID", columns.join(", ")))
    }

    fn custom_fields(&self) -> Vec<String> {
        self.texts("SELECT * FROM custom_fields ORDER BY UID, FIELD_ID")
    }

    /// Asserts that tables and consumer have what the server has, and that nothing is left to repair.
    fn assert_converged(&mut self, server: &Server) {
        let fresh = TestStore::of(self.mode, server);
        assert_eq!(self.tickets(), fresh.tickets());
        assert_eq!(self.custom_fields(), fresh.custom_fields());
        self.export();
        let consumer: BTreeMap<_, _> = std::mem::take(&mut self.consumer);
        (self.consumer, self.exported) = (BTreeMap::new(), 0);
        self.export();
        assert_eq!(consumer, self.consumer, "the deltas do not fold to the tickets");
        let (seq, edits) = (self.last_seq(), self.full_scan(server));
        assert_eq!((edits, self.records(seq)), (LocalEdits::default(), vec![]), "not silent");
        let unequal = self.store.read(|tx| tx.unequal_hashes()).unwrap();
        assert!(unequal.tickets().is_empty(), "{unequal:?}");
    }

    /// Asserts that a search finds what is stored and nothing else.
    fn assert_full_text_agrees(&self) {
        self.edit("INSERT INTO tickets_fts (tickets_fts, rank) VALUES ('integrity-check', 1)");
    }
}

fn three_tickets() -> Server {
    [(1, ticket(10, 0)), (2, ticket(20, 1)), (3, ticket(30, 2))].into()
}

/// Edits whose repair is one record of ticket 2.
#[rstest]
#[case::a_value(
    "UPDATE tickets SET NAME = 'mine' WHERE UID = 2",
    r#"u|2|repaired|{"NAME":["mine","2: text 1"]}|NULL"#
)]
#[case::a_status_name(
    "UPDATE tickets SET STATUS = 'mine' WHERE UID = 2",
    r#"u|2|repaired|{"STATUS":["mine","Closed"]}|NULL"#
)]
#[case::a_status_number(
    "UPDATE tickets SET STATUS_ID = 2 WHERE UID = 2",
    r#"u|2|repaired|{"STATUS_ID":[2,9]}|NULL"#
)]
#[case::a_later_update_time(
    "UPDATE tickets SET SOURCE_LAST_MODIFIED = '2099-01-01T00:00:00.000Z' WHERE UID = 2",
    r#"u|2|repaired|{"SOURCE_LAST_MODIFIED":["2099-01-01T00:00:00.000Z","2026-11-22T11:20:00.000Z"]}|NULL"#
)]
#[case::a_deleted_row("DELETE FROM tickets WHERE UID = 2", "u|2|repaired|{}|NULL")]
#[case::a_custom_field(
    "UPDATE custom_fields SET VALUE = 'mine' WHERE UID = 2 AND FIELD_ID = 1",
    r#"u|2|repaired|{"CUSTOM.1":["mine","1"]}|NULL"#
)]
#[case::a_deleted_custom_field(
    "DELETE FROM custom_fields WHERE UID = 2 AND FIELD_ID = 2",
    r#"u|2|repaired|{"CUSTOM.2":[null,"7"],"CUSTOM.2.NAME":[null,"CFx"]}|NULL"#
)]
#[case::another_custom_field(
    "INSERT INTO custom_fields (UID, FIELD_ID, VALUE) VALUES (2, 3, 'mine')",
    r#"u|2|repaired|{"CUSTOM.3":["mine",null]}|NULL"#
)]
#[case::a_replaced_custom_field(
    "REPLACE INTO custom_fields (UID, FIELD_ID, NAME, VALUE) VALUES (2, 1, 'CFx', 'mine')",
    r#"u|2|repaired|{"CUSTOM.1":["mine","1"]}|NULL"#
)]
#[case::a_lost_row("lose DELETE FROM tickets WHERE UID = 2", "u|2|repaired|{}|NULL")]
#[case::a_ticket_lost_from_both_tables(
    "lose DELETE FROM tickets WHERE UID = 2; DELETE FROM ticket_state WHERE UID = 2",
    "u|2|repaired|{}|NULL"
)]
#[case::a_lost_status_name(
    "lose UPDATE tickets SET STATUS = '9' WHERE UID = 2",
    r#"u|2|repaired|{"STATUS":["9","Closed"]}|NULL"#
)]
fn edit_is_repaired_with_one_record(
    #[case] sql: &str,
    #[case] record: &str,
    #[values(FieldMode::Listed, FieldMode::Fetched)] mode: FieldMode,
) {
    let server = three_tickets();
    let mut copy = TestStore::of(mode, &server);
    let seq = copy.last_seq();
    match sql.strip_prefix("lose ") {
        Some(sql) => copy.lose(sql),
        None => copy.edit(sql),
    }
    let edits = copy.full_scan(&server);
    assert!(!edits.is_empty(), "{sql}");
    assert_eq!(copy.records(seq), [record], "{sql}");
    copy.assert_converged(&server);
    copy.assert_full_text_agrees();
}

/// Edits that leave every value as it is need no record.
#[rstest]
#[case("UPDATE tickets SET NAME = NAME")]
#[case("UPDATE custom_fields SET VALUE = VALUE")]
#[case("DELETE FROM ticket_state")]
#[case("UPDATE ticket_state SET hash = 5, request_no = 1 << 62, fields_hash = 5, fields_no = 1 << 62")]
#[case("REPLACE INTO tickets SELECT * FROM tickets WHERE UID = 2")]
fn edit_without_a_difference_is_repaired_without_a_record(
    #[case] sql: &str,
    #[values(FieldMode::Off, FieldMode::Listed, FieldMode::Fetched)] mode: FieldMode,
) {
    let server = three_tickets();
    let mut copy = TestStore::of(mode, &server);
    let seq = copy.last_seq();
    copy.edit(sql);
    copy.full_scan(&server);
    assert_eq!(copy.records(seq), [""; 0], "{sql}");
    copy.assert_converged(&server);
    copy.assert_full_text_agrees();
}

#[test]
fn version_that_is_newer_than_the_edited_row_is_an_update_and_no_repair() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    let seq = copy.last_seq();
    copy.edit("UPDATE tickets SET NAME = 'mine' WHERE UID = 2");
    server.get_mut(&2).unwrap().minute = Some(21);
    copy.full_scan(&server);
    let changed = r#"{"NAME":["mine","2: text 1"],"SOURCE_LAST_MODIFIED":["2026-11-22T11:20:00.000Z","2026-11-22T11:21:00.000Z"]}"#;
    assert_eq!(copy.records(seq), [format!("u|2|NULL|{changed}|NULL")]);
    copy.assert_converged(&server);
}

#[test]
fn incremental_scan_stores_tickets_whose_row_or_state_is_lost() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    copy.lose("DELETE FROM tickets WHERE UID = 1; DELETE FROM ticket_state WHERE UID = 2");
    for (id, minute) in [(1, 40), (2, 41), (3, 42)] {
        server.insert(id, ticket(minute, 4));
    }
    let outcome = copy.upsert(&server);
    assert_eq!((outcome.changes.created, outcome.changes.updated), (0, 3));
    copy.assert_converged(&server);
    copy.assert_full_text_agrees();
}

#[test]
fn ticket_that_is_lost_here_and_on_the_server_is_recorded_as_vanished_without_a_row() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    let seq = copy.last_seq();
    copy.lose("DELETE FROM tickets WHERE UID IN (1, 2); DELETE FROM ticket_state WHERE UID = 1");
    server.retain(|id, _| *id == 3);
    let edits = copy.full_scan(&server);
    assert_eq!(edits.lost, RoaringTreemap::from_iter([1, 2]));
    assert_eq!(copy.records(seq), ["d|1|vanished|NULL|NULL", "d|2|vanished|NULL|NULL"]);
    assert_eq!(
        copy.texts("SELECT UID, REASON, NAME FROM deleted_tickets ORDER BY UID"),
        ["1|vanished|NULL", "2|vanished|NULL"]
    );
    copy.assert_converged(&server);
    copy.assert_full_text_agrees();
}

#[test]
fn lost_ticket_whose_records_have_aged_out_is_repaired() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    copy.prune();
    assert_eq!(copy.texts("SELECT COUNT(*) FROM changes"), ["0"]);
    let seq = copy.last_seq();
    copy.lose("DELETE FROM tickets WHERE UID = 1");
    copy.edit(
        "UPDATE tickets SET NAME = 'mine', SOURCE_LAST_MODIFIED = '2099-01-01T00:00:00.000Z' WHERE UID = 2",
    );
    copy.full_scan(&server);
    let records = copy.records(seq);
    assert!(records[0] == "u|1|repaired|{}|NULL" && records[1].starts_with("u|2|repaired|"), "{records:?}");
    copy.assert_converged(&server);
}

#[test]
fn ticket_whose_state_and_records_are_gone_is_recorded_for_consumers_that_missed_it() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    copy.prune();
    copy.lose("DELETE FROM ticket_state WHERE UID = 2");
    let seq = copy.last_seq();
    (copy.consumer, copy.exported) = (BTreeMap::new(), 0);
    copy.export();
    assert!(!copy.consumer.contains_key(&2), "it may be a row of another program");
    copy.full_scan(&server);
    assert_eq!(copy.records(seq), ["u|2|repaired|{}|NULL"]);
    copy.assert_converged(&server);
}

#[test]
fn row_that_another_program_inserted_with_its_state_leaves_only_by_the_servers_word() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Off, &server);
    let seq = copy.last_seq();
    copy.edit(
        "INSERT INTO tickets (UID, NAME) VALUES (9, 'mine');
         INSERT INTO ticket_state (UID, hash, request_no, first_seen_at, last_seen_at, last_seq)
         VALUES (9, 5, 5, 'x', '2026-11-22T12:00:00.000Z', 0)",
    );
    assert_eq!(copy.full_scan(&server).unrecorded, RoaringTreemap::from_iter([9]));
    assert_eq!(copy.records(seq), ["d|9|vanished|NULL|row"]);
    copy.assert_converged(&server);
}

#[test]
fn row_that_another_program_inserted_leaves_only_by_the_servers_word() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    let seq = copy.last_seq();
    copy.edit("INSERT INTO tickets (UID, NAME) VALUES (9, 'mine')");
    let edits = copy.store.write(TxEnd::Commit, |tx| tx.mark_local_edits(1, now())).unwrap();
    assert_eq!(edits.without_state, RoaringTreemap::from_iter([9]));
    let seen = server.keys().map(|id| id.cast_unsigned()).collect();
    assert_eq!(copy.store.read(|tx| tx.unseen_ids(&seen)).unwrap(), [9], "the server is asked about it");
    copy.full_scan(&server);
    assert_eq!(copy.records(seq), ["d|9|vanished|NULL|row"]);
    copy.assert_converged(&server);
}

#[test]
fn ticket_that_another_program_inserted_before_the_server_showed_it_is_created_for_consumers() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    let seq = copy.last_seq();
    copy.edit("INSERT INTO tickets (UID, NAME) VALUES (4, 'mine')");
    server.insert(4, ticket(40, 4));
    copy.full_scan(&server);
    assert_eq!(copy.records(seq), ["c|4|NULL|NULL|NULL"]);
    copy.assert_converged(&server);
}

#[test]
fn renamed_status_keeps_the_hash_and_an_emptied_one_empty() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Off, &server);
    copy.edit("UPDATE tickets SET NAME = 'mine' WHERE UID = 1");
    let before = copy.texts("SELECT UID, hash FROM ticket_state");
    assert_eq!(before[0], "1|NULL");
    let renamed = statuses([(2, "Working"), (9, "Done")]);
    copy.store.write(TxEnd::Commit, |tx| tx.store_reference_list(STATUSES, &renamed, 1, now())).unwrap();
    assert_eq!(copy.texts("SELECT UID, hash FROM ticket_state"), before);
    assert_eq!(copy.texts("SELECT STATUS FROM tickets"), ["Working", "Done", "Working"]);
}

#[test]
fn repair_is_no_event_in_the_views() {
    let server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Off, &server);
    let views = "SELECT UID, STATUS, since, until FROM status_intervals
                 UNION ALL SELECT UID, seq, op, attribute FROM ticket_history";
    let before = copy.texts(views);
    copy.edit("UPDATE tickets SET STATUS = 'mine', NAME = 'mine' WHERE UID = 2");
    copy.full_scan(&server);
    assert_eq!(copy.texts(views), before);
}

#[test]
fn custom_fields_that_belong_to_no_ticket_are_deleted() {
    let server = three_tickets();
    for mode in [FieldMode::Off, FieldMode::Listed, FieldMode::Fetched] {
        let mut copy = TestStore::of(mode, &server);
        let seq = copy.last_seq();
        copy.edit("INSERT INTO custom_fields (UID, FIELD_ID, VALUE) VALUES (7, 1, 'mine')");
        let edits = copy.full_scan(&server);
        assert_eq!(edits.orphaned_fields, RoaringTreemap::from_iter([7]), "{mode:?}");
        assert_eq!(copy.records(seq), [""; 0], "{mode:?}");
        copy.assert_converged(&server);
    }
}

#[test]
fn leftover_custom_fields_of_a_new_ticket_are_replaced_by_an_incremental_scan() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Listed, &server);
    copy.edit("INSERT INTO custom_fields (UID, FIELD_ID, VALUE) VALUES (4, 9, 'mine')");
    server.insert(4, ticket(40, 4));
    copy.upsert(&server);
    copy.assert_converged(&server);
}

#[test]
fn lost_row_is_in_no_delta_before_its_repair() {
    let mut server = three_tickets();
    let mut copy = TestStore::of(FieldMode::Off, &server);
    server.insert(2, ticket(40, 4));
    copy.upsert(&server);
    copy.lose("DELETE FROM tickets WHERE UID = 2");
    let counts = copy.store.read(|tx| tx.delta(copy.exported, |_| Ok::<_, StoreError>(()))).unwrap();
    copy.export();
    assert_eq!((counts.total(), copy.consumer.len()), (0, 3), "the consumer keeps what it has");
    copy.full_scan(&server);
    copy.assert_converged(&server);
}

#[test]
fn deep_check_finds_what_no_trigger_saw_and_emptied_hashes_repair_it() {
    let server = three_tickets();
    for mode in [FieldMode::Listed, FieldMode::Fetched] {
        let mut copy = TestStore::of(mode, &server);
        copy.lose(
            "UPDATE tickets SET NAME = 'flipped' WHERE UID = 1; DELETE FROM custom_fields WHERE UID = 2;
             UPDATE tickets SET TICKET_AGE = 99 WHERE UID = 3",
        );
        assert!(copy.full_scan(&server).is_empty(), "joins do not see it");
        let unequal = copy.store.read(|tx| tx.unequal_hashes()).unwrap();
        assert_eq!(unequal.rows, RoaringTreemap::from_iter([1]), "volatile attributes do not count");
        assert_eq!(unequal.custom_fields, RoaringTreemap::from_iter([2]));
        copy.store.write(TxEnd::Commit, |tx| tx.empty_hashes(&unequal.tickets())).unwrap();
        copy.full_scan(&server);
        copy.assert_converged(&server);
    }
}

#[test]
fn no_record_proves_anything_where_some_are_missing() {
    let server = three_tickets();
    for (sql, missing) in [
        ("", 0),
        ("DELETE FROM changes WHERE seq = 2", 1),
        ("DELETE FROM changes WHERE seq > 1", 2),
        ("DELETE FROM changes WHERE seq < 3", 2),
        ("DELETE FROM changes", 3),
    ] {
        let copy = TestStore::of(FieldMode::Off, &server);
        copy.edit(sql);
        copy.store
            .read(|tx| {
                assert_eq!(tx.change_log_extent()?.missing, missing, "{sql}");
                assert_eq!(tx.find_local_edits()?, LocalEdits::default(), "{sql}");
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
    let mut copy = TestStore::of(FieldMode::Off, &server);
    copy.prune();
    let extent = copy.store.read(|tx| tx.change_log_extent()).unwrap();
    assert_eq!((extent.missing, extent.first_complete_seq()), (0, 4), "they aged out");
}

fn row(estimate: &Json) -> Json {
    json!({ "id": 7, "summary": "good", "estimate": estimate, "last_update": "2026-11-22T11:10:00" })
}

const REJECTS: &str = "SELECT UID, attribute, count FROM rejects";
const VALUES: &str = "SELECT NAME, ESTIMATE FROM tickets";

#[test]
fn edited_row_is_no_source_for_a_value_that_cannot_be_read() {
    let mut copy = TestStore::new(FieldMode::Off);
    copy.receive(&row(&json!(1.5)));
    let unreadable = row(&json!("n/a"));
    copy.receive(&unreadable);
    assert_eq!(
        (copy.texts(VALUES), copy.texts(REJECTS)),
        (vec!["good|1.5".into()], vec!["7|ESTIMATE|1".into()])
    );
    let seq = copy.last_seq();
    copy.edit("UPDATE tickets SET ESTIMATE = 99 WHERE UID = 7");
    // The row that was received before is no longer the stored one, although it is recognized.
    copy.receive(&unreadable);
    assert_eq!(copy.texts(VALUES), ["good|NULL"]);
    assert_eq!(copy.records(seq), [r#"u|7|repaired|{"ESTIMATE":[99.0,null]}|NULL"#]);
    assert_eq!((copy.texts(REJECTS), copy.unequal_rows()), (vec!["7|ESTIMATE|1".into()], vec![]));
    assert_eq!(copy.receive(&unreadable).unchanged, 1);
    assert_eq!(copy.last_seq(), seq + 1);
    copy.receive(&row(&json!(1.5)));
    assert_eq!((copy.texts(VALUES), copy.texts(REJECTS)), (vec!["good|1.5".into()], vec![]));
}

#[test]
fn rejects_are_kept_right_where_an_edit_made_no_difference() {
    for (sql, estimate) in
        [("UPDATE tickets SET NAME = NAME", "good|1.5"), ("DELETE FROM ticket_state", "good|1.5")]
    {
        for (next, rejects) in [(json!(1.5), vec![]), (json!("none"), vec!["7|ESTIMATE|1".to_owned()])] {
            let mut copy = TestStore::new(FieldMode::Off);
            copy.receive(&row(&json!(1.5)));
            copy.receive(&row(&json!("n/a")));
            copy.edit(sql);
            let is_readable = rejects.is_empty();
            let seq = copy.last_seq();
            copy.receive(&row(&next));
            assert_eq!(copy.texts(REJECTS), rejects, "{sql}");
            assert_eq!(copy.unequal_rows(), [0; 0], "{sql}");
            assert_eq!(copy.texts("SELECT hash IS NULL FROM ticket_state"), ["0"], "{sql}");
            if is_readable {
                assert_eq!(
                    (copy.texts(VALUES), copy.records(seq)),
                    (vec![estimate.to_owned()], vec![]),
                    "{sql}"
                );
            }
            // Nothing is left behind.
            copy.receive(&row(&json!(1.5)));
            assert_eq!(copy.texts(REJECTS), [""; 0], "{sql}");
            assert_eq!(
                copy.texts("SELECT rejected, received_hash FROM ticket_state"),
                ["NULL|NULL"],
                "{sql}"
            );
        }
    }
}

#[test]
fn value_that_was_altered_unseen_stays_found_while_the_servers_cannot_be_read() {
    let mut copy = TestStore::new(FieldMode::Off);
    copy.receive(&row(&json!(1.5)));
    copy.receive(&row(&json!("n/a")));
    copy.lose("UPDATE tickets SET ESTIMATE = 99 WHERE UID = 7");
    assert_eq!(copy.receive(&row(&json!("n/a"))).unchanged, 1);
    assert_eq!(copy.unequal_rows(), [7], "the repeated row was merged with the altered one");
    copy.store.write(TxEnd::Commit, |tx| tx.empty_hashes(&RoaringTreemap::from_iter([7]))).unwrap();
    copy.receive(&row(&json!("n/a")));
    assert_eq!((copy.texts(VALUES), copy.unequal_rows()), (vec!["good|NULL".into()], vec![]));
}

#[test]
fn nothing_is_waited_for_of_a_ticket_that_is_not_stored() {
    const FETCHES: &str = "SELECT UID FROM pending_fetches";
    const UNLISTED: &str = "SELECT UID FROM unlisted_tickets";
    let mut copy = TestStore::new(FieldMode::Fetched);
    copy.receive(&row(&json!("n/a")));
    copy.store
        .write(TxEnd::Commit, |tx| tx.record_unlisted(7, UnlistedStatus::Forbidden, now(), now()))
        .unwrap();
    copy.prune();
    copy.exported = copy.last_seq();
    copy.prune();
    for table in [REJECTS, FETCHES, UNLISTED] {
        assert_eq!(copy.texts(table).len(), 1, "{table}");
    }
    copy.lose("DELETE FROM tickets; DELETE FROM ticket_state");
    copy.full_scan(&Server::new());
    for table in [REJECTS, FETCHES, UNLISTED] {
        assert_eq!(copy.texts(table), [""; 0], "{table}");
    }
}

#[test]
fn edited_custom_field_is_no_source_for_a_member_that_cannot_be_read() {
    let row = |fields: Json| json!({ "id": 7, "last_update": "2026-11-22T11:10:00", "customfields": fields });
    let good = json!([{ "id": 1, "value": "a", "display": "A" }, { "id": 2, "value": "b" }]);
    let unreadable = json!([{ "id": 1, "value": "a", "display": [] }, { "id": 2, "value": "b" }]);
    let incomplete = json!([{ "id": 1, "value": "a", "display": "A" }, { "id": null, "value": "b" }]);
    for (received, stored, rejects) in [
        (&unreadable, ["1|a|NULL", "2|b|NULL"], "7|CUSTOM.1.DISPLAY|1"),
        // Which of the stored fields the elements without an id are cannot be known.
        (&incomplete, ["1|a|A", "2|b|NULL"], "7|customfields|1"),
    ] {
        let mut copy = TestStore::new(FieldMode::Listed);
        copy.receive(&row(good.clone()));
        let seq = copy.last_seq();
        copy.edit("UPDATE custom_fields SET DISPLAY = 'mine' WHERE FIELD_ID = 1");
        copy.receive(&row(received.clone()));
        assert_eq!(copy.texts("SELECT FIELD_ID, VALUE, DISPLAY FROM custom_fields"), stored);
        assert_eq!(copy.texts(REJECTS), [rejects]);
        let records = copy.records(seq);
        assert!(records.len() == 1 && records[0].starts_with("u|7|repaired|"), "{records:?}");
        copy.receive(&row(good.clone()));
        assert_eq!(copy.texts("SELECT FIELD_ID, VALUE, DISPLAY FROM custom_fields"), ["1|a|A", "2|b|NULL"]);
        assert_eq!((copy.texts(REJECTS), copy.unequal_rows()), (vec![], vec![]));
    }
}

/// What happens between two full scans.
#[derive(Clone, Debug)]
enum Step {
    /// The server has this ticket from now on.
    Set(i64, ServerTicket),
    Delete(i64),
    /// Another program runs this statement.
    Edit(String),
    /// The disk loses this.
    Lose(String),
    /// An incremental scan shows everything, but nothing is joined and nothing removed.
    Upsert,
    FullScan,
    Export,
    Prune,
}

fn id() -> impl Strategy<Value = i64> {
    1i64..7
}

fn server_ticket() -> impl Strategy<Value = ServerTicket> {
    let fields = proptest::collection::btree_map(1i64..4, 0u8..3, 0..3);
    (proptest::option::of(0u32..60), 0u8..4, fields).prop_map(|(minute, text, fields)| ServerTicket {
        minute,
        text,
        fields: fields.into_iter().collect(),
    })
}

fn edit() -> impl Strategy<Value = String> {
    prop_oneof![
        id().prop_map(|id| format!("UPDATE tickets SET NAME = 'mine' WHERE UID = {id}")),
        id().prop_map(|id| format!("UPDATE tickets SET STATUS = 'mine' WHERE UID = {id}")),
        id().prop_map(|id| format!("UPDATE tickets SET STATUS_ID = 77, ESTIMATE = 9 WHERE UID = {id}")),
        (id(), 2000u32..2100).prop_map(|(id, year)| format!(
            "UPDATE tickets SET SOURCE_LAST_MODIFIED = '{year}-01-01T00:00:00.000Z' WHERE UID = {id}"
        )),
        (id(), id()).prop_map(|(from, to)| format!("UPDATE OR REPLACE tickets SET UID = {to} WHERE UID = {from}")),
        id().prop_map(|id| format!("DELETE FROM tickets WHERE UID = {id}")),
        id().prop_map(|id| format!("REPLACE INTO tickets (UID, NAME) VALUES ({id}, 'mine')")),
        id().prop_map(|id| format!("DELETE FROM ticket_state WHERE UID = {id}")),
        id().prop_map(|id| format!(
            "UPDATE ticket_state SET hash = 5, request_no = 1 << 62, fields_hash = 5, fields_no = 1 << 62 WHERE UID = {id}"
        )),
        id().prop_map(|id| format!("UPDATE ticket_state SET hash = 5, fields_hash = NULL WHERE UID = {id}")),
        id().prop_map(|id| format!("UPDATE custom_fields SET VALUE = 'mine' WHERE UID = {id}")),
        id().prop_map(|id| format!("DELETE FROM custom_fields WHERE UID = {id}")),
        (id(), id()).prop_map(|(from, to)| format!("UPDATE OR REPLACE custom_fields SET UID = {to} WHERE UID = {from}")),
        (id(), 1i64..5).prop_map(|(id, field)| format!(
            "REPLACE INTO custom_fields (UID, FIELD_ID, VALUE) VALUES ({id}, {field}, 'mine')"
        )),
    ]
}

fn loss() -> impl Strategy<Value = String> {
    prop_oneof![
        id().prop_map(|id| format!("DELETE FROM tickets WHERE UID = {id}")),
        id().prop_map(|id| format!("DELETE FROM ticket_state WHERE UID = {id}")),
        id().prop_map(|id| format!(
            "DELETE FROM tickets WHERE UID = {id}; DELETE FROM ticket_state WHERE UID = {id}"
        )),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (id(), server_ticket()).prop_map(|(id, ticket)| Step::Set(id, ticket)),
        1 => id().prop_map(Step::Delete),
        5 => edit().prop_map(Step::Edit),
        3 => loss().prop_map(Step::Lose),
        2 => Just(Step::Upsert),
        3 => Just(Step::FullScan),
        2 => Just(Step::Export),
        1 => Just(Step::Prune),
    ];
    proptest::collection::vec(step, 1..25)
}

fn mode() -> impl Strategy<Value = FieldMode> {
    prop_oneof![Just(FieldMode::Off), Just(FieldMode::Listed), Just(FieldMode::Fetched)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn full_scan_after_any_edits_makes_tables_and_consumers_equal_to_the_server(mode in mode(), steps in steps()) {
        let mut server = Server::new();
        let mut copy = TestStore::new(mode);
        let mut pruned = false;
        for step in steps {
            match step {
                Step::Set(id, mut ticket) => {
                    if mode == FieldMode::Fetched {
                        // A list row does not show that only custom fields changed.
                        let minute = u8::try_from(ticket.minute.unwrap_or(60)).unwrap();
                        ticket.fields = vec![(1, ticket.text), (2, minute)];
                    }
                    server.insert(id, ticket);
                }
                Step::Delete(id) => drop(server.remove(&id)),
                Step::Edit(sql) => copy.edit(&sql),
                Step::Lose(sql) => copy.lose(&sql),
                Step::Upsert => drop(copy.upsert(&server)),
                Step::FullScan => drop(copy.full_scan(&server)),
                Step::Export => copy.export(),
                Step::Prune => {
                    copy.prune();
                    pruned = true;
                }
            }
        }
        copy.full_scan(&server);
        if pruned {
            // Nothing tells of a ticket that both tables and the server lost after its records aged out.
            copy.export();
            copy.consumer.retain(|id, _| server.contains_key(id));
        }
        copy.assert_converged(&server);
    }
}
