//! A server and a copy of it, passes in virtual time, and hands that reach in between two requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{
    ClientOptions, HaloClient, HttpRequest, HttpResponse, RateLimiter, Transport, TransportError,
};
use halosync::retry::RetryPolicy;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::simulator::{ApiEndpoint, PlainList, Server, ServerFault, SimulatorSettings};
use halosync::store::{Store, StoreError, StoreOptions, TxEnd, WriteTx};
use halosync::sync::{self, RunOutcome, RunReport, SharedStore, SyncError};
use halosync::ticket::{AttributeValue, Timestamp};
use halosync::watermark::{ScanKind, ScanSchedule, Watermark};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::sync::Notify;
use url::Url;

use crate::support::mapping::{self, Fields, Names, Tickets};
use crate::support::simulated::World;

/// What somebody does on the server just before it answers.
type Deed = Box<dyn FnOnce(&mut Server, DateTime<Utc>) + Send>;

/// What becomes of a request for a list on its way.
type Detour = fn(&mut Url);

/// What becomes of the body of an answer on its way.
type Alteration = fn(&Url, &[u8]) -> Option<Vec<u8>>;

/// Which requests the server does not understand.
type Strangeness = fn(&Url) -> bool;

/// The way to the server: counts list requests, and lets things happen between them.
struct Wire {
    world: Arc<World>,
    lists: Mutex<u64>,
    deeds: Mutex<Vec<(u64, Deed)>>,
    detour: Mutex<Option<Detour>>,
    alteration: Mutex<Option<Alteration>>,
    strangeness: Mutex<Option<Strangeness>>,
    body_max: Mutex<usize>,
}

impl Wire {
    async fn exchange(&self, mut ask: HttpRequest) -> Result<HttpResponse, TransportError> {
        if ask.url.path() == "/api/tickets" {
            let number = {
                let mut lists = self.lists.lock().unwrap();
                *lists += 1;
                *lists
            };
            let due: Vec<_> = self.deeds.lock().unwrap().extract_if(.., |deed| deed.0 == number).collect();
            for (_, deed) in due {
                self.world.with(deed);
            }
            if let Some(detour) = *self.detour.lock().unwrap() {
                detour(&mut ask.url);
            }
        }
        let url = ask.url.clone();
        let mut answer = self.world.send(ask).await?;
        if self.strangeness.lock().unwrap().is_some_and(|is_strange| is_strange(&url)) {
            (answer.status, answer.body) = (400, Vec::new().into());
        }
        if let Some(altered) = self.alteration.lock().unwrap().and_then(|alter| alter(&url, &answer.body)) {
            answer.body = altered.into();
        }
        if *self.body_max.lock().unwrap() < answer.body.len() {
            Err(TransportError::TooLarge)
        } else {
            Ok(answer)
        }
    }
}

impl Transport for Wire {
    fn send(
        &self,
        ask: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(ask))
    }
}

/// A server, a copy of it, and how it is copied.
pub(crate) struct Desk {
    pub(crate) world: Arc<World>,
    pub(crate) settings: sync::RunSettings,
    /// By how much the local clock is ahead of the server's.
    pub(crate) ahead: TimeDelta,
    folder: TempDir,
    store: SharedStore,
    wire: Arc<Wire>,
}

impl Desk {
    /// To be made inside a runtime whose clock is paused.
    pub(crate) fn new(tickets: u32, knobs: &[&str]) -> Desk {
        let mut server = SimulatorSettings { tickets, ..SimulatorSettings::default() };
        for knob in ["details_bytes=60"].iter().chain(knobs) {
            server.knobs.set(knob).unwrap();
        }
        let began: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let world = World::new(server, began);
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(5),
            full_text: false,
            index_last_modified: false,
            now: Timestamp::new(began).unwrap(),
        };
        let store = SharedStore::new(Store::open(&folder.path().join("halosync.db"), &options).unwrap());
        let wire = Wire {
            world: Arc::clone(&world),
            lists: Mutex::default(),
            deeds: Mutex::default(),
            detour: Mutex::default(),
            alteration: Mutex::default(),
            strangeness: Mutex::default(),
            body_max: Mutex::new(64 << 20),
        };
        let settings = sync::RunSettings {
            scope: Scope {
                server: "http://127.0.0.1".into(),
                tenant: String::new(),
                ticket_types: Vec::new(),
                custom_fields: false,
                mapping: MAPPING_VERSION,
            },
            ticket_types: Vec::new(),
            page_size: 10,
            parallel_requests: 4,
            requests_per_window: 300,
            schedule: ScanSchedule {
                full_requested: false,
                full_every: None,
                overlap: TimeDelta::minutes(10),
                incremental_every: Duration::from_mins(5),
            },
            accept_shortfall: 0,
            batch_rows: sync::BATCH_ROWS,
            delete_guard: 0.05,
            accept_deletes: false,
            dry_run: false,
            keep_runs: TimeDelta::days(400),
        };
        Desk { world, settings, ahead: TimeDelta::zero(), folder, store, wire: Arc::new(wire) }
    }

    // ---- The server ----

    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Server, DateTime<Utc>) -> R) -> R {
        self.world.with(look)
    }

    pub(crate) fn turn(&self, knob: &str) {
        self.with(|server, _| server.knobs().set(knob).unwrap());
    }

    pub(crate) fn inject(&self, fault: &str) {
        self.with(|server, _| server.inject(ServerFault::parse(fault).unwrap()));
    }

    pub(crate) fn heal(&self) {
        self.with(|server, _| server.clear_faults());
    }

    /// All tickets that the agent may see, whatever a plain list shows.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.with(|server, _| all_ids(server))
    }

    /// Does something before the list request of this number is answered, counted from the last [`Desk::forget`].
    pub(crate) fn before_list(
        &self,
        number: u64,
        deed: impl FnOnce(&mut Server, DateTime<Utc>) + Send + 'static,
    ) {
        self.wire.deeds.lock().unwrap().push((number, Box::new(deed)));
    }

    /// Changes list requests on their way.
    pub(crate) fn divert(&self, detour: Detour) {
        *self.wire.detour.lock().unwrap() = Some(detour);
    }

    /// Changes the bodies of answers on their way, or not any more.
    pub(crate) fn alter(&self, alteration: Option<Alteration>) {
        *self.wire.alteration.lock().unwrap() = alteration;
    }

    /// Answers what is strange to the server with 400; `None` ends that.
    pub(crate) fn refuse(&self, strangeness: Option<Strangeness>) {
        *self.wire.strangeness.lock().unwrap() = strangeness;
    }

    /// Answers that are longer are too large.
    pub(crate) fn take_in(&self, bytes: usize) {
        *self.wire.body_max.lock().unwrap() = bytes;
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&self) {
        *self.wire.lists.lock().unwrap() = 0;
        self.with(|server, _| server.log_mut().reset());
    }

    /// List requests since then.
    pub(crate) fn lists(&self) -> u64 {
        self.with(|server, _| server.log().list_count())
    }

    /// The parameters of these list requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.with(|server, _| {
            let entries = server.log().entries().filter(|entry| entry.path == "/api/tickets");
            entries.map(|entry| entry.query.clone()).collect()
        })
    }

    /// The values of a parameter in these list requests.
    pub(crate) fn asked_for(&self, name: &str) -> Vec<String> {
        let value = |query: &String| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|pair| pair.0 == name).map(|pair| pair.1.into_owned())
        };
        self.asked().iter().filter_map(value).collect()
    }

    // ---- Passes ----

    /// A pass in a process of its own that ends with `stop`.
    pub(crate) async fn sync_until(
        &self,
        settings: sync::RunSettings,
        stop: impl Future<Output = ()>,
    ) -> Result<RunReport, SyncError> {
        let terms = ClientOptions {
            server: ServerUrl::parse("http://127.0.0.1").unwrap(),
            tenant: None,
            auth_url: None,
            client_id: "halosync-demo".into(),
            client_secret: "demo-secret".to_owned().into(),
            scope: "read:tickets".into(),
            retry: RetryPolicy {
                max_retries: 5,
                rate_limit_wait: Duration::from_mins(1),
                max_wait: Duration::MAX,
            },
        };
        let limit = RateLimit { requests: 1_000_000, window: Duration::from_secs(1) };
        let halo = HaloClient::new(Arc::clone(&self.wire) as _, RateLimiter::new(limit, 0), terms, || 0.5);
        let (world, ahead) = (Arc::clone(&self.world), self.ahead);
        let wall: sync::Clock = Arc::new(move || Timestamp::new(world.now() + ahead).unwrap());
        sync::run(Arc::new(halo), self.store.clone(), settings, wall, Arc::new(()), stop).await
    }

    pub(crate) async fn sync(&self) -> Result<RunReport, SyncError> {
        self.sync_until(self.settings.clone(), std::future::pending()).await
    }

    /// A pass that is to end well.
    pub(crate) async fn good(&self) -> RunReport {
        complete(self.sync().await)
    }

    /// A full one that is to end well.
    pub(crate) async fn full(&self) -> RunReport {
        complete(self.sync_until(self.by_hand(), std::future::pending()).await)
    }

    /// A minute later, a following pass that brings what happened in the meantime.
    pub(crate) async fn wait_and_follow(&self) {
        minutes(1).await;
        let report = self.good().await;
        assert!(follows(&report), "the pass did not follow");
    }

    /// The settings of a pass that reads everything.
    pub(crate) fn by_hand(&self) -> sync::RunSettings {
        let schedule = ScanSchedule { full_requested: true, ..self.settings.schedule };
        sync::RunSettings { schedule, ..self.settings.clone() }
    }

    /// A pass that is stopped when it asks for the list for the `number`-th time since the last [`Desk::forget`].
    pub(crate) async fn stopped(&self, settings: sync::RunSettings, number: u64) {
        let reached = Arc::new(Notify::new());
        let reach = Arc::clone(&reached);
        self.before_list(number, move |_, _| reach.notify_one());
        let ended = self.sync_until(settings, reached.notified()).await;
        assert!(matches!(ended, Err(SyncError::Stopped)), "it was not stopped before list request {number}");
    }

    // ---- The copy ----

    pub(crate) fn mark(&self) -> Option<Watermark> {
        self.store.lock().read(|snapshot| snapshot.watermark()).unwrap()
    }

    pub(crate) fn covered_until(&self) -> Option<Timestamp> {
        self.mark().and_then(|mark| mark.covered_until)
    }

    /// Writes into the database behind the agent's back.
    pub(crate) fn write(&self, work: impl FnOnce(&WriteTx<'_>) -> Result<(), StoreError>) {
        self.store.lock().write(TxEnd::Commit, work).unwrap();
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("halosync.db")
    }

    /// The first column of a query, as text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        texts(&self.database(), sql)
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        let rows = self.texts(&format!("SELECT CAST(({sql}) AS TEXT)"));
        rows[0].parse().unwrap()
    }

    pub(crate) fn changes(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM changes")
    }

    pub(crate) fn verdict(&self, question: &str) -> String {
        self.texts(&format!("SELECT result FROM server_probes WHERE probe = '{question}'")).concat()
    }

    /// Asserts that nothing of the server's is missing here or out of date, whatever else is here.
    pub(crate) fn assert_nothing_lost(&self, what: &str) {
        let (here, there) = (self.here(), self.there());
        for (id, should_be) in &there {
            let ticket = here.get(id).unwrap_or_else(|| panic!("{what}: ticket {id} is missing"));
            let differences = mapping::differences(ticket, should_be);
            assert!(differences.is_empty(), "{what}: ticket {id} is out of date: {}", differences.join(", "));
        }
    }

    /// Asserts that the copy is what the server has, custom fields too where they are copied.
    pub(crate) fn assert_equal(&self, what: &str) {
        self.assert_nothing_lost(what);
        if self.settings.scope.custom_fields {
            self.assert_fields_equal(what);
        }
        let there = self.ids();
        let surplus: Vec<_> = self.here().into_keys().filter(|id| there.binary_search(id).is_err()).collect();
        assert!(surplus.is_empty(), "{what}: tickets are here that are gone: {surplus:?}");
    }

    /// Asserts that the custom fields of every ticket are what the server has.
    pub(crate) fn assert_fields_equal(&self, what: &str) {
        let here = self.fields();
        for id in self.ids() {
            let there = self.with(|server, _| mapping::expected_fields(&server.custom_fields(id).unwrap()));
            let none = Fields::new();
            let differences = mapping::field_differences(here.get(&id).unwrap_or(&none), &there);
            assert!(differences.is_empty(), "{what}: ticket {id}: {}", differences.join(", "));
        }
    }

    /// The rows of `custom_fields`, by ticket.
    pub(crate) fn fields(&self) -> BTreeMap<i64, Fields> {
        let database = open(&self.database());
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, CAST(TYPE AS TEXT), VALUE, DISPLAY FROM custom_fields";
        let mut statement = database.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut fields: BTreeMap<i64, Fields> = BTreeMap::new();
        while let Some(row) = rows.next().unwrap() {
            let members = [2, 3, 4, 5, 6].map(|column| row.get(column).unwrap());
            fields.entry(row.get(0).unwrap()).or_default().insert(row.get(1).unwrap(), members);
        }
        fields
    }

    /// Requests since [`Desk::forget`], tokens included.
    pub(crate) fn requests(&self) -> u64 {
        self.with(|server, _| server.log().total())
    }

    /// Requests since then for single tickets.
    pub(crate) fn singles(&self) -> u64 {
        self.with(|server, _| server.log().count(ApiEndpoint::Ticket))
    }

    fn there(&self) -> Tickets {
        static NAMES: LazyLock<Names> = LazyLock::new(mapping::status_names);
        self.with(|server, now| {
            let ids = all_ids(server);
            let row = |id: i64| (id, mapping::expected(&server.row(id, now).unwrap(), &NAMES));
            ids.into_iter().map(row).collect()
        })
    }

    fn here(&self) -> Tickets {
        let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
        let database = open(&self.database());
        let sql = format!("SELECT UID, {} FROM tickets", columns.join(", "));
        let mut statement = database.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| {
            let values = (1..=columns.len()).map(|place| Ok(value(row.get_ref(place)?)));
            Ok((row.get(0)?, values.collect::<rusqlite::Result<_>>()?))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn complete(ended: Result<RunReport, SyncError>) -> RunReport {
    let report = ended.unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    report
}

/// Whether a pass followed the changes.
pub(crate) fn follows(report: &RunReport) -> bool {
    matches!(report.scan_kind, ScanKind::Incremental { .. })
}

fn all_ids(server: &mut Server) -> Vec<i64> {
    let shown = std::mem::replace(&mut server.knobs().plain_list, PlainList::All);
    let ids = server.ids();
    server.knobs().plain_list = shown;
    ids
}

fn open(database: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(database, flags).unwrap()
}

/// The first column of a query, as text.
pub(crate) fn texts(database: &Path, sql: &str) -> Vec<String> {
    let database = open(database);
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
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

/// The one runtime in which time is virtual.
pub(crate) fn virtually<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

pub(crate) async fn minutes(minutes: u64) {
    tokio::time::advance(Duration::from_mins(minutes)).await;
}
