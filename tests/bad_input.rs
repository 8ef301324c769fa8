//! Every bad input, with its error as the user sees it: `tests/golden/bad-input.txt`.
//!
//! The program itself is run, in a folder of its own. What must not be written half is looked at
//! afterwards, in every case. `UPDATE_GOLDEN=1 cargo test --test bad_input` writes the golden file anew;
//! `git diff` is the review.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
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
use tempfile::TempDir;
use tokio::runtime::Runtime;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad-input.txt");

/// The simulator's secret, a wrong one, and a password: none of them may ever be shown or stored.
const SECRETS: [&str; 3] = ["demo-secret", "wrong-7f3a91", "hunter2"];

/// An error that is known at once is told at once.
const QUICK: Duration = Duration::from_secs(5);

const NO_DISK: &str = "no small disk can be mounted (this needs root)";

/// An address that nobody serves, for cases that must not get so far as to ask.
const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn every_bad_input_is_told_as_the_golden_file_says() {
    let mut book = Book::open();
    settings_that_cannot_be_read(&mut book);
    settings_that_cannot_be_used(&mut book);
    addresses(&mut book);
    secrets(&mut book);
    refusals(&mut book);
    connections(&mut book);
    answers(&mut book);
    databases(&mut book);
    other_programs_at_work(&mut book);
    full_disks(&mut book);
    files_that_are_in_the_way(&mut book);
    nothing_to_read(&mut book);
    consumers(&mut book);
    resets(&mut book);
    command_lines(&mut book);
    for_programs(&mut book);
    book.compare();
}

fn settings_that_cannot_be_read(book: &mut Book) {
    let mut case = book.case("no settings anywhere");
    case.remove("agent.toml");
    // A machine on which the tests run may have settings of its own.
    if Path::new("/etc/halosync/agent.toml").exists() {
        case.skip("/etc/halosync/agent.toml is there");
    } else {
        case.ends(&["sync"], 78, Left::AsItWas);
    }

    let case = book.case("the settings that are named are missing");
    case.ends(&["-c", "elsewhere/agent.toml", "sync"], 78, Left::AsItWas);

    let case = book.case("the settings that HALOSYNC_CONFIG names are missing");
    case.with("HALOSYNC_CONFIG", "elsewhere.toml").ends(&["status"], 78, Left::AsItWas);

    let case = book.case("the settings are a folder");
    fs::create_dir(case.path("folder.toml")).expect("a folder");
    case.ends(&["-c", "folder.toml", "sync"], 78, Left::AsItWas);

    let case = book.case("the settings are not UTF-8");
    case.write("agent.toml", b"[halo]\nclient_id = \"caf\xe9\"\n").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("the settings are not TOML");
    let text = "[halo]\nserver_url = https://halo.example.com\n";
    case.write("agent.toml", text).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("the settings are JSON");
    let text = "{\"halo\": {\"server_url\": \"https://halo.example.com\"}}\n";
    case.write("agent.toml", text).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("the settings have a key twice");
    case.add("halo", "client_id = \"other\"").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a broken line with the secret in it");
    let text = "[halo]\nclient_secret = \"wrong-7f3a91\nclient_id = \"x\"\n";
    case.write("agent.toml", text).mode("agent.toml", 0o600).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("the settings are empty");
    case.write("agent.toml", "").ends(&["sync"], 78, Left::AsItWas);
}

fn settings_that_cannot_be_used(book: &mut Book) {
    let case = book.case("an unknown key");
    case.add("halo", "page_sise = 50").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("an unknown key that is like no other");
    case.add("halo", "colour_of_the_sky = \"blue\"").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a key in the wrong section");
    case.add("store", "page_size = 50").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a key outside of a section");
    let text = format!("page_size = 50\n{}", settings(NOBODY));
    case.write("agent.toml", text).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("an unknown section");
    case.append("\n[exports]\nformat = \"csv\"\n").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("an unknown variable");
    case.with("HALOSYNC_HALO__PAGE_SISE", "50").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a variable with one underscore too few");
    case.with("HALOSYNC_HALO_PAGE_SIZE", "50").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a variable with a wrong value");
    case.with("HALOSYNC_HALO__PAGE_SIZE", "many").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("numbers out of their range");
    let case = case.add("halo", "page_size = 0\nparallel_requests = 33\nrate_limit = \"0/5m\"");
    let case = case.append("\n[sync]\ndelete_guard = \"101%\"\naccept_shortfall = -1\njitter = \"a bit\"\n");
    case.change("max_retries = 0", "max_retries = 21").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("bad durations");
    let case = case.add("halo", "connect_timeout = 10\nrequest_timeout = \"2\"\nrate_limit_wait = \"0s\"");
    let case = case.append(
        "\n[sync]\ninterval = \"-5m\"\noverlap = \"ten minutes\"\nfull_every = \"never\"\n\
         \n[export]\nkeep = \"99999999999999999999d\"\n",
    );
    case.ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("words that are none of the choices");
    let case = case.append(
        "\n[export]\nformat = \"xml\"\nschedule = \"nightly\"\nconsumer = \"Data Lake\"\nack = \"yes\"\n\
         \n[log]\nlevel = \"loud\"\nformat = \"xml\"\n",
    );
    case.ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("values of the wrong kind");
    let case = case.add("halo", "ticket_type = [\"Incident\", 4]\npage_size = \"50\"");
    case.add("store", "full_text = \"yes\"").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("several problems at once");
    let text = "[halo]\nserver_url = \"ftp://halo.example.com\"\nclient_secret_fil = \"secret\"\n\
                page_size = 500\n\n[syncc]\ninterval = \"5m\"\n";
    case.write("agent.toml", text).with("HALOSYNC_LOG__LEVELL", "debug").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a certificate file that is missing");
    case.add("halo", "ca_file = \"ca.pem\"").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a certificate file that holds no certificate");
    let case = case.add("halo", "ca_file = \"ca.pem\"").write("ca.pem", "not a certificate\n");
    case.ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a proxy that is no address");
    let case = case.change(NOBODY, "https://halo.invalid");
    case.add("halo", "proxy = \"http://user:hunter2@:99999\"").ends(&["sync"], 78, Left::AsItWas);
}

fn addresses(book: &mut Book) {
    for (name, url) in [
        ("http to another machine", "http://halo.example.com"),
        ("an address with user and password", "https://admin:hunter2@halo.example.com"),
        ("an address without a scheme", "halo.example.com"),
        ("an address with a query", "https://halo.example.com/?tenant=acme"),
        ("an empty address", ""),
    ] {
        book.case(name).change(NOBODY, url).ends(&["sync"], 78, Left::AsItWas);
    }
    let case = book.case("an authorization server without encryption");
    case.add("halo", "auth_url = \"http://auth.example.com/auth\"").ends(&["sync"], 78, Left::AsItWas);
}

fn secrets(book: &mut Book) {
    let case = book.case("a secret file that others can read");
    case.mode("client-secret", 0o644).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a secret in settings that others can read");
    let case = case.change("client_secret_file = \"client-secret\"", "client_secret = \"demo-secret\"");
    case.mode("agent.toml", 0o640).ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("no secret");
    case.change("client_secret_file = \"client-secret\"\n", "").ends(&["sync"], 78, Left::AsItWas);

    let mut case = book.case("a secret file that is missing");
    case.remove("client-secret");
    case.ends(&["sync"], 78, Left::AsItWas);

    for (name, secret) in [
        ("an empty secret file", &b"\n"[..]),
        ("a secret with CRLF inside", b"wrong-7f3a91\r\nsecond line\r\n"),
        ("a secret with a blank behind it", b"wrong-7f3a91 \n"),
        ("a secret with a byte order mark", b"\xef\xbb\xbfwrong-7f3a91\n"),
        ("a secret that is not UTF-8", b"wrong-7f3a91\xff\n"),
    ] {
        let case = book.case(name).write("client-secret", secret);
        case.ends(&["sync"], 78, Left::AsItWas);
    }

    let case = book.case("an empty secret in the environment");
    case.with("HALOSYNC_HALO__CLIENT_SECRET", "").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a secret of the wrong kind");
    let case = case.change("client_secret_file = \"client-secret\"", "client_secret = 73991");
    case.mode("agent.toml", 0o600).ends(&["sync"], 78, Left::AsItWas);
}

fn refusals(book: &mut Book) {
    let mut case = book.case("an unknown ticket type");
    case.serve(&[]);
    case.add("halo", "ticket_type = \"Incidents\"").ends(&["sync"], 78, Left::NewAndEmpty);

    let mut case = book.case("a wrong secret");
    case.serve(&[]);
    case.write("client-secret", "wrong-7f3a91\n").ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("a wrong secret where there is a copy already");
    case.copy();
    case.write("client-secret", "wrong-7f3a91\n").ends(&["sync"], 77, Left::TheCopy);

    let mut case = book.case("an application with another authentication method");
    case.serve(&["application=other"]);
    case.ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("an application without an agent login");
    case.serve(&["application=user"]);
    case.ends(&["sync"], 77, Left::NewAndEmpty);

    let case = book.case("a scope that the server does not know");
    let url = canned("400 Bad Request", r#"{"error":"invalid_scope"}"#);
    case.change_server(&url).ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("a wrong tenant");
    case.serve_tenant("acme");
    case.add("halo", "tenant = \"acne\"").ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("no tenant where one is needed");
    case.serve_tenant("acme");
    case.fault("authinfo:status=404");
    case.ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("403 for everything but tokens");
    case.serve(&[]);
    for endpoint in ["list", "ticket", "status", "tickettype"] {
        case.fault(&format!("{endpoint}:status=403"));
    }
    case.ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("403 for everything");
    case.serve(&[]);
    case.fault("any:status=403");
    case.ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("403 as a web page for everything");
    case.serve(&[]);
    case.fault("any:html=403");
    case.ends(&["sync"], 77, Left::NewAndEmpty);

    let mut case = book.case("403 for everything where there is a copy already");
    case.copy();
    case.fault("any:status=403");
    case.ends(&["sync", "--full"], 77, Left::TheCopy);

    let mut case = book.case("401 however new the token");
    case.serve(&[]);
    case.fault("list:status=401");
    case.ends(&["sync"], 77, Left::NewAndEmpty);
}

fn connections(book: &mut Book) {
    let case = book.case("the server is down");
    case.ends(&["sync"], 69, Left::NewAndEmpty);

    let case = book.case("the server is down, and is asked twice");
    case.change("max_retries = 0", "max_retries = 1").ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("the server goes down behind a copy");
    case.copy();
    case.stop_serving();
    case.ends(&["sync"], 69, Left::TheCopy);

    let case = book.case("a name that does not resolve");
    case.change(NOBODY, "https://halo.invalid").ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("https to a server without it");
    case.serve(&[]);
    case.change("http://", "https://").ends(&["sync"], 69, Left::NewAndEmpty);

    let case = book.case("a certificate that nobody trusts");
    let url = self_signed();
    case.change(NOBODY, &url).ends(&["sync"], 69, Left::NewAndEmpty);

    let case = book.case("a proxy that is down");
    let case = case.change(NOBODY, "https://halo.invalid");
    let case = case.add("halo", "proxy = \"http://user:hunter2@127.0.0.1:1\"");
    case.ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("no answer in time");
    case.serve(&[]);
    case.fault("list:delay=60000");
    case.add("halo", "request_timeout = \"200ms\"").ends(&["sync"], 69, Left::NewAndEmpty);

    let mut case = book.case("a connection that breaks in the middle of an answer");
    case.serve(&[]);
    case.fault("list:cut");
    case.ends(&["sync"], 69, Left::NewAndEmpty);

    let case = book.case("an authorization server that the server names, without encryption");
    let url = canned("200 OK", r#"{"auth_url":"http://auth.example.com/auth"}"#);
    case.change_server(&url).ends(&["sync"], 78, Left::NewAndEmpty);
}

fn answers(book: &mut Book) {
    for (name, fault, status) in [
        ("a web page where tickets should be", "list:html", 65),
        ("a web page where a token should be", "token:html", 65),
        ("nothing where tickets should be", "list:blank", 65),
        ("JSON of another shape", "list:error=200", 65),
        ("a redirect of the list", "list:redirect=302", 65),
        ("a redirect of the token request", "token:redirect=307", 65),
        ("no such address", "list:status=404", 65),
        ("a server under maintenance", "list:html=503", 69),
        ("a rate limit that does not end", "list:throttle=1", 75),
    ] {
        let mut case = book.case(name);
        case.serve(&[]);
        case.fault(fault);
        case.ends(&["sync"], status, Left::NewAndEmpty);
    }

    let mut case = book.case("a web page in the middle of a walk, where there is a copy already");
    case.copy();
    case.fault("list@2..:html");
    case.ends(&["sync", "--full"], 65, Left::TheCopy);
}

fn databases(book: &mut Book) {
    let case = book.case("a database in a missing folder");
    case.add("store", "path = \"data/halosync.db\"").ends(&["sync"], 73, Left::AsItWas);

    let case = book.case("a database that is a folder");
    fs::create_dir(case.path("halosync.db")).expect("a folder");
    case.ends(&["sync"], 74, Left::AsItWas);

    let case = book.case("a file that is not a database");
    let case = case.write("halosync.db", "Dear diary, today I was taken for a database.\n".repeat(40));
    case.ends(&["sync"], 65, Left::AsItWas);

    let case = book.case("status of a file that is not a database");
    let case = case.write("halosync.db", "Dear diary, today I was taken for a database.\n".repeat(40));
    case.ends(&["status"], 65, Left::AsItWas);

    let mut case = book.case("a damaged header");
    case.copy();
    case.scribble(0, b"SQLite format 4\0");
    case.ends(&["sync"], 65, Left::AsItWas);

    let mut case = book.case("a damaged table of contents");
    case.copy();
    case.scribble(100, &[0xAB; 64]);
    case.ends(&["sync"], 65, Left::AsItWas);

    let case = book.case("a database of another program");
    another_programs(&case.path("halosync.db"), "DELETE");
    case.ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("a database of another program that is at work");
    let path = case.path("halosync.db");
    another_programs(&path, "WAL");
    let at_work = Connection::open(&path).expect("its database");
    at_work.execute_batch("INSERT INTO bookmarks VALUES ('https://example.net')").expect("its own row");
    case.ends(&["sync"], 78, Left::AsItWas);
    drop(at_work);

    let case = book.case("export from a database of another program");
    another_programs(&case.path("halosync.db"), "DELETE");
    case.ends(&["export", "delta"], 78, Left::AsItWas);

    for (name, arguments) in [
        ("a newer schema", &["sync"][..]),
        ("status of a newer schema", &["status"]),
        ("export from a newer schema", &["export", "delta"]),
    ] {
        let mut case = book.case(name);
        case.copy();
        case.sql("PRAGMA user_version = 1000");
        case.ends(arguments, 78, Left::AsItWas);
    }

    let mut case = book.case("the database of another server");
    case.copy();
    let case = case.change_server("http://127.0.0.1:2");
    case.ends(&["sync"], 78, Left::AsItWas);

    let mut case = book.case("the database of another server, with other tables wanted too");
    case.copy();
    let case = case.change_server("http://127.0.0.1:2");
    case.add("store", "full_text = true\nindex_last_modified = true").ends(&["sync"], 78, Left::AsItWas);

    let mut case = book.case("the database of another tenant");
    case.copy();
    case.add("halo", "tenant = \"acme\"").ends(&["sync"], 78, Left::AsItWas);

    let case = book.case("root in the folder of another user");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(case.path("."), Some(65_534), Some(65_534)).expect("another owner");
        case.ends(&["sync"], 78, Left::AsItWas);
    } else {
        case.skip("only root can be in the wrong here");
    }
}

fn other_programs_at_work(book: &mut Book) {
    let mut case = book.case("a second instance");
    case.copy();
    let mut lock = File::create(case.path("halosync.db.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.ends(&["sync"], 75, Left::AsItWas);

    let mut case = book.case("a second export");
    case.copy();
    let mut lock = File::create(case.path("halosync.db.export.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.ends(&["export", "delta"], 75, Left::AsItWas);

    let mut case = book.case("another program in the middle of a transaction");
    case.copy();
    let other = Connection::open(case.path("halosync.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
    case.ends(&["sync"], 75, Left::AsItWas);
    drop(other);
}

fn full_disks(book: &mut Book) {
    let mut case = book.case("a disk that fills up in the middle of the first pass");
    case.serve(&[]);
    let disk = Disk::of("768k");
    match &disk {
        Some(disk) => {
            let case = case.on(disk).add("store", &format!("path = {:?}", disk.file("halosync.db")));
            case.ends(&["sync"], 74, Left::AsItWas);
            check_database(&disk.path().join("halosync.db"), "a full disk");
        }
        None => case.skip(NO_DISK),
    }

    let case = book.case("a disk that is full from the beginning");
    match &Disk::of("64k") {
        Some(disk) => {
            disk.fill();
            let case = case.on(disk).add("store", &format!("path = {:?}", disk.file("halosync.db")));
            case.ends(&["sync"], 74, Left::AsItWas);
        }
        None => case.skip(NO_DISK),
    }

    let mut case = book.case("an export onto a full disk");
    case.copy();
    match &Disk::of("64k") {
        Some(disk) => {
            let case = case.on(disk).append(&format!("\n[export]\ndir = {:?}\n", disk.file("export")));
            case.ends(&["export", "delta"], 74, Left::TheCopy);
            let left = files(disk.path());
            assert!(left.values().all(Vec::is_empty), "an export onto a full disk leaves {:?}", left.keys());
        }
        None => case.skip(NO_DISK),
    }

    let case = book.case("settings onto a full disk");
    match &Disk::of("64k") {
        Some(disk) => {
            disk.fill();
            case.on(disk).ends(&["init", &disk.file("agent.toml")], 74, Left::AsItWas);
            let left: Vec<_> = files(disk.path()).into_keys().collect();
            assert_eq!(left, [PathBuf::from("filler")], "half of the settings are there");
        }
        None => case.skip(NO_DISK),
    }
}

fn files_that_are_in_the_way(book: &mut Book) {
    let case = book.case("init over settings that are there");
    case.ends(&["init"], 73, Left::AsItWas);

    let case = book.case("init in a missing folder");
    case.ends(&["init", "elsewhere/agent.toml"], 73, Left::AsItWas);

    let case = book.case("a demo in a folder of somebody else");
    fs::create_dir(case.path("photos")).expect("a folder");
    let case = case.write("photos/holiday.jpg", "beach");
    case.ends(&["demo", "--dir", "photos"], 73, Left::AsItWas);

    let case = book.case("a demo in a missing folder");
    case.ends(&["demo", "--dir", "elsewhere/demo"], 73, Left::AsItWas);

    let case = book.case("a demo in the place of a file");
    case.ends(&["demo", "--dir", "agent.toml"], 73, Left::AsItWas);

    let mut case = book.case("an export into a missing folder");
    case.copy();
    case.ends(&["export", "delta", "--out", "elsewhere/export"], 73, Left::AsItWas);

    let mut case = book.case("an export into the place of a file");
    case.copy();
    let case = case.write("export", "a file\n");
    case.ends(&["export", "delta"], 73, Left::AsItWas);

    let mut case = book.case("an export to a symbolic link");
    case.copy();
    fs::create_dir(case.path("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink("elsewhere", case.path("export")).expect("a link");
    case.ends(&["export", "delta"], 73, Left::AsItWas);

    let mut case = book.case("a snapshot onto a disk that cannot be written");
    case.copy();
    match &Disk::of("64k") {
        Some(disk) => {
            disk.read_only();
            case.on(disk).ends(&["export", "snapshot", "--out", &disk.file("export")], 73, Left::AsItWas);
        }
        None => case.skip(NO_DISK),
    }

    let mut case = book.case("a package that is not ours in the consumer's folder");
    case.copy();
    let name = "000000000007-000000000009.manifest.json";
    fs::create_dir_all(case.path("export/deltas/default")).expect("a folder");
    let case = case.write(&format!("export/deltas/default/{name}"), "{}");
    case.ends(&["export", "delta"], 65, Left::AsItWas);
}

fn consumers(book: &mut Book) {
    for (name, arguments) in [
        ("an acknowledgement of nobody", &["export", "ack", "--consumer", "lake", "--seq", "7"][..]),
        ("a consumer to forget that nobody knows", &["export", "forget", "--consumer", "lake"]),
        ("a list of a consumer that nobody knows", &["export", "list", "--consumer", "lake"]),
    ] {
        let mut case = book.case(name);
        case.copy();
        case.ends(arguments, 66, Left::AsItWas);
    }
    let mut case = book.case("an acknowledgement in the middle of a package");
    case.copy();
    assert_eq!(case.run(&["export", "delta"]).status.code(), Some(0));
    case.ends(&["export", "ack", "--seq", "7"], 66, Left::AsItWas);

    let mut case = book.case("an acknowledgement of change 0");
    case.copy();
    assert_eq!(case.run(&["export", "delta"]).status.code(), Some(0));
    case.ends(&["export", "ack", "--seq", "0"], 66, Left::AsItWas);

    book.case("a list without a database").ends(&["export", "list"], 66, Left::AsItWas);

    let mut case = book.case("nothing to verify");
    case.remove("agent.toml");
    case.ends(&["export", "verify", "export"], 66, Left::AsItWas);
}

fn nothing_to_read(book: &mut Book) {
    book.case("status without a database").ends(&["status"], 66, Left::AsItWas);

    let case = book.case("status of an empty file");
    case.write("halosync.db", "").ends(&["status"], 66, Left::AsItWas);

    book.case("export without a database").ends(&["export", "delta"], 66, Left::AsItWas);

    let case = book.case("export from an empty file");
    case.write("halosync.db", "").ends(&["export", "delta"], 66, Left::AsItWas);
}

fn resets(book: &mut Book) {
    let back = &["reset", "--to", "2020-01-01", "--reason", "a backup was restored"];
    book.case("reset without a database").ends(back, 66, Left::AsItWas);

    let case = book.case("reset of an empty file");
    case.write("halosync.db", "").ends(back, 66, Left::AsItWas);

    let mut case = book.case("reset while another instance is at work");
    case.copy();
    let mut lock = File::create(case.path("halosync.db.lock")).expect("the lock file");
    writeln!(lock, "{}", std::process::id()).expect("a pid");
    lock.try_lock().expect("the lock");
    case.ends(back, 75, Left::AsItWas);
    drop(lock);

    let mut case = book.case("reset of a copy that was never complete");
    case.serve(&[]);
    case.fault("list:status=403");
    assert_eq!(case.run(&["sync"]).status.code(), Some(77));
    case.ends(back, 3, Left::AsItWas);

    let mut case = book.case("reset of the database of another server");
    case.copy();
    case.change_server("http://127.0.0.1:2").ends(back, 78, Left::AsItWas);

    for (name, to) in
        [("reset to the future", "9999-01-01"), ("reset forward", "2020-01-02T03:04:05.678+02:00")]
    {
        let mut case = book.case(name);
        case.copy();
        case.sql("UPDATE watermarks SET covered_until = '2020-01-02T00:00:00.000Z'");
        case.ends(&["reset", "--to", to, "--reason", "x"], 2, Left::AsItWas);
    }
}

fn command_lines(book: &mut Book) {
    for (name, arguments) in [
        ("a consumer's name with a capital letter", &["export", "delta", "--consumer", "Warehouse"][..]),
        ("a consumer's name that is a path", &["export", "delta", "--consumer", "../../etc"]),
        ("an unknown format", &["export", "delta", "--format", "xml"]),
        ("an unknown way with line breaks", &["export", "delta", "--newlines", "strip"]),
        ("a consumer to forget without a name", &["export", "forget"]),
        ("an unknown knob", &["simulate", "--knob", "page_size=4"]),
        ("a knob with a wrong value", &["simulate", "--knob", "gzip=maybe"]),
        ("a fault at an unknown endpoint", &["simulate", "--fault", "tickets:cut"]),
        ("an unknown fault", &["simulate", "--fault", "list:explode"]),
        ("a simulator for everybody", &["simulate", "--listen", "0.0.0.0:8180"]),
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
        ("reset to no time", &["reset", "--to", "yesterday", "--reason", "x"]),
    ] {
        book.case(name).ends(arguments, 2, Left::AsItWas);
    }
}

fn for_programs(book: &mut Book) {
    let case = book.case("several problems, for programs");
    case.add("halo", "page_sise = 50\nparallel_requests = 33").ends(&["--json", "sync"], 78, Left::AsItWas);

    let mut case = book.case("a wrong secret, for programs");
    case.serve(&[]);
    case.write("client-secret", "wrong-7f3a91\n").ends(&["--json", "sync"], 77, Left::NewAndEmpty);

    let case = book.case("the server is down, for programs");
    case.ends(&["--json", "sync"], 69, Left::NewAndEmpty);

    let case = book.case("no database, for programs");
    case.ends(&["status", "--json"], 66, Left::AsItWas);

    let case = book.case("an unknown command, for programs");
    case.ends(&["--json", "snyc"], 2, Left::AsItWas);

    let case = book.case("an unknown knob, for programs");
    case.ends(&["--json", "simulate", "--knob", "page_size=4"], 2, Left::AsItWas);
}

#[test]
fn a_line_end_behind_the_secret_and_an_empty_database_are_no_errors() {
    let mut book = Book::open();
    for (secret, database) in [
        ("demo-secret", None),
        ("demo-secret\n", Some("")),
        ("demo-secret\r\n", None),
        ("demo-secret\r", None),
    ] {
        let mut case = book.case("good");
        case.serve(&[]);
        case.put("client-secret", secret);
        if let Some(database) = database {
            case.put("halosync.db", database);
        }
        let output = case.run(&["sync"]);
        assert_eq!(output.status.code(), Some(0), "{secret:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What a case must leave in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The very files that were there, byte for byte. A lock file beside a database is no content.
    AsItWas,
    /// A new database: whole, without a ticket, with the record of the pass that failed.
    NewAndEmpty,
    /// The copy that was there: the same tickets, changes and watermark, and the record of the pass.
    TheCopy,
}

/// The golden file in the making.
struct Book {
    runtime: Runtime,
    golden: BTreeMap<String, String>,
    sections: Vec<String>,
    failed: Vec<&'static str>,
}

impl Book {
    fn open() -> Book {
        let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
        let sections = golden.split("\n\n# ").map(|section| section.trim_start_matches("# ").trim_end());
        let named = sections.map(|section| (section.lines().next().unwrap_or_default(), section));
        Book {
            runtime: Runtime::new().expect("a runtime"),
            golden: named.map(|(name, section)| (name.to_owned(), section.to_owned())).collect(),
            sections: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// A folder with settings and a secret that are good, for a server that is not there.
    fn case(&mut self, name: &'static str) -> Case<'_> {
        let dir = tempfile::Builder::new().prefix("halosync-").tempdir().expect("a folder");
        let case =
            Case { book: self, name, dir, environment: Vec::new(), hidden: Vec::new(), simulator: None };
        case.put("agent.toml", settings(NOBODY));
        case.put("client-secret", "demo-secret\n");
        case.mode("agent.toml", 0o640).mode("client-secret", 0o600)
    }

    /// Compares with the golden file, or writes it anew.
    fn compare(self) {
        let told = self.sections.iter().fold(String::new(), |text, section| text + "# " + section + "\n\n");
        let told = format!("{}\n", told.trim_end());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(Path::new(GOLDEN).parent().expect("a folder")).expect("a folder");
            fs::write(GOLDEN, &told).expect("the golden file");
        }
        assert!(self.failed.is_empty(), "not as they should be: {:#?}", self.failed);
        let mut differences = String::new();
        for section in &self.sections {
            let name = section.lines().next().unwrap_or_default();
            let golden = self.golden.get(name).map_or("(not in the golden file)", String::as_str);
            if golden != section {
                let _ = write!(differences, "\n--- golden: {golden}\n+++ told: {section}\n");
            }
        }
        let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(
            golden == told,
            "UPDATE_GOLDEN=1 writes it anew, if this is wanted (or only the order or number of cases differs):\n{differences}"
        );
    }
}

/// One bad input: a folder, and what is wrong with it.
struct Case<'b> {
    book: &'b mut Book,
    name: &'static str,
    dir: TempDir,
    environment: Vec<(&'static str, String)>,
    /// Paths that are not the same in the next run, each with what is written instead.
    hidden: Vec<(String, &'static str)>,
    simulator: Option<Simulator>,
}

impl Case<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        // The mode of a file that is there stays.
        fs::write(self.path(name), content).expect("a file");
    }

    fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(name, content);
        self
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file that was there");
    }

    fn mode(self, name: &str, mode: u32) -> Self {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("a mode");
        self
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Changes the settings.
    fn change(self, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        assert!(text.contains(from), "{}: {from} is not in the settings", self.name);
        self.write("agent.toml", text.replacen(from, to, 1))
    }

    fn change_server(self, url: &str) -> Self {
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

    /// Has a part in another place.
    fn on(mut self, disk: &Disk) -> Self {
        self.hidden.push((disk.path().display().to_string(), "<disk>"));
        self
    }

    /// Serves a simulated HaloITSM that the settings point to.
    fn serve(&mut self, knobs: &[&str]) {
        let mut settings = SimulatorSettings { tickets: 250, ..SimulatorSettings::default() };
        for knob in knobs {
            settings.knobs.set(knob).expect("a knob");
        }
        self.start(settings);
    }

    fn serve_tenant(&mut self, tenant: &str) {
        let mut settings = SimulatorSettings {
            tickets: 250,
            tenant: Some(tenant.to_owned()),
            ..SimulatorSettings::default()
        };
        settings.knobs.set("tenant=required").expect("a knob");
        self.start(settings);
    }

    fn start(&mut self, settings: SimulatorSettings) {
        let simulator = self.book.runtime.block_on(Simulator::start(settings)).expect("a simulator");
        let text = fs::read_to_string(self.path("agent.toml")).expect("the settings");
        self.put("agent.toml", text.replace(NOBODY, &simulator.url()));
        self.simulator = Some(simulator);
    }

    fn stop_serving(&mut self) {
        let simulator = self.simulator.take().expect("a simulator");
        self.book.runtime.block_on(simulator.stop());
    }

    fn fault(&mut self, fault: &str) {
        let simulator = self.simulator.as_ref().expect("a simulator");
        simulator.with(|server| server.inject(ServerFault::parse(fault).expect("a fault")));
    }

    /// Serves, and makes a complete copy.
    fn copy(&mut self) {
        self.serve(&[]);
        let output = self.run(&["sync"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: the copy: {told}", self.name);
    }

    /// Has SQLite change the database.
    fn sql(&self, sql: &str) {
        let database = Connection::open(self.path("halosync.db")).expect("the database");
        keep_log(&database);
        database.execute_batch(sql).expect(sql);
    }

    /// Damages the database.
    fn scribble(&self, at: usize, what: &[u8]) {
        let mut bytes = fs::read(self.path("halosync.db")).expect("the database");
        bytes[at..at + what.len()].copy_from_slice(what);
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

    /// Runs the program, and enters what it says after everything else about it was found right.
    fn ends(self, arguments: &[&str], status: i32, left: Left) {
        let name = self.name;
        let before = Traces::of(self.dir.path(), left);
        let since = Instant::now();
        let output = self.run(arguments);
        let took = since.elapsed();
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        let look = || {
            assert_eq!(output.status.code(), Some(status), "{name}: the exit status; it says\n{told}");
            assert!(took < QUICK, "{name}: it took {took:?}");
            assert!(output.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
            assert!(!SECRETS.iter().any(|secret| told.contains(secret)), "{name} shows a secret:\n{told}");
            if arguments.contains(&"--json") {
                check_json(name, &told, status);
            } else {
                check_text(name, &told, status);
            }
            before.check(name, self.dir.path(), left);
        };
        // The other cases are worth being seen too.
        if std::panic::catch_unwind(AssertUnwindSafe(look)).is_err() {
            self.book.failed.push(name);
        }
        let mut section = format!("{name}\n$ ");
        for (variable, value) in &self.environment {
            let _ = write!(section, "{variable}={value:?} ");
        }
        let told = self.without_chance(&told);
        let _ = write!(
            section,
            "halosync {}\n{told}exit status {status}",
            self.without_chance(&arguments.join(" "))
        );
        self.book.sections.push(section);
    }

    /// The same text on every machine and in every run.
    fn without_chance(&self, told: &str) -> String {
        let mut text = told.replace(&self.dir.path().display().to_string(), "<dir>");
        for (path, word) in &self.hidden {
            text = text.replace(path, word);
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

    /// Leaves the case out where this machine cannot show it; the golden file keeps what it has of it.
    fn skip(self, why: &str) {
        // Past the capture of the test runner, so that it is seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {why}", self.name);
        let golden = self.book.golden.get(self.name).cloned();
        self.book.sections.push(golden.unwrap_or_else(|| format!("{}\n(not shown yet)", self.name)));
    }
}

/// Settings that are good.
fn settings(url: &str) -> String {
    format!(
        "[halo]\nserver_url = \"{url}\"\nclient_id = \"halosync-demo\"\nclient_secret_file = \"client-secret\"\n\
         max_retries = 0\n\n[store]\nbusy_timeout = \"50ms\"\n"
    )
}

/// What a text on stderr must be: what happened, why, and one way out. Warnings may come before it.
fn check_text(name: &str, told: &str, status: i32) {
    assert!(!told.contains("panicked"), "{name}:\n{told}");
    let lines: Vec<_> = told.lines().skip_while(|line| line.contains(" WARN ")).collect();
    let begin = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    let (errors, causes, helps) = (begin("error: "), begin("cause: "), begin("help: "));
    assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{name}:\n{told}");
    // What is wrong with a command line is told in the words of the library that reads it.
    if status != 2 {
        assert_eq!((errors, helps, errors + causes + helps), (1, 1, lines.len()), "{name}:\n{told}");
        assert!(lines.last().is_some_and(|line| line.starts_with("help: ")), "{name}:\n{told}");
    }
}

/// What it must be for programs.
fn check_json(name: &str, told: &str, status: i32) {
    assert_eq!(told.lines().count(), 1, "{name}:\n{told}");
    let value: Value = serde_json::from_str(told).expect("one JSON object");
    let object = value.as_object().expect("one JSON object");
    let keys: Vec<_> = object.keys().map(String::as_str).collect();
    assert_eq!(keys, ["cause", "error", "exit_status", "help"], "{name}");
    assert!(
        value["error"].is_string() && value["cause"].is_array() && value["help"].is_string(),
        "{name}:\n{told}"
    );
    assert_eq!(value["exit_status"], status, "{name}");
}

/// What there was before the program ran.
struct Traces {
    files: BTreeMap<PathBuf, Vec<u8>>,
    copy: Vec<String>,
}

impl Traces {
    fn of(folder: &Path, left: Left) -> Traces {
        let copy = if left == Left::TheCopy { content(&folder.join("halosync.db")) } else { Vec::new() };
        Traces { files: files(folder), copy }
    }

    fn check(&self, name: &str, folder: &Path, left: Left) {
        let database = folder.join("halosync.db");
        let now = files(folder);
        for (path, bytes) in &now {
            let own = ["agent.toml", "client-secret"].iter().any(|own| path.ends_with(own));
            let shown = SECRETS.iter().any(|it| bytes.windows(it.len()).any(|bytes| bytes == it.as_bytes()));
            assert!(own || !shown, "{name}: a secret is in {}", path.display());
        }
        let is_database = |path: &PathBuf| path.to_string_lossy().starts_with("halosync.db");
        let paths = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        match left {
            Left::AsItWas => {
                assert_eq!(paths(&now), paths(&self.files), "{name}: the files that are there");
                for (path, bytes) in &now {
                    assert!(self.files[path] == *bytes, "{name}: {} was changed", path.display());
                }
            }
            Left::NewAndEmpty => {
                let new: Vec<_> =
                    paths(&now).into_iter().filter(|path| !self.files.contains_key(path)).collect();
                assert_eq!(new, ["halosync.db", "halosync.db-wal"].map(PathBuf::from), "{name}: new files");
                check_database(&database, name);
                let runs = texts(&database, "SELECT outcome || ': ' || error FROM runs");
                assert!(runs.len() == 1 && runs[0].starts_with("failed: "), "{name}: {runs:?}");
                let mode = fs::metadata(&database).expect("the database").permissions().mode() & 0o777;
                assert_eq!(mode, 0o640, "{name}: the database can be read by others");
            }
            Left::TheCopy => {
                let without = |files: &BTreeMap<PathBuf, Vec<u8>>| {
                    let mut files = files.clone();
                    files.retain(|path, _| !is_database(path));
                    files
                };
                assert!(without(&now) == without(&self.files), "{name}: other files were changed");
                assert_eq!(texts(&database, "PRAGMA integrity_check"), ["ok"], "{name}");
                assert!(content(&database) == self.copy, "{name}: the copy was changed");
            }
        }
    }
}

/// All files below a folder with their bytes, without locks (no content) and `-shm` (an index in memory).
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

/// A database that a pass left behind which did not get far.
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

/// What a pass that fails must leave alone.
fn content(database: &Path) -> Vec<String> {
    let tables =
        ["tickets", "ticket_state", "changes", "watermarks", "watermark_journal", "consumers", "packages"];
    let all = |table| texts(database, &format!("SELECT * FROM {table} ORDER BY 1"));
    let content: Vec<_> = tables.into_iter().flat_map(all).collect();
    assert!(content.len() > 500, "there is no copy");
    content
}

/// The rows of a query, each as text.
fn texts(database: &Path, sql: &str) -> Vec<String> {
    let database = Connection::open(database).expect("the database");
    keep_log(&database);
    let mut statement = database.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
        values.collect::<Result<Vec<_>, _>>()
    };
    let rows = statement.query_map([], row).expect(sql);
    let shown = |value: &rusqlite::types::Value| match value {
        rusqlite::types::Value::Text(text) => text.clone(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    rows.map(|row| row.expect(sql).iter().map(shown).collect::<Vec<_>>().join(" | ")).collect()
}

/// Looking must not tidy up: the last connection would remove the log.
fn keep_log(database: &Connection) {
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
}

/// The database of a browser, say.
fn another_programs(path: &Path, journal: &str) {
    let database = Connection::open(path).expect("a database");
    database.pragma_update(None, "journal_mode", journal).expect("a journal mode");
    let sql = "CREATE TABLE bookmarks (address TEXT); INSERT INTO bookmarks VALUES ('https://example.org')";
    database.execute_batch(sql).expect("a table");
}

/// Serves one answer to every request.
fn canned(status: &str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let request = &mut [0; 4096];
            let _ = stream.read(request).and_then(|_| write!(stream, "{head}{body}"));
        }
    });
    url
}

/// Serves TLS with a certificate that nobody has heard of.
fn self_signed() -> String {
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
            // The client hangs up; that is the case.
            let _ = connection.complete_io(&mut stream);
        }
    });
    url
}

/// A small disk, as long as the value lives.
struct Disk(TempDir);

impl Disk {
    /// One of that size, where this user can have one.
    fn of(size: &str) -> Option<Disk> {
        let folder = tempfile::Builder::new().prefix("halosync-disk-").tempdir().expect("a folder");
        let options = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Disk(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    fn read_only(&self) {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status();
        assert!(mount.is_ok_and(|status| status.success()), "a disk that was mounted can be remounted");
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = File::create(self.path().join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
