//! Lists that change while they are read, and pages that end too early or not at all (incidents 19 to 31).

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::{RunOutcome, SyncError};
use halosync::watermark::ScanKind;
use rstest::rstest;
use url::Url;

use crate::desk::{Desk, follows, minutes, virtually};

fn deletions(desk: &Desk) -> i64 {
    desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'")
}

/// A server that sorts as it likes, anew each minute, while tickets change and leave.
#[rstest]
fn inc_19_20b_and_37_a_list_in_another_order_hides_nothing(
    #[values("newest", "sla")] order: &str,
    #[values(1, 4)] lanes: u32,
    #[values(false, true)] busy: bool,
) {
    virtually(async {
        let knobs = ["order_by_id=ignored", &format!("default_order={order}"), "latency_ms=20000"];
        let mut desk = Desk::new(150, &knobs);
        desk.settings.parallel_requests = lanes;
        if busy {
            for number in (2..12).step_by(3) {
                desk.before_list(number, |server, now| {
                    server.edit_some(5, now);
                    server.create(1, now);
                });
            }
            desk.before_list(7, |server, now| {
                let id = server.ids()[4];
                server.delete(id, now);
            });
        }
        let what = format!("INC-19: order {order}, {lanes} lanes, busy: {busy}");
        let mut passes = 1;
        while desk.sync().await.unwrap().outcome != RunOutcome::Complete {
            assert_eq!(desk.covered_until(), None, "{what}: the watermark moved after pass {passes}");
            passes += 1;
            minutes(1).await;
        }
        let most = if order == "newest" { 1 } else { 3 };
        assert!(passes <= most, "{what}: {passes} passes until it is complete");
        minutes(1).await;
        desk.good().await;
        desk.assert_nothing_lost(&what);
        // Every list is asked for in order of id, whatever becomes of that: INC-37.
        assert_eq!(desk.asked_for("order").len(), desk.asked().len());
        assert!(desk.asked_for("order").iter().all(|order| order == "id"), "INC-37");
        // Fewer received than the first answer counted is never taken for all: INC-20b.
        assert!(deletions(&desk) <= i64::from(busy), "INC-20b: {what}");
    });
}

#[test]
fn inc_20_nothing_is_asked_for_between_the_pages_of_a_walk() {
    virtually(async {
        let desk = Desk::new(300, &[]);
        desk.good().await;
        minutes(30).await;
        desk.with(|server, now| server.edit_some(150, now));
        minutes(1).await;
        desk.forget();
        desk.good().await;
        let others = desk.with(|server, _| {
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
fn inc_20c_a_row_that_is_newer_than_the_pass_is_kept_and_moves_no_mark() {
    virtually(async {
        let desk = Desk::new(100, &["latency_ms=2000", "commit_delay_ms=0"]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        desk.with(|server, now| ids[..30].iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
        minutes(1).await;
        desk.forget();
        let late = ids[25];
        desk.before_list(2, move |server, now| server.edit(late, Edit::Agent(1), now));
        desk.good().await;
        let mark = desk.mark().unwrap();
        let kept = desk.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {late}"));
        assert!(
            mark.covered_until.unwrap().to_string() < kept[0],
            "INC-20c: the row was to be newer than the mark"
        );
        assert!(
            mark.newest_seen <= mark.covered_until,
            "INC-20c: a row newer than the pass counts as the newest seen"
        );
        desk.assert_equal("INC-20c");
    });
}

#[rstest]
fn inc_21_and_31_a_page_size_that_the_server_cuts_without_a_word_hides_nothing(
    #[values(1, 7, 40, 99, 100, 1_000)] cap: u32,
    #[values("echo", "bare", "full")] envelope: &str,
) {
    virtually(async {
        let mut desk = Desk::new(217, &[&format!("page_cap={cap}"), &format!("envelope={envelope}")]);
        desk.settings.page_size = 100;
        desk.good().await;
        desk.assert_equal(&format!("INC-21, INC-31: {cap} rows at most"));
    });
}

fn page_one(url: &mut Url) {
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    url.query_pairs_mut().clear().extend_pairs(pairs.iter().map(|(name, value)| match name.as_str() {
        "page_no" => ("page_no", "1"),
        _ => (name.as_str(), value.as_str()),
    }));
}

/// A server that gives page 1 whatever is asked for.
#[test]
fn inc_22_and_23_the_same_page_twice_is_neither_an_end_nor_a_loop() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.divert(page_one);
        let report = desk.sync().await.unwrap();
        assert!(matches!(report.outcome, RunOutcome::Incomplete(_)), "INC-23: {:?}", report.outcome);
        assert!(desk.lists() < 30, "INC-23: {} list requests", desk.lists());
        assert_eq!(desk.covered_until(), None, "INC-23: the watermark moved");
        let asked = desk.asked();
        assert!(asked.iter().all(|query| query.contains("pageinate=true&page_no=")), "INC-22: {asked:?}");
    });
}

/// The server ignores the filter of the type; of the first page no row is wanted.
#[rstest]
fn inc_24_a_page_of_which_no_row_is_wanted_is_not_the_end(#[values("honored", "ignored")] filter: &str) {
    virtually(async {
        let mut desk = Desk::new(100, &[&format!("type_filter={filter}")]);
        desk.settings.ticket_types = vec!["Incident".to_owned()];
        let ids = desk.ids();
        desk.with(|server, now| {
            ids[..20].iter().for_each(|id| server.edit(*id, Edit::TicketType(3), now));
            ids[20..].iter().for_each(|id| server.edit(*id, Edit::TicketType(1), now));
        });
        minutes(60).await;
        desk.good().await;
        let here = desk.texts("SELECT CAST(UID AS TEXT) FROM tickets ORDER BY UID");
        let wanted: Vec<_> = ids[20..].iter().map(ToString::to_string).collect();
        assert_eq!(here, wanted, "INC-24: type filter {filter}");
    });
}

#[test]
fn inc_25_an_old_row_in_the_middle_of_a_descending_page_is_not_the_end() {
    virtually(async {
        let knobs = ["order_by_id=ignored", "default_order=newest", "date_filter=ignored"];
        let desk = Desk::new(100, &knobs);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        // Old ones stand between these in every page.
        desk.with(|server, now| ids.iter().step_by(3).for_each(|id| server.edit(*id, Edit::Agent(1), now)));
        desk.good().await;
        desk.assert_equal("INC-25");
    });
}

/// Pages that are cut, empty, refused, or of which the count is too low, in a first, a full and a following pass: never an
/// end, and nothing leaves.
#[rstest]
#[case::inc_26_an_empty_page_in_the_middle("list@page3:empty")]
#[case::inc_27_a_count_that_is_cut("list:count=10")]
#[case::inc_27_a_count_that_is_too_low("list:count=-10")]
#[case::inc_27_a_count_that_is_missing("list:count=missing")]
#[case::inc_28_a_server_that_refuses_later_pages("list@page3:status=400")]
#[case::inc_58_a_page_that_never_comes("list@page3:delay=600000")]
#[case::inc_58_a_page_without_rows_at_all("list@page3:tickets=null")]
fn a_list_that_is_cut_is_never_complete_and_nothing_leaves(#[case] fault: &str) {
    for kind in ["first", "full", "incremental"] {
        virtually(async {
            let desk = Desk::new(100, &[]);
            if kind != "first" {
                desk.good().await;
                minutes(30).await;
                desk.with(|server, now| server.edit_some(45, now));
                minutes(1).await;
            }
            let before = desk.mark();
            let settings = if kind == "full" { desk.by_hand() } else { desk.settings.clone() };
            desk.inject(fault);
            let ended = desk.sync_until(settings, std::future::pending()).await;
            let what = format!("{fault}, {kind} pass");
            match ended {
                Ok(report) => {
                    assert!(
                        matches!(report.outcome, RunOutcome::Incomplete(_)),
                        "{what}: {:?}",
                        report.outcome
                    );
                }
                Err(error) => assert!(matches!(error, SyncError::Halo(_)), "{what}: {error}"),
            }
            let covered =
                |mark: Option<halosync::watermark::Watermark>| mark.and_then(|mark| mark.covered_until);
            assert_eq!(desk.covered_until(), covered(before), "{what}: the watermark moved");
            assert_eq!(deletions(&desk), 0, "{what}: tickets were deleted");
            let error =
                desk.texts("SELECT COALESCE(error, '') FROM runs ORDER BY run_id DESC LIMIT 1").concat();
            assert!(!error.is_empty(), "INC-58: {what}: nothing is said of why");
            desk.heal();
            minutes(1).await;
            desk.good().await;
            desk.assert_equal(&what);
        });
    }
}

#[test]
fn inc_29_the_second_list_begins_at_its_first_page() {
    virtually(async {
        let mut desk = Desk::new(200, &["plain_list=open_and_recent"]);
        desk.settings.parallel_requests = 1;
        desk.good().await;
        desk.assert_equal("INC-29");
        assert_eq!(desk.verdict("list_coverage"), "open_and_closed");
        let of = |which: &str| {
            let asked = desk
                .asked()
                .into_iter()
                .filter(|query| query.contains(which) && query.contains("page_size=10&"));
            asked.map(|query| query.contains("page_no=1&")).collect::<Vec<_>>()
        };
        for which in ["open_only", "closed_only"] {
            assert!(of(which).contains(&true), "INC-29: page 1 of {which} was never asked for");
        }
    });
}

#[test]
fn inc_30_a_list_of_1200_pages_is_read_to_its_end() {
    virtually(async {
        let mut desk = Desk::new(1_201, &[]);
        desk.settings.page_size = 1;
        desk.good().await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 1_201, "INC-30");
    });
}

#[rstest]
fn inc_31_rows_that_come_twice_count_once(#[values(1, 3, 9)] rows: u32, #[values(2, 3)] every: u32) {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.inject(&format!("list@every{every}x4:repeat={rows}"));
        let report = desk.sync().await.unwrap();
        let what = format!("INC-31: {rows} rows twice on each page {every}: {:?}", report.outcome);
        if report.outcome != RunOutcome::Complete {
            assert_eq!(desk.covered_until(), None, "{what}");
            desk.heal();
            desk.good().await;
        }
        desk.assert_equal(&what);
        assert!(matches!(report.scan_kind, ScanKind::Full), "{what}");
        minutes(1).await;
        assert!(
            follows(&desk.good().await) || desk.number("SELECT MAX(resumed OR count_fell) FROM scans") == 1,
            "{what}"
        );
    });
}
