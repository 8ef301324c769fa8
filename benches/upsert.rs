//! What the store costs beyond SQLite: the agent's own way of storing tickets beside the bare upsert of
//! the same parsed rows.
//!
//! `cargo bench --bench upsert`, or `cargo bench --bench upsert -- 20000` for another number of tickets.
//!
//! Bare is one prepared `INSERT … ON CONFLICT DO UPDATE` of all attributes. The agent's way is
//! [`Ticket::hash`](halosync::ticket::Ticket::hash) and `Writing::upsert`: the look at `ticket_state`, the
//! row, its line in `changes`, its state. Both fill a fresh database that the store made, with its schema
//! and its settings, 1,000 rows a transaction, from one thread, and move the log into the file at the end.
//! They take turns, and the medians count. 100,000 parsed tickets need about 600 MB.

#![allow(clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{ApiRequest, Server, SimulatorSettings};
use halosync::store::{CustomFieldsState, ObservedTicket, Store, StoreOptions, TxEnd};
use halosync::ticket::attribute::UID;
use halosync::ticket::parse::ParsedPage;
use halosync::ticket::{ATTRIBUTES, CellValue, Ticket, Timestamp};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};

const TICKETS: u32 = 100_000;
const ROWS_A_PAGE: u32 = 100;
const ROWS_A_TRANSACTION: usize = 1_000;
const TURNS: usize = 3;

fn main() {
    // cargo adds an argument of its own, which is no number.
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(TICKETS);
    let mut sightings = parsed(count);
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("halosync.db");
    let (mut bare, mut agent) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        bare.push(fresh(&database, |database| store_bare(database, &sightings)));
        agent.push(fresh(&database, |database| store_as_agent(database, &mut sightings)));
    }
    let bare = Spent::middle("the bare upsert", &bare, count);
    let agent = Spent::middle("the agent's way", &agent, count);
    println!(
        "rows/s of the agent's way against the bare upsert: {:.2} by wall, {:.2} by CPU",
        bare.wall.div_duration_f64(agent.wall),
        bare.cpu.div_duration_f64(agent.cpu),
    );
}

/// Tickets of a simulated server, read from its pages by the agent's parser; not hashed yet.
fn parsed(count: u32) -> Vec<ObservedTicket> {
    let mut server = Server::new(SimulatorSettings { tickets: count, ..SimulatorSettings::default() }, now());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "halosync-demo"),
        ("client_secret", "demo-secret"),
        ("scope", "read:tickets"),
    ];
    let answer = server.respond(&ApiRequest::form("/auth/token", &form), now()).json_body().expect("JSON");
    let token = answer["access_token"].as_str().expect("a token").to_owned();
    let mut sightings = Vec::new();
    for page in 1..=count.div_ceil(ROWS_A_PAGE) {
        let target = format!("/api/tickets?pageinate=true&page_no={page}&page_size={ROWS_A_PAGE}&order=id");
        let answer = server.respond(&ApiRequest::get(&target, &token), now());
        for mut ticket in ParsedPage::parse(&answer.body).expect("a page").tickets {
            ticket.resolve_status_name(|_| Some("In Progress".to_owned()));
            sightings.push(ObservedTicket {
                ticket,
                hash: 0,
                custom_fields: CustomFieldsState::NotSynced,
                request_no: page.into(),
            });
        }
    }
    sightings
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn stamp() -> Timestamp {
    Timestamp::new(now()).expect("a year of four digits")
}

/// Gives `work` a database of the store without tickets, and takes it away afterwards.
fn fresh(database: &Path, work: impl FnOnce(&Path) -> Spent) -> Spent {
    open(database).close().expect("closed");
    let spent = work(database);
    for ending in ["db", "db-wal", "db-shm"] {
        fs::remove_file(database.with_extension(ending)).expect("removed");
    }
    spent
}

fn open(database: &Path) -> Store {
    let busy_timeout = Duration::ZERO;
    let options = StoreOptions { busy_timeout, full_text: false, index_last_modified: false, now: stamp() };
    Store::open(database, &options).expect("a database")
}

fn store_as_agent(database: &Path, sightings: &mut [ObservedTicket]) -> Spent {
    let mut store = open(database);
    let clock = Clock::start();
    for batch in sightings.chunks_mut(ROWS_A_TRANSACTION) {
        for sighting in &mut *batch {
            sighting.hash = sighting.ticket.hash();
        }
        let batch = &*batch;
        store.write(TxEnd::Commit, |writing| writing.upsert(batch, 1, stamp())).expect("stored");
    }
    store.close().expect("closed");
    clock.stop()
}

fn store_bare(database: &Path, sightings: &[ObservedTicket]) -> Spent {
    let mut connection = Connection::open(database).expect("a database");
    // What `Store::open` sets, where it is a matter of the connection.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("set");
    connection.pragma_update(None, "synchronous", "FULL").expect("set");
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).expect("set");
    connection.pragma_update(None, "cell_size_check", true).expect("set");
    let upsert = upsert();
    let clock = Clock::start();
    for batch in sightings.chunks(ROWS_A_TRANSACTION) {
        let transaction = connection.transaction().expect("begun");
        let mut statement = transaction.prepare_cached(&upsert).expect("SQL");
        for ObservedTicket { ticket, .. } in batch {
            bind(&mut statement, ticket);
            statement.raw_execute().expect("stored");
        }
        drop(statement);
        transaction.commit().expect("committed");
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved into the file");
    clock.stop()
}

fn upsert() -> String {
    let names: Vec<_> = ATTRIBUTES.iter().map(|attribute| format!("\"{}\"", attribute.name)).collect();
    let others = names.iter().enumerate().filter(|(position, _)| *position != UID);
    let updates: Vec<_> = others.map(|(_, name)| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO tickets ({}) VALUES ({}) ON CONFLICT (UID) DO UPDATE SET {}",
        names.join(", "),
        vec!["?"; names.len()].join(", "),
        updates.join(", "),
    )
}

fn bind(statement: &mut rusqlite::Statement<'_>, ticket: &Ticket) {
    for (position, value) in ticket.values().iter().enumerate() {
        let lent = ToSqlOutput::Borrowed(match value.as_cell() {
            CellValue::Null => ValueRef::Null,
            CellValue::Integer(number) => ValueRef::Integer(number),
            CellValue::Real(number) => ValueRef::Real(number),
            CellValue::Text(text) | CellValue::Json(text) => ValueRef::Text(text.as_bytes()),
        });
        statement.raw_bind_parameter(position + 1, lent).expect("bound");
    }
}

/// Time by the wall, and of the processor for this thread.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: cpu() }
    }

    fn stop(self) -> Spent {
        Spent { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// What this thread has had of the processor, as Linux counts it.
fn cpu() -> Duration {
    let counts = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = counts.split(' ').next().and_then(|digits| digits.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

#[derive(Clone, Copy)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    /// The medians of some turns, which it prints.
    fn middle(name: &str, turns: &[Spent], rows: u32) -> Spent {
        let median = |of: fn(&Spent) -> Duration| {
            let mut all: Vec<_> = turns.iter().map(of).collect();
            all.sort();
            all[all.len() / 2]
        };
        let middle = Spent { wall: median(|turn| turn.wall), cpu: median(|turn| turn.cpu) };
        println!(
            "{name} of {rows} rows: {:6.2} s wall {:6.2} s CPU {:8.0} rows/s {:5.1} us CPU a row",
            middle.wall.as_secs_f64(),
            middle.cpu.as_secs_f64(),
            f64::from(rows) / middle.wall.as_secs_f64(),
            middle.cpu.as_secs_f64() * 1e6 / f64::from(rows),
        );
        middle
    }
}
