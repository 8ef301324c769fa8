//! Bad input and the errors that it causes, compared with `tests/golden/bad-input.txt`.
//!
//! Each case runs the program in its own folder, and then checks that nothing incomplete was written there.
//! `UPDATE_GOLDEN=1 cargo test --test bad_input` writes the golden file again; review it with `git diff`.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use support::fixture_server::serve_response;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad-input.txt");

/// The simulator's secret, a wrong one and a password: they must never be printed or stored.
const SECRETS: [&str; 3] = ["demo-secret", "wrong-7f3a91", "hunter2"];

/// The longest time that a case may take.
const MAX_DURATION: Duration = Duration::from_secs(5);

const NO_SMALL_DISK: &str = "cannot mount a small disk (only root can)";

/// An address without a server.
const UNUSED_URL: &str = "http://127.0.0.1:1";

#[test]
fn bad_input_reports_the_errors_of_the_golden_file() {
    let mut golden = GoldenFile::read();
    unreadable_settings(&mut golden);
    invalid_settings(&mut golden);
    server_addresses(&mut golden);
    secrets(&mut golden);
    refused_requests(&mut golden);
    failed_connections(&mut golden);
    invalid_responses(&mut golden);
    unusable_databases(&mut golden);
    locked_databases(&mut golden);
    full_disks(&mut golden);
    invalid_output_paths(&mut golden);
    missing_databases(&mut golden);
    consumers(&mut golden);
    rejected_resets(&mut golden);
    invalid_command_lines(&mut golden);
    json_errors(&mut golden);
    golden.compare();
}

fn unreadable_settings(golden: &mut GoldenFile) {
    let mut case = golden.case("no settings file");
    case.remove("agent.toml");
    // This machine may have its own settings.
    if Path::new("/etc/halosync/agent.toml").exists() {
        case.skip("/etc/halosync/agent.toml exists");
    } else {
        case.fails(&["sync"], 78, After::Unchanged);
    }

    let case = golden.case("the settings file named by --config is missing");
    case.fails(&["-c", "elsewhere/agent.toml", "sync"], 78, After::Unchanged);

    let case = golden.case("the settings file named by HALOSYNC_CONFIG is missing");
    case.env("HALOSYNC_CONFIG", "elsewhere.toml").fails(&["status"], 78, After::Unchanged);

    let case = golden.case("the settings are a folder");
    fs::create_dir(case.path("folder.toml")).expect("a folder");
    case.fails(&["-c", "folder.toml", "sync"], 78, After::Unchanged);

    let case = golden.case("the settings are not UTF-8");
    case.write("agent.toml", b"[halo]\nclient_id = \"caf\xe9\"\n").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("the settings are not TOML");
    let text = "[halo]\nserver_url = https://halo.example.com\n";
    case.write("agent.toml", text).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("the settings are JSON");
    let text = "{\"halo\": {\"server_url\": \"https://halo.example.com\"}}\n";
    case.write("agent.toml", text).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("the settings have a duplicate key");
    case.add("halo", "client_id = \"other\"").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a syntax error in the line with the secret");
    let text = "[halo]\nclient_secret = \"wrong-7f3a91\nclient_id = \"x\"\n";
    case.write("agent.toml", text).mode("agent.toml", 0o600).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("the settings are empty");
    case.write("agent.toml", "").fails(&["sync"], 78, After::Unchanged);
}

fn invalid_settings(golden: &mut GoldenFile) {
    let case = golden.case("an unknown key");
    case.add("halo", "page_sise = 50").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("an unknown key without a similar one");
    case.add("halo", "colour_of_the_sky = \"blue\"").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a key in the wrong section");
    case.add("store", "page_size = 50").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a key outside any section");
    let text = format!("page_size = 50\n{}", settings(UNUSED_URL));
    case.write("agent.toml", text).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("an unknown section");
    case.append("\n[exports]\nformat = \"csv\"\n").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("an unknown variable");
    case.env("HALOSYNC_HALO__PAGE_SISE", "50").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a variable with one underscore too few");
    case.env("HALOSYNC_HALO_PAGE_SIZE", "50").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a variable with a wrong value");
    case.env("HALOSYNC_HALO__PAGE_SIZE", "many").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("numbers out of their range");
    let case = case.add("halo", "page_size = 0\nparallel_requests = 33\nrate_limit = \"0/5m\"");
    let case = case.append("\n[sync]\ndelete_guard = \"101%\"\naccept_shortfall = -1\njitter = \"a bit\"\n");
    case.change("max_retries = 0", "max_retries = 21").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("bad durations");
    let case = case.add("halo", "connect_timeout = 10\nrequest_timeout = \"2\"\nrate_limit_wait = \"0s\"");
    let case = case.append(
        "\n[sync]\ninterval = \"-5m\"\noverlap = \"ten minutes\"\nfull_every = \"never\"\n\
         \n[export]\nkeep = \"99999999999999999999d\"\n",
    );
    case.fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("values that are not among the choices");
    let case = case.append(
        "\n[export]\nformat = \"xml\"\nschedule = \"nightly\"\nconsumer = \"Data Lake\"\nack = \"yes\"\n\
         \n[log]\nlevel = \"loud\"\nformat = \"xml\"\n",
    );
    case.fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("values of the wrong type");
    let case = case.add("halo", "ticket_type = [\"Incident\", 4]\npage_size = \"50\"");
    case.add("store", "full_text = \"yes\"").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("several problems at once");
    let text = "[halo]\nserver_url = \"ftp://halo.example.com\"\nclient_secret_fil = \"secret\"\n\
                page_size = 500\n\n[syncc]\ninterval = \"5m\"\n";
    case.write("agent.toml", text).env("HALOSYNC_LOG__LEVELL", "debug").fails(
        &["sync"],
        78,
        After::Unchanged,
    );

    let case = golden.case("a certificate file that is missing");
    case.add("halo", "ca_file = \"ca.pem\"").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a certificate file without a certificate");
    let case = case.add("halo", "ca_file = \"ca.pem\"").write("ca.pem", "not a certificate\n");
    case.fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a proxy that is not a URL");
    let case = case.change(UNUSED_URL, "https://halo.invalid");
    case.add("halo", "proxy = \"http://user:hunter2@:99999\"").fails(&["sync"], 78, After::Unchanged);
}

fn server_addresses(golden: &mut GoldenFile) {
    for (name, url) in [
        ("http to another machine", "http://halo.example.com"),
        ("an address with user and password", "https://admin:hunter2@halo.example.com"),
        ("an address without a scheme", "halo.example.com"),
        ("an address with a query", "https://halo.example.com/?tenant=acme"),
        ("an empty address", ""),
    ] {
        golden.case(name).change(UNUSED_URL, url).fails(&["sync"], 78, After::Unchanged);
    }
    let case = golden.case("an authorization server without TLS");
    case.add("halo", "auth_url = \"http://auth.example.com/auth\"").fails(&["sync"], 78, After::Unchanged);
}

fn secrets(golden: &mut GoldenFile) {
    let case = golden.case("a secret file that others can read");
    case.mode("client-secret", 0o644).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a secret in settings that others can read");
    let case = case.change("client_secret_file = \"client-secret\"", "client_secret = \"demo-secret\"");
    case.mode("agent.toml", 0o640).fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("no secret");
    case.change("client_secret_file = \"client-secret\"\n", "").fails(&["sync"], 78, After::Unchanged);

    let mut case = golden.case("a secret file that is missing");
    case.remove("client-secret");
    case.fails(&["sync"], 78, After::Unchanged);

    for (name, secret) in [
        ("an empty secret file", &b"\n"[..]),
        ("a secret with a CRLF in the middle", b"wrong-7f3a91\r\nsecond line\r\n"),
        ("a secret with a trailing space", b"wrong-7f3a91 \n"),
        ("a secret with a byte order mark", b"\xef\xbb\xbfwrong-7f3a91\n"),
        ("a secret that is not UTF-8", b"wrong-7f3a91\xff\n"),
    ] {
        let case = golden.case(name).write("client-secret", secret);
        case.fails(&["sync"], 78, After::Unchanged);
    }

    let case = golden.case("an empty secret in the environment");
    case.env("HALOSYNC_HALO__CLIENT_SECRET", "").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a secret of the wrong type");
    let case = case.change("client_secret_file = \"client-secret\"", "client_secret = 73991");
    case.mode("agent.toml", 0o600).fails(&["sync"], 78, After::Unchanged);
}

fn refused_requests(golden: &mut GoldenFile) {
    let mut case = golden.case("an unknown ticket type");
    case.simulate(&[]);
    case.add("halo", "ticket_type = \"Incidents\"").fails(&["sync"], 78, After::NewDatabase);

    let mut case = golden.case("a wrong secret");
    case.simulate(&[]);
    case.write("client-secret", "wrong-7f3a91\n").fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("a wrong secret after a complete sync");
    case.sync_first();
    case.write("client-secret", "wrong-7f3a91\n").fails(&["sync"], 77, After::SameData);

    let mut case = golden.case("an application with another authentication method");
    case.simulate(&["application=other"]);
    case.fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("an application without an agent login");
    case.simulate(&["application=user"]);
    case.fails(&["sync"], 77, After::NewDatabase);

    let case = golden.case("an OAuth scope that the server rejects");
    let url =
        serve_response("400 Bad Request\r\nContent-Type: application/json", r#"{"error":"invalid_scope"}"#);
    case.set_server_url(&url).fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("a wrong tenant");
    case.simulate_tenant("acme");
    case.add("halo", "tenant = \"acne\"").fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("a missing tenant");
    case.simulate_tenant("acme");
    case.fault("authinfo:status=404");
    case.fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("403 for everything except tokens");
    case.simulate(&[]);
    for endpoint in ["list", "ticket", "status", "tickettype"] {
        case.fault(&format!("{endpoint}:status=403"));
    }
    case.fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("403 for everything");
    case.simulate(&[]);
    case.fault("any:status=403");
    case.fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("403 as a web page for everything");
    case.simulate(&[]);
    case.fault("any:html=403");
    case.fails(&["sync"], 77, After::NewDatabase);

    let mut case = golden.case("403 for everything after a complete sync");
    case.sync_first();
    case.fault("any:status=403");
    case.fails(&["sync", "--full"], 77, After::SameData);

    let mut case = golden.case("401 for every new token");
    case.simulate(&[]);
    case.fault("list:status=401");
    case.fails(&["sync"], 77, After::NewDatabase);
}

fn failed_connections(golden: &mut GoldenFile) {
    let case = golden.case("the server is down");
    case.fails(&["sync"], 69, After::NewDatabase);

    let case = golden.case("the server is down, with one retry");
    case.change("max_retries = 0", "max_retries = 1").fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("the server goes down after a complete sync");
    case.sync_first();
    case.stop_simulator();
    case.fails(&["sync"], 69, After::SameData);

    let case = golden.case("a host name that does not resolve");
    case.change(UNUSED_URL, "https://halo.invalid").fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("https to a server without TLS");
    case.simulate(&[]);
    case.change("http://", "https://").fails(&["sync"], 69, After::NewDatabase);

    let case = golden.case("an untrusted certificate");
    let url = serve_untrusted_tls();
    case.change(UNUSED_URL, &url).fails(&["sync"], 69, After::NewDatabase);

    let case = golden.case("a proxy that is down");
    let case = case.change(UNUSED_URL, "https://halo.invalid");
    let case = case.add("halo", "proxy = \"http://user:hunter2@127.0.0.1:1\"");
    case.fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("a response that exceeds the request timeout");
    case.simulate(&[]);
    case.fault("list:delay=60000");
    case.add("halo", "request_timeout = \"200ms\"").fails(&["sync"], 69, After::NewDatabase);

    let mut case = golden.case("a connection that is closed during a response");
    case.simulate(&[]);
    case.fault("list:cut");
    case.fails(&["sync"], 69, After::NewDatabase);

    let case = golden.case("an authorization server without TLS, reported by the server");
    let url = serve_response(
        "200 OK\r\nContent-Type: application/json",
        r#"{"auth_url":"http://auth.example.com/auth"}"#,
    );
    case.set_server_url(&url).fails(&["sync"], 78, After::NewDatabase);
}

fn invalid_responses(golden: &mut GoldenFile) {
    for (name, fault, status) in [
        ("a web page instead of tickets", "list:html", 65),
        ("a web page instead of a token", "token:html", 65),
        ("an empty response instead of tickets", "list:blank", 65),
        ("JSON with an unexpected structure", "list:error=200", 65),
        ("a redirect of the list", "list:redirect=302", 65),
        ("a redirect of the token request", "token:redirect=307", 65),
        ("404 for the ticket list", "list:status=404", 65),
        ("a server under maintenance", "list:html=503", 69),
        ("a rate limit that never ends", "list:throttle=1", 75),
    ] {
        let mut case = golden.case(name);
        case.simulate(&[]);
        case.fault(fault);
        case.fails(&["sync"], status, After::NewDatabase);
    }

    let mut case = golden.case("a web page in the middle of a full scan");
    case.sync_first();
    case.fault("list@2..:html");
    case.fails(&["sync", "--full"], 65, After::SameData);
}

fn unusable_databases(golden: &mut GoldenFile) {
    let case = golden.case("a database in a missing folder");
    case.add("store", "path = \"data/halosync.db\"").fails(&["sync"], 73, After::Unchanged);

    let case = golden.case("a database that is a folder");
    fs::create_dir(case.path("halosync.db")).expect("a folder");
    case.fails(&["sync"], 74, After::Unchanged);

    let case = golden.case("a file that is not a database");
    let case = case.write("halosync.db", "This text file is not a database.\n".repeat(50));
    case.fails(&["sync"], 65, After::Unchanged);

    let case = golden.case("status of a file that is not a database");
    let case = case.write("halosync.db", "This text file is not a database.\n".repeat(50));
    case.fails(&["status"], 65, After::Unchanged);

    let mut case = golden.case("a damaged header");
    case.sync_first();
    case.overwrite(0, b"SQLite format 4\0");
    case.fails(&["sync"], 65, After::Unchanged);

    let mut case = golden.case("a damaged schema table");
    case.sync_first();
    case.overwrite(100, &[0xAB; 64]);
    case.fails(&["sync"], 65, After::Unchanged);

    let case = golden.case("a database of another program");
    create_foreign_database(&case.path("halosync.db"), "DELETE");
    case.fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("a database of another program that is running");
    let path = case.path("halosync.db");
    create_foreign_database(&path, "WAL");
    let other = Connection::open(&path).expect("its database");
    other.execute_batch("INSERT INTO bookmarks VALUES ('https://example.net')").expect("a row");
    case.fails(&["sync"], 78, After::Unchanged);
    drop(other);

    let case = golden.case("export from a database of another program");
    create_foreign_database(&case.path("halosync.db"), "DELETE");
    case.fails(&["export", "delta"], 78, After::Unchanged);

    for (name, arguments) in [
        ("a newer schema", &["sync"][..]),
        ("status of a newer schema", &["status"]),
        ("export from a newer schema", &["export", "delta"]),
    ] {
        let mut case = golden.case(name);
        case.sync_first();
        case.sql("PRAGMA user_version = 1000");
        case.fails(arguments, 78, After::Unchanged);
    }

    let mut case = golden.case("the database of another server");
    case.sync_first();
    let case = case.set_server_url("http://127.0.0.1:2");
    case.fails(&["sync"], 78, After::Unchanged);

    let mut case = golden.case("the database of another server, with other tables configured");
    case.sync_first();
    let case = case.set_server_url("http://127.0.0.1:2");
    case.add("store", "full_text = true\nindex_last_modified = true").fails(&["sync"], 78, After::Unchanged);

    let mut case = golden.case("the database of another tenant");
    case.sync_first();
    case.add("halo", "tenant = \"acme\"").fails(&["sync"], 78, After::Unchanged);

    let case = golden.case("root in the folder of another user");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(case.path("."), Some(65_534), Some(65_534)).expect("another owner");
        case.fails(&["sync"], 78, After::Unchanged);
    } else {
        case.skip("only root can change the owner of a folder");
    }
}

fn locked_databases(golden: &mut GoldenFile) {
    let mut case = golden.case("a second instance");
    case.sync_first();
    let mut lock = File::create(case.path("halosync.db.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.fails(&["sync"], 75, After::Unchanged);

    let mut case = golden.case("a second export");
    case.sync_first();
    let mut lock = File::create(case.path("halosync.db.export.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.fails(&["export", "delta"], 75, After::Unchanged);

    let mut case = golden.case("another program with an open transaction");
    case.sync_first();
    let other = Connection::open(case.path("halosync.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
    case.fails(&["sync"], 75, After::Unchanged);
    drop(other);
}

/// The settings for a database on a disk whose free space is not watched.
fn unwatched(disk: &SmallDisk) -> String {
    format!("path = {:?}\nmin_free_disk = 0", disk.file("halosync.db"))
}

fn full_disks(golden: &mut GoldenFile) {
    let case = golden.case("a disk with less free space than the settings demand");
    match &SmallDisk::mount("64k") {
        Some(disk) => {
            let case = case.hide_path(disk).add("store", &format!("path = {:?}", disk.file("halosync.db")));
            case.fails(&["sync"], 74, After::Unchanged);
            assert!(files(disk.path()).is_empty(), "something was created");
        }
        None => case.skip(NO_SMALL_DISK),
    }

    let mut case = golden.case("a disk that fills up during the first run");
    case.simulate(&[]);
    let disk = SmallDisk::mount("768k");
    match &disk {
        Some(disk) => {
            let case = case.hide_path(disk).add("store", &unwatched(disk));
            case.fails(&["sync"], 74, After::Unchanged);
            check_database(&disk.path().join("halosync.db"), "a full disk");
        }
        None => case.skip(NO_SMALL_DISK),
    }

    let case = golden.case("a disk that is full at the start");
    match &SmallDisk::mount("64k") {
        Some(disk) => {
            disk.fill();
            let case = case.hide_path(disk).add("store", &unwatched(disk));
            case.fails(&["sync"], 74, After::Unchanged);
        }
        None => case.skip(NO_SMALL_DISK),
    }

    let mut case = golden.case("an export to a full disk");
    case.sync_first();
    match &SmallDisk::mount("64k") {
        Some(disk) => {
            let case = case.hide_path(disk).append(&format!("\n[export]\ndir = {:?}\n", disk.file("export")));
            case.fails(&["export", "delta"], 74, After::SameData);
            let files = files(disk.path());
            assert!(files.values().all(Vec::is_empty), "an export to a full disk leaves {:?}", files.keys());
        }
        None => case.skip(NO_SMALL_DISK),
    }

    let case = golden.case("init on a full disk");
    match &SmallDisk::mount("64k") {
        Some(disk) => {
            disk.fill();
            case.hide_path(disk).fails(&["init", &disk.file("agent.toml")], 74, After::Unchanged);
            let paths: Vec<_> = files(disk.path()).into_keys().collect();
            assert_eq!(paths, [PathBuf::from("filler")], "incomplete settings were written");
        }
        None => case.skip(NO_SMALL_DISK),
    }
}

fn invalid_output_paths(golden: &mut GoldenFile) {
    let case = golden.case("init over an existing settings file");
    case.fails(&["init"], 73, After::Unchanged);

    let case = golden.case("init in a missing folder");
    case.fails(&["init", "elsewhere/agent.toml"], 73, After::Unchanged);

    let case = golden.case("a demo in a folder that the demo did not create");
    fs::create_dir(case.path("photos")).expect("a folder");
    let case = case.write("photos/holiday.jpg", "beach");
    case.fails(&["demo", "--dir", "photos"], 73, After::Unchanged);

    let case = golden.case("a demo in a missing folder");
    case.fails(&["demo", "--dir", "elsewhere/demo"], 73, After::Unchanged);

    let case = golden.case("a demo folder that is a file");
    case.fails(&["demo", "--dir", "agent.toml"], 73, After::Unchanged);

    let mut case = golden.case("an export to a missing folder");
    case.sync_first();
    case.fails(&["export", "delta", "--out", "elsewhere/export"], 73, After::Unchanged);

    let mut case = golden.case("an export folder that is a file");
    case.sync_first();
    let case = case.write("export", "a file\n");
    case.fails(&["export", "delta"], 73, After::Unchanged);

    let mut case = golden.case("an export to a symbolic link");
    case.sync_first();
    fs::create_dir(case.path("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink("elsewhere", case.path("export")).expect("a link");
    case.fails(&["export", "delta"], 73, After::Unchanged);

    let mut case = golden.case("a snapshot to a read-only disk");
    case.sync_first();
    match &SmallDisk::mount("64k") {
        Some(disk) => {
            disk.make_read_only();
            case.hide_path(disk).fails(
                &["export", "snapshot", "--out", &disk.file("export")],
                73,
                After::Unchanged,
            );
        }
        None => case.skip(NO_SMALL_DISK),
    }

    let mut case = golden.case("a link in the place of a package");
    case.sync_first();
    fs::create_dir_all(case.path("export/deltas/default")).expect("a folder");
    let link = case.path("export/deltas/default/000000000007-000000000009.csv");
    std::os::unix::fs::symlink(case.path("agent.toml"), link).expect("a link");
    case.fails(&["export", "delta"], 65, After::Unchanged);
}

fn consumers(golden: &mut GoldenFile) {
    for (name, arguments) in [
        ("export ack by an unknown consumer", &["export", "ack", "--consumer", "lake", "--seq", "7"][..]),
        ("export forget of an unknown consumer", &["export", "forget", "--consumer", "lake"]),
        ("export list of an unknown consumer", &["export", "list", "--consumer", "lake"]),
    ] {
        let mut case = golden.case(name);
        case.sync_first();
        case.fails(arguments, 66, After::Unchanged);
    }
    let mut case = golden.case("export ack in the middle of a package");
    case.sync_first();
    assert_eq!(case.run(&["export", "delta"]).status.code(), Some(0));
    case.fails(&["export", "ack", "--seq", "7"], 66, After::Unchanged);

    let mut case = golden.case("export ack of change 0");
    case.sync_first();
    assert_eq!(case.run(&["export", "delta"]).status.code(), Some(0));
    case.fails(&["export", "ack", "--seq", "0"], 66, After::Unchanged);

    golden.case("export list without a database").fails(&["export", "list"], 66, After::Unchanged);

    let mut case = golden.case("export verify without a package");
    case.remove("agent.toml");
    case.fails(&["export", "verify", "export"], 66, After::Unchanged);
}

fn missing_databases(golden: &mut GoldenFile) {
    golden.case("status without a database").fails(&["status"], 66, After::Unchanged);

    let case = golden.case("status of an empty file");
    case.write("halosync.db", "").fails(&["status"], 66, After::Unchanged);

    golden.case("export without a database").fails(&["export", "delta"], 66, After::Unchanged);

    let case = golden.case("export from an empty file");
    case.write("halosync.db", "").fails(&["export", "delta"], 66, After::Unchanged);
}

fn rejected_resets(golden: &mut GoldenFile) {
    let reset = &["reset", "--to", "2020-01-01", "--reason", "a backup was restored"];
    golden.case("reset without a database").fails(reset, 66, After::Unchanged);

    let case = golden.case("reset of an empty file");
    case.write("halosync.db", "").fails(reset, 66, After::Unchanged);

    let mut case = golden.case("reset while another instance is running");
    case.sync_first();
    let mut lock = File::create(case.path("halosync.db.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.fails(reset, 75, After::Unchanged);
    drop(lock);

    let mut case = golden.case("reset before the first complete sync");
    case.simulate(&[]);
    case.fault("list:status=403");
    assert_eq!(case.run(&["sync"]).status.code(), Some(77));
    case.fails(reset, 3, After::Unchanged);

    let mut case = golden.case("reset of the database of another server");
    case.sync_first();
    case.set_server_url("http://127.0.0.1:2").fails(reset, 78, After::Unchanged);

    for (name, to) in
        [("reset to the future", "9999-01-01"), ("reset forward", "2020-01-02T03:04:05.678+02:00")]
    {
        let mut case = golden.case(name);
        case.sync_first();
        case.sql("UPDATE watermarks SET covered_until = '2020-01-02T00:00:00.000Z'");
        case.fails(&["reset", "--to", to, "--reason", "x"], 2, After::Unchanged);
    }
}

fn invalid_command_lines(golden: &mut GoldenFile) {
    for (name, arguments) in [
        ("a consumer's name with a capital letter", &["export", "delta", "--consumer", "Warehouse"][..]),
        ("a consumer's name that is a path", &["export", "delta", "--consumer", "../../etc"]),
        ("an unknown format", &["export", "delta", "--format", "xml"]),
        ("an unknown value of --newlines", &["export", "delta", "--newlines", "strip"]),
        ("export forget without a consumer", &["export", "forget"]),
        ("an unknown knob", &["simulate", "--knob", "page_size=4"]),
        ("a knob with a wrong value", &["simulate", "--knob", "gzip=maybe"]),
        ("a fault at an unknown endpoint", &["simulate", "--fault", "tickets:cut"]),
        ("an unknown fault", &["simulate", "--fault", "list:explode"]),
        ("an unknown defect", &["simulate", "--fault", "list:row=texts.id"]),
        ("a simulator on a public address", &["simulate", "--listen", "0.0.0.0:8180"]),
        ("a replay without a path", &["simulate", "--replay", "rows.json"]),
        ("a replay with an impossible status", &["simulate", "--replay", "/api/tickets=999:rows.json"]),
        ("an unknown command", &["snyc"]),
        ("an unknown option", &["sync", "--ful"]),
        ("a secret as an option", &["sync", "--client-secret=wrong-7f3a91"]),
        ("a bad duration", &["status", "--max-age", "15"]),
        ("a demo without tickets", &["demo", "--tickets", "0"]),
        ("quiet and verbose", &["-q", "-v", "status"]),
        ("reset without a time", &["reset", "--reason", "a backup was restored"]),
        ("reset without a reason", &["reset", "--to", "2020-01-01"]),
        ("reset with an empty reason", &["reset", "--to", "2020-01-01", "--reason", " "]),
        ("reset to a time without a zone", &["reset", "--to", "2020-01-01T12:00:00", "--reason", "x"]),
        ("reset to an invalid time", &["reset", "--to", "yesterday", "--reason", "x"]),
    ] {
        golden.case(name).fails(arguments, 2, After::Unchanged);
    }
    for (name, replay) in [
        ("a file to replay that does not exist", "/api/tickets=rows.json"),
        ("a file to replay that is a folder", "/api/tickets=."),
    ] {
        golden.case(name).fails(&["simulate", "--replay", replay], 66, After::Unchanged);
    }
}

fn json_errors(golden: &mut GoldenFile) {
    let case = golden.case("several problems, as JSON");
    case.add("halo", "page_sise = 50\nparallel_requests = 33").fails(
        &["--json", "sync"],
        78,
        After::Unchanged,
    );

    let mut case = golden.case("a wrong secret, as JSON");
    case.simulate(&[]);
    case.write("client-secret", "wrong-7f3a91\n").fails(&["--json", "sync"], 77, After::NewDatabase);

    let case = golden.case("the server is down, as JSON");
    case.fails(&["--json", "sync"], 69, After::NewDatabase);

    let case = golden.case("no database, as JSON");
    case.fails(&["status", "--json"], 66, After::Unchanged);

    let case = golden.case("an unknown command, as JSON");
    case.fails(&["--json", "snyc"], 2, After::Unchanged);

    let case = golden.case("an unknown knob, as JSON");
    case.fails(&["--json", "simulate", "--knob", "page_size=4"], 2, After::Unchanged);
}

#[test]
fn secret_with_line_ending_and_empty_database_file_are_accepted() {
    let mut golden = GoldenFile::read();
    for (secret, database) in [
        ("demo-secret", None),
        ("demo-secret\n", Some("")),
        ("demo-secret\r\n", None),
        ("demo-secret\r", None),
    ] {
        let mut case = golden.case("valid input");
        case.simulate(&[]);
        case.put("client-secret", secret);
        if let Some(database) = database {
            case.put("halosync.db", database);
        }
        let output = case.run(&["sync"]);
        assert_eq!(output.status.code(), Some(0), "{secret:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The expected content of the folder after a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The same files with the same bytes, apart from lock files.
    Unchanged,
    /// A new, consistent database with one failed run and no watermark.
    NewDatabase,
    /// The same tickets, changes and watermark in the database, and the failed run.
    SameData,
}

/// The golden file and the output of the cases, which is compared with it.
struct GoldenFile {
    runtime: Runtime,
    /// The sections of the file by case name.
    expected: BTreeMap<String, String>,
    sections: Vec<String>,
    failed: Vec<&'static str>,
}

impl GoldenFile {
    fn read() -> GoldenFile {
        let text = fs::read_to_string(GOLDEN).unwrap_or_default();
        let sections = text.split("\n\n# ").map(|section| section.trim_start_matches("# ").trim_end());
        let named = sections.map(|section| (section.lines().next().unwrap_or_default(), section));
        GoldenFile {
            runtime: Runtime::new().expect("a runtime"),
            expected: named.map(|(name, section)| (name.to_owned(), section.to_owned())).collect(),
            sections: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Creates a folder with valid settings and a secret, for a server that is not running.
    fn case(&mut self, name: &'static str) -> Case<'_> {
        let dir = tempfile::Builder::new().prefix("halosync-").tempdir().expect("a folder");
        let case = Case {
            golden: self,
            name,
            dir,
            environment: Vec::new(),
            placeholders: Vec::new(),
            simulator: None,
        };
        case.put("agent.toml", settings(UNUSED_URL));
        case.put("client-secret", "demo-secret\n");
        case.mode("agent.toml", 0o640).mode("client-secret", 0o600)
    }

    /// Compares the output with the golden file, or updates the file.
    fn compare(self) {
        let text = self.sections.iter().fold(String::new(), |text, section| text + "# " + section + "\n\n");
        let text = format!("{}\n", text.trim_end());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(Path::new(GOLDEN).parent().expect("a folder")).expect("a folder");
            fs::write(GOLDEN, &text).expect("the golden file");
        }
        assert!(self.failed.is_empty(), "these cases failed: {:#?}", self.failed);
        let mut differences = String::new();
        for section in &self.sections {
            let name = section.lines().next().unwrap_or_default();
            let expected = self.expected.get(name).map_or("(not in the golden file)", String::as_str);
            if expected != section {
                let _ = write!(differences, "\n--- expected: {expected}\n+++ actual: {section}\n");
            }
        }
        let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(
            golden == text,
            "the output, or the order or number of cases, differs from the golden file; \
             if this is intended, update the file with UPDATE_GOLDEN=1:\n{differences}"
        );
    }
}

/// One bad input, in its own folder.
struct Case<'g> {
    golden: &'g mut GoldenFile,
    name: &'static str,
    dir: TempDir,
    environment: Vec<(&'static str, String)>,
    /// Paths that differ between runs, each with its replacement in the output.
    placeholders: Vec<(String, &'static str)>,
    simulator: Option<Simulator>,
}

impl Case<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        // An existing file keeps its mode.
        fs::write(self.path(name), content).expect("a file");
    }

    fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(name, content);
        self
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).expect("an existing file");
    }

    fn mode(self, name: &str, mode: u32) -> Self {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("a mode");
        self
    }

    fn env(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Changes the settings.
    fn change(self, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        assert!(text.contains(from), "{}: {from} is not in the settings", self.name);
        self.write("agent.toml", text.replacen(from, to, 1))
    }

    fn set_server_url(self, url: &str) -> Self {
        let url = format!("server_url = \"{url}\"");
        let text = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        let lines = text.lines().map(|line| if line.starts_with("server_url") { &url } else { line });
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        self.write("agent.toml", text)
    }

    fn add(self, section: &str, lines: &str) -> Self {
        let header = format!("[{section}]\n");
        self.change(&header, &format!("{header}{lines}\n"))
    }

    fn append(self, text: &str) -> Self {
        let settings = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        self.write("agent.toml", settings + text)
    }

    /// Replaces the path of the disk in the output.
    fn hide_path(mut self, disk: &SmallDisk) -> Self {
        self.placeholders.push((disk.path().display().to_string(), "<disk>"));
        self
    }

    /// Starts a simulated HaloITSM and sets its address in the settings.
    fn simulate(&mut self, knobs: &[&str]) {
        let mut settings = SimulatorSettings { tickets: 250, ..SimulatorSettings::default() };
        for knob in knobs {
            settings.knobs.set(knob).expect("a knob");
        }
        self.start(settings);
    }

    fn simulate_tenant(&mut self, tenant: &str) {
        let mut settings = SimulatorSettings {
            tickets: 250,
            tenant: Some(tenant.to_owned()),
            ..SimulatorSettings::default()
        };
        settings.knobs.set("tenant=required").expect("a knob");
        self.start(settings);
    }

    fn start(&mut self, settings: SimulatorSettings) {
        let simulator = self.golden.runtime.block_on(Simulator::start(settings)).expect("a simulator");
        let text = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        self.put("agent.toml", text.replace(UNUSED_URL, &simulator.url()));
        self.simulator = Some(simulator);
    }

    fn stop_simulator(&mut self) {
        let simulator = self.simulator.take().expect("a simulator");
        self.golden.runtime.block_on(simulator.stop());
    }

    fn fault(&mut self, fault: &str) {
        let simulator = self.simulator.as_ref().expect("a simulator");
        simulator.with(|server| server.inject(ServerFault::parse(fault).expect("a fault")));
    }

    /// Starts a simulated HaloITSM and runs a complete sync.
    fn sync_first(&mut self) {
        self.simulate(&[]);
        let output = self.run(&["sync"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: the first sync failed: {message}", self.name);
    }

    /// Executes SQL in the database.
    fn sql(&self, sql: &str) {
        let database = Connection::open(self.path("halosync.db")).expect("the database");
        keep_wal(&database);
        database.execute_batch(sql).expect(sql);
    }

    /// Damages the database: overwrites bytes from an offset on.
    fn overwrite(&self, offset: usize, damage: &[u8]) {
        let mut bytes = fs::read(self.path("halosync.db")).expect("the database");
        bytes[offset..offset + damage.len()].copy_from_slice(damage);
        self.put("halosync.db", bytes);
    }

    /// Runs the program in the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        for (name, _) in std::env::vars_os() {
            let folded = name.to_string_lossy().to_ascii_lowercase();
            if folded.starts_with("halosync_")
                || folded.ends_with("_proxy")
                || folded == "credentials_directory"
            {
                command.env_remove(name);
            }
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(arguments).envs(environment).current_dir(self.dir.path()).output().expect("the program")
    }

    /// Runs the program, checks exit status, output and folder, and records the message.
    fn fails(self, arguments: &[&str], status: i32, after: After) {
        let name = self.name;
        let before = FolderContent::read(self.dir.path(), after);
        let since = Instant::now();
        let output = self.run(arguments);
        let took = since.elapsed();
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        let check = || {
            assert_eq!(output.status.code(), Some(status), "{name}: the exit status; message:\n{message}");
            assert!(took < MAX_DURATION, "{name}: it took {took:?}");
            assert!(output.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
            assert!(
                !SECRETS.iter().any(|secret| message.contains(secret)),
                "{name} prints a secret:\n{message}"
            );
            if arguments.contains(&"--json") {
                check_json(name, &message, status);
            } else {
                check_text(name, &message, status);
            }
            before.check(name, self.dir.path(), after);
        };
        // The other cases still run.
        if std::panic::catch_unwind(AssertUnwindSafe(check)).is_err() {
            self.golden.failed.push(name);
        }
        let mut section = format!("{name}\n$ ");
        for (variable, value) in &self.environment {
            let _ = write!(section, "{variable}={value:?} ");
        }
        let message = self.normalize(&message);
        let _ = write!(
            section,
            "halosync {}\n{message}exit status {status}",
            self.normalize(&arguments.join(" "))
        );
        self.golden.sections.push(section);
    }

    /// Replaces what differs between machines and runs.
    fn normalize(&self, text: &str) -> String {
        let mut text = text.replace(&self.dir.path().display().to_string(), "<dir>");
        for (path, placeholder) in &self.placeholders {
            text = text.replace(path, placeholder);
        }
        let lines = text.split_inclusive('\n').map(|line| match line.split_once("  WARN ") {
            Some((_, warning)) => format!("<time>  WARN {warning}"),
            None => line.to_owned(),
        });
        text = lines.collect();
        text = text.replace(&format!("pid {}", std::process::id()), "pid <pid>");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("127.0.0.1:") {
            rest = after.trim_start_matches(|it: char| it.is_ascii_digit());
            out = out + before + "127.0.0.1:<port>";
        }
        out + rest
    }

    /// Skips a case that cannot run on this machine; its section of the golden file stays as it is.
    fn skip(self, why: &str) {
        // Not `eprintln!`, whose output the test runner captures.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {why}", self.name);
        let expected = self.golden.expected.get(self.name).cloned();
        self.golden.sections.push(expected.unwrap_or_else(|| format!("{}\n(not recorded yet)", self.name)));
    }
}

/// Returns valid settings.
fn settings(url: &str) -> String {
    format!(
        "[halo]\nserver_url = \"{url}\"\nclient_id = \"halosync-demo\"\nclient_secret_file = \"client-secret\"\n\
         max_retries = 0\n\n[store]\nbusy_timeout = \"50ms\"\n"
    )
}

/// Checks that a message has one error, its causes and one help line. Warnings may precede it.
fn check_text(name: &str, message: &str, status: i32) {
    assert!(!message.contains("panicked"), "{name}:\n{message}");
    let lines: Vec<_> = message.lines().skip_while(|line| line.contains(" WARN ")).collect();
    let count = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).count();
    let (errors, causes, helps) = (count("error: "), count("cause: "), count("help: "));
    assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{name}:\n{message}");
    // Messages about the command line come from clap, in its own format.
    if status != 2 {
        assert_eq!((errors, helps, errors + causes + helps), (1, 1, lines.len()), "{name}:\n{message}");
        assert!(lines.last().is_some_and(|line| line.starts_with("help: ")), "{name}:\n{message}");
    }
}

/// Checks that a message is one JSON object with the documented members.
fn check_json(name: &str, message: &str, status: i32) {
    assert_eq!(message.lines().count(), 1, "{name}:\n{message}");
    let value: Value = serde_json::from_str(message).expect("one JSON object");
    let object = value.as_object().expect("one JSON object");
    let keys: Vec<_> = object.keys().map(String::as_str).collect();
    assert_eq!(keys, ["cause", "code", "error", "exit_status", "help", "schema_version"], "{name}");
    assert!(
        value["error"].is_string() && value["cause"].is_array() && value["help"].is_string(),
        "{name}:\n{message}"
    );
    assert_eq!(value["exit_status"], status, "{name}");
}

/// The content of a folder before the program ran.
struct FolderContent {
    files: BTreeMap<PathBuf, Vec<u8>>,
    data: Vec<String>,
}

impl FolderContent {
    fn read(folder: &Path, after: After) -> FolderContent {
        let data =
            if after == After::SameData { stored_data(&folder.join("halosync.db")) } else { Vec::new() };
        FolderContent { files: files(folder), data }
    }

    fn check(&self, name: &str, folder: &Path, after: After) {
        let database = folder.join("halosync.db");
        let now = files(folder);
        for (path, bytes) in &now {
            let own = ["agent.toml", "client-secret"].iter().any(|own| path.ends_with(own));
            let has_secret =
                SECRETS.iter().any(|it| bytes.windows(it.len()).any(|bytes| bytes == it.as_bytes()));
            assert!(own || !has_secret, "{name}: a secret is in {}", path.display());
        }
        let is_database = |path: &PathBuf| path.to_string_lossy().starts_with("halosync.db");
        let paths = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        match after {
            After::Unchanged => {
                assert_eq!(paths(&now), paths(&self.files), "{name}: the files in the folder");
                for (path, bytes) in &now {
                    assert!(self.files[path] == *bytes, "{name}: {} was changed", path.display());
                }
            }
            After::NewDatabase => {
                let new: Vec<_> =
                    paths(&now).into_iter().filter(|path| !self.files.contains_key(path)).collect();
                assert_eq!(new, ["halosync.db", "halosync.db-wal"].map(PathBuf::from), "{name}: new files");
                check_database(&database, name);
                let runs = texts(&database, "SELECT outcome || ': ' || error FROM runs");
                assert!(runs.len() == 1 && runs[0].starts_with("failed: "), "{name}: {runs:?}");
                let mode = fs::metadata(&database).expect("the database").permissions().mode() & 0o777;
                assert_eq!(mode, 0o640, "{name}: the database can be read by others");
            }
            After::SameData => {
                let without = |files: &BTreeMap<PathBuf, Vec<u8>>| {
                    let mut files = files.clone();
                    files.retain(|path, _| !is_database(path));
                    files
                };
                assert!(without(&now) == without(&self.files), "{name}: other files were changed");
                assert_eq!(texts(&database, "PRAGMA integrity_check"), ["ok"], "{name}");
                assert!(stored_data(&database) == self.data, "{name}: the data was changed");
            }
        }
    }
}

/// Returns the files below a folder with their bytes, except lock files and `-shm` files of SQLite.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(folder).expect("a file below").to_owned();
            let ending = name.to_string_lossy().into_owned();
            if path.is_dir() {
                files.insert(name, Vec::new());
                folders.push(path);
            } else if ending.strip_suffix(".lock").is_none() && !ending.ends_with("-shm") {
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// Checks that the database of a failed first run is consistent and has no watermark.
fn check_database(database: &Path, name: &str) {
    assert_eq!(texts(database, "PRAGMA integrity_check"), ["ok"], "{name}");
    assert_eq!(
        texts(database, "SELECT covered_until FROM watermarks WHERE covered_until IS NOT NULL"),
        [""; 0],
        "{name}"
    );
    let counts = "SELECT (SELECT COUNT(*) FROM tickets) - (SELECT COUNT(*) FROM changes)";
    assert_eq!(texts(database, counts), ["0"], "{name}: tickets without their change records");
}

/// Returns the data that a failed run must not change.
fn stored_data(database: &Path) -> Vec<String> {
    let tables =
        ["tickets", "ticket_state", "changes", "watermarks", "watermark_journal", "consumers", "packages"];
    let all = |table| texts(database, &format!("SELECT * FROM {table} ORDER BY 1"));
    let data: Vec<_> = tables.into_iter().flat_map(all).collect();
    assert!(data.len() > 500, "the first sync stored only {} rows", data.len());
    data
}

/// Returns the rows of a query as text.
fn texts(database: &Path, sql: &str) -> Vec<String> {
    let database = Connection::open(database).expect("the database");
    keep_wal(&database);
    let mut statement = database.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
        values.collect::<Result<Vec<_>, _>>()
    };
    let rows = statement.query_map([], row).expect(sql);
    let to_text = |value: &rusqlite::types::Value| match value {
        rusqlite::types::Value::Text(text) => text.clone(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    rows.map(|row| row.expect(sql).iter().map(to_text).collect::<Vec<_>>().join(" | ")).collect()
}

/// Prevents the checkpoint when the connection closes, which would remove the write-ahead log.
fn keep_wal(database: &Connection) {
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
}

/// Creates a database that another program could have, such as a browser.
fn create_foreign_database(path: &Path, journal: &str) {
    let database = Connection::open(path).expect("a database");
    database.pragma_update(None, "journal_mode", journal).expect("a journal mode");
    let sql = "CREATE TABLE bookmarks (address TEXT); INSERT INTO bookmarks VALUES ('https://example.org')";
    database.execute_batch(sql).expect("a table");
}

/// Starts a TLS server with a self-signed certificate; returns its address.
fn serve_untrusted_tls() -> String {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../fixtures/tls/self-signed.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../fixtures/tls/self-signed.key"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key.expect("a key"))
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // The client closes the connection, as it should.
            let _ = connection.complete_io(&mut stream);
        }
    });
    url
}

/// A small mounted disk, unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a disk of that size; `None` if this user cannot mount one.
    fn mount(size: &str) -> Option<SmallDisk> {
        let folder = tempfile::Builder::new().prefix("halosync-disk-").tempdir().expect("a folder");
        let options = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success()).then(|| SmallDisk(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    fn make_read_only(&self) {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status();
        assert!(mount.is_ok_and(|status| status.success()), "the disk cannot be remounted");
    }

    /// Fills the disk.
    fn fill(&self) {
        let mut file = File::create(self.path().join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
