//! What walks cost in list requests.

use std::sync::Arc;
use std::time::Duration;

use halo_simulator::Edit;

use crate::desk::{Desk, follows, minutes, virtually};

#[test]
fn a_quiet_following_walk_costs_one_list_request() {
    virtually(async {
        let desk = Desk::new(250, &[]);
        desk.good().await;
        for pass in 1..=3 {
            minutes(5).await;
            desk.forget();
            assert!(follows(&desk.good().await), "pass {pass} did not follow");
            assert_eq!(desk.lists(), 1, "list requests of quiet pass {pass}");
        }
    });
}

#[test]
fn changed_tickets_cost_their_pages_and_one_more() {
    for changed in [1, 9, 10, 11, 19, 20, 99, 100, 101, 199, 200] {
        virtually(async {
            let desk = Desk::new(250, &[]);
            desk.good().await;
            minutes(30).await;
            let ids = desk.ids();
            desk.with(|server, now| {
                for id in &ids[50..50 + changed] {
                    server.edit(*id, Edit::Touch, now);
                }
            });
            minutes(1).await;
            desk.forget();
            assert!(follows(&desk.good().await), "{changed} changed tickets");
            let most = changed.div_ceil(10) as u64 + 1;
            assert!(desk.lists() <= most, "{} list requests for {changed} changed tickets", desk.lists());
            desk.assert_equal(&format!("{changed} changed tickets"));
        });
    }
}

#[test]
fn a_full_walk_costs_its_pages_and_five_more() {
    // Page sizes asked for and honoured, and tickets: multiples of the page and not.
    for (asked, cap, tickets) in [
        (10, 1_000, 100),
        (10, 1_000, 105),
        (100, 100, 1_000),
        (100, 100, 999),
        (100, 40, 400),
        (100, 40, 395),
    ] {
        virtually(async {
            let what = format!("{tickets} tickets, {asked} a page asked for and {cap} the most");
            let mut desk = Desk::new(tickets, &[&format!("page_cap={cap}")]);
            desk.settings.page_size = asked;
            let most = u64::from(tickets.div_ceil(asked.min(cap))) + 5;
            desk.good().await;
            assert!(
                desk.lists() <= most,
                "{what}: {} list requests of the first, {most} at most",
                desk.lists()
            );
            minutes(60).await;
            desk.forget();
            desk.full().await;
            assert!(
                desk.lists() <= most,
                "{what}: {} list requests of a later one, {most} at most",
                desk.lists()
            );
            desk.assert_equal(&what);
        });
    }
}

#[test]
fn a_busy_following_walk_costs_three_times_its_pages_at_most() {
    // A change before every second page, of a ticket that was due and of one that was not.
    for lanes in [1, 4] {
        virtually(async {
            let mut desk = Desk::new(1_000, &["latency_ms=200"]);
            desk.settings.parallel_requests = lanes;
            desk.good().await;
            minutes(30).await;
            desk.with(|server, now| drop(server.edit_some(300, now)));
            minutes(1).await;
            desk.forget();
            for number in (1..100).step_by(2) {
                desk.before_list(number, |server, now| drop(server.edit_some(1, now)));
            }
            desk.good().await;
            let pages = 31_u64;
            let lists = desk.lists();
            assert!(lists <= 3 * pages, "{lanes} lanes: {lists} list requests for {pages} pages");
            desk.wait_and_follow().await;
            desk.assert_equal(&format!("{lanes} lanes"));
        });
    }
}

/// 2,000 due rows, an edit every two seconds, a page a second.
#[test]
fn a_following_walk_is_not_starved_by_an_edit_every_two_seconds() {
    virtually(async {
        let mut desk = Desk::new(3_000, &["latency_ms=1000"]);
        (desk.settings.page_size, desk.settings.parallel_requests) = (100, 1);
        desk.good().await;
        minutes(30).await;
        let due = desk.with(|server, now| server.edit_some(2_000, now));
        minutes(1).await;
        desk.forget();
        let world = Arc::clone(&desk.world);
        let people = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                world.with(|server, now| drop(server.edit_some(1, now)));
            }
        });
        assert!(follows(&desk.good().await), "it did not follow");
        people.abort();
        let (pages, lists) = (due.len().div_ceil(100) as u64 + 1, desk.lists());
        assert!(lists <= 3 * pages, "{lists} list requests for {pages} pages");
        desk.wait_and_follow().await;
        desk.assert_equal("an edit every two seconds");
    });
}

/// One deletion before each request of a walk of ten pages, in turn of a ticket of the first page and of the middle.
#[test]
fn one_deletion_in_a_full_walk_costs_fifteen_requests_at_most() {
    for (later, lanes) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
        let cost = |deletion: Option<(u64, usize)>| {
            virtually(async {
                let what =
                    format!("later: {later}, {lanes} lanes, deleted before request and where: {deletion:?}");
                let mut desk = Desk::new(100, &[]);
                desk.settings.parallel_requests = lanes;
                if later {
                    desk.good().await;
                    minutes(60).await;
                    desk.forget();
                }
                let ids = desk.ids();
                if let Some((number, place)) = deletion {
                    let id = ids[place];
                    desk.before_list(number, move |server, now| server.delete(id, now));
                }
                desk.full().await;
                let outcome = desk.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1").concat();
                assert!(["verified", "confirmed"].contains(&&*outcome), "{what}: the walk is {outcome}");
                desk.assert_nothing_lost(&what);
                (desk.lists(), what)
            })
        };
        let (still, _) = cost(None);
        for number in 1..=still {
            let place = if (number + u64::from(lanes)).is_multiple_of(2) { 3 } else { 55 };
            let (lists, what) = cost(Some((number, place)));
            assert!(lists <= still + 15, "{what}: {lists} list requests, and {still} without");
        }
    }
}
