//! Clocks, zones and spellings of time, and where the watermark goes (incidents 32 to 55).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use halo_simulator::Edit;
use halosync::sync::RunOutcome;
use rstest::rstest;

use crate::desk::{Desk, follows, minutes, texts, virtually};

const DAY: u64 = 24 * 60;

fn journal(desk: &Desk) -> Vec<String> {
    desk.texts("SELECT reason FROM watermark_journal WHERE reason <> 'created' ORDER BY move_id")
}

/// Later than the overlap reaches back: the full walk brings it, counts it and says so.
#[test]
fn inc_32_33_and_35_what_came_later_than_the_overlap_is_found_and_counted_by_a_full_walk() {
    virtually(async {
        let desk = Desk::new(200, &[]);
        desk.good().await;
        minutes(120).await;
        let ids = desk.ids();
        desk.with(|server, now| server.edit(ids[20], Edit::Touch, now));
        minutes(1).await;
        desk.good().await;
        desk.turn("commit_delay_ms=3600000");
        desk.with(|server, now| {
            ids[..11].iter().for_each(|id| server.edit(*id, Edit::Agent(1), now));
            server.create(7, now);
        });
        minutes(5).await;
        assert!(follows(&desk.good().await));
        minutes(5).await;
        let report = desk.full().await;
        assert_eq!(
            (report.run_stats.changes.created, report.run_stats.changes.updated),
            (7, 11),
            "INC-35: missing and stale"
        );
        let said = report.warnings.iter().any(|warning| warning.starts_with("18 changes are older than"));
        assert!(said, "INC-33: the lateness is not told: {:?}", report.warnings);
        desk.assert_equal("INC-32");
    });
}

#[rstest]
#[case::inc_39_an_hour_ahead(1)]
#[case::an_hour_behind(-1)]
#[case::inc_40_days_ahead(75)]
#[case::inc_40_days_behind(-75)]
fn a_wrong_local_clock_loses_nothing(#[case] hours: i64, #[values(false, true)] jumps: bool) {
    virtually(async {
        let mut desk = Desk::new(100, &[]);
        desk.ahead = TimeDelta::hours(hours);
        for pass in 1..=6 {
            if jumps {
                desk.ahead = -desk.ahead;
            }
            desk.good().await;
            let what = format!("INC-39, INC-40: {hours} h ahead, jumps: {jumps}, pass {pass}");
            desk.assert_equal(&what);
            let covered = desk.covered_until().unwrap().instant();
            let age = desk.world.now() - covered;
            assert!(age <= TimeDelta::seconds(3) && TimeDelta::zero() < age, "{what}: the mark is {covered}");
            minutes(5).await;
            desk.with(|server, now| {
                server.edit_some(3, now);
                server.create(1, now);
            });
            minutes(5).await;
        }
    });
}

#[test]
fn inc_44_a_ticket_dated_next_year_is_stored_and_moves_no_mark() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        let ids = desk.ids();
        let date_next_year = |id: i64| {
            desk.with(|server, now| {
                server.set_clock_offset(TimeDelta::days(365));
                server.edit(id, Edit::Agent(1), now);
                server.set_clock_offset(TimeDelta::zero());
            });
        };
        date_next_year(ids[10]);
        for pass in 1..=4 {
            desk.forget();
            desk.good().await;
            let what = format!("INC-44: pass {pass}");
            desk.assert_equal(&what);
            let (mark, now) = (desk.mark().unwrap(), desk.world.now());
            assert!(mark.covered_until.unwrap().instant() <= now, "{what}: the mark is in the future");
            assert!(mark.newest_seen.unwrap().instant() <= now, "{what}: the newest seen is in the future");
            minutes(15).await;
            date_next_year(ids[20]);
            desk.with(|server, now| drop(server.edit_some(2, now)));
            minutes(1).await;
        }
    });
}

/// 40 days without any change.
#[test]
fn inc_38_45_and_67_the_mark_moves_in_quiet_times_and_the_newest_seen_does_not() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        let first = desk.mark().unwrap();
        for day in 1..=40 {
            minutes(DAY).await;
            assert!(follows(&desk.good().await), "INC-45: day {day}");
        }
        let last = desk.mark().unwrap();
        let moved = last.covered_until.unwrap().instant() - first.covered_until.unwrap().instant();
        assert_eq!(moved.num_days(), 40, "INC-45: the mark");
        assert_eq!(
            last.newest_seen, first.newest_seen,
            "INC-38, INC-67: the newest seen moved without a row"
        );
        desk.with(|server, now| drop(server.edit_some(3, now)));
        minutes(1).await;
        desk.good().await;
        desk.assert_equal("INC-45: after the quiet time");
    });
}

/// A server that reads the bound in another zone: found out, allowed for, nothing lost.
#[test]
fn inc_46_and_47_the_zone_in_which_the_bound_is_read_is_found_out() {
    for hours in -12..=14 {
        virtually(async {
            let desk = Desk::new(60, &[&format!("date_filter_shift={}", -60 * hours)]);
            desk.good().await;
            let verdict = match hours {
                0 => "inclusive",
                1.. => "early",
                _ => "late",
            };
            let what = format!("INC-46, INC-47: UTC{hours:+}");
            assert_eq!(desk.verdict("date_filter"), verdict, "{what}");
            for pass in 1..=3 {
                minutes(16).await;
                desk.with(|server, now| {
                    server.edit_some(3, now);
                    server.create(1, now);
                });
                minutes(1).await;
                desk.forget();
                assert!(follows(&desk.good().await), "{what}: pass {pass}");
                desk.assert_equal(&format!("{what}: pass {pass}"));
                // An upper bound in the wrong zone would hide the last hours.
                assert!(desk.asked_for("lastupdatetodate").is_empty(), "{what}: an upper bound is sent");
            }
        });
    }
}

#[test]
fn an_exclusive_filter_hides_nothing() {
    virtually(async {
        let mut desk = Desk::new(100, &["date_filter=exclusive"]);
        desk.settings.schedule.overlap = TimeDelta::zero();
        desk.good().await;
        assert_eq!(desk.verdict("date_filter"), "exclusive");
        for pass in 1..=4 {
            minutes(5).await;
            desk.with(|server, now| drop(server.edit_some(3, now)));
            desk.good().await;
            desk.with(|server, now| drop(server.edit_some(3, now)));
            assert!(follows(&desk.good().await), "pass {pass}");
            desk.assert_equal(&format!("pass {pass}"));
        }
    });
}

#[test]
fn where_the_filter_is_ignored_every_sync_reads_everything() {
    virtually(async {
        let desk = Desk::new(100, &["date_filter=ignored"]);
        desk.good().await;
        assert_eq!(desk.verdict("date_filter"), "ignored");
        for pass in 1..=3 {
            minutes(5).await;
            desk.with(|server, now| {
                server.edit_some(3, now);
                let id = server.ids()[7];
                server.delete(id, now);
            });
            assert!(!follows(&desk.good().await), "pass {pass} followed");
            desk.assert_equal(&format!("pass {pass}"));
        }
    });
}

#[test]
fn where_the_plain_list_leaves_closed_tickets_out_two_lists_hold_them_all() {
    virtually(async {
        let desk = Desk::new(200, &["plain_list=open_and_recent"]);
        desk.good().await;
        assert_eq!(desk.verdict("list_coverage"), "open_and_closed");
        desk.assert_equal("first");
        minutes(30).await;
        desk.with(|server, now| drop(server.edit_some(10, now)));
        minutes(1).await;
        assert!(follows(&desk.good().await));
        desk.assert_equal("incremental");
        desk.full().await;
        desk.assert_equal("full");
    });
}

/// The server begins to read the bound in another zone, in either direction, once it was calibrated.
#[rstest]
fn a_filter_that_means_something_else_than_it_did_is_noticed(#[values(-840, -60, 60, 600, 840)] shift: i32) {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(60).await;
        desk.good().await;
        desk.turn(&format!("date_filter_shift={shift}"));
        for pass in 1..=4 {
            desk.with(|server, now| {
                server.edit_some(3, now);
                server.create(1, now);
            });
            minutes(1).await;
            desk.good().await;
            desk.assert_equal(&format!("{shift} minutes, pass {pass}"));
            minutes(30).await;
        }
        if 0 < shift {
            assert_eq!(desk.verdict("date_filter"), "late", "{shift} minutes: it was not calibrated anew");
            let from = desk.texts("SELECT updated_from FROM scans WHERE outcome = 'incomplete'");
            assert!(!from.is_empty(), "{shift} minutes: the walk without its canary was called complete");
        }
    });
}

#[test]
fn a_server_clock_that_steps_back_takes_the_mark_along_and_everything_is_read() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(120).await;
        desk.good().await;
        let before = desk.covered_until().unwrap();
        desk.with(|server, now| {
            server.set_clock_offset(TimeDelta::hours(-1));
            server.edit_some(3, now);
        });
        let report = desk.good().await;
        assert!(!report.warnings.is_empty(), "nothing is said of it");
        assert_eq!(journal(&desk).last().unwrap(), "clock_stepped");
        let date = desk.world.now() - TimeDelta::hours(1);
        let mark = desk.covered_until().unwrap();
        assert!(mark < before, "the mark did not go back");
        assert!((date - mark.instant()).num_seconds() <= 2, "the mark is {mark}, the server says {date}");
        desk.with(|server, now| drop(server.edit_some(3, now)));
        minutes(5).await;
        assert!(!follows(&desk.good().await), "the next walk did not read everything");
        desk.assert_equal("after the full walk");
        minutes(5).await;
        assert!(follows(&desk.good().await), "every walk reads everything from now on");
    });
}

#[test]
fn a_server_clock_that_steps_back_within_the_overlap_leaves_the_mark() {
    virtually(async {
        let desk = Desk::new(100, &[]);
        desk.good().await;
        minutes(30).await;
        desk.good().await;
        let before = desk.covered_until();
        desk.with(|server, now| {
            server.set_clock_offset(TimeDelta::minutes(-9));
            server.edit_some(3, now);
        });
        assert!(follows(&desk.good().await));
        assert_eq!(desk.covered_until(), before);
        desk.assert_equal("nine minutes back");
        minutes(15).await;
        desk.with(|server, now| drop(server.edit_some(3, now)));
        desk.good().await;
        assert!(before < desk.covered_until());
        desk.assert_equal("when it is past the mark again");
    });
}

#[test]
fn without_a_date_rows_are_stored_and_the_mark_stays() {
    virtually(async {
        let desk = Desk::new(100, &["date_header=off"]);
        let warns =
            |report: &halosync::sync::RunReport| report.warnings.iter().any(|it| it.contains("`Date`"));
        assert!(warns(&desk.good().await), "a first pass says nothing of it");
        assert_eq!(desk.covered_until(), None);
        desk.assert_equal("first");
        desk.turn("date_header=on");
        desk.good().await;
        let mark = desk.covered_until();
        assert!(mark.is_some());
        desk.turn("date_header=off");
        minutes(30).await;
        desk.with(|server, now| drop(server.edit_some(5, now)));
        minutes(1).await;
        let report = desk.good().await;
        assert!(warns(&report) && follows(&report), "a following pass: {:?}", report.warnings);
        assert_eq!(desk.covered_until(), mark);
        desk.assert_equal("incremental");
    });
}

/// A full walk of 400 seconds, with a following one due each minute.
#[test]
fn a_full_walk_makes_way_for_following_walks() {
    virtually(async {
        let mut desk = Desk::new(400, &["latency_ms=10000"]);
        (desk.settings.parallel_requests, desk.settings.batch_rows) = (1, 20);
        desk.settings.schedule.incremental_every = Duration::from_mins(1);
        desk.good().await;
        minutes(60).await;
        let before = desk.covered_until().unwrap();
        desk.forget();
        // The first page is read by then, so that only a following walk brings it before the next full one.
        let id = desk.ids()[0];
        desk.before_list(8, move |server, now| server.edit(id, Edit::Summary("while it reads".into()), now));
        let meanwhile = Arc::new(Mutex::new(Vec::new()));
        let (path, seen) = (desk.database(), Arc::clone(&meanwhile));
        desk.before_list(35, move |_, _| {
            let name = format!("SELECT NAME FROM tickets WHERE UID = {id}");
            let mark = "SELECT covered_until FROM watermarks";
            *seen.lock().unwrap() = [texts(&path, &name), texts(&path, mark)].concat();
        });
        let report = desk.full().await;
        assert!(!follows(&report));
        let meanwhile = meanwhile.lock().unwrap().clone();
        assert_eq!(
            meanwhile[0], "while it reads",
            "the edit did not arrive while the full walk was under way"
        );
        assert!(before.to_string() < meanwhile[1], "the mark stood still while the full walk was under way");
        assert!(
            3 <= desk.number("SELECT COUNT(*) FROM scans WHERE kind = 'incremental'"),
            "too few following walks"
        );
        desk.assert_equal("in the end");
    });
}

/// Writes a row with another spelling of its `last_update`.
fn spell(desk: &Desk, id: i64, last_update: &str) {
    desk.with(|server, now| {
        server.edit(id, Edit::Touch, now);
        let mut row = server.row(id, now).unwrap();
        row["last_update"] = last_update.into();
        server.set_raw_row(id, row.to_string());
    });
}

#[test]
fn inc_48_49_50_and_51_every_spelling_of_an_instant_becomes_one() {
    let spellings = [
        ("2026-11-22T12:30:17", "2026-11-22T12:30:17.000Z"),
        ("2026-11-22T12:30:17.1", "2026-11-22T12:30:17.100Z"),
        ("2026-11-22T12:30:17.15", "2026-11-22T12:30:17.150Z"),
        ("2026-11-22T12:30:17.159", "2026-11-22T12:30:17.159Z"),
        ("2026-11-22T12:30:17.1599", "2026-11-22T12:30:17.159Z"),
        ("2026-11-22T12:30:17.15999", "2026-11-22T12:30:17.159Z"),
        ("2026-11-22T12:30:17.999999", "2026-11-22T12:30:17.999Z"),
        ("2026-11-22T12:30:17.9999999", "2026-11-22T12:30:17.999Z"),
        ("2026-11-22T12:30:17.9999999Z", "2026-11-22T12:30:17.999Z"),
        ("2026-11-22T14:30:17.5+02:00", "2026-11-22T12:30:17.500Z"),
        ("2026-11-22T07:00:17-05:30", "2026-11-22T12:30:17.000Z"),
        // The hour that comes twice and the one that does not come at all, by somebody's local time.
        ("2026-10-25T01:30:00", "2026-10-25T01:30:00.000Z"),
        ("2026-03-29T02:30:00", "2026-03-29T02:30:00.000Z"),
    ];
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.good().await;
        minutes(31).await;
        let ids = desk.ids();
        for (id, (written, _)) in ids.iter().zip(spellings) {
            spell(&desk, *id, written);
        }
        minutes(1).await;
        assert!(follows(&desk.good().await));
        for (id, (written, spelled)) in ids.iter().zip(spellings) {
            let stored = desk.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {id}"));
            assert_eq!(stored, [spelled], "INC-50, INC-51, INC-52: {written}");
        }
        let pattern = "'____-__-__T__:__:__.___Z'";
        for column in ["SOURCE_LAST_MODIFIED", "SOURCE_CREATED_DATE", "LAST_ACTION_DATE", "FIX_BY_DATE"] {
            let odd = desk.number(&format!("SELECT COUNT(*) FROM tickets WHERE {column} NOT LIKE {pattern}"));
            assert_eq!(odd, 0, "INC-48, INC-49: {column}");
        }
        let changes = desk.changes();
        minutes(1).await;
        desk.good().await;
        assert_eq!(desk.changes(), changes, "INC-50: a stamp that is cut looks new in every pass");
    });
}

/// An empty answer for a table that is not empty, whether its count is empty too or not.
#[rstest]
fn inc_53_and_66_an_empty_answer_deletes_nothing(
    #[values("list:empty", "list:count=0")] fault: &str,
    #[values(false, true)] both: bool,
    #[values(false, true)] full: bool,
    #[values(3, 100)] tickets: u32,
) {
    virtually(async {
        let desk = Desk::new(tickets, &[]);
        desk.good().await;
        minutes(30).await;
        let (changes, mark) = (desk.changes(), desk.covered_until());
        desk.inject(fault);
        if both {
            desk.inject(if fault == "list:empty" { "list:count=0" } else { "list:empty" });
        }
        let settings = if full { desk.by_hand() } else { desk.settings.clone() };
        let report = desk.sync_until(settings, std::future::pending()).await.unwrap();
        let what =
            format!("INC-53: {fault}, both: {both}, full: {full}, {tickets} tickets: {:?}", report.outcome);
        assert_eq!(desk.changes(), changes, "INC-66: {what}");
        assert_ne!(report.outcome, RunOutcome::Complete, "{what}");
        assert_eq!(desk.covered_until(), mark, "{what}: the mark moved");
        desk.heal();
        minutes(1).await;
        desk.good().await;
        desk.assert_equal(&what);
    });
}
