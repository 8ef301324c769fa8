//! `halosync status`, as people and programs read it, in every state of a copy.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
    pub(crate) mod schema;
}

use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use serde_json::{Value as Json, json};
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};
use support::schema::Schema;

/// More than are committed at once.
const TICKETS: u32 = 1_200;

async fn served(more: &str) -> (Simulator, Agent) {
    let settings = SimulatorSettings {
        tickets: TICKETS,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let agent = Agent::of(&simulator.url(), more);
    (simulator, agent)
}

/// What `status --json` tells, which is as its schema says.
fn told(agent: &Agent, more: &[&str], status: i32) -> Json {
    let run = agent.run(&[&["--json", "status"], more].concat()).code(status);
    let told = serde_json::from_slice(&run.get_output().stdout).unwrap();
    Schema::of("status").holds(&told);
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_an_interrupted_a_full_and_a_confirmed_copy_are_told_as_the_schema_says() {
    let (simulator, agent) = served("parallel_requests = 1\nmax_retries = 0").await;
    let fault = |text: &str| simulator.with(|server| server.inject(ServerFault::parse(text).unwrap()));
    agent.run(&["status"]).code(66);

    fault("token:status=403");
    agent.run(&["sync"]).code(77);
    let empty = told(&agent, &["--max-age", "1h"], 4);
    for (member, value) in [("fresh", json!(false)), ("tickets", json!(0)), ("last_full_at", Json::Null)] {
        assert_eq!(empty[member], value, "{empty:#}");
    }

    simulator.with(|server| server.clear_faults());
    fault("list@page11:status=403");
    agent.run(&["sync"]).code(77);
    let interrupted = told(&agent, &["--max-age", "1h"], 4);
    let received = interrupted["interrupted_scan"]["received"].as_u64();
    assert!(received.is_some_and(|received| 0 < received), "{interrupted:#}");
    assert_eq!(interrupted["state"], "initial");
    Schema::of("status").is_closed_around(&interrupted);

    simulator.with(|server| server.clear_faults());
    agent.run(&["sync"]).success();
    agent.run(&["export", "delta"]).success();
    let reader = rusqlite::Connection::open(agent.path("halosync.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    let full = told(&agent, &["--max-age", "1h"], 0);
    for (member, value) in [
        ("state", json!("incremental")),
        ("fresh", json!(true)),
        ("tickets", json!(TICKETS)),
        // Taken up again, it found what it had received before.
        ("last_full_outcome", json!("confirmed")),
        ("service_pid", Json::Null),
    ] {
        assert_eq!(full[member], value, "{full:#}");
    }
    assert_eq!(full["readers"][0]["pid"], std::process::id(), "{full:#}");
    assert_eq!(full["consumers"][0]["waiting"], 0);
    Schema::of("status").is_closed_around(&full);
}

/// A following walk every few minutes must not hide whether the copy was ever confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_last_full_walk_proved_outlives_the_walks_that_follow() {
    let (_simulator, agent) = served("").await;
    agent.run(&["sync"]).success();
    for (arguments, kind, proved) in [
        (&["sync"][..], "incremental", "verified"),
        (&["sync", "--full"], "full", "confirmed"),
        (&["sync"], "incremental", "confirmed"),
    ] {
        agent.run(arguments).success();
        let found = told(&agent, &[], 0);
        assert_eq!(found["last_scan"]["kind"], kind, "{found:#}");
        assert_eq!(found["last_full_outcome"], proved, "{found:#}");
    }
    let words = agent.run(&["status"]).success().get_output().stdout.clone();
    let words = String::from_utf8(words).unwrap();
    let line = words.lines().find(|line| line.starts_with("last full walk")).unwrap();
    assert!(line.ends_with(" ago), confirmed"), "{words}");
}
