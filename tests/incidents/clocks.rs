//! Clocks, time zones, forms of timestamps, and how the watermark moves (incidents 32 to 55).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use halo_simulator::Edit;
use halosync::sync::RunOutcome;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

const DAY: u64 = 24 * 60;

fn journal(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT reason FROM watermark_journal WHERE reason <> 'created' ORDER BY move_id")
}

/// Changes that become visible after the overlap.
#[test]
fn inc_32_33_and_35_full_scan_finds_and_reports_late_arrivals() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &[]);
        env.run_ok().await;
        advance_minutes(120).await;
        let ids = env.server_ids();
        env.with_server(|server, now| server.edit(ids[20], Edit::Touch, now));
        advance_minutes(1).await;
        env.run_ok().await;
        env.set_knob("commit_delay_ms=3600000");
        env.with_server(|server, now| {
            ids[..11].iter().for_each(|id| server.edit(*id, Edit::Agent(1), now));
            server.create(7, now);
        });
        advance_minutes(5).await;
        assert!(is_incremental(&env.run_ok().await));
        advance_minutes(5).await;
        let report = env.run_full_ok().await;
        assert_eq!(
            (report.run_stats.changes.created, report.run_stats.changes.updated),
            (7, 11),
            "INC-35: missing and stale"
        );
        let is_reported = report
            .warnings
            .iter()
            .any(|warning| warning.starts_with("18 changes are dated before the watermark"));
        assert!(is_reported, "INC-33: late arrivals are not reported: {:?}", report.warnings);
        env.assert_matches_server("INC-32");
    });
}

#[rstest]
#[case::inc_39_one_hour_ahead(1)]
#[case::one_hour_behind(-1)]
#[case::inc_40_days_ahead(75)]
#[case::inc_40_days_behind(-75)]
fn wrong_local_clock_loses_nothing(#[case] hours: i64, #[values(false, true)] jumps: bool) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &[]);
        env.local_clock_offset = TimeDelta::hours(hours);
        for run in 1..=6 {
            if jumps {
                env.local_clock_offset = -env.local_clock_offset;
            }
            env.run_ok().await;
            let context = format!("INC-39, INC-40: {hours} h ahead, jumps: {jumps}, run {run}");
            env.assert_matches_server(&context);
            let covered = env.covered_until().unwrap().instant();
            let age = env.server.now() - covered;
            assert!(
                age <= TimeDelta::seconds(3) && TimeDelta::zero() < age,
                "{context}: the watermark is {covered}"
            );
            advance_minutes(5).await;
            env.with_server(|server, now| {
                server.edit_some(3, now);
                server.create(1, now);
            });
            advance_minutes(5).await;
        }
    });
}

#[test]
fn inc_44_ticket_dated_next_year_does_not_move_watermark() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        let ids = env.server_ids();
        let date_next_year = |id: i64| {
            env.with_server(|server, now| {
                server.set_clock_offset(TimeDelta::days(365));
                server.edit(id, Edit::Agent(1), now);
                server.set_clock_offset(TimeDelta::zero());
            });
        };
        date_next_year(ids[10]);
        for run in 1..=4 {
            env.reset_request_log();
            env.run_ok().await;
            let context = format!("INC-44: run {run}");
            env.assert_matches_server(&context);
            let (watermark, now) = (env.watermark().unwrap(), env.server.now());
            assert!(
                watermark.covered_until.unwrap().instant() <= now,
                "{context}: the watermark is in the future"
            );
            assert!(
                watermark.newest_seen.unwrap().instant() <= now,
                "{context}: the newest seen is in the future"
            );
            advance_minutes(15).await;
            date_next_year(ids[20]);
            env.with_server(|server, now| drop(server.edit_some(2, now)));
            advance_minutes(1).await;
        }
    });
}

/// 40 days without any change.
#[test]
fn inc_38_45_and_67_watermark_moves_without_changes_newest_seen_does_not() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        let first = env.watermark().unwrap();
        for day in 1..=40 {
            advance_minutes(DAY).await;
            assert!(is_incremental(&env.run_ok().await), "INC-45: day {day}");
        }
        let last = env.watermark().unwrap();
        let moved = last.covered_until.unwrap().instant() - first.covered_until.unwrap().instant();
        assert_eq!(moved.num_days(), 40, "INC-45: the watermark");
        assert_eq!(
            last.newest_seen, first.newest_seen,
            "INC-38, INC-67: the newest seen moved without a row"
        );
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_matches_server("INC-45: after the quiet time");
    });
}

/// A server that interprets the lower bound in another time zone.
#[test]
fn inc_46_and_47_time_zone_of_date_filter_is_detected() {
    for hours in -12..=14 {
        with_paused_time(async {
            let env = VirtualEnv::new(60, &[&format!("date_filter_shift={}", -60 * hours)]);
            env.run_ok().await;
            let expected = match hours {
                0 => "inclusive",
                1.. => "early",
                _ => "late",
            };
            let context = format!("INC-46, INC-47: UTC{hours:+}");
            assert_eq!(env.probe_result("date_filter"), expected, "{context}");
            for run in 1..=3 {
                advance_minutes(16).await;
                env.with_server(|server, now| {
                    server.edit_some(3, now);
                    server.create(1, now);
                });
                advance_minutes(1).await;
                env.reset_request_log();
                assert!(is_incremental(&env.run_ok().await), "{context}: run {run}");
                env.assert_matches_server(&format!("{context}: run {run}"));
                // An upper bound in the wrong time zone would hide the last hours.
                assert!(
                    env.list_parameters("lastupdatetodate").is_empty(),
                    "{context}: an upper bound is sent"
                );
            }
        });
    }
}

#[test]
fn exclusive_date_filter_hides_nothing() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &["date_filter=exclusive"]);
        env.settings.schedule.overlap = TimeDelta::zero();
        env.run_ok().await;
        assert_eq!(env.probe_result("date_filter"), "exclusive");
        for run in 1..=4 {
            advance_minutes(5).await;
            env.with_server(|server, now| drop(server.edit_some(3, now)));
            env.run_ok().await;
            env.with_server(|server, now| drop(server.edit_some(3, now)));
            assert!(is_incremental(&env.run_ok().await), "run {run}");
            env.assert_matches_server(&format!("run {run}"));
        }
    });
}

#[test]
fn ignored_date_filter_makes_every_scan_full() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["date_filter=ignored"]);
        env.run_ok().await;
        assert_eq!(env.probe_result("date_filter"), "ignored");
        for run in 1..=3 {
            advance_minutes(5).await;
            env.with_server(|server, now| {
                server.edit_some(3, now);
                let id = server.ids()[7];
                server.delete(id, now);
            });
            assert!(!is_incremental(&env.run_ok().await), "run {run} was incremental");
            env.assert_matches_server(&format!("run {run}"));
        }
    });
}

#[test]
fn open_and_closed_lists_together_cover_all_tickets() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &["plain_list=open_and_recent"]);
        env.run_ok().await;
        assert_eq!(env.probe_result("list_coverage"), "open_and_closed");
        env.assert_matches_server("first");
        advance_minutes(30).await;
        env.with_server(|server, now| drop(server.edit_some(10, now)));
        advance_minutes(1).await;
        assert!(is_incremental(&env.run_ok().await));
        env.assert_matches_server("incremental");
        env.run_full_ok().await;
        env.assert_matches_server("full");
    });
}

/// The server interprets the lower bound in another time zone from some day on, after the probe.
#[rstest]
fn changed_meaning_of_date_filter_is_detected(#[values(-840, -60, 60, 600, 840)] shift: i32) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(60).await;
        env.run_ok().await;
        env.set_knob(&format!("date_filter_shift={shift}"));
        for run in 1..=4 {
            env.with_server(|server, now| {
                server.edit_some(3, now);
                server.create(1, now);
            });
            advance_minutes(1).await;
            env.run_ok().await;
            env.assert_matches_server(&format!("{shift} minutes, run {run}"));
            advance_minutes(30).await;
        }
        if 0 < shift {
            assert_eq!(
                env.probe_result("date_filter"),
                "late",
                "{shift} minutes: the probe was not repeated"
            );
            let from = env.texts("SELECT updated_from FROM scans WHERE outcome = 'incomplete'");
            assert!(!from.is_empty(), "{shift} minutes: a scan without the canary was taken for complete");
        }
    });
}

#[test]
fn server_clock_step_back_moves_watermark_and_forces_full_scan() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(120).await;
        env.run_ok().await;
        let before = env.covered_until().unwrap();
        env.with_server(|server, now| {
            server.set_clock_offset(TimeDelta::hours(-1));
            server.edit_some(3, now);
        });
        let report = env.run_ok().await;
        assert!(!report.warnings.is_empty(), "the clock step is not reported");
        assert!(!is_incremental(&report), "no full scan followed in the same run");
        assert!(journal(&env).contains(&"clock_stepped".to_owned()));
        env.assert_matches_server("after the step");
        let date = env.server.now() - TimeDelta::hours(1);
        let watermark = env.covered_until().unwrap();
        assert!(watermark < before, "the watermark did not move back");
        assert!(
            (date - watermark.instant()).num_seconds() <= 2,
            "the watermark is {watermark}, the server says {date}"
        );
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        advance_minutes(5).await;
        assert!(is_incremental(&env.run_ok().await), "the scans after it are still full");
    });
}

#[test]
fn server_clock_step_back_within_overlap_keeps_watermark() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        env.run_ok().await;
        let before = env.covered_until();
        env.with_server(|server, now| {
            server.set_clock_offset(TimeDelta::minutes(-9));
            server.edit_some(3, now);
        });
        assert!(is_incremental(&env.run_ok().await));
        assert_eq!(env.covered_until(), before);
        env.assert_matches_server("nine minutes back");
        advance_minutes(15).await;
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        env.run_ok().await;
        assert!(before < env.covered_until());
        env.assert_matches_server("after the clock passed the watermark again");
    });
}

#[test]
fn missing_date_header_stores_rows_and_keeps_watermark() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &["date_header=off"]);
        let warns =
            |report: &halosync::sync::RunReport| report.warnings.iter().any(|it| it.contains("`Date`"));
        assert!(warns(&env.run_ok().await), "the first run does not warn");
        assert_eq!(env.covered_until(), None);
        env.assert_matches_server("first");
        env.set_knob("date_header=on");
        env.run_ok().await;
        let watermark = env.covered_until();
        assert!(watermark.is_some());
        env.set_knob("date_header=off");
        advance_minutes(30).await;
        env.with_server(|server, now| drop(server.edit_some(5, now)));
        advance_minutes(1).await;
        let report = env.run_ok().await;
        assert!(warns(&report) && is_incremental(&report), "an incremental run: {:?}", report.warnings);
        assert_eq!(env.covered_until(), watermark);
        env.assert_matches_server("incremental");
    });
}

/// A full scan of 400 seconds, and an incremental one due every minute.
#[test]
fn full_scan_lets_due_incremental_scans_run() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(400, &["latency_ms=10000"]);
        (env.settings.parallel_requests, env.settings.batch_rows) = (1, 20);
        env.settings.schedule.incremental_every = Duration::from_mins(1);
        env.run_ok().await;
        advance_minutes(60).await;
        let before = env.covered_until().unwrap();
        env.reset_request_log();
        // The full scan has read this page already: only an incremental scan can find the edit.
        let id = env.server_ids()[0];
        env.before_list_request(8, move |server, now| {
            server.edit(id, Edit::Summary("during the scan".into()), now);
        });
        let meanwhile = Arc::new(Mutex::new(Vec::new()));
        let (database, seen) = (env.database.clone(), Arc::clone(&meanwhile));
        env.before_list_request(35, move |_, _| {
            let name = format!("SELECT NAME FROM tickets WHERE UID = {id}");
            let watermark = "SELECT covered_until FROM watermarks";
            *seen.lock().unwrap() = [database.texts(&name), database.texts(watermark)].concat();
        });
        let report = env.run_full_ok().await;
        assert!(!is_incremental(&report));
        let meanwhile = meanwhile.lock().unwrap().clone();
        assert_eq!(meanwhile[0], "during the scan", "the edit did not arrive during the full scan");
        assert!(before.to_string() < meanwhile[1], "the watermark did not move during the full scan");
        assert!(
            3 <= env.number("SELECT COUNT(*) FROM scans WHERE kind = 'incremental'"),
            "too few incremental scans"
        );
        env.assert_matches_server("in the end");
    });
}

/// Edits a ticket and gives it this `last_update`, as it stands.
fn set_last_update(env: &VirtualEnv, id: i64, last_update: &str) {
    env.with_server(|server, now| {
        server.edit(id, Edit::Touch, now);
        let mut row = server.row(id, now).unwrap();
        row["last_update"] = last_update.into();
        server.set_raw_row(id, row.to_string());
    });
}

#[test]
fn inc_48_49_50_and_51_every_timestamp_form_is_normalized() {
    let forms = [
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
        // In a local time with daylight saving these would be ambiguous and missing.
        ("2026-10-25T01:30:00", "2026-10-25T01:30:00.000Z"),
        ("2026-03-29T02:30:00", "2026-03-29T02:30:00.000Z"),
    ];
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        advance_minutes(31).await;
        let ids = env.server_ids();
        for (id, (written, _)) in ids.iter().zip(forms) {
            set_last_update(&env, *id, written);
        }
        advance_minutes(1).await;
        assert!(is_incremental(&env.run_ok().await));
        for (id, (written, normalized)) in ids.iter().zip(forms) {
            let stored = env.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {id}"));
            assert_eq!(stored, [normalized], "INC-50, INC-51, INC-52: {written}");
        }
        let pattern = "'____-__-__T__:__:__.___Z'";
        for column in ["SOURCE_LAST_MODIFIED", "SOURCE_CREATED_DATE", "LAST_ACTION_DATE", "FIX_BY_DATE"] {
            let odd = env.number(&format!("SELECT COUNT(*) FROM tickets WHERE {column} NOT LIKE {pattern}"));
            assert_eq!(odd, 0, "INC-48, INC-49: {column}");
        }
        let changes = env.change_count();
        advance_minutes(1).await;
        env.run_ok().await;
        assert_eq!(env.change_count(), changes, "INC-50: a truncated timestamp looks changed in every run");
    });
}

/// An empty response although the server has tickets, with a count of 0 or not.
#[rstest]
fn inc_53_and_66_empty_response_deletes_nothing(
    #[values("list:empty", "list:count=0")] fault: &str,
    #[values(false, true)] both: bool,
    #[values(false, true)] full: bool,
    #[values(3, 100)] tickets: u32,
) {
    with_paused_time(async {
        let env = VirtualEnv::new(tickets, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let (changes, watermark) = (env.change_count(), env.covered_until());
        env.inject(fault);
        if both {
            env.inject(if fault == "list:empty" { "list:count=0" } else { "list:empty" });
        }
        let settings = if full { env.full_scan_settings() } else { env.settings.clone() };
        let report = env.run_until(settings, std::future::pending()).await.unwrap();
        let context =
            format!("INC-53: {fault}, both: {both}, full: {full}, {tickets} tickets: {:?}", report.outcome);
        assert_eq!(env.change_count(), changes, "INC-66: {context}");
        assert_ne!(report.outcome, RunOutcome::Complete, "{context}");
        assert_eq!(env.covered_until(), watermark, "{context}: the watermark moved");
        env.clear_faults();
        advance_minutes(1).await;
        if both {
            // Every list was empty each time: only a full scan shows that the tickets are there.
            assert!(matches!(report.outcome, RunOutcome::DeleteGuard { .. }), "{context}");
            env.run_full_ok().await;
        } else {
            env.run_ok().await;
        }
        env.assert_matches_server(&context);
    });
}
