//! `halosync check`: the outcome of each step, and the exit status of the first failure.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use chrono::TimeDelta;
use halo_simulator::{Server, ServerFault, Simulator};
use halosync::check::CheckStep;
use rstest::rstest;
use serde_json::Value as Json;
use support::fixture_server::{FixtureServer, serve_response};
use support::schema::Schema;
use support::test_env::{CLIENT_SECRET, CommandResult, TestEnv};
use support::tls::{CertificateOptions, TlsProxy};

async fn serve(knobs: &[&str]) -> Simulator {
    let mut settings = support::server::settings(250);
    for knob in knobs {
        settings.knobs.set(knob).unwrap();
    }
    Simulator::start(settings).await.unwrap()
}

/// Runs `check --json` and returns its report.
fn check(env: &TestEnv<()>, more: &[&str], status: i32) -> Json {
    let result = env.run_json(&[&["check"], more].concat()).code(status);
    let (text, errors) = (result.stdout, result.stderr);
    assert!(!text.contains(CLIENT_SECRET) && errors.is_empty(), "{text}{errors}");
    let found: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((&found["schema_version"], &found["exit_status"]), (&1.into(), &status.into()));
    Schema::of("check").assert_valid(&found);
    found
}

/// Returns the steps with an outcome.
fn steps<'j>(found: &'j Json, outcome: &str) -> Vec<&'j str> {
    let steps = found["steps"].as_array().unwrap().iter().filter(|step| step["outcome"] == outcome);
    steps.map(|step| step["step"].as_str().unwrap()).collect()
}

fn step<'j>(found: &'j Json, name: &str) -> &'j Json {
    let step = found["steps"].as_array().unwrap().iter().find(|step| step["step"] == name);
    step.unwrap_or_else(|| panic!("{name} was skipped: {found}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_working_setup_passes_every_step_with_four_list_requests() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "ticket_type = \" incident\"");
    let tickets = env.run_ok(&["sync"])["tickets"].as_u64().unwrap();
    assert!((101..200).contains(&tickets), "{tickets} incidents");
    simulator.with(|server| server.log_mut().reset());
    let found = check(&env, &[], 0);
    let all: Vec<_> = CheckStep::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(steps(&found, "ok"), all, "{found}");
    assert_eq!(found["skipped"], serde_json::json!([]));
    let counts = &found["counts"];
    assert_eq!(counts["plain"], tickets);
    assert_eq!(counts["open"].as_u64().unwrap() + counts["closed"].as_u64().unwrap(), tickets);
    assert_eq!((&found["page_rows"], &found["initial_load"]["requests"]), (&100.into(), &8.into()));
    let probes = found["probes"].as_array().unwrap();
    for (name, result) in
        [("date_filter", "inclusive"), ("list_coverage", "plain"), ("closed_statuses", "known")]
    {
        let found = probes.iter().find(|it| it["probe"] == name);
        let found = found.unwrap_or_else(|| panic!("no probe {name}"));
        assert_eq!(found["result"], result, "{name}");
        assert_eq!(found["probed_at"].as_str().unwrap().len(), 24);
    }
    let lists = simulator.with(|server| server.log().list_count());
    assert_eq!(lists, 4);

    let text = env.run(&["check"]).success().stdout;
    assert_eq!(text.lines().filter(|line| line.starts_with('✓')).count(), CheckStep::ALL.len(), "{text}");
    assert!(text.ends_with("all checks passed\n"), "{text}");
    // Its requests count against the rate limit, and it is no run.
    let recorded = env.number("SELECT SUM(requests) FROM runs WHERE kind = 'check'");
    assert_eq!(recorded.cast_unsigned(), simulator.with(|server| server.log().total()));
    assert_eq!(env.run_ok(&["status"])["runs"].as_array().unwrap().len(), 1);
}

/// A run that is under way does not see the requests of a check, so all checks together use what it leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_beside_a_run_use_only_the_margin_of_the_rate_limit() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "rate_limit = \"100/1s\"");
    env.run(&["sync"]).success();
    edit(&env, "UPDATE runs SET outcome = NULL, ended_at = NULL");
    let _lock = halosync::store::Lock::acquire_writer(env.database.path()).unwrap();
    simulator.with(|server| server.log_mut().reset());
    for _ in 0..2 {
        assert_eq!(steps(&check(&env, &[], 0), "warning"), ["rate limit"]);
    }
    let times: Vec<_> = simulator.with(|server| server.log().entries().map(|entry| entry.at).collect());
    assert!(12 < times.len(), "{} requests", times.len());
    let margin = 5;
    for group in times.windows(margin + 1) {
        let span = group[margin] - group[0];
        assert!(TimeDelta::milliseconds(950) < span, "{} requests in {span}", margin + 1);
    }
}

#[test]
fn unreachable_server_fails_and_skips_the_steps_that_need_it() {
    let env = TestEnv::for_server("http://127.0.0.1:1", "");
    let found = check(&env, &[], 69);
    assert_eq!(steps(&found, "failure"), ["server"]);
    assert!(step(&found, "server")["help"].as_str().unwrap().contains("check server_url"));
    assert_eq!(
        found["skipped"],
        serde_json::json!([
            "integrity",
            "schema",
            "local edits",
            "server probes",
            "names",
            "new fields",
            "lateness",
            "certificate",
            "clock",
            "authorization",
            "token",
            "ticket types",
            "coverage",
            "page cap",
            "initial load"
        ])
    );
    assert!(!env.path("halosync.db").exists(), "check created a database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secret_fails_the_token_step() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    fs::write(env.path("client-secret"), "wrong-7f3a91\n").unwrap();
    let found = check(&env, &[], 77);
    assert_eq!(steps(&found, "failure"), ["token"]);
    assert!(step(&found, "token")["help"].as_str().unwrap().contains("check client_id and the secret"));
    assert_eq!(step(&found, "server")["outcome"], "ok");

    // As text; an unusable secret still lets the server be checked.
    fs::write(env.path("client-secret"), "\n").unwrap();
    let text = env.run(&["check"]).code(78).stdout;
    for line in [
        "✗ secret         ",
        "    help: ",
        "✓ authorization  ",
        "skipped: integrity, schema, local edits, server probes, names, new fields, lateness, token,",
        "1 failure",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_list_that_leaves_tickets_out_warns_with_their_number() {
    let simulator = serve(&["plain_list=open_and_recent"]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    let found = check(&env, &[], 0);
    assert_eq!(steps(&found, "warning"), ["coverage"]);
    let counts = ["plain", "open", "closed"].map(|name| found["counts"][name].as_u64().unwrap());
    let [plain, open, closed] = counts;
    assert_eq!(open + closed, 250);
    let message = step(&found, "coverage")["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("it leaves out {}", 250 - plain)), "{message}");
    // The estimate of the initial load counts all of them.
    assert_eq!(found["initial_load"]["requests"], 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_check_sends_no_request_reads_no_secret_and_takes_no_lock() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    simulator.with(|server| server.log_mut().reset());
    // Reading it would be an error.
    fs::write(env.path("client-secret"), "\n").unwrap();
    fs::remove_file(env.path("halosync.db.lock")).unwrap();
    let found = check(&env, &["--offline"], 0);
    assert_eq!(
        steps(&found, "ok"),
        [
            "settings",
            "secret",
            "folder",
            "database",
            "integrity",
            "schema",
            "local edits",
            "server probes",
            "names",
            "new fields",
            "lateness",
            "privacy",
            "files",
            "disk",
            "lake"
        ]
    );
    assert_eq!(simulator.with(|server| server.log().total()), 0);
    assert!(!env.path("halosync.db.lock").exists());

    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let other =
        settings.replace(&format!("server_url = \"{}\"", simulator.url()), "server_url = \"http://[::1]:9\"");
    fs::write(env.path("agent.toml"), other).unwrap();
    let found = check(&env, &["--offline"], 78);
    assert_eq!(steps(&found, "failure"), ["database"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_server_behavior_is_a_warning() {
    let simulator = serve(&["page_cap=40", "date_header=off", "reference_needs_all=on"]).await;
    let env = TestEnv::for_server(&simulator.url(), "rate_limit = \"10/1s\"");
    let mut lock = fs::File::create(env.path("halosync.db.lock")).unwrap();
    writeln!(lock, "{}", std::process::id()).unwrap();
    lock.try_lock().unwrap();
    let found = check(&env, &[], 0);
    assert_eq!(steps(&found, "warning"), ["rate limit", "clock", "ticket types", "page cap"], "{found:#}");
    assert!(step(&found, "lock")["message"].as_str().unwrap().contains("exit with 75"), "{found:#}");
    assert_eq!((&found["page_rows"], &found["clock_ahead_seconds"]), (&40.into(), &Json::Null));
    assert_eq!(found["initial_load"]["requests"], 7 + 6);
}

#[test]
fn invalid_settings_fail_with_every_problem_listed() {
    let env = TestEnv::for_server("http://127.0.0.1:1", "page_sise = 50\nparallel_requests = 33");
    let found = check(&env, &[], 78);
    assert_eq!(steps(&found, "failure"), ["settings"]);
    assert_eq!(step(&found, "settings")["cause"].as_array().unwrap().len(), 2);
    assert_eq!(found["skipped"].as_array().unwrap().len(), CheckStep::ALL.len() - 1);
}

/// Common mistakes (`halo-api.md` §1, §9): the step that fails, the exit status and the help.
#[rstest]
#[case::the_login_type_is_not_agent(&["application=user"], "", &[], "coverage", 77, "log in as an agent (login type \"Agent\")")]
#[case::not_a_service(&["application=other"], "", &[], "token", 77, "\"Client ID and Secret (Services)\"")]
#[case::no_tenant(&["tenant=required"], "", &[], "token", 69, "check `tenant`")]
#[case::a_scope_without_tickets(&[], "scope = \"read:assets\"", &[], "coverage", 77, "have the scope read:tickets or all")]
#[case::a_portal(&[], "", &["list:html"], "coverage", 65, "the server sent a web page instead of JSON: check server_url")]
#[case::a_wrong_tenant(&["tenant=required"], "tenant = \"unknown\"\nmax_retries = 0", &[], "token", 69, "a wrong one also causes this error")]
#[case::a_token_without_a_scope(&[], "", &["list:status=401"], "coverage", 77, "have the scope read:tickets or all")]
#[case::the_limit_is_used_up_at_once(&[], "", &["any:throttle=1"], "server", 75, "other integrations may share the limit")]
#[case::the_limit_is_used_up_for_long(&[], "", &["any:throttle=600"], "server", 75, "other integrations may share the limit")]
#[case::a_proxy_that_wants_a_login(&[], "", &["any:html=407"], "server", 65, "a proxy on the way requires a login: set `proxy`")]
#[case::a_maintenance_page(&[], "", &["any:html=503"], "server", 69, "under maintenance")]
#[case::a_firewall(&[], "", &["token:html=403"], "token", 77, "allow this machine's address")]
#[case::a_custom_host_that_redirects(&[], "", &["any:redirect=308"], "server", 65, "set server_url to the new address")]
#[case::a_token_that_redirects(&[], "", &["token:redirect=307"], "token", 65, "redirects are never followed, because they would receive the secret")]
#[case::others_use_up_the_limit(&[], "", &["list:throttle=1"], "coverage", 75, "other integrations may share the limit")]
#[case::a_misspelled_type(&[], "ticket_type = \"Incidnet\"", &[], "ticket types", 78, "ticket_type can be any of")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_mistake_fails_its_step_with_help(
    #[case] knobs: &'static [&'static str],
    #[case] more: &str,
    #[case] faults: &'static [&'static str],
    #[case] at: &str,
    #[case] status: i32,
    #[case] help: &str,
) {
    let simulator = serve(knobs).await;
    for fault in faults {
        simulator.with(|server| server.inject(ServerFault::parse(fault).unwrap()));
    }
    let env = TestEnv::for_server(&simulator.url(), more);
    let found = check(&env, &[], status);
    assert_eq!(steps(&found, "failure"), [at], "{found:#}");
    let text = step(&found, at)["help"].as_str().unwrap();
    assert!(text.contains(help), "{text}");
}

/// Mistakes that do not stop a run.
#[rstest]
#[case::no_visible_ticket(hide_all, "coverage", "needs permissions for teams, clients and ticket types")]
#[case::the_clock_is_off(an_hour_slow, "clock", "set this machine's clock")]
#[case::a_proxy_drops_the_date(no_date, "clock", "check whether a proxy removes the header")]
#[case::names_are_forbidden(no_names, "ticket types", "tickets are synced anyway")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_server_is_a_warning_with_help(
    #[case] make: fn(&mut Server),
    #[case] at: &str,
    #[case] help: &str,
) {
    let simulator = serve(&[]).await;
    simulator.with(make);
    let env = TestEnv::for_server(&simulator.url(), "");
    let found = check(&env, &[], 0);
    assert_eq!(steps(&found, "warning"), [at], "{found:#}");
    let text = step(&found, at)["help"].as_str().unwrap();
    assert!(text.contains(help), "{text}");
}

fn hide_all(server: &mut Server) {
    let ids = server.ids();
    server.hide(&ids);
}

fn an_hour_slow(server: &mut Server) {
    server.set_clock_offset(TimeDelta::hours(-1));
}

fn no_date(server: &mut Server) {
    server.knobs().set("date_header=off").unwrap();
}

fn no_names(server: &mut Server) {
    server.knobs().set("reference_needs_all=on").unwrap();
}

/// A path behind the server's address.
#[rstest]
#[case::the_api("/api", 0, "")]
#[case::a_page_of_the_portal("/portal", 65, "server_url ends in `/portal`: remove that")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_in_server_url_is_named_in_the_help_when_not_found(
    #[case] path: &str,
    #[case] status: i32,
    #[case] help: &str,
) {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let settings: Vec<_> = settings.lines().filter(|line| !line.starts_with("auth_url")).collect();
    let url = simulator.url();
    let settings = settings.join("\n").replace(&url, &format!("{url}{path}"));
    fs::write(env.path("agent.toml"), settings).unwrap();
    let found = check(&env, &[], status);
    let text = found["steps"].as_array().unwrap().iter().rev().find_map(|step| step["help"].as_str());
    assert!(text.unwrap_or_default().contains(help), "{found:#}");
}

#[test]
fn portal_instead_of_the_resource_server_is_a_warning() {
    let portal = serve_response("200 OK\r\nContent-Type: text/html", "<!doctype html><p>Portal</p>");
    let found = check(&TestEnv::for_server(&portal, "max_retries = 0"), &[], 65);
    assert_eq!(step(&found, "server")["outcome"], "warning");
    let help = step(&found, "server")["help"].as_str().unwrap();
    assert!(help.contains("point to the portal") && help.contains("\"Resource Server\""), "{help}");
}

#[test]
fn scope_that_the_application_lacks_is_named_in_the_help() {
    let refusal =
        serve_response("400 Bad Request\r\nContent-Type: application/json", "{\"error\":\"invalid_scope\"}");
    let found = check(&TestEnv::for_server(&refusal, ""), &[], 77);
    let help = step(&found, "token")["help"].as_str().unwrap();
    assert!(help.ends_with("below [halo]: scope = \"all\""), "{help}");
}

#[test]
fn proxy_that_refuses_requests_is_named_without_its_login() {
    let proxy =
        serve_response("407 Proxy Authentication Required", "").replace("http://", "http://me:hunter2@");
    let env = TestEnv::for_server("https://halo.example", &format!("proxy = \"{proxy}\"\nmax_retries = 0"));
    let found = check(&env, &[], 69);
    let help = step(&found, "server")["help"].as_str().unwrap();
    assert!(help.starts_with("put user name and password into the setting `proxy`"), "{help}");
    assert!(!found.to_string().contains("hunter2"), "{found:#}");
}

/// Runs `sync` and `check` through a proxy, from the setting and from each of the variables. Asserts that they fail, name its
/// address and where it is set, and contain the texts; returns what they print.
fn outputs_through(proxy: &str, variables: &[&str], address: &str, wanted: &[&str]) -> Vec<String> {
    let from_settings = format!("proxy = \"{proxy}\"\nmax_retries = 0");
    let setting = (&*from_settings, None, "the setting `proxy`".to_owned());
    let variables = variables
        .iter()
        .map(|name| ("max_retries = 0", Some(*name), format!("the environment variable {name}")));
    let mut outputs = vec![];
    for (settings, variable, source) in [setting].into_iter().chain(variables) {
        let env = TestEnv::for_server("https://halo.example", settings);
        let message = format!("cannot reach halo.example through the proxy {address} (from {source})");
        for command in ["sync", "check"] {
            let mut command = env.command(&["--json", command]);
            command.envs(variable.map(|name| (name, proxy)));
            let result = CommandResult::of(command.spawn().unwrap()).code(69);
            let text = result.stdout + &result.stderr;
            for wanted in [&[&*message], wanted].concat() {
                assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
            }
            outputs.push(text);
        }
    }
    outputs
}

/// What a proxy answers to CONNECT, or that there is none: never reported as the server's.
#[rstest]
#[case::login_portal(
    "302 Found\r\nLocation: http://portal.example/login",
    "the proxy refuses to connect to the server",
    "let the proxy allow connections to the server, or correct "
)]
#[case::forbidden(
    "403 Forbidden",
    "the proxy refuses to connect to the server",
    "let the proxy allow connections to the server, or correct "
)]
#[case::login(
    "407 Proxy Authentication Required",
    "the proxy requires a login (407)",
    "put user name and password into "
)]
#[case::bad_gateway(
    "502 Bad Gateway",
    "the proxy refuses to connect to the server",
    "let the proxy allow connections to the server, or correct "
)]
#[case::no_http("closes", "the proxy closed the connection", "names an HTTP proxy and its right port")]
#[case::refused_connection("refuses", "the proxy cannot be reached", "and that the proxy runs")]
#[case::unknown_host("unknown", "the proxy cannot be reached", "and that the proxy runs")]
fn failure_of_a_proxy_names_the_proxy_and_where_it_is_set(
    #[case] head: &str,
    #[case] cause: &str,
    #[case] help: &str,
) {
    let proxy = match head {
        "refuses" => "http://127.0.0.1:1".to_owned(),
        "unknown" => "http://proxy.invalid:3128".to_owned(),
        "closes" => connect_proxy(None),
        head => serve_response(head, "<html>No way</html>"),
    };
    let address = proxy.replace("http://", "");
    let proxy = proxy.replace("http://", "http://me:hunter2@");
    for text in outputs_through(&proxy, &["HTTPS_PROXY", "all_proxy"], &address, &[cause, help]) {
        assert!(!text.contains("hunter2") && !text.contains("server_url"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_in_use_is_named_with_where_it_is_set() {
    let simulator = serve(&[]).await;
    let name = "halo.example";
    let tls = TlsProxy::start(&simulator.url(), &CertificateOptions { name, days: (-1, 90) });
    let proxy = connect_proxy(Some(tls.address));
    let address = proxy.replace("http://", "");
    let proxy = proxy.replace("http://", "http://me:hunter2@");
    let setting = format!("proxy = \"{proxy}\"\n");
    for (settings, variables, used) in [
        (&*setting, vec![], Some("the setting `proxy`")),
        (&*setting, vec![("NO_PROXY", name)], Some("the setting `proxy`")),
        ("", vec![("HTTPS_PROXY", &*proxy)], Some("the environment variable HTTPS_PROXY")),
        (
            "",
            vec![("ALL_PROXY", &*proxy), ("HTTP_PROXY", "http://127.0.0.1:1")],
            Some("the environment variable ALL_PROXY"),
        ),
        ("", vec![("https_proxy", &*proxy), ("NO_PROXY", ".example")], None),
    ] {
        let settings = format!("{settings}ca_file = \"authority.pem\"\nmax_retries = 0");
        let env = TestEnv::for_server(&format!("https://{name}"), &settings);
        fs::write(env.path("authority.pem"), &tls.authority).unwrap();
        let mut command = env.command(&["--json", "check"]);
        command.envs(variables.iter().copied());
        let found = CommandResult::of(command.spawn().unwrap()).json;
        let step = step(&found, "server");
        assert_eq!(step["outcome"], if used.is_some() { "ok" } else { "failure" }, "{step:#}");
        let message = step["message"].as_str().unwrap();
        match used {
            Some(source) => assert!(
                message.ends_with(&format!(" through the proxy {address} (from {source})")),
                "{message}"
            ),
            None => assert!(!step.to_string().contains("proxy 1"), "{step:#}"),
        }
        assert!(!found.to_string().contains("hunter2"), "{found:#}");
    }
    let env = TestEnv::for_server(&simulator.url(), "");
    let mut command = env.command(&["--json", "check"]);
    command.env("HTTP_PROXY", &proxy);
    let found = CommandResult::of(command.spawn().unwrap()).success().json;
    assert!(!found.to_string().contains("proxy"), "a server on this machine: {found:#}");
}

/// A proxy that intercepts TLS, and a server that ends connections: neither is a failure of the proxy itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_behind_a_proxy_names_the_proxy_and_where_it_is_set() {
    let simulator = serve(&[]).await;
    let intercepting =
        TlsProxy::start(&simulator.url(), &CertificateOptions { name: "halo.example", days: (-1, 90) });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closing = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(drop));
    for (target, cause, help) in [
        (
            intercepting.address,
            "is not signed by a trusted authority",
            "from a proxy that inspects TLS, set ca_file",
        ),
        (closing, "connection failed", "check that the proxy in the "),
    ] {
        let proxy = connect_proxy(Some(target));
        let address = proxy.replace("http://", "");
        outputs_through(&proxy, &["HTTPS_PROXY"], &address, &[cause, help]);
    }
}

#[test]
fn socks_proxy_is_reported_as_not_supported() {
    let proxy = "socks5://me:hunter2@127.0.0.1:1";
    let from_settings = format!("proxy = \"{proxy}\"");
    for (settings, variable, status) in [(&*from_settings, None, 78), ("", Some("HTTPS_PROXY"), 69)] {
        let env = TestEnv::for_server("https://halo.example", settings);
        for command in ["sync", "check"] {
            let mut command = env.command(&["--json", command]);
            command.envs(variable.map(|name| (name, proxy)));
            let result = CommandResult::of(command.spawn().unwrap()).code(status);
            let text = result.stdout + &result.stderr;
            assert!(text.contains("halosync supports http:// and https:// proxies, not socks5://"), "{text}");
            assert!(variable.is_none_or(|name| text.contains(name)), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("tried"), "{text}");
        }
    }
}

/// Starts a proxy that connects every CONNECT request to `target`, or answers with something that is not HTTP.
fn connect_proxy(target: Option<SocketAddr>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let forward = |mut client: TcpStream, target: Option<SocketAddr>| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let Some(target) = target else { return Ok(()) };
        let mut server = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut to_server, mut from_client) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || io::copy(&mut from_client, &mut to_server));
        io::copy(&mut server, &mut client)?;
        client.shutdown(Shutdown::Both)
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || forward(client, target));
        }
    });
    url
}

/// Responses that are not the server's: who answered, and what to do about that.
#[rstest]
#[case::firewall(
    "403 Forbidden",
    "<html>Blocked</html>",
    77,
    "a web page answered: probably an address filter or firewall between this machine and the server",
    "allow this machine's address"
)]
#[case::firewall_with_a_mark(
    "403 Forbidden",
    "\u{feff} <!DOCTYPE html>",
    77,
    "probably an address filter or firewall between",
    "allow this machine's address"
)]
#[case::module_of_a_web_server(
    "406 Not Acceptable",
    "<html>",
    65,
    "probably an address filter or firewall between",
    "allow this machine's address"
)]
#[case::cache(
    "304 Not Modified",
    "",
    65,
    "a cache between this machine and the server answered",
    "exclude the server from the cache"
)]
#[case::proxy(
    "407 Proxy Authentication Required",
    "",
    65,
    "a proxy between this machine and the server answered",
    "set `proxy` to its address"
)]
#[case::redirect(
    "301 Moved Permanently\r\nLocation: https://new.example/",
    "",
    65,
    "redirect to https://new.example",
    "redirects are never followed"
)]
#[case::redirect_to_nowhere("303 See Other", "", 65, "(status 303)", "redirects are never followed")]
#[case::no_redirect("300 Multiple Choices", "", 65, "(status 300)", "check server_url against")]
fn response_of_something_on_the_way_is_reported_as_such(
    #[case] head: &str,
    #[case] body: &str,
    #[case] status: i32,
    #[case] message: &str,
    #[case] help: &str,
) {
    let server = serve_response(head, body);
    let env = TestEnv::for_server(&server, "max_retries = 0");
    let found = check(&env, &[], status);
    // Of the first request, which needs no token, a 403 counts as a response.
    let failed = if status == 77 { "token" } else { "server" };
    assert_eq!(steps(&found, "failure"), [failed]);
    for (text, wanted) in [(&step(&found, failed)["message"], message), (&step(&found, failed)["help"], help)]
    {
        assert!(text.as_str().unwrap().contains(wanted), "{text}");
    }
    let synced = env.run(&["sync"]).code(status).stderr;
    assert!(synced.contains(message), "{synced}");
    assert!(!synced.contains("read:tickets"), "{synced}");
}

/// Only the first request is refused, and a run does not need it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_page_that_refuses_authinfo_fails_neither_check_nor_sync() {
    let simulator = serve(&[]).await;
    simulator.with(|server| server.inject(ServerFault::parse("authinfo:html=403").unwrap()));
    let env = TestEnv::for_server(&simulator.url(), "");
    for auth_url in ["as configured", "as the server says"] {
        let found = check(&env, &[], 0);
        assert_eq!(steps(&found, "failure"), [""; 0], "{auth_url}: {found:#}");
        env.run(&["sync"]).success();
        let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
        let settings: Vec<_> = settings.lines().filter(|line| !line.starts_with("auth_url")).collect();
        fs::write(env.path("agent.toml"), settings.join("\n")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_as_json_is_a_missing_permission_and_as_a_page_a_firewall() {
    for (fault, message, help) in [
        ("list:status=403", "(status 403): The request was refused.", "who may see tickets"),
        ("list:html=403", "an address filter or firewall", "allow this machine's address"),
    ] {
        let env = TestEnv::new(10).await;
        env.inject(fault);
        let result = env.run(&["sync"]).code(77);
        assert!(result.stderr.contains(message) && result.stderr.contains(help), "{}", result.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_fields_missing_from_the_list_are_estimated_per_ticket() {
    let simulator = serve(&["include_custom_fields=ignored"]).await;
    let env =
        TestEnv::for_server(&simulator.url(), "include_custom_fields = true\nrate_limit = \"100000/1s\"");
    let unknown = check(&env, &[], 0);
    assert_eq!(unknown["initial_load"]["requests"], 9);
    assert!(
        step(&unknown, "initial load")["message"].as_str().unwrap().contains("; 259 requests, "),
        "{unknown:#}"
    );
    env.run(&["sync"]).success();
    assert_eq!(check(&env, &[], 0)["initial_load"]["requests"], 9 + 250);
}

#[rstest]
#[case::valid("localhost", (-1, 90), true, "ok", "trusted: for localhost, by CN=Test authority, until 20", "")]
#[case::expires_soon("localhost", (-1, 5), true, "warning", "until 20", "renew it on the server in time")]
#[case::untrusted("localhost", (-1, 90), false, "failure", "the server's certificate is not signed by a trusted authority", "set ca_file to that authority's certificate")]
#[case::expired("localhost", (-9, -2), true, "failure", "the server's certificate expired at 20", "renew the server's certificate")]
#[case::not_yet_valid("localhost", (2, 90), true, "failure", "is not valid before 20", "correct this machine's clock")]
#[case::of_another_host("other.example", (-1, 90), true, "failure", "is for other.example, not for this host", "set server_url to a host name that the certificate is valid for")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_and_its_problem_are_described(
    #[case] name: &'static str,
    #[case] days: (i64, i64),
    #[case] trusted: bool,
    #[case] outcome: &str,
    #[case] fragment: &str,
    #[case] help: &str,
) {
    let simulator = serve(&[]).await;
    let proxy = TlsProxy::start(&simulator.url(), &CertificateOptions { name, days });
    let url = format!("https://localhost:{}", proxy.address.port());
    let env = TestEnv::for_server(&url, if trusted { "ca_file = \"authority.pem\"" } else { "" });
    fs::write(env.path("authority.pem"), &proxy.authority).unwrap();
    let found = check(&env, &[], if outcome == "failure" { 69 } else { 0 });
    let step = step(&found, if outcome == "failure" { "server" } else { "certificate" });
    assert_eq!(step["outcome"], outcome, "{found:#}");
    let text = format!("{} {}", step["message"].as_str().unwrap(), step["cause"]);
    assert!(text.contains(fragment), "{step:#}");
    assert!(step["help"].as_str().unwrap_or_default().contains(help), "{step:#}");
    if outcome != "failure" {
        env.run(&["sync"]).success();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_database_page_fails_the_integrity_step() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    env.damage("changes_by_ticket");
    let found = check(&env, &["--offline"], 65);
    assert_eq!(steps(&found, "failure"), ["integrity"], "{found:#}");
    assert!(step(&found, "integrity")["help"].as_str().unwrap().contains("restore a backup"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trigger_of_another_program_fails_the_schema_step_with_the_line_that_drops_it() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    edit(&env, "CREATE TRIGGER audit AFTER INSERT ON changes BEGIN DELETE FROM changes; END");
    let found = check(&env, &["--offline"], 65);
    assert_eq!(steps(&found, "failure"), ["schema"], "{found:#}");
    let (message, help) =
        (&step(&found, "schema")["message"], step(&found, "schema")["help"].as_str().unwrap());
    assert!(
        message.as_str().unwrap().contains("trigger audit on changes does not belong to halosync"),
        "{message}"
    );
    assert!(help.starts_with("sqlite3 ") && help.ends_with("halosync.db 'DROP TRIGGER \"audit\"'"), "{help}");

    edit(&env, "DROP TRIGGER audit; CREATE VIEW mine AS SELECT UID FROM tickets");
    let found = check(&env, &["--offline"], 0);
    assert_eq!(
        step(&found, "schema")["message"],
        "as halosync made it; also here, and left alone: view mine"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edited_and_lost_tickets_are_a_warning_until_a_full_scan_repairs_them() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    let id = |nth: i64| env.number(&format!("SELECT UID FROM tickets ORDER BY UID LIMIT 1 OFFSET {nth}"));
    let (edited, lost, status, flipped) = (id(3), id(5), id(7), id(9));
    edit(&env, &format!("UPDATE tickets SET NAME = 'mine' WHERE UID = {edited}"));
    lose(&env, &format!("DELETE FROM tickets WHERE UID = {lost}"));
    lose(&env, &format!("UPDATE tickets SET STATUS = 'mine' WHERE UID = {status}"));
    lose(&env, &format!("UPDATE tickets SET NAME = 'flipped' WHERE UID = {flipped}"));
    let found = check(&env, &["--offline"], 0);
    assert_eq!(steps(&found, "warning"), ["local edits"], "{found:#}");
    assert_eq!(
        step(&found, "local edits")["message"],
        format!(
            "another program changed the stored tickets (tickets: 1 edited (the first is {edited}), 1 lost (the first \
             is {lost}), 1 with a wrong status name (the first is {status}))"
        )
    );
    let help = &step(&found, "local edits")["help"];
    assert_eq!(help, "the next full scan repairs them: `halosync sync --full`");
    let repaired = env.run(&["sync", "--full"]).success().stderr;
    assert!(repaired.contains("another program changed the database; this scan repairs it"), "{repaired}");
    assert_eq!(env.texts("SELECT reason FROM changes WHERE op = 'u'"), ["repaired"; 3]);

    // The line of the help makes the next full scan repair what no trigger saw.
    assert_eq!(steps(&check(&env, &["--offline"], 0), "warning"), [""; 0]);
    let found = check(&env, &["--offline", "--deep"], 0);
    assert_eq!(steps(&found, "warning"), ["local edits"], "{found:#}");
    let message = step(&found, "local edits")["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("1 ticket is not stored as received ({flipped})")), "{message}");
    let help = step(&found, "local edits")["help"].as_str().unwrap();
    edit(&env, help.split('\'').nth(1).unwrap());
    env.run(&["sync", "--full"]).success();
    let found = check(&env, &["--offline", "--deep"], 0);
    assert_eq!(
        step(&found, "local edits")["message"],
        "no other program changed the stored tickets; every ticket is stored as received"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_change_records_are_a_warning() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    edit(&env, "DELETE FROM changes WHERE seq BETWEEN 7 AND 9");
    let found = check(&env, &["--offline"], 0);
    assert_eq!(steps(&found, "warning"), ["database"], "{found:#}");
    let message = step(&found, "database")["message"].as_str().unwrap();
    assert!(
        message.contains("3 change records are missing in the database: a new lineage begins"),
        "{message}"
    );
    assert_eq!(step(&found, "local edits")["message"], "no other program changed the stored tickets");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_guard_that_holds_is_a_warning() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "");
    env.run(&["sync"]).success();
    simulator.with(|server| {
        let ids = server.ids();
        server.hide(&ids[..100]);
    });
    let result = env.run(&["sync", "--full"]).code(3);
    assert!(result.stderr.contains("incomplete: 100 tickets would be deleted at once"), "{}", result.stderr);
    let found = check(&env, &["--offline"], 0);
    assert_eq!(steps(&found, "warning"), ["database"], "{found:#}");
    let (message, help) = (&step(&found, "database")["message"], &step(&found, "database")["help"]);
    // In the words of `status`.
    let status = env.run_json(&["status"]).json;
    let causes = status["reasons"].as_array().unwrap();
    let cause = causes.iter().find(|it| it["reason"] == "delete_guard").unwrap();
    assert!(
        cause["message"].as_str().unwrap().starts_with("100 tickets would be deleted at once; "),
        "{cause}"
    );
    assert!(message.as_str().unwrap().ends_with(cause["message"].as_str().unwrap()), "{message} {cause}");
    assert_eq!(help, &cause["help"]);
}

#[test]
fn offline_check_does_not_need_the_secret() {
    for (name, spoil) in [
        ("missing", (|file| fs::remove_file(file).unwrap()) as fn(&Path)),
        ("readable by others", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap()),
        ("unreadable", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap()),
        ("writable by others", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o622)).unwrap()),
    ] {
        let server = FixtureServer::serve([]);
        let env = TestEnv::for_server(&server.url(), "");
        spoil(&env.path("client-secret"));
        let found = check(&env, &["--offline"], 0);
        let expected: &[&str] = if name == "unreadable" { &[] } else { &["secret"] };
        assert_eq!(steps(&found, "warning"), expected, "{name}: {found:#}");
        assert!(server.requests().is_empty(), "{name}");
    }
    let env = TestEnv::for_server("http://127.0.0.1:1", "");
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let settings = settings.replace("client_secret_file = \"client-secret\"\n", "");
    fs::write(env.path("agent.toml"), settings).unwrap();
    let found = check(&env, &["--offline"], 0);
    assert_eq!(steps(&found, "warning"), ["secret"], "{found:#}");
}

#[test]
fn deny_warnings_exits_with_78_unless_a_failure_has_a_status_of_its_own() {
    let env =
        TestEnv::for_server("http://127.0.0.1:1", "max_retries = 0\n[metrics]\nlisten = \"0.0.0.0:9184\"");
    let found = check(&env, &["--offline"], 0);
    assert_eq!(steps(&found, "warning"), ["settings"]);
    let step = step(&found, "settings");
    assert!(
        step["message"].as_str().unwrap().ends_with("served to other machines, on 0.0.0.0:9184"),
        "{step}"
    );
    assert!(step["help"].as_str().unwrap().contains("set metrics.listen to 127.0.0.1"), "{step}");
    check(&env, &["--offline", "--deny-warnings"], 78);
    let text = env.run(&["check", "--offline", "--deny-warnings"]).code(78).stdout;
    assert!(text.contains("no failures, 1 warning, denied by --deny-warnings"), "{text}");
    check(&env, &["--deny-warnings"], 69);
    for listen in ["127.0.0.1:9184", "[::1]:9184"] {
        let env = TestEnv::for_server("http://127.0.0.1:1", &format!("[metrics]\nlisten = \"{listen}\""));
        check(&env, &["--offline", "--deny-warnings"], 0);
    }
}

#[test]
fn verbose_check_begins_with_versions_and_system() {
    let env = TestEnv::for_server("http://127.0.0.1:1", "");
    let found = check(&env, &["--offline"], 0);
    let program = &found["program"];
    assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(program["sqlite"], rusqlite::version());
    assert_eq!(program["user_id"], rustix::process::geteuid().as_raw());
    assert_eq!(program["settings"], env.path("agent.toml").to_str().unwrap());
    let text = env.run(&["-v", "check", "--offline"]).success().stdout;
    let first = format!("halosync {}, SQLite {}\n", env!("CARGO_PKG_VERSION"), rusqlite::version());
    assert!(text.starts_with(&first), "{text}");
    let (head, _) = text.split_once('✓').unwrap();
    for name in ["system", "kernel", "user_id", "settings"] {
        let value = program[name].as_str().map_or(program[name].to_string(), ToOwned::to_owned);
        assert!(!value.is_empty() && head.contains(&value), "{value} is not in\n{head}");
    }
    let quiet = env.run(&["check", "--offline"]).success().stdout;
    assert!(quiet.starts_with('✓'), "{quiet}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initial_load_waits_for_what_the_window_has_used_up() {
    let simulator = serve(&[]).await;
    let env = TestEnv::for_server(&simulator.url(), "rate_limit = \"60/1h\"");
    assert_eq!(check(&env, &[], 0)["initial_load"]["seconds"], 0);
    env.run(&["sync"]).success();
    let used = env.number("SELECT SUM(requests) FROM runs");
    edit(&env, "UPDATE runs SET requests = 45");
    let found = check(&env, &[], 0);
    assert!(used < 20, "{used}");
    assert_eq!(found["initial_load"]["requests"], 9);
    assert_eq!(found["initial_load"]["seconds"], 3_600, "{found:#}");
}

/// What another program does.
fn edit(env: &TestEnv<()>, sql: &str) {
    rusqlite::Connection::open(env.database.path()).unwrap().execute_batch(sql).unwrap();
}

/// What a damaged disk does: no trigger fires.
fn lose(env: &TestEnv<()>, sql: &str) {
    let connection = rusqlite::Connection::open(env.database.path()).unwrap();
    let triggers = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
    connection.set_db_config(triggers, false).unwrap();
    connection.execute_batch(sql).unwrap();
}
