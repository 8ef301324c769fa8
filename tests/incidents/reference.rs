//! Names for numbers, what list rows carry beside the attributes, and since when a change can have been visible, on
//! servers that behave in every way that is known of them.

use std::collections::BTreeMap;
use std::time::Duration;

use halo_simulator::{ApiEndpoint, Edit, ReferenceKey};
use halosync::reference::{REFERENCE_TABLES, ReferenceTable, Selection};
use halosync::ticket::Timestamp;
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, with_paused_time};

const LISTS: [ApiEndpoint; 10] = [
    ApiEndpoint::Status,
    ApiEndpoint::TicketType,
    ApiEndpoint::Agent,
    ApiEndpoint::Team,
    ApiEndpoint::Priority,
    ApiEndpoint::Sla,
    ApiEndpoint::Category,
    ApiEndpoint::Client,
    ApiEndpoint::Site,
    ApiEndpoint::Users,
];

/// An environment that reads the default tables, and those that are named.
fn env_with(tickets: u32, knobs: &[&str], more: &[&str]) -> VirtualEnv {
    let mut env = VirtualEnv::new(tickets, knobs);
    let defaults = REFERENCE_TABLES.iter().filter(|table| table.selection == Selection::Default);
    let more = more.iter().map(|name| ReferenceTable::named(name).unwrap());
    env.settings.reference = defaults.chain(more).collect();
    env
}

const PAGED: [&str; 4] = ["categories", "clients", "sites", "users"];

/// How often each list was requested.
fn requests(env: &VirtualEnv) -> u64 {
    env.with_server(|server, _| LISTS.iter().map(|list| server.log().count(*list)).sum())
}

fn results(env: &VirtualEnv) -> BTreeMap<String, String> {
    let rows = env.texts("SELECT name || ' ' || result FROM reference_lists");
    rows.iter().filter_map(|row| row.split_once(' ')).map(|(name, it)| (name.into(), it.into())).collect()
}

/// The shapes in which servers answer: bare arrays and envelopes, doubles as ids, other arrays beside the list, pages of any
/// size. Every number that a ticket has gets its name.
#[rstest]
#[case(&["slas=3"])]
#[case(&["slas=3", "agent_list=results", "reference_ids=double", "sidecar_arrays=on"])]
#[case(&["slas=3", "priority_names=different", "priority_twice=on", "reference_page_cap=50", "more_clients=200"])]
#[case(&["slas=3", "reference_page_cap=100", "more_clients=200"])]
fn every_number_of_a_ticket_has_a_name(#[case] knobs: &[&str]) {
    with_paused_time(async {
        let knobs = [knobs, &["customers_scope=off"]].concat();
        let env = env_with(300, &knobs, &PAGED);
        env.run_ok().await;
        assert!(results(&env).values().all(|it| it == "listed"), "{:?}", results(&env));
        for (table, on) in [
            ("statuses", "n.ID = t.STATUS_ID"),
            ("ticket_types", "n.ID = t.TICKET_TYPE_ID"),
            ("agents", "n.ID = t.AGENT_ID"),
            ("teams", "n.ID = t.TEAM_ID"),
            ("slas", "n.ID = t.SLA_ID"),
            ("priorities", "n.SLA_ID = t.SLA_ID AND n.PRIORITY_ID = t.PRIORITY_ID"),
            ("clients", "n.ID = t.CLIENT_ID"),
            ("sites", "n.ID = t.SITE_ID"),
        ] {
            let missing = format!(
                "SELECT COUNT(*) FROM tickets t WHERE NOT EXISTS (SELECT 1 FROM {table} n WHERE {on} AND n.PRESENT)"
            );
            assert_eq!(env.number(&missing), 0, "{table}, {knobs:?}");
        }
        let users =
            "SELECT COUNT(*) FROM tickets t WHERE 0 < t.USER_ID AND t.USER_ID NOT IN (SELECT ID FROM users)";
        assert_eq!(env.number(users), 0, "{knobs:?}");
        assert_eq!(env.number("SELECT COUNT(*) FROM ticket_overview"), 300, "names never multiply tickets");
        assert_eq!(env.number("SELECT COUNT(*) FROM ticket_overview WHERE PRIORITY IS NULL"), 0);
        assert_eq!(env.number("SELECT COUNT(*) FROM rejects"), 0);
        assert_eq!(env.texts("SELECT DISTINCT op FROM changes"), ["c"], "names make no change records");
    });
}

/// M4: a quiet day costs six requests for names with the default tables, also where tickets have agents that no list shows.
#[rstest]
#[case(&[])]
#[case(&["lost_agents=50"])]
fn quiet_day_costs_six_requests_for_names(#[case] knobs: &[&str]) {
    with_paused_time(async {
        let mut env = env_with(200, knobs, &[]);
        env.settings.schedule.full_every = Some(Duration::from_hours(24));
        env.run_ok().await;
        advance_minutes(5).await;
        for day in 1..=3 {
            env.reset_request_log();
            for _ in 0..288 {
                advance_minutes(5).await;
                env.run_ok().await;
            }
            let requests = requests(&env);
            assert!(requests <= 6, "day {day}: {requests}, {knobs:?}");
        }
    });
}

/// Tickets whose agents are in no list cost one look-up in an hour, and none after it.
#[test]
fn unknown_agent_is_looked_up_once() {
    with_paused_time(async {
        let env = env_with(50, &[], &[]);
        env.run_ok().await;
        let agents = |env: &VirtualEnv| env.with_server(|server, _| server.log().count(ApiEndpoint::Agent));
        advance_minutes(61).await;
        for (index, expected) in [(0, 2), (1, 2), (2, 2)] {
            let id = env.server_ids()[index];
            env.with_server(|server, now| server.edit(id, Edit::Agent(4_711), now));
            env.run_ok().await;
            assert_eq!(agents(&env), expected, "edit {index}");
            advance_minutes(61).await;
        }
        assert_eq!(env.texts("SELECT unknown_ids FROM reference_lists WHERE name = 'agents'"), ["4711"]);
        // A new agent has a new number, which is looked up.
        env.with_server(|server, now| {
            server.add_reference(ReferenceKey::Agent(4_712), "Newly Hired");
            server.edit(server.ids()[0], Edit::Agent(4_712), now);
        });
        env.run_ok().await;
        assert_eq!(agents(&env), 3);
        assert_eq!(env.texts("SELECT NAME FROM agents WHERE ID = 4712"), ["Newly Hired"]);
    });
}

/// A list that is refused, empty, halved, unreadable or unknown to the server costs neither the tickets nor the other lists,
/// and takes no name away.
#[rstest]
#[case("status=403", "forbidden")]
#[case("status=404", "missing")]
#[case("status=500", "unreadable")]
fn list_that_fails_stops_nothing_and_takes_no_name_away(#[case] fault: &str, #[case] result: &str) {
    with_paused_time(async {
        for (table, endpoint) in
            [("agents", "agent"), ("teams", "team"), ("priorities", "priority"), ("slas", "sla")]
        {
            let env = env_with(60, &[], &[]);
            env.run_ok().await;
            let names = env.texts(&format!("SELECT NAME || PRESENT FROM {table}"));
            env.inject(&format!("{endpoint}:{fault}"));
            advance_minutes(25 * 60).await;
            env.run_ok().await;
            assert_eq!(results(&env)[table], result);
            let of_all = results(&env);
            assert!(of_all.iter().all(|(name, it)| name == table || it == "listed"), "{of_all:?}");
            assert_eq!(env.texts(&format!("SELECT NAME || PRESENT FROM {table}")), names);
            env.clear_faults();
            advance_minutes(25 * 60).await;
            env.run_ok().await;
            assert_eq!(results(&env)[table], "listed");
        }
    });
}

/// A list that a server can never give costs a few requests a day, and not one in every run.
#[test]
fn list_that_keeps_failing_is_asked_for_with_growing_pauses() {
    with_paused_time(async {
        let env = env_with(20, &[], &[]);
        env.run_ok().await;
        env.inject("priority:status=500");
        advance_minutes(24 * 60).await;
        for _ in 0..24 * 12 {
            env.run_ok().await;
            advance_minutes(5).await;
        }
        // At once, in the next run, and then after 1, 2, 4 and 8 hours.
        let tries = env.number("SELECT attempts FROM reference_lists WHERE name = 'priorities'");
        assert_eq!(tries, 6);
        env.clear_faults();
        advance_minutes(24 * 60).await;
        env.run_ok().await;
        assert_eq!(env.number("SELECT attempts FROM reference_lists WHERE name = 'priorities'"), 0);
    });
}

/// M6: what is no longer listed stays, is not hidden from tickets, and comes back; an empty list or half of one changes
/// nothing.
#[test]
fn rows_that_are_no_longer_listed_stay() {
    with_paused_time(async {
        let env = env_with(300, &["customers_scope=off"], &PAGED);
        env.run_ok().await;
        let agent =
            env.number("SELECT AGENT_ID FROM tickets WHERE AGENT_ID > 1 GROUP BY 1 ORDER BY COUNT(*) DESC");
        let client = env.number("SELECT CLIENT_ID FROM tickets WHERE CLIENT_ID > 1 ORDER BY UID");
        let keys = [ReferenceKey::Agent(agent), ReferenceKey::Client(client)];
        let shown =
            format!("SELECT COUNT(*) FROM ticket_overview WHERE AGENT_ID = {agent} AND AGENT IS NOT NULL");
        let (before, changes) = (env.number(&shown), env.change_count());
        let present = |env: &VirtualEnv| {
            let sql = format!(
                "SELECT CAST(PRESENT AS TEXT) FROM agents WHERE ID = {agent}
                 UNION ALL SELECT CAST(PRESENT AS TEXT) FROM clients WHERE ID = {client}"
            );
            env.texts(&sql).join("")
        };
        env.with_server(|server, _| keys.iter().for_each(|key| server.remove_reference(*key)));
        advance_minutes(25 * 60).await;
        env.run_ok().await;
        assert_eq!((present(&env), env.number(&shown)), ("00".into(), before));
        env.with_server(|server, _| keys.iter().for_each(|key| server.add_reference(*key, "Back Again")));
        advance_minutes(25 * 60).await;
        env.run_ok().await;
        assert_eq!(present(&env), "11");
        assert_eq!(env.texts(&format!("SELECT NAME FROM agents WHERE ID = {agent}")), ["Back Again"]);
        for result in ["empty", "shrunk"] {
            let rows = env.texts("SELECT ID || NAME || PRESENT FROM agents");
            env.rewrite_bodies(Some(match result {
                "empty" => |url, _| url.path().ends_with("Agent").then(|| b"[]".to_vec()),
                _ => |url, _| {
                    url.path().ends_with("Agent").then(|| br#"[{"id": 1, "name": "Unassigned"}]"#.to_vec())
                },
            }));
            advance_minutes(25 * 60).await;
            env.run_ok().await;
            assert_eq!(results(&env)["agents"], result);
            assert_eq!(env.texts("SELECT ID || NAME || PRESENT FROM agents"), rows);
        }
        env.rewrite_bodies(None);
        advance_minutes(61).await;
        env.run_ok().await;
        assert_eq!(results(&env)["agents"], "listed", "a doubtful list is asked for again");
        assert_eq!(env.change_count(), changes, "names make no change records");
    });
}

/// Long lists wait for the tickets, use a quarter of the rate limit, and go on where they were.
#[test]
fn long_lists_take_a_quarter_of_the_rate_limit_and_go_on() {
    with_paused_time(async {
        let knobs = ["customers_scope=off", "reference_page_cap=50", "more_clients=2000"];
        let mut env = env_with(50, &knobs, &["clients"]);
        env.settings.requests_per_window = 40;
        let pages = |env: &VirtualEnv| env.with_server(|server, _| server.log().count(ApiEndpoint::Client));
        env.run_ok().await;
        assert_eq!((pages(&env), &*results(&env)["clients"]), (10, "partial"));
        env.run_ok().await;
        assert_eq!(pages(&env), 10, "the share of this window is used");
        while results(&env)["clients"] != "listed" {
            advance_minutes(6).await;
            let before = pages(&env);
            env.run_ok().await;
            assert!(pages(&env) <= before + 10);
        }
        let clients = env.number("SELECT COUNT(*) FROM clients WHERE PRESENT");
        assert!(2_000 <= clients, "{clients}");
        assert_eq!(
            pages(&env).div_ceil(10),
            u64::try_from(clients).unwrap().div_ceil(500),
            "no page was read twice"
        );
    });
}

/// A table that the settings no longer name is emptied: nobody would refresh what it says about people.
#[test]
fn table_that_is_no_longer_read_is_emptied() {
    with_paused_time(async {
        let mut env = env_with(50, &["customers_scope=off"], &["users"]);
        env.run_ok().await;
        assert!(0 < env.number("SELECT COUNT(*) FROM users"));
        env.settings.reference.retain(|table| table.name != "users");
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM users"), 0);
        assert!(!results(&env).contains_key("users"));
        assert!(0 < env.number("SELECT COUNT(*) FROM agents"));
    });
}

fn execute(env: &VirtualEnv, sql: &str) {
    rusqlite::Connection::open(env.database.path()).unwrap().execute(sql, []).unwrap();
}

fn closed_at(env: &VirtualEnv, id: i64) -> String {
    let sql = format!(
        "SELECT COALESCE((SELECT COALESCE(CLOSED_AT, 'NULL') FROM ticket_extra WHERE UID = {id}), 'none')"
    );
    env.texts(&sql).remove(0)
}

/// M7: a ticket that is closed has the date, a ticket that is opened again has none.
#[rstest]
fn date_of_closing_comes_and_goes_with_the_status(
    #[values("left_out", "sentinel")] unset: &str,
    #[values(true, false)] full: bool,
) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(40, &[&format!("unset_extras={unset}")]);
        env.settings.schedule.full_requested = full;
        env.run_ok().await;
        let id = env.number("SELECT MIN(UID) FROM tickets WHERE STATUS_ID <> 9");
        assert!(["none", "NULL"].contains(&&*closed_at(&env, id)));
        for (status, is_closed) in [(9, true), (2, false), (9, true), (2, false)] {
            advance_minutes(5).await;
            env.with_server(|server, now| server.edit(id, Edit::Status(status), now));
            env.run_ok().await;
            assert_eq!(closed_at(&env, id).starts_with("20"), is_closed, "{unset}, full: {full}");
            let last = "SELECT changed LIKE '%EXTRA.CLOSED_AT%' FROM changes ORDER BY seq DESC LIMIT 1";
            assert_eq!(env.number(last), 1, "the change of the date is recorded");
        }
        env.assert_nothing_missing("after closing and opening again");
    });
}

/// M7: an administrator edits the column profile. What is no longer carried stays and makes no change records; what is
/// carried again is compared again.
#[test]
fn edited_column_profile_changes_nothing() {
    with_paused_time(async {
        let env = VirtualEnv::new(250, &["row_extras=dateclosed+responsedate+dateassigned+parent_id"]);
        env.run_ok().await;
        let rows = "SELECT UID || ' ' || COALESCE(CLOSED_AT, '') || COALESCE(RESPONDED_AT, '') || COALESCE(ASSIGNED_AT, '')
            || COALESCE(PARENT_ID, '') FROM ticket_extra";
        let carried = |env: &VirtualEnv| env.probe_result("list_extras");
        let (before, changes) = (env.texts(rows), env.change_count());
        assert_eq!(carried(&env), "CLOSED_AT,RESPONDED_AT,ASSIGNED_AT,PARENT_ID");
        assert!(100 < before.len(), "{}", before.len());
        env.set_knob("row_extras=parent_id");
        // A closed ticket that is edited keeps its date: its status stays.
        let closed = env.number("SELECT MIN(UID) FROM ticket_extra WHERE CLOSED_AT IS NOT NULL");
        let date = closed_at(&env, closed);
        env.with_server(|server, now| server.edit(closed, Edit::Touch, now));
        env.run_ok().await;
        assert_eq!((closed_at(&env, closed), env.change_count()), (date, changes + 1));
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE changed LIKE '%EXTRA.CLOSED_AT%'"), 0);
        let (before, changes) = (env.texts(rows), env.change_count());
        for round in 0..3 {
            advance_minutes(60).await;
            let report = env.run_full_ok().await;
            assert_eq!(report.warnings.len(), usize::from(round == 0), "{:?}", report.warnings);
            assert_eq!((env.change_count(), env.texts(rows) == before), (changes, true), "round {round}");
            assert_eq!(carried(&env), "PARENT_ID");
        }
        // A ticket that is closed now has no date that anybody knows.
        let open = env.number(
            "SELECT MIN(t.UID) FROM tickets t JOIN ticket_extra x USING (UID) WHERE CLOSED_AT IS NULL",
        );
        env.with_server(|server, now| server.edit(open, Edit::Status(9), now));
        env.run_ok().await;
        assert_eq!(closed_at(&env, open), "NULL");
        env.set_knob("row_extras=dateclosed+responsedate+dateassigned+parent_id");
        let changes = env.change_count();
        env.run_full_ok().await;
        assert_eq!(carried(&env), "CLOSED_AT,RESPONDED_AT,ASSIGNED_AT,PARENT_ID");
        assert!(closed_at(&env, open).starts_with("20"));
        assert_eq!(env.change_count(), changes + 1, "only what really differs");
    });
}

/// Another program wrote into `ticket_extra`: the next full scan repairs what the list carries.
#[test]
fn edited_extras_are_repaired() {
    with_paused_time(async {
        let env = VirtualEnv::new(120, &[]);
        env.run_ok().await;
        let rows = "SELECT UID || COALESCE(CLOSED_AT, '') || COALESCE(PARENT_ID, '') FROM ticket_extra";
        let before = env.texts(rows);
        execute(&env, "UPDATE ticket_extra SET CLOSED_AT = '2001-01-01T00:00:00.000Z' WHERE UID % 3 = 0");
        execute(&env, "UPDATE ticket_extra SET PARENT_ID = 1 WHERE UID % 3 = 1");
        execute(&env, "DELETE FROM ticket_extra WHERE UID % 3 = 2");
        execute(&env, "INSERT INTO ticket_extra (UID, PARENT_ID) VALUES (987654321, 1)");
        assert_ne!(env.texts(rows), before);
        env.run_full_ok().await;
        assert_eq!(env.texts(rows), before);
        let reasons = env.texts("SELECT DISTINCT reason FROM changes WHERE op = 'u'");
        assert_eq!(reasons, ["repaired"]);
        assert_eq!(
            env.number("SELECT COUNT(*) FROM changes WHERE not_before IS NOT NULL"),
            0,
            "a repair is no event"
        );
    });
}

/// M3: quiet scans write no row, and still every change says since when it can have been visible.
#[test]
fn change_says_since_when_it_can_have_been_visible() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(60, &[]);
        env.settings.schedule.full_every = Some(Duration::from_hours(24));
        env.run_ok().await;
        assert_eq!(
            env.number("SELECT COUNT(*) FROM changes WHERE not_before IS NOT NULL"),
            0,
            "the initial load"
        );
        let scan = |env: &VirtualEnv, which: &str| {
            let sql =
                format!("SELECT started_at FROM scans WHERE outcome IN ('verified', 'confirmed') {which}");
            env.texts(&sql).pop().unwrap()
        };
        for _ in 0..4 {
            advance_minutes(5).await;
            env.run_ok().await;
        }
        let last_scan = scan(&env, "");
        let ids = env.server_ids();
        advance_minutes(5).await;
        env.with_server(|server, now| server.edit(ids[3], Edit::Summary("edited".into()), now));
        env.run_ok().await;
        let not_before = |env: &VirtualEnv| {
            env.texts("SELECT COALESCE(not_before, 'none') FROM changes ORDER BY seq").pop().unwrap()
        };
        assert_eq!(not_before(&env), last_scan, "the newest incremental scan would have shown it");
        // Only a full scan shows that a ticket is gone.
        env.with_server(|server, now| server.delete(ids[5], now));
        let last_full = scan(&env, "AND kind = 'full'");
        advance_minutes(5).await;
        env.run_ok().await;
        advance_minutes(24 * 60).await;
        env.run_full_ok().await;
        assert_eq!(env.texts("SELECT op FROM changes ORDER BY seq").pop().unwrap(), "d");
        assert_eq!(not_before(&env), last_full);
        let wrong = "SELECT COUNT(*) FROM changes WHERE observed_at < not_before";
        assert_eq!(env.number(wrong), 0);
        // A status is renamed between two answers of the status list.
        let read_at: Timestamp =
            env.texts("SELECT read_at FROM reference_lists WHERE name = 'statuses'")[0].parse().unwrap();
        env.with_server(|server, _| server.rename_status(2, "Being worked on"));
        advance_minutes(60).await;
        env.run_full_ok().await;
        let renamed = "SELECT DISTINCT not_before FROM changes WHERE reason = 'status_renamed'";
        assert_eq!(env.texts(renamed), [read_at.to_string()]);
    });
}
