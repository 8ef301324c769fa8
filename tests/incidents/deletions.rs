//! Unlisted tickets: when they are deleted, what the checks cost, and when nothing is decided (incidents 81 to 87).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halo_simulator::{Edit, Server};
use halosync::sync::{RunOutcome, RunReport, SyncError};
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

/// The ids of removed tickets, each with the reason.
fn tombstones(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT UID || ' ' || reason FROM changes WHERE op = 'd' ORDER BY seq")
}

fn unlisted_tickets(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT UID || ' ' || status FROM unlisted_tickets ORDER BY UID")
}

/// Makes a run with a full scan, however it ends.
async fn run_full(env: &VirtualEnv) -> Result<RunReport, SyncError> {
    advance_minutes(1).await;
    env.run_until(env.full_scan_settings(), std::future::pending()).await
}

async fn days(days: u64) {
    advance_minutes(days * 24 * 60).await;
}

#[rstest]
#[case::http("list@page4:status=500")]
#[case::no_json("list@page4:html=200")]
#[case::forbidden("list@page4:status=403")]
#[case::no_tickets("list@page4:tickets=missing")]
#[case::cut("list@page4:cut")]
#[case::rows_withheld("list@page4:empty")]
#[case::too_many_counted("list:count=+3")]
fn inc_81_full_scan_with_failed_page_deletes_nothing(#[case] fault: &str) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        let gone = env.server_ids()[50];
        env.with_server(|server, now| server.delete(gone, now));
        env.inject(fault);
        let result = run_full(&env).await;
        let complete = matches!(&result, Ok(report) if report.outcome == RunOutcome::Complete);
        assert!(!complete, "INC-81: {fault}: the run was complete");
        assert_eq!((tombstones(&env), unlisted_tickets(&env)), (vec![], vec![]), "INC-81: {fault}");
        env.clear_faults();
        run_full(&env).await.unwrap();
        assert_eq!(tombstones(&env), [format!("{gone} vanished")], "INC-81: {fault}, after the fault");
    });
}

/// A ticket that an incremental scan does not return is not unlisted.
#[test]
fn inc_82_and_83_deletion_is_found_by_full_scan_never_by_incremental() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let gone = env.server_ids()[9];
        env.with_server(|server, now| server.delete(gone, now));
        for _ in 0..3 {
            env.run_incremental_after_a_minute().await;
            assert_eq!((tombstones(&env), unlisted_tickets(&env)), (vec![], vec![]), "INC-82");
        }
        env.run_full_ok().await;
        assert_eq!(tombstones(&env), [format!("{gone} vanished")], "INC-83");
        env.assert_matches_server("INC-83");
    });
}

#[rstest]
#[case::gone(&["deleted_get=404"], Server::delete, Some("vanished"))]
#[case::marked_deleted(&["deleted_get=200"], Server::delete, Some("deleted"))]
#[case::only_forbidden(&["deleted_get=403"], Server::delete, None)]
#[case::merged(&["merged_listed=off"], merge, Some("merged"))]
fn inc_84_and_85_server_answer_decides_about_unlisted_ticket(
    #[case] knobs: &[&str],
    #[case] remove: fn(&mut Server, i64, chrono::DateTime<chrono::Utc>),
    #[case] reason: Option<&str>,
) {
    with_paused_time(async {
        let env = VirtualEnv::new(60, knobs);
        env.run_ok().await;
        let id = env.server_ids()[9];
        env.with_server(|server, now| remove(server, id, now));
        advance_minutes(1).await;
        env.run_full_ok().await;
        match reason {
            Some(reason) => {
                assert_eq!(
                    (tombstones(&env), unlisted_tickets(&env)),
                    (vec![format!("{id} {reason}")], vec![])
                );
                // The number stood only in the answer about this ticket, which is no longer listed.
                let merged_into = "SELECT COALESCE(MERGED_INTO_ID, 0) || '' FROM deleted_tickets";
                let expected = if reason == "merged" { env.server_ids()[0] } else { 0 };
                assert_eq!(env.texts(merged_into), [expected.to_string()]);
                env.assert_matches_server(reason);
            }
            None => {
                assert_eq!(
                    (tombstones(&env), unlisted_tickets(&env)),
                    (vec![], vec![format!("{id} forbidden")])
                );
            }
        }
        env.with_server(|server, now| {
            server.unmerge(id, now);
            server.restore(id, now);
        });
        advance_minutes(1).await;
        env.run_full_ok().await;
        env.assert_matches_server("the ticket is back");
        assert_eq!(unlisted_tickets(&env), [""; 0]);
        let last =
            env.texts(&format!("SELECT op || ' ' || COALESCE(reason, '') FROM changes WHERE UID = {id}"));
        let expected = if reason.is_some() { "c returned" } else { "c " };
        assert!(last.iter().any(|it| it == expected), "{last:?}");
    });
}

fn merge(server: &mut Server, id: i64, now: chrono::DateTime<chrono::Utc>) {
    let into = server.ids()[0];
    server.merge(id, into, now);
}

#[test]
fn refusal_of_a_ticket_as_a_web_page_is_forbidden() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["hidden_get=403", "error_body=html"]);
        env.run_ok().await;
        let hidden = &env.server_ids()[..3];
        env.with_server(|server, _| server.hide(hidden));
        env.run_full_ok().await;
        let expected: Vec<_> = hidden.iter().map(|id| format!("{id} forbidden")).collect();
        assert_eq!((tombstones(&env), unlisted_tickets(&env)), (vec![], expected));
    });
}

/// Half of the tickets become invisible to the client. Nothing is deleted until `--accept-deletes`, and then only what the
/// server answers with 404. Forbidden tickets stay and do not trigger the delete guard again.
#[rstest]
fn inc_53_and_85_lost_permissions_trigger_delete_guard(#[values("403", "404")] hidden: &str) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[&format!("hidden_get={hidden}")]);
        env.run_ok().await;
        let watermark = env.covered_until();
        let half: Vec<i64> = env.server_ids().into_iter().step_by(2).collect();
        env.with_server(|server, _| server.hide(&half));
        for _ in 0..2 {
            let report = run_full(&env).await.unwrap();
            assert_eq!(report.outcome, RunOutcome::DeleteGuard { removals: 50, allowed: 20 });
            assert_eq!(tombstones(&env), [""; 0]);
            let expected: Vec<_> = half.iter().map(|id| format!("{id} guarded")).collect();
            assert_eq!(unlisted_tickets(&env), expected);
            assert_eq!(env.covered_until(), watermark, "the watermark moved");
        }
        let accepting = halosync::sync::RunSettings { accept_deletes: true, ..env.full_scan_settings() };
        advance_minutes(1).await;
        let report = env.run_until(accepting, std::future::pending()).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::Complete);
        if hidden == "404" {
            assert_eq!(tombstones(&env).len(), 50);
        } else {
            assert_eq!(tombstones(&env), [""; 0]);
            let expected: Vec<_> = half.iter().map(|id| format!("{id} forbidden")).collect();
            assert_eq!(unlisted_tickets(&env), expected);
        }
        env.run_full_ok().await;
        days(3).await;
        env.run_full_ok().await;
        env.with_server(|server, _| server.unhide(&half));
        advance_minutes(1).await;
        env.run_full_ok().await;
        env.assert_matches_server("the permissions are back");
        assert_eq!(unlisted_tickets(&env), [""; 0]);
    });
}

/// Tickets that stayed unlisted and are deleted later count like all others.
#[test]
fn inc_86_one_flag_overrides_the_one_delete_guard() {
    with_paused_time(async {
        let env = VirtualEnv::new(400, &["hidden_get=403"]);
        env.run_ok().await;
        // Twenty more are forbidden each day: each time too few for the delete guard.
        let ids = env.server_ids();
        for day in 0..3 {
            env.with_server(|server, _| server.hide(&ids[20 * day..20 * (day + 1)]));
            env.run_full_ok().await;
            days(1).await;
        }
        assert_eq!(unlisted_tickets(&env).len(), 60);
        // Then the server answers 404 for all of them.
        env.set_knob("hidden_get=404");
        days(30).await;
        let report = run_full(&env).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::DeleteGuard { removals: 60, allowed: 20 });
        assert_eq!(tombstones(&env), [""; 0]);
        let accepting = halosync::sync::RunSettings { accept_deletes: true, ..env.full_scan_settings() };
        advance_minutes(1).await;
        env.run_until(accepting, std::future::pending()).await.unwrap();
        assert_eq!(tombstones(&env).len(), 60);
        env.assert_matches_server("INC-86");
    });
}

#[test]
fn inc_87_reader_sees_all_deletions_of_a_scan_or_none() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &[]);
        env.run_ok().await;
        let ids = env.server_ids();
        env.with_server(|server, now| ids.iter().step_by(20).for_each(|id| server.delete(*id, now)));
        env.reset_request_log();
        let counts = Arc::new(Mutex::new(Vec::new()));
        for number in 1..30 {
            let (counts, database) = (Arc::clone(&counts), env.database.clone());
            env.before_list_request(number, move |_, _| {
                let tickets = database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM tickets");
                counts.lock().unwrap().extend(tickets);
            });
        }
        env.run_full_ok().await;
        let counts = counts.lock().unwrap().clone();
        assert!(20 < counts.len() && counts.iter().all(|count| count == "200"), "INC-87: {counts:?}");
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 190);
    });
}

/// Old closed tickets vanish from the list. They are requested by the hundred, or in pages as large as the server allows,
/// and only those that do not come back are requested one by one.
#[rstest]
fn unlisted_tickets_are_requested_by_the_hundred(#[values((100, 3), (40, 9))] (cap, requests): (u32, usize)) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1_000, &[&format!("page_cap={cap}")]);
        env.settings.page_size = 100;
        env.settings.delete_guard = 1.0;
        env.run_ok().await;
        let ids = env.server_ids();
        env.set_knob("plain_list=open_and_recent");
        let listed = env.with_server(|server, _| server.ids());
        let unlisted: Vec<_> = ids.iter().filter(|id| listed.binary_search(id).is_err()).collect();
        // Three hundred remain unlisted, and forty of these are deleted.
        env.with_server(|server, now| {
            for id in &unlisted[300..] {
                server.edit(**id, Edit::Status(1), now);
            }
            for id in &unlisted[..40] {
                server.delete(**id, now);
            }
        });
        advance_minutes(1).await;
        env.reset_request_log();
        env.run_full_ok().await;
        let by_id = env.list_parameters("ticketids").len();
        assert!(by_id <= requests, "{by_id} requests by id, {requests} at most");
        assert_eq!(env.ticket_request_count(), 40, "requests for single tickets");
        assert_eq!(tombstones(&env).len(), 40);
    });
}

/// An unlisted ticket is requested again after 1, 2, 4 … days, however many full scans there are that nobody requested.
#[test]
fn unlisted_ticket_is_rechecked_less_and_less_often() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &["hidden_get=403"]);
        env.settings.schedule.full_every = Some(Duration::from_hours(24));
        env.run_ok().await;
        let id = env.server_ids()[3];
        env.with_server(|server, _| server.hide(&[id]));
        days(1).await;
        let mut requested_on = Vec::new();
        for day in 0..70 {
            env.reset_request_log();
            let report = env.run_ok().await;
            assert!(!is_incremental(&report), "day {day}");
            if 0 < env.ticket_request_count() {
                requested_on.push(day);
            }
            days(1).await;
        }
        assert_eq!(requested_on, [0, 1, 3, 7, 15, 31, 61]);
        assert_eq!(unlisted_tickets(&env), [format!("{id} forbidden")]);
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 60);
    });
}

/// `sync --full` asks again, although it is not yet time to.
#[test]
fn requested_full_scan_asks_about_every_unlisted_ticket() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["hidden_get=403"]);
        env.run_ok().await;
        let hidden = &env.server_ids()[..3];
        env.with_server(|server, _| server.hide(hidden));
        for scan in 1..=3 {
            env.reset_request_log();
            env.run_full_ok().await;
            assert_eq!(env.ticket_request_count(), 3, "scan {scan}");
            advance_minutes(1).await;
        }
        env.set_knob("hidden_get=404");
        env.run_full_ok().await;
        assert_eq!(tombstones(&env).len(), 3);
    });
}

#[test]
fn unreadable_unlisted_ticket_does_not_block_the_others() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let ids = env.server_ids();
        env.with_server(|server, now| ids[10..13].iter().for_each(|id| server.delete(*id, now)));
        env.inject("ticket@2..7:status=500");
        env.run_full_ok().await;
        assert_eq!(unlisted_tickets(&env), [format!("{} unreadable", ids[11])]);
        assert_eq!(tombstones(&env).len(), 2);
        env.clear_faults();
        days(1).await;
        env.run_full_ok().await;
        env.assert_matches_server("readable again");
    });
}

/// Where all requests for single tickets fail, the scan is complete and deletes nothing.
#[test]
fn unreadable_unlisted_tickets_are_deferred() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &[]);
        env.run_ok().await;
        let ids = env.server_ids();
        env.with_server(|server, now| ids[..10].iter().for_each(|id| server.delete(*id, now)));
        env.inject("ticket:status=500");
        env.run_full_ok().await;
        assert_eq!(tombstones(&env), [""; 0]);
        let statuses = env
            .texts("SELECT status || ' ' || COUNT(*) FROM unlisted_tickets GROUP BY status ORDER BY status");
        assert_eq!(statuses, ["not_asked 5", "unreadable 5"]);
        env.clear_faults();
        days(1).await;
        env.run_full_ok().await;
        assert_eq!(tombstones(&env).len(), 10);
        env.assert_matches_server("readable again");
    });
}

/// The server is restored from a backup: tickets are older, some are missing, and ids are reused.
#[test]
fn local_copy_matches_a_server_restored_from_backup() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.with_server(|server, _| server.back_up());
        env.run_ok().await;
        advance_minutes(60).await;
        let ids = env.server_ids();
        env.with_server(|server, now| {
            for id in &ids[..10] {
                server.edit(*id, Edit::Summary("after the backup".into()), now);
            }
            server.create(5, now);
        });
        env.run_incremental_after_a_minute().await;
        env.assert_matches_server("before the restore");
        env.with_server(|server, _| server.restore_backup());
        advance_minutes(30).await;
        env.with_server(|server, now| drop(server.create(2, now)));
        advance_minutes(1).await;
        env.run_full_ok().await;
        env.assert_matches_server("restored");
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE reason = 'went_back'"), 10);
        assert_eq!(tombstones(&env).len(), 3, "three of the five new ids are not reused");
    });
}
