//! The real binary where the disk is full, a file may not grow, no more files can be opened, or a signal arrives that is
//! not for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use support::test_env::{CommandResult, TestEnv};

async fn start_env() -> TestEnv {
    TestEnv::builder().tickets(120).knob("details_bytes=2000").settings("page_size = 50").start().await
}

/// Runs a command in a shell that first runs `limit`.
fn run_limited(env: &TestEnv, limit: &str, arguments: &[&str]) -> CommandResult {
    let inner = env.command(arguments);
    let mut command = Command::new("/bin/sh");
    command.env_clear().arg("-c").arg(format!("{limit}; exec \"$0\" \"$@\""));
    command.arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    CommandResult::of(command.spawn().unwrap())
}

/// The limits in blocks of 512 bytes: from before the first byte to the middle of the tickets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_size_limit_is_74_with_a_message_from_the_first_byte_on() {
    let env = start_env().await;
    let mut failures = 0;
    for blocks in (0..24).chain((24..80).step_by(4)).chain((80..1_400).step_by(60)) {
        let result = run_limited(&env, &format!("ulimit -f {blocks}"), &["sync"]);
        if result.status != Some(0) {
            failures += 1;
            let result = result.code(74);
            let expected = ["error: ", "help: raise the file size limit of"];
            assert!(expected.iter().all(|it| result.stderr.contains(it)), "{blocks}: {}", result.stderr);
        }
        // Nothing is left that the next run could not continue or create anew.
        if blocks % 8 == 0 {
            env.run(&["check", "--offline"]).success();
            env.run(&["sync"]).success();
            env.assert_matches_server(&format!("after a limit of {blocks} blocks"));
            for suffix in ["", "-wal", "-shm", ".lock"] {
                let _ = std::fs::remove_file(env.path(format!("halosync.db{suffix}")));
            }
        }
    }
    assert!(40 < failures, "only {failures} runs met the limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_size_limit_of_an_export_is_74_and_leaves_no_package() {
    let env = start_env().await;
    env.run_ok(&["sync"]);
    // The locks are written, and -shm exists.
    let result = run_limited(&env, "ulimit -f 100", &["export", "snapshot"]).code(74);
    assert!(result.stderr.contains("help: raise the file size limit"), "{}", result.stderr);
    assert_eq!(env.run_ok(&["export", "delta"])["packages"][0]["rows"], 120);
}

/// Every limit from where the program can be loaded at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptor_limit_is_an_error_and_no_panic() {
    let env = start_env().await;
    let commands: [&[&str]; 4] = [&["sync"], &["check"], &["status"], &["export", "delta"]];
    let mut refused = 0;
    for limit in (4..44).chain([60, 80]) {
        for arguments in commands {
            let result = run_limited(&env, &format!("ulimit -n {limit}"), arguments);
            let context = format!("{arguments:?} with {limit} descriptors: {result:?}");
            assert!(!result.stderr.contains("panicked"), "{context}");
            let status = result.status.unwrap_or_else(|| panic!("{context}"));
            assert!([0, 65, 66, 69, 73, 74, 77, 78, 127].contains(&status), "{context}");
            assert!(
                status == 0 || result.stderr.contains("error") || result.stdout.contains("failure"),
                "{context}"
            );
            refused += u32::from(result.stderr.contains("may open too few files"));
        }
    }
    assert!(20 < refused, "{refused}");
    assert!(run_limited(&env, "ulimit -n 80", &["sync"]).status == Some(0));
    env.assert_matches_server("with 80 descriptors");
}

#[rstest]
#[case::user_1(Signal::USR1)]
#[case::file_size(Signal::XFSZ)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_that_is_not_for_sync_does_not_end_it(#[case] signal: Signal) {
    let env = TestEnv::builder().tickets(300).knob("latency_ms=20").settings("page_size = 20").start().await;
    let child = env.command(&["sync"]).spawn().unwrap();
    let start = Instant::now();
    while env.list_request_count() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no request was made");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    CommandResult::of(child).success();
    env.assert_matches_server("after the signal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_on_a_nearly_full_disk_ends_74_before_it_writes() {
    let env = start_env().await;
    let run = |arguments: &[&str], minimum: &str| {
        let mut command = env.command(arguments);
        command.env("HALOSYNC_STORE__MIN_FREE_DISK", minimum);
        CommandResult::of(command.spawn().unwrap())
    };
    let result = run(&["sync"], "1000000TB").code(74);
    for fragment in ["has only", "free; store.min_free_disk is", "lower store.min_free_disk"] {
        assert!(result.stderr.contains(fragment), "{}", result.stderr);
    }
    assert!(!env.path("halosync.db").exists() && env.list_request_count() == 0, "it began");
    let check = run(&["--json", "check", "--offline"], "1000000TB").code(74);
    let disk =
        check.json["steps"].as_array().unwrap().iter().find(|it| it["step"] == "disk").unwrap().clone();
    assert_eq!((&disk["outcome"], &disk["exit_status"]), (&"failure".into(), &74.into()), "{disk:#}");
    run(&["sync"], "0").success();
    env.assert_matches_server("when the disk is not watched");
    let runs = env.number("SELECT COUNT(*) FROM runs");
    run(&["sync", "--full"], "1000000TB").code(74);
    assert_eq!(env.number("SELECT COUNT(*) FROM runs"), runs, "a run was recorded");
    run(&["sync"], "1MB").success();
    let result = run(&["sync"], "256").code(78);
    assert!(result.stderr.contains("must be a size with a unit, such as \"256MB\""), "{}", result.stderr);
}
