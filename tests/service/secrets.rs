//! A secret and a token that nobody else has, searched for in everything that the program writes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use chrono::Utc;
use halo_simulator::{Edit, ServerFault, Simulator};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get};
use super::life::QUICK;
use super::serve;
use super::support::test_env::{CLIENT_SECRET, TestEnv};

/// Needs escaping in a URL, so that a form of its own would show.
const SECRET: &str = "canary+secret/4f1d=9b?&c7";

/// How a text may be written down: as it is, base64 (whatever its offset in what is encoded), as in a URL, hex.
fn spellings(text: &str) -> Vec<(String, String)> {
    let mut spellings = vec![
        ("plain".to_owned(), text.to_owned()),
        ("hex".to_owned(), text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("HEX".to_owned(), text.bytes().map(|byte| format!("{byte:02X}")).collect()),
        ("url".to_owned(), url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
        ("json".to_owned(), text.replace('/', "\\/")),
    ];
    for offset in 0..3 {
        // Characters at both ends depend on the neighbours; those between do not.
        let padded = [&vec![b'x'; offset][..], text.as_bytes()].concat();
        let encoded = base64(&padded);
        let from = (offset * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        spellings.push((format!("base64 at {offset}"), encoded[from..to].to_owned()));
    }
    spellings
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let group =
            piece.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for place in 0..=piece.len() {
            text.push(char::from(LETTERS[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// Every place in `bytes` where one of the texts stands, however it is spelled.
fn found(texts: &[&str], bytes: &[u8]) -> Vec<String> {
    let all = texts.iter().flat_map(|text| spellings(text));
    let found = all.filter(|(_, spelling)| {
        bytes.windows(spelling.len()).any(|window| window.eq_ignore_ascii_case(spelling.as_bytes()))
    });
    found.map(|(how, spelling)| format!("{spelling} ({how})")).collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// Passes everything on to the server and keeps the tokens that come back.
fn listen_in(server: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&tokens);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut inside, mut outside) = (stream.unwrap(), std::net::TcpStream::connect(&server).unwrap());
            let (mut back, mut forth) = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut inside, &mut forth);
                let _ = forth.shutdown(std::net::Shutdown::Write);
            });
            let heard = Arc::clone(&heard);
            thread::spawn(move || {
                let mut piece = vec![0; 65_536];
                while let Ok(length @ 1..) = outside.read(&mut piece) {
                    let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                    for token in text.split("\"access_token\":\"").skip(1) {
                        heard.lock().unwrap().push(token.split('"').next().unwrap().to_owned());
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
fn the_search_finds_what_it_searches_for() {
    for text in ["canary", "ab", "a/b?c"] {
        for (how, spelling) in spellings(text) {
            let around = format!("before{spelling}behind");
            assert!(!found(&[text], around.as_bytes()).is_empty(), "{text} as {how}");
        }
    }
    assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw");
    assert_eq!(found(&["canary"], base64(b"a canary in a mine").as_bytes()).len(), 1);
    assert!(found(&["canary"], b"a canar in a mine").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_the_secret_nor_a_token_is_in_anything_that_is_written_at_the_lowest_level() {
    let mut known = super::settings(250);
    known.client_secret = SECRET.into();
    known.knobs.set("gzip=off").unwrap();
    let simulator = Simulator::start(known).await.unwrap();
    let (proxy, tokens) = listen_in(simulator.url().replace("http://", ""));
    let metrics = free_address();
    for format in ["text", "json"] {
        let more = format!(
            "{}\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n\n[metrics]\nlisten = \"{metrics}\"\n\
             textfile = \"halosync.prom\"\n\n[export]\nschedule = \"after-sync\"\n",
            QUICK.replace("rate_limit", "include_custom_fields = true\nrate_limit")
        );
        let env = TestEnv::for_server(&format!("http://{proxy}"), &more);
        let secret = env.path("client-secret");
        fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let mut daemon = Daemon::start(&env);
        daemon.logged("complete: full scan");
        // Errors of every kind that a request can have.
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
        let figures = get(&metrics, "/metrics").1;
        let process = Path::new("/proc").join(daemon.pid().to_string());
        let outside = [
            fs::read(process.join("cmdline")).unwrap(),
            fs::read(process.join("environ")).unwrap_or_default(),
        ];
        assert_eq!(daemon.stop(), Some(0));
        let story = daemon.story();
        assert!(story.contains("response received"), "the log shows no request:\n{story}");

        fs::write(&secret, "a wrong one\n").unwrap();
        let mut shown = Vec::new();
        for arguments in [
            vec!["-vvv", "sync"],
            vec!["-vvv", "check"],
            vec!["--json", "check"],
            vec!["status"],
            vec!["export", "snapshot"],
        ] {
            let result = env.run(&arguments);
            shown.extend([result.stdout, result.stderr].concat().into_bytes());
        }
        fs::remove_file(&secret).unwrap();
        let tokens = tokens.lock().unwrap().clone();
        assert!(2 <= tokens.len(), "no token was heard");
        let mut texts = vec![SECRET, "a wrong one"];
        texts.extend(tokens.iter().map(String::as_str));
        let mut places = vec![
            ("the log".to_owned(), story.into_bytes()),
            ("the figures".to_owned(), figures.into_bytes()),
            ("what commands show".to_owned(), shown),
        ];
        places.extend(outside.map(|bytes| ("what the kernel shows of the process".to_owned(), bytes)));
        places.extend(files(&env.path("")).into_iter().map(|file| {
            let bytes = fs::read(&file).unwrap();
            (file.display().to_string(), bytes)
        }));
        assert!(
            places.iter().any(|(place, _)| place.contains("snapshots")),
            "there is no snapshot to search"
        );
        for (place, bytes) in places {
            assert_eq!(found(&texts, &bytes), Vec::<String>::new(), "in {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_words_of_a_ticket_are_in_no_log_above_debug() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), QUICK);
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
    assert_eq!(daemon.lines_with("canary"), 0, "{}", daemon.story());
    let kept = env.number("SELECT COUNT(*) FROM tickets WHERE NAME LIKE 'canary%'");
    assert_eq!(kept, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_core_is_dumped_and_nobody_of_the_same_user_looks_into_the_process() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), QUICK);
    assert!(!CLIENT_SECRET.is_empty());
    let mut daemon = Daemon::start(&env);
    daemon.told("READY=1");
    let process = Path::new("/proc").join(daemon.pid().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|it| *it == "0").count(), 2, "{core}");
    if rustix::process::geteuid().is_root() {
        // What belongs to root in /proc cannot be read by the user of a process that may be dumped by nobody.
        let mut look = Command::new("setpriv");
        look.args(["--reuid=65534", "--clear-groups", "--regid=65534", "cat"]).arg(process.join("environ"));
        let looked = look.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(looked.is_ok_and(|status| !status.success()), "the environment was read");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}
