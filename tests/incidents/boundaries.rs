//! Equal timestamps, lower bounds, and interruptions among them (incidents 1 to 18).

use std::time::Duration;

use halo_simulator::Edit;
use halosync::watermark::ScanKind;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

/// Edits tickets at one moment, so that they have the same timestamp.
fn edit_at_once(env: &VirtualEnv, ids: &[i64]) {
    env.with_server(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
}

fn records_of(env: &VirtualEnv, id: i64) -> i64 {
    env.number(&format!("SELECT COUNT(*) FROM changes WHERE op = 'u' AND UID = {id}"))
}

#[test]
fn inc_01_and_16_row_with_last_seen_timestamp_is_stored_once() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        // No time passes between the edits: both tickets have the same timestamp.
        edit_at_once(&env, &ids[..1]);
        env.run_ok().await;
        edit_at_once(&env, &ids[1..2]);
        for run in 1..=3 {
            env.run_ok().await;
            env.assert_matches_server(&format!("INC-01: run {run}"));
            assert_eq!([records_of(&env, ids[0]), records_of(&env, ids[1])], [1, 1], "INC-16: run {run}");
            advance_minutes(1).await;
        }
        let timestamps = env.texts("SELECT DISTINCT source_last_modified FROM changes WHERE op = 'u'");
        assert_eq!(timestamps.len(), 1, "test setup: the tickets should share one timestamp: {timestamps:?}");
    });
}

#[test]
fn inc_02_tickets_sharing_one_timestamp_are_all_stored() {
    with_paused_time(async {
        let env = VirtualEnv::new(150, &[]);
        edit_at_once(&env, &env.server_ids());
        for run in 1..=3 {
            env.run_ok().await;
            env.assert_matches_server(&format!("INC-02: run {run}"));
            advance_minutes(15).await;
            env.with_server(|server, now| server.create(3, now));
        }
        let changes = env.change_count();
        env.run_ok().await;
        assert_eq!(env.change_count() - changes, 3, "INC-02: only the last three are new");
    });
}

/// The change becomes visible this many seconds after its timestamp. After three seconds it is as old as the newest seen
/// one; the overlap is ten minutes.
#[rstest]
fn inc_03_10_34_and_36_late_visible_change_is_found_within_overlap(
    #[values(3, 5, 30, 90, 300, 590)] seconds: i64,
) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["commit_delay_ms=0"]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        // The newer change is visible first.
        env.with_server(|server, now| server.edit(ids[3], Edit::Touch, now));
        tokio::time::advance(Duration::from_secs(2)).await;
        env.run_ok().await;
        let newest = env.watermark().unwrap().newest_seen;
        tokio::time::advance(Duration::from_secs(1)).await;
        env.set_knob(&format!("commit_delay_ms={}", seconds * 1_000));
        env.with_server(|server, now| server.edit(ids[4], Edit::Touch, now));
        env.run_ok().await;
        env.assert_matches_server(&format!("INC-03, INC-10, INC-34, INC-36: visible {seconds} s late"));
        let timestamps =
            env.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {}", ids[4]));
        assert!(
            timestamps[0] <= newest.unwrap().to_string(),
            "test setup: the late change should be older than the newest seen"
        );
    });
}

#[test]
fn inc_04_watermark_is_server_time_at_start_minus_uncertainty() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["latency_ms=1700"]);
        for run in 1..=3 {
            // Tickets change during the scan and get later timestamps.
            env.reset_request_log();
            env.before_list_request(2, |server, now| drop(server.edit_some(3, now)));
            let started_at = env.server.now();
            env.run_ok().await;
            let covered = env.covered_until().unwrap().instant();
            // Two requests of latency: the token and the first page.
            assert!(
                covered <= started_at + chrono::TimeDelta::seconds(6),
                "INC-04: run {run}: {covered} is too late"
            );
            advance_minutes(5).await;
            assert!(covered < started_at + chrono::TimeDelta::seconds(6));
        }
        env.run_ok().await;
        env.assert_matches_server("INC-04");
    });
}

#[test]
fn inc_05_row_exactly_at_lower_bound_is_requested() {
    for filter in ["inclusive", "exclusive"] {
        with_paused_time(async {
            let mut env = VirtualEnv::new(100, &["commit_delay_ms=1000", &format!("date_filter={filter}")]);
            env.settings.schedule.overlap = chrono::TimeDelta::zero();
            env.run_ok().await;
            advance_minutes(30).await;
            let ids = env.server_ids();
            edit_at_once(&env, &ids[..1]);
            env.run_ok().await;
            // The watermark and the timestamp of this change are both one second before the run.
            edit_at_once(&env, &ids[1..2]);
            env.run_ok().await;
            env.assert_matches_server(&format!("INC-05: {filter}"));
            let timestamp =
                env.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {}", ids[1]));
            assert_eq!(
                timestamp[0],
                env.covered_until().unwrap().to_string(),
                "test setup: the timestamp should equal the bound"
            );
        });
    }
}

/// Interrupts an incremental scan over rows with one timestamp before each of its requests.
#[test]
fn inc_06_08_and_17_interrupted_incremental_scan_restarts_at_same_bound() {
    for number in 1..=6 {
        with_paused_time(async {
            let mut env = VirtualEnv::new(150, &[]);
            (env.settings.parallel_requests, env.settings.batch_rows) = (1, 10);
            env.run_ok().await;
            advance_minutes(30).await;
            edit_at_once(&env, &env.server_ids()[20..75]);
            advance_minutes(1).await;
            let before = env.watermark();
            env.reset_request_log();
            env.run_interrupted_at(env.settings.clone(), number).await;
            let context = format!("INC-06, INC-08, INC-17: interrupted before list request {number}");
            assert_eq!(env.watermark(), before, "{context}: the watermark moved");
            let from = env.list_parameters("lastupdatefromdate");
            env.reset_request_log();
            env.run_ok().await;
            assert_eq!(
                env.list_parameters("lastupdatefromdate")[..1],
                from[..1],
                "{context}: the next scan started at another bound"
            );
            env.assert_matches_server(&context);
            assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 55, "{context}");
        });
    }
}

#[test]
fn inc_07_and_41_failed_run_is_repeated_from_same_watermark() {
    with_paused_time(async {
        let env = VirtualEnv::new(150, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        edit_at_once(&env, &env.server_ids()[20..75]);
        advance_minutes(1).await;
        let before = env.watermark();
        env.reset_request_log();
        env.inject("list@page4:status=503");
        assert!(env.run().await.is_err(), "INC-41: page 4 is never answered");
        assert_eq!(env.watermark(), before, "INC-41: a run that failed moved the watermark");
        env.clear_faults();
        advance_minutes(60).await;
        env.run_ok().await;
        let mut from = env.list_parameters("lastupdatefromdate");
        from.dedup();
        assert_eq!(from.len(), 1, "INC-07: the bound moved between the runs: {from:?}");
        env.assert_matches_server("INC-07, INC-41");
    });
}

#[test]
fn inc_09_change_within_second_being_read_is_not_lost() {
    for number in 1..=6 {
        with_paused_time(async {
            let env = VirtualEnv::new(150, &["date_precision=second", "commit_delay_ms=0", "latency_ms=100"]);
            env.run_ok().await;
            advance_minutes(30).await;
            let ids = env.server_ids();
            edit_at_once(&env, &ids[..25]);
            env.reset_request_log();
            let late = ids[140];
            env.before_list_request(number, move |server, now| server.edit(late, Edit::Touch, now));
            env.run_ok().await;
            env.run_ok().await;
            env.assert_matches_server(&format!("INC-09: changed before list request {number}"));
        });
    }
}

/// Tickets with one timestamp: one more than a page, ten pages, and all tickets.
#[rstest]
fn inc_12_13_and_14_timestamp_group_larger_than_page_is_complete(
    #[values(11, 100, 300)] group: usize,
    #[values(0, 20)] wait: u64,
) {
    with_paused_time(async {
        let env = VirtualEnv::new(300, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        edit_at_once(&env, &env.server_ids()[..group]);
        advance_minutes(wait).await;
        env.reset_request_log();
        // Where more than half of the tickets changed, everything is read.
        assert_eq!(is_incremental(&env.run_ok().await), group <= 150);
        env.assert_matches_server(&format!("INC-12, INC-13, INC-14: {group} tickets of one timestamp"));
        let most = 2 * (group as u64 / 10 + 2);
        assert!(
            env.list_request_count() <= most,
            "INC-12: {} list requests for {group} tickets",
            env.list_request_count()
        );
    });
}

#[test]
fn inc_15_bulk_edit_is_not_reread_after_the_overlap() {
    with_paused_time(async {
        let env = VirtualEnv::new(300, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        edit_at_once(&env, &env.server_ids()[..200]);
        advance_minutes(11).await;
        env.reset_request_log();
        env.run_ok().await;
        assert!(20 <= env.list_request_count(), "the first run after the bulk edit reads it");
        for run in 2..=5 {
            advance_minutes(5).await;
            env.reset_request_log();
            assert!(is_incremental(&env.run_ok().await));
            assert_eq!(env.list_request_count(), 1, "INC-15: list requests of run {run} after a bulk edit");
        }
        env.assert_matches_server("INC-15");
    });
}

#[test]
fn inc_18_page_starting_with_known_row_is_stored_whole() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        edit_at_once(&env, &ids[..1]);
        advance_minutes(1).await;
        env.run_ok().await;
        advance_minutes(30).await;
        edit_at_once(&env, &ids[1..8]);
        advance_minutes(1).await;
        env.reset_request_log();
        let report = env.run_ok().await;
        let ScanKind::Incremental { from } = report.scan_kind else { panic!("the scan was not incremental") };
        let known = env.texts("SELECT source_last_modified FROM changes WHERE op = 'u' LIMIT 1").concat();
        assert!(from.to_string() <= known, "test setup: the page should start with the known row");
        assert_eq!((report.run_stats.changes.updated, env.list_request_count()), (7, 1), "INC-18");
        env.assert_matches_server("INC-18");
    });
}
