//! The library run in virtual time against the simulated server, without a socket. Waiting costs nothing, and tests
//! change the server between two requests.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{ApiEndpoint, Knobs, Server, ServerFault, SimulatorSettings};
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{
    ClientOptions, HaloClient, HttpRequest, HttpResponse, RateLimiter, Transport, TransportError,
};
use halosync::retry::RetryPolicy;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{ReadTx, Store, StoreError, StoreOptions, TxEnd, WriteTx};
use halosync::sync::{self, Progress, RunOutcome, RunReport, RunSettings, SharedStore, SyncError};
use halosync::ticket::Timestamp;
use halosync::watermark::{ScanKind, ScanSchedule, Watermark};
use tempfile::TempDir;
use tokio::sync::Notify;
use url::Url;

use super::comparison;
use super::database::{Database, temporary_directory_in_memory};
use super::server::{self, ServerTickets as _};
use super::test_env::TestEnv;
use super::virtual_server::VirtualServer;

/// A change of the server just before it answers.
type ServerEdit = Box<dyn FnOnce(&mut Server, DateTime<Utc>) + Send>;

/// The knob of short texts, which save time.
pub(crate) const SHORT_DETAILS: &str = "details_bytes=60";

/// The default of `rate_limit_wait`.
pub(crate) const RATE_LIMIT_WAIT: Duration = Duration::from_mins(1);

/// Changes the URL of a list request on its way.
type UrlRewrite = fn(&mut Url);

/// Changes the body of a response on its way; `None` leaves it as it is.
type BodyRewrite = fn(&Url, &[u8]) -> Option<Vec<u8>>;

/// Higher than the request rate of any run.
pub(crate) const UNLIMITED: RateLimit = RateLimit { requests: 1_000_000, window: Duration::from_secs(1) };

/// Selects requests by their URL.
type UrlPredicate = fn(&Url) -> bool;

/// The transport to the server: counts list requests, changes the server between them, and alters traffic.
struct HookedTransport {
    server: Arc<VirtualServer>,
    list_requests: Mutex<u64>,
    server_changes: Mutex<Vec<(u64, ServerEdit)>>,
    url_rewrite: Mutex<Option<UrlRewrite>>,
    body_rewrite: Mutex<Option<BodyRewrite>>,
    bad_request: Mutex<Option<UrlPredicate>>,
    body_max: Mutex<usize>,
}

impl HookedTransport {
    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if request.url.path() == "/api/tickets" {
            let number = {
                let mut list_requests = self.list_requests.lock().unwrap();
                *list_requests += 1;
                *list_requests
            };
            let due: Vec<_> =
                self.server_changes.lock().unwrap().extract_if(.., |change| change.0 == number).collect();
            for (_, change) in due {
                self.server.with(change);
            }
            if let Some(rewrite) = *self.url_rewrite.lock().unwrap() {
                rewrite(&mut request.url);
            }
        }
        let url = request.url.clone();
        let mut response = self.server.send(request).await?;
        if self.bad_request.lock().unwrap().is_some_and(|selects| selects(&url)) {
            (response.status, response.body) = (400, Vec::new().into());
        }
        if let Some(body) =
            self.body_rewrite.lock().unwrap().and_then(|rewrite| rewrite(&url, &response.body))
        {
            response.body = body.into();
        }
        match response.body.get(..*self.body_max.lock().unwrap()) {
            Some(start) if start.len() < response.body.len() => {
                Err(TransportError::TooLarge { received: start.to_vec().into() })
            }
            _ => Ok(response),
        }
    }
}

impl Transport for HookedTransport {
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(request))
    }
}

/// A server, a local copy of it, and the settings of runs. Queries are those of [`Database`].
pub(crate) struct VirtualEnv {
    pub(crate) server: Arc<VirtualServer>,
    pub(crate) settings: RunSettings,
    pub(crate) rate_limit: RateLimit,
    /// How many requests a killed run may have made without recording them.
    pub(crate) unrecorded_requests: u64,
    pub(crate) max_retries: u32,
    /// How far the local clock is ahead of the server's.
    pub(crate) local_clock_offset: TimeDelta,
    /// What runs report their progress to.
    pub(crate) progress: Arc<dyn Progress>,
    _directory: TempDir,
    pub(crate) database: Database,
    store: SharedStore,
    transport: Arc<HookedTransport>,
}

impl Deref for VirtualEnv {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl VirtualEnv {
    /// An environment with short tickets. Must be called in a runtime whose clock is paused, see [`with_paused_time`].
    pub(crate) fn new(tickets: u32, knobs: &[&str]) -> VirtualEnv {
        TestEnv::builder().tickets(tickets).knob(SHORT_DETAILS).knobs(knobs.iter().copied()).start_virtual()
    }

    pub(super) fn start(
        server: SimulatorSettings,
        started_at: DateTime<Utc>,
        inline_store: bool,
    ) -> VirtualEnv {
        let server = VirtualServer::new(server, started_at);
        let directory = temporary_directory_in_memory();
        let database = Database::new(directory.path().join("halosync.db"));
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(5),
            full_text: false,
            index_last_modified: false,
            now: Timestamp::new(started_at).unwrap(),
        };
        let store = Store::open(database.path(), &options).unwrap();
        let store = if inline_store { SharedStore::new_inline(store) } else { SharedStore::new(store) };
        let transport = HookedTransport {
            server: Arc::clone(&server),
            list_requests: Mutex::default(),
            server_changes: Mutex::default(),
            url_rewrite: Mutex::default(),
            body_rewrite: Mutex::default(),
            bad_request: Mutex::default(),
            body_max: Mutex::new(64 << 20),
        };
        VirtualEnv {
            server,
            settings: run_settings(),
            rate_limit: UNLIMITED,
            unrecorded_requests: 0,
            max_retries: 5,
            local_clock_offset: TimeDelta::zero(),
            progress: Arc::new(()),
            _directory: directory,
            database,
            store,
            transport: Arc::new(transport),
        }
    }

    // ---- The server ----

    /// Reads or changes the server.
    pub(crate) fn with_server<R>(&self, change: impl FnOnce(&mut Server, DateTime<Utc>) -> R) -> R {
        self.server.with(change)
    }

    pub(crate) fn set_knob(&self, knob: &str) {
        self.with_server(|server, _| server.knobs().set(knob).unwrap());
    }

    pub(crate) fn inject(&self, fault: &str) {
        self.with_server(|server, _| server.inject(ServerFault::parse(fault).unwrap()));
    }

    pub(crate) fn clear_faults(&self) {
        self.with_server(|server, _| server.clear_faults());
    }

    /// All tickets that the client may see, whatever a plain list shows.
    pub(crate) fn server_ids(&self) -> Vec<i64> {
        self.with_server(|server, _| server::visible_ids(server))
    }

    /// Changes the server before it answers the list request of this number, counted from
    /// [`VirtualEnv::reset_request_log`].
    pub(crate) fn before_list_request(
        &self,
        number: u64,
        change: impl FnOnce(&mut Server, DateTime<Utc>) + Send + 'static,
    ) {
        self.transport.server_changes.lock().unwrap().push((number, Box::new(change)));
    }

    /// Rewrites the URLs of list requests on their way.
    pub(crate) fn rewrite_list_urls(&self, rewrite: UrlRewrite) {
        *self.transport.url_rewrite.lock().unwrap() = Some(rewrite);
    }

    /// Rewrites the bodies of responses on their way; `None` ends that.
    pub(crate) fn rewrite_bodies(&self, rewrite: Option<BodyRewrite>) {
        *self.transport.body_rewrite.lock().unwrap() = rewrite;
    }

    /// Answers the selected requests with 400; `None` ends that.
    pub(crate) fn answer_with_400(&self, selects: Option<UrlPredicate>) {
        *self.transport.bad_request.lock().unwrap() = selects;
    }

    /// Makes longer responses too large.
    pub(crate) fn limit_body_bytes(&self, bytes: usize) {
        *self.transport.body_max.lock().unwrap() = bytes;
    }

    // ---- Requests since [`VirtualEnv::reset_request_log`] ----

    pub(crate) fn reset_request_log(&self) {
        *self.transport.list_requests.lock().unwrap() = 0;
        self.with_server(|server, _| server.log_mut().reset());
    }

    /// All requests, tokens included.
    pub(crate) fn request_count(&self) -> u64 {
        self.with_server(|server, _| server.log().total())
    }

    pub(crate) fn list_request_count(&self) -> u64 {
        self.with_server(|server, _| server.log().list_count())
    }

    /// Requests for single tickets.
    pub(crate) fn ticket_request_count(&self) -> u64 {
        self.with_server(|server, _| server.log().count(ApiEndpoint::Ticket))
    }

    /// The query strings of the list requests.
    pub(crate) fn list_queries(&self) -> Vec<String> {
        self.with_server(|server, _| {
            let entries = server.log().entries().filter(|entry| entry.path == "/api/tickets");
            entries.map(|entry| entry.query.clone()).collect()
        })
    }

    /// The values of one parameter of the list requests.
    pub(crate) fn list_parameters(&self, name: &str) -> Vec<String> {
        let value = |query: &String| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|pair| pair.0 == name).map(|pair| pair.1.into_owned())
        };
        self.list_queries().iter().filter_map(value).collect()
    }

    // ---- Runs ----

    /// One run with a client of its own, which `stop` interrupts. As in a new process, only the requests that earlier
    /// runs recorded are known.
    pub(crate) async fn run_until(
        &self,
        settings: RunSettings,
        stop: impl Future<Output = ()>,
    ) -> Result<RunReport, SyncError> {
        let clock = self.server.local_clock(self.local_clock_offset);
        let since = clock().minus(TimeDelta::from_std(self.rate_limit.window).unwrap());
        let prior_requests = self.read(|tx| tx.requests_since(since, self.unrecorded_requests));
        let rate_limiter = RateLimiter::new(self.rate_limit, prior_requests);
        let options = self.with_server(|server, _| client_options(self.max_retries, server.knobs()));
        let transport = Arc::clone(&self.transport);
        let halo = HaloClient::new(transport, rate_limiter, options, || 0.5);
        sync::run(Arc::new(halo), self.store.clone(), settings, clock, Arc::clone(&self.progress), stop).await
    }

    pub(crate) async fn run(&self) -> Result<RunReport, SyncError> {
        self.run_until(self.settings.clone(), std::future::pending()).await
    }

    /// A run that must be complete.
    pub(crate) async fn run_ok(&self) -> RunReport {
        expect_complete(self.run().await)
    }

    /// A run with a full scan that must be complete.
    pub(crate) async fn run_full_ok(&self) -> RunReport {
        expect_complete(self.run_until(self.full_scan_settings(), std::future::pending()).await)
    }

    /// A run a minute later that must be incremental and complete.
    pub(crate) async fn run_incremental_after_a_minute(&self) {
        advance_minutes(1).await;
        let report = self.run_ok().await;
        assert!(is_incremental(&report), "the run was not incremental");
    }

    /// A run that is interrupted by the list request of this number, counted from [`VirtualEnv::reset_request_log`].
    pub(crate) async fn run_interrupted_at(&self, settings: RunSettings, number: u64) {
        let reached = Arc::new(Notify::new());
        let notify = Arc::clone(&reached);
        self.before_list_request(number, move |_, _| notify.notify_one());
        let result = self.run_until(settings, reached.notified()).await;
        assert!(
            matches!(result, Err(SyncError::Stopped)),
            "the run was not interrupted at list request {number}"
        );
        // What was being stored is stored.
        self.store.wait_until_idle().await.unwrap();
    }

    /// The settings of a run with a full scan.
    pub(crate) fn full_scan_settings(&self) -> RunSettings {
        let schedule = ScanSchedule { full_requested: true, ..self.settings.schedule };
        RunSettings { schedule, ..self.settings.clone() }
    }

    // ---- The database ----

    /// The result of a probe, empty where there is none.
    pub(crate) fn probe_result(&self, probe: &str) -> String {
        self.texts(&format!("SELECT result FROM server_probes WHERE probe = '{probe}'")).concat()
    }

    pub(crate) fn watermark(&self) -> Option<Watermark> {
        self.read(|tx| tx.watermark())
    }

    pub(crate) fn covered_until(&self) -> Option<Timestamp> {
        self.watermark().and_then(|watermark| watermark.covered_until)
    }

    /// Reads with the code of the program.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T, StoreError>) -> T {
        self.store.lock().read(work).unwrap()
    }

    /// Writes to the database, as no run would.
    pub(crate) fn write(&self, work: impl FnOnce(&WriteTx<'_>) -> Result<(), StoreError>) {
        self.store.lock().write(TxEnd::Commit, work).unwrap();
    }

    /// Asserts that exactly the tickets of the server are stored, with all their attributes, and with their custom
    /// fields where those are synchronized.
    pub(crate) fn assert_matches_server(&self, context: &str) {
        let (local, server) = (self.tickets(), self.server.expected_tickets());
        comparison::assert_tickets_match(&local, &server, &[], context);
        if self.settings.scope.custom_fields {
            self.assert_custom_fields_match(context);
        }
    }

    /// Asserts that every ticket of the server is stored and up to date. More tickets may be stored.
    pub(crate) fn assert_nothing_missing(&self, context: &str) {
        let (local, server) = (self.tickets(), self.server.expected_tickets());
        comparison::assert_nothing_missing(&local, &server, context);
    }

    /// Asserts that the custom fields of every ticket are the server's.
    pub(crate) fn assert_custom_fields_match(&self, context: &str) {
        let server = self.with_server(|server, _| server::expected_custom_fields(server));
        comparison::assert_custom_fields_match(&self.custom_fields(), &server, context);
    }
}

/// The settings of a run of all tickets without custom fields, in pages of 10.
pub(crate) fn run_settings() -> RunSettings {
    RunSettings {
        scope: Scope {
            server: "http://127.0.0.1".into(),
            tenant: String::new(),
            ticket_types: Vec::new(),
            custom_fields: false,
            mapping: MAPPING_VERSION,
        },
        ticket_types: Vec::new(),
        reference: Vec::new(),
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
    }
}

/// How to authenticate with a [`VirtualServer`], and when to retry. Where the server does not know the usual scope, the
/// settings say `scope = "all"`.
pub(crate) fn client_options(max_retries: u32, knobs: &Knobs) -> ClientOptions {
    let scope = if knobs.scope_read_tickets.is_on() { "read:tickets" } else { "all" };
    ClientOptions {
        server: ServerUrl::parse("http://127.0.0.1").unwrap(),
        tenant: None,
        auth_url: None,
        client_id: "halosync-demo".into(),
        client_secret: "demo-secret".to_owned().into(),
        scope: scope.into(),
        narrower_scope: None,
        retry: RetryPolicy { max_retries, rate_limit_wait: RATE_LIMIT_WAIT, max_wait: Duration::MAX },
        privacy: Arc::default(),
    }
}

fn expect_complete(result: Result<RunReport, SyncError>) -> RunReport {
    let report = result.unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    report
}

/// Whether a run made an incremental scan.
pub(crate) fn is_incremental(report: &RunReport) -> bool {
    matches!(report.scan_kind, ScanKind::Incremental { .. })
}

/// Runs a future on a single-threaded runtime whose clock is paused and moves only when all tasks wait.
pub(crate) fn with_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

pub(crate) async fn advance_minutes(minutes: u64) {
    tokio::time::advance(Duration::from_mins(minutes)).await;
}
