//! How many requests each situation costs, with one request at a time. `docs/performance.md` has the table.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use halo_simulator::ApiEndpoint;
use support::test_env::TestEnv;

/// What a run asked for.
#[derive(Clone, Copy, Debug)]
struct Requests {
    list: u64,
    all: u64,
}

struct Situations {
    env: TestEnv,
    rows: Vec<String>,
}

impl Situations {
    async fn of(tickets: u32, more: &str) -> Situations {
        let more = format!("parallel_requests = 1\n{more}");
        Situations { env: TestEnv::builder().tickets(tickets).settings(more).start().await, rows: Vec::new() }
    }

    fn requests(&self) -> Requests {
        self.env.with_server(|server| {
            let requests = Requests { list: server.log().list_count(), all: server.log().total() };
            server.log_mut().reset();
            requests
        })
    }

    /// Runs a command, and adds what it asked for to the table; `most` is the limit.
    fn measure(&mut self, situation: &str, arguments: &[&str], most: Requests) -> Requests {
        self.env.run(arguments).success();
        let Requests { list, all } = self.requests();
        assert!(list <= most.list && all <= most.all, "{situation}: {list} of {all}, at most {most:?}");
        self.rows.push(format!("| {situation} | {list} | {all} |"));
        Requests { list, all }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_each_situation_are_those_of_the_document() {
    let mut plain = Situations::of(2_500, "").await;
    let first_run = plain.measure("first run, 2,500 tickets", &["sync"], Requests { list: 30, all: 45 });
    let mut quiet = |name: &str, changed: u32, most: Requests| {
        plain.env.advance_server_clock();
        plain.env.with_server(|server| drop(server.edit_some(changed, chrono::Utc::now())));
        plain.measure(name, &["sync"], most);
    };
    quiet("quiet run", 0, Requests { list: 1, all: 2 });
    quiet("25 changed tickets", 25, Requests { list: 2, all: 3 });
    quiet("250 changed tickets", 250, Requests { list: 4, all: 5 });
    plain.measure("full scan, 2,500 tickets", &["sync", "--full"], Requests { list: 30, all: 40 });

    let resumed = Situations::of(2_500, "max_retries = 0\n").await;
    resumed.env.inject("list@20..:reset");
    resumed.env.run(&["sync"]).code(69);
    resumed.env.clear_faults();
    let before = resumed.requests();
    resumed.env.run(&["sync"]).success();
    let after = resumed.requests();
    let list = before.list + after.list;
    assert!(
        list <= first_run.list + 15,
        "{list} requests of the list, {} without an interruption",
        first_run.list
    );

    let mut fields = Situations::of(10_000, "include_custom_fields = true\n").await;
    fields.measure(
        "first run, 10,000 tickets with custom fields",
        &["sync"],
        Requests { list: 120, all: 135 },
    );

    let table = [plain.rows, fields.rows].concat().join("\n");
    let document = fs::read_to_string("docs/performance.md").unwrap();
    assert!(document.contains(&table), "docs/performance.md must have these rows:\n{table}");
}

/// What a quiet run does not ask for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_run_asks_for_a_token_and_a_list() {
    let env = TestEnv::new(100).await;
    env.run(&["sync"]).success();
    for arguments in [["sync", "--quiet"], ["sync", "--json"]] {
        env.advance_server_clock();
        env.reset_request_log();
        env.run(&arguments).success();
        let asked: Vec<_> = env.with_server(|server| server.log().entries().map(|it| it.endpoint).collect());
        assert_eq!(asked, [ApiEndpoint::Token, ApiEndpoint::List], "{arguments:?}");
    }
}
