//! Measures what the store costs beyond SQLite: halosync's upsert compared with a bare upsert of the same
//! parsed rows.
//!
//! `cargo bench --bench upsert`, or `cargo bench --bench upsert -- 20000` for another number of tickets.
//!
//! The bare upsert is one prepared `INSERT … ON CONFLICT DO UPDATE` of all attributes. halosync's upsert is
//! [`Ticket::hash`](halosync::ticket::Ticket::hash) and `WriteTx::upsert`: reading `ticket_state`, writing the
//! row, its change record and its state. Both fill a new database with the store's schema and settings, 1,000
//! rows per transaction, from one thread, and checkpoint the write-ahead log at the end. They alternate, and
//! the medians are compared. 100,000 parsed tickets need about 600 MB.

#![allow(clippy::print_stdout)]

mod fixed_input;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fixed_input::{open, pages, parsed, timestamp};
use halosync::store::{ObservedTicket, TxEnd};
use halosync::ticket::attribute::UID;
use halosync::ticket::{ATTRIBUTES, CellValue, Ticket};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};

const TICKETS: u32 = 100_000;
const ROWS_PER_TRANSACTION: usize = 1_000;
const REPETITIONS: usize = 3;

fn main() {
    // cargo adds `--bench`, which is not a number.
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(TICKETS);
    let mut tickets: Vec<_> = pages(count).flat_map(|page| parsed(&page)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("halosync.db");
    let (mut bare, mut halosync) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        bare.push(fresh(&database, |database| store_bare(database, &tickets)));
        halosync.push(fresh(&database, |database| store_halosync(database, &mut tickets)));
    }
    let bare = Usage::median("the bare upsert", &bare, count);
    let halosync = Usage::median("halosync's upsert", &halosync, count);
    println!(
        "rows/s of halosync's upsert against the bare upsert: {:.2} by wall, {:.2} by CPU",
        bare.wall.div_duration_f64(halosync.wall),
        bare.cpu.div_duration_f64(halosync.cpu),
    );
}

/// Runs `work` with a new, empty database and removes it afterwards.
fn fresh(database: &Path, work: impl FnOnce(&Path) -> Usage) -> Usage {
    open(database).close().expect("closed");
    let usage = work(database);
    for ending in ["db", "db-wal", "db-shm"] {
        fs::remove_file(database.with_extension(ending)).expect("removed");
    }
    usage
}

fn store_halosync(database: &Path, tickets: &mut [ObservedTicket]) -> Usage {
    let mut store = open(database);
    let clock = Clock::start();
    for batch in tickets.chunks_mut(ROWS_PER_TRANSACTION) {
        for ticket in &mut *batch {
            ticket.hash = ticket.ticket.hash();
        }
        let batch = &*batch;
        store.write(TxEnd::Commit, |tx| tx.upsert(batch, 1, timestamp())).expect("stored");
    }
    store.close().expect("closed");
    clock.stop()
}

fn store_bare(database: &Path, tickets: &[ObservedTicket]) -> Usage {
    let mut connection = Connection::open(database).expect("a database");
    // The settings of `Store::open` that belong to the connection.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("set");
    connection.pragma_update(None, "synchronous", "FULL").expect("set");
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).expect("set");
    connection.pragma_update(None, "cell_size_check", true).expect("set");
    let upsert = upsert();
    let clock = Clock::start();
    for batch in tickets.chunks(ROWS_PER_TRANSACTION) {
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
        let value = ToSqlOutput::Borrowed(match value.as_cell() {
            CellValue::Null => ValueRef::Null,
            CellValue::Integer(number) => ValueRef::Integer(number),
            CellValue::Real(number) => ValueRef::Real(number),
            CellValue::Text(text) | CellValue::Json(text) => ValueRef::Text(text.as_bytes()),
        });
        statement.raw_bind_parameter(position + 1, value).expect("bound");
    }
}

/// Measures wall time and the CPU time of this thread.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: cpu() }
    }

    fn stop(self) -> Usage {
        Usage { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// Returns the CPU time of this thread, as Linux counts it.
fn cpu() -> Duration {
    let counts = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = counts.split(' ').next().and_then(|digits| digits.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

#[derive(Clone, Copy)]
struct Usage {
    wall: Duration,
    cpu: Duration,
}

impl Usage {
    /// Prints and returns the medians of several repetitions.
    fn median(name: &str, repetitions: &[Usage], rows: u32) -> Usage {
        let median_of = |of: fn(&Usage) -> Duration| {
            let mut all: Vec<_> = repetitions.iter().map(of).collect();
            all.sort();
            all[all.len() / 2]
        };
        let median = Usage { wall: median_of(|it| it.wall), cpu: median_of(|it| it.cpu) };
        println!(
            "{name} of {rows} rows: {:6.2} s wall {:6.2} s CPU {:8.0} rows/s {:5.1} us CPU a row",
            median.wall.as_secs_f64(),
            median.cpu.as_secs_f64(),
            f64::from(rows) / median.wall.as_secs_f64(),
            median.cpu.as_secs_f64() * 1e6 / f64::from(rows),
        );
        median
    }
}
