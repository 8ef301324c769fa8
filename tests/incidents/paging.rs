//! Lists that change while they are read, and pages that end too early or not at all (incidents 19 to 31).

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::{RunOutcome, SyncError};
use halosync::watermark::ScanKind;
use rstest::rstest;
use url::Url;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

fn deletions(env: &VirtualEnv) -> i64 {
    env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'")
}

/// The server ignores the requested order, and sorts anew each minute while tickets change and are deleted.
#[rstest]
fn inc_19_20b_and_37_list_in_another_order_hides_nothing(
    #[values("newest", "sla")] order: &str,
    #[values(1, 4)] parallel: u32,
    #[values(false, true)] busy: bool,
) {
    with_paused_time(async {
        let knobs = ["order_by_id=ignored", &format!("default_order={order}"), "latency_ms=20000"];
        let mut env = VirtualEnv::new(150, &knobs);
        env.settings.parallel_requests = parallel;
        if busy {
            for number in (2..12).step_by(3) {
                env.before_list_request(number, |server, now| {
                    server.edit_some(5, now);
                    server.create(1, now);
                });
            }
            env.before_list_request(7, |server, now| {
                let id = server.ids()[4];
                server.delete(id, now);
            });
        }
        let context = format!("INC-19: order {order}, {parallel} parallel requests, busy: {busy}");
        let mut runs = 1;
        let full = env.full_scan_settings();
        while env.run_until(full.clone(), std::future::pending()).await.unwrap().outcome
            != RunOutcome::Complete
        {
            assert_eq!(env.covered_until(), None, "{context}: the watermark moved after run {runs}");
            runs += 1;
            advance_minutes(1).await;
        }
        let most = if order == "newest" { 1 } else { 3 };
        assert!(runs <= most, "{context}: {runs} runs until one was complete");
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_nothing_missing(&context);
        // INC-37: every list request asks for the order by id.
        assert_eq!(env.list_parameters("order").len(), env.list_queries().len());
        assert!(env.list_parameters("order").iter().all(|order| order == "id"), "INC-37");
        // INC-20b: fewer rows than the first response counted are never taken for all.
        assert!(deletions(&env) <= i64::from(busy), "INC-20b: {context}");
    });
}

#[test]
fn inc_20_scan_makes_no_other_requests_between_pages() {
    with_paused_time(async {
        let env = VirtualEnv::new(300, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        env.with_server(|server, now| server.edit_some(150, now));
        advance_minutes(1).await;
        env.reset_request_log();
        env.run_ok().await;
        let others = env.with_server(|server, _| {
            let entries = server.log().entries().filter(|entry| entry.endpoint != ApiEndpoint::List);
            entries.map(|entry| entry.path.clone()).collect::<Vec<_>>()
        });
        assert!(
            others.iter().all(|path| path == "/auth/token" || path == "/api/authinfo"),
            "INC-20: {others:?}"
        );
    });
}

#[test]
fn inc_20c_row_newer_than_run_is_stored_and_keeps_watermark() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["latency_ms=2000", "commit_delay_ms=0"]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        env.with_server(|server, now| ids[..30].iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
        advance_minutes(1).await;
        env.reset_request_log();
        let late = ids[25];
        env.before_list_request(2, move |server, now| server.edit(late, Edit::Agent(1), now));
        env.run_ok().await;
        let watermark = env.watermark().unwrap();
        let kept = env.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {late}"));
        assert!(
            watermark.covered_until.unwrap().to_string() < kept[0],
            "INC-20c: test setup: the row should be newer than the watermark"
        );
        assert!(
            watermark.newest_seen <= watermark.covered_until,
            "INC-20c: a row newer than the run counts as the newest seen"
        );
        env.assert_matches_server("INC-20c");
    });
}

#[rstest]
fn inc_21_and_31_reduced_page_size_hides_nothing(
    #[values(1, 7, 40, 99, 100, 1_000)] cap: u32,
    #[values("echo", "bare", "full")] envelope: &str,
) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(217, &[&format!("page_cap={cap}"), &format!("envelope={envelope}")]);
        env.settings.page_size = 100;
        env.run_ok().await;
        env.assert_matches_server(&format!("INC-21, INC-31: {cap} rows at most"));
    });
}

fn page_one(url: &mut Url) {
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    url.query_pairs_mut().clear().extend_pairs(pairs.iter().map(|(name, value)| match name.as_str() {
        "page_no" => ("page_no", "1"),
        _ => (name.as_str(), value.as_str()),
    }));
}

/// The server returns page 1 for every page.
#[test]
fn inc_22_and_23_repeated_page_is_neither_end_nor_loop() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.rewrite_list_urls(page_one);
        let report = env.run().await.unwrap();
        assert!(matches!(report.outcome, RunOutcome::Incomplete(_)), "INC-23: {:?}", report.outcome);
        assert!(env.list_request_count() < 30, "INC-23: {} list requests", env.list_request_count());
        assert_eq!(env.covered_until(), None, "INC-23: the watermark moved");
        let queries = env.list_queries();
        assert!(queries.iter().all(|query| query.contains("pageinate=true&page_no=")), "INC-22: {queries:?}");
    });
}

/// No row of the first pages has a wanted ticket type.
#[rstest]
fn inc_24_page_without_wanted_rows_is_not_the_end(#[values("honored", "ignored")] filter: &str) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &[&format!("type_filter={filter}")]);
        env.settings.ticket_types = vec!["Incident".to_owned()];
        let ids = env.server_ids();
        env.with_server(|server, now| {
            ids[..20].iter().for_each(|id| server.edit(*id, Edit::TicketType(3), now));
            ids[20..].iter().for_each(|id| server.edit(*id, Edit::TicketType(1), now));
        });
        advance_minutes(60).await;
        env.run_ok().await;
        let stored = env.texts("SELECT CAST(UID AS TEXT) FROM tickets ORDER BY UID");
        let wanted: Vec<_> = ids[20..].iter().map(ToString::to_string).collect();
        assert_eq!(stored, wanted, "INC-24: type filter {filter}");
    });
}

#[test]
fn inc_25_old_row_in_descending_page_is_not_the_end() {
    with_paused_time(async {
        let knobs = ["order_by_id=ignored", "default_order=newest", "date_filter=ignored"];
        let env = VirtualEnv::new(100, &knobs);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        // Every page has unchanged tickets between the edited ones.
        env.with_server(|server, now| {
            ids.iter().step_by(3).for_each(|id| server.edit(*id, Edit::Agent(1), now));
        });
        env.run_ok().await;
        env.assert_matches_server("INC-25");
    });
}

/// Pages that are missing, empty or refused, or a count that is too low, in an initial load, a full and an incremental scan.
#[rstest]
#[case::inc_26_empty_page_in_the_middle("list@page3:empty")]
#[case::inc_27_count_truncated("list:count=10")]
#[case::inc_27_count_too_low("list:count=-10")]
#[case::inc_27_count_missing("list:count=missing")]
#[case::inc_28_later_pages_refused("list@page3:status=400")]
#[case::inc_58_page_never_answered("list@page3:delay=600000")]
#[case::inc_58_page_without_rows("list@page3:tickets=null")]
fn truncated_list_is_never_complete_and_deletes_nothing(#[case] fault: &str) {
    for kind in ["first", "full", "incremental"] {
        with_paused_time(async {
            let env = VirtualEnv::new(100, &[]);
            if kind != "first" {
                env.run_ok().await;
                advance_minutes(30).await;
                env.with_server(|server, now| server.edit_some(45, now));
                advance_minutes(1).await;
            }
            let before = env.watermark();
            let settings = if kind == "full" { env.full_scan_settings() } else { env.settings.clone() };
            env.inject(fault);
            let result = env.run_until(settings, std::future::pending()).await;
            let context = format!("{fault}, {kind} run");
            match result {
                Ok(report) => {
                    assert!(
                        matches!(report.outcome, RunOutcome::Incomplete(_)),
                        "{context}: {:?}",
                        report.outcome
                    );
                }
                Err(error) => assert!(matches!(error, SyncError::Halo(_)), "{context}: {error}"),
            }
            let covered = |watermark: Option<halosync::watermark::Watermark>| {
                watermark.and_then(|watermark| watermark.covered_until)
            };
            assert_eq!(env.covered_until(), covered(before), "{context}: the watermark moved");
            assert_eq!(deletions(&env), 0, "{context}: tickets were deleted");
            let error =
                env.texts("SELECT COALESCE(error, '') FROM runs ORDER BY run_id DESC LIMIT 1").concat();
            assert!(!error.is_empty(), "INC-58: {context}: no reason is recorded");
            env.clear_faults();
            // A full scan that reached its end is tried again after an hour.
            advance_minutes(61).await;
            env.run_ok().await;
            env.assert_matches_server(&context);
        });
    }
}

#[test]
fn inc_29_second_list_starts_at_page_one() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(200, &["plain_list=open_and_recent"]);
        env.settings.parallel_requests = 1;
        env.run_ok().await;
        env.assert_matches_server("INC-29");
        assert_eq!(env.probe_result("list_coverage"), "open_and_closed");
        let of = |which: &str| {
            let queries = env
                .list_queries()
                .into_iter()
                .filter(|query| query.contains(which) && query.contains("page_size=10&"));
            queries.map(|query| query.contains("page_no=1&")).collect::<Vec<_>>()
        };
        for which in ["open_only", "closed_only"] {
            assert!(of(which).contains(&true), "INC-29: page 1 of {which} was never requested");
        }
    });
}

#[test]
fn inc_30_list_of_1200_pages_is_read_to_the_end() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1_201, &[]);
        env.settings.page_size = 1;
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 1_201, "INC-30");
    });
}

#[rstest]
fn inc_31_duplicate_rows_count_once(#[values(1, 3, 9)] rows: u32, #[values(2, 3)] every: u32) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.inject(&format!("list@every{every}x4:repeat={rows}"));
        let report = env.run().await.unwrap();
        let context = format!("INC-31: {rows} rows twice on each page {every}: {:?}", report.outcome);
        if report.outcome != RunOutcome::Complete {
            assert_eq!(env.covered_until(), None, "{context}");
            env.clear_faults();
            env.run_ok().await;
        }
        env.assert_matches_server(&context);
        assert!(matches!(report.scan_kind, ScanKind::Full), "{context}");
        advance_minutes(1).await;
        assert!(
            is_incremental(&env.run_ok().await)
                || env.number("SELECT MAX(resumed OR count_fell) FROM scans") == 1,
            "{context}"
        );
    });
}
