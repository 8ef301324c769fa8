//! Whole runs keep the rate limit, the waits, the token lifetimes and the retry limits: in virtual time, against the
//! simulated server without sockets. The tests check the times at which requests were sent.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use chrono::TimeDelta;
use halo_simulator::ApiEndpoint;
use halosync::config::RateLimit;
use halosync::halo::HaloError;
use halosync::retry::RETRY_AFTER_MAX;
use halosync::sync::SyncError;
use proptest::prelude::*;
use support::virtual_env::{RATE_LIMIT_WAIT, UNLIMITED, VirtualEnv, with_paused_time};
use tokio::time::{Instant, sleep, timeout};

/// An environment in which every run makes a full scan.
fn start_env(tickets: u32, knobs: &[&str]) -> VirtualEnv {
    let mut env = VirtualEnv::new(tickets, knobs);
    env.settings.schedule.full_requested = true;
    env
}

async fn run_until(env: &VirtualEnv, stop: impl Future<Output = ()>) -> Result<(), SyncError> {
    env.run_until(env.settings.clone(), stop).await.map(|_| ())
}

/// The requests: time since the first one, endpoint and status.
fn requests(env: &VirtualEnv) -> Vec<(Duration, ApiEndpoint, u16)> {
    env.with_server(|server, _| {
        let log = server.log();
        let Some(started) = log.entries().next().map(|entry| entry.at) else { return Vec::new() };
        let entries = log.entries();
        entries.map(|it| ((it.at - started).to_std().unwrap(), it.endpoint, it.status)).collect()
    })
}

fn times(env: &VirtualEnv) -> Vec<Duration> {
    requests(env).into_iter().map(|request| request.0).collect()
}

fn status_count(env: &VirtualEnv, status: u16) -> usize {
    requests(env).iter().filter(|request| request.2 == status).count()
}

fn token_count(env: &VirtualEnv) -> u64 {
    env.with_server(|server, _| server.log().token_count())
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
            let mut env = start_env(600, &[&format!("latency_ms={latency}")]);
            (env.rate_limit, env.settings.parallel_requests, env.max_retries) = (limit(requests, window), parallel_requests, 20);
            // The most requests that a killed run makes, without retries.
            env.unrecorded_requests = 80;
            let killed = ends.iter().any(|end| matches!(end, End::Killed(_)));
            if 0 < refused && !killed {
                env.inject(&format!("any@chance{refused}:throttle=3"));
            }
            for end in ends {
                let fraction = |fraction: f64| env.rate_limit.window.mul_f64(fraction);
                let result = match end {
                    End::Finished => run_until(&env, std::future::pending()).await,
                    End::Stopped(after) => run_until(&env, sleep(fraction(after))).await,
                    End::Killed(after) => {
                        timeout(fraction(after), run_until(&env, std::future::pending())).await.unwrap_or(Ok(()))
                    }
                };
                prop_assert!(matches!(result, Ok(()) | Err(SyncError::Stopped)), "{result:?}");
            }
            let most = max_per_window(&times(&env), env.rate_limit.window);
            prop_assert!(most <= requests as usize, "{most} requests in {window} s, the limit is {requests}");
            Ok(())
        })?;
    }
}

/// A run may last longer than a window, so the time of its start is not that of its last requests.
#[test]
fn requests_of_a_killed_run_count_even_if_it_started_long_ago() {
    with_paused_time(async {
        let mut env = start_env(600, &["latency_ms=10"]);
        (env.rate_limit, env.unrecorded_requests) = (limit(10, 60), 80);
        assert!(
            timeout(Duration::from_secs(90), env.run()).await.is_err(),
            "the run finished before it was killed"
        );
        env.run().await.unwrap();
        let most = max_per_window(&times(&env), env.rate_limit.window);
        assert!(most <= 10, "{most} requests in a minute, the limit is 10");
    });
}

/// A client that hardly sends anything would keep the limit too.
#[test]
fn full_scan_uses_nine_tenths_of_the_rate_limit() {
    for (requests, window, parallel_requests) in [(300u32, 300u64, 4), (30, 10, 2), (60, 60, 1)] {
        with_paused_time(async {
            // Lasts for more than three windows.
            let mut env = start_env(requests * 4, &["latency_ms=50"]);
            (env.rate_limit, env.settings.page_size, env.settings.parallel_requests) =
                (limit(requests, window), 1, parallel_requests);
            env.run_ok().await;
            let used = times(&env).iter().filter(|at| **at < env.rate_limit.window * 3).count();
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
        ("throttle", 0, RATE_LIMIT_WAIT.as_secs()),
        ("throttle=100000", 0, RETRY_AFTER_MAX.as_secs()),
    ] {
        with_paused_time(async {
            let mut env = start_env(400, &["latency_ms=100"]);
            env.settings.parallel_requests = 8;
            env.with_server(|server, _| server.set_clock_offset(TimeDelta::seconds(offset)));
            env.inject(&format!("list@12:{fault}"));
            let report = env.run_ok().await;
            assert_eq!(report.run_stats.retries, 1, "{fault}");
            let requests = requests(&env);
            let refused = requests.iter().find(|request| request.2 == 429).unwrap().0;
            // The response arrives after the latency.
            let resumes = refused + Duration::from_millis(100) + Duration::from_secs(expected);
            let received = refused + Duration::from_millis(102);
            let next = *times(&env).iter().find(|at| received < **at).unwrap();
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
            let mut env = start_env(100, &[]);
            env.max_retries = max_retries;
            env.inject(fault);
            let since = Instant::now();
            let error = env.run().await.unwrap_err();
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
            let tries = requests(&env).iter().filter(|request| request.1 == endpoint).count();
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
            let mut env = start_env(400, &["latency_ms=20"]);
            (env.rate_limit, env.max_retries) = (limit, 20);
            for fault in faults {
                env.inject(fault);
            }
            let since = Instant::now();
            let after = Duration::from_millis(7_777);
            let result = run_until(&env, sleep(after)).await;
            assert!(matches!(result, Err(SyncError::Stopped)), "{name}: {result:?}");
            assert!(
                since.elapsed() <= after + Duration::from_millis(1),
                "{name}: the stop took {:?}",
                since.elapsed()
            );
            let sent = requests(&env).len();
            sleep(Duration::from_hours(2)).await;
            assert_eq!(requests(&env).len(), sent, "{name}: a request was sent after the stop");
        });
    }
}

// ---- Tokens ----

/// INC-95: a token that expires during a pause is renewed before the next request.
#[test]
fn token_that_expires_during_a_wait_is_renewed() {
    with_paused_time(async {
        let env = start_env(400, &["token_seconds=60", "latency_ms=50"]);
        env.inject("list@9:throttle=600");
        env.run_ok().await;
        assert_eq!((token_count(&env), status_count(&env, 401)), (2, 0));
    });
    // The same while waiting for the rate limiter, without any response in between.
    with_paused_time(async {
        let mut env = start_env(400, &["token_seconds=60", "latency_ms=50"]);
        env.rate_limit = limit(20, 300);
        env.run_ok().await;
        assert_eq!(status_count(&env, 401), 0);
    });
}

/// A request waits longer for the rate limiter than a token lives: the token is requested when its turn has come, and one
/// that expires earlier than the server says is renewed once more.
#[test]
fn tokens_that_live_shorter_than_the_wait_end_no_run() {
    for expires_in in ["number", "missing"] {
        with_paused_time(async {
            let mut env =
                start_env(1_500, &["token_seconds=30", "latency_ms=50", &format!("expires_in={expires_in}")]);
            env.rate_limit = limit(8, 60);
            env.run_ok().await;
            let refused = status_count(&env, 401);
            assert!(expires_in == "missing" || refused == 0, "{refused} requests were refused");
            assert!(max_per_window(&times(&env), Duration::from_mins(1)) <= 8);
        });
    }
}

/// INC-96: a scan that outlives many tokens sends no expired one if the server states their lifetime; otherwise each
/// token costs at most one refused request per parallel request.
#[test]
fn scan_longer_than_the_token_lifetime_renews_tokens() {
    for (expires_in, margin) in [("number", true), ("text", true), ("missing", false), ("zero", false)] {
        with_paused_time(async {
            let knobs = ["token_seconds=60", "latency_ms=2000", &format!("expires_in={expires_in}")];
            let env = start_env(4_000, &knobs);
            env.run_ok().await;
            // A hundred rounds of four pages, two seconds each.
            let (tokens, refused) = (token_count(&env), status_count(&env, 401));
            assert!((4..=5).contains(&tokens), "{expires_in}: {tokens} tokens");
            let most = if margin {
                0
            } else {
                (usize::try_from(tokens).unwrap() - 1) * env.settings.parallel_requests as usize
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
        let mut env = start_env(800, &["latency_ms=100"]);
        env.settings.parallel_requests = 8;
        // Seven page requests are sent together after the four that probe the list; one of them is refused long after the
        // others.
        env.inject("list@6:expire");
        env.inject("list@9:delay=5000");
        env.run_ok().await;
        let (tokens, refused) = (token_count(&env), status_count(&env, 401));
        assert_eq!(tokens, 2, "{refused} requests were refused");
        assert!((2..=8).contains(&refused), "{refused} requests were refused");
    });
}
