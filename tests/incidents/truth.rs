//! What was received and could not be stored is not there; clocks, caches and lists that do not end.

use chrono::TimeDelta;
use halo_simulator::{Edit, RowDefect};
use halosync::sync::RunOutcome;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

const DAY: u64 = 24 * 60;

fn defect(env: &VirtualEnv, id: i64, defects: &str) {
    let defects = defects.split_whitespace().map(|defect| defect.parse::<RowDefect>().unwrap()).collect();
    env.with_server(|server, _| server.set_row_defects(id, defects));
}

async fn reason(env: &VirtualEnv) -> String {
    env.run().await.unwrap().outcome.reason().unwrap_or_default()
}

fn rejects(env: &VirtualEnv) -> i64 {
    env.number("SELECT COUNT(*) FROM rejects WHERE UID IS NULL AND attribute IS NULL")
}

#[test]
fn row_without_id_is_named_and_moves_the_watermark_only_by_a_full_scan() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &[]);
        let nameless = env.server_ids()[42];
        let before = env.server_ids()[41];
        defect(&env, nameless, "missing.id");
        for run in 1..=3 {
            let page = if run == 1 { "page 5, " } else { "" };
            assert_eq!(reason(&env).await, format!("1 row has no usable id ({page}after ticket {before})"));
            assert_eq!(rejects(&env), 1, "run {run}");
            advance_minutes(5).await;
        }
        // The full scan moved the watermark, so what follows is incremental; a row without an id in it holds the watermark.
        assert_eq!(
            env.texts("SELECT kind || ' ' || outcome FROM scans"),
            ["full count_mismatch", "incremental verified", "incremental verified"]
        );
        assert!(env.texts("SELECT reason FROM watermark_journal").contains(&"unidentified_rows".into()));
        let covered = env.covered_until();
        env.with_server(|server, now| server.edit(nameless, Edit::Touch, now));
        advance_minutes(5).await;
        assert!(reason(&env).await.starts_with("1 row has no usable id (page 1"));
        assert_eq!(env.covered_until(), covered, "an incremental scan passed the row");
        // What is accepted is complete, but no verified scan.
        env.settings.accept_shortfall = 1;
        advance_minutes(5).await;
        let report = env.run_ok().await;
        assert!(
            report.warnings.iter().any(|it| it.starts_with("accepted by `accept_shortfall`")),
            "{:?}",
            report.warnings
        );
        assert!(covered < env.covered_until());
        assert_eq!(env.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1"), ["count_mismatch"]);
        // The row is read again.
        defect(&env, nameless, "");
        env.settings.accept_shortfall = 0;
        advance_minutes(5).await;
        env.run_full_ok().await;
        assert_eq!(rejects(&env), 0);
        env.assert_matches_server("the row has its id again");
    });
}

#[test]
fn merged_ticket_whose_row_has_no_id_is_not_removed() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let (id, other) = (env.server_ids()[42], env.server_ids()[3]);
        env.with_server(|server, now| server.merge(id, other, now));
        defect(&env, id, "missing.id");
        advance_minutes(DAY).await;
        let settings = env.full_scan_settings();
        let report = env.run_until(settings, std::future::pending()).await.unwrap();
        assert_eq!(report.outcome.reason().unwrap(), "1 row has no usable id (page 5, after ticket 1082)");
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
        defect(&env, id, "");
        advance_minutes(1).await;
        env.run_full_ok().await;
        env.assert_matches_server("the row has its id again");
    });
}

/// The date filter leaves the newest ticket out, and a request for it alone is answered without an id.
#[test]
fn canary_without_an_id_does_not_end_the_run() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let canary = env.number("SELECT canary_id FROM watermarks");
        defect(&env, canary, "missing.id");
        env.set_knob("date_filter=exclusive");
        advance_minutes(30).await;
        let text = reason(&env).await;
        assert!(text.starts_with("1 row has no usable id"), "{text}");
    });
}

#[rstest]
fn text_and_integral_float_are_ids(#[values("text.id", "float.id")] form: &str) {
    with_paused_time(async {
        let env = VirtualEnv::new(30, &[]);
        env.server_ids().into_iter().for_each(|id| defect(&env, id, form));
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 30, "{form}");
        assert_eq!(rejects(&env), 0, "{form}");
    });
}

/// The version that cannot be read is newer than the stored one, which must not stay in silence.
#[test]
fn changed_version_that_cannot_be_read_is_pending_until_it_can() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let id = env.server_ids()[17];
        env.with_server(|server, now| server.edit(id, Edit::Agent(2), now));
        defect(&env, id, "broken");
        for _ in 0..3 {
            assert_eq!(reason(&env).await, format!("1 ticket cannot be read yet: {id}"));
            advance_minutes(5).await;
        }
        // It is never unlisted, nor deleted, whatever full scans show.
        advance_minutes(DAY).await;
        assert_eq!(reason(&env).await, format!("1 ticket cannot be read yet: {id}"));
        assert_eq!(env.number("SELECT COUNT(*) FROM unlisted_tickets"), 0);
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
        // Whether it is asked for again or the list shows it before that.
        defect(&env, id, "");
        env.with_server(|server, now| server.edit(id, Edit::Touch, now));
        advance_minutes(5).await;
        env.run_ok().await;
        env.assert_matches_server("the row is readable again");

        env.with_server(|server, now| server.edit(id, Edit::Agent(3), now));
        defect(&env, id, "broken");
        assert_eq!(reason(&env).await, format!("1 ticket cannot be read yet: {id}"));
        defect(&env, id, "");
        advance_minutes(5).await;
        env.run_ok().await;
        env.assert_matches_server("asked for again");
    });
}

#[rstest]
#[case::not_found("deleted_get=404", false)]
#[case::shown_as_deleted("deleted_get=200", false)]
#[case::merged("merged_listed=off", true)]
fn pending_ticket_that_the_server_no_longer_lists_is_given_up(#[case] knob: &str, #[case] is_merged: bool) {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[knob]);
        let id = env.server_ids()[17];
        defect(&env, id, "broken");
        assert!(!reason(&env).await.is_empty());
        env.with_server(|server, now| {
            if is_merged {
                server.merge(id, server.ids()[3], now);
            } else {
                server.delete(id, now);
            }
        });
        defect(&env, id, "");
        advance_minutes(10).await;
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM pending_fetches"), 0);
        env.run_full_ok().await;
        env.assert_matches_server("deleted while it was pending");
    });
}

#[test]
fn unreadable_values_leave_the_last_good_ones_and_are_no_change() {
    with_paused_time(async {
        let env = VirtualEnv::new(40, &[]);
        env.run_ok().await;
        let (id, changes) = (env.server_ids()[5], env.change_count());
        let value = || {
            env.texts(&format!(
                "SELECT COALESCE(COST, 'none') || FLAGGED || CLIENT_ID FROM tickets WHERE UID = {id}"
            ))
        };
        let before = value();
        defect(&env, id, "object.client_id object.flagged");
        advance_minutes(30).await;
        env.with_server(|server, now| server.edit(id, Edit::Touch, now));
        advance_minutes(1).await;
        env.run_ok().await;
        assert_eq!(value(), before, "a good value was lost");
        let attributes = env.texts("SELECT attribute FROM rejects ORDER BY attribute");
        assert_eq!(attributes, ["CLIENT_ID", "FLAGGED"]);
        let last_record = env.texts("SELECT changed FROM changes ORDER BY seq DESC LIMIT 1").concat();
        assert!(env.change_count() <= changes + 1 && !last_record.contains("CLIENT_ID"), "{last_record}");
        defect(&env, id, "");
        advance_minutes(1).await;
        env.run_full_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM rejects"), 0);
        env.assert_matches_server("readable again");
    });
}

#[test]
fn cached_answers_prove_nothing() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let covered = env.covered_until();
        env.inject("any:age=600");
        advance_minutes(30).await;
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        let id = env.server_ids()[3];
        env.with_server(|server, now| server.delete(id, now));
        for full in [false, true] {
            let settings = if full { env.full_scan_settings() } else { env.settings.clone() };
            let report = env.run_until(settings, std::future::pending()).await.unwrap();
            assert!(report.outcome.reason().unwrap_or_default().contains("a cache"), "{:?}", report.outcome);
            assert_eq!(env.covered_until(), covered);
            assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
            advance_minutes(1).await;
        }
        env.clear_faults();
        env.inject("any:age=0");
        env.run_full_ok().await;
        assert!(covered < env.covered_until(), "`Age: 0` is a fresh answer");
        env.assert_matches_server("fresh answers");
    });
}

#[test]
fn date_far_in_the_future_is_not_believed() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let covered = env.covered_until();
        env.inject("any:date=9999-12-31T23:59:59Z");
        advance_minutes(10).await;
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        let text = reason(&env).await;
        assert!(
            text.contains("the server's clock says 9999-12-31") && text.contains("the local clock says"),
            "{text}"
        );
        assert_eq!(env.covered_until(), covered);
        env.clear_faults();
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_matches_server("the clock is right again");
    });
}

/// Two nodes whose clocks differ by half an hour answer in turn.
#[test]
fn nodes_with_different_clocks_cost_one_full_scan_a_day() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        for run in 0..40 {
            advance_minutes(5).await;
            let offset = if run % 2 == 0 { -30 } else { 0 };
            env.with_server(|server, now| {
                server.set_clock_offset(TimeDelta::minutes(offset));
                drop(server.edit_some(2, now));
            });
            env.run_ok().await;
            env.assert_matches_server(&format!("run {run}"));
        }
        let full = env.number("SELECT COUNT(*) FROM scans WHERE kind = 'full'");
        assert_eq!(full, 2, "the initial load, and one that answered the step");
    });
}

#[test]
fn empty_list_is_believed_only_if_every_list_is_empty_twice() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.inject("list@..3:empty");
        env.inject("list@..3:count=0");
        let text = reason(&env).await;
        assert_eq!(text, "the server showed an empty list, but did not when it was asked again");
        assert_eq!(env.covered_until(), None);

        let empty = VirtualEnv::new(0, &[]);
        empty.run_ok().await;
        assert!(empty.list_request_count() <= 9, "{} requests", empty.list_request_count());
    });
}

/// With a count that grows, and with one that does not: then only the pages after the last one bring new tickets.
#[test]
fn list_without_an_end_ends_the_run() {
    for faults in [&["list:endless"][..], &["list:endless", "list:count=60"]] {
        with_paused_time(async {
            let mut env = VirtualEnv::new(60, &[]);
            env.settings.page_size = 100;
            for fault in faults {
                env.inject(fault);
            }
            let text = reason(&env).await;
            assert!(text.starts_with("the list does not end"), "{faults:?}: {text}");
            assert!(env.number("SELECT COUNT(*) FROM tickets") <= 40_000);
        });
    }
}

/// The changes that later runs bring do not complete it.
#[test]
fn unverified_initial_load_is_never_called_complete() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &[]);
        env.inject("list:count=+1");
        assert!(!reason(&env).await.is_empty());
        env.clear_faults();
        for _ in 0..3 {
            advance_minutes(5).await;
            env.with_server(|server, now| server.edit(server.ids()[7], Edit::Touch, now));
            let text = reason(&env).await;
            assert!(text.starts_with("the initial load has not been completed"), "{text}");
        }
        assert_eq!(
            env.number("SELECT COUNT(last_complete_at) FROM sync_health"),
            0,
            "status calls it complete"
        );
        advance_minutes(60).await;
        env.run_ok().await;
        env.assert_matches_server("once a full scan agreed with the count");
    });
}

/// A list of one ticket, or of none, is as long as its count but for one.
#[test]
fn wrong_count_of_a_short_list_is_a_mismatch_and_can_be_accepted() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1, &[]);
        env.inject("list:count=+1");
        assert!(!reason(&env).await.is_empty());
        assert_eq!(env.texts("SELECT outcome FROM scans"), ["count_mismatch"]);
        env.settings.accept_shortfall = 2;
        env.run_full_ok().await;
        for _ in 0..3 {
            advance_minutes(5).await;
            env.run_ok().await;
        }
    });
}

#[test]
fn wrong_count_does_not_make_every_run_a_full_scan() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(200, &[]);
        env.inject("list:count=+1");
        assert!(!reason(&env).await.is_empty());
        let full_scans = |env: &VirtualEnv| env.number("SELECT COUNT(*) FROM scans WHERE kind = 'full'");
        assert_eq!(full_scans(&env), 1);
        // 1, 2, 4, 8, 16 hours later; meanwhile changes arrive.
        for _ in 0..12 * 31 {
            advance_minutes(5).await;
            env.with_server(|server, now| server.edit(server.ids()[7], Edit::Touch, now));
            assert!(!reason(&env).await.is_empty(), "called complete");
        }
        assert_eq!(full_scans(&env), 6);
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 200);
        env.assert_matches_server("although no scan was verified");
        let before = full_scans(&env);
        // By one in the list of open tickets and by one in that of closed ones, because the plain list counts fewer.
        env.settings.accept_shortfall = 2;
        env.reset_request_log();
        env.run_full_ok().await;
        assert!(env.list_request_count() <= 20 + 5, "{} list requests", env.list_request_count());
        assert_eq!(full_scans(&env), before + 1);
        advance_minutes(5).await;
        assert!(is_incremental(&env.run_ok().await));
        assert_eq!(full_scans(&env), before + 1);
    });
}

#[test]
fn while_the_delete_guard_holds_every_run_says_so_and_the_watermark_moves() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        let ids = env.server_ids();
        env.with_server(|server, _| server.hide(&ids[..40]));
        advance_minutes(5).await;
        let guard = RunOutcome::DeleteGuard { removals: 40, allowed: 20 };
        let full = env.run_until(env.full_scan_settings(), std::future::pending()).await.unwrap();
        assert_eq!(full.outcome, guard);
        for _ in 0..3 {
            let before = env.covered_until();
            advance_minutes(5).await;
            assert_eq!(env.run().await.unwrap().outcome, guard);
            assert!(before < env.covered_until(), "incremental scans stand still");
        }
        env.with_server(|server, _| server.unhide(&ids[..40]));
        env.run_full_ok().await;
        env.assert_matches_server("permissions are back");
    });
}

#[rstest]
fn bad_status_list_is_asked_for_again_in_the_next_run(
    #[values("status@..1:status=500", "status@..1:html", "status@..1:empty")] fault: &str,
) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &[]);
        env.max_retries = 0;
        env.inject(fault);
        env.run_ok().await;
        advance_minutes(5).await;
        env.run_ok().await;
        let numbers = env.number("SELECT COUNT(*) FROM tickets WHERE STATUS = CAST(STATUS_ID AS TEXT)");
        assert_eq!(numbers, 0, "{fault}");
        env.assert_matches_server(fault);
    });
}

/// An initial load of 60 pages is killed four times.
#[test]
fn resuming_costs_at_most_fifteen_requests_for_each_interruption() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(600, &["latency_ms=100"]);
        env.settings.parallel_requests = 4;
        env.run_ok().await;
        let whole = env.request_count();

        let mut env = VirtualEnv::new(600, &["latency_ms=100"]);
        env.settings.parallel_requests = 4;
        let mut requests = 0;
        for _ in 0..4 {
            env.run_interrupted_at(env.settings.clone(), 15).await;
            requests += env.request_count();
            env.reset_request_log();
            advance_minutes(1).await;
        }
        env.run_ok().await;
        requests += env.request_count();
        assert!(requests <= whole + 4 * 15, "{requests} requests; {whole} without interruption");
        env.assert_matches_server("resumed four times");
        // Its first part is confirmed within a day.
        advance_minutes(DAY).await;
        assert!(!is_incremental(&env.run_ok().await));
    });
}
