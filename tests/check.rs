//! `halosync check`, as people run it: each step with what it found, and the status of the first failure.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
}

use std::fs;
use std::io::Write as _;

use halosync::check::Step;
use halosync::simulator::{Settings, Simulator};
use serde_json::Value as Json;
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};

async fn serve(knobs: &[&str]) -> Simulator {
    let mut settings = Settings {
        tickets: 250,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..Settings::default()
    };
    for knob in knobs {
        settings.knobs.set(knob).unwrap();
    }
    Simulator::start(settings).await.unwrap()
}

/// What `check --json` says, and its status.
fn check(agent: &Agent, more: &[&str], status: i32) -> Json {
    let arguments = [&["--json", "check"], more].concat();
    let run = agent.run(&arguments);
    let output = run.get_output();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{told}{errors}");
    assert!(!told.contains(CLIENT_SECRET) && errors.is_empty(), "{told}{errors}");
    let found: Json = serde_json::from_str(&told).unwrap();
    assert_eq!(found["exit_status"], status);
    found
}

/// The steps with that outcome.
fn steps<'j>(found: &'j Json, outcome: &str) -> Vec<&'j str> {
    let steps = found["steps"].as_array().unwrap().iter().filter(|step| step["outcome"] == outcome);
    steps.map(|step| step["step"].as_str().unwrap()).collect()
}

fn step<'j>(found: &'j Json, name: &str) -> &'j Json {
    let step = found["steps"].as_array().unwrap().iter().find(|step| step["step"] == name);
    step.unwrap_or_else(|| panic!("{name} was not looked at: {found}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_is_well_every_step_says_so_and_four_list_requests_are_made() {
    let simulator = serve(&[]).await;
    let agent = Agent::of(&simulator.url(), "ticket_type = \" incident\"");
    let copied = agent.run(&["sync", "--json"]).success().get_output().stdout.clone();
    let copied = serde_json::from_slice::<Json>(&copied).unwrap()["tickets"].as_u64().unwrap();
    assert!((101..200).contains(&copied), "{copied} incidents");
    simulator.with(|server| server.log_mut().reset());
    let found = check(&agent, &[], 0);
    assert_eq!(steps(&found, "good"), Step::ALL.map(Step::word), "{found}");
    assert_eq!(found["left_out"], serde_json::json!([]));
    let counts = &found["counts"];
    assert_eq!(counts["plain"], copied);
    assert_eq!(counts["open"].as_u64().unwrap() + counts["closed"].as_u64().unwrap(), copied);
    assert_eq!((&found["page_rows"], &found["first_pass"]["requests"]), (&100.into(), &8.into()));
    let verdicts = found["calibrations"].as_array().unwrap();
    for (question, verdict) in
        [("date_filter", "inclusive"), ("list_coverage", "plain"), ("status_names", "listed")]
    {
        let found = verdicts.iter().find(|it| it["question"] == question);
        let found = found.unwrap_or_else(|| panic!("no verdict on {question}"));
        assert_eq!(found["verdict"], verdict, "{question}");
        assert_eq!(found["decided_at"].as_str().unwrap().len(), 24);
    }
    let lists = simulator.with(|server| server.log().lists());
    assert_eq!(lists, 4);

    let told = agent.run(&["check"]).success().get_output().stdout.clone();
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told.lines().filter(|line| line.starts_with('✓')).count(), Step::ALL.len(), "{told}");
    assert!(told.ends_with("all is well\n"), "{told}");
    // Nothing of it is written down.
    let runs: i64 = agent.database().query_row("SELECT COUNT(*) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!(runs, 1);
}

#[test]
fn a_server_that_is_down_is_the_failure_and_what_needs_it_is_left_out() {
    let agent = Agent::of("http://127.0.0.1:1", "");
    let found = check(&agent, &[], 69);
    assert_eq!(steps(&found, "failure"), ["server"]);
    assert!(step(&found, "server")["help"].as_str().unwrap().contains("check server_url"));
    assert_eq!(
        found["left_out"],
        serde_json::json!([
            "calibration",
            "clock",
            "authorisation",
            "token",
            "ticket types",
            "coverage",
            "page cap",
            "first pass"
        ])
    );
    assert!(!agent.path("halosync.db").exists(), "a check made a database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_the_failure_of_the_token() {
    let simulator = serve(&[]).await;
    let agent = Agent::of(&simulator.url(), "");
    fs::write(agent.path("client-secret"), "wrong-7f3a91\n").unwrap();
    let found = check(&agent, &[], 77);
    assert_eq!(steps(&found, "failure"), ["token"]);
    assert!(step(&found, "token")["help"].as_str().unwrap().contains("check client_id and the secret"));
    assert_eq!(step(&found, "server")["outcome"], "good");

    // In words too, and an unusable secret keeps nobody from seeing whether there is a server.
    fs::write(agent.path("client-secret"), "\n").unwrap();
    let told = agent.run(&["check"]).code(78).get_output().stdout.clone();
    let told = String::from_utf8(told).unwrap();
    for line in [
        "✗ secret         the client secret is empty",
        "    help: write it again into",
        "✓ authorisation  ",
        "not looked at: calibration, token,",
        "failures: 1",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_list_that_leaves_tickets_out_is_told_with_how_many() {
    let simulator = serve(&["plain_list=open_and_recent"]).await;
    let agent = Agent::of(&simulator.url(), "");
    let found = check(&agent, &[], 0);
    assert_eq!(steps(&found, "warning"), ["coverage"]);
    let counts = ["plain", "open", "closed"].map(|name| found["counts"][name].as_u64().unwrap());
    let [plain, open, closed] = counts;
    assert_eq!(open + closed, 250);
    let says = step(&found, "coverage")["says"].as_str().unwrap();
    assert!(says.ends_with(&format!("it leaves out {}", 250 - plain)), "{says}");
    // The way to the first pass is counted with all of them.
    assert_eq!(found["first_pass"]["requests"], 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_nobody_is_asked_no_secret_is_read_and_no_lock_taken() {
    let simulator = serve(&[]).await;
    let agent = Agent::of(&simulator.url(), "");
    agent.run(&["sync"]).success();
    simulator.with(|server| server.log_mut().reset());
    // Reading it would be an error.
    fs::write(agent.path("client-secret"), "\n").unwrap();
    fs::remove_file(agent.path("halosync.db.lock")).unwrap();
    let found = check(&agent, &["--offline"], 0);
    assert_eq!(steps(&found, "good"), ["settings", "secret", "folder", "database", "calibration"]);
    assert_eq!(simulator.with(|server| server.log().total()), 0);
    assert!(!agent.path("halosync.db.lock").exists());

    let settings = fs::read_to_string(agent.path("agent.toml")).unwrap();
    let other =
        settings.replace(&format!("server_url = \"{}\"", simulator.url()), "server_url = \"http://[::1]:9\"");
    fs::write(agent.path("agent.toml"), other).unwrap();
    let found = check(&agent, &["--offline"], 78);
    assert_eq!(steps(&found, "failure"), ["database"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unusual_but_no_failure_is_a_warning() {
    let simulator = serve(&["page_cap=40", "date_header=off", "reference_needs_all=on"]).await;
    let agent = Agent::of(&simulator.url(), "rate_limit = \"12/1s\"");
    let mut lock = fs::File::create(agent.path("halosync.db.lock")).unwrap();
    writeln!(lock, "{}", std::process::id()).unwrap();
    lock.try_lock().unwrap();
    let found = check(&agent, &[], 0);
    assert_eq!(
        steps(&found, "warning"),
        ["lock", "rate limit", "clock", "ticket types", "page cap"],
        "{found:#}"
    );
    assert_eq!((&found["page_rows"], &found["clock_ahead_seconds"]), (&40.into(), &Json::Null));
    assert_eq!(found["first_pass"]["requests"], 7 + 6);
}

#[test]
fn settings_that_cannot_be_used_are_a_finding_with_every_problem() {
    let agent = Agent::of("http://127.0.0.1:1", "page_sise = 50\nparallel_requests = 33");
    let found = check(&agent, &[], 78);
    assert_eq!(steps(&found, "failure"), ["settings"]);
    assert_eq!(step(&found, "settings")["cause"].as_array().unwrap().len(), 2);
    assert_eq!(found["left_out"].as_array().unwrap().len(), Step::ALL.len() - 1);
}
