//! Lives of a ticket, written through the real store.

use serde_json::{Value as Json, json};

use super::{TicketHistory, TicketRowAt};
use crate::app::AppError;
use crate::reference::{ReferenceTable, parse_reference_list};
use crate::store::{
    CustomFieldsState, FetchFailure, FetchedCustomFields, ObservedTicket, Removal, RemovalReason, RunEnd,
    RunKind, ScanOutcome, ScanStats, Store, TxEnd, UnlistedStatus, UpsertOutcome,
};
use crate::ticket::parse::ParsedPage;
use crate::ticket::{CustomFields, Timestamp};
use crate::watermark::ScanKind;

/// The ticket of the examples.
pub(crate) const TICKET: i64 = 4_711;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The row of the ticket as the server lists it first.
pub(crate) fn row() -> Json {
    json!({
        "id": TICKET, "summary": "The printer does not print", "idsummary": "4711 - The printer does not print",
        "status_id": 1, "tickettype_id": 1, "priority_id": 3, "sla_id": 1, "agent_id": 1, "team": "1st Line",
        "team_id": 1, "client_id": 12, "client_name": "Acme Ltd", "site_id": 20, "site_name": "Berlin",
        "user_id": 33, "user_name": "Jane Doe", "user_email": "jane@acme.example", "onhold": false,
        "details": "The printer on the second floor blinks.", "category_1": "Hardware>Printer", "ticketage": 0.5,
        "dateoccurred": "2026-11-20T08:00:00", "last_update": "2026-11-20T08:00:00",
        "dateclosed": null, "responsedate": null,
    })
}

/// A row with other values.
pub(crate) fn with(mut row: Json, changes: Json) -> Json {
    let Json::Object(changes) = changes else { panic!("an object") };
    row.as_object_mut().unwrap().extend(changes);
    row
}

/// A database in which each run is one verified scan, which starts five seconds before it stores its rows.
pub(crate) struct ExampleStore {
    pub(crate) store: Store,
    run_id: i64,
    request_no: i64,
}

impl ExampleStore {
    pub(crate) fn new() -> ExampleStore {
        let store = Store::in_memory(at("2026-11-20T07:00:00.000Z")).unwrap();
        let mut example = ExampleStore { store, run_id: 0, request_no: 0 };
        for (table, rows) in [
            (
                "statuses",
                json!([{ "id": 1, "name": "New" }, { "id": 2, "name": "In Progress" }, { "id": 9, "name": "Closed" }]),
            ),
            ("ticket_types", json!([{ "id": 1, "name": "Incident" }])),
            ("agents", json!([{ "id": 1, "name": "Unassigned" }, { "id": 7, "name": "Ada Byron" }])),
            ("teams", json!([{ "id": 1, "name": "1st Line" }, { "id": 2, "name": "2nd Line" }])),
            ("slas", json!([{ "id": 1, "name": "Standard" }, { "id": 2, "name": "Gold" }])),
            (
                "priorities",
                json!([
                    { "id": "a", "slaid": 1, "priorityid": 3, "name": "Medium" },
                    { "id": "b", "slaid": 1, "priorityid": 2, "name": "High" },
                    { "id": "c", "slaid": 2, "priorityid": 2, "name": "Urgent" },
                ]),
            ),
        ] {
            example.list_names(table, &rows, at("2026-11-20T07:00:00.000Z"));
        }
        example
    }

    /// Stores a reference table as the server lists it.
    pub(crate) fn list_names(&mut self, table: &str, rows: &Json, now: Timestamp) {
        let table = ReferenceTable::named(table).unwrap();
        let list = parse_reference_list(table, rows.to_string().as_bytes()).unwrap();
        let run_id = self.run_id;
        self.store.write(TxEnd::Commit, |tx| tx.store_reference_list(table, &list, run_id, now)).unwrap();
    }

    /// A run with a full or an incremental scan that stores a row.
    pub(crate) fn list(&mut self, is_full: bool, now: &str, row: &Json) -> UpsertOutcome {
        self.list_with(is_full, at(now), row, None)
    }

    /// The same with custom fields, which are synchronized then.
    pub(crate) fn list_with(
        &mut self,
        is_full: bool,
        now: Timestamp,
        row: &Json,
        fields: Option<&CustomFieldsState>,
    ) -> UpsertOutcome {
        self.request_no += 1;
        let page = json!({ "record_count": 1, "tickets": [row] }).to_string();
        let request_no = self.request_no;
        let observed = ParsedPage::parse(page.as_bytes()).unwrap().tickets.into_iter().map(|mut ticket| {
            let provided = ticket.take_custom_fields();
            let provided = provided.map(CustomFieldsState::Provided);
            let custom_fields = fields.cloned().or(provided).unwrap_or(CustomFieldsState::NotSynced);
            ObservedTicket { hash: ticket.hash(), ticket, custom_fields, request_no }
        });
        let mut observed: Vec<_> = observed.collect();
        self.run(is_full, now, |tx, run_id| {
            tx.apply_status_names(&mut observed)?;
            tx.upsert(&observed, run_id, now)
        })
    }

    /// A run with a verified scan.
    fn run<T>(
        &mut self,
        is_full: bool,
        now: Timestamp,
        work: impl FnOnce(&crate::store::WriteTx<'_>, i64) -> Result<T, crate::store::StoreError>,
    ) -> T {
        let started_at = now.minus(chrono::TimeDelta::seconds(5));
        let kind = if is_full {
            ScanKind::Full
        } else {
            ScanKind::Incremental { from: now.minus(chrono::TimeDelta::minutes(30)) }
        };
        let is_first = self.run_id == 0;
        let (run_id, done) = self
            .store
            .write(TxEnd::Commit, |tx| {
                let run_id = tx.begin_run(RunKind::Sync, started_at)?;
                let scan = tx.begin_scan(run_id, &kind, is_first, started_at)?;
                let done = work(tx, run_id)?;
                tx.record_scan(scan, &ScanStats::default(), Some(ScanOutcome::Verified), now)?;
                tx.finish_run(run_id, RunEnd::Complete, now)?;
                Ok((run_id, done))
            })
            .unwrap();
        self.run_id = run_id;
        done
    }

    /// A run that finds out that the server was restored from a backup.
    pub(crate) fn go_back(&mut self, now: &str, row: &Json) {
        self.request_no += 1;
        let page = json!({ "record_count": 1, "tickets": [row] }).to_string();
        let ticket = ParsedPage::parse(page.as_bytes()).unwrap().tickets.remove(0);
        let custom_fields = CustomFieldsState::NotSynced;
        let observed =
            ObservedTicket { hash: ticket.hash(), ticket, custom_fields, request_no: self.request_no };
        let mut observed = vec![observed];
        self.run(true, at(now), |tx, run_id| {
            tx.apply_status_names(&mut observed)?;
            tx.apply_older(&observed, run_id, at(now))
        });
    }

    /// A full scan that does not show the ticket, which is then removed.
    pub(crate) fn remove(&mut self, now: &str, reason: RemovalReason, merged_into: Option<i64>) {
        let removal = Removal { merged_into, ..Removal::new(TICKET, reason) };
        self.run(true, at(now), |tx, run_id| tx.remove(&[removal], run_id, at(now)));
    }

    /// Marks the row as edited by another program.
    pub(crate) fn mark_edited(&mut self) {
        let edited = [TICKET.cast_unsigned()].into_iter().collect();
        self.store.write(TxEnd::Commit, |tx| tx.empty_hashes(&edited)).unwrap();
    }

    /// Stores custom fields that were fetched for the ticket alone.
    pub(crate) fn fetch_fields(&mut self, now: &str, fields: CustomFields, last_update: &str) {
        self.request_no += 1;
        let (request_no, last_update) = (self.request_no, Some(at(last_update)));
        let fetched = FetchedCustomFields { id: TICKET, fields, last_update, request_no };
        self.run(false, at(now), |tx, run_id| tx.store_custom_fields(&fetched, run_id, at(now)));
    }

    pub(crate) fn history(&self, now: &str) -> TicketHistory {
        self.store.read(|tx| TicketHistory::read(tx, TICKET, at(now))).unwrap()
    }

    pub(crate) fn row_at(&self, time: Timestamp) -> Result<TicketRowAt, AppError> {
        self.store.read(|tx| TicketRowAt::read(tx, TICKET, time, at("2027-01-01T00:00:00.000Z")))
    }
}

/// Custom fields as the server sends them.
pub(crate) fn custom_fields(elements: &Json) -> CustomFields {
    let page = json!({ "record_count": 1, "tickets": [{ "id": 1, "customfields": elements }] }).to_string();
    ParsedPage::parse(page.as_bytes()).unwrap().tickets.remove(0).take_custom_fields().unwrap()
}

/// The present of the examples.
pub(crate) const NOW: &str = "2026-11-23T12:00:00.000Z";

/// Created, assigned, worked on, closed and reopened.
pub(crate) fn normal_life() -> ExampleStore {
    let mut example = ExampleStore::new();
    example.list(true, "2026-11-20T08:10:03.512Z", &row());
    let assigned = with(
        row(),
        json!({ "agent_id": 7, "team": "2nd Line", "team_id": 2, "status_id": 2, "last_update": "2026-11-20T08:12:30" }),
    );
    example.list(false, "2026-11-20T08:15:03.100Z", &assigned);
    let worked_on = with(
        assigned,
        json!({
            "sla_id": 2, "priority_id": 2, "last_update": "2026-11-20T09:00:00", "user_id": 34, "user_name": "John Roe",
            "details": format!("The printer on the second floor blinks. {}", "It was switched off and on again. ".repeat(20)),
        }),
    );
    example.list(false, "2026-11-20T09:00:10.000Z", &worked_on);
    let touched = with(worked_on, json!({ "last_update": "2026-11-20T09:30:00" }));
    example.list(false, "2026-11-20T09:30:10.000Z", &touched);
    let renamed = with(touched, json!({ "client_name": "Acme Limited" }));
    example.list(true, "2026-11-20T23:59:58.000Z", &renamed);
    let closed = with(
        renamed,
        json!({ "status_id": 9, "last_update": "2026-11-20T23:59:59", "dateclosed": "2026-11-20T23:59:59" }),
    );
    example.list(false, "2026-11-21T00:04:00.000Z", &closed);
    let reopened = with(
        closed,
        json!({ "status_id": 2, "agent_id": 57, "last_update": "2026-11-22T10:07:12", "dateclosed": null }),
    );
    example.list(false, "2026-11-22T10:10:03.000Z", &reopened);
    example
}

/// Stored, and waiting for its custom fields; one value cannot be read, and the server no longer lists it.
pub(crate) fn unlisted_life() -> ExampleStore {
    let mut example = ExampleStore::new();
    let not_provided = Some(CustomFieldsState::NotProvided);
    let unreadable = with(row(), json!({ "priority_id": "high\u{1b}[31m", "impact": [1, 2] }));
    example.list_with(true, at("2026-11-20T08:10:03.512Z"), &unreadable, not_provided.as_ref());
    let (due, ask) = (at("2026-11-22T18:00:00.000Z"), at("2026-11-24T03:00:00.000Z"));
    example.run(true, at("2026-11-22T03:00:00.000Z"), |tx, _| {
        tx.reschedule_fetch(TICKET, FetchFailure::Forbidden, due)?;
        tx.record_unlisted(TICKET, UnlistedStatus::Forbidden, at("2026-11-22T03:00:00.000Z"), ask)
    });
    example
}

/// Removed, returned, and its status renamed; repaired, and brought back by a restored server.
pub(crate) fn returned_life() -> ExampleStore {
    let mut example = ExampleStore::new();
    example.list(true, "2026-11-20T08:10:03.000Z", &row());
    example.remove("2026-11-21T03:00:00.000Z", RemovalReason::OutOfScope, None);
    let returned = with(row(), json!({ "status_id": 2, "last_update": "2026-11-21T04:00:00" }));
    example.list(true, "2026-11-21T05:00:00.000Z", &returned);
    let statuses = json!([
        { "id": 1, "name": "New" }, { "id": 2, "name": "Working\u{202e}" }, { "id": 9, "name": "Closed" },
    ]);
    example.list_names("statuses", &statuses, at("2026-11-21T06:00:00.000Z"));
    example.mark_edited();
    let repaired = with(returned, json!({ "summary": "The printer prints" }));
    example.list(true, "2026-11-21T07:00:00.000Z", &repaired);
    let later = with(repaired.clone(), json!({ "flagged": true, "last_update": "2026-11-21T08:00:00" }));
    example.list(false, "2026-11-21T08:00:10.000Z", &later);
    example.go_back("2026-11-21T09:00:00.000Z", &repaired);
    example
}

/// With custom fields that change, one of them called like an attribute.
pub(crate) fn life_with_custom_fields() -> ExampleStore {
    let mut example = ExampleStore::new();
    let fields = |service: &str, status: &str| {
        json!([
            { "id": 120, "name": "CFService", "label": "Service", "type": 2, "value": "3", "display": service },
            { "id": 121, "name": "CFStatus", "label": "Status", "type": 0, "value": status },
        ])
    };
    let first = with(row(), json!({ "customfields": fields("E-mail", "a") }));
    example.list(true, "2026-11-20T08:10:03.000Z", &first);
    let second = with(
        row(),
        json!({ "customfields": fields("Telephone", "a"), "urgency": 2, "last_update": "2026-11-20T09:00:00" }),
    );
    example.list(false, "2026-11-20T09:00:30.000Z", &second);
    example.fetch_fields(
        "2026-11-20T09:05:00.000Z",
        custom_fields(&fields("Telephone", "b")),
        "2026-11-20T09:00:00.000Z",
    );
    example
}
