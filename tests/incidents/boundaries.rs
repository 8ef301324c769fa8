//! Equal stamps, bounds, and stops among them (incidents 1 to 18).

use std::time::Duration;

use halo_simulator::Edit;
use halosync::watermark::ScanKind;
use rstest::rstest;

use crate::desk::{Desk, follows, minutes, virtually};

/// Changes tickets at one moment, so that they bear one stamp.
fn edit_at_once(desk: &Desk, ids: &[i64]) {
    desk.with(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
}

fn records_of(desk: &Desk, id: i64) -> i64 {
    desk.number(&format!("SELECT COUNT(*) FROM changes WHERE op = 'u' AND UID = {id}"))
}

#[test]
fn inc_01_and_16_a_row_with_the_stamp_of_the_last_one_read_comes_once() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        // No time passes in between: all bear one stamp.
        edit_at_once(&desk, &ids[..1]);
        desk.good().await;
        edit_at_once(&desk, &ids[1..2]);
        for pass in 1..=3 {
            desk.good().await;
            desk.assert_equal(&format!("INC-01: pass {pass}"));
            assert_eq!([records_of(&desk, ids[0]), records_of(&desk, ids[1])], [1, 1], "INC-16: pass {pass}");
            minutes(1).await;
        }
        let stamps = desk.texts("SELECT DISTINCT source_last_modified FROM changes WHERE op = 'u'");
        assert_eq!(stamps.len(), 1, "they were to bear one stamp: {stamps:?}");
    });
}

#[test]
fn inc_02_nothing_is_lost_where_all_tickets_share_one_date() {
    virtually(async {
        let desk = Desk::new(150, &[]);
        edit_at_once(&desk, &desk.ids());
        for pass in 1..=3 {
            desk.good().await;
            desk.assert_equal(&format!("INC-02: pass {pass}"));
            minutes(15).await;
            desk.with(|server, now| server.create(3, now));
        }
        let changes = desk.changes();
        desk.good().await;
        assert_eq!(desk.changes() - changes, 3, "INC-02: only the last three are new");
    });
}

/// Visible so long after its own stamp: three seconds make it equal to the newest seen, ten minutes are the overlap.
#[rstest]
fn inc_03_10_34_and_36_a_change_that_becomes_visible_late_is_brought_within_the_overlap(
    #[values(3, 5, 30, 90, 300, 590)] seconds: i64,
) {
    virtually(async {
        let desk = Desk::new(100, &["commit_delay_ms=0"]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        // The newest arrives first.
        desk.with(|server, now| server.edit(ids[3], Edit::Touch, now));
        tokio::time::advance(Duration::from_secs(2)).await;
        desk.good().await;
        let newest = desk.mark().unwrap().newest_seen;
        tokio::time::advance(Duration::from_secs(1)).await;
        desk.turn(&format!("commit_delay_ms={}", seconds * 1_000));
        desk.with(|server, now| server.edit(ids[4], Edit::Touch, now));
        desk.good().await;
        desk.assert_equal(&format!("INC-03, INC-10, INC-34, INC-36: visible {seconds} s late"));
        let stamps = desk.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {}", ids[4]));
        assert!(
            stamps[0] <= newest.unwrap().to_string(),
            "the late one was to be dated before the newest seen"
        );
    });
}

#[test]
fn inc_04_the_mark_is_the_servers_date_at_the_start_less_what_it_may_be_off_by() {
    virtually(async {
        let desk = Desk::new(100, &["latency_ms=1700"]);
        for pass in 1..=3 {
            // While it reads, tickets are changed that bear later stamps.
            desk.forget();
            desk.before_list(2, |server, now| drop(server.edit_some(3, now)));
            let began = desk.world.now();
            desk.good().await;
            let covered = desk.covered_until().unwrap().instant();
            // A token first, then the first list.
            assert!(
                covered <= began + chrono::TimeDelta::seconds(6),
                "INC-04: pass {pass}: {covered} is too late"
            );
            minutes(5).await;
            assert!(covered < began + chrono::TimeDelta::seconds(6));
        }
        desk.good().await;
        desk.assert_equal("INC-04");
    });
}

#[test]
fn inc_05_a_row_exactly_at_the_bound_is_asked_for() {
    for filter in ["inclusive", "exclusive"] {
        virtually(async {
            let mut desk = Desk::new(100, &["commit_delay_ms=1000", &format!("date_filter={filter}")]);
            desk.settings.schedule.overlap = chrono::TimeDelta::zero();
            desk.good().await;
            minutes(30).await;
            let ids = desk.ids();
            edit_at_once(&desk, &ids[..1]);
            desk.good().await;
            // The mark is a second before the pass, and the stamp of this change a second before it too.
            edit_at_once(&desk, &ids[1..2]);
            desk.good().await;
            desk.assert_equal(&format!("INC-05: {filter}"));
            let stamp =
                desk.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {}", ids[1]));
            assert_eq!(stamp[0], desk.covered_until().unwrap().to_string(), "the stamp was to be the bound");
        });
    }
}

/// Stopped before each request of a following walk over rows of one stamp: the mark stays, and all come later.
#[test]
fn inc_06_08_and_17_a_walk_that_is_stopped_among_equal_stamps_begins_where_it_began() {
    for number in 1..=6 {
        virtually(async {
            let mut desk = Desk::new(150, &[]);
            (desk.settings.parallel_requests, desk.settings.batch_rows) = (1, 10);
            desk.good().await;
            minutes(30).await;
            edit_at_once(&desk, &desk.ids()[20..75]);
            minutes(1).await;
            let before = desk.mark();
            desk.forget();
            desk.stopped(desk.settings.clone(), number).await;
            let what = format!("INC-06, INC-08, INC-17: stopped before list request {number}");
            assert_eq!(desk.mark(), before, "{what}: the watermark moved");
            let from = desk.asked_for("lastupdatefromdate");
            desk.forget();
            desk.good().await;
            assert_eq!(desk.asked_for("lastupdatefromdate")[..1], from[..1], "{what}: it began elsewhere");
            desk.assert_equal(&what);
            assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 55, "{what}");
        });
    }
}

#[test]
fn inc_07_and_41_after_a_pass_that_failed_the_same_stretch_is_asked_for_again() {
    virtually(async {
        let desk = Desk::new(150, &[]);
        desk.good().await;
        minutes(30).await;
        edit_at_once(&desk, &desk.ids()[20..75]);
        minutes(1).await;
        let before = desk.mark();
        desk.forget();
        desk.inject("list@page4:status=503");
        assert!(desk.sync().await.is_err(), "INC-41: page 4 is never answered");
        assert_eq!(desk.mark(), before, "INC-41: a pass that failed moved the watermark");
        desk.heal();
        minutes(60).await;
        desk.good().await;
        let mut from = desk.asked_for("lastupdatefromdate");
        from.dedup();
        assert_eq!(from.len(), 1, "INC-07: the bound moved between the passes: {from:?}");
        desk.assert_equal("INC-07, INC-41");
    });
}

#[test]
fn inc_09_rows_of_a_second_that_is_being_read_are_not_lost() {
    for number in 1..=6 {
        virtually(async {
            let desk = Desk::new(150, &["date_precision=second", "commit_delay_ms=0", "latency_ms=100"]);
            desk.good().await;
            minutes(30).await;
            let ids = desk.ids();
            edit_at_once(&desk, &ids[..25]);
            desk.forget();
            let late = ids[140];
            desk.before_list(number, move |server, now| server.edit(late, Edit::Touch, now));
            desk.good().await;
            desk.good().await;
            desk.assert_equal(&format!("INC-09: changed before list request {number}"));
        });
    }
}

/// More tickets of one stamp than a page, ten pages, and all there are.
#[rstest]
fn inc_12_13_and_14_a_group_of_one_stamp_that_is_larger_than_a_page_comes_whole(
    #[values(11, 100, 300)] group: usize,
    #[values(0, 20)] wait: u64,
) {
    virtually(async {
        let desk = Desk::new(300, &[]);
        desk.good().await;
        minutes(30).await;
        edit_at_once(&desk, &desk.ids()[..group]);
        minutes(wait).await;
        desk.forget();
        assert!(follows(&desk.good().await));
        desk.assert_equal(&format!("INC-12, INC-13, INC-14: {group} tickets of one stamp"));
        let most = 2 * (group as u64 / 10 + 2);
        assert!(desk.lists() <= most, "INC-12: {} list requests for {group} tickets", desk.lists());
    });
}

#[test]
fn inc_15_a_bulk_edit_is_not_read_again_once_the_overlap_is_past() {
    virtually(async {
        let desk = Desk::new(300, &[]);
        desk.good().await;
        minutes(30).await;
        edit_at_once(&desk, &desk.ids()[..200]);
        minutes(11).await;
        desk.forget();
        desk.good().await;
        assert!(20 <= desk.lists(), "the first pass after it reads all of it");
        for pass in 2..=5 {
            minutes(5).await;
            desk.forget();
            assert!(follows(&desk.good().await));
            assert_eq!(desk.lists(), 1, "INC-15: list requests of pass {pass} after a bulk edit");
        }
        desk.assert_equal("INC-15");
    });
}

#[test]
fn inc_18_a_page_that_begins_with_an_old_row_is_kept_whole() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        edit_at_once(&desk, &ids[..1]);
        minutes(1).await;
        desk.good().await;
        minutes(30).await;
        edit_at_once(&desk, &ids[1..8]);
        minutes(1).await;
        desk.forget();
        let report = desk.good().await;
        let ScanKind::Incremental { from } = report.scan_kind else { panic!("it did not follow") };
        let known = desk.texts("SELECT source_last_modified FROM changes WHERE op = 'u' LIMIT 1").concat();
        assert!(from.to_string() <= known, "the first row of the page was to be the known one");
        assert_eq!((report.run_stats.changes.updated, desk.lists()), (7, 1), "INC-18");
        desk.assert_equal("INC-18");
    });
}
