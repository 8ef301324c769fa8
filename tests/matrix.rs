//! A first pass, two following passes and a full walk under every setting of every knob of the simulated server, and
//! under random combinations of them: the copy equals the server, or the pass says that it cannot know.
//!
//! The results are in `docs/matrix.md`, which this test writes.
//!
//! `HALOSYNC_MATRIX_SEED=17 cargo test --test matrix` runs combination 17 alone.

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
use halosync::app::AppError;
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{ClientOptions, HaloClient, RateLimiter};
use halosync::retry::RetryPolicy;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::simulator::{self, Edit, Knob, Knobs, PlainList, Server};
use halosync::store::{ReadTx, Store, StoreError};
use halosync::sync::{self, RunOutcome, RunReport, SharedStore, SyncError};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CellValue, SnapshotTable, Timestamp};
use halosync::watermark::{ScanKind, ScanSchedule};
use serde_json::json;
use support::mapping::{self, Fields, Names, Tickets};
use support::simulated::World;

/// Three pages.
const TICKETS: u32 = 150;

/// Fewer than a server gives, so that the world can be small.
const PAGE_SIZE: u32 = 70;

/// How many random combinations there are.
const COMBINATIONS: u64 = 200;

/// The seed of the world in which knobs are turned alone.
const SEED: u64 = 1;

/// Short texts, unless their length is what is tried: they cost time and tell nothing more.
const SHORT: &str = "details_bytes=60";

/// A page of such texts is more than the agent takes in: once is enough.
const TOO_LONG: &str = "details_bytes=1000000";

/// Numbers worth a try between the ends of a knob's range and its default.
const BETWEEN: &[(&str, &[&str])] = &[
    ("page_cap", &["40"]),
    ("date_filter_shift", &["-60", "-5", "5", "60"]),
    // With the shift of five minutes it stays within the overlap of ten.
    ("commit_delay_ms", &["240000"]),
    ("rate_limit", &["5", "300"]),
    ("rate_window_s", &["60"]),
    ("token_seconds", &["60"]),
    ("latency_ms", &["160"]),
    ("undated", &["200"]),
    ("details_bytes", &["20000"]),
];

/// What must be so for a knob to matter at all.
const ALONG_WITH: &[(&str, &str)] = &[
    ("default_order", "order_by_id=ignored"),
    ("retry_after", "rate_limit=5"),
    ("limit_body", "rate_limit=5"),
    ("rate_window_s", "rate_limit=5"),
];

/// One row of the matrix: how the server is, and what is asked of it.
#[derive(Clone, Debug, Default)]
struct Case {
    /// `name=value`, those that are not as by default.
    knobs: Vec<String>,
    seed: u64,
    /// Whether the server is a hosted one, with a tenant.
    hosted: bool,
    /// Whether only one ticket type is copied.
    one_type: bool,
}

const HEAD: &str = "\
# The matrix

What nobody has established about HaloITSM is a knob of the simulated server ([simulator.md](simulator.md)). Under every
setting of every knob, and under random combinations of them, a copy is made and kept: a first pass, two following passes
with edits, creations, deletions and merges between them, and a day later a full walk. After each pass every attribute and
every custom field of every ticket is compared with the server's, unless it is owed, or the server left no way to compare
what its list tells of them: then `status` says so.

*Equal* is a copy that holds what the server has. A following pass is asked for what changed: what moves no stamp on the
server, and what leaves its list, is the next full walk's to find, and no difference before that. A ticket that the
server refuses to show (403) stays and is listed in `absences`. Where a pass is *incomplete* or *fails*, it says so by its
exit status, and the watermark stays where it was.

`tests/matrix.rs` makes this file and keeps it true.
";

/// The ticket type that is copied where it is only one.
const ONE_TYPE: (i64, &str) = (1, "incident");

/// What came of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Result {
    /// It says complete, and the copy is equal.
    Equal,
    /// The same, but that custom fields of some tickets are owed or not proven, and it says so.
    Owing,
    /// It says that it may not have everything (exit status 3), and the watermark stays.
    Held,
    /// It says why it could not go on, and the watermark stays.
    Failed(u8),
    /// It says complete, and the copy differs.
    Wrong(&'static str, String),
}

impl Result {
    fn words(&self) -> String {
        match self {
            Result::Equal => "equal".into(),
            Result::Owing => "equal, with custom fields owed or not compared".into(),
            Result::Held => "incomplete, and says so (3)".into(),
            Result::Failed(65) => "fails: unreadable answer (65)".into(),
            Result::Failed(69) => "fails: unreachable (69)".into(),
            Result::Failed(75) => "fails: rate limit (75)".into(),
            Result::Failed(77) => "fails: refused (77)".into(),
            Result::Failed(status) => format!("fails: {status}, which is not documented for it"),
            Result::Wrong(what, _) => format!("**says complete, but {what}**"),
        }
    }

    /// Whether it is what a copy should be, or says that it is not.
    fn is_honest(&self) -> bool {
        matches!(self, Result::Equal | Result::Owing | Result::Held | Result::Failed(65 | 69 | 75 | 77))
    }
}

/// What came of the four passes.
struct Row([Result; 4]);

const PASSES: [&str; 4] = ["first", "second", "third", "full"];

impl Row {
    fn words(&self) -> String {
        let words = self.0.each_ref().map(Result::words);
        if words.iter().all(|it| *it == words[0]) {
            return words[0].clone();
        }
        PASSES
            .iter()
            .zip(&words)
            .map(|(pass, words)| format!("{pass}: {words}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn is_honest(&self) -> bool {
        self.0.iter().all(Result::is_honest)
    }

    fn details(&self) -> String {
        let wrong = PASSES.iter().zip(&self.0).filter_map(|(pass, result)| match result {
            Result::Wrong(what, details) => Some(format!("{pass} pass: {what}: {details}")),
            _ => None,
        });
        wrong.collect::<Vec<_>>().join("\n")
    }
}

fn began() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a moment")
}

// ---- One case ----

impl Case {
    fn play(&self) -> Row {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut settings = simulator::SimulatorSettings {
                tickets: TICKETS,
                seed: self.seed,
                tenant: self.hosted.then(|| "acme".to_owned()),
                ..simulator::SimulatorSettings::default()
            };
            for knob in std::iter::once(SHORT).chain(self.knobs.iter().map(String::as_str)) {
                settings.knobs.set(knob).expect("a knob");
            }
            Desk::new(self, settings).play().await
        })
    }
}

/// A world and a copy of it.
struct Desk {
    world: Arc<World>,
    store: SharedStore,
    names: Names,
    one_type: bool,
    /// Every ticket that was ever to be copied.
    known: BTreeSet<i64>,
}

impl Desk {
    fn new(case: &Case, settings: simulator::SimulatorSettings) -> Desk {
        let forbidden =
            settings.knobs.reference_needs_all.is_on() && settings.knobs.scope_read_tickets.is_on();
        let names = if forbidden { Names::new() } else { mapping::status_names() };
        let world = World::new(settings, began());
        let store = Store::in_memory(Timestamp::new(began()).expect("a moment")).expect("a store");
        let known = BTreeSet::new();
        Desk { world, store: SharedStore::new_inline(store), names, one_type: case.one_type, known }
    }

    async fn play(mut self) -> Row {
        let first = self.pass(false).await;
        self.people_work(0).await;
        let second = self.pass(false).await;
        self.people_work(1).await;
        let third = self.pass(false).await;
        self.people_work(2).await;
        self.a_day_later().await;
        let full = self.pass(true).await;
        Row([first, second, third, full])
    }

    /// Five minutes of a service desk.
    async fn people_work(&mut self, round: usize) {
        let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
        let ids = self.known_now();
        let id = |place: usize| ids[(place * 7 + round * 3) % ids.len()];
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

    /// Besides, what no stamp tells of.
    async fn a_day_later(&mut self) {
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

    async fn pass(&mut self, full: bool) -> Result {
        let before = self.watermark();
        let done = self.sync(full).await;
        let truth = self.truth();
        self.known.extend(truth.keys());
        let result = match done {
            Ok(RunReport { outcome: RunOutcome::Complete, scan_kind: walk, .. }) => {
                self.compare(&truth, walk == ScanKind::Full)
            }
            Ok(_) => Result::Held,
            Err(error) => Result::Failed(AppError::from(error).exit_status()),
        };
        if matches!(result, Result::Held | Result::Failed(_)) {
            assert_eq!(self.watermark(), before, "the watermark moved in a pass that was not complete");
        }
        result
    }

    async fn sync(&self, full: bool) -> std::result::Result<RunReport, SyncError> {
        let limit = RateLimit { requests: 300, window: Duration::from_mins(5) };
        let since = Timestamp::new(self.world.now()).expect("a moment").minus(TimeDelta::minutes(5));
        let spent = self.store.lock().read(|snapshot| snapshot.requests_since(since, 0))?;
        let terms = ClientOptions {
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
        let halo = HaloClient::new(transport, RateLimiter::new(limit, spent), terms, || 0.5);
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
        let (store, wall) = (self.store.clone(), self.world.wall());
        sync::run(Arc::new(halo), store, settings, wall, Arc::new(()), std::future::pending()).await
    }

    fn watermark(&self) -> Option<Timestamp> {
        let covered = |snapshot: &ReadTx<'_>| {
            Ok::<_, StoreError>(snapshot.watermark()?.and_then(|mark| mark.covered_until))
        };
        self.store.lock().read(covered).expect("a watermark")
    }

    /// The tickets as they should be here.
    fn truth(&self) -> Tickets {
        self.world.with(|server, now| {
            let rows = all_ids(server).into_iter().map(|id| (id, server.row(id, now).expect("a row")));
            let rows: Vec<_> = rows.collect();
            let wanted = |row: &serde_json::Value| !self.one_type || row["tickettype_id"] == ONE_TYPE.0;
            let rows = rows.into_iter().filter(|(_, row)| wanted(row));
            rows.map(|(id, row)| (id, mapping::expected(&row, &self.names))).collect()
        })
    }

    fn copy(&self) -> Tickets {
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

    /// The custom fields of a ticket as they should be here.
    fn fields(&self, id: i64) -> Fields {
        self.world.with(|server, _| mapping::expected_fields(&server.custom_fields(id).expect("a ticket")))
    }

    fn copied_fields(&self) -> BTreeMap<i64, Fields> {
        let mut copied: BTreeMap<i64, Fields> = BTreeMap::new();
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
                let members = [2, 3, 4, 5, 6].map(|place: usize| text(&row[place]));
                copied.entry(id).or_default().insert(field, members);
                Ok::<_, StoreError>(())
            })
        });
        read.expect("custom fields");
        copied
    }

    /// Compares after a pass that says `complete`. A following walk cannot see what moves no stamp, and nothing that
    /// leaves; a full walk sees everything, and lists what it could not conclude about.
    fn compare(&self, truth: &Tickets, full: bool) -> Result {
        let (copy, fields, none) = (self.copy(), self.copied_fields(), Fields::new());
        let health = self.store.lock().read(|snapshot| snapshot.health(0)).expect("health");
        let unproven =
            health.probes.iter().any(|it| it.probe == "custom_fields" && it.result == "not_compared");
        let owed = unproven || 0 < health.pending_fetches + health.unreadable;
        let stamp = |ticket| attribute(ticket, "SOURCE_LAST_MODIFIED");
        for (id, should_be) in truth {
            let Some(is) = copy.get(id) else {
                return Result::Wrong("tickets are missing", format!("ticket {id}"));
            };
            let differences = mapping::differences(is, should_be);
            let unseen = !full && stamp(is) == stamp(should_be);
            if !differences.is_empty() && !unseen {
                return Result::Wrong("tickets are out of date", format!("{id}: {}", differences.join(", ")));
            }
            let differences = mapping::field_differences(fields.get(id).unwrap_or(&none), &self.fields(*id));
            if !differences.is_empty() && !unseen && !owed {
                return Result::Wrong("custom fields differ", format!("{id}: {}", differences.join(", ")));
            }
        }
        let surplus: Vec<_> = copy.keys().filter(|id| !truth.contains_key(id)).collect();
        let explained = if full {
            surplus.len() as u64 == health.unlisted_tickets
        } else {
            surplus.iter().all(|id| self.known.contains(id))
        };
        if explained {
            if unproven || 0 < health.pending_fetches { Result::Owing } else { Result::Equal }
        } else {
            Result::Wrong("tickets are here that are gone", format!("{surplus:?}"))
        }
    }
}

fn attribute<'t>(ticket: &'t [AttributeValue], name: &str) -> &'t AttributeValue {
    let place = mapping::columns().position(|attribute| attribute == name);
    &ticket[place.expect("an attribute")]
}

/// The tickets that the agent may see, listed or not.
fn all_ids(server: &mut Server) -> Vec<i64> {
    let shown = std::mem::replace(&mut server.knobs().plain_list, PlainList::All);
    let ids = server.ids();
    server.knobs().plain_list = shown;
    ids
}

// ---- All cases ----

/// The settings of a knob that are tried: every word, or the ends of the range, the default and some in between.
fn settings(knob: &Knob) -> Vec<String> {
    let allowed = knob.allowed();
    let Some((least, most)) = allowed.split_once(" to ") else {
        return allowed.split(", ").map(ToOwned::to_owned).collect();
    };
    let between = BETWEEN.iter().find(|(name, _)| *name == knob.name).map_or(&[][..], |(_, numbers)| numbers);
    let default = knob.value(&Knobs::default());
    let numbers = [least, most, &default].into_iter().chain(between.iter().copied());
    let numbers: BTreeSet<i64> = numbers.map(|number| number.parse().expect("a number")).collect();
    numbers.iter().map(ToString::to_string).collect()
}

/// Every knob alone, with each of its settings.
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

/// A random combination: each knob is turned with a chance of one in five.
fn combination(number: u64) -> Case {
    let mut chance = fastrand::Rng::with_seed(number);
    let mut knobs = Vec::new();
    for knob in Knobs::table() {
        let settings = settings(knob);
        let setting = &settings[chance.usize(..settings.len())];
        if chance.u8(..5) == 0 {
            knobs.push(format!("{}={setting}", knob.name));
        }
    }
    knobs.retain(|knob| knob != TOO_LONG);
    if knobs.iter().any(|knob| knob.starts_with("undated=") && knob != "undated=0") {
        // Without a stamp an answer from a cache cannot be told from a present one.
        knobs.retain(|knob| !knob.starts_with("detail_cache_s="));
    }
    Case { knobs, seed: number, hosted: chance.bool(), one_type: chance.u8(..4) == 0 }
}

/// Plays the cases on all cores; the rows come in the order of the cases.
fn play(cases: &[Case]) -> Vec<Row> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((place, case)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            cases.get(place).map(|case| (place, case))
        } {
            let row = case.play();
            rows.lock().expect("rows").insert(place, row);
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
fn under_every_setting_of_every_knob_the_copy_is_equal_or_the_pass_says_that_it_cannot_know() {
    if std::env::var_os("HALOSYNC_MATRIX_SEED").is_some() {
        return;
    }
    let turned = BETWEEN.iter().map(|(name, _)| name).chain(ALONG_WITH.iter().map(|(name, _)| name));
    for name in turned {
        assert!(Knobs::table().iter().any(|knob| knob.name == *name), "there is no knob `{name}`");
    }
    assert!(mapping::columns().eq(ATTRIBUTES.iter().map(|attribute| attribute.name)));

    let singles = singles();
    let combinations: Vec<Case> = (0..COMBINATIONS).map(combination).collect();
    let cases: Vec<Case> =
        singles.iter().map(|(_, _, case)| case.clone()).chain(combinations.iter().cloned()).collect();
    let mut rows = play(&cases);
    let random = rows.split_off(singles.len());

    let mut complaints = Vec::new();
    for ((knob, setting, _), row) in singles.iter().zip(&rows) {
        if !row.is_honest() {
            complaints.push(format!("{}={setting}: {}\n{}", knob.name, row.words(), row.details()));
        }
    }
    for (number, (case, row)) in combinations.iter().zip(&random).enumerate() {
        if !row.is_honest() {
            complaints.push(format!(
                "HALOSYNC_MATRIX_SEED={number}: {case:?}: {}\n{}",
                row.words(),
                row.details()
            ));
        }
    }
    let table = markdown(&singles, &rows, &random);
    assert!(complaints.is_empty(), "{}\n{} complaints", complaints.join("\n\n"), complaints.len());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/matrix.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    if old != table {
        std::fs::write(&path, table).expect("docs/matrix.md");
        panic!("docs/matrix.md differed and was written anew: look at it and commit it");
    }
}

#[test]
fn one_combination_can_be_played_alone() {
    let number = std::env::var("HALOSYNC_MATRIX_SEED").map_or(0, |it| it.parse().expect("a number"));
    let case = combination(number);
    let row = case.play();
    assert!(row.is_honest(), "{number}: {case:?}: {}\n{}", row.words(), row.details());
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
            with.push_str(", copying one ticket type");
        }
        let _ = writeln!(text, "| `{}` | `{setting}`{with} | {} |", knob.name, row.words());
    }

    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for row in random {
        let class = match &row.0 {
            results if results.iter().all(|it| *it == Result::Equal) => "equal after every pass",
            results if results.iter().any(|it| matches!(it, Result::Held)) => {
                "at least one pass is incomplete and says so"
            }
            _ => "at least one pass fails and says why",
        };
        *counts.entry(class).or_default() += 1;
    }
    let _ = write!(text, "\n## {COMBINATIONS} random combinations\n\n| result | combinations |\n|---|---|\n");
    for (class, count) in counts {
        let _ = writeln!(text, "| {class} | {count} |");
    }
    text
}
