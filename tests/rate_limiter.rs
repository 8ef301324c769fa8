//! Whole runs keep the rate limit, the waits, the token lifetimes and the retry limits: in virtual time, against the
//! simulated server without sockets. The tests check the times at which requests were sent.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod simulated;
}

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{ApiEndpoint, ServerFault, SimulatorSettings};
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{ClientOptions, HaloClient, HaloError, RateLimiter};
use halosync::retry::{RETRY_AFTER_MAX, RetryPolicy};
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::Store;
use halosync::sync::{self, RunOutcome, RunReport, SharedStore, SyncError};
use halosync::ticket::Timestamp;
use halosync::watermark::ScanSchedule;
use proptest::prelude::*;
use support::simulated::World;
use tokio::time::{Instant, sleep, timeout};

/// Higher than the request rate of any of these runs.
const UNLIMITED: RateLimit = RateLimit { requests: 1_000_000, window: Duration::from_secs(1) };

/// The default of `rate_limit_wait`.
const WAIT: Duration = Duration::from_mins(1);

/// A simulated server, a local copy, and the settings of the client.
struct Setup {
    world: Arc<World>,
    store: SharedStore,
    limit: RateLimit,
    parallel_requests: u32,
    page_size: u32,
    max_retries: u32,
}

impl Setup {
    /// Must be called in a runtime whose clock is paused.
    fn new(tickets: u32, knobs: &[&str]) -> Setup {
        let mut settings = SimulatorSettings { tickets, ..SimulatorSettings::default() };
        for knob in ["details_bytes=60"].iter().chain(knobs) {
            settings.knobs.set(knob).unwrap();
        }
        let started: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let world = World::new(settings, started);
        let store = SharedStore::new(Store::in_memory(Timestamp::new(started).unwrap()).unwrap());
        Setup { world, store, limit: UNLIMITED, parallel_requests: 4, page_size: 10, max_retries: 5 }
    }

    fn inject(&self, faults: &[&str]) {
        self.world
            .with(|server, _| faults.iter().for_each(|it| server.inject(ServerFault::parse(it).unwrap())));
    }

    /// Runs a sync as a new process: earlier requests are known only from `runs`, where a killed run may have made up to
    /// `unrecorded` more.
    async fn sync(&self, unrecorded: u64, stop: impl Future<Output = ()>) -> Result<RunReport, SyncError> {
        let window = TimeDelta::from_std(self.limit.window).unwrap();
        let since = Timestamp::new(self.world.now()).unwrap().minus(window);
        let prior_requests = self.store.lock().read(|tx| tx.requests_since(since, unrecorded))?;
        let options = ClientOptions {
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
        let halo = HaloClient::new(transport, RateLimiter::new(self.limit, prior_requests), options, || 0.5);
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
            parallel_requests: self.parallel_requests,
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
        let (store, clock) = (self.store.clone(), self.world.wall());
        sync::run(Arc::new(halo), store, settings, clock, Arc::new(()), stop).await
    }

    /// Runs a sync that must be complete.
    async fn complete_run(&self) -> RunReport {
        let report = self.sync(0, std::future::pending()).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::Complete);
        report
    }

    /// The requests: time since the first one, endpoint and status.
    fn requests(&self) -> Vec<(Duration, ApiEndpoint, u16)> {
        self.world.with(|server, _| {
            let log = server.log();
            let Some(started) = log.entries().next().map(|entry| entry.at) else { return Vec::new() };
            let entries = log.entries();
            entries.map(|it| ((it.at - started).to_std().unwrap(), it.endpoint, it.status)).collect()
        })
    }

    fn times(&self) -> Vec<Duration> {
        self.requests().into_iter().map(|request| request.0).collect()
    }

    fn status_count(&self, status: u16) -> usize {
        self.requests().iter().filter(|request| request.2 == status).count()
    }

    fn token_count(&self) -> u64 {
        self.world.with(|server, _| server.log().token_count())
    }
}

fn limit(requests: u32, seconds: u64) -> RateLimit {
    RateLimit { requests, window: Duration::from_secs(seconds) }
}

/// Returns the largest number of requests in any window of that length.
fn max_per_window(times: &[Duration], window: Duration) -> usize {
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

/// Runs in a runtime with virtual time.
fn with_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

// ---- The rate limit ----

/// How the process of a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Finished,
    /// Stopped after this fraction of the window.
    Stopped(f64),
    /// Killed after this fraction of the window, so that its last requests are not recorded.
    Killed(f64),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Finished),
        1 => (0.0..3.0).prop_map(End::Stopped),
        1 => (0.0..3.0).prop_map(End::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any limit, any number of parallel requests and restarts, and any rate of 429 responses.
    #[test]
    fn rolling_window_never_exceeds_the_rate_limit(
        requests in 1u32..150, window in 1u64..900, parallel_requests in 1u32..9, latency in 0u32..400,
        refused in 0u32..8, ends in proptest::collection::vec(end(), 1..5),
    ) {
        with_paused_time(async {
            let mut setup = Setup::new(600, &[&format!("latency_ms={latency}")]);
            (setup.limit, setup.parallel_requests, setup.page_size, setup.max_retries) = (limit(requests, window), parallel_requests, 10, 20);
            // The most requests that a killed run makes, without retries.
            let unrecorded = 80;
            let killed = ends.iter().any(|end| matches!(end, End::Killed(_)));
            if 0 < refused && !killed {
                setup.inject(&[&format!("any@chance{refused}:throttle=3")]);
            }
            for end in ends {
                let fraction = |fraction: f64| setup.limit.window.mul_f64(fraction);
                let result = match end {
                    End::Finished => setup.sync(unrecorded, std::future::pending()).await.map(|_| ()),
                    End::Stopped(after) => setup.sync(unrecorded, sleep(fraction(after))).await.map(|_| ()),
                    End::Killed(after) => {
                        let result = timeout(fraction(after), setup.sync(unrecorded, std::future::pending())).await;
                        result.map_or(Ok(()), |result| result.map(|_| ()))
                    }
                };
                prop_assert!(matches!(result, Ok(()) | Err(SyncError::Stopped)), "{result:?}");
            }
            let most = max_per_window(&setup.times(), setup.limit.window);
            prop_assert!(most <= requests as usize, "{most} requests in {window} s, the limit is {requests}");
            Ok(())
        })?;
    }
}

/// A run may last longer than a window, so the time of its start is not that of its last requests.
#[test]
fn requests_of_a_killed_run_count_even_if_it_started_long_ago() {
    with_paused_time(async {
        let mut setup = Setup::new(600, &["latency_ms=10"]);
        setup.limit = limit(10, 60);
        let sync = || setup.sync(80, std::future::pending());
        assert!(
            timeout(Duration::from_secs(90), sync()).await.is_err(),
            "the run finished before it was killed"
        );
        sync().await.unwrap();
        let most = max_per_window(&setup.times(), setup.limit.window);
        assert!(most <= 10, "{most} requests in a minute, the limit is 10");
    });
}

/// A client that hardly sends anything would keep the limit too.
#[test]
fn full_scan_uses_nine_tenths_of_the_rate_limit() {
    for (requests, window, parallel_requests) in [(300u32, 300u64, 4), (30, 10, 2), (60, 60, 1)] {
        with_paused_time(async {
            // Lasts for more than three windows.
            let mut setup = Setup::new(requests * 4, &["latency_ms=50"]);
            (setup.limit, setup.page_size, setup.parallel_requests) =
                (limit(requests, window), 1, parallel_requests);
            setup.complete_run().await;
            let used = setup.times().iter().filter(|at| **at < setup.limit.window * 3).count();
            assert!(
                3 * 9 * requests as usize <= 10 * used,
                "only {used} of {requests} in {window} s were used"
            );
        });
    }
}

// ---- 429 ----

/// `Retry-After` in seconds, as a date, or missing, also from a server whose clock is hours off: a date is compared with
/// the `Date` of the response.
#[test]
fn requests_pause_after_a_429_for_as_long_as_the_server_requests() {
    for (fault, offset, expected) in [
        ("throttle=30", 0, 30),
        ("throttle=date30", 0, 30),
        ("throttle=date30", -7_200, 30),
        ("throttle=date30", 7_200, 30),
        ("throttle", 0, WAIT.as_secs()),
        ("throttle=100000", 0, RETRY_AFTER_MAX.as_secs()),
    ] {
        with_paused_time(async {
            let mut setup = Setup::new(400, &["latency_ms=100"]);
            setup.parallel_requests = 8;
            setup.world.with(|server, _| server.set_clock_offset(TimeDelta::seconds(offset)));
            setup.inject(&[&format!("list@12:{fault}")]);
            let report = setup.complete_run().await;
            assert_eq!(report.run_stats.retries, 1, "{fault}");
            let requests = setup.requests();
            let refused = requests.iter().find(|request| request.2 == 429).unwrap().0;
            // The response arrives after the latency.
            let resumes = refused + Duration::from_millis(100) + Duration::from_secs(expected);
            let received = refused + Duration::from_millis(102);
            let next = *setup.times().iter().find(|at| received < **at).unwrap();
            // A date has whole seconds, rounded up.
            let late = next.saturating_sub(resumes);
            assert!(
                resumes <= next && late < Duration::from_secs(1),
                "{fault}: refused at {refused:?}, the next request was sent at {next:?}"
            );
        });
    }
}

/// INC-98: the number of retries is limited for every kind of failure, and so is the time that they take together.
#[test]
fn failing_request_is_given_up_after_max_retries() {
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
        with_paused_time(async {
            let mut setup = Setup::new(100, &[]);
            setup.max_retries = max_retries;
            setup.inject(&[fault]);
            let since = Instant::now();
            let error = setup.sync(0, std::future::pending()).await.unwrap_err();
            let SyncError::Halo(error) = error else { panic!("{fault}: {error}") };
            let retries = match &error {
                HaloError::RateLimited { retries, .. }
                | HaloError::Unavailable { retries, .. }
                | HaloError::Unreachable { retries, .. } => *retries,
                // This error has no number of retries.
                HaloError::Unreadable(_) => max_retries,
                other => panic!("{fault}: {other}"),
            };
            assert_eq!(retries, max_retries, "{fault}");
            let endpoint = if fault.starts_with("token") { ApiEndpoint::Token } else { ApiEndpoint::List };
            let tries = setup.requests().iter().filter(|request| request.1 == endpoint).count();
            assert_eq!(tries, 1 + max_retries as usize, "{fault}");
            assert!(
                since.elapsed() <= Duration::from_secs(longest),
                "{fault}: the run took {:?}",
                since.elapsed()
            );
        });
    }
}

#[test]
fn stop_ends_every_wait_at_once() {
    for (name, limit, faults) in [
        ("for the rate limit", limit(20, 3_600), &[][..]),
        ("for the end of a pause", UNLIMITED, &["list@9:throttle=900"]),
        ("before a retry", UNLIMITED, &["list:status=500"]),
        ("for a response", UNLIMITED, &["list@9:delay=600000"]),
        ("for a token", UNLIMITED, &["token:throttle=900"]),
    ] {
        with_paused_time(async {
            let mut setup = Setup::new(400, &["latency_ms=20"]);
            (setup.limit, setup.max_retries) = (limit, 20);
            setup.inject(faults);
            let since = Instant::now();
            let after = Duration::from_millis(7_777);
            let result = setup.sync(0, sleep(after)).await;
            assert!(matches!(result, Err(SyncError::Stopped)), "{name}: {result:?}");
            assert!(
                since.elapsed() <= after + Duration::from_millis(1),
                "{name}: the stop took {:?}",
                since.elapsed()
            );
            let sent = setup.requests().len();
            sleep(Duration::from_hours(2)).await;
            assert_eq!(setup.requests().len(), sent, "{name}: a request was sent after the stop");
        });
    }
}

// ---- Tokens ----

/// INC-95: a token that expires during a pause is renewed before the next request.
#[test]
fn token_that_expires_during_a_wait_is_renewed() {
    with_paused_time(async {
        let setup = Setup::new(400, &["token_seconds=60", "latency_ms=50"]);
        setup.inject(&["list@9:throttle=600"]);
        setup.complete_run().await;
        assert_eq!((setup.token_count(), setup.status_count(401)), (2, 0));
    });
    // The same while waiting for the rate limiter, without any response in between.
    with_paused_time(async {
        let mut setup = Setup::new(400, &["token_seconds=60", "latency_ms=50"]);
        setup.limit = limit(20, 300);
        setup.complete_run().await;
        assert_eq!(setup.status_count(401), 0);
    });
}

/// INC-96: a scan that outlives many tokens sends no expired one if the server states their lifetime; otherwise each
/// token costs at most one refused request per parallel request.
#[test]
fn scan_longer_than_the_token_lifetime_renews_tokens() {
    for (expires_in, margin) in [("number", true), ("text", true), ("missing", false), ("zero", false)] {
        with_paused_time(async {
            let knobs = ["token_seconds=60", "latency_ms=2000", &format!("expires_in={expires_in}")];
            let setup = Setup::new(4_000, &knobs);
            setup.complete_run().await;
            // A hundred rounds of four pages, two seconds each.
            let (tokens, refused) = (setup.token_count(), setup.status_count(401));
            assert!((4..=5).contains(&tokens), "{expires_in}: {tokens} tokens");
            let most = if margin {
                0
            } else {
                (usize::try_from(tokens).unwrap() - 1) * setup.parallel_requests as usize
            };
            assert!(refused <= most, "{expires_in}: {refused} requests were refused");
        });
    }
}

/// Requests that are refused at different times with the same expired token share one new token: a late refusal does not
/// cause another.
#[test]
fn refusals_of_one_token_renew_it_once() {
    with_paused_time(async {
        let mut setup = Setup::new(800, &["latency_ms=100"]);
        setup.parallel_requests = 8;
        // Seven page requests are sent together after the four that probe the list; one of them is refused long after the
        // others.
        setup.inject(&["list@6:expire", "list@9:delay=5000"]);
        setup.complete_run().await;
        let (tokens, refused) = (setup.token_count(), setup.status_count(401));
        assert_eq!(tokens, 2, "{refused} requests were refused");
        assert!((2..=8).contains(&refused), "{refused} requests were refused");
    });
}
