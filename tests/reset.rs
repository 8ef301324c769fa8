//! `halosync reset` moves the watermark back; tickets stay, and the next run reads again from there.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use chrono::TimeDelta;
use halo_simulator::ApiEndpoint;
use halosync::store::{Store, StoreError};
use halosync::ticket::Timestamp;
use support::test_env::TestEnv;

fn timestamp(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_moves_watermark_back_and_next_sync_starts_there() {
    let env = TestEnv::new(250).await;
    env.run_ok(&["sync"]);
    let (from, changes) = (env.watermark(), env.number("SELECT COUNT(*) FROM changes"));
    let to = timestamp(&from).minus(TimeDelta::days(40)).to_string();

    let report = env.run_ok(&["reset", "--to", &to, "--reason", " a backup was restored "]);
    assert_eq!((&report["from"], &report["to"]), (&from.as_str().into(), &to.as_str().into()));
    assert_eq!(env.watermark(), to);
    let journal = "SELECT reason || ' ' || covered_from || ' ' || covered_until FROM watermark_journal
                   ORDER BY move_id DESC LIMIT 1";
    let entry: String = env.value(journal);
    assert_eq!(entry, format!("reset: a backup was restored {from} {to}"));
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 250);

    env.reset_request_log();
    let report = env.run_ok(&["sync"]);
    assert_eq!((&report["outcome"], &report["scan"]["kind"]), (&"complete".into(), &"incremental".into()));
    let from_date = env.with_server(|server| {
        let list = server.log().entries().find(|entry| entry.endpoint == ApiEndpoint::List).unwrap();
        list.query.split("lastupdatefromdate=").nth(1).unwrap()[..24 + 4].replace("%3A", ":")
    });
    assert!(from_date <= to, "the scan started at {from_date}");
    assert_eq!(
        env.number("SELECT COUNT(*) FROM changes"),
        changes,
        "rereading unchanged tickets made change records"
    );
    assert!(to < env.watermark());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn package_before_reset_keeps_its_covered_until() {
    let env = TestEnv::new(250).await;
    env.with_server(|server| server.set_clock_offset(TimeDelta::minutes(-10)));
    env.run_ok(&["sync"]);
    let first = (env.watermark(), env.number("SELECT MAX(seq) FROM changes"));
    env.with_server(|server| {
        server.set_clock_offset(TimeDelta::minutes(-5));
        server.edit_some(3, chrono::Utc::now());
    });
    env.run_ok(&["sync"]);
    let to = timestamp(&env.watermark()).minus(TimeDelta::minutes(1)).to_string();
    assert!(first.0 < to);
    env.run(&["reset", "--to", &to, "--reason", "x"]).success();
    let store = Store::open_read_only(&env.path("halosync.db"), Duration::from_secs(1)).unwrap();
    let covered =
        |seq| store.read(|it| Ok::<_, StoreError>(it.covered_until_at(seq)?.map(|at| at.to_string())));
    assert_eq!(covered(first.1).unwrap(), Some(first.0));
    assert_eq!(covered(first.1 + 3).unwrap(), Some(to));
}
