//! Custom fields: from the list, or ticket by ticket where the list does not have them; pending until they are stored.

use std::time::Duration;

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::SyncError;
use rstest::rstest;
use serde_json::json;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

/// An environment that synchronizes custom fields.
fn custom_fields_env(tickets: u32, knobs: &[&str]) -> VirtualEnv {
    let mut env = VirtualEnv::new(tickets, knobs);
    env.settings.scope.custom_fields = true;
    env
}

fn pending_fetches(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT reason || ' after ' || attempts FROM pending_fetches ORDER BY UID")
}

fn set_field(env: &VirtualEnv, id: i64, field: i64, text: &str) {
    env.with_server(|server, now| {
        server.edit(id, Edit::CustomField { field, value: json!(text), display: text.to_owned() }, now);
    });
}

#[rstest]
#[case::list_has_them(&[], "listed", 0)]
#[case::field_info_off(&["field_info=off"], "listed", 0)]
#[case::field_info_forbidden(&["fieldinfo:status=403"], "listed", 0)]
#[case::list_ignores_the_parameter(&["include_custom_fields=ignored"], "unreliable", 120)]
#[case::neither(&["include_custom_fields=ignored", "field_info=off"], "unreliable", 120)]
#[case::list_has_wrong_values(&["listed_fields=display"], "unreliable", 120)]
#[case::list_omits_empty_fields(&["unfilled_fields=left_out"], "listed", 0)]
fn custom_fields_match_on_every_server_with_few_ticket_requests(
    #[case] knobs_or_faults: &[&str],
    #[case] probe_result: &str,
    #[case] at_least: u64,
) {
    with_paused_time(async {
        let (faults, knobs): (Vec<&str>, Vec<&str>) = knobs_or_faults.iter().partition(|it| it.contains(':'));
        let env = custom_fields_env(120, &knobs);
        for fault in faults {
            env.inject(fault);
        }
        env.run_ok().await;
        env.assert_matches_server("after the first run");
        assert_eq!(env.probe_result("custom_fields"), probe_result);
        let compared = 2 * 15 + 8;
        let singles = env.ticket_request_count();
        assert!((at_least..=at_least + compared).contains(&singles), "{singles} requests for single tickets");
        assert_eq!(pending_fetches(&env), [""; 0]);

        advance_minutes(30).await;
        let ids = env.server_ids();
        for id in &ids[20..27] {
            set_field(&env, *id, 121, &format!("CC-{id}"));
        }
        advance_minutes(1).await;
        env.reset_request_log();
        assert!(is_incremental(&env.run_ok().await));
        env.assert_matches_server("seven tickets changed");
        let expected = if at_least == 0 { 0 } else { 7 };
        assert_eq!(env.ticket_request_count(), expected, "requests for single tickets after seven changes");
        let logged = env.texts(
            "SELECT json_extract(changed, '$.\"CUSTOM.121\"[1]') FROM changes
             WHERE json_extract(changed, '$.\"CUSTOM.121\"[1]') LIKE 'CC-%' AND run_id = 2 ORDER BY UID",
        );
        let typed: Vec<_> = ids[20..27].iter().map(|id| format!("CC-{id}")).collect();
        assert_eq!(logged, typed, "the change log");

        advance_minutes(30).await;
        env.reset_request_log();
        let changes = env.change_count();
        env.run_ok().await;
        assert_eq!(
            (env.list_request_count(), env.ticket_request_count(), env.change_count()),
            (1, 0, changes),
            "a run without changes"
        );
        env.run_full_ok().await;
        assert_eq!(
            (env.ticket_request_count(), env.change_count()),
            (0, changes),
            "a full scan without changes"
        );
    });
}

/// An environment whose list leaves out the fields of tickets without values: half of them.
async fn env_with_omitted_fields() -> VirtualEnv {
    let env = custom_fields_env(120, &["unfilled_fields=left_out"]);
    let ids = env.server_ids();
    env.with_server(|server, now| {
        for (id, field) in
            ids[..60].iter().flat_map(|id| [120, 121, 122, 123, 124, 125, 126, 127, 131].map(|it| (*id, it)))
        {
            server.edit(id, Edit::CustomField { field, value: json!(""), display: String::new() }, now);
        }
    });
    advance_minutes(60).await;
    env
}

/// Where the list omits the fields of a ticket without values, a comparison with single tickets shows what that means.
#[test]
fn empty_custom_fields_missing_from_list_need_no_ticket_requests() {
    with_paused_time(async {
        let env = env_with_omitted_fields().await;
        let ids = env.server_ids();
        env.run_ok().await;
        env.assert_matches_server("half of the tickets have no values");
        assert_eq!(env.probe_result("custom_fields"), "listed_unless_empty");
        assert_eq!(
            (env.ticket_request_count(), pending_fetches(&env)),
            (15, vec![]),
            "requests for single tickets, all for the comparison"
        );

        advance_minutes(30).await;
        set_field(&env, ids[10], 121, "CC-1");
        advance_minutes(1).await;
        env.run_ok().await;
        env.with_server(|server, now| {
            server.edit(
                ids[10],
                Edit::CustomField { field: 121, value: json!(""), display: String::new() },
                now,
            );
        });
        advance_minutes(1).await;
        env.reset_request_log();
        env.run_ok().await;
        env.assert_matches_server("filled and emptied");
        assert_eq!(env.ticket_request_count(), 1, "a stored value is not removed without proof");
        env.reset_request_log();
        env.run_full_ok().await;
        assert_eq!((env.ticket_request_count(), pending_fetches(&env)), (0, vec![]));
    });
}

#[test]
fn stored_values_survive_a_list_that_leaves_them_out() {
    with_paused_time(async {
        let env = env_with_omitted_fields().await;
        env.run_ok().await;
        let changes = env.change_count();
        env.inject("list:row=missing.customfields:100,101");
        for scan in ["the first scan", "the second scan"] {
            advance_minutes(30).await;
            env.reset_request_log();
            env.run_full_ok().await;
            env.assert_matches_server(scan);
            assert_eq!((env.ticket_request_count(), env.change_count()), (2, changes), "{scan}");
        }
        // A newer version needs them as well.
        let id = env.server_ids()[100];
        set_field(&env, id, 121, "CC-1");
        advance_minutes(1).await;
        env.run_ok().await;
        env.assert_matches_server("an edit");
        assert_eq!(pending_fetches(&env), [""; 0]);
    });
}

#[test]
fn null_in_a_list_that_omits_empty_custom_fields_tells_nothing() {
    with_paused_time(async {
        let env = env_with_omitted_fields().await;
        env.inject("list:row=null.customfields:70");
        env.run_ok().await;
        env.assert_matches_server("the values of one ticket are null");
        assert_eq!(env.probe_result("custom_fields"), "listed_unless_empty");
        assert_eq!((env.ticket_request_count(), pending_fetches(&env)), (15 + 1, vec![]));
    });
}

#[test]
fn single_ticket_without_custom_fields_in_it_is_no_evidence() {
    with_paused_time(async {
        let env = env_with_omitted_fields().await;
        env.inject("ticket:row=missing.customfields:all");
        env.run_ok().await;
        assert_eq!(env.probe_result("custom_fields"), "unknown");
        // The first batch says that the server is the problem.
        let pending = pending_fetches(&env);
        assert_eq!((pending.len(), &*pending[0]), (60, "not_understood after 1"));
        env.clear_faults();
        advance_minutes(60 * 25).await;
        env.run_ok().await;
        env.assert_matches_server("the single tickets show them again");
        assert_eq!(env.probe_result("custom_fields"), "listed_unless_empty");
    });
}

#[test]
fn ten_thousand_tickets_with_custom_fields_cost_130_requests() {
    with_paused_time(async {
        let mut env = custom_fields_env(10_000, &[]);
        env.settings.page_size = 100;
        env.run_ok().await;
        assert!(env.request_count() <= 130, "{} requests", env.request_count());
        assert_eq!(env.number("SELECT COUNT(DISTINCT UID) FROM custom_fields"), 10_000);
        assert_eq!(pending_fetches(&env), [""; 0]);
    });
}

/// Four hundred fields do not fit into one query; each ticket gets the fields of all parts.
#[rstest]
fn too_long_custom_fields_query_is_split(#[values("named", "left_out")] unfilled: &str) {
    with_paused_time(async {
        let env = custom_fields_env(25, &[&format!("unfilled_fields={unfilled}")]);
        let ids = env.server_ids();
        env.with_server(|server, _| {
            for field in 1_000..1_400 {
                server.define_field(field, &format!("CFnumber{field}"), "One of many");
            }
        });
        for (id, field) in ids.iter().zip((1_000..1_400).step_by(16)) {
            set_field(&env, *id, field, "typed");
        }
        advance_minutes(60).await;
        // One ticket changes between the parts of its page, so it is requested alone.
        let changing = ids[14];
        env.before_list_request(6, move |server, now| {
            let edit = Edit::CustomField { field: 1_399, value: json!("late"), display: "late".into() };
            server.edit(changing, edit, now);
        });
        env.run_ok().await;
        let longest = env.list_queries().iter().map(String::len).max();
        assert!(longest <= Some(1_800), "a query of {longest:?} characters");
        env.run_incremental_after_a_minute().await;
        env.assert_matches_server("four hundred fields");
    });
}

#[test]
fn new_custom_field_arrives_by_the_next_day() {
    with_paused_time(async {
        let env = custom_fields_env(60, &[]);
        env.run_ok().await;
        advance_minutes(120).await;
        let ids = env.server_ids();
        env.with_server(|server, _| server.define_field(900, "CFAsset", "Asset"));
        set_field(&env, ids[7], 900, "Printer 7");
        env.run_ok().await;
        advance_minutes(24 * 60).await;
        assert!(!is_incremental(&env.run_ok().await), "the new field caused no full scan");
        env.assert_matches_server("a new field");
        advance_minutes(5).await;
        assert!(is_incremental(&env.run_ok().await), "the scan after it is not incremental");
    });
}

#[test]
fn custom_fields_switched_on_and_off_are_in_the_change_log() {
    with_paused_time(async {
        let mut env = custom_fields_env(40, &[]);
        env.settings.scope.custom_fields = false;
        env.run_ok().await;
        advance_minutes(30).await;
        assert_eq!(env.number("SELECT COUNT(*) FROM custom_fields"), 0);

        env.settings.scope.custom_fields = true;
        assert!(!is_incremental(&env.run_ok().await), "switched on, the run was incremental");
        env.assert_matches_server("switched on");
        advance_minutes(30).await;

        env.settings.scope.custom_fields = false;
        let watermark = env.covered_until();
        assert!(is_incremental(&env.run_ok().await), "switched off, the watermark is lost");
        assert!(watermark <= env.covered_until());
        for table in ["custom_fields", "pending_fetches", "field_definitions"] {
            assert_eq!(env.number(&format!("SELECT COUNT(*) FROM {table}")), 0, "{table}");
        }
        let records =
            "SELECT COUNT(*) FROM changes WHERE json_extract(changed, '$.\"CUSTOM.120\"') IS NOT NULL";
        let on = env.number(&format!("{records} AND reason IS NULL"));
        let off = env.number(&format!("{records} AND reason = 'custom_fields_off'"));
        assert_eq!((on, off), (40, 40), "tickets whose field appears in and disappears from the change log");

        advance_minutes(30).await;
        env.settings.scope.custom_fields = true;
        env.reset_request_log();
        assert!(!is_incremental(&env.run_ok().await), "switched on again, the run was incremental");
        let defined = env.with_server(|server, _| server.log().count(ApiEndpoint::FieldInfo));
        assert_eq!(defined, 1, "requests for the field definitions");
        env.assert_matches_server("switched on again");
    });
}

#[test]
fn inc_57_and_58_failed_fetch_stays_pending_and_is_retried() {
    with_paused_time(async {
        let mut env = custom_fields_env(60, &["include_custom_fields=ignored"]);
        env.inject("ticket:status=500");
        let report = env.run_ok().await;
        assert!(
            env.covered_until().is_some(),
            "INC-57: the watermark waits for the custom fields: {report:?}"
        );
        assert_eq!(pending_fetches(&env).len(), 60, "INC-57: {:?}", pending_fetches(&env));
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 60);
        let tried =
            env.number("SELECT COUNT(*) FROM pending_fetches WHERE attempts = 1 AND reason = 'unavailable'");
        assert!(
            (1..60).contains(&tried),
            "INC-58: {tried} fetches were tried before the others were deferred"
        );

        // The next run tries again; a fetch that fails twice is due five minutes later.
        env.clear_faults();
        env.settings.parallel_requests = 1;
        let first = 60 - tried + 1;
        env.inject(&format!("ticket@{first}..{}:status=500", first + 5));
        advance_minutes(1).await;
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), ["unavailable after 2"]);
        advance_minutes(1).await;
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), ["unavailable after 2"], "the fetch is not due yet");
        advance_minutes(5).await;
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), [""; 0]);
        env.assert_matches_server("INC-57");
    });
}

#[test]
fn failed_fetches_use_a_quarter_of_the_window_new_ones_all() {
    with_paused_time(async {
        let mut env = custom_fields_env(100, &["include_custom_fields=ignored"]);
        env.settings.parallel_requests = 32;
        env.inject("ticket:html=200");
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM pending_fetches WHERE attempts = 1"), 100);
        env.clear_faults();
        env.settings.requests_per_window = 100;
        for left in [75, 50] {
            advance_minutes(60).await;
            env.reset_request_log();
            env.run_ok().await;
            assert_eq!(env.ticket_request_count(), 25, "requests for single tickets in a run");
            assert_eq!(pending_fetches(&env).len(), left);
        }
    });
}

#[test]
fn refused_fetch_is_retried_by_full_scans_only() {
    with_paused_time(async {
        let env = custom_fields_env(20, &["include_custom_fields=ignored"]);
        env.inject("ticket:status=403");
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), ["unreadable after 1"; 20]);
        assert_eq!(env.number("SELECT unreadable FROM sync_health"), 20);
        env.clear_faults();
        advance_minutes(60).await;
        env.reset_request_log();
        assert!(is_incremental(&env.run_ok().await));
        assert_eq!(env.ticket_request_count(), 0, "requested again by an incremental run");
        env.run_full_ok().await;
        assert_eq!(pending_fetches(&env), [""; 0]);
        env.assert_matches_server("after the refusal");
    });
}

/// A ticket is not found when its custom fields are fetched: the pending fetch becomes an unlisted ticket. It comes back
/// unchanged, and its fields are still pending.
#[test]
fn pending_fetch_of_vanished_ticket_returns_with_it() {
    with_paused_time(async {
        let env = custom_fields_env(30, &["include_custom_fields=ignored", "hidden_get=404"]);
        env.run_ok().await;
        advance_minutes(30).await;
        let id = env.server_ids()[4];
        set_field(&env, id, 121, "CC-new");
        env.inject("ticket:status=404");
        advance_minutes(1).await;
        env.run_ok().await;
        let unlisted = "SELECT UID || ' ' || status FROM unlisted_tickets";
        assert_eq!((pending_fetches(&env), env.texts(unlisted)), (vec![], vec![format!("{id} missing")]));

        env.clear_faults();
        env.with_server(|server, _| server.hide(&[id]));
        advance_minutes(60).await;
        env.run_ok().await;
        assert_eq!(
            env.number("SELECT COUNT(*) FROM unlisted_tickets"),
            1,
            "an incremental run decided about an unlisted ticket"
        );
        env.with_server(|server, _| server.unhide(&[id]));
        advance_minutes(1).await;
        env.run_full_ok().await;
        assert_eq!((pending_fetches(&env), env.texts(unlisted)), (vec![], vec![]));
        env.assert_matches_server("the ticket is back");
    });
}

#[test]
fn fetch_of_older_version_does_not_overwrite_newer_row() {
    with_paused_time(async {
        let env = custom_fields_env(12, &["include_custom_fields=ignored", "detail_cache_s=7200"]);
        env.run_ok().await;
        advance_minutes(30).await;
        let id = env.server_ids()[3];
        set_field(&env, id, 121, "CC-newer");
        advance_minutes(1).await;
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), ["stale after 1"]);
        advance_minutes(180).await;
        env.run_ok().await;
        assert_eq!(pending_fetches(&env), [""; 0]);
        env.assert_matches_server("after the cache expired");
    });
}

#[test]
fn interrupted_custom_fields_fetch_leaves_the_rest_pending() {
    with_paused_time(async {
        let env = custom_fields_env(60, &["include_custom_fields=ignored", "latency_ms=1000"]);
        // During the second batch: 15 tickets are compared, twice because they differ, and a batch has 16.
        let server = std::sync::Arc::clone(&env.server);
        let stop = async move {
            while server.with(|server, _| server.log().count(ApiEndpoint::Ticket)) < 2 * 15 + 16 + 5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let result = env.run_until(env.settings.clone(), stop).await;
        assert!(matches!(result, Err(SyncError::Stopped)), "the run was not interrupted");
        let pending = pending_fetches(&env).len();
        assert_eq!(pending, 60 - 16, "pending after one batch");
        advance_minutes(1).await;
        env.reset_request_log();
        assert!(
            is_incremental(&env.run_ok().await),
            "the run was not incremental: the watermark did not move"
        );
        assert_eq!(env.ticket_request_count(), 44, "requests for the pending tickets only");
        env.assert_matches_server("interrupted and continued");
    });
}

/// The list refuses the parameter from some day on: one run fails; the next one detects why and fetches ticket by ticket.
#[test]
fn list_that_starts_refusing_custom_fields_fails_one_run() {
    with_paused_time(async {
        let env = custom_fields_env(40, &[]);
        env.run_ok().await;
        assert_eq!(env.probe_result("custom_fields"), "listed");
        advance_minutes(30).await;
        set_field(&env, env.server_ids()[4], 121, "CC-new");
        env.answer_with_400(Some(|url| {
            url.query().is_some_and(|query| query.contains("include_custom_fields"))
        }));
        assert!(env.run().await.is_err(), "the refused list was not noticed");
        advance_minutes(5).await;
        env.run_ok().await;
        assert_eq!(
            (env.probe_result("custom_fields").as_str(), pending_fetches(&env)),
            ("unreliable", vec![])
        );
        env.assert_matches_server("ticket by ticket");
        env.assert_custom_fields_match("ticket by ticket");

        // After any other failure one more request shows that the list still has them.
        let other = custom_fields_env(40, &[]);
        other.run_ok().await;
        advance_minutes(30).await;
        other.inject("list@x9:status=503");
        assert!(other.run().await.is_err());
        other.clear_faults();
        other.reset_request_log();
        other.run_ok().await;
        assert_eq!((other.probe_result("custom_fields").as_str(), other.list_request_count()), ("listed", 2));
        other.run_ok().await;
        assert_eq!(other.list_request_count(), 3, "the list was probed again although nothing had failed");
    });
}

/// Where custom fields are read ticket by ticket, nothing but the tickets themselves tells that a field is gone.
#[rstest]
fn field_whose_definition_was_removed_disappears_by_the_next_day(#[values("on", "off")] field_info: &str) {
    with_paused_time(async {
        let field_info = format!("field_info={field_info}");
        let env = custom_fields_env(40, &["include_custom_fields=ignored", &field_info]);
        env.with_server(|server, _| {
            server.back_up();
            server.define_field(900, "CFAsset", "Asset");
        });
        env.run_ok().await;
        assert_ne!(env.number("SELECT COUNT(*) FROM custom_fields WHERE FIELD_ID = 900"), 0);
        env.with_server(|server, _| server.restore_backup());
        advance_minutes(25 * 60).await;
        env.run_ok().await;
        env.assert_matches_server("without the field");
        let requests = env.request_count();
        advance_minutes(25 * 60).await;
        env.run_ok().await;
        assert!(env.request_count() < requests + 30, "the tickets are fetched again and again");
    });
}
