//! A first run, two incremental runs and a full scan under every setting of every knob of the simulated server, and
//! under random combinations of them: the local copy equals the server, or the run reports that it is incomplete.
//!
//! The results are in `docs/matrix.md`, which this test writes.
//!
//! `HALOSYNC_MATRIX_SEED=17 cargo test --test matrix` runs only combination 17.

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod mapping;
    pub(crate) mod simulated;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{Edit, Knob, Knobs, PlainList, Server, SimulatorSettings};
use halosync::app::AppError;
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{ClientOptions, HaloClient, RateLimiter};
use halosync::retry::RetryPolicy;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{ReadTx, Store, StoreError};
use halosync::sync::{self, RunOutcome, RunReport, SharedStore, SyncError};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CellValue, SnapshotTable, Timestamp};
use halosync::watermark::{ScanKind, ScanSchedule};
use serde_json::json;
use support::mapping::{self, Fields, Names, Tickets};
use support::simulated::World;

/// Three pages.
const TICKETS: u32 = 150;

/// Smaller than the server allows, so that few tickets make several pages.
const PAGE_SIZE: u32 = 70;

/// Number of random combinations.
const COMBINATIONS: u64 = 200;

/// The seed of the simulations in which only one knob is set.
const SEED: u64 = 1;

/// Short texts, which save time, unless their length is under test.
const SHORT: &str = "details_bytes=60";

/// A page of such texts exceeds the maximum response size: testing it once is enough.
const TOO_LONG: &str = "details_bytes=1000000";

/// Numbers to test in addition to the limits of a knob's range and its default.
const BETWEEN: &[(&str, &[&str])] = &[
    ("page_cap", &["40"]),
    ("date_filter_shift", &["-60", "-5", "5", "60"]),
    // Together with a shift of five minutes, it stays within the overlap of ten.
    ("commit_delay_ms", &["240000"]),
    ("rate_limit", &["5", "300"]),
    ("rate_window_s", &["60"]),
    ("token_seconds", &["60"]),
    ("latency_ms", &["160"]),
    ("undated", &["200"]),
    ("details_bytes", &["20000"]),
];

/// Settings without which a knob has no effect.
const ALONG_WITH: &[(&str, &str)] = &[
    ("default_order", "order_by_id=ignored"),
    ("retry_after", "rate_limit=5"),
    ("limit_body", "rate_limit=5"),
    ("rate_window_s", "rate_limit=5"),
];

/// One row of the matrix: the settings of the server and of the run.
#[derive(Clone, Debug, Default)]
struct Case {
    /// Knobs that differ from their default, as `name=value`.
    knobs: Vec<String>,
    seed: u64,
    /// Whether the server is hosted and has a tenant.
    hosted: bool,
    /// Whether only one ticket type is in scope.
    one_type: bool,
}

const HEAD: &str = "\
# The matrix

Behavior of HaloITSM that is not established is a knob of the simulated server ([simulator.md](simulator.md)). The test
runs halosync under every setting of every knob and under random combinations of them: a first run, two incremental runs
with edits, creations, deletions and merges between them, and a day later a run with a full scan. After each run, every
attribute and every custom field of every ticket is compared with the server's. Custom fields are exempt while they are
pending, or if the server offers no way to verify what its list contains; `status` reports both.

*Equal* means that the local copy has the same data as the server. An incremental run requests only what was updated:
a change that does not update `last_update`, and a ticket that disappeared from the list, are found by the next full scan
and are not counted as differences before. A ticket that the server refuses to show (403) stays and is listed in
`unlisted_tickets`. A run that is *incomplete* or *fails* reports it by its exit status and does not move the watermark.

`tests/matrix.rs` generates this file and checks it.
";

/// The ticket type in scope if it is only one.
const ONE_TYPE: (i64, &str) = (1, "incident");

/// The result of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Result {
    /// Complete, and the local copy is equal.
    Equal,
    /// Complete and equal, but custom fields of some tickets are pending or not compared, which is reported.
    Pending,
    /// Incomplete (exit status 3); the watermark does not move.
    Incomplete,
    /// Failed with this exit status; the watermark does not move.
    Failed(u8),
    /// Complete, but the local copy differs: the kind of difference and details.
    Wrong(&'static str, String),
}

impl Result {
    fn to_text(&self) -> String {
        match self {
            Result::Equal => "equal".into(),
            Result::Pending => "equal, with custom fields pending or not compared".into(),
            Result::Incomplete => "incomplete, and reports it (3)".into(),
            Result::Failed(65) => "fails: invalid response (65)".into(),
            Result::Failed(69) => "fails: server unreachable (69)".into(),
            Result::Failed(75) => "fails: rate limit (75)".into(),
            Result::Failed(77) => "fails: access refused (77)".into(),
            Result::Failed(status) => format!("fails: {status}, which is not documented"),
            Result::Wrong(what, _) => format!("**complete, but {what}**"),
        }
    }

    /// Returns whether the local copy is equal or the run reports that it is not.
    fn is_acceptable(&self) -> bool {
        matches!(
            self,
            Result::Equal | Result::Pending | Result::Incomplete | Result::Failed(65 | 69 | 75 | 77)
        )
    }
}

/// The results of the four runs.
struct Row([Result; 4]);

const RUNS: [&str; 4] = ["first", "second", "third", "full"];

impl Row {
    fn to_text(&self) -> String {
        let texts = self.0.each_ref().map(Result::to_text);
        if texts.iter().all(|it| *it == texts[0]) {
            return texts[0].clone();
        }
        RUNS.iter().zip(&texts).map(|(run, text)| format!("{run}: {text}")).collect::<Vec<_>>().join("; ")
    }

    fn is_acceptable(&self) -> bool {
        self.0.iter().all(Result::is_acceptable)
    }

    fn details(&self) -> String {
        let wrong = RUNS.iter().zip(&self.0).filter_map(|(run, result)| match result {
            Result::Wrong(what, details) => Some(format!("{run} run: {what}: {details}")),
            _ => None,
        });
        wrong.collect::<Vec<_>>().join("\n")
    }
}

fn start_time() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a time")
}

// ---- One case ----

impl Case {
    fn run(&self) -> Row {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut settings = SimulatorSettings {
                tickets: TICKETS,
                seed: self.seed,
                tenant: self.hosted.then(|| "acme".to_owned()),
                ..SimulatorSettings::default()
            };
            for knob in std::iter::once(SHORT).chain(self.knobs.iter().map(String::as_str)) {
                settings.knobs.set(knob).expect("a knob");
            }
            TestEnv::new(self, settings).run().await
        })
    }
}

/// A simulated server and its local copy.
struct TestEnv {
    world: Arc<World>,
    store: SharedStore,
    names: Names,
    one_type: bool,
    /// All tickets that have ever been in scope.
    known: BTreeSet<i64>,
}

impl TestEnv {
    fn new(case: &Case, settings: SimulatorSettings) -> TestEnv {
        let forbidden =
            settings.knobs.reference_needs_all.is_on() && settings.knobs.scope_read_tickets.is_on();
        let names = if forbidden { Names::new() } else { mapping::status_names() };
        let world = World::new(settings, start_time());
        let store = Store::in_memory(Timestamp::new(start_time()).expect("a time")).expect("a store");
        let known = BTreeSet::new();
        TestEnv { world, store: SharedStore::new_inline(store), names, one_type: case.one_type, known }
    }

    async fn run(mut self) -> Row {
        let first = self.run_once(false).await;
        self.edit_tickets(0).await;
        let second = self.run_once(false).await;
        self.edit_tickets(1).await;
        let third = self.run_once(false).await;
        self.edit_tickets(2).await;
        self.advance_one_day().await;
        let full = self.run_once(true).await;
        Row([first, second, third, full])
    }

    /// Makes typical changes over five minutes.
    async fn edit_tickets(&mut self, round: usize) {
        let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
        let ids = self.known_now();
        let id = |index: usize| ids[(index * 7 + round * 3) % ids.len()];
        minutes(1).await;
        self.world.with(|server, now| {
            server.edit_some(7, now);
            server.edit(id(1), Edit::Status(9), now);
            server.edit(id(2), Edit::Status(2), now);
            server.edit(id(3), Edit::TicketType(3), now);
            server.edit(id(4), Edit::TicketType(ONE_TYPE.0), now);
            server.edit(id(5), Edit::Touch, now);
            let (value, display) = (json!(round), format!("Round {round}"));
            server.edit(id(11), Edit::CustomField { field: 121, value, display }, now);
        });
        minutes(1).await;
        self.world.with(|server, now| server.create(5, now));
        minutes(1).await;
        self.world.with(|server, now| {
            server.delete(id(6), now);
            server.delete(id(7), now);
            server.merge(id(8), id(9), now);
            server.recount_sla(id(10), now);
        });
        minutes(2).await;
    }

    /// Advances the clock by 25 hours and makes changes that do not update `last_update`.
    async fn advance_one_day(&mut self) {
        tokio::time::advance(Duration::from_hours(25)).await;
        let gone: Vec<i64> =
            self.known.difference(&self.known_now().into_iter().collect()).copied().collect();
        let ids = self.known_now();
        self.world.with(|server, now| {
            server.rename_client(14, "Copperline Ltd");
            server.rename_status(2, "Being worked on");
            server.hide(&[ids[60], ids[61]]);
            if let Some(id) = gone.first() {
                server.restore(*id, now);
            }
        });
        if let Some(name) = self.names.get_mut(&2) {
            "Being worked on".clone_into(name);
        }
    }

    fn known_now(&self) -> Vec<i64> {
        self.world.with(|server, _| all_ids(server))
    }

    async fn run_once(&mut self, full: bool) -> Result {
        let before = self.watermark();
        let outcome = self.sync(full).await;
        let expected = self.expected();
        self.known.extend(expected.keys());
        let result = match outcome {
            Ok(RunReport { outcome: RunOutcome::Complete, scan_kind, .. }) => {
                self.compare(&expected, scan_kind == ScanKind::Full)
            }
            Ok(_) => Result::Incomplete,
            Err(error) => Result::Failed(AppError::from(error).exit_status().code()),
        };
        if matches!(result, Result::Incomplete | Result::Failed(_)) {
            assert_eq!(self.watermark(), before, "the watermark moved in a run that was not complete");
        }
        result
    }

    async fn sync(&self, full: bool) -> std::result::Result<RunReport, SyncError> {
        let limit = RateLimit { requests: 300, window: Duration::from_mins(5) };
        let since = Timestamp::new(self.world.now()).expect("a time").minus(TimeDelta::minutes(5));
        let recent_requests = self.store.lock().read(|snapshot| snapshot.requests_since(since, 0))?;
        let options = ClientOptions {
            server: ServerUrl::parse("http://127.0.0.1").expect("an address"),
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
        let transport: Arc<World> = Arc::clone(&self.world);
        let halo = HaloClient::new(transport, RateLimiter::new(limit, recent_requests), options, || 0.5);
        let settings = sync::RunSettings {
            scope: Scope {
                server: "http://127.0.0.1".into(),
                tenant: String::new(),
                ticket_types: Vec::new(),
                custom_fields: true,
                mapping: MAPPING_VERSION,
            },
            ticket_types: if self.one_type { vec![ONE_TYPE.1.to_owned()] } else { Vec::new() },
            page_size: PAGE_SIZE,
            parallel_requests: 4,
            requests_per_window: 300,
            batch_rows: sync::BATCH_ROWS,
            schedule: ScanSchedule {
                full_requested: full,
                full_every: Some(Duration::from_hours(24)),
                overlap: TimeDelta::minutes(10),
                incremental_every: Duration::from_mins(5),
            },
            accept_shortfall: 0,
            delete_guard: 0.05,
            accept_deletes: false,
            dry_run: false,
            keep_runs: TimeDelta::days(400),
        };
        let (store, clock) = (self.store.clone(), self.world.wall());
        sync::run(Arc::new(halo), store, settings, clock, Arc::new(()), std::future::pending()).await
    }

    fn watermark(&self) -> Option<Timestamp> {
        let covered = |snapshot: &ReadTx<'_>| {
            Ok::<_, StoreError>(snapshot.watermark()?.and_then(|mark| mark.covered_until))
        };
        self.store.lock().read(covered).expect("a watermark")
    }

    /// The expected tickets of the local copy.
    fn expected(&self) -> Tickets {
        self.world.with(|server, now| {
            let rows = all_ids(server).into_iter().map(|id| (id, server.row(id, now).expect("a row")));
            let rows: Vec<_> = rows.collect();
            let wanted = |row: &serde_json::Value| !self.one_type || row["tickettype_id"] == ONE_TYPE.0;
            let rows = rows.into_iter().filter(|(_, row)| wanted(row));
            rows.map(|(id, row)| (id, mapping::expected(&row, &self.names))).collect()
        })
    }

    fn local_tickets(&self) -> Tickets {
        let mut tickets = Tickets::new();
        let read = self.store.lock().read(|snapshot| {
            snapshot.delta(0, |row| {
                let ticket: Vec<AttributeValue> =
                    row.cells.iter().map(|cell| AttributeValue::from(*cell)).collect();
                let AttributeValue::Integer(id) = *attribute(&ticket, "UID") else { unreachable!("a key") };
                tickets.insert(id, ticket);
                Ok::<_, StoreError>(())
            })
        });
        read.expect("tickets");
        tickets
    }

    /// The expected custom fields of a ticket.
    fn expected_fields(&self, id: i64) -> Fields {
        self.world.with(|server, _| mapping::expected_fields(&server.custom_fields(id).expect("a ticket")))
    }

    fn local_fields(&self) -> BTreeMap<i64, Fields> {
        let mut fields: BTreeMap<i64, Fields> = BTreeMap::new();
        let text = |cell: &CellValue<'_>| match cell {
            CellValue::Null => None,
            CellValue::Integer(number) => Some(number.to_string()),
            CellValue::Text(text) => Some((*text).to_owned()),
            CellValue::Real(_) | CellValue::Json(_) => panic!("no such value among custom fields"),
        };
        let read = self.store.lock().read(|snapshot| {
            snapshot.for_each_row(SnapshotTable::CustomFields, |row| {
                let (CellValue::Integer(id), CellValue::Integer(field)) = (row[0], row[1]) else {
                    unreachable!("keys")
                };
                let members = [2, 3, 4, 5, 6].map(|index: usize| text(&row[index]));
                fields.entry(id).or_default().insert(field, members);
                Ok::<_, StoreError>(())
            })
        });
        read.expect("custom fields");
        fields
    }

    /// Compares after a complete run. An incremental scan does not find changes that leave `last_update` as it was, nor
    /// deletions; a full scan finds everything, and lists the tickets that it could not confirm as deleted.
    fn compare(&self, expected: &Tickets, full: bool) -> Result {
        let (local, fields, none) = (self.local_tickets(), self.local_fields(), Fields::new());
        let health = self.store.lock().read(|snapshot| snapshot.health(0)).expect("health");
        let not_compared = health
            .probes
            .iter()
            .any(|it| it.probe.as_str() == "custom_fields" && it.result == "not_compared");
        let pending = not_compared || 0 < health.pending_fetches + health.unreadable;
        let last_update = |ticket| attribute(ticket, "SOURCE_LAST_MODIFIED");
        for (id, should_be) in expected {
            let Some(is) = local.get(id) else {
                return Result::Wrong("tickets are missing", format!("ticket {id}"));
            };
            let differences = mapping::differences(is, should_be);
            let not_requested = !full && last_update(is) == last_update(should_be);
            if !differences.is_empty() && !not_requested {
                return Result::Wrong("tickets are out of date", format!("{id}: {}", differences.join(", ")));
            }
            let differences =
                mapping::field_differences(fields.get(id).unwrap_or(&none), &self.expected_fields(*id));
            if !differences.is_empty() && !not_requested && !pending {
                return Result::Wrong("custom fields differ", format!("{id}: {}", differences.join(", ")));
            }
        }
        let surplus: Vec<_> = local.keys().filter(|id| !expected.contains_key(id)).collect();
        let explained = if full {
            surplus.len() as u64 == health.unlisted_tickets
        } else {
            surplus.iter().all(|id| self.known.contains(id))
        };
        if explained {
            if not_compared || 0 < health.pending_fetches { Result::Pending } else { Result::Equal }
        } else {
            Result::Wrong("deleted tickets are present", format!("{surplus:?}"))
        }
    }
}

fn attribute<'t>(ticket: &'t [AttributeValue], name: &str) -> &'t AttributeValue {
    let position = mapping::columns().position(|attribute| attribute == name);
    &ticket[position.expect("an attribute")]
}

/// The tickets that the agent may see, listed or not.
fn all_ids(server: &mut Server) -> Vec<i64> {
    let plain_list = std::mem::replace(&mut server.knobs().plain_list, PlainList::All);
    let ids = server.ids();
    server.knobs().plain_list = plain_list;
    ids
}

// ---- All cases ----

/// The tested settings of a knob: every word, or the limits of the range, the default and some numbers in between.
fn settings(knob: &Knob) -> Vec<String> {
    let allowed = knob.allowed();
    let Some((min, max)) = allowed.split_once(" to ") else {
        return allowed.split(", ").map(ToOwned::to_owned).collect();
    };
    let between = BETWEEN.iter().find(|(name, _)| *name == knob.name).map_or(&[][..], |(_, numbers)| numbers);
    let default = knob.value(&Knobs::default());
    let numbers = [min, max, &default].into_iter().chain(between.iter().copied());
    let numbers: BTreeSet<i64> = numbers.map(|number| number.parse().expect("a number")).collect();
    numbers.iter().map(ToString::to_string).collect()
}

/// Each setting of each knob, alone.
fn singles() -> Vec<(&'static Knob, String, Case)> {
    let mut cases = Vec::new();
    for knob in Knobs::table() {
        for setting in settings(knob) {
            let along = ALONG_WITH.iter().filter(|(name, _)| *name == knob.name);
            let mut knobs: Vec<_> = along.map(|(_, other)| (*other).to_owned()).collect();
            knobs.push(format!("{}={setting}", knob.name));
            let (hosted, one_type) = (knob.name == "tenant", knob.name == "type_filter");
            cases.push((knob, setting, Case { knobs, seed: SEED, hosted, one_type }));
        }
    }
    cases
}

/// A random combination: each knob is set with a probability of one in five.
fn combination(number: u64) -> Case {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut knobs = Vec::new();
    for knob in Knobs::table() {
        let settings = settings(knob);
        let setting = &settings[rng.usize(..settings.len())];
        if rng.u8(..5) == 0 {
            knobs.push(format!("{}={setting}", knob.name));
        }
    }
    knobs.retain(|knob| knob != TOO_LONG);
    if knobs.iter().any(|knob| knob.starts_with("undated=") && knob != "undated=0") {
        // Without `last_update`, a cached response cannot be distinguished from a current one.
        knobs.retain(|knob| !knob.starts_with("detail_cache_s="));
    }
    Case { knobs, seed: number, hosted: rng.bool(), one_type: rng.u8(..4) == 0 }
}

/// Runs the cases on all cores; returns the rows in the order of the cases.
fn run_all(cases: &[Case]) -> Vec<Row> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((index, case)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            cases.get(index).map(|case| (index, case))
        } {
            let row = case.run();
            rows.lock().expect("rows").insert(index, row);
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    rows.into_inner().expect("rows").into_values().collect()
}

#[test]
fn copy_equals_server_or_run_reports_it_under_every_knob() {
    if std::env::var_os("HALOSYNC_MATRIX_SEED").is_some() {
        return;
    }
    let names = BETWEEN.iter().map(|(name, _)| name).chain(ALONG_WITH.iter().map(|(name, _)| name));
    for name in names {
        assert!(Knobs::table().iter().any(|knob| knob.name == *name), "there is no knob `{name}`");
    }
    assert!(mapping::columns().eq(ATTRIBUTES.iter().map(|attribute| attribute.name)));

    let singles = singles();
    let combinations: Vec<Case> = (0..COMBINATIONS).map(combination).collect();
    let cases: Vec<Case> =
        singles.iter().map(|(_, _, case)| case.clone()).chain(combinations.iter().cloned()).collect();
    let mut rows = run_all(&cases);
    let random = rows.split_off(singles.len());

    let mut failures = Vec::new();
    for ((knob, setting, _), row) in singles.iter().zip(&rows) {
        if !row.is_acceptable() {
            failures.push(format!("{}={setting}: {}\n{}", knob.name, row.to_text(), row.details()));
        }
    }
    for (number, (case, row)) in combinations.iter().zip(&random).enumerate() {
        if !row.is_acceptable() {
            failures.push(format!(
                "HALOSYNC_MATRIX_SEED={number}: {case:?}: {}\n{}",
                row.to_text(),
                row.details()
            ));
        }
    }
    let table = markdown(&singles, &rows, &random);
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n\n"), failures.len());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/matrix.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    if old != table {
        std::fs::write(&path, table).expect("docs/matrix.md");
        panic!("docs/matrix.md was outdated and has been updated: review and commit it");
    }
}

#[test]
fn single_combination_equals_server_or_run_reports_it() {
    let number = std::env::var("HALOSYNC_MATRIX_SEED").map_or(0, |it| it.parse().expect("a number"));
    let case = combination(number);
    let row = case.run();
    assert!(row.is_acceptable(), "{number}: {case:?}: {}\n{}", row.to_text(), row.details());
}

fn markdown(singles: &[(&Knob, String, Case)], rows: &[Row], random: &[Row]) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n## Each knob alone\n\n| knob | setting | result |\n|---|---|---|\n");
    for ((knob, setting, case), row) in singles.iter().zip(rows) {
        let mut with = String::new();
        for other in &case.knobs[..case.knobs.len() - 1] {
            let _ = write!(with, ", with `{other}`");
        }
        if case.hosted {
            with.push_str(", on a hosted server");
        }
        if case.one_type {
            with.push_str(", with one ticket type in scope");
        }
        let _ = writeln!(text, "| `{}` | `{setting}`{with} | {} |", knob.name, row.to_text());
    }

    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for row in random {
        let category = match &row.0 {
            results if results.iter().all(|it| *it == Result::Equal) => "equal after every run",
            results if results.iter().any(|it| matches!(it, Result::Incomplete)) => {
                "at least one run is incomplete and reports it"
            }
            _ => "at least one run fails and reports why",
        };
        *counts.entry(category).or_default() += 1;
    }
    let _ = write!(text, "\n## {COMBINATIONS} random combinations\n\n| result | combinations |\n|---|---|\n");
    for (category, count) in counts {
        let _ = writeln!(text, "| {category} | {count} |");
    }
    text
}
