//! `halosync status`, as people and programs read it, in every state that a copy can be in.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod schema;
}

use std::fs::File;

use chrono::Utc;
use halosync::simulator::{Fault, Settings, Simulator};
use serde_json::{Value as Json, json};
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};
use support::schema::{assert_closed, assert_holds};

async fn serve(tickets: u32) -> Simulator {
    let settings = Settings {
        tickets,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..Settings::default()
    };
    Simulator::start(settings).await.unwrap()
}

/// What `status --json` says, and its status.
fn status(agent: &Agent, more: &[&str], code: i32) -> Json {
    let run = agent.run(&[&["--json", "status"], more].concat()).code(code);
    let found: Json = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_holds("status", &found);
    found
}

/// What it says to people.
fn told(agent: &Agent) -> String {
    String::from_utf8(agent.run(&["status"]).success().get_output().stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_empty_then_filling_then_following_and_says_since_when() {
    let simulator = serve(1_900).await;
    let agent = Agent::of(&simulator.url(), "max_retries = 0\nparallel_requests = 1");
    agent.run(&["status"]).code(66);
    let inject = |fault| simulator.with(|server| server.inject(Fault::read(fault).unwrap()));

    agent.run(&["sync", "--dry-run"]).success();
    let empty = status(&agent, &["--max-age", "1h"], 4);
    assert_eq!(
        (&empty["state"], &empty["server"], &empty["fresh"]),
        (&json!("empty"), &Json::Null, &json!(false))
    );
    assert_eq!((&empty["tickets"], &empty["runs"][0]["kind"]), (&json!(0), &json!("dry_run")));
    assert_closed("status", &empty);

    inject("list@page17:status=503");
    agent.run(&["sync"]).code(69);
    let filling = status(&agent, &["--max-age", "1h"], 4);
    assert_eq!((&filling["state"], &filling["last_full_outcome"]), (&json!("filling"), &Json::Null));
    let received = filling["interrupted_walk"]["received"].as_u64().unwrap();
    assert!((800..1_700).contains(&received), "{filling:#}");

    simulator.with(|server| server.heal());
    agent.run(&["sync"]).success();
    // A fill that was interrupted gets a second full walk, whose word stays when only changes are followed.
    let confirmed = status(&agent, &["--max-age", "1h"], 0);
    assert_eq!(
        (&confirmed["state"], &confirmed["last_full_outcome"]),
        (&json!("following"), &json!("confirmed"))
    );
    assert_eq!((&confirmed["fresh"], &confirmed["interrupted_walk"]), (&json!(true), &Json::Null));
    simulator.with(|server| server.edit_some(3, Utc::now()));
    agent.run(&["sync"]).success();
    agent.run(&["export", "delta"]).success();
    let following = status(&agent, &["--max-age", "1h"], 0);
    let walk = &following["last_walk"];
    assert_eq!((&walk["kind"], &walk["outcome"]), (&json!("following"), &json!("counted")));
    assert_eq!(following["last_full_outcome"], "confirmed");
    assert_eq!((&following["consumers"][0]["waiting"], &following["agent_pid"]), (&json!(0), &Json::Null));
    assert_closed("status", &following);
    assert!(
        told(&agent).lines().any(|line| line.starts_with("last full walk") && line.ends_with(", confirmed"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_and_who_may_write_is_told_without_disturbing_either() {
    let simulator = serve(20).await;
    let agent = Agent::of(&simulator.url(), "");
    agent.run(&["sync"]).success();
    let alone = status(&agent, &[], 0);
    assert_eq!((&alone["readers"], &alone["last_full_outcome"]), (&json!([]), &json!("counted")));
    let own = json!(std::process::id());

    let reader = agent.database();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    let read = status(&agent, &[], 0);
    assert_eq!((&read["readers"][0]["pid"], &read["agent_pid"]), (&own, &Json::Null));
    assert!(read["readers"][0]["program"].as_str().unwrap().starts_with("status-"), "{read:#}");
    // What is held is still held: looking opened none of SQLite's files.
    assert_eq!(status(&agent, &[], 0)["readers"][0]["pid"], own);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(status(&agent, &[], 0)["readers"], json!([]));

    let lock = File::open(agent.path("halosync.db.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_eq!(status(&agent, &[], 0)["agent_pid"], own);
    assert!(told(&agent).contains(&format!("at work, pid {own}")));
    agent.run(&["sync"]).code(75);
    drop(lock);
    assert_eq!(status(&agent, &[], 0)["agent_pid"], Json::Null);
    agent.run(&["sync"]).success();
}
