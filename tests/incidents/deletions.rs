//! Tickets that are not listed any more: what that means, what it costs to find out, and when nothing is concluded.

use std::sync::{Arc, Mutex};

use halo_simulator::{Edit, Server};
use halosync::sync::{RunOutcome, RunReport, SyncError};
use rstest::rstest;

use crate::desk::{Desk, minutes, texts, virtually};

/// What became of tickets: their numbers and the reasons.
fn tombstones(desk: &Desk) -> Vec<String> {
    desk.texts("SELECT UID || ' ' || reason FROM changes WHERE op = 'd' ORDER BY seq")
}

fn absences(desk: &Desk) -> Vec<String> {
    desk.texts("SELECT UID || ' ' || status FROM unlisted_tickets ORDER BY UID")
}

/// A full pass, however it ends.
async fn full(desk: &Desk) -> Result<RunReport, SyncError> {
    minutes(1).await;
    desk.sync_until(desk.by_hand(), std::future::pending()).await
}

async fn days(days: u64) {
    minutes(days * 24 * 60).await;
}

#[rstest]
#[case::http("list@page4:status=500")]
#[case::no_json("list@page4:html=200")]
#[case::forbidden("list@page4:status=403")]
#[case::no_tickets("list@page4:tickets=missing")]
#[case::cut("list@page4:cut")]
#[case::rows_kept_back("list@page4:empty")]
#[case::too_many_counted("list:count=+3")]
fn inc_81_a_walk_with_a_page_that_fails_concludes_nothing(#[case] fault: &str) {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        let gone = desk.ids()[50];
        desk.with(|server, now| server.delete(gone, now));
        desk.inject(fault);
        let ended = full(&desk).await;
        let complete = matches!(&ended, Ok(report) if report.outcome == RunOutcome::Complete);
        assert!(!complete, "INC-81: {fault}: the pass was complete");
        assert_eq!((tombstones(&desk), absences(&desk)), (vec![], vec![]), "INC-81: {fault}");
        desk.heal();
        full(&desk).await.unwrap();
        assert_eq!(tombstones(&desk), [format!("{gone} vanished")], "INC-81: {fault}, healed");
    });
}

/// What a following pass does not show is no absence: only a full walk may miss a ticket.
#[test]
fn inc_82_and_83_a_deletion_is_found_by_the_next_full_walk_and_never_by_a_following_one() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.good().await;
        let gone = desk.ids()[9];
        desk.with(|server, now| server.delete(gone, now));
        for _ in 0..3 {
            desk.wait_and_follow().await;
            assert_eq!((tombstones(&desk), absences(&desk)), (vec![], vec![]), "INC-82");
        }
        desk.full().await;
        assert_eq!(tombstones(&desk), [format!("{gone} vanished")], "INC-83");
        desk.assert_equal("INC-83");
    });
}

#[rstest]
#[case::gone(&["deleted_get=404"], Server::delete, Some("vanished"))]
#[case::said_to_be_deleted(&["deleted_get=200"], Server::delete, Some("deleted"))]
#[case::only_forbidden(&["deleted_get=403"], Server::delete, None)]
#[case::merged(&["merged_listed=off"], merge, Some("merged"))]
fn inc_84_and_85_the_servers_own_word_decides_what_an_absence_means_and_a_ticket_may_come_back(
    #[case] knobs: &[&str],
    #[case] remove: fn(&mut Server, i64, chrono::DateTime<chrono::Utc>),
    #[case] reason: Option<&str>,
) {
    virtually(async {
        let desk = Desk::new(60, knobs);
        desk.good().await;
        let id = desk.ids()[9];
        desk.with(|server, now| remove(server, id, now));
        minutes(1).await;
        desk.full().await;
        match reason {
            Some(reason) => {
                assert_eq!((tombstones(&desk), absences(&desk)), (vec![format!("{id} {reason}")], vec![]));
                desk.assert_equal(reason);
            }
            None => {
                assert_eq!((tombstones(&desk), absences(&desk)), (vec![], vec![format!("{id} forbidden")]));
            }
        }
        desk.with(|server, now| {
            server.unmerge(id, now);
            server.restore(id, now);
        });
        minutes(1).await;
        desk.full().await;
        desk.assert_equal("it came back");
        assert_eq!(absences(&desk), [""; 0]);
        let last =
            desk.texts(&format!("SELECT op || ' ' || COALESCE(reason, '') FROM changes WHERE UID = {id}"));
        let expected = if reason.is_some() { "c returned" } else { "c " };
        assert!(last.iter().any(|it| it == expected), "{last:?}");
    });
}

fn merge(server: &mut Server, id: i64, now: chrono::DateTime<chrono::Utc>) {
    let into = server.ids()[0];
    server.merge(id, into, now);
}

/// Half of the tickets leave the agent's sight: nothing is deleted until a person says so, and then only what the server
/// itself calls gone. What it only forbids stays, and does not hold the brake again.
#[rstest]
fn inc_53_and_85_a_cut_in_the_permissions_trips_the_brake(#[values("403", "404")] hidden: &str) {
    virtually(async {
        let desk = Desk::new(100, &[&format!("hidden_get={hidden}")]);
        desk.good().await;
        let mark = desk.covered_until();
        let half: Vec<i64> = desk.ids().into_iter().step_by(2).collect();
        desk.with(|server, _| server.hide(&half));
        for _ in 0..2 {
            let report = full(&desk).await.unwrap();
            assert_eq!(report.outcome, RunOutcome::DeleteGuard { removals: 50, allowed: 20 });
            assert_eq!(tombstones(&desk), [""; 0]);
            let listed: Vec<_> = half.iter().map(|id| format!("{id} not_asked")).collect();
            assert_eq!(absences(&desk), listed);
            assert_eq!(desk.covered_until(), mark, "the mark is held");
        }
        let consent = halosync::sync::RunSettings { accept_deletes: true, ..desk.by_hand() };
        minutes(1).await;
        let report = desk.sync_until(consent, std::future::pending()).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::Complete);
        if hidden == "404" {
            assert_eq!(tombstones(&desk).len(), 50);
        } else {
            assert_eq!(tombstones(&desk), [""; 0]);
            let listed: Vec<_> = half.iter().map(|id| format!("{id} forbidden")).collect();
            assert_eq!(absences(&desk), listed);
        }
        desk.full().await;
        days(3).await;
        desk.full().await;
        desk.with(|server, _| server.unhide(&half));
        minutes(1).await;
        desk.full().await;
        desk.assert_equal("the permissions are back");
        assert_eq!(absences(&desk), [""; 0]);
    });
}

/// Tickets that were kept back and are gone now count like any that are gone at once.
#[test]
fn inc_86_there_is_one_brake_and_one_word_that_lifts_it() {
    virtually(async {
        let desk = Desk::new(400, &["hidden_get=403"]);
        desk.good().await;
        // Twenty each day are forbidden: never so many at once that it holds the brake.
        let ids = desk.ids();
        for day in 0..3 {
            desk.with(|server, _| server.hide(&ids[20 * day..20 * (day + 1)]));
            desk.full().await;
            days(1).await;
        }
        assert_eq!(absences(&desk).len(), 60);
        // Then all of them answer 404.
        desk.turn("hidden_get=404");
        days(30).await;
        let report = full(&desk).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::DeleteGuard { removals: 60, allowed: 20 });
        assert_eq!(tombstones(&desk), [""; 0]);
        let consent = halosync::sync::RunSettings { accept_deletes: true, ..desk.by_hand() };
        minutes(1).await;
        desk.sync_until(consent, std::future::pending()).await.unwrap();
        assert_eq!(tombstones(&desk).len(), 60);
        desk.assert_equal("INC-86");
    });
}

#[test]
fn inc_87_a_reader_sees_all_that_left_in_one_walk_or_none_of_it() {
    virtually(async {
        let desk = Desk::new(200, &[]);
        desk.good().await;
        let ids = desk.ids();
        desk.with(|server, now| ids.iter().step_by(20).for_each(|id| server.delete(*id, now)));
        desk.forget();
        let counts = Arc::new(Mutex::new(Vec::new()));
        for number in 1..30 {
            let (counts, database) = (Arc::clone(&counts), desk.database());
            desk.before_list(number, move |_, _| {
                let tickets = texts(&database, "SELECT CAST(COUNT(*) AS TEXT) FROM tickets");
                counts.lock().unwrap().extend(tickets);
            });
        }
        desk.full().await;
        let counts = counts.lock().unwrap().clone();
        assert!(20 < counts.len() && counts.iter().all(|count| count == "200"), "INC-87: {counts:?}");
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 190);
    });
}

/// Old closed tickets leave the list; those that the server has come back by the hundred, and only the others are asked
/// for alone.
/// A server that gives fewer rows than that needs more pages, and none of them is asked for alone either.
#[rstest]
fn three_hundred_absences_cost_three_requests_and_one_for_each_that_does_not_return(
    #[values((100, 3), (40, 9))] (cap, requests): (u32, usize),
) {
    virtually(async {
        let mut desk = Desk::new(1_000, &[&format!("page_cap={cap}")]);
        desk.settings.page_size = 100;
        desk.settings.delete_guard = 1.0;
        desk.good().await;
        let ids = desk.ids();
        desk.turn("plain_list=open_and_recent");
        let listed = desk.with(|server, _| server.ids());
        let unlisted: Vec<_> = ids.iter().filter(|id| listed.binary_search(id).is_err()).collect();
        // All but three hundred are listed again, and forty of these are really gone.
        desk.with(|server, now| {
            for id in &unlisted[300..] {
                server.edit(**id, Edit::Status(1), now);
            }
            for id in &unlisted[..40] {
                server.delete(**id, now);
            }
        });
        minutes(1).await;
        desk.forget();
        desk.full().await;
        let by_number = desk.asked_for("ticketids").len();
        assert!(by_number <= requests, "{by_number} requests by number, {requests} at most");
        assert_eq!(desk.singles(), 40, "single tickets");
        assert_eq!(tombstones(&desk).len(), 40);
    });
}

/// A ticket that is kept back is asked about after 1, 2, 4 … days, whatever full walks there are in between.
#[test]
fn a_ticket_that_is_kept_back_is_asked_about_less_and_less_often() {
    virtually(async {
        let desk = Desk::new(60, &["hidden_get=403"]);
        desk.good().await;
        let id = desk.ids()[3];
        desk.with(|server, _| server.hide(&[id]));
        let mut asked = Vec::new();
        for day in 0..70 {
            desk.forget();
            desk.full().await;
            if 0 < desk.singles() {
                asked.push(day);
            }
            days(1).await;
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 61]);
        assert_eq!(absences(&desk), [format!("{id} forbidden")]);
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 60);
    });
}

#[test]
fn one_absent_ticket_that_cannot_be_read_does_not_keep_the_others_from_being_judged() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.good().await;
        let ids = desk.ids();
        desk.with(|server, now| ids[10..13].iter().for_each(|id| server.delete(*id, now)));
        desk.inject("ticket@2..7:status=500");
        desk.full().await;
        assert_eq!(absences(&desk), [format!("{} unreadable", ids[11])]);
        assert_eq!(tombstones(&desk).len(), 2);
        desk.heal();
        days(1).await;
        desk.full().await;
        desk.assert_equal("readable again");
    });
}

/// Where the server shows single tickets badly today, the walk concludes nothing of them and is complete.
#[test]
fn absent_tickets_that_cannot_be_read_at_all_are_left_for_later() {
    virtually(async {
        let desk = Desk::new(200, &[]);
        desk.good().await;
        let ids = desk.ids();
        desk.with(|server, now| ids[..10].iter().for_each(|id| server.delete(*id, now)));
        desk.inject("ticket:status=500");
        desk.full().await;
        assert_eq!(tombstones(&desk), [""; 0]);
        let words = desk
            .texts("SELECT status || ' ' || COUNT(*) FROM unlisted_tickets GROUP BY status ORDER BY status");
        assert_eq!(words, ["not_asked 5", "unreadable 5"]);
        desk.heal();
        days(1).await;
        desk.full().await;
        assert_eq!(tombstones(&desk).len(), 10);
        desk.assert_equal("readable again");
    });
}

/// The server comes back from an old backup: tickets are as they were, some are gone, and numbers are given again.
#[test]
fn a_server_restored_from_a_backup_is_followed_back() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.with(|server, _| server.back_up());
        desk.good().await;
        minutes(60).await;
        let ids = desk.ids();
        desk.with(|server, now| {
            for id in &ids[..10] {
                server.edit(*id, Edit::Summary("after the backup".into()), now);
            }
            server.create(5, now);
        });
        desk.wait_and_follow().await;
        desk.assert_equal("before the restore");
        desk.with(|server, _| server.restore_backup());
        minutes(30).await;
        desk.with(|server, now| drop(server.create(2, now)));
        minutes(1).await;
        desk.full().await;
        desk.assert_equal("restored");
        assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE reason = 'went_back'"), 10);
        assert_eq!(tombstones(&desk).len(), 3, "three of the five new numbers are not given again");
    });
}
