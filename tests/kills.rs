//! The real program, killed again and again at moments that nobody chose: in first passes, full ones and following ones,
//! against a simulated server in a process of its own, with edits going on between.
//!
//! After every kill the database is sound, its log has no gap and tells the same as the rows; in the end the copy is
//! equal. `HALOSYNC_KILLS=200` kills so often; `HALOSYNC_KILLS_SEED=17` repeats a run, as far as two processes can.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support {
    pub(crate) mod history;
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod mapping;
}

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use halosync::ticket::AttributeValue;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;
use support::{history, mapping};
use tempfile::TempDir;

/// Kills, unless `HALOSYNC_KILLS` says how many.
const KILLS: u32 = 20;

/// A page takes that long at the server, so that a pass has a middle.
const LATENCY: Duration = Duration::from_millis(8);

const TICKETS: u32 = 2_400;

/// With pages of 25 a full walk has a hundred, and commits twice on its way.
const PAGE_SIZE: u32 = 25;

/// The requests of a full walk, about: its pages, the token and the names.
const FULL: u32 = TICKETS / PAGE_SIZE + 5;

/// What a following walk finds, in tickets: a dozen pages.
const EDITS: u32 = 300;

/// No event of this test takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// `halosync simulate`, until it is dropped.
struct Simulator {
    process: Child,
    address: String,
}

impl Simulator {
    fn start(tickets: u32) -> Simulator {
        let (latency, tickets) = (format!("latency_ms={}", LATENCY.as_millis()), tickets.to_string());
        let mut process = Command::new(env!("CARGO_BIN_EXE_halosync"))
            .env_clear()
            .args(["--json", "simulate", "--listen", "127.0.0.1:0", "--tickets", &tickets])
            .args(["--knob", &latency, "--knob", "details_bytes=60"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        while !said.ends_with("}\n") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "the simulator ended: {said}");
        }
        let said: Json = serde_json::from_str(&said).unwrap();
        let address = said["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Simulator { process, address }
    }

    /// One of the control endpoints.
    fn control(&self, method: &str, path: &str) -> Json {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{method} /_sim/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or(Json::Null)
    }

    fn ids(&self) -> BTreeSet<i64> {
        self.control("GET", "ids").as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    }

    /// Requests since the log was forgotten.
    fn asked(&self) -> u64 {
        self.control("GET", "log")["total"].as_u64().unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// A folder with settings; the database in it changes its name, so that there can be another first pass.
struct Desk {
    simulator: Simulator,
    folder: TempDir,
    databases: Cell<u32>,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Killed,
    /// Before the moment came.
    ByItself,
}

impl Desk {
    fn new(tickets: u32, page_size: u32) -> Desk {
        let simulator = Simulator::start(tickets);
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[halo]\nserver_url = \"http://{}\"\nclient_id = \"halosync-demo\"\nclient_secret_file = \"secret\"\n\
             rate_limit = \"1000000/5m\"\npage_size = {page_size}\n",
            simulator.address
        );
        fs::write(folder.path().join("agent.toml"), settings).unwrap();
        let mut secret = fs::OpenOptions::new();
        let secret = secret.write(true).create_new(true).mode(0o600).open(folder.path().join("secret"));
        secret.unwrap().write_all(b"demo-secret").unwrap();
        Desk { simulator, folder, databases: Cell::new(0) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db", self.databases.get()))
    }

    fn sync(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_halosync"))
            .env_clear()
            .env("HALOSYNC_STORE__PATH", self.path())
            .arg("--config")
            .arg(self.folder.path().join("agent.toml"))
            .args(["--json", "sync"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A pass that nobody disturbs.
    fn undisturbed(&self, arguments: &[&str]) {
        let output = self.sync(arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Kills a pass soon after the server was asked so often.
    fn killed(&self, arguments: &[&str], requests: u32, later: Duration) -> Ended {
        self.simulator.control("POST", "log");
        let mut child = self.sync(arguments);
        let since = Instant::now();
        while self.simulator.asked() < requests.into() {
            assert!(since.elapsed() < PATIENCE, "waited in vain for request {requests}");
            if child.try_wait().unwrap().is_some() {
                return Ended::ByItself;
            }
            std::thread::yield_now();
        }
        // The offset within what a request takes; there is no event to wait for, that is the point.
        std::thread::sleep(later);
        child.kill().unwrap();
        if child.wait().unwrap().code().is_some() { Ended::ByItself } else { Ended::Killed }
    }

    fn database(&self) -> Option<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.path().exists().then(|| Connection::open_with_flags(self.path(), flags).unwrap())
    }

    /// Asserts that the database is sound and tells one story.
    fn assert_sound(&self, when: &str) {
        let Some(database) = self.database() else { return };
        let text = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("PRAGMA integrity_check"), "ok", "{when}");
        let tables = text(
            "SELECT GROUP_CONCAT(name) FROM (SELECT 'none' AS name UNION SELECT name FROM sqlite_master)",
        );
        if !tables.contains("watermarks") {
            return;
        }
        let wrong = history::contradictions(&database);
        assert!(wrong.is_empty(), "{when}: {:?}", &wrong[..wrong.len().min(5)]);
        // While it was never complete there is no mark, however much is there.
        let marks = "SELECT COALESCE(GROUP_CONCAT(state), 'none') FROM watermarks
                     WHERE (state = 'incremental') = (covered_until IS NULL)";
        assert_eq!(text(marks), "none", "{when}");
        let ahead = "SELECT COUNT(*) || '' FROM tickets WHERE UID NOT IN (SELECT UID FROM ticket_state)";
        assert_eq!(text(ahead), "0", "{when}");
    }

    fn is_following(&self) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM watermarks WHERE state = 'incremental')";
        self.database().is_some_and(|it| it.query_row(sql, [], |row| row.get(0)).unwrap_or(false))
    }

    /// Asserts that the copy holds the server's tickets, and `besides`, and every attribute of them.
    fn assert_equal(&self, besides: &BTreeSet<i64>, when: &str) {
        let names = mapping::status_names();
        let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
        let database = self.database().unwrap();
        let mut statement =
            database.prepare(&format!("SELECT UID, {} FROM tickets", columns.join(", "))).unwrap();
        let mut rows = statement.query([]).unwrap();
        let there = self.simulator.ids();
        let mut here = BTreeSet::new();
        while let Some(row) = rows.next().unwrap() {
            let id: i64 = row.get(0).unwrap();
            here.insert(id);
            if besides.contains(&id) {
                continue;
            }
            assert!(there.contains(&id), "{when}: ticket {id} is gone from the server");
            let values: Vec<_> =
                (1..=columns.len()).map(|place| value(row.get_ref(place).unwrap())).collect();
            let served = self.simulator.control("GET", &format!("row?id={id}"));
            let differences = mapping::differences(&values, &mapping::expected(&served, &names));
            assert_eq!(differences, [""; 0], "{when}: ticket {id}");
        }
        assert_eq!(here, there.union(besides).copied().collect(), "{when}: the numbers of the tickets");
    }
}

fn value(value: ValueRef<'_>) -> AttributeValue {
    match value {
        ValueRef::Null => AttributeValue::Null,
        ValueRef::Integer(number) => AttributeValue::Integer(number),
        ValueRef::Real(number) => AttributeValue::Real(number),
        ValueRef::Text(text) => AttributeValue::Text(String::from_utf8(text.to_vec()).unwrap()),
        ValueRef::Blob(_) => panic!("a blob"),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn whenever_it_is_killed_the_copy_is_sound_and_converges() {
    let seed = number("HALOSYNC_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let kills = number("HALOSYNC_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    eprintln!("HALOSYNC_KILLS_SEED={seed} HALOSYNC_KILLS={kills}");
    let desk = Desk::new(TICKETS, PAGE_SIZE);
    let mut chance = Rng::with_seed(seed);
    let mut kill = |arguments: &[&str], requests: u32, when: &str| {
        let target = chance.u32(1..=requests);
        let later = LATENCY.mul_f64(2.0 * chance.f64());
        let ended = desk.killed(arguments, target, later);
        desk.assert_sound(&format!("{when}, seed {seed}: {ended:?} {later:?} after request {target}"));
        ended
    };
    let many = |of: u32| (kills * of).div_ceil(20);

    // First passes: one that comes to its end makes room for another.
    let mut left = many(7);
    while left != 0 {
        desk.simulator.control("POST", "edit?count=20");
        let ended = kill(&[], FULL, "a first pass");
        left -= u32::from(ended == Ended::Killed);
        if ended == Ended::ByItself {
            desk.assert_equal(&BTreeSet::new(), "after a first pass");
        }
        if desk.is_following() {
            desk.databases.set(desk.databases.get() + 1);
        }
    }
    desk.undisturbed(&[]);
    desk.assert_equal(&BTreeSet::new(), "after a first pass that followed kills");

    // Following passes: a dozen pages of edits and some new tickets each.
    let mut left = many(6);
    while left != 0 {
        desk.simulator.control("POST", &format!("edit?count={EDITS}"));
        desk.simulator.control("POST", "create?count=3");
        left -= u32::from(kill(&[], EDITS / PAGE_SIZE + 2, "a following pass") == Ended::Killed);
    }
    desk.undisturbed(&[]);
    desk.assert_equal(&BTreeSet::new(), "after a following pass that followed kills");

    // Full passes, which find what is gone.
    let mut left = many(7);
    while left != 0 {
        desk.simulator.control("POST", "edit?count=50");
        desk.simulator.control("POST", "delete?count=2");
        left -= u32::from(kill(&["--full"], FULL, "a full pass") == Ended::Killed);
    }
    desk.undisturbed(&["--full"]);
    desk.assert_equal(&BTreeSet::new(), "in the end");
    desk.assert_sound("in the end");
}
