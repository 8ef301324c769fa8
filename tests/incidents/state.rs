//! State ahead of the data or lost, and tickets whose stamp is missing or says nothing (incidents 56 to 80).

use std::time::Duration;

use halo_simulator::{Application, Edit};
use halosync::sync::RunOutcome;
use rstest::rstest;
use url::Url;

use crate::desk::{Desk, follows, minutes, virtually};

fn deletions(desk: &Desk) -> i64 {
    desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'")
}

/// Stopped before each of its requests, a pass leaves the mark, and the next one brings everything, once.
#[rstest]
fn inc_42_56_62_and_65_a_pass_that_ends_early_leaves_the_mark_behind_the_data(
    #[values("first", "incremental", "full")] kind: &str,
) {
    for number in 1..=14 {
        virtually(async {
            let mut desk = Desk::new(100, &["latency_ms=10"]);
            desk.settings.batch_rows = 10;
            if kind != "first" {
                desk.good().await;
                minutes(30).await;
                desk.with(|server, now| server.edit_some(65, now));
                minutes(1).await;
                desk.forget();
            }
            let settings = if kind == "full" { desk.by_hand() } else { desk.settings.clone() };
            let before = desk.covered_until();
            let what = format!("INC-42, INC-56, INC-62: {kind} pass, stopped before list request {number}");
            let least = match kind {
                "first" => 14,
                "full" => 11,
                _ => 7,
            };
            if least < number {
                return;
            }
            desk.stopped(settings.clone(), number).await;
            assert_eq!(desk.covered_until(), before, "{what}: the mark moved");
            minutes(1).await;
            let ended = desk.sync_until(settings, std::future::pending()).await.unwrap();
            assert_eq!(ended.outcome, RunOutcome::Complete, "{what}");
            desk.assert_equal(&what);
            let records = desk.changes();
            let changed = if kind == "first" { 100 } else { 165 };
            assert_eq!(records, changed, "INC-65: {what}: rows were recorded twice");
        });
    }
}

#[test]
fn inc_43_and_63_a_list_that_is_forbidden_changes_nothing() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(30).await;
        let (mark, changes) = (desk.mark(), desk.changes());
        desk.with(|server, _| server.knobs().application = Application::User);
        for settings in [desk.settings.clone(), desk.by_hand()] {
            assert!(
                desk.sync_until(settings, std::future::pending()).await.is_err(),
                "INC-43: 403 is no failure"
            );
            assert_eq!((desk.mark(), desk.changes()), (mark.clone(), changes), "INC-43, INC-63");
        }
        desk.with(|server, now| {
            server.knobs().application = Application::Service;
            server.edit_some(5, now);
        });
        minutes(1).await;
        desk.good().await;
        desk.assert_equal("INC-43");
    });
}

/// The list comes in another order than by id: there is no place to go on from, and the mark waits for the end.
#[rstest]
fn inc_59_60_and_61_a_walk_in_another_order_is_not_taken_up_in_the_middle(#[values(6, 10, 13)] number: u64) {
    virtually(async {
        let mut desk = Desk::new(100, &["order_by_id=ignored", "latency_ms=10"]);
        desk.settings.batch_rows = 10;
        desk.stopped(desk.settings.clone(), number).await;
        let what = format!("INC-59, INC-60, INC-61: stopped before list request {number}");
        assert_eq!(desk.covered_until(), None, "{what}: the mark moved");
        minutes(1).await;
        desk.good().await;
        desk.assert_equal(&what);
        assert_eq!(desk.number("SELECT MAX(resumed) FROM scans"), 0, "{what}: it was taken up");
    });
}

#[test]
fn inc_64_and_69_a_full_walk_that_is_taken_up_deletes_nothing_that_it_saw_before() {
    virtually(async {
        let mut desk = Desk::new(300, &["latency_ms=10"]);
        desk.settings.batch_rows = 30;
        desk.good().await;
        minutes(60).await;
        desk.forget();
        desk.stopped(desk.by_hand(), 22).await;
        let gone = desk.ids()[290];
        desk.with(|server, now| server.delete(gone, now));
        minutes(5).await;
        desk.forget();
        desk.full().await;
        assert_eq!(
            desk.texts("SELECT resumed || kind FROM scans"),
            ["0full", "1full", "0incremental"],
            "INC-64: it began anew, or what changed since was not asked for"
        );
        assert!(desk.lists() < 30, "INC-64: {} list requests for the rest of 30 pages", desk.lists());
        assert_eq!(
            desk.texts("SELECT UID || op FROM changes WHERE op <> 'c'"),
            [format!("{gone}d")],
            "INC-69"
        );
        desk.assert_equal("INC-69");
    });
}

#[test]
fn inc_66_and_77_a_full_walk_over_unchanged_tickets_writes_no_row() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        let changes = desk.changes();
        for _ in 0..3 {
            // The age of every ticket has moved.
            minutes(24 * 60).await;
            let report = desk.full().await;
            assert_eq!(
                (
                    report.run_stats.changes.created,
                    report.run_stats.changes.updated,
                    report.run_stats.changes.deleted,
                ),
                (0, 0, 0),
                "INC-66"
            );
            assert_eq!(desk.changes(), changes, "INC-77");
        }
    });
}

/// Answers that arrive in any order, under load.
#[rstest]
fn inc_68_lanes_that_end_in_any_order_leave_the_union(#[values(2, 8, 32)] lanes: u32) {
    virtually(async {
        let mut desk = Desk::new(300, &["latency_ms=50"]);
        (desk.settings.parallel_requests, desk.settings.batch_rows) = (lanes, 20);
        desk.inject("list@chance40:delay=700");
        desk.inject("list@chance20:slow=3000");
        desk.good().await;
        desk.assert_equal(&format!("INC-68: {lanes} lanes"));
        assert_eq!(desk.changes(), 300, "INC-68: {lanes} lanes");
    });
}

#[rstest]
fn inc_72_and_73_tickets_without_a_stamp_are_here_and_kept_up_by_full_walks(
    #[values(50, 300, 1_000)] share: u32,
) {
    virtually(async {
        let desk = Desk::new(100, &[&format!("undated={share}")]);
        desk.good().await;
        let what = format!("INC-72, INC-73: {share} in a thousand have no stamp");
        desk.assert_equal(&what);
        let undated = desk.number("SELECT COUNT(*) FROM tickets WHERE SOURCE_LAST_MODIFIED IS NULL");
        assert!(0 < undated, "{what}: there were to be some");
        minutes(30).await;
        desk.with(|server, now| {
            server.create(3, now);
            server.rename_client(14, "Copperline Ltd");
        });
        minutes(1).await;
        desk.good().await;
        desk.full().await;
        desk.assert_equal(&format!("{what}: audited"));
    });
}

fn by_opening(url: &mut Url) {
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let mut query = url.query_pairs_mut();
    query.clear();
    for (name, value) in &pairs {
        if name == "lastupdatefromdate" {
            query.append_pair("datesearch", "dateoccured").append_pair("startdate", value);
        } else {
            query.append_pair(name, value);
        }
    }
}

/// A server whose date filter looks at the opening of a ticket and not at its change.
#[test]
fn inc_74_and_76_a_filter_of_another_column_is_not_relied_on() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        // The newest change is of an old ticket.
        let ids = desk.ids();
        desk.with(|server, now| server.edit(ids[0], Edit::Touch, now));
        minutes(1).await;
        desk.divert(by_opening);
        desk.good().await;
        assert_eq!(desk.verdict("date_filter"), "unknown", "INC-74");
        for pass in 1..=2 {
            minutes(30).await;
            let some = &ids[5 * pass..5 * pass + 5];
            desk.with(|server, now| some.iter().for_each(|id| server.edit(*id, Edit::Agent(1), now)));
            minutes(1).await;
            assert!(!follows(&desk.good().await), "INC-74, INC-76: pass {pass} relied on the filter");
            desk.assert_equal(&format!("INC-74, INC-76: pass {pass}"));
        }
    });
}

#[test]
fn inc_75_what_moves_no_stamp_is_brought_by_the_next_full_walk() {
    virtually(async {
        let mut desk = Desk::new(100, &["sla_stamps=off"]);
        desk.settings.schedule.full_every = Some(Duration::from_hours(24));
        desk.good().await;
        minutes(60).await;
        let ids = desk.ids();
        desk.with(|server, now| {
            ids[..10].iter().for_each(|id| server.recount_sla(*id, now));
            server.rename_client(14, "Copperline Ltd");
        });
        assert!(follows(&desk.good().await));
        minutes(24 * 60).await;
        assert!(!follows(&desk.good().await), "INC-75: no full walk was due after a day");
        desk.assert_equal("INC-75");
    });
}

/// The list stops to show old closed tickets, few or many of them; the server has them all.
#[rstest]
fn inc_78_tickets_that_vanish_from_the_list_alone_stay_here(#[values(10, 200)] tickets: u32) {
    virtually(async {
        let desk = Desk::new(tickets, &["hidden_get=403"]);
        desk.good().await;
        minutes(30).await;
        desk.turn("plain_list=open_and_recent");
        let report = desk.sync_until(desk.by_hand(), std::future::pending()).await.unwrap();
        assert_eq!(deletions(&desk), 0, "INC-78: {:?}", report.outcome);
        desk.assert_equal(&format!("INC-78: {tickets} tickets"));
        // Few are asked for by number, and are there; many are too many to ask for.
        let listed = desk.number("SELECT COUNT(*) FROM unlisted_tickets");
        assert_eq!(
            0 < listed,
            report.outcome != RunOutcome::Complete,
            "INC-78: {listed} absences: {:?}",
            report.outcome
        );
        desk.turn("plain_list=all");
        minutes(1).await;
        desk.full().await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM unlisted_tickets"), 0, "INC-78: they are listed again");
    });
}

#[rstest]
fn inc_79_a_ticket_that_changes_its_type_leaves_as_out_of_scope(
    #[values("honored", "ignored")] filter: &str,
) {
    virtually(async {
        let mut desk = Desk::new(100, &[&format!("type_filter={filter}")]);
        desk.settings.ticket_types = vec!["Incident".to_owned()];
        let ids = desk.ids();
        desk.with(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::TicketType(1), now)));
        minutes(60).await;
        desk.good().await;
        minutes(30).await;
        desk.with(|server, now| server.edit(ids[5], Edit::TicketType(3), now));
        minutes(1).await;
        desk.good().await;
        desk.full().await;
        let left = desk.texts("SELECT UID || ' ' || reason FROM changes WHERE op = 'd'");
        assert_eq!(left, [format!("{} out_of_scope", ids[5])], "INC-79: type filter {filter}");
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 99, "INC-79: type filter {filter}");
    });
}

#[test]
fn inc_80_a_scope_that_becomes_wider_is_noticed_and_filled() {
    virtually(async {
        let mut desk = Desk::new(150, &[]);
        desk.settings.ticket_types = vec!["Incident".to_owned()];
        desk.good().await;
        let few = desk.number("SELECT COUNT(*) FROM tickets");
        assert!((1..150).contains(&few), "{few} incidents");
        minutes(30).await;
        desk.settings.ticket_types.clear();
        assert!(!follows(&desk.good().await), "INC-80: it followed");
        desk.assert_equal("INC-80");
        let said = desk.number("SELECT COUNT(*) FROM watermark_journal WHERE reason = 'scope_changed'");
        assert_eq!(said, 1, "INC-80: nothing is said of it");
    });
}
