//! Searches everything that the program writes for the client secret, the tokens and the text of tickets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::Utc;
use halo_simulator::{Edit, SecretEncoding, ServerFault, Simulator};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get};
use super::life::EVERY_200_MS;
use super::readers::{GROUP, SERVICE, as_user, env_of_service_user, start_as_service_user};
use super::serve;
use super::support::test_env::TestEnv;

/// Needs escaping in a URL, so that its URL encoding differs from the plain text.
const SECRET: &str = "canary+secret/4f1d=9b?&c7";

/// Returns the encodings of a text, each with its name: plain, hex, URL, JSON, HTML, and base64 at each of three offsets.
fn encodings(text: &str) -> Vec<(String, String)> {
    let mut encodings = vec![
        ("plain".to_owned(), text.to_owned()),
        ("hex".to_owned(), text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("HEX".to_owned(), text.bytes().map(|byte| format!("{byte:02X}")).collect()),
        ("url".to_owned(), url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
        ("percent".to_owned(), text.bytes().map(|byte| format!("%{byte:02x}")).collect()),
        ("json".to_owned(), text.replace('/', "\\/")),
        ("json code points".to_owned(), text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect()),
        ("html".to_owned(), text.bytes().map(|byte| format!("&#{byte};")).collect()),
    ];
    for offset in 0..3 {
        // The characters at both ends depend on the neighboring bytes; those between do not.
        let padded = [&vec![b'x'; offset][..], text.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        let from = (offset * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        let encoded = &encoded[from..to];
        encodings.push((format!("base64 at {offset}"), encoded.to_owned()));
        encodings.push((format!("base64url at {offset}"), encoded.replace('+', "-").replace('/', "_")));
    }
    encodings
}

/// Returns each encoding of one of the texts that occurs in `bytes`.
fn find_encodings(texts: &[&str], bytes: &[u8]) -> Vec<String> {
    let all = texts.iter().flat_map(|text| encodings(text));
    let found = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let present = all.filter(|(_, encoded)| found.contains(&encoded.to_ascii_lowercase()));
    present.map(|(encoding_name, encoded)| format!("{encoded} ({encoding_name})")).collect()
}

/// Returns all files in a folder and its subfolders.
fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files
}

/// Starts a proxy to the server that records the tokens in its responses.
fn token_recording_proxy(server: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&tokens);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut client, mut upstream) =
                (stream.unwrap(), std::net::TcpStream::connect(&server).unwrap());
            let (mut back, mut forth) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut client, &mut forth);
                let _ = forth.shutdown(std::net::Shutdown::Write);
            });
            let recorded = Arc::clone(&recorded);
            thread::spawn(move || {
                let mut piece = vec![0; 65_536];
                while let Ok(length @ 1..) = upstream.read(&mut piece) {
                    let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                    for token in text.split("\"access_token\":\"").skip(1) {
                        recorded.lock().unwrap().push(token.split('"').next().unwrap().to_owned());
                    }
                    if back.write_all(&piece[..length]).is_err() {
                        break;
                    }
                }
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, tokens)
}

#[test]
fn search_finds_every_encoding() {
    for text in ["canary", "ab", "a/b?c"] {
        for (encoding_name, encoded) in encodings(text) {
            let surrounded = format!("before{encoded}behind");
            assert!(!find_encodings(&[text], surrounded.as_bytes()).is_empty(), "{text} as {encoding_name}");
        }
    }
    assert!(!find_encodings(&["canary"], STANDARD_NO_PAD.encode("a canary in a mine").as_bytes()).is_empty());
    assert!(find_encodings(&["canary"], b"a canar in a mine").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_and_tokens_are_in_no_output_even_at_trace_level() {
    let mut server_settings = super::settings(250);
    server_settings.client_secret = SECRET.into();
    server_settings.knobs.set("gzip=off").unwrap();
    let simulator = Simulator::start(server_settings).await.unwrap();
    let (proxy, tokens) = token_recording_proxy(simulator.url().replace("http://", ""));
    let metrics = free_address();
    for format in ["text", "json"] {
        let more = format!(
            "{}\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n\n[metrics]\nlisten = \"{metrics}\"\n\
             textfile = \"halosync.prom\"\n\n[export]\nschedule = \"after-sync\"\n",
            EVERY_200_MS.replace("rate_limit", "include_custom_fields = true\nrate_limit")
        );
        let env = TestEnv::for_server(&format!("http://{proxy}"), &more);
        let secret = env.path("client-secret");
        fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let mut daemon = Daemon::start(&env);
        daemon.logged("complete: full scan");
        // Every kind of error that a request can have.
        for fault in
            ["list@x1:status=500", "list@x1:html", "list@x1:redirect=307", "list@x1:reset", "list@x1:expire"]
        {
            simulator.with(|server| server.inject(ServerFault::parse(fault).unwrap()));
            daemon.sync_now();
        }
        simulator.with(|server| server.inject(ServerFault::parse("token@x1:status=400").unwrap()));
        simulator.with(|server| server.revoke_tokens());
        daemon.logged("run incomplete");
        daemon.logged("recovered after");
        let metrics_text = get(&metrics, "/metrics").1;
        let process = Path::new("/proc").join(daemon.pid().to_string());
        let kernel_view = [
            fs::read(process.join("cmdline")).unwrap(),
            fs::read(process.join("environ")).unwrap_or_default(),
        ];
        assert_eq!(daemon.stop(), Some(0));
        let log = daemon.transcript();
        assert!(log.contains("response received"), "the log shows no request:\n{log}");

        fs::write(&secret, "a wrong one\n").unwrap();
        let mut command_output = Vec::new();
        for arguments in [
            vec!["-vvv", "sync"],
            vec!["-vvv", "check"],
            vec!["--json", "check"],
            vec!["status"],
            vec!["export", "snapshot"],
        ] {
            let result = env.run(&arguments);
            command_output.extend([result.stdout, result.stderr].concat().into_bytes());
        }
        fs::remove_file(&secret).unwrap();
        let tokens = tokens.lock().unwrap().clone();
        assert!(2 <= tokens.len(), "fewer than two tokens were recorded");
        let mut texts = vec![SECRET, "a wrong one"];
        texts.extend(tokens.iter().map(String::as_str));
        let mut outputs = vec![
            ("the log".to_owned(), log.into_bytes()),
            ("the metrics".to_owned(), metrics_text.into_bytes()),
            ("the output of the commands".to_owned(), command_output),
        ];
        outputs.extend(kernel_view.map(|bytes| ("/proc of the process".to_owned(), bytes)));
        outputs.extend(files_in(&env.path("")).into_iter().map(|file| {
            let bytes = fs::read(&file).unwrap();
            (file.display().to_string(), bytes)
        }));
        assert!(outputs.iter().any(|(name, _)| name.contains("snapshots")), "there is no snapshot to search");
        for (name, bytes) in outputs {
            assert_eq!(find_encodings(&texts, &bytes), Vec::<String>::new(), "in {name}");
        }
    }
}

/// The forms of an error body.
const BODIES: [&str; 10] =
    ["message", "error", "nested", "pair", "exception", "list", "string", "plain", "empty", "html"];

/// Every way to fail, at every endpoint, each with the number of the error's form.
const FAILURES: [&str; 18] = [
    "list:status=400",
    "list:status=401",
    "list:status=403",
    "list:status=404",
    "list:status=500",
    "list:error=200",
    "list:html=200",
    "list:error=502",
    "list:throttle",
    "list:redirect=307",
    "token:status=400",
    "token:status=401",
    "token:status=500",
    "token:redirect=307",
    "token:error=400",
    "status:status=403",
    "tickettype:error=403",
    "fieldinfo:status=400",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_and_tokens_that_errors_repeat_are_redacted_in_every_encoding() {
    let mut server_settings = super::settings(30);
    server_settings.client_secret = SECRET.into();
    server_settings.knobs.set("gzip=off").unwrap();
    let simulator = Simulator::start(server_settings).await.unwrap();
    let (proxy, tokens) = token_recording_proxy(simulator.url().replace("http://", ""));
    let inject = |fault: &str| simulator.with(|server| server.inject(ServerFault::parse(fault).unwrap()));
    let mut redactions = 0;
    for (number, (name, _)) in SecretEncoding::ALL.into_iter().enumerate() {
        let settings = "include_custom_fields = true\nmax_retries = 0\nrate_limit_wait = \"10ms\"\n";
        let env = TestEnv::for_server(&format!("http://{proxy}"), settings);
        fs::write(env.path("client-secret"), SECRET).unwrap();
        let mut all_tokens = Vec::new();
        let mut search = |what: &str, bytes: &[u8], all: bool| {
            all_tokens.append(&mut tokens.lock().unwrap());
            let newest = if all { 0 } else { all_tokens.len().saturating_sub(2) };
            let texts: Vec<_> =
                [SECRET].into_iter().chain(all_tokens[newest..].iter().map(String::as_str)).collect();
            assert_eq!(find_encodings(&texts, bytes), Vec::<String>::new(), "{name}: in {what}");
        };
        env.run(&["sync"]).success();
        // All of them in the first encoding, every other one in each of the others.
        let failures =
            FAILURES.iter().enumerate().filter(|(index, _)| number == 0 || (index + number) % 2 == 0);
        for (index, failure) in failures {
            simulator.with(|server| {
                server.clear_faults();
                server
                    .knobs()
                    .set(&format!("error_body={}", BODIES[(index + name.len()) % BODIES.len()]))
                    .unwrap();
            });
            inject(&format!("any:echo={name}"));
            inject(failure);
            let commands = [&["-vvv", "sync", "--full"][..], &["-vvv", "--json", "check"]];
            for arguments in commands.into_iter().take(1 + usize::from(index % 4 < 2)) {
                let result = env.run(arguments);
                let output = result.stdout + &result.stderr;
                redactions += output.matches("[redacted]").count();
                search(&format!("{failure}: {arguments:?}"), output.as_bytes(), false);
                assert!(!failure.contains("list:") || result.status != Some(0), "{failure} did not fail");
            }
        }
        let status = env.run(&["--json", "status"]);
        search("status", (status.stdout + &status.stderr).as_bytes(), true);
        for file in files_in(&env.path("")).iter().filter(|file| !file.ends_with("client-secret")) {
            search(&file.display().to_string(), &fs::read(file).unwrap(), true);
        }
        let errors = env.texts("SELECT error FROM runs WHERE error IS NOT NULL");
        assert!(5 < errors.len(), "{errors:?}");
    }
    assert!(50 < redactions, "only {redactions} errors repeated something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_redacts_what_errors_and_authinfo_repeat() {
    let mut server_settings = super::settings(30);
    server_settings.client_secret = SECRET.into();
    server_settings.knobs.set("gzip=off").unwrap();
    let simulator = Simulator::start(server_settings).await.unwrap();
    let more = format!("{EVERY_200_MS}\n[log]\nlevel = \"trace\"\n");
    let env = TestEnv::for_server(&simulator.url(), &more);
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let without: String =
        settings.lines().filter(|it| !it.starts_with("auth_url")).map(|it| format!("{it}\n")).collect();
    fs::write(env.path("agent.toml"), without).unwrap();
    fs::write(env.path("client-secret"), SECRET).unwrap();
    // Its tenant repeats the secret; the path of the token endpoint does not, or there would be no token.
    let repeated =
        format!("/api/authinfo={{\"auth_url\":\"{}/auth\",\"tenant_id\":\"{SECRET}\"}}", simulator.url());
    let (path, body) = repeated.split_once('=').unwrap();
    simulator.with(|server| {
        server.replay(halo_simulator::ReplayedResponse {
            path: path.into(),
            status: 200,
            body: body.as_bytes().into(),
        });
    });
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    for (name, _) in SecretEncoding::ALL {
        for failure in ["list:status=403", "list:error=500"] {
            simulator.with(|server| {
                server.clear_faults();
                server.inject(ServerFault::parse(&format!("any:echo={name}")).unwrap());
                server.inject(ServerFault::parse(failure).unwrap());
            });
            daemon.signal(Signal::USR1);
            daemon.logged("request for the ticket list");
            simulator.with(|server| server.clear_faults());
            daemon.sync_now();
        }
    }
    assert_eq!(daemon.stop(), Some(0));
    let log = daemon.transcript();
    assert!(log.contains("tenant=[redacted]") || log.contains("tenant%3D[redacted]"), "{log}");
    assert_eq!(find_encodings(&[SECRET], log.as_bytes()), Vec::<String>::new());
    for file in files_in(&env.path("")).iter().filter(|file| !file.ends_with("client-secret")) {
        assert_eq!(
            find_encodings(&[SECRET], &fs::read(file).unwrap()),
            Vec::<String>::new(),
            "{}",
            file.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticket_text_is_in_no_log_above_debug() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    simulator.with(|server| {
        let id = server.ids()[0];
        server.edit(id, Edit::Summary("canary-summary".into()), Utc::now());
        let broken = server.ids()[1];
        server
            .set_raw_row(broken, format!("{{\"id\":{broken},\"summary\":7,\"details\":\"canary-details\"}}"));
    });
    let mut daemon = Daemon::start_with(&env, &["-v"], |_| {});
    daemon.logged("complete:");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(daemon.count_lines("canary"), 0, "{}", daemon.transcript());
    let stored = env.number("SELECT COUNT(*) FROM tickets WHERE NAME LIKE 'canary%'");
    assert_eq!(stored, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn core_dumps_are_off_and_no_process_of_the_same_user_reads_memory_or_environment() {
    let simulator = serve(250).await;
    let is_root = rustix::process::geteuid().is_root();
    // Root may read everything: only of the process of another user can one tell who else may.
    let (env, mut daemon);
    if is_root {
        env = env_of_service_user(&simulator.url());
        daemon = start_as_service_user(&env);
    } else {
        env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
        daemon = Daemon::start(&env);
    }
    daemon.notified("READY=1");
    let process = Path::new("/proc").join(daemon.pid().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|it| *it == "0").count(), 2, "{core}");
    let owner = |name: &str| fs::metadata(process.join(name)).unwrap().uid();
    assert_eq!(owner("") == SERVICE, is_root);
    for name in ["environ", "mem"] {
        // The kernel gives the files of a process that cannot be dumped to root.
        assert_eq!(owner(name), 0, "{name}");
        let mut reader =
            if is_root { as_user(SERVICE, GROUP, Path::new("cat")) } else { Command::new("cat") };
        let output = reader.arg(process.join(name)).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{name}: {output:?}");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}
