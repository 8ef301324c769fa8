//! State that is ahead of the data or lost, and tickets without a useful timestamp (incidents 56 to 80).

use std::time::Duration;

use halo_simulator::{Application, Edit};
use halosync::sync::RunOutcome;
use rstest::rstest;
use url::Url;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

fn deletions(env: &VirtualEnv) -> i64 {
    env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'")
}

/// Interrupts a run before each of its requests; the next run must store everything, once.
#[rstest]
fn inc_42_56_62_and_65_interrupted_run_keeps_watermark_behind_data(
    #[values("first", "incremental", "full")] kind: &str,
) {
    for number in 1..=14 {
        with_paused_time(async {
            let mut env = VirtualEnv::new(100, &["latency_ms=10"]);
            env.settings.batch_rows = 10;
            if kind != "first" {
                env.run_ok().await;
                advance_minutes(30).await;
                env.with_server(|server, now| server.edit_some(65, now));
                advance_minutes(1).await;
                env.reset_request_log();
            }
            let settings = if kind == "full" { env.full_scan_settings() } else { env.settings.clone() };
            let before = env.covered_until();
            let context =
                format!("INC-42, INC-56, INC-62: {kind} run, interrupted before list request {number}");
            let least = match kind {
                "first" => 14,
                "full" => 11,
                _ => 7,
            };
            if least < number {
                return;
            }
            env.run_interrupted_at(settings.clone(), number).await;
            assert_eq!(env.covered_until(), before, "{context}: the watermark moved");
            advance_minutes(1).await;
            let report = env.run_until(settings, std::future::pending()).await.unwrap();
            assert_eq!(report.outcome, RunOutcome::Complete, "{context}");
            env.assert_matches_server(&context);
            let records = env.change_count();
            let changed = if kind == "first" { 100 } else { 165 };
            assert_eq!(records, changed, "INC-65: {context}: rows were recorded twice");
        });
    }
}

#[test]
fn inc_43_and_63_forbidden_list_changes_nothing() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let (watermark, changes) = (env.watermark(), env.change_count());
        env.with_server(|server, _| server.knobs().application = Application::User);
        for settings in [env.settings.clone(), env.full_scan_settings()] {
            assert!(
                env.run_until(settings, std::future::pending()).await.is_err(),
                "INC-43: the run succeeded in spite of 403"
            );
            assert_eq!((env.watermark(), env.change_count()), (watermark.clone(), changes), "INC-43, INC-63");
        }
        env.with_server(|server, now| {
            server.knobs().application = Application::Service;
            server.edit_some(5, now);
        });
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_matches_server("INC-43");
    });
}

/// Where the list is not in order of id, there is no position to resume from.
#[rstest]
fn inc_59_60_and_61_scan_in_another_order_is_not_resumed(#[values(6, 10, 13)] number: u64) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &["order_by_id=ignored", "latency_ms=10"]);
        env.settings.batch_rows = 10;
        env.run_interrupted_at(env.settings.clone(), number).await;
        let context = format!("INC-59, INC-60, INC-61: interrupted before list request {number}");
        assert_eq!(env.covered_until(), None, "{context}: the watermark moved");
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_matches_server(&context);
        assert_eq!(env.number("SELECT MAX(resumed) FROM scans"), 0, "{context}: the scan was resumed");
    });
}

#[test]
fn inc_64_and_69_resumed_full_scan_deletes_nothing_seen_before() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(300, &["latency_ms=10"]);
        env.settings.batch_rows = 30;
        env.run_ok().await;
        advance_minutes(60).await;
        env.reset_request_log();
        env.run_interrupted_at(env.full_scan_settings(), 22).await;
        let gone = env.server_ids()[290];
        env.with_server(|server, now| server.delete(gone, now));
        advance_minutes(5).await;
        env.reset_request_log();
        env.run_full_ok().await;
        assert_eq!(
            env.texts("SELECT resumed || kind FROM scans"),
            ["0full", "1full", "0incremental"],
            "INC-64: the scan started anew, or no incremental scan followed"
        );
        assert!(
            env.list_request_count() < 30,
            "INC-64: {} list requests for the rest of 30 pages",
            env.list_request_count()
        );
        assert_eq!(
            env.texts("SELECT UID || op FROM changes WHERE op <> 'c'"),
            [format!("{gone}d")],
            "INC-69"
        );
        env.assert_matches_server("INC-69");
    });
}

#[test]
fn inc_66_and_77_full_scan_of_unchanged_tickets_writes_no_row() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        env.run_ok().await;
        let changes = env.change_count();
        for _ in 0..3 {
            // The age of every ticket has changed.
            advance_minutes(24 * 60).await;
            let report = env.run_full_ok().await;
            assert_eq!(
                (
                    report.run_stats.changes.created,
                    report.run_stats.changes.updated,
                    report.run_stats.changes.deleted,
                ),
                (0, 0, 0),
                "INC-66"
            );
            assert_eq!(env.change_count(), changes, "INC-77");
        }
    });
}

/// Responses that arrive in any order.
#[rstest]
fn inc_68_requests_finishing_in_any_order_give_the_same_tickets(#[values(2, 8, 32)] parallel: u32) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(300, &["latency_ms=50"]);
        (env.settings.parallel_requests, env.settings.batch_rows) = (parallel, 20);
        env.inject("list@chance40:delay=700");
        env.inject("list@chance20:slow=3000");
        env.run_ok().await;
        env.assert_matches_server(&format!("INC-68: {parallel} parallel requests"));
        assert_eq!(env.change_count(), 300, "INC-68: {parallel} parallel requests");
    });
}

#[rstest]
fn inc_72_and_73_undated_tickets_are_stored_and_updated_by_full_scans(#[values(50, 300, 1_000)] share: u32) {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[&format!("undated={share}")]);
        env.run_ok().await;
        let context = format!("INC-72, INC-73: {share} of 1,000 tickets have no timestamp");
        env.assert_matches_server(&context);
        let undated = env.number("SELECT COUNT(*) FROM tickets WHERE SOURCE_LAST_MODIFIED IS NULL");
        assert!(0 < undated, "{context}: test setup: some tickets should have none");
        advance_minutes(30).await;
        env.with_server(|server, now| {
            server.create(3, now);
            server.rename_client(14, "Copperline Ltd");
        });
        advance_minutes(1).await;
        env.run_ok().await;
        env.run_full_ok().await;
        env.assert_matches_server(&format!("{context}, after a full scan"));
    });
}

fn filter_by_creation_date(url: &mut Url) {
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

/// A server whose date filter compares the creation date instead of the last update.
#[test]
fn inc_74_and_76_date_filter_on_another_column_is_not_trusted() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        // The newest change is that of an old ticket.
        let ids = env.server_ids();
        env.with_server(|server, now| server.edit(ids[0], Edit::Touch, now));
        advance_minutes(1).await;
        env.rewrite_list_urls(filter_by_creation_date);
        env.run_ok().await;
        assert_eq!(env.probe_result("date_filter"), "unknown", "INC-74");
        for run in 1..=2 {
            advance_minutes(30).await;
            let some = &ids[5 * run..5 * run + 5];
            env.with_server(|server, now| some.iter().for_each(|id| server.edit(*id, Edit::Agent(1), now)));
            advance_minutes(1).await;
            assert!(!is_incremental(&env.run_ok().await), "INC-74, INC-76: run {run} trusted the filter");
            env.assert_matches_server(&format!("INC-74, INC-76: run {run}"));
        }
    });
}

#[test]
fn inc_75_change_without_timestamp_is_found_by_full_scan() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &["sla_stamps=off"]);
        env.settings.schedule.full_every = Some(Duration::from_hours(24));
        env.run_ok().await;
        advance_minutes(60).await;
        let ids = env.server_ids();
        env.with_server(|server, now| {
            ids[..10].iter().for_each(|id| server.recount_sla(*id, now));
            server.rename_client(14, "Copperline Ltd");
        });
        assert!(is_incremental(&env.run_ok().await));
        advance_minutes(24 * 60).await;
        assert!(!is_incremental(&env.run_ok().await), "INC-75: no full scan was due after a day");
        env.assert_matches_server("INC-75");
    });
}

/// The list no longer shows old closed tickets, few or many; the server still has them.
#[rstest]
fn inc_78_tickets_missing_only_from_the_list_are_kept(#[values(10, 200)] tickets: u32) {
    with_paused_time(async {
        let env = VirtualEnv::new(tickets, &["hidden_get=403"]);
        env.run_ok().await;
        advance_minutes(30).await;
        env.set_knob("plain_list=open_and_recent");
        let report = env.run_until(env.full_scan_settings(), std::future::pending()).await.unwrap();
        assert_eq!(deletions(&env), 0, "INC-78: {:?}", report.outcome);
        env.assert_matches_server(&format!("INC-78: {tickets} tickets"));
        // A few are requested by id and found; many are too many to request.
        let unlisted = env.number("SELECT COUNT(*) FROM unlisted_tickets");
        assert_eq!(
            0 < unlisted,
            report.outcome != RunOutcome::Complete,
            "INC-78: {unlisted} unlisted tickets: {:?}",
            report.outcome
        );
        env.set_knob("plain_list=all");
        advance_minutes(1).await;
        env.run_full_ok().await;
        assert_eq!(
            env.number("SELECT COUNT(*) FROM unlisted_tickets"),
            0,
            "INC-78: tickets that are listed again"
        );
    });
}

#[rstest]
fn inc_79_ticket_of_another_type_is_removed_as_out_of_scope(#[values("honored", "ignored")] filter: &str) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(100, &[&format!("type_filter={filter}")]);
        env.settings.ticket_types = vec!["Incident".to_owned()];
        let ids = env.server_ids();
        env.with_server(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::TicketType(1), now)));
        advance_minutes(60).await;
        env.run_ok().await;
        advance_minutes(30).await;
        env.with_server(|server, now| server.edit(ids[5], Edit::TicketType(3), now));
        advance_minutes(1).await;
        env.run_ok().await;
        env.run_full_ok().await;
        let left = env.texts("SELECT UID || ' ' || reason FROM changes WHERE op = 'd'");
        assert_eq!(left, [format!("{} out_of_scope", ids[5])], "INC-79: type filter {filter}");
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 99, "INC-79: type filter {filter}");
    });
}

#[test]
fn inc_80_wider_scope_is_detected_and_loaded() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(150, &[]);
        env.settings.ticket_types = vec!["Incident".to_owned()];
        env.run_ok().await;
        let few = env.number("SELECT COUNT(*) FROM tickets");
        assert!((1..150).contains(&few), "{few} incidents");
        advance_minutes(30).await;
        env.settings.ticket_types.clear();
        assert!(!is_incremental(&env.run_ok().await), "INC-80: the run was incremental");
        env.assert_matches_server("INC-80");
        let scope_changes =
            env.number("SELECT COUNT(*) FROM watermark_journal WHERE reason = 'scope_changed'");
        assert_eq!(scope_changes, 1, "INC-80: the scope change is not recorded");
    });
}

/// A row without an id stands before the position at which an interrupted scan continues: nothing shows it again.
#[rstest]
fn row_without_id_before_the_cursor_is_not_forgotten(#[values(9, 10)] position: usize) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(300, &["latency_ms=10"]);
        env.settings.batch_rows = 10;
        let (nameless, before) = (env.server_ids()[position], env.server_ids()[position - 1]);
        env.with_server(|server, _| server.set_row_defects(nameless, vec!["missing.id".parse().unwrap()]));
        env.run_interrupted_at(env.settings.clone(), 22).await;
        let kept = "SELECT COUNT(*) FROM scan_checkpoints WHERE rejected_rows IS NOT NULL";
        assert_eq!(env.number(kept), 1, "only the newest checkpoint has the row");
        env.run_interrupted_at(env.settings.clone(), 30).await;
        advance_minutes(1).await;
        let report = env.run().await.unwrap();
        let reason = format!("1 row has no usable id (after ticket {before})");
        assert_eq!(report.outcome, RunOutcome::Incomplete(reason));
        let rejects =
            "SELECT COUNT(*) || ' after ' || after_id FROM rejects WHERE UID IS NULL AND attribute IS NULL";
        assert_eq!(env.texts(rejects), [format!("1 after {before}")]);
        assert_eq!(env.number("SELECT MAX(resumed) FROM scans"), 1, "the scan started anew");
    });
}
