//! `halosync sync` and `halosync export` as people run them: the real program, over real sockets, against the simulated
//! server in this process.

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod mapping;
}

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use halo_simulator::{ApiEndpoint, DeletedGet, Edit, Server, ServerFault, Simulator, SimulatorSettings};
use halosync::ticket::AttributeValue;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use support::mapping::{self, Tickets};
use tempfile::TempDir;

/// No event of these tests takes that long; a wait for one that never comes ends here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated server, and a folder with the settings to copy it.
struct Desk {
    simulator: Simulator,
    folder: TempDir,
    minutes: Cell<i64>,
}

/// How a command ended.
struct Ended {
    status: Option<i32>,
    json: Json,
    stdout: String,
    stderr: String,
}

impl Desk {
    async fn new(tickets: u32, knobs: &[&str], halo: &str) -> Desk {
        let mut settings = SimulatorSettings { tickets, ..SimulatorSettings::default() };
        for knob in knobs {
            settings.knobs.set(knob).expect("a knob");
        }
        let secret = settings.client_secret.clone();
        let simulator = Simulator::start(settings).await.expect("a server");
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[halo]\nserver_url = \"{}\"\nclient_id = \"halosync-demo\"\nclient_secret_file = \"secret\"\n\
             rate_limit = \"100000/5m\"\n{halo}\n",
            simulator.url()
        );
        fs::write(folder.path().join("agent.toml"), config).expect("settings");
        let mut file = fs::OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600).open(folder.path().join("secret"));
        std::io::Write::write_all(&mut file.expect("a secret"), secret.as_bytes()).expect("a secret");
        Desk { simulator, folder, minutes: Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command.env_clear().arg("--config").arg(self.path("agent.toml")).arg("--json").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).spawn().expect("a process"))
    }

    /// Runs a command that is to end well.
    fn good(&self, arguments: &[&str]) -> Json {
        let ended = self.run(arguments);
        assert_eq!(ended.status, Some(0), "{arguments:?}: {} {}", ended.stdout, ended.stderr);
        ended.json
    }

    fn with<R>(&self, look: impl FnOnce(&mut Server) -> R) -> R {
        self.simulator.with(look)
    }

    /// Forgets what was asked so far.
    fn forget(&self) {
        self.with(|server| server.log_mut().reset());
    }

    fn inject(&self, fault: &str) {
        self.with(|server| server.inject(ServerFault::parse(fault).expect("a fault")));
    }

    /// The server's clock is a minute further than by the last call: its `Date` knows only whole seconds, so
    /// that passes within one may leave the watermark where it is.
    fn a_minute_later(&self) {
        self.minutes.set(self.minutes.get() + 1);
        self.with(|server| server.set_clock_offset(TimeDelta::minutes(self.minutes.get())));
    }

    fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.path("halosync.db"), flags).expect("a database")
    }

    fn number(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    /// The first column of a query, as text.
    fn texts(&self, sql: &str) -> Vec<String> {
        let database = self.database();
        let mut statement = database.prepare(sql).expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("texts")
    }

    fn changes(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM changes")
    }

    fn watermark(&self) -> String {
        self.texts("SELECT COALESCE(covered_until, '') FROM watermarks").concat()
    }

    fn tickets(&self) -> Tickets {
        let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
        let database = self.database();
        let mut statement =
            database.prepare(&format!("SELECT UID, {} FROM tickets", columns.join(", "))).expect("tickets");
        let rows = statement.query_map([], |row| {
            let values = (1..=columns.len()).map(|place| Ok(value(row.get_ref(place)?)));
            Ok((row.get(0)?, values.collect::<rusqlite::Result<_>>()?))
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("tickets")
    }

    /// Asserts that the copy holds exactly the tickets that the server lists, and `besides`, and every
    /// attribute of them.
    fn assert_copied(&self, besides: &[i64]) {
        let names = mapping::status_names();
        let (here, now) = (self.tickets(), Utc::now());
        self.with(|server| {
            let mut there: BTreeSet<i64> = server.ids().into_iter().collect();
            for id in &there {
                let row = server.row(*id, now).expect("a row");
                let ticket = here.get(id).unwrap_or_else(|| panic!("ticket {id} is missing"));
                let differences = mapping::differences(ticket, &mapping::expected(&row, &names));
                assert_eq!(differences, [""; 0], "ticket {id}");
            }
            there.extend(besides);
            let here: BTreeSet<i64> = here.keys().copied().collect();
            assert_eq!(here, there, "the numbers of the tickets");
        });
    }

    /// Asserts that the log has no gap and that the database is sound.
    fn assert_sound(&self) {
        assert_eq!(self.texts("PRAGMA integrity_check"), ["ok"]);
        let gaps = "SELECT COUNT(*) FROM changes WHERE seq > 1 AND seq - 1 NOT IN (SELECT seq FROM changes)";
        assert_eq!(self.number(gaps), 0, "the numbers of the changes have gaps");
        // Only creations so far: as many records as tickets.
        assert_eq!(self.changes(), self.number("SELECT COUNT(*) FROM tickets"));
    }

    /// Begins a first pass that gets stuck in the middle and waits until its first rows are committed.
    async fn stuck_in_the_middle(&self) -> Child {
        self.inject("list@18:delay=600000");
        let child = self.command(&["sync"]).spawn().expect("a process");
        let committed = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let database = Connection::open_with_flags(self.path("halosync.db"), flags).ok()?;
            let count = database.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get::<_, i64>(0));
            count.ok().filter(|rows| 0 < *rows)
        };
        until("the first rows", || committed().is_some() && self.with(|it| 18 <= it.log().list_count()))
            .await;
        child
    }
}

impl Ended {
    fn of(child: Child) -> Ended {
        let output = child.wait_with_output().expect("an output");
        let stdout = String::from_utf8(output.stdout).expect("text");
        let json = serde_json::from_str(&stdout).unwrap_or(Json::Null);
        let stderr = String::from_utf8(output.stderr).expect("text");
        Ended { status: output.status.code(), json, stdout, stderr }
    }
}

fn value(value: ValueRef<'_>) -> AttributeValue {
    match value {
        ValueRef::Null => AttributeValue::Null,
        ValueRef::Integer(number) => AttributeValue::Integer(number),
        ValueRef::Real(number) => AttributeValue::Real(number),
        ValueRef::Text(text) => AttributeValue::Text(String::from_utf8(text.to_vec()).expect("UTF-8")),
        ValueRef::Blob(_) => panic!("a blob"),
    }
}

/// Waits for something that another process does.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// ---- Reading ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_sync_copies_every_ticket_whatever_the_page_cap_and_keeps_its_lanes_busy() {
    let desk = Desk::new(717, &["page_cap=40", "latency_ms=20"], "parallel_requests = 3").await;
    let report = desk.good(&["sync"]);
    assert_eq!((&report["outcome"], &report["tickets"]), (&"complete".into(), &717.into()));
    desk.assert_copied(&[]);
    let (lists, peak) = desk.with(|server| (server.log().list_count(), server.log().peak_in_flight()));
    // 18 pages, and what is asked to find out how the server answers.
    assert!((18..=23).contains(&lists), "{lists} list requests");
    assert_eq!(peak, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_sync_asks_once_and_25_changes_among_2500_tickets_cost_at_most_two_list_requests() {
    let desk = Desk::new(2_500, &[], "").await;
    desk.good(&["sync"]);
    let filled = desk.changes();

    desk.forget();
    let quiet = desk.good(&["sync"]);
    assert_eq!(desk.with(|server| server.log().list_count()), 1);
    assert_eq!((desk.changes(), &quiet["scan"]["kind"]), (filled, &"incremental".into()));

    desk.forget();
    let edited = desk.with(|server| server.edit_some(25, Utc::now()));
    desk.good(&["sync"]);
    let lists = desk.with(|server| server.log().list_count());
    assert!(lists <= 2, "{lists} list requests for 25 changes");
    let recorded = desk.texts(&format!(
        "SELECT op || ' ' || UID || COALESCE(reason, '') FROM changes WHERE seq > {filled} ORDER BY UID"
    ));
    let expected: Vec<_> = edited.iter().map(|id| format!("u {id}")).collect();
    assert_eq!(recorded, expected);
    desk.assert_copied(&[]);
}

// ---- Trouble on the way ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_in_mid_walk_leads_to_one_new_token() {
    // Once all tokens are revoked, once the server's clock passes the end of their life.
    for fault in ["list@9:expire", "list@9:skew=7200"] {
        let desk = Desk::new(2_000, &["latency_ms=5"], "").await;
        desk.inject(fault);
        desk.good(&["sync"]);
        let (tokens, refused) = desk.with(|server| {
            let refused = server.log().entries().filter(|entry| entry.status == 401).count();
            (server.log().token_count(), refused)
        });
        assert_eq!(tokens, 2, "{fault}");
        assert!((1..=4).contains(&refused), "{fault}: {refused} requests were refused");
        desk.assert_copied(&[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_in_mid_walk_is_waited_for_by_every_lane() {
    // A hundred pages, so that a gate that stayed open would let most of them through.
    let desk = Desk::new(2_000, &["page_cap=20", "latency_ms=20"], "").await;
    desk.inject("list@9:throttle=2");
    let report = desk.good(&["sync"]);
    assert_eq!(report["requests"]["repeated"], 1);
    desk.assert_copied(&[]);
    desk.with(|server| {
        let lists = server.log().entries().filter(|entry| entry.endpoint == ApiEndpoint::List);
        let after: Vec<_> = lists.skip_while(|entry| entry.status != 429).collect();
        let opens = after[0].at + TimeDelta::milliseconds(1_900);
        // Those under way could not know, nor what left before the answer was read on a busy machine.
        let soon = after.iter().filter(|entry| entry.at < opens).count();
        assert!(soon <= 30, "{soon} of {} requests left while the gate was closed", after.len());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_differs_from_the_count_is_incomplete_and_holds_the_watermark() {
    let desk = Desk::new(250, &[], "").await;
    desk.good(&["sync"]);
    let (mark, journal) = (desk.watermark(), "SELECT COUNT(*) FROM watermark_journal");
    let moves = desk.number(journal);
    let (following, full): (&[&str], &[&str]) = (&["sync"], &["sync", "--full"]);
    for (lie, command) in [("count=+7", full), ("count=-7", full), ("count=+7", following)] {
        let edited = desk.with(|server| server.edit_some(3, Utc::now()));
        desk.inject(&format!("list:{lie}"));
        let ended = desk.run(command);
        assert_eq!(ended.status, Some(3), "{lie}: {}", ended.stdout);
        assert_eq!(ended.json["outcome"], "incomplete");
        assert_eq!((desk.watermark(), desk.number(journal)), (mark.clone(), moves), "{lie}");
        desk.with(Server::clear_faults);
        // What was received is kept all the same.
        let ids = edited.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let stored = desk.number(&format!(
            "SELECT COUNT(*) FROM changes WHERE op = 'u' AND UID IN ({ids}) AND run_id = (SELECT MAX(run_id) FROM runs)"
        ));
        assert_eq!(stored, 3, "{lie}");
    }
    desk.a_minute_later();
    desk.good(&["sync"]);
    assert!(mark < desk.watermark());
    desk.assert_copied(&[]);
}

// ---- Tickets that go ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_found_by_a_full_walk_and_a_hidden_ticket_stays() {
    let desk = Desk::new(250, &["merged_listed=off"], "").await;
    desk.good(&["sync"]);
    let ids = desk.with(|server| server.ids());
    let (gone, merged, hidden) = (ids[17], ids[40], ids[99]);
    desk.with(|server| {
        server.delete(gone, Utc::now());
        server.merge(merged, ids[41], Utc::now());
        server.hide(&[hidden]);
    });
    desk.good(&["sync", "--full"]);
    desk.assert_copied(&[hidden]);
    let tombstones = "SELECT UID || ' ' || REASON FROM deleted_tickets ORDER BY UID";
    assert_eq!(desk.texts(tombstones), [format!("{gone} vanished"), format!("{merged} merged")]);
    let absences = "SELECT UID || ' ' || status FROM unlisted_tickets";
    assert_eq!(desk.texts(absences), [format!("{hidden} forbidden")]);

    // Another server says it another way; the ticket that comes into sight again is absent no more.
    desk.with(|server| {
        server.knobs().deleted_get = DeletedGet::Found;
        server.delete(ids[18], Utc::now());
        server.unhide(&[hidden]);
    });
    desk.good(&["sync", "--full"]);
    desk.assert_copied(&[]);
    assert!(desk.texts(tombstones).contains(&format!("{} deleted", ids[18])));
    assert_eq!(desk.texts(absences), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_many_are_gone_nothing_is_deleted_until_a_person_says_so() {
    let desk = Desk::new(300, &[], "").await;
    desk.good(&["sync"]);
    let gone: Vec<i64> = desk.with(|server| server.ids().into_iter().skip(100).take(21).collect());
    desk.with(|server| gone.iter().for_each(|id| server.delete(*id, Utc::now())));
    let (mark, changes) = (desk.watermark(), desk.changes());

    let braked = desk.run(&["sync", "--full"]);
    assert_eq!(braked.status, Some(3), "{} {}", braked.stdout, braked.stderr);
    assert_eq!((desk.watermark(), desk.changes()), (mark.clone(), changes));
    desk.assert_copied(&gone);
    assert_eq!(desk.number("SELECT COUNT(*) FROM unlisted_tickets WHERE status = 'not_asked'"), 21);
    let words = Command::new(env!("CARGO_BIN_EXE_halosync"))
        .env_clear()
        .arg("-c")
        .arg(desk.path("agent.toml"))
        .args(["sync", "--full"])
        .output()
        .expect("an output");
    let words = String::from_utf8(words.stdout).expect("text");
    assert!(words.contains("halosync sync --full --accept-deletes"), "{words}");

    desk.a_minute_later();
    desk.good(&["sync", "--full", "--accept-deletes"]);
    desk.assert_copied(&[]);
    assert_eq!(desk.number("SELECT COUNT(*) FROM deleted_tickets WHERE REASON = 'vanished'"), 21);
    assert_eq!(desk.number("SELECT COUNT(*) FROM unlisted_tickets"), 0);
    assert!(mark < desk.watermark());
}

// ---- What is written, and when ----

/// Every row of every table but `runs`, as text.
fn dump(desk: &Desk) -> BTreeMap<String, Vec<String>> {
    let database = desk.database();
    let tables =
        desk.texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let rows_of = |table: &String| {
        let mut statement = database.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..width).map(|place| Ok(format!("{:?}", row.get_ref(place)?)));
            Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("rows")
    };
    tables.iter().filter(|name| *name != "runs").map(|name| (name.clone(), rows_of(name))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_writes_nothing_but_its_own_record() {
    let desk = Desk::new(1_500, &[], "").await;
    let report = desk.good(&["sync", "--dry-run"]);
    assert_eq!((&report["dry_run"], &report["changes"]["created"]), (&true.into(), &1_500.into()));
    let filled: usize = dump(&desk)
        .iter()
        .filter(|(table, _)| !["lineage", "refinery_schema_history"].contains(&table.as_str()))
        .map(|(_, rows)| rows.len())
        .sum();
    assert_eq!(filled, 0, "a dry run wrote into an empty database");

    desk.good(&["sync"]);
    desk.with(|server| {
        let ids = server.ids();
        server.edit_some(30, Utc::now());
        server.create(5, Utc::now());
        server.delete(ids[3], Utc::now());
        server.hide(&ids[7..9]);
        server.rename_status(1, "Fresh");
    });
    let before = dump(&desk);
    for wish in [&["sync", "--dry-run"][..], &["sync", "--dry-run", "--full"]] {
        let report = desk.good(wish);
        assert_eq!(report["changes"]["created"], 5);
        assert_eq!(report["changes"]["deleted"], i32::from(wish.contains(&"--full")));
        assert!(dump(&desk) == before, "{wish:?} wrote more than its record");
    }
    assert_eq!(
        desk.texts("SELECT kind FROM runs ORDER BY run_id"),
        ["dry_run", "sync", "dry_run", "dry_run"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_asked_to_stop_ends_at_once_and_the_next_one_converges() {
    let desk = Desk::new(2_500, &[], "").await;
    let child = desk.stuck_in_the_middle().await;
    let since = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let ended = Ended::of(child);
    assert_eq!(ended.status, Some(143), "{}", ended.stderr);
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    desk.assert_sound();
    assert_eq!(desk.watermark(), "");
    assert_eq!(desk.texts("SELECT outcome FROM runs"), ["failed"]);

    desk.with(Server::clear_faults);
    desk.good(&["sync"]);
    desk.assert_sound();
    desk.assert_copied(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_killed_leaves_a_sound_database_and_the_next_one_converges() {
    let desk = Desk::new(2_500, &[], "").await;
    let mut child = desk.stuck_in_the_middle().await;
    child.kill().expect("a kill");
    child.wait().expect("an end");
    desk.assert_sound();
    assert_eq!(
        desk.number("SELECT COUNT(*) FROM watermarks WHERE state = 'initial' AND covered_until IS NULL"),
        1
    );

    desk.with(Server::clear_faults);
    desk.good(&["sync"]);
    desk.assert_sound();
    desk.assert_copied(&[]);
}

// ---- Exports ----

/// A package on disk.
struct Package {
    manifest: Json,
    data: PathBuf,
}

/// The packages of the default consumer in order, each proven against its manifest and the chain against itself; by the
/// words of the contract and with none of the code that made them.
fn packages(desk: &Desk) -> Vec<Package> {
    let folder = desk.path("export/deltas/default");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    let (mut previous, mut from) = (Json::Null, 0);
    let mut packages = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".manifest.json")) {
        let bytes = fs::read(folder.join(name)).expect("a manifest");
        let manifest: Json = serde_json::from_slice(&bytes).expect("JSON");
        let hash = manifest["manifest_sha256"].as_str().expect("a hash");
        let zeroed = String::from_utf8(bytes).expect("text").replace(hash, &"0".repeat(64));
        assert_eq!(sha256(zeroed.as_bytes()), hash, "{name}: its own hash");
        assert_eq!(manifest["previous_manifest_sha256"], previous, "{name}: the chain");
        assert_eq!(manifest["from_seq"], from, "{name}: the ranges");
        previous = hash.into();
        from = manifest["to_seq"].as_i64().expect("a number");

        let file = &manifest["files"][0];
        let data = folder.join(file["name"].as_str().expect("a name"));
        let bytes = fs::read(&data).expect("data");
        assert_eq!(sha256(&bytes), file["sha256"].as_str().expect("a hash"), "{name}: the data");
        assert_eq!(file["bytes"], bytes.len(), "{name}");
        let ops = rows(&data).into_iter().map(|row| row.1).collect::<String>();
        for op in ["c", "u", "d"] {
            assert_eq!(manifest["counts"][op], ops.matches(op).count(), "{name}: {op}");
        }
        assert_eq!(file["rows"], ops.len(), "{name}");
        packages.push(Package { manifest, data });
    }
    assert_eq!(names.len(), 2 * packages.len(), "more files than packages: {names:?}");
    let book = desk
        .texts("SELECT from_seq || '-' || to_seq || ' ' || manifest_sha256 FROM packages ORDER BY to_seq");
    let listed: Vec<_> = packages
        .iter()
        .map(|it| {
            let hash = it.manifest["manifest_sha256"].as_str().unwrap_or_default();
            format!("{}-{} {hash}", it.manifest["from_seq"], it.manifest["to_seq"])
        })
        .collect();
    assert_eq!(book, listed, "the book of the database");
    packages
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// The number and the operation of each row of a CSV file.
fn rows(file: &Path) -> Vec<(i64, String)> {
    let mut reader = csv::Reader::from_path(file).expect("a file");
    let header = reader.headers().expect("a header").clone();
    let place = |name: &str| header.iter().position(|column| column == name).expect("a column");
    let (id, op) = (place("UID"), place("_op"));
    let records = reader.records().map(|record| record.expect("a record"));
    records.map(|record| (record[id].parse().expect("a number"), record[op].to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_hold_what_changed_and_their_chain_is_whole() {
    let desk = Desk::new(600, &[], "").await;
    desk.good(&["sync"]);
    desk.good(&["export", "delta"]);
    let first = packages(&desk);
    assert_eq!(first.len(), 1);
    let ids: Vec<_> = rows(&first[0].data).into_iter().map(|row| row.0).collect();
    assert_eq!(ids, desk.with(|server| server.ids()));
    assert_eq!(first[0].manifest["covered_until"], desk.watermark());
    assert_eq!(first[0].manifest["complete"], true);

    let expected = desk.with(|server| {
        let mut expected: BTreeMap<i64, &str> = BTreeMap::new();
        expected.extend(server.edit_some(12, Utc::now()).into_iter().map(|id| (id, "u")));
        expected.extend(server.create(4, Utc::now()).into_iter().map(|id| (id, "c")));
        let gone = ids[0];
        server.delete(gone, Utc::now());
        expected.insert(gone, "d");
        expected
    });
    desk.good(&["sync", "--full"]);
    desk.good(&["export", "delta"]);
    let both = packages(&desk);
    assert_eq!(both.len(), 2);
    let told: BTreeMap<_, _> = rows(&both[1].data).into_iter().collect();
    let told: BTreeMap<_, _> = told.iter().map(|(id, op)| (*id, op.as_str())).collect();
    assert_eq!(told, expected);
    assert_eq!(both[1].manifest["to_seq"], desk.number("SELECT MAX(seq) FROM changes"));

    // Nothing new: no package, and with the switch a status that says so.
    assert_eq!(desk.run(&["export", "delta", "--fail-if-empty"]).status, Some(4));
    assert_eq!(packages(&desk).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_was_killed_is_finished_and_not_made_twice() {
    let files = ["halosync.db", "halosync.db-wal", "halosync.db-shm"];
    // Killed before the manifest had its name, and after.
    for manifest_is_there in [false, true] {
        let desk = Desk::new(300, &[], "").await;
        desk.good(&["sync"]);
        for file in files {
            fs::copy(desk.path(file), desk.path(&format!("{file}.before"))).expect("a copy");
        }
        desk.good(&["export", "delta"]);
        let made = packages(&desk).remove(0);
        for file in files {
            fs::rename(desk.path(&format!("{file}.before")), desk.path(file)).expect("the copy");
        }
        assert_eq!(desk.number("SELECT COUNT(*) FROM packages"), 0);
        let manifest = made.data.with_extension("manifest.json");
        if !manifest_is_there {
            fs::remove_file(&manifest).expect("a manifest");
        }
        fs::write(desk.path("export/deltas/default/.halosync-litter.tmp"), "half").expect("litter");
        let inode = fs::metadata(&made.data).expect("data").ino();

        // More has changed until the next export comes: that is the next package's.
        desk.a_minute_later();
        let edited = desk.with(|server| server.edit_some(5, Utc::now()));
        desk.good(&["sync"]);
        let report = desk.good(&["export", "delta"]);
        assert_eq!(report["packages"].as_array().map(Vec::len), Some(2), "{report}");
        let both = packages(&desk);
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].data, made.data);
        assert_eq!(fs::metadata(&made.data).expect("data").ino(), inode, "the data file was made twice");
        let told: Vec<_> = rows(&both[1].data).into_iter().map(|row| row.0).collect();
        assert_eq!(told, edited);
        // The earlier package promises no more than it did, though the copy is newer by now.
        assert_eq!(both[0].manifest["covered_until"], made.manifest["covered_until"]);
        if manifest_is_there {
            assert_eq!(both[0].manifest, made.manifest);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_hands_on_as_the_schedule_wants() {
    let made = |report: &Json| report["export"]["packages"].as_array().map(Vec::len);
    let desk = Desk::new(200, &[], "\n[export]\nschedule = \"after-sync\"").await;
    assert_eq!(made(&desk.good(&["sync", "--dry-run"])), None);
    assert_eq!(made(&desk.good(&["sync"])), Some(1));
    assert_eq!(made(&desk.good(&["sync"])), Some(0), "nothing changed");
    assert_eq!(packages(&desk).len(), 1);

    let desk = Desk::new(200, &[], "\n[export]\nschedule = \"1h\"").await;
    assert_eq!(made(&desk.good(&["sync"])), Some(1), "there was none yet");
    desk.a_minute_later();
    desk.with(|server| server.edit_some(3, Utc::now()));
    assert_eq!(made(&desk.good(&["sync"])), None, "it is not due");
    let database = Connection::open(desk.path("halosync.db")).expect("the database");
    let earlier = "UPDATE consumers SET exported_at = strftime('%Y-%m-%dT%H:%M:%fZ', exported_at, '-1 hour')";
    database.execute(earlier, []).expect("an hour");
    // Another export is under way: the pass is none the worse.
    let lock = fs::File::create(desk.path("halosync.db.export.lock")).expect("a lock");
    lock.try_lock().expect("the lock");
    assert_eq!(made(&desk.good(&["sync"])), None);
    drop(lock);
    assert_eq!(made(&desk.good(&["sync"])), Some(1));
    assert_eq!(packages(&desk).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_whose_package_cannot_be_written_tells_both() {
    let desk = Desk::new(200, &[], "\n[export]\nschedule = \"after-sync\"\ndir = \"missing/export\"").await;
    let ended = desk.run(&["sync"]);
    assert_eq!(ended.status, Some(73), "{}", ended.stderr);
    assert_eq!((&ended.json["outcome"], &ended.json["export"]), (&"complete".into(), &Json::Null));
    assert!(ended.stderr.contains("missing/export"), "{}", ended.stderr);
    assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 200);
}

/// One ticket of each fate in a package, with its custom fields: as an object in JSON, as that object's text in CSV.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_fields_are_in_the_database_the_log_and_every_format_of_a_package() {
    let desk = Desk::new(60, &[], "include_custom_fields = true").await;
    desk.good(&["sync"]);
    assert_eq!(desk.number("SELECT COUNT(*) FROM custom_fields"), 60 * 9);
    for (consumer, format) in [("c", "csv"), ("l", "jsonl"), ("j", "json")] {
        desk.good(&["export", "delta", "--consumer", consumer, "--format", format]);
    }
    desk.a_minute_later();
    let ids = desk.with(|server| server.ids());
    let (typed, gone) = (ids[3], ids[7]);
    desk.with(|server| {
        let edit = Edit::CustomField { field: 121, value: "CC, \"7\"".into(), display: "seven".into() };
        server.edit(typed, edit, Utc::now());
        server.delete(gone, Utc::now());
    });
    let before =
        desk.texts(&format!("SELECT VALUE FROM custom_fields WHERE UID = {typed} AND FIELD_ID = 121"));
    desk.good(&["sync", "--full"]);
    let logged = desk.texts(&format!(
        "SELECT old_value || ' to ' || new_value FROM ticket_history WHERE UID = {typed} AND attribute = 'CUSTOM.121'"
    ));
    assert_eq!(logged, [format!("{} to CC, \"7\"", before[0])]);

    let of = |row: &Json| (row["UID"].as_i64().expect("a number"), row["_custom_fields"].clone());
    let parsed = |text: &str| text.parse::<Json>().expect("JSON");
    let mut told: Vec<Vec<(i64, Json)>> = Vec::new();
    for (consumer, format) in [("c", "csv"), ("l", "jsonl"), ("j", "json")] {
        let made = desk.good(&["export", "delta", "--consumer", consumer, "--format", format]);
        let file = made["packages"][0]["file"].as_str().expect("a file").to_owned();
        let text =
            fs::read_to_string(desk.path("export/deltas").join(consumer).join(file)).expect("a package");
        told.push(match format {
            "csv" => {
                let mut rows = csv::Reader::from_reader(text.as_bytes());
                let header = rows.headers().expect("a header").clone();
                let place = |name| header.iter().position(|it| it == name).expect(name);
                let (id, fields) = (place("UID"), place("_custom_fields"));
                let row = |row: csv::StringRecord| (row[id].parse().expect("a number"), parsed(&row[fields]));
                rows.records().map(|it| row(it.expect("a row"))).collect()
            }
            "jsonl" => text.lines().map(|line| of(&parsed(line))).collect(),
            _ => parsed(&text).as_array().expect("an array").iter().map(of).collect(),
        });
    }
    let [csv, lines, array] = &told[..] else { unreachable!("three formats") };
    assert_eq!(csv, lines);
    assert_eq!(csv, array);
    let told: BTreeMap<_, _> = csv.iter().cloned().collect();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [typed, gone]);
    assert_eq!(
        told[&typed]["121"],
        json!({ "NAME": "CFCostCentre", "LABEL": "Cost centre", "TYPE": 0, "VALUE": "CC, \"7\"", "DISPLAY": "seven" })
    );
    assert_eq!(
        told[&gone].as_object().map(serde_json::Map::len),
        Some(9),
        "the last known ones of what is gone"
    );
}
