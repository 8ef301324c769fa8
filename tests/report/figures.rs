//! The figures of the report against the views of the database, which have tests of their own with known truth.

use std::collections::BTreeMap;

use chrono::Utc;
use halo_simulator::Edit;
use halosync::app::{self, AgentLoad, GroupRow, ReportOptions, ServiceDeskFigures};
use rusqlite::types::FromSql;

use crate::support::test_env::TestEnv;

const DAYS: u32 = 400;

fn read_figures(env: &TestEnv) -> ServiceDeskFigures {
    let loaded = app::load(Some(&env.path("agent.toml"))).unwrap();
    app::report(&loaded, ReportOptions { days: DAYS, without_people: false }).unwrap().service_desk
}

fn counts<K: FromSql + Ord>(env: &TestEnv, sql: &str) -> BTreeMap<K, u64> {
    let rows = env.query(sql, |row| Ok((row.get::<_, K>(0)?, row.get::<_, i64>(1)?)));
    rows.into_iter().map(|(key, count)| (key, count.unsigned_abs())).collect()
}

fn value(figures: &ServiceDeskFigures, label: &str) -> Option<f64> {
    figures.headlines.iter().find(|headline| headline.label == label).unwrap().value
}

fn before(figures: &ServiceDeskFigures, label: &str) -> Option<f64> {
    figures.headlines.iter().find(|headline| headline.label == label).unwrap().before
}

fn load_by(loads: &[AgentLoad], count: impl Fn(&AgentLoad) -> u64) -> BTreeMap<String, u64> {
    loads.iter().map(|load| (load.name.clone(), count(load))).filter(|(_, count)| 0 < *count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_agree_with_the_views() {
    let env = TestEnv::new(600).await;
    env.run_ok(&["sync"]);
    env.with_server(|server| {
        for (id, status) in server.ids().into_iter().step_by(7).zip([2, 9, 2, 9].into_iter().cycle()) {
            server.edit(id, Edit::Status(status), Utc::now());
        }
    });
    env.run_ok(&["sync"]);
    let figures = read_figures(&env);
    let number = |sql: &str| Some(u32::try_from(env.number(sql)).unwrap().into());
    let first = figures.backlog[0].0;
    let began = figures.began_at;

    assert_eq!(figures.tickets, 600);
    assert_eq!(value(&figures, "Open"), number("SELECT COUNT(*) FROM open_tickets"));
    assert_eq!(value(&figures, "Overdue"), number("SELECT COUNT(*) FROM overdue_tickets"));
    for (label, table, column) in
        [("Opened", "tickets", "SOURCE_CREATED_DATE"), ("Closed", "closed_tickets", "CLOSED_AT")]
    {
        let sum = |condition: &str| number(&format!("SELECT COUNT(*) FROM {table} WHERE {condition}"));
        assert_eq!(value(&figures, label), sum(&format!("{column} > '{began}'")), "{label}");
        let earlier =
            format!("{column} <= '{began}' AND julianday({column}) > julianday('{began}') - {DAYS}");
        assert_eq!(before(&figures, label), sum(&earlier), "{label} before");
    }
    let open_then = format!(
        "SELECT COUNT(*) FROM ticket_overview WHERE SOURCE_CREATED_DATE <= '{began}'
        AND (CLOSED = 0 OR CLOSED_AT > '{began}')"
    );
    assert_eq!(before(&figures, "Open"), number(&open_then));
    assert!(0.0 < value(&figures, "Closed").unwrap());

    let backlog: BTreeMap<String, u64> =
        counts(&env, &format!("SELECT DAY, BACKLOG FROM backlog_by_day WHERE DAY >= '{first}'"));
    let own = figures.backlog.iter().map(|(day, open)| (day.to_string(), open.unsigned_abs()));
    let own: BTreeMap<_, _> = own.filter(|(day, _)| backlog.contains_key(day)).collect();
    assert_eq!(own, backlog);
    assert!(360 < backlog.len());

    let weeks = format!(
        "SELECT date(DAY, 'weekday 0', '-6 days') AS week, SUM(OPENED) FROM backlog_by_day GROUP BY week HAVING week >= '{first}'"
    );
    let own: BTreeMap<_, _> =
        figures.weeks.iter().map(|week| (week.monday.to_string(), week.opened)).collect();
    assert_eq!(own, counts(&env, &weeks));

    let median = |sql: &str| {
        let mut hours = env.query(sql, |row| row.get::<_, f64>(0));
        hours.sort_by(f64::total_cmp);
        let upper = *hours.get(hours.len() / 2)?;
        Some(f64::midpoint(hours[(hours.len() - 1) / 2], upper))
    };
    for (label, sql) in [
        ("Median time to close", "SELECT AGE_HOURS FROM closed_tickets WHERE CLOSED_AT"),
        (
            "Median first response",
            "SELECT 24 * (julianday(RESPONDED_AT) - julianday(SOURCE_CREATED_DATE)) FROM ticket_overview WHERE RESPONDED_AT",
        ),
    ] {
        let expected = median(&format!("{sql} > '{began}'"));
        let own = value(&figures, label);
        let is_near = own.zip(expected).is_none_or(|(own, expected)| (own - expected).abs() < 0.02);
        assert!(own.is_some() == expected.is_some() && is_near, "{label}: {own:?} {expected:?}");
    }

    let overdue =
        counts(&env, "SELECT COALESCE(TEAM, '(not known)'), COUNT(*) FROM overdue_tickets GROUP BY 1");
    assert_eq!(load_by(&figures.teams, |load| load.overdue), overdue);
    let agent = "CASE AGENT_ID WHEN 1 THEN '(unassigned)' ELSE COALESCE(AGENT, 'agent ' || AGENT_ID, '(not known)') END";
    for (sql, own) in [
        ("SELECT {}, COUNT(*) FROM open_tickets GROUP BY 1", load_by(&figures.agents, AgentLoad::open)),
        (
            "SELECT {}, COUNT(*) FROM open_tickets WHERE ON_HOLD = 1 GROUP BY 1",
            load_by(&figures.agents, |load| load.on_hold),
        ),
    ] {
        assert_eq!(own, counts(&env, &sql.replace("{}", agent)), "{sql}");
    }
    let ages: BTreeMap<_, u64> =
        figures.ages.iter().map(|(name, ages)| (name.clone(), ages.iter().sum())).collect();
    let priorities = "SELECT COALESCE(PRIORITY, 'priority ' || PRIORITY_ID, '(not known)'), COUNT(*) FROM open_tickets GROUP BY 1";
    assert_eq!(ages, counts(&env, priorities));

    let opened = |rows: &[GroupRow]| -> u64 { rows.iter().map(|row| row.opened).sum() };
    for rows in [&figures.types, &figures.categories, &figures.clients] {
        assert_eq!(Some(u32::try_from(opened(rows)).unwrap().into()), value(&figures, "Opened"));
    }
    let types: BTreeMap<_, _> =
        figures.types.iter().filter(|row| 0 < row.open).map(|row| (row.name.clone(), row.open)).collect();
    assert_eq!(types, counts(&env, "SELECT TICKET_TYPE, COUNT(*) FROM open_tickets GROUP BY 1"));

    assert_lists_agree(&env, &figures);
}

/// The oldest tickets, the busiest hours, and how long statuses last.
#[track_caller]
fn assert_lists_agree(env: &TestEnv, figures: &ServiceDeskFigures) {
    let began = figures.began_at;
    let oldest: Vec<_> = figures.oldest.iter().map(|ticket| ticket.id).collect();
    let expected: Vec<i64> = env
        .query("SELECT UID FROM open_tickets ORDER BY SOURCE_CREATED_DATE, UID LIMIT 20", |row| row.get(0));
    assert_eq!(oldest, expected);

    let hours: BTreeMap<String, u64> = counts(
        env,
        &format!(
            "SELECT strftime('%w %H', SOURCE_CREATED_DATE), COUNT(*) FROM tickets WHERE SOURCE_CREATED_DATE > '{began}' GROUP BY 1"
        ),
    );
    for (weekday, row) in figures.hours.iter().enumerate() {
        for (hour, count) in row.iter().enumerate() {
            let key = format!("{} {hour:02}", (weekday + 1) % 7);
            assert_eq!(*count, hours.get(&key).copied().unwrap_or(0), "{key}");
        }
    }

    let known: BTreeMap<String, u64> = counts(
        env,
        "SELECT STATUS, COUNT(*) FROM status_intervals WHERE CLOSED = 0 AND until IS NULL GROUP BY 1",
    );
    let own =
        figures.statuses.iter().map(|it| (it.status.clone(), it.lasting)).filter(|(_, lasting)| 0 < *lasting);
    assert_eq!(own.collect::<BTreeMap<_, _>>(), known);
    assert!(!known.is_empty());
}

/// Many servers do not say when a ticket was closed; then that is not 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_say_is_not_known() {
    let env = TestEnv::new(300).await;
    env.run_ok(&["sync"]);
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    database.execute("UPDATE ticket_extra SET CLOSED_AT = NULL, RESPONDED_AT = NULL", []).unwrap();
    let figures = read_figures(&env);
    assert_eq!(figures.closed, figures.closed_without_date);
    for label in ["Closed", "Median time to close", "Median first response"] {
        let headline = figures.headlines.iter().find(|it| it.label == label).unwrap();
        assert_eq!((headline.value, headline.before), (None, None), "{label}");
        assert!(headline.note.as_ref().unwrap().starts_with("the copy has no "), "{label}");
    }
    assert_eq!(before(&figures, "Open"), None);
    assert!(figures.backlog.is_empty());
    assert!(figures.weeks.iter().all(|week| week.closed.is_none()));
    assert!(figures.types.iter().all(|group| group.closed.is_none()));
    database
        .execute("UPDATE tickets SET FIX_BY_DATE = NULL, SOURCE_CREATED_DATE = NULL, AGENT_ID = NULL", [])
        .unwrap();
    let figures = read_figures(&env);
    for label in ["Opened", "Overdue"] {
        assert_eq!((value(&figures, label), before(&figures, label)), (None, None), "{label}");
    }
    assert_eq!(figures.without_creation, 300);
    assert!(figures.teams.iter().all(|load| load.open() == load.on_hold + load.without_due));
    assert_eq!(figures.agents.iter().map(|load| load.name.as_str()).collect::<Vec<_>>(), ["(not known)"]);
}
