//! A first run, two incremental runs and a full scan under every setting of every knob of the simulated server, and
//! under random combinations of them: the local copy equals the server, or the run reports that it is incomplete.
//!
//! The results are in `docs/matrix.md`, which this test writes.
//!
//! `HALOSYNC_MATRIX_SEED=17 cargo test --test matrix` runs only combination 17.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halo_simulator::{Edit, Knob, Knobs};
use halosync::app::AppError;
use halosync::config::RateLimit;
use halosync::sync::{RunOutcome, RunReport};
use halosync::ticket::{ATTRIBUTES, AttributeValue};
use halosync::watermark::ScanKind;
use serde_json::json;
use support::mapping::{self, Fields, Names, Tickets};
use support::test_env::TestEnv;
use support::virtual_env::{SHORT_DETAILS, VirtualEnv, advance_minutes, with_paused_time};
use support::{env_number, server};

/// Three pages.
const TICKETS: u32 = 150;

/// Smaller than the server allows, so that few tickets make several pages.
const PAGE_SIZE: u32 = 70;

/// Number of random combinations.
const COMBINATIONS: u64 = 200;

/// The seed of the simulations in which only one knob is set.
const SEED: u64 = 1;

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

// ---- One case ----

impl Case {
    fn run(&self) -> Row {
        with_paused_time(async { MatrixRun::new(self).run().await })
    }
}

/// A simulated server and its local copy.
struct MatrixRun {
    env: VirtualEnv,
    names: Names,
    one_type: bool,
    /// All tickets that have ever been in scope.
    known: BTreeSet<i64>,
}

impl MatrixRun {
    fn new(case: &Case) -> MatrixRun {
        let builder =
            TestEnv::builder().tickets(TICKETS).seed(case.seed).knob(SHORT_DETAILS).knobs(&case.knobs);
        let builder = builder.started_at("2026-03-04T10:20:30.4Z".parse().unwrap()).inline_store();
        let mut env = builder.tenant(case.hosted.then_some("acme")).start_virtual();
        env.rate_limit = RateLimit { requests: 300, window: Duration::from_mins(5) };
        env.settings.scope.custom_fields = true;
        env.settings.page_size = PAGE_SIZE;
        env.settings.schedule.full_every = Some(Duration::from_hours(24));
        if case.one_type {
            env.settings.ticket_types = vec![ONE_TYPE.1.to_owned()];
        }
        let forbidden = env.with_server(|server, _| {
            let knobs = server.knobs();
            knobs.reference_needs_all.is_on() && knobs.scope_read_tickets.is_on()
        });
        let names = if forbidden { Names::new() } else { server::STATUS_NAMES.clone() };
        MatrixRun { env, names, one_type: case.one_type, known: BTreeSet::new() }
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
        let ids = self.env.server_ids();
        let id = |index: usize| ids[(index * 7 + round * 3) % ids.len()];
        advance_minutes(1).await;
        self.env.with_server(|server, now| {
            server.edit_some(7, now);
            server.edit(id(1), Edit::Status(9), now);
            server.edit(id(2), Edit::Status(2), now);
            server.edit(id(3), Edit::TicketType(3), now);
            server.edit(id(4), Edit::TicketType(ONE_TYPE.0), now);
            server.edit(id(5), Edit::Touch, now);
            let (value, display) = (json!(round), format!("Round {round}"));
            server.edit(id(11), Edit::CustomField { field: 121, value, display }, now);
        });
        advance_minutes(1).await;
        self.env.with_server(|server, now| server.create(5, now));
        advance_minutes(1).await;
        self.env.with_server(|server, now| {
            server.delete(id(6), now);
            server.delete(id(7), now);
            server.merge(id(8), id(9), now);
            server.recount_sla(id(10), now);
        });
        advance_minutes(2).await;
    }

    /// Advances the clock by 25 hours and makes changes that do not update `last_update`.
    async fn advance_one_day(&mut self) {
        tokio::time::advance(Duration::from_hours(25)).await;
        let ids = self.env.server_ids();
        let gone = self.known.iter().copied().find(|id| !ids.contains(id));
        self.env.with_server(|server, now| {
            server.rename_client(14, "Copperline Ltd");
            server.rename_status(2, "Being worked on");
            server.hide(&[ids[60], ids[61]]);
            if let Some(id) = gone {
                server.restore(id, now);
            }
        });
        if let Some(name) = self.names.get_mut(&2) {
            "Being worked on".clone_into(name);
        }
    }

    async fn run_once(&mut self, full: bool) -> Result {
        let before = self.env.covered_until();
        let settings = if full { self.env.full_scan_settings() } else { self.env.settings.clone() };
        let outcome = self.env.run_until(settings, std::future::pending()).await;
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
            assert_eq!(
                self.env.covered_until(),
                before,
                "the watermark moved in a run that was not complete"
            );
        }
        result
    }

    /// The expected tickets of the local copy.
    fn expected(&self) -> Tickets {
        let mut tickets =
            self.env.with_server(|server, now| server::expected_tickets(server, now, &self.names));
        let in_scope = AttributeValue::Integer(ONE_TYPE.0);
        tickets.retain(|_, ticket| !self.one_type || *attribute(ticket, "TICKET_TYPE_ID") == in_scope);
        tickets
    }

    /// Compares after a complete run. An incremental scan does not find changes that leave `last_update` as it was, nor
    /// deletions; a full scan finds everything, and lists the tickets that it could not confirm as deleted.
    fn compare(&self, expected: &Tickets, full: bool) -> Result {
        let (local, fields, none) = (self.env.tickets(), self.env.custom_fields(), Fields::new());
        let expected_fields = self.env.with_server(|server, _| server::expected_custom_fields(server));
        let health = self.env.read(|tx| tx.health(0));
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
                mapping::field_differences(fields.get(id).unwrap_or(&none), &expected_fields[id]);
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
    if env_number("HALOSYNC_MATRIX_SEED").is_some() {
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
    let number = env_number("HALOSYNC_MATRIX_SEED").unwrap_or(0);
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
