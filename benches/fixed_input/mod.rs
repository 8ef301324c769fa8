//! The same tickets in every run: pages of a simulated server at a fixed time.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{ApiRequest, Server, SimulatorSettings};
use halosync::store::{CustomFieldsState, ObservedTicket, Store, StoreOptions};
use halosync::ticket::Timestamp;
use halosync::ticket::attribute::STATUS_ID;
use halosync::ticket::parse::ParsedPage;

/// Tickets on a page.
pub(crate) const PAGE_SIZE: u32 = 100;

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

pub(crate) fn timestamp() -> Timestamp {
    Timestamp::new(now()).expect("a year of four digits")
}

/// The bodies of the pages of the list, one after another.
pub(crate) fn pages(tickets: u32) -> impl Iterator<Item = Vec<u8>> {
    let mut server = Server::new(SimulatorSettings { tickets, ..SimulatorSettings::default() }, now());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "halosync-demo"),
        ("client_secret", "demo-secret"),
        ("scope", "read:tickets"),
    ];
    let response = server.respond(&ApiRequest::form("/auth/token", &form), now()).json_body().expect("JSON");
    let token = response["access_token"].as_str().expect("a token").to_owned();
    (1..=tickets.div_ceil(PAGE_SIZE)).map(move |page| {
        let target = format!("/api/tickets?pageinate=true&page_no={page}&page_size={PAGE_SIZE}&order=id");
        server.respond(&ApiRequest::get(&target, &token), now()).body
    })
}

/// The tickets of a page, not hashed yet.
pub(crate) fn parsed(page: &[u8]) -> Vec<ObservedTicket> {
    let tickets = ParsedPage::parse(page).expect("a page").tickets.into_iter().map(|mut ticket| {
        let status = ticket.integer(STATUS_ID).map(|status| (status, Some("In Progress".to_owned())));
        ticket.resolve_status_name(&status.into_iter().collect());
        ObservedTicket { ticket, hash: 0, custom_fields: CustomFieldsState::NotSynced, request_no: 1 }
    });
    tickets.collect()
}

pub(crate) fn open(database: &Path) -> Store {
    let busy_timeout = Duration::ZERO;
    let options =
        StoreOptions { busy_timeout, full_text: false, index_last_modified: false, now: timestamp() };
    Store::open(database, &options).expect("a database")
}
