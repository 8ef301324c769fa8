//! The promise of the rate limit, waits, tokens and repetitions, as whole passes keep them: in virtual time, against the
//! simulated server without a socket. What is asserted is asserted of the times at which requests really left.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod simulated;
}

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{ClientOptions, HaloClient, HaloError, RateLimiter};
use halosync::retry::{RETRY_AFTER_MAX, RetryPolicy};
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::simulator::{ApiEndpoint, ServerFault, SimulatorSettings};
use halosync::store::Store;
use halosync::sync::{self, RunOutcome, RunReport, SharedStore, SyncError};
use halosync::ticket::Timestamp;
use halosync::watermark::ScanSchedule;
use proptest::prelude::*;
use support::simulated::World;
use tokio::time::{Instant, sleep, timeout};

/// More than any of these passes asks for.
const UNLIMITED: RateLimit = RateLimit { requests: 1_000_000, window: Duration::from_secs(1) };

/// As in `agent.toml` where nothing else is said.
const WAIT: Duration = Duration::from_mins(1);

/// A server, a copy, and how the server is asked.
struct Desk {
    world: Arc<World>,
    store: SharedStore,
    limit: RateLimit,
    lanes: u32,
    page_size: u32,
    max_retries: u32,
}

impl Desk {
    /// To be made inside a runtime whose clock is paused.
    fn new(tickets: u32, knobs: &[&str]) -> Desk {
        let mut settings = SimulatorSettings { tickets, ..SimulatorSettings::default() };
        for knob in ["details_bytes=60"].iter().chain(knobs) {
            settings.knobs.set(knob).unwrap();
        }
        let began: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let world = World::new(settings, began);
        let store = SharedStore::new(Store::in_memory(Timestamp::new(began).unwrap()).unwrap());
        Desk { world, store, limit: UNLIMITED, lanes: 4, page_size: 10, max_retries: 5 }
    }

    fn inject(&self, faults: &[&str]) {
        self.world
            .with(|server, _| faults.iter().for_each(|it| server.inject(ServerFault::parse(it).unwrap())));
    }

    /// A pass in a process of its own: what earlier ones asked for is known from `runs` alone, where a killed one may have
    /// asked for `unrecorded` more.
    async fn sync(&self, unrecorded: u64, stop: impl Future<Output = ()>) -> Result<RunReport, SyncError> {
        let window = TimeDelta::from_std(self.limit.window).unwrap();
        let since = Timestamp::new(self.world.now()).unwrap().minus(window);
        let spent = self.store.lock().read(|snapshot| snapshot.requests_since(since, unrecorded))?;
        let terms = ClientOptions {
            server: ServerUrl::parse("http://127.0.0.1").unwrap(),
            tenant: None,
            auth_url: None,
            client_id: "halosync-demo".into(),
            client_secret: "demo-secret".to_owned().into(),
            scope: "read:tickets".into(),
            retry: RetryPolicy {
                max_retries: self.max_retries,
                rate_limit_wait: WAIT,
                max_wait: Duration::MAX,
            },
        };
        let transport: Arc<World> = Arc::clone(&self.world);
        let halo = HaloClient::new(transport, RateLimiter::new(self.limit, spent), terms, || 0.5);
        let settings = sync::RunSettings {
            scope: Scope {
                server: "http://127.0.0.1".into(),
                tenant: String::new(),
                ticket_types: Vec::new(),
                custom_fields: false,
                mapping: MAPPING_VERSION,
            },
            ticket_types: Vec::new(),
            page_size: self.page_size,
            parallel_requests: self.lanes,
            requests_per_window: self.limit.requests,
            schedule: ScanSchedule {
                full_requested: true,
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
        let (store, wall) = (self.store.clone(), self.world.wall());
        sync::run(Arc::new(halo), store, settings, wall, Arc::new(()), stop).await
    }

    /// A pass that is to end well.
    async fn good(&self) -> RunReport {
        let report = self.sync(0, std::future::pending()).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::Complete);
        report
    }

    /// When requests left, since the first of them, with the status of their answers.
    fn requests(&self) -> Vec<(Duration, ApiEndpoint, u16)> {
        self.world.with(|server, _| {
            let log = server.log();
            let Some(began) = log.entries().next().map(|entry| entry.at) else { return Vec::new() };
            let entries = log.entries();
            entries.map(|it| ((it.at - began).to_std().unwrap(), it.endpoint, it.status)).collect()
        })
    }

    fn times(&self) -> Vec<Duration> {
        self.requests().into_iter().map(|request| request.0).collect()
    }

    fn statuses(&self, status: u16) -> usize {
        self.requests().iter().filter(|request| request.2 == status).count()
    }

    fn tokens(&self) -> u64 {
        self.world.with(|server, _| server.log().token_count())
    }
}

fn limit(requests: u32, seconds: u64) -> RateLimit {
    RateLimit { requests, window: Duration::from_secs(seconds) }
}

/// The most requests that any window of that length holds.
fn fullest(times: &[Duration], window: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in times.iter().enumerate() {
        while times[first] + window <= *at {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// The one runtime in which time is virtual.
fn virtually<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

// ---- The promise ----

/// How a process ends that runs a pass.
#[derive(Clone, Copy, Debug)]
enum End {
    ByItself,
    /// It is asked to stop after a share of the window.
    Stopped(f64),
    /// It is killed after a share of the window: what it noted of its requests last must do.
    Killed(f64),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::ByItself),
        1 => (0.0..3.0).prop_map(End::Stopped),
        1 => (0.0..3.0).prop_map(End::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the limit, the lanes, how often processes end and start, and how often the server says 429.
    #[test]
    fn no_rolling_window_holds_more_requests_than_promised(
        requests in 1u32..150, window in 1u64..900, lanes in 1u32..9, latency in 0u32..400,
        refused in 0u32..8, ends in proptest::collection::vec(end(), 1..5),
    ) {
        virtually(async {
            let mut desk = Desk::new(600, &[&format!("latency_ms={latency}")]);
            (desk.limit, desk.lanes, desk.page_size, desk.max_retries) = (limit(requests, window), lanes, 10, 20);
            // What a killed pass asked for at most; repetitions would come on top.
            let unrecorded = 80;
            let killed = ends.iter().any(|end| matches!(end, End::Killed(_)));
            if 0 < refused && !killed {
                desk.inject(&[&format!("any@chance{refused}:throttle=3")]);
            }
            for end in ends {
                let share = |share: f64| desk.limit.window.mul_f64(share);
                let ended = match end {
                    End::ByItself => desk.sync(unrecorded, std::future::pending()).await.map(|_| ()),
                    End::Stopped(after) => desk.sync(unrecorded, sleep(share(after))).await.map(|_| ()),
                    End::Killed(after) => {
                        let killed = timeout(share(after), desk.sync(unrecorded, std::future::pending())).await;
                        killed.map_or(Ok(()), |ended| ended.map(|_| ()))
                    }
                };
                prop_assert!(matches!(ended, Ok(()) | Err(SyncError::Stopped)), "{ended:?}");
            }
            let most = fullest(&desk.times(), desk.limit.window);
            prop_assert!(most <= requests as usize, "{most} requests in {window} s, {requests} were promised");
            Ok(())
        })?;
    }
}

/// A pass may last longer than a window: when it was killed is not told by when it began.
#[test]
fn what_a_killed_pass_asked_for_counts_however_long_ago_it_began() {
    virtually(async {
        let mut desk = Desk::new(600, &["latency_ms=10"]);
        desk.limit = limit(10, 60);
        let sync = || desk.sync(80, std::future::pending());
        assert!(timeout(Duration::from_secs(90), sync()).await.is_err(), "it ended by itself");
        sync().await.unwrap();
        let most = fullest(&desk.times(), desk.limit.window);
        assert!(most <= 10, "{most} requests in a minute, 10 were promised");
    });
}

/// A promise that is kept by hardly asking would be kept too.
#[test]
fn a_long_walk_uses_nine_tenths_of_what_is_promised() {
    for (requests, window, lanes) in [(300u32, 300u64, 4), (30, 10, 2), (60, 60, 1)] {
        virtually(async {
            // Enough for more than three windows.
            let mut desk = Desk::new(requests * 4, &["latency_ms=50"]);
            (desk.limit, desk.page_size, desk.lanes) = (limit(requests, window), 1, lanes);
            desk.good().await;
            let used = desk.times().iter().filter(|at| **at < desk.limit.window * 3).count();
            assert!(
                3 * 9 * requests as usize <= 10 * used,
                "only {used} of {requests} in {window} s were used"
            );
        });
    }
}

// ---- 429 ----

/// Told in seconds, as a date, or not at all, and by a server whose clock is hours from here. A date is compared with the `Date` of
/// the answer.
#[test]
fn after_a_429_nobody_asks_until_the_time_that_the_server_named() {
    for (fault, offset, expected) in [
        ("throttle=30", 0, 30),
        ("throttle=date30", 0, 30),
        ("throttle=date30", -7_200, 30),
        ("throttle=date30", 7_200, 30),
        ("throttle", 0, WAIT.as_secs()),
        ("throttle=100000", 0, RETRY_AFTER_MAX.as_secs()),
    ] {
        virtually(async {
            let mut desk = Desk::new(400, &["latency_ms=100"]);
            desk.lanes = 8;
            desk.world.with(|server, _| server.set_clock_offset(TimeDelta::seconds(offset)));
            desk.inject(&[&format!("list@12:{fault}")]);
            let report = desk.good().await;
            assert_eq!(report.run_stats.retries, 1, "{fault}");
            let requests = desk.requests();
            let refused = requests.iter().find(|request| request.2 == 429).unwrap().0;
            // The answer is under way for as long as the latency.
            let opens = refused + Duration::from_millis(100) + Duration::from_secs(expected);
            let heard = refused + Duration::from_millis(102);
            let next = *desk.times().iter().find(|at| heard < **at).unwrap();
            // A date knows whole seconds only, and asks to wait no shorter.
            let late = next.saturating_sub(opens);
            assert!(
                opens <= next && late < Duration::from_secs(1),
                "{fault}: refused at {refused:?}, the next request left at {next:?}"
            );
        });
    }
}

/// INC-98: limits on tries, whatever goes wrong, and on the time that all of them take.
#[test]
fn a_request_that_is_never_answered_is_given_up_after_its_tries() {
    for (fault, max_retries, longest) in [
        ("list:throttle=2", 5, 11),
        ("list:throttle=100000", 3, 3 * 900 + 1),
        ("list:status=503", 5, 60),
        ("list:html", 5, 60),
        ("list:cut", 5, 60),
        ("list:reset", 20, 20 * 30),
        ("list:reset", 0, 1),
        ("token:throttle=2", 4, 9),
        ("token:status=500", 4, 60),
    ] {
        virtually(async {
            let mut desk = Desk::new(100, &[]);
            desk.max_retries = max_retries;
            desk.inject(&[fault]);
            let since = Instant::now();
            let error = desk.sync(0, std::future::pending()).await.unwrap_err();
            let SyncError::Halo(error) = error else { panic!("{fault}: {error}") };
            let retries = match &error {
                HaloError::RateLimited { retries, .. }
                | HaloError::Unavailable { retries, .. }
                | HaloError::Unreachable { retries, .. } => *retries,
                // It does not tell.
                HaloError::Unreadable(_) => max_retries,
                other => panic!("{fault}: {other}"),
            };
            assert_eq!(retries, max_retries, "{fault}");
            let endpoint = if fault.starts_with("token") { ApiEndpoint::Token } else { ApiEndpoint::List };
            let tries = desk.requests().iter().filter(|request| request.1 == endpoint).count();
            assert_eq!(tries, 1 + max_retries as usize, "{fault}");
            assert!(
                since.elapsed() <= Duration::from_secs(longest),
                "{fault}: it took {:?}",
                since.elapsed()
            );
        });
    }
}

/// Nobody waits for a wait when the service is to stop.
#[test]
fn every_wait_ends_at_once_when_a_stop_comes() {
    for (name, limit, faults) in [
        ("for the rate limit", limit(20, 3_600), &[][..]),
        ("for the gate after a 429", UNLIMITED, &["list@9:throttle=900"]),
        ("before a repetition", UNLIMITED, &["list:status=500"]),
        ("for an answer", UNLIMITED, &["list@9:delay=600000"]),
        ("for a token", UNLIMITED, &["token:throttle=900"]),
    ] {
        virtually(async {
            let mut desk = Desk::new(400, &["latency_ms=20"]);
            (desk.limit, desk.max_retries) = (limit, 20);
            desk.inject(faults);
            let since = Instant::now();
            let after = Duration::from_millis(7_777);
            let ended = desk.sync(0, sleep(after)).await;
            assert!(matches!(ended, Err(SyncError::Stopped)), "{name}: {ended:?}");
            assert!(
                since.elapsed() <= after + Duration::from_millis(1),
                "{name}: it took {:?}",
                since.elapsed()
            );
            let asked = desk.requests().len();
            sleep(Duration::from_hours(2)).await;
            assert_eq!(desk.requests().len(), asked, "{name}: a request left after the stop");
        });
    }
}

// ---- Tokens ----

/// INC-95: a token that ends while everybody waits is renewed before it is shown again.
#[test]
fn a_wait_that_is_longer_than_a_token_lives_ends_with_a_new_token() {
    virtually(async {
        let desk = Desk::new(400, &["token_seconds=60", "latency_ms=50"]);
        desk.inject(&["list@9:throttle=600"]);
        desk.good().await;
        assert_eq!((desk.tokens(), desk.statuses(401)), (2, 0));
    });
    // The same in the queue of the throttle, where no answer tells that time has passed.
    virtually(async {
        let mut desk = Desk::new(400, &["token_seconds=60", "latency_ms=50"]);
        desk.limit = limit(20, 300);
        desk.good().await;
        assert_eq!(desk.statuses(401), 0);
    });
}

/// INC-96: a walk that outlives many tokens shows none of them after its end, where the server says when that is; else each costs at most one
/// refused request a lane.
#[test]
fn a_walk_longer_than_its_tokens_live_renews_them() {
    for (expires_in, margin) in [("number", true), ("text", true), ("missing", false), ("zero", false)] {
        virtually(async {
            let knobs = ["token_seconds=60", "latency_ms=2000", &format!("expires_in={expires_in}")];
            let desk = Desk::new(4_000, &knobs);
            desk.good().await;
            // A hundred turns of four pages, two seconds each.
            let (tokens, refused) = (desk.tokens(), desk.statuses(401));
            assert!((4..=5).contains(&tokens), "{expires_in}: {tokens} tokens");
            let most = if margin { 0 } else { (usize::try_from(tokens).unwrap() - 1) * desk.lanes as usize };
            assert!(refused <= most, "{expires_in}: {refused} requests were refused");
        });
    }
}

/// Lanes that are refused at different times for the same old token share one new one: a late refusal is no reason for another.
#[test]
fn refusals_of_one_token_lead_to_one_new_token_however_late_they_come() {
    virtually(async {
        let mut desk = Desk::new(800, &["latency_ms=100"]);
        desk.lanes = 8;
        // Seven pages leave together after three lists that are counted and the last page; one of them hears of its refusal
        // long after the others.
        desk.inject(&["list@6:expire", "list@9:delay=5000"]);
        desk.good().await;
        let (tokens, refused) = (desk.tokens(), desk.statuses(401));
        assert_eq!(tokens, 2, "{refused} requests were refused");
        assert!((2..=8).contains(&refused), "{refused} requests were refused");
    });
}
