//! Histories that once were thought to lose a ticket.

use halo_simulator::Edit;
use rstest::rstest;

use crate::desk::{Desk, follows, minutes, virtually};

const PAGE: usize = 10;

/// A first pass of 500 pages is stopped at page 250; before it goes on, 30 tickets leave and 60 come.
#[test]
fn a_first_pass_that_was_stopped_in_the_middle_goes_on_and_is_confirmed() {
    virtually(async {
        let mut desk = Desk::new(5_000, &["latency_ms=10"]);
        // The share of a page in a batch is as it is with pages of a hundred.
        desk.settings.batch_rows = 8 * PAGE;
        let ids = desk.ids();
        // Before page 1: three lists that are counted, and the last page.
        desk.stopped(desk.settings.clone(), 250 + 4).await;
        let first = desk.lists();
        let stored = desk.number("SELECT COUNT(*) FROM tickets");
        let (asked, batches) = (i64::try_from(249 * PAGE).unwrap(), 2 * desk.settings.batch_rows);
        let twice = asked - stored;
        assert!(
            twice <= i64::try_from(batches).unwrap(),
            "{twice} rows are asked for twice, two batches are {batches}"
        );
        desk.forget();
        desk.with(|server, now| {
            // Twenty of those that were received, ten of those that were not.
            let gone = (0..20).map(|place| place * 97).chain((0..10).map(|place| 2_700 + place * 211));
            gone.for_each(|place| server.delete(ids[place], now));
            server.create(60, now);
        });
        minutes(3).await;
        desk.good().await;
        desk.assert_nothing_lost("after the pass that went on");
        // Taken up again; and as some of those that were received have left since, read a second time at once.
        assert_eq!(
            desk.texts("SELECT resumed || outcome FROM scans ORDER BY scan_id"),
            ["1verified", "0confirmed"],
            "the walk was not taken up again, or not confirmed"
        );
        assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 20);
        desk.assert_equal("after the second full walk");

        // Twice its pages, and: the lists that are counted, the date filter, page 1 and the last one again, the search.
        let (requests, most) = (first + desk.lists(), (500 + 503 + batches / PAGE + 25) as u64);
        assert!(requests <= most, "{requests} list requests, and {most} at most");
        minutes(5).await;
        assert!(follows(&desk.good().await), "the pass after it did not follow");
    });
}

/// Between pages 1 and 2 of ten, in a first walk and in a later one.
#[rstest]
fn one_deletion_between_two_pages_hides_nothing(
    #[values(1, 4)] lanes: u32,
    #[values(false, true)] later: bool,
) {
    let read = |deleted: bool| {
        virtually(async {
            let mut desk = Desk::new(100, &["latency_ms=50"]);
            desk.settings.parallel_requests = lanes;
            if later {
                desk.good().await;
                minutes(60).await;
                desk.forget();
            }
            let id = desk.ids()[4];
            // Page 2 is asked for after page 1, the last one, and page 1 again; the first walk counts two lists more.
            let number = if later { 4 } else { 6 };
            if deleted {
                desk.before_list(number, move |server, now| server.delete(id, now));
            }
            desk.full().await;
            assert_eq!(desk.asked_for("page_no")[usize::try_from(number).unwrap() - 1], "2");
            desk.assert_nothing_lost("one deletion");
            let outcome = desk.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1").concat();
            assert_eq!(outcome, if later { "confirmed" } else { "verified" });
            desk.lists()
        })
    };
    let (without, with) = (read(false), read(true));
    assert!(with <= without + 15, "{with} list requests, and {without} without");
}

/// A ticket that was not due is edited and enters among the pages under way.
#[rstest]
fn an_enterer_between_parallel_pages_of_a_following_walk_hides_nothing(
    #[values(1, 4)] lanes: u32,
    #[values(0, 50, 149)] place: usize,
) {
    for number in [1, 2, 3, 5, 8, 11] {
        virtually(async {
            let mut desk = Desk::new(150, &["latency_ms=100"]);
            desk.settings.parallel_requests = lanes;
            desk.good().await;
            minutes(30).await;
            let ids = desk.ids();
            let entering = ids[place];
            desk.with(|server, now| {
                let due = ids.iter().filter(|id| **id != entering).take(100);
                due.for_each(|id| server.edit(*id, Edit::Touch, now));
            });
            minutes(1).await;
            desk.forget();
            desk.before_list(number, move |server, now| server.edit(entering, Edit::Agent(1), now));
            let what = format!("{entering} enters before list request {number} with {lanes} lanes");
            assert!(follows(&desk.good().await), "{what}: it did not follow");
            assert!(desk.lists() <= 33, "{what}: {} list requests for 11 pages", desk.lists());
            desk.wait_and_follow().await;
            desk.assert_equal(&what);
        });
    }
}
