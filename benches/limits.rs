//! Measures the least that a first run needs (HTTP, parsing, a bare upsert), and what halosync needs beside that.
//!
//! `cargo bench --bench limits`, or `cargo bench --bench limits -- 20000` for another number of tickets.
//!
//! - *HTTP* requests every page over loopback, four at a time, and drops the bodies.
//! - *Parsing* makes tickets of the pages, in one thread.
//! - *The bare upsert* is one prepared `INSERT … ON CONFLICT DO UPDATE` of all attributes. halosync's upsert is
//!   [`Ticket::hash`](halosync::ticket::Ticket::hash) and `WriteTx::upsert`: reading `ticket_state`, writing the row, its change
//!   record and its state. Both fill a new database with the store's schema and settings, 1,000 rows per transaction, from one
//!   thread, and checkpoint the write-ahead log at the end.
//! - *The first run* and *the full scan* are whole processes.
//!
//! Everything alternates, and the medians are compared. 100,000 parsed tickets need about 600 MB.

#![allow(clippy::print_stdout)]

mod fixed_input;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixed_input::{PAGE_SIZE, open, pages, parsed, timestamp};
use halosync::store::{ObservedTicket, TxEnd};
use halosync::ticket::attribute::UID;
use halosync::ticket::parse::ParsedPage;
use halosync::ticket::{ATTRIBUTES, CellValue, Ticket};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::Value as Json;

const TICKETS: u32 = 100_000;
const ROWS_PER_TRANSACTION: usize = 1_000;
const REPETITIONS: usize = 3;
const PARALLEL: u32 = 4;

fn main() {
    // cargo adds `--bench`, which is not a number.
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(TICKETS);
    let bodies: Vec<_> = pages(count).collect();
    let mut tickets: Vec<_> = bodies.iter().flat_map(|page| parsed(page)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("halosync.db");
    let server = SimulatorProcess::start(count);
    let mut used: [Vec<Usage>; 6] = Default::default();
    for turn in 0..REPETITIONS {
        used[0].push(request_pages(&server, count));
        used[1].push(parse(&bodies));
        used[2].push(fresh(&database, |database| store_bare(database, &tickets)));
        used[3].push(fresh(&database, |database| store_halosync(database, &mut tickets)));
        let settings = server.settings(&folder.path().join(turn.to_string()));
        used[4].push(run_halosync(&settings, &["sync"]));
        used[5].push(run_halosync(&settings, &["sync", "--full"]));
    }
    let names = [
        "HTTP",
        "parsing",
        "the bare upsert",
        "halosync's upsert",
        "halosync's first run",
        "full scan, unchanged",
    ];
    let mut median = names.into_iter().zip(&used).map(|(name, used)| Usage::median(name, used, count));
    let mut next = || median.next().expect("as many as there are names");
    let (http, parsing, bare, upsert, first, full) = (next(), next(), next(), next(), next(), next());
    println!(
        "rows/s of halosync's upsert against the bare upsert: {:.2} by wall, {:.2} by CPU",
        bare.wall.div_duration_f64(upsert.wall),
        bare.cpu.div_duration_f64(upsert.cpu),
    );
    println!(
        "CPU of the first run against HTTP, parsing and the bare upsert together: {:.2}x",
        first.cpu.div_duration_f64(http.cpu + parsing.cpu + bare.cpu)
    );
    println!(
        "CPU of the full scan against HTTP and parsing together: {:.2}x",
        full.cpu.div_duration_f64(http.cpu + parsing.cpu)
    );
    println!(
        "the full scan against the first run: {:.2}x by wall, {:.2}x by CPU; HTTP and parsing alone: {:.2}x by CPU",
        first.wall.div_duration_f64(full.wall),
        first.cpu.div_duration_f64(full.cpu),
        first.cpu.div_duration_f64(http.cpu + parsing.cpu)
    );
}

/// `halosync simulate`, until it is dropped.
struct SimulatorProcess {
    process: Child,
    report: Json,
}

impl SimulatorProcess {
    fn start(tickets: u32) -> SimulatorProcess {
        let arguments = ["simulate", "--json", "--listen", "127.0.0.1:0", "--knob", "gzip=off", "--tickets"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command.args(arguments).arg(tickets.to_string()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("started");
        let output = process.stdout.take().expect("piped");
        let report = serde_json::Deserializer::from_reader(output).into_iter().next();
        SimulatorProcess { process, report: report.expect("a report").expect("JSON") }
    }

    fn text(&self, name: &str) -> &str {
        self.report[name].as_str().expect("a text")
    }

    /// Writes the settings of a new database into a folder.
    fn settings(&self, folder: &Path) -> PathBuf {
        fs::create_dir(folder).expect("created");
        let (file, secret) = (folder.join("agent.toml"), folder.join("secret"));
        fs::write(&secret, self.text("client_secret")).expect("written");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("set");
        let (url, id) = (self.text("url"), self.text("client_id"));
        let text = format!(
            "[halo]\nserver_url = \"{url}\"\nclient_id = \"{id}\"\nclient_secret_file = \"secret\"\n\
             rate_limit = \"1000000/1s\"\nparallel_requests = {PARALLEL}\n"
        );
        fs::write(&file, text).expect("written");
        file
    }
}

impl Drop for SimulatorProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run_halosync(settings: &Path, arguments: &[&str]) -> Usage {
    let clock = Clock::start(cpu_of_children);
    let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
    let status = command.arg("-qc").arg(settings).args(arguments).stdout(Stdio::null()).status();
    assert!(status.expect("run").success());
    clock.stop()
}

/// Requests every page, and drops the bodies.
fn request_pages(server: &SimulatorProcess, count: u32) -> Usage {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let clock = Clock::start(cpu_of_process);
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", server.text("client_id")),
            ("client_secret", server.text("client_secret")),
            ("scope", "read:tickets"),
        ];
        let url = server.text("url");
        let token = client.post(format!("{url}/auth/token")).form(&form).send().await.expect("sent");
        let token: Json = token.json().await.expect("JSON");
        let token = token["access_token"].as_str().expect("a token").to_owned();
        let mut tasks = tokio::task::JoinSet::new();
        for first in 1..=PARALLEL {
            let (client, token, url) = (client.clone(), token.clone(), url.to_owned());
            tasks.spawn(async move {
                for page in (first..=count.div_ceil(PAGE_SIZE)).step_by(PARALLEL as usize) {
                    let query = format!("pageinate=true&page_no={page}&page_size={PAGE_SIZE}&order=id");
                    let request = client.get(format!("{url}/api/tickets?{query}")).bearer_auth(&token);
                    let mut response =
                        request.send().await.expect("sent").error_for_status().expect("a page");
                    while response.chunk().await.expect("received").is_some() {}
                }
            });
        }
        tasks.join_all().await;
    });
    clock.stop()
}

fn parse(bodies: &[Vec<u8>]) -> Usage {
    let clock = Clock::start(cpu_of_thread);
    for body in bodies {
        assert!(!ParsedPage::parse(body).expect("a page").tickets.is_empty());
    }
    clock.stop()
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
    let clock = Clock::start(cpu_of_thread);
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
    let clock = Clock::start(cpu_of_thread);
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

/// Measures wall time and CPU time.
struct Clock {
    wall: Instant,
    read_cpu: fn() -> Duration,
    cpu: Duration,
}

impl Clock {
    fn start(read_cpu: fn() -> Duration) -> Clock {
        Clock { wall: Instant::now(), read_cpu, cpu: read_cpu() }
    }

    fn stop(self) -> Usage {
        Usage { wall: self.wall.elapsed(), cpu: (self.read_cpu)().saturating_sub(self.cpu) }
    }
}

fn cpu_of_thread() -> Duration {
    let counts = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = counts.split(' ').next().and_then(|digits| digits.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

fn cpu_of_process() -> Duration {
    cpu_of_stat(11)
}

/// Of the processes that ended and were waited for.
fn cpu_of_children() -> Duration {
    cpu_of_stat(13)
}

/// Two numbers of `/proc/self/stat` behind the name of the program, in hundredths of a second (proc(5)).
fn cpu_of_stat(first: usize) -> Duration {
    let text = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, numbers) = text.rsplit_once(')').expect("a name");
    let ticks =
        numbers.split_whitespace().skip(first).take(2).map(|digits| digits.parse::<u64>().expect("digits"));
    Duration::from_millis(10 * ticks.sum::<u64>())
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
            "{name:<20} of {rows} rows: {:6.2} s wall {:6.2} s CPU {:8.0} rows/s {:5.1} us CPU a row",
            median.wall.as_secs_f64(),
            median.cpu.as_secs_f64(),
            f64::from(rows) / median.wall.as_secs_f64(),
            median.cpu.as_secs_f64() * 1e6 / f64::from(rows),
        );
        median
    }
}
