//! What a run shows while it goes on: on a terminal, elsewhere, and after Ctrl-C.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator};
use halosync::config::RateLimit;
use halosync::halo::{RequestWait, WaitReason};
use halosync::sync::{PhaseProgress, Progress, RunPhase};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::test_env::{CommandResult, TestEnv};
use support::virtual_env::{VirtualEnv, advance_minutes, with_paused_time};

const TICKETS: u32 = 4_000;

/// Fewer requests than there are pages.
const LONG_WINDOW: &str = "rate_limit = \"30/5m\"";
const SHORT_WINDOW: &str = "rate_limit = \"30/8s\"";

const RATE_LIMIT: &str = "Waiting for HaloITSM's rate limit until ";

async fn serve(settings: &str) -> (Simulator, TestEnv<()>) {
    let simulator = support::server::serve(TICKETS).await;
    let env = TestEnv::for_server(&simulator.url(), settings);
    (simulator, env)
}

/// A command on a terminal.
struct Terminal {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    output: Vec<u8>,
}

impl Terminal {
    fn start<S>(env: &TestEnv<S>, arguments: &[&str], columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal =
            || -> OwnedFd { rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap() };
        let mut command = env.command(arguments);
        command.stdout(Stdio::from(terminal())).stderr(Stdio::from(terminal()));
        let child = command.spawn().unwrap();
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let (mut master, mut buffer) = (File::from(master), [0; 4096]);
            // Reading fails when the last process has closed the terminal.
            while let Ok(length) = master.read(&mut buffer)
                && length != 0
            {
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
        Terminal { child, chunks, output: Vec::new() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Waits until the terminal has received this text.
    fn shows(&mut self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.text().contains(wanted) {
            let chunk = self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            self.output.extend(chunk.unwrap_or_else(|_| panic!("{wanted:?} is not shown:\n{}", self.text())));
        }
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for the end; returns the exit status and everything that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        self.output.extend(self.chunks.iter().flatten());
        (self.child.wait().unwrap().code(), self.text())
    }
}

/// The lines that were drawn, without escape sequences.
fn drawn_lines(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|it: char| !it.is_ascii_alphabetic()).get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain.split(['\r', '\n']).map(ToOwned::to_owned).filter(|line| !line.trim().is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_load_says_until_when_it_waits_and_ctrl_c_says_what_is_saved() {
    for (columns, wanted) in [(80, "%"), (200, "Initial load: ")] {
        let (_simulator, env) = serve(LONG_WINDOW).await;
        let mut terminal = Terminal::start(&env, &["sync"], columns);
        terminal.shows(RATE_LIMIT);
        terminal.shows(wanted);
        terminal.signal(Signal::INT);
        let (status, text) = terminal.end();
        assert_eq!(status, Some(130), "{text}");
        let saved = env.number("SELECT COUNT(*) FROM tickets");
        assert!(0 < saved && saved < 4_000, "{saved}");
        let saved = support::with_separator(saved.unsigned_abs());
        let message = format!(
            "Interrupted. {saved} of 4,000 tickets are saved; run `halosync sync` again to continue."
        );
        let lines = drawn_lines(&text);
        assert_eq!(lines.last(), Some(&message), "{text}");
        assert!(!text.contains("0 of 0"), "{text}");
        for line in &lines[..lines.len() - 1] {
            assert!(line.chars().count() < usize::from(columns), "{line:?} does not fit");
        }
        let runs = env.texts("SELECT outcome || ' ' || created FROM runs");
        assert_eq!(runs, [format!("failed {}", env.number("SELECT COUNT(*) FROM tickets"))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_after_429_is_shown_and_log_lines_stand_alone() {
    let (simulator, env) = serve("").await;
    simulator.with(|server| server.inject(ServerFault::parse("list@page9x1:throttle=2").unwrap()));
    let mut terminal = Terminal::start(&env, &["-v", "sync"], 200);
    terminal.shows(RATE_LIMIT);
    let (status, text) = terminal.end();
    assert_eq!(status, Some(0), "{text}");
    let lines = drawn_lines(&text);
    for wanted in ["INFO initial load: reading every ticket", "INFO rate limit exceeded while fetching"] {
        let line =
            lines.iter().find(|line| line.contains(wanted)).unwrap_or_else(|| panic!("{wanted}: {text}"));
        assert!(line.trim_start().starts_with("20"), "{line:?} does not begin with its time");
    }
}

/// The database is locked, so that the end of the run cannot be recorded for ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_ctrl_c_ends_at_once() {
    let (_simulator, env) = serve(LONG_WINDOW).await;
    let mut terminal = Terminal::start(&env, &["sync"], 80);
    terminal.shows(RATE_LIMIT);
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    // Two signals that arrive together are one.
    let status = loop {
        terminal.signal(Signal::INT);
        if let Some(status) = terminal.child.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_a_wait_is_one_plain_line_and_quiet_prints_nothing() {
    for (arguments, waits) in [(&["sync"][..], true), (&["-q", "sync"], false), (&["--json", "sync"], false)]
    {
        let (_simulator, env) = serve(SHORT_WINDOW).await;
        let CommandResult { stdout, stderr, .. } = env.run(arguments).success();
        assert_eq!(stderr.lines().count(), usize::from(waits), "{arguments:?}: {stderr}");
        assert!(stderr.lines().all(|line| line.starts_with(RATE_LIMIT)), "{stderr}");
        assert_eq!(stdout.is_empty(), arguments.contains(&"-q"), "{arguments:?}: {stdout}");
    }
}

/// `cron` mails whatever a job prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_commands_print_nothing_on_success_unless_they_are_for_what_they_print() {
    let (simulator, env) = serve("").await;
    let silent: [&[&str]; 7] = [
        &["sync"],
        &["sync", "--full"],
        &["export", "delta"],
        &["export", "snapshot"],
        &["export", "ack", "--seq", "4000"],
        &["reset", "--to", "2026-01-01", "--reason", "test"],
        &["init", "other.toml"],
    ];
    for arguments in silent {
        let CommandResult { stdout, stderr, .. } = env.run(&[&["-q"], arguments].concat()).success();
        assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""), "{arguments:?}");
    }
    for arguments in [&["check"][..], &["check", "--offline"], &["export", "verify", "export"]] {
        let CommandResult { stdout, stderr, .. } = env.run(&[&["-q"], arguments].concat()).success();
        assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""), "{arguments:?}");
    }
    for arguments in [&["status"][..], &["export", "list"]] {
        assert!(!env.run(&[&["-q"], arguments].concat()).success().stdout.is_empty(), "{arguments:?}");
    }
    // What is incomplete is said all the same.
    let ids: Vec<i64> = env.query("SELECT UID FROM tickets ORDER BY UID LIMIT 1000", |row| row.get(0));
    simulator.with(|server| ids.iter().for_each(|id| server.delete(*id, chrono::Utc::now())));
    let CommandResult { stdout, stderr, .. } = env.run(&["-q", "sync", "--full"]).code(3);
    let lines: Vec<_> = stderr.lines().collect();
    let [warning, help] = lines[..] else { panic!("{stderr}") };
    assert!(
        warning.starts_with("warning: incomplete: 1,000 tickets would be deleted at once; "),
        "{warning}"
    );
    assert!(help.starts_with("help: ") && help.contains("--accept-deletes"), "{help}");
    assert!(stdout.is_empty(), "{stdout}");
    // Without -q in the same two lines, and no log line repeats them; with --json only in the document.
    let spoken = env.run(&["sync", "--full"]).code(3);
    assert_eq!(spoken.stderr, stderr);
    let json = env.run_json(&["sync", "--full"]).code(3);
    assert_eq!(json.stderr, "");
    assert_eq!(warning, format!("warning: incomplete: {}", json.json["why"].as_str().unwrap()));
    assert_eq!(help, format!("help: {}", json.json["help"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbose_shows_decisions_and_twice_verbose_requests() {
    let decision = "initial load: reading every ticket";
    let level = |level: &'static str| Some(("HALOSYNC_LOG__LEVEL", level));
    for (arguments, settings, variable, decisions, requests) in [
        (&["sync"][..], "", None, false, false),
        (&["-v", "sync"], "", None, true, false),
        (&["-vv", "sync"], "", None, true, true),
        (&["sync"], "", level("info"), true, false),
        (&["sync"], "", level("debug"), true, true),
        (&["sync"], "[log]\nlevel = \"info\"", None, true, false),
        (&["-v", "sync"], "", level("error"), true, false),
        (&["-q", "sync"], "", level("debug"), false, false),
    ] {
        let (_simulator, env) = serve(settings).await;
        let mut command = env.command(arguments);
        command.envs(variable);
        let CommandResult { stderr, .. } = CommandResult::of(command.spawn().unwrap()).success();
        let context = format!("{arguments:?} {settings:?} {variable:?}: {stderr}");
        assert_eq!(stderr.contains(decision), decisions, "{context}");
        assert_eq!(stderr.contains("response received"), requests, "{context}");
        assert!(!stderr.contains(support::test_env::CLIENT_SECRET), "{context}");
    }
}

#[test]
fn unknown_variable_is_an_error_of_every_command() {
    let env = TestEnv::for_server(support::test_env::NO_SERVER, "");
    for (name, value, hint) in [
        ("HALOSYNC_LOG_LEVEL", "info", "did you mean `HALOSYNC_LOG__LEVEL`?"),
        ("HALOSYNC_CONFG", "x", "did you mean `HALOSYNC_CONFIG`?"),
        ("HALOSYNC_VERBOSE", "1", "unknown environment variable"),
        ("HALOSYNC_LOG__LEVEL", "loud", "must be one of error, warn, info, debug, trace"),
    ] {
        let commands: [&[&str]; 8] = [
            &["sync"],
            &["run"],
            &["status"],
            &["check", "--offline"],
            &["init", "other.toml"],
            &["man"],
            &["export", "verify", "."],
            &["simulate", "--knob", "help"],
        ];
        for arguments in commands {
            let mut command = env.command(arguments);
            command.env(name, value);
            let CommandResult { stdout, stderr, .. } = CommandResult::of(command.spawn().unwrap()).code(78);
            assert!((stdout + &stderr).contains(hint), "{name} {arguments:?}: {stderr}");
        }
    }
    assert!(!env.path("other.toml").exists());
    let mut command = env.command(&["man"]);
    command.env("HALOSYNC_CONFIG", "elsewhere.toml");
    CommandResult::of(command.spawn().unwrap()).success();
}

/// What runs report.
#[derive(Default)]
struct Recorder {
    phases: Mutex<Vec<RunPhase>>,
    received: Mutex<Vec<(u64, Option<u64>)>>,
    waits: Mutex<Vec<WaitReason>>,
}

impl Progress for Recorder {
    fn phase(&self, phase: RunPhase) {
        self.phases.lock().unwrap().push(phase);
    }

    fn received(&self, progress: PhaseProgress) {
        self.received.lock().unwrap().push((progress.tickets, progress.total));
    }

    fn waiting(&self, wait: Option<RequestWait>) {
        self.waits.lock().unwrap().extend(wait.map(|wait| wait.reason));
    }
}

impl Recorder {
    /// An environment whose runs report to the recorder.
    fn attach(env: &mut VirtualEnv) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::default());
        env.progress = recorder.clone();
        recorder
    }

    fn received(&self) -> Vec<(u64, Option<u64>)> {
        self.received.lock().unwrap().clone()
    }
}

#[test]
fn resumed_load_counts_from_what_is_stored_to_the_total() {
    with_paused_time(async {
        let mut env = VirtualEnv::new(1_000, &["latency_ms=10"]);
        env.settings.batch_rows = 30;
        env.run_interrupted_at(env.settings.clone(), 60).await;
        let stored = env.number("SELECT COUNT(*) FROM tickets").unsigned_abs();
        advance_minutes(1).await;
        let recorder = Recorder::attach(&mut env);
        env.run_ok().await;
        let received = recorder.received();
        assert_eq!(received.first(), Some(&(stored, Some(1_000))));
        let load = received.iter().take_while(|(_, total)| *total == Some(1_000));
        assert_eq!(load.last(), Some(&(1_000, Some(1_000))), "{received:?}");
        assert!(0 < stored && received.windows(2).all(|pair| pair[0].0 <= pair[1].0 || pair[1].0 < 10));
    });
}

#[test]
fn phases_follow_the_run() {
    use RunPhase::{Confirming, FullScan, IncrementalScan, InitialLoad, UnlistedTickets};
    with_paused_time(async {
        let mut env = VirtualEnv::new(500, &[]);
        let recorder = Recorder::attach(&mut env);
        let phases = || std::mem::take(&mut *recorder.phases.lock().unwrap());
        env.run_ok().await;
        assert_eq!(phases(), [InitialLoad, Confirming, Confirming]);
        advance_minutes(5).await;
        env.run_ok().await;
        assert_eq!(phases(), [IncrementalScan, Confirming]);
        let ids = env.server_ids();
        env.with_server(|server, now| ids[..3].iter().for_each(|id| server.delete(*id, now)));
        advance_minutes(5).await;
        env.run_full_ok().await;
        assert_eq!(phases(), [FullScan, Confirming, UnlistedTickets(3), Confirming]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_that_takes_long_is_shown_on_a_terminal() {
    let env = TestEnv::builder().tickets(200).run_in_directory().start().await;
    env.run(&["sync"]).success();
    let lock = File::create(env.path("halosync.db.export.lock")).unwrap();
    lock.lock().unwrap();
    let mut terminal = Terminal::start(&env, &["export", "delta"], 80);
    terminal.shows("Exporting");
    lock.unlock().unwrap();
    let (status, text) = terminal.end();
    assert_eq!(status, Some(0), "{text}");
    let lines = drawn_lines(&text);
    let is_last = |line: &str| line.contains("reference tables");
    assert!(lines.last().is_some_and(|line| is_last(line)), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("200 rows")), "{lines:?}");
}

#[test]
fn waits_for_the_rate_limit_and_before_retries_are_reported() {
    with_paused_time(async {
        for (limit, fault, expected) in [
            (Some(20), None, WaitReason::RateLimit),
            (None, Some("list@page5x1:throttle=30"), WaitReason::RateLimit),
            (None, Some("list@..3:status=503"), WaitReason::Retry),
        ] {
            let mut env = VirtualEnv::new(500, &[]);
            if let Some(requests) = limit {
                env.rate_limit = RateLimit { requests, window: Duration::from_mins(5) };
            }
            if let Some(fault) = fault {
                env.inject(fault);
            }
            let recorder = Recorder::attach(&mut env);
            env.run_ok().await;
            let waits = recorder.waits.lock().unwrap().clone();
            assert!(!waits.is_empty() && waits.iter().all(|reason| *reason == expected), "{waits:?}");
        }
    });
}
