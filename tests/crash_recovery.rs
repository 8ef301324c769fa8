//! The real binary, killed again and again at random moments: in initial loads, full scans and incremental scans,
//! against a simulated server in a process of its own, which changes meanwhile.
//!
//! After every kill the database is intact, and its change log has no gap and agrees with the rows; in the end the local
//! copy matches the server. `HALOSYNC_KILLS=200` sets the number of kills; `HALOSYNC_KILLS_SEED=17` repeats a run, as far
//! as two processes can.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::time::{Duration, Instant};

use fastrand::Rng;
use support::server::ServerProcess;
use support::test_env::{CommandResult, TestEnv};
use support::{env_number, history};

/// The number of kills, unless `HALOSYNC_KILLS` sets it.
const KILLS: u32 = 20;

/// How long the server takes for a page, so that a run can be killed in the middle.
const LATENCY: Duration = Duration::from_millis(8);

const TICKETS: u32 = 2_400;

/// With pages of 25 a full scan has about a hundred, and commits twice on its way.
const PAGE_SIZE: u32 = 25;

/// About as many requests as a full scan makes: its pages, the token and the reference tables.
const FULL_SCAN_REQUESTS: u32 = TICKETS / PAGE_SIZE + 5;

/// How many tickets an incremental scan finds: a dozen pages.
const EDITS: u32 = 300;

/// How long any event of this test may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunEnd {
    Killed,
    /// It ended by itself before the moment of the kill.
    Finished,
}

fn start_env() -> TestEnv<ServerProcess> {
    TestEnv::builder()
        .tickets(TICKETS)
        .knob(format!("latency_ms={}", LATENCY.as_millis()))
        .knob("details_bytes=60")
        .settings(format!("page_size = {PAGE_SIZE}"))
        .start_process()
}

/// Runs `sync` and kills it shortly after the server received so many requests.
fn run_and_kill(env: &TestEnv<ServerProcess>, arguments: &[&str], requests: u32, delay: Duration) -> RunEnd {
    env.server.reset_request_log();
    let mut child = sync_command(env, arguments).spawn().unwrap();
    let start = Instant::now();
    while env.server.request_count() < requests.into() {
        assert!(start.elapsed() < TIMEOUT, "request {requests} was never made");
        if child.try_wait().unwrap().is_some() {
            return RunEnd::Finished;
        }
        std::thread::yield_now();
    }
    // No event marks the moments within a request, so the delay is a time.
    std::thread::sleep(delay);
    child.kill().unwrap();
    if child.wait().unwrap().code().is_some() { RunEnd::Finished } else { RunEnd::Killed }
}

fn sync_command(env: &TestEnv<ServerProcess>, arguments: &[&str]) -> std::process::Command {
    let mut command = env.command(&[&["--json", "sync"][..], arguments].concat());
    // It is not read before the end.
    command.stdout(std::process::Stdio::null());
    command
}

/// Runs `sync` to its end, which must be a success.
fn run_to_end(env: &TestEnv<ServerProcess>, arguments: &[&str]) {
    CommandResult::of(sync_command(env, arguments).spawn().unwrap()).success();
}

/// Asserts that the database is intact and that its tables agree with each other.
fn assert_consistent(env: &TestEnv<ServerProcess>, context: &str) {
    if !env.database.path().exists() {
        return;
    }
    let text = |sql: &str| env.value::<String>(sql);
    assert_eq!(text("PRAGMA integrity_check"), "ok", "{context}");
    let tables =
        text("SELECT GROUP_CONCAT(name) FROM (SELECT 'none' AS name UNION SELECT name FROM sqlite_master)");
    if !tables.contains("watermarks") {
        return;
    }
    let wrong = history::contradictions(&env.connection());
    assert!(wrong.is_empty(), "{context}: {:?}", &wrong[..wrong.len().min(5)]);
    // Before the initial load is complete there is no watermark, however many tickets are stored.
    let early_watermarks = "SELECT COALESCE(GROUP_CONCAT(state), 'none') FROM watermarks
                            WHERE (state = 'incremental') = (covered_until IS NULL)";
    assert_eq!(text(early_watermarks), "none", "{context}");
    let without_state = "SELECT COUNT(*) || '' FROM tickets WHERE UID NOT IN (SELECT UID FROM ticket_state)";
    assert_eq!(text(without_state), "0", "{context}");
}

fn is_initial_load_complete(env: &TestEnv<ServerProcess>) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM watermarks WHERE state = 'incremental')";
    env.try_value(sql).unwrap_or(false)
}

#[test]
fn sync_after_sigkill_at_any_moment_converges() {
    let seed = env_number("HALOSYNC_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let kills = env_number("HALOSYNC_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    eprintln!("HALOSYNC_KILLS_SEED={seed} HALOSYNC_KILLS={kills}");
    let mut env = start_env();
    let mut rng = Rng::with_seed(seed);
    let mut run_and_kill = |env: &TestEnv<ServerProcess>,
                            arguments: &[&str],
                            requests: u32,
                            context: &str| {
        let target = rng.u32(1..=requests);
        let delay = LATENCY.mul_f64(2.0 * rng.f64());
        let end = run_and_kill(env, arguments, target, delay);
        assert_consistent(env, &format!("{context}, seed {seed}: {end:?} {delay:?} after request {target}"));
        end
    };
    let share = |twentieths: u32| (kills * twentieths).div_ceil(20);

    // Initial loads: where one finishes, the next begins in a new database.
    let mut kills_left = share(7);
    while kills_left != 0 {
        env.server.control("POST", "edit?count=20");
        let end = run_and_kill(&env, &[], FULL_SCAN_REQUESTS, "an initial load");
        kills_left -= u32::from(end == RunEnd::Killed);
        if end == RunEnd::Finished {
            env.assert_matches_server("after an initial load");
        }
        if is_initial_load_complete(&env) {
            env.use_new_database();
        }
    }
    run_to_end(&env, &[]);
    env.assert_matches_server("after an initial load that was killed before");

    // Incremental scans: a dozen pages of edits and some new tickets each.
    let mut kills_left = share(6);
    while kills_left != 0 {
        env.server.control("POST", &format!("edit?count={EDITS}"));
        env.server.control("POST", "create?count=3");
        let end = run_and_kill(&env, &[], EDITS / PAGE_SIZE + 2, "an incremental scan");
        kills_left -= u32::from(end == RunEnd::Killed);
    }
    run_to_end(&env, &[]);
    env.assert_matches_server("after an incremental scan that was killed before");

    // Full scans, which find deleted tickets.
    let mut kills_left = share(7);
    while kills_left != 0 {
        env.server.control("POST", "edit?count=50");
        env.server.control("POST", "delete?count=2");
        let end = run_and_kill(&env, &["--full"], FULL_SCAN_REQUESTS, "a full scan");
        kills_left -= u32::from(end == RunEnd::Killed);
    }
    run_to_end(&env, &["--full"]);
    // A resumed full scan does not see what was deleted in its first part; the next one does.
    run_to_end(&env, &["--full"]);
    env.assert_matches_server("in the end");
    assert_consistent(&env, "in the end");
}
