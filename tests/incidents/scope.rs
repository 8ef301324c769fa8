//! Changes of the scope between two runs, and reference tables.

use std::time::Duration;

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::{RunOutcome, SyncError};
use halosync::ticket::Timestamp;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

fn types(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT DISTINCT CAST(TICKET_TYPE_ID AS TEXT) FROM tickets ORDER BY 1")
}

/// How many tickets of these types the server has.
fn count_of_types(env: &VirtualEnv, types: &[i64]) -> i64 {
    let ids = env.server_ids();
    env.with_server(|server, now| {
        let kind = |id: &i64| server.row(*id, now).unwrap()["tickettype_id"].as_i64().unwrap();
        i64::try_from(ids.iter().filter(|id| types.is_empty() || types.contains(&kind(id))).count()).unwrap()
    })
}

/// How often statuses and ticket types were requested.
fn reference_requests(env: &VirtualEnv) -> (u64, u64) {
    env.with_server(|server, _| {
        let count = |endpoint| server.log().count(endpoint);
        (count(ApiEndpoint::Status), count(ApiEndpoint::TicketType))
    })
}

#[test]
fn changed_type_filter_loses_nothing() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(150, &[]);
        env.settings.scope.custom_fields = true;
        env.settings.accept_deletes = true;
        let steps: [(&[&str], &[i64]); 6] = [
            (&["Incident"], &[1]),
            (&["service request"], &[3]),
            (&["Incident"], &[1]),
            (&["INCIDENT", " Service Request "], &[1, 3]),
            (&[], &[]),
            (&["Incident"], &[1]),
        ];
        let mut loads = 0;
        for (names, ids) in steps {
            env.settings.ticket_types = names.iter().map(|name| (*name).to_owned()).collect();
            // Tickets outside the scope change too.
            let some = env.server_ids()[..20].to_vec();
            env.with_server(|server, now| some.iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
            advance_minutes(30).await;
            assert!(!is_incremental(&env.run_ok().await), "{names:?}: the old watermark is still used");
            assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), count_of_types(&env, ids), "{names:?}");
            if !ids.is_empty() {
                let expected: Vec<_> = ids.iter().map(ToString::to_string).collect();
                assert_eq!(types(&env), expected, "{names:?}");
            }
            advance_minutes(30).await;
            assert!(
                is_incremental(&env.run_ok().await),
                "{names:?}: the scan after the initial load is not incremental"
            );
            loads += 1;
        }
        let other = env.number("SELECT COUNT(*) FROM changes WHERE op = 'd' AND reason <> 'out_of_scope'");
        assert_eq!(other, 0, "tickets were removed for another reason than the filter");
        let scope_changes =
            env.number("SELECT COUNT(*) FROM watermark_journal WHERE reason = 'scope_changed'");
        assert_eq!(scope_changes, loads - 1);
        env.settings.ticket_types.clear();
        advance_minutes(30).await;
        env.run_ok().await;
        env.assert_matches_server("everything again");
    });
}

/// Tickets outside of a new scope are removed in the transaction that drops the watermark, without requests, and
/// only if the delete guard allows it or a person does.
#[test]
fn narrower_type_filter_removes_tickets_without_requests() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(200, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        env.settings.ticket_types = vec!["Problem".to_owned()];
        let (changes, covered_until) = (env.change_count(), env.covered_until());
        env.reset_request_log();
        let outcome = env.run().await.unwrap().outcome;
        let removals = u64::try_from(200 - count_of_types(&env, &[4])).unwrap();
        assert_eq!(outcome, RunOutcome::ScopeGuard { removals, allowed: 20 });
        assert_eq!((env.change_count(), env.covered_until()), (changes, covered_until), "something changed");
        env.settings.accept_deletes = true;
        env.run_ok().await;
        assert_eq!(env.ticket_request_count(), 0);
        let left = "SELECT COUNT(*) || ' in ' || COUNT(DISTINCT observed_at) FROM changes WHERE op = 'd'";
        assert_eq!(env.texts(left), [format!("{} in 1", 200 - count_of_types(&env, &[4]))]);
    });
}

#[test]
fn unknown_ticket_type_lists_known_names_and_changes_nothing() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let (changes, watermark) = (env.change_count(), env.covered_until());
        env.settings.ticket_types = vec!["Incidents".to_owned()];
        match env.run().await {
            Err(SyncError::UnknownType { name, known }) => {
                assert_eq!(name, "Incidents");
                assert!(known.contains(&"Incident".to_owned()), "{known:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((env.change_count(), env.covered_until()), (changes, watermark));
    });
}

#[test]
fn changed_mapping_version_reloads_without_change_records() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let changes = env.change_count();
        env.write(|tx| {
            let mut watermark = tx.as_read_tx().watermark()?.unwrap();
            watermark.scope.mapping = 0;
            tx.set_watermark(&watermark, None, None, "2026-11-22T12:00:00.000Z".parse::<Timestamp>().unwrap())
        });
        advance_minutes(30).await;
        assert!(
            !is_incremental(&env.run_ok().await),
            "the run was incremental under another mapping version"
        );
        assert_eq!(env.change_count(), changes);
        env.assert_matches_server("another mapping version");
    });
}

#[test]
fn reference_tables_are_requested_daily_or_hourly_for_unknown_ids() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        // Both reference tables are forbidden at first: the ids in all rows are unknown.
        env.inject("status:status=403");
        env.inject("tickettype:status=403");
        env.run_ok().await;
        assert_eq!(reference_requests(&env), (1, 1), "requested once, although every row has unknown ids");
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE STATUS = CAST(STATUS_ID AS TEXT)"), 60);
        for (after, expected) in [(30, (0, 0)), (31, (1, 1)), (30, (0, 0))] {
            advance_minutes(after).await;
            env.reset_request_log();
            env.with_server(|server, now| drop(server.edit_some(3, now)));
            env.run_ok().await;
            assert_eq!(reference_requests(&env), expected, "{after} minutes later");
        }
        // The permission is back: all tickets get the names in one transaction.
        env.clear_faults();
        advance_minutes(61).await;
        env.with_server(|server, now| drop(server.edit_some(3, now)));
        env.run_ok().await;
        env.assert_nothing_missing("the names are back");
        let renamed = "SELECT COUNT(DISTINCT observed_at) FROM changes WHERE reason = 'status_renamed'";
        assert_eq!(env.number(renamed), 1);
        advance_minutes(23 * 60).await;
        env.reset_request_log();
        env.run_ok().await;
        assert_eq!(reference_requests(&env), (0, 0), "known ids are requested daily only");
        advance_minutes(2 * 60).await;
        env.run_ok().await;
        assert_eq!(reference_requests(&env), (1, 1), "a day later");
    });
}

/// A status or ticket type is renamed: no ticket changes, so only a full scan looks.
#[rstest]
fn full_scan_takes_up_renamed_statuses_and_types(#[values(true, false)] requested: bool) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        advance_minutes(60).await;
        let status = env.number("SELECT STATUS_ID FROM tickets LIMIT 1");
        env.with_server(|server, _| {
            server.rename_status(status, "Being worked on");
            server.rename_ticket_type(1, "Disturbance");
        });
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE STATUS = 'Being worked on'"), 0);
        env.reset_request_log();
        env.settings.schedule.full_requested = requested;
        env.settings.schedule.full_every = Some(Duration::from_mins(30));
        env.run_ok().await;
        let of_statuses = if requested { 2 } else { 1 };
        assert_eq!(
            reference_requests(&env),
            (of_statuses, 1),
            "which statuses are open is asked weekly, and on request"
        );
        assert_eq!(
            env.number("SELECT COUNT(*) FROM tickets WHERE STATUS = 'Being worked on'"),
            env.number(&format!("SELECT COUNT(*) FROM tickets WHERE STATUS_ID = {status}")),
        );
        assert_eq!(env.texts("SELECT NAME FROM ticket_types WHERE ID = 1"), ["Disturbance"]);
    });
}

/// A lost permission may empty the list of statuses; the known names stay.
#[test]
fn empty_reference_table_renames_nothing() {
    with_paused_time(async {
        let env = VirtualEnv::new(60, &[]);
        env.run_ok().await;
        let (names, changes) = (env.texts("SELECT NAME FROM statuses ORDER BY ID"), env.change_count());
        env.rewrite_bodies(Some(|url, _| url.path().ends_with("tatus").then(|| b"[]".to_vec())));
        advance_minutes(24 * 60).await;
        env.run_ok().await;
        assert_eq!(env.texts("SELECT result FROM reference_lists WHERE name = 'statuses'"), ["empty"]);
        assert_eq!(env.texts("SELECT NAME FROM statuses ORDER BY ID"), names);
        assert_eq!(env.change_count(), changes, "change records although nothing changed");
    });
}

/// A renamed column of the server must not look like tickets of another type.
#[test]
fn rows_without_a_type_stay_in_scope() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &[]);
        env.settings.ticket_types = vec!["Incident".to_owned()];
        env.run_ok().await;
        let stored = count_of_types(&env, &[1]);
        env.rewrite_bodies(Some(|url, body| {
            let text = std::str::from_utf8(body).ok()?;
            let renamed = || text.replace("\"tickettype_id\"", "\"kind_id\"").into_bytes();
            url.path().starts_with("/api/tickets").then(renamed)
        }));
        advance_minutes(60).await;
        env.with_server(|server, now| drop(server.edit_some(20, now)));
        env.run_full_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), stored);
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
    });
}

/// Tickets removed because of their type count for the delete guard like all others.
#[test]
fn mass_type_change_triggers_delete_guard() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(200, &["type_filter=ignored"]);
        env.settings.ticket_types = vec!["Incident".to_owned()];
        env.run_ok().await;
        let (stored, ids) = (count_of_types(&env, &[1]), env.server_ids());
        assert!(30 < stored, "{stored} tickets are too few for the delete guard");
        env.with_server(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::TicketType(3), now)));
        advance_minutes(60).await;
        let report = env.run_until(env.full_scan_settings(), std::future::pending()).await.unwrap();
        assert!(matches!(report.outcome, RunOutcome::DeleteGuard { .. }), "{report:?}");
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
        env.settings.accept_deletes = true;
        env.run_full_ok().await;
        assert_eq!(
            env.number("SELECT COUNT(*) FROM tickets"),
            0,
            "accepted, but the tickets are still stored"
        );
    });
}

/// In the first scope every ticket is open; in the second one the plain list leaves old closed tickets out.
#[test]
fn changed_scope_probes_the_list_coverage_again() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(200, &["plain_list=open_and_recent"]);
        let all = env.server_ids();
        env.with_server(|server, now| {
            for id in all {
                if server.row(id, now).unwrap()["tickettype_id"] == 1 {
                    server.edit(id, Edit::Status(1), now);
                }
            }
        });
        env.settings.ticket_types = vec!["Incident".to_owned()];
        env.run_ok().await;
        assert_eq!(env.probe_result("list_coverage"), "plain");
        env.settings.ticket_types = Vec::new();
        advance_minutes(30).await;
        env.run_ok().await;
        assert_eq!(env.probe_result("list_coverage"), "open_and_closed");
        env.assert_matches_server("all types");
    });
}
