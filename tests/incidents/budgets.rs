//! How many list requests scans make.

use std::sync::Arc;
use std::time::Duration;

use halo_simulator::{ApiEndpoint, Edit};
use halosync::reference::{REFERENCE_TABLES, Selection};
use halosync::watermark::ScanSchedule;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

#[test]
fn quiet_incremental_scan_costs_one_list_request() {
    with_paused_time(async {
        let env = VirtualEnv::new(250, &[]);
        env.run_ok().await;
        for run in 1..=3 {
            advance_minutes(5).await;
            env.reset_request_log();
            assert!(is_incremental(&env.run_ok().await), "run {run} was not incremental");
            assert_eq!(env.list_request_count(), 1, "list requests of quiet run {run}");
        }
    });
}

#[test]
fn incremental_scan_costs_one_request_more_than_its_pages() {
    for changed in [1, 9, 10, 11, 19, 20, 99, 100, 101, 199, 200] {
        with_paused_time(async {
            let env = VirtualEnv::new(450, &[]);
            env.run_ok().await;
            advance_minutes(30).await;
            let ids = env.server_ids();
            env.with_server(|server, now| {
                for id in &ids[50..50 + changed] {
                    server.edit(*id, Edit::Touch, now);
                }
            });
            advance_minutes(1).await;
            env.reset_request_log();
            assert!(is_incremental(&env.run_ok().await), "{changed} changed tickets");
            let most = changed.div_ceil(10) as u64 + 1;
            assert!(
                env.list_request_count() <= most,
                "{} list requests for {changed} changed tickets",
                env.list_request_count()
            );
            env.assert_matches_server(&format!("{changed} changed tickets"));
        });
    }
}

#[test]
fn full_scan_costs_at_most_five_requests_more_than_its_pages() {
    // The requested page size, the largest that the server gives, and the number of tickets.
    for (asked, cap, tickets) in [
        (10, 1_000, 100),
        (10, 1_000, 105),
        (100, 100, 1_000),
        (100, 100, 999),
        (100, 40, 400),
        (100, 40, 395),
    ] {
        with_paused_time(async {
            let context = format!("{tickets} tickets, page size {asked}, page cap {cap}");
            let mut env = VirtualEnv::new(tickets, &[&format!("page_cap={cap}")]);
            env.settings.page_size = asked;
            let most = u64::from(tickets.div_ceil(asked.min(cap))) + 5;
            env.run_ok().await;
            assert!(
                env.list_request_count() <= most,
                "{context}: {} list requests of the first, {most} at most",
                env.list_request_count()
            );
            advance_minutes(60).await;
            env.reset_request_log();
            env.run_full_ok().await;
            assert!(
                env.list_request_count() <= most,
                "{context}: {} list requests of a later one, {most} at most",
                env.list_request_count()
            );
            env.assert_matches_server(&context);
        });
    }
}

#[test]
fn busy_incremental_scan_costs_at_most_three_times_its_pages() {
    for parallel in [1, 4] {
        with_paused_time(async {
            let mut env = VirtualEnv::new(1_000, &["latency_ms=200"]);
            env.settings.parallel_requests = parallel;
            env.run_ok().await;
            advance_minutes(30).await;
            env.with_server(|server, now| drop(server.edit_some(300, now)));
            advance_minutes(1).await;
            env.reset_request_log();
            for number in (1..100).step_by(2) {
                env.before_list_request(number, |server, now| drop(server.edit_some(1, now)));
            }
            env.run_ok().await;
            let pages = 31_u64;
            let lists = env.list_request_count();
            assert!(
                lists <= 3 * pages,
                "{parallel} parallel requests: {lists} list requests for {pages} pages"
            );
            env.run_incremental_after_a_minute().await;
            env.assert_matches_server(&format!("{parallel} parallel requests"));
        });
    }
}

/// 2,000 changed tickets, an edit every two seconds, and one page per second.
#[test]
fn incremental_scan_ends_despite_an_edit_every_two_seconds() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(4_500, &["latency_ms=1000"]);
        (env.settings.page_size, env.settings.parallel_requests) = (100, 1);
        env.run_ok().await;
        advance_minutes(30).await;
        let due = env.with_server(|server, now| server.edit_some(2_000, now));
        advance_minutes(1).await;
        env.reset_request_log();
        let server = Arc::clone(&env.server);
        let editor = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                server.with(|server, now| drop(server.edit_some(1, now)));
            }
        });
        assert!(is_incremental(&env.run_ok().await), "it was not incremental");
        editor.abort();
        let (pages, lists) = (due.len().div_ceil(100) as u64 + 1, env.list_request_count());
        assert!(lists <= 3 * pages, "{lists} list requests for {pages} pages");
        env.run_incremental_after_a_minute().await;
        env.assert_matches_server("an edit every two seconds");
    });
}

/// One deletion before each request of a scan of ten pages: of a ticket on the first page or in the middle, in turn.
#[test]
fn one_deletion_costs_a_full_scan_at_most_fifteen_requests() {
    for (later, parallel) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
        let cost = |deletion: Option<(u64, usize)>| {
            with_paused_time(async {
                let context = format!(
                    "later: {later}, {parallel} parallel requests, deletion before request and position: {deletion:?}"
                );
                let mut env = VirtualEnv::new(100, &[]);
                env.settings.parallel_requests = parallel;
                if later {
                    env.run_ok().await;
                    advance_minutes(60).await;
                    env.reset_request_log();
                }
                let ids = env.server_ids();
                if let Some((number, position)) = deletion {
                    let id = ids[position];
                    env.before_list_request(number, move |server, now| server.delete(id, now));
                }
                env.run_full_ok().await;
                let outcome = env.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1").concat();
                assert!(["verified", "confirmed"].contains(&&*outcome), "{context}: the scan is {outcome}");
                env.assert_nothing_missing(&context);
                (env.list_request_count(), context)
            })
        };
        let (still, _) = cost(None);
        for number in 1..=still {
            let position = if (number + u64::from(parallel)).is_multiple_of(2) { 3 } else { 55 };
            let (lists, context) = cost(Some((number, position)));
            assert!(lists <= still + 15, "{context}: {lists} list requests, and {still} without");
        }
    }
}

/// With the default tables, a run every five minutes and a full scan a day. Of the second kind of server every ticket has
/// an agent that no list shows.
#[test]
fn names_cost_at_most_six_requests_on_a_quiet_day() {
    const NAMES: [ApiEndpoint; 6] = [
        ApiEndpoint::Status,
        ApiEndpoint::TicketType,
        ApiEndpoint::Agent,
        ApiEndpoint::Team,
        ApiEndpoint::Priority,
        ApiEndpoint::Sla,
    ];
    for knobs in [&["latency_ms=200"][..], &["latency_ms=200", "lost_agents=1000"]] {
        with_paused_time(async {
            let mut env = VirtualEnv::new(30, knobs);
            env.settings.reference =
                REFERENCE_TABLES.iter().filter(|table| table.selection == Selection::Default).collect();
            env.settings.schedule =
                ScanSchedule { full_every: Some(Duration::from_hours(24)), ..env.settings.schedule };
            env.run_ok().await;
            for day in 0..=4 {
                env.reset_request_log();
                for _ in 0..24 * 12 {
                    advance_minutes(5).await;
                    env.run_ok().await;
                }
                let counts = env.with_server(|server, _| NAMES.map(|name| server.log().count(name)));
                let requests: u64 = counts.iter().sum();
                // On the first day, numbers without a name are looked up once.
                let most = if day == 0 { 7 } else { 6 };
                assert!(
                    requests <= most,
                    "{knobs:?}: {requests} requests for names on day {day}: {counts:?}"
                );
                assert!(0 < requests, "{knobs:?}: no requests for names on day {day}");
            }
        });
    }
}
