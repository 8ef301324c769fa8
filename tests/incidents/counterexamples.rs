//! Sequences of events that were once suspected to lose a ticket.

use halo_simulator::Edit;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

const PAGE: usize = 10;

/// An initial load of 500 pages is interrupted at page 250; before it resumes, 30 tickets are deleted and 60 created.
#[test]
fn interrupted_initial_load_resumes_cheaply_and_is_confirmed_within_a_day() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(5_000, &["latency_ms=10"]);
        // A batch holds as many pages as with the default page size.
        env.settings.batch_rows = 8 * PAGE;
        let ids = env.server_ids();
        // Four list requests precede page 1: three counts and the last page.
        env.run_interrupted_at(env.settings.clone(), 250 + 4).await;
        let first = env.list_request_count();
        let stored = env.number("SELECT COUNT(*) FROM tickets");
        let (asked, batches) = (i64::try_from(249 * PAGE).unwrap(), 2 * env.settings.batch_rows);
        let twice = asked - stored;
        assert!(
            twice <= i64::try_from(batches).unwrap(),
            "{twice} rows were requested twice; two batches are {batches}"
        );
        env.reset_request_log();
        env.with_server(|server, now| {
            // Twenty tickets that were received and ten that were not.
            let gone = (0..20).map(|number| number * 97).chain((0..10).map(|number| 2_700 + number * 211));
            gone.for_each(|position| server.delete(ids[position], now));
            server.create(60, now);
        });
        advance_minutes(3).await;
        env.run_ok().await;
        env.assert_nothing_missing("after the resumed run");
        // The scan proved what is behind its cursor; an incremental one brought what was edited before it.
        assert_eq!(
            env.texts("SELECT resumed || kind || ' ' || outcome FROM scans ORDER BY scan_id"),
            ["1full verified", "0incremental verified"],
            "the scan was not resumed"
        );

        // The pages, the counts and the date filter probe, fifteen for the interruption, and as many for the search and the
        // window of what changed meanwhile.
        let (requests, most) = (first + env.list_request_count(), (503 + 5 + 15 + 20) as u64);
        assert!(requests <= most, "{requests} list requests, and {most} at most");
        advance_minutes(5).await;
        assert!(is_incremental(&env.run_ok().await), "the next run was not incremental");
        // What was deleted before the cursor, the next full scan finds, within a day also where none are scheduled.
        env.settings.schedule.full_every = None;
        advance_minutes(24 * 60).await;
        env.run_ok().await;
        assert_eq!(env.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1"), ["confirmed"]);
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 20);
        env.assert_matches_server("after the second full scan");
    });
}

/// A resumed scan knows the ids that the run before it received; they are not rows of this run.
#[test]
fn interrupted_run_counts_only_the_rows_that_it_received() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1_000, &["latency_ms=10"]);
        env.settings.batch_rows = 3 * PAGE;
        for list_requests in [50, 30] {
            env.reset_request_log();
            env.run_interrupted_at(env.settings.clone(), list_requests).await;
            let received = env.number("SELECT received FROM runs ORDER BY run_id DESC LIMIT 1");
            let most = env.list_request_count() * PAGE as u64;
            assert!(
                0 < received && received.cast_unsigned() <= most,
                "{received} rows in a run that requested {most} at most"
            );
            advance_minutes(1).await;
        }
        assert_eq!(env.number("SELECT MAX(resumed) FROM scans"), 1, "the scan was not resumed");
    });
}

/// The last batch is committed by the time a run is stopped, and its tickets count.
#[test]
fn interrupted_run_counts_every_ticket_that_it_created() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1_000, &["latency_ms=10"]);
        env.settings.batch_rows = 3 * PAGE;
        for list_requests in [10, 27, 50] {
            env.reset_request_log();
            env.run_interrupted_at(env.settings.clone(), list_requests).await;
            let (created, tickets) =
                (env.number("SELECT SUM(created) FROM runs"), env.number("SELECT COUNT(*) FROM tickets"));
            assert_eq!(created, tickets, "interrupted at list request {list_requests}");
            let received = env.number("SELECT SUM(received) FROM runs");
            assert_eq!(received, tickets, "interrupted at list request {list_requests}");
            advance_minutes(1).await;
        }
        assert!(0 < env.number("SELECT COUNT(*) FROM tickets"));
    });
}

/// Between pages 1 and 2 of ten, in an initial load and in a later full scan.
#[rstest]
fn deletion_between_two_pages_hides_nothing(
    #[values(1, 4)] parallel: u32,
    #[values(false, true)] later: bool,
) {
    let read = |deleted: bool| {
        with_paused_time(async {
            let mut env = VirtualEnv::new(100, &["latency_ms=50"]);
            env.settings.parallel_requests = parallel;
            if later {
                env.run_ok().await;
                advance_minutes(60).await;
                env.reset_request_log();
            }
            let id = env.server_ids()[4];
            // Page 2 follows page 1, the last page, and page 1 again; an initial load makes two more count requests.
            let number = if later { 4 } else { 6 };
            if deleted {
                env.before_list_request(number, move |server, now| server.delete(id, now));
            }
            env.run_full_ok().await;
            assert_eq!(env.list_parameters("page_no")[usize::try_from(number).unwrap() - 1], "2");
            env.assert_nothing_missing("one deletion");
            let outcome = env.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1").concat();
            assert_eq!(outcome, if later { "confirmed" } else { "verified" });
            env.list_request_count()
        })
    };
    let (without, with) = (read(false), read(true));
    assert!(with <= without + 15, "{with} list requests, and {without} without");
}

/// An unchanged ticket is edited during the scan and enters between the pages in flight.
#[rstest]
fn ticket_entering_between_parallel_pages_hides_nothing(
    #[values(1, 4)] parallel: u32,
    #[values(0, 50, 149)] position: usize,
) {
    for number in [1, 2, 3, 5, 8, 11] {
        with_paused_time(async {
            let mut env = VirtualEnv::new(250, &["latency_ms=100"]);
            env.settings.parallel_requests = parallel;
            env.run_ok().await;
            advance_minutes(30).await;
            let ids = env.server_ids();
            let entering = ids[position];
            env.with_server(|server, now| {
                let due = ids.iter().filter(|id| **id != entering).take(100);
                due.for_each(|id| server.edit(*id, Edit::Touch, now));
            });
            advance_minutes(1).await;
            env.reset_request_log();
            env.before_list_request(number, move |server, now| server.edit(entering, Edit::Agent(1), now));
            let context =
                format!("{entering} enters before list request {number} with {parallel} parallel requests");
            assert!(is_incremental(&env.run_ok().await), "{context}: the run was not incremental");
            assert!(
                env.list_request_count() <= 33,
                "{context}: {} list requests for 11 pages",
                env.list_request_count()
            );
            env.run_incremental_after_a_minute().await;
            env.assert_matches_server(&context);
        });
    }
}
