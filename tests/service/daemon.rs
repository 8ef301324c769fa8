//! Runs `halosync run` with the test as its service manager: notify socket, log and signals.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::test_env::TestEnv;

/// How long a test waits for an event or for the exit; none takes this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// One line from the notify socket or from the log.
#[derive(Clone, Debug)]
enum Event {
    /// One `NAME=value` line of a notification.
    Notified(String),
    /// A line of the log.
    Logged(String),
}

impl Event {
    fn notification(&self) -> Option<&str> {
        if let Event::Notified(text) = self { Some(text) } else { None }
    }

    fn log_line(&self) -> Option<&str> {
        if let Event::Logged(line) = self { Some(line) } else { None }
    }
}

/// A running `halosync run`; it is killed when this is dropped.
pub(crate) struct Daemon {
    process: Child,
    events: Receiver<Event>,
    /// Events received, but not yet waited for.
    unread: VecDeque<Event>,
    /// All events so far, shown when a test fails.
    history: Vec<Event>,
    _socket: tempfile::TempDir,
}

impl Daemon {
    /// Starts the service in the directory of a test environment.
    pub(crate) fn start(env: &TestEnv<()>) -> Daemon {
        Daemon::start_with(env, &[], |_| {})
    }

    /// Starts the service with a log that has every run, those without changes too.
    pub(crate) fn start_with_every_run_logged(env: &TestEnv<()>) -> Daemon {
        Daemon::start_with(env, &[], |command| {
            command.env("HALOSYNC_LOG__LEVEL", "debug");
        })
    }

    /// Starts the service with more arguments; `adjust` may change the command before it runs.
    pub(crate) fn start_with(
        env: &TestEnv<()>,
        arguments: &[&str],
        adjust: impl FnOnce(&mut Command),
    ) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command
            .current_dir(env.path(""))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .arg("run")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        adjust(&mut command);
        let mut process = command.spawn().unwrap();
        let (log_sender, events) = channel();
        let notify_sender = log_sender.clone();
        thread::spawn(move || {
            let mut text = [0; 4096];
            // The thread ends with the test.
            while let Ok(length) = socket.recv(&mut text) {
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                for line in text.lines() {
                    if notify_sender.send(Event::Notified(line.to_owned())).is_err() {
                        return;
                    }
                }
            }
        });
        if let Some(errors) = process.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    if log_sender.send(Event::Logged(line)).is_err() {
                        return;
                    }
                }
            });
        }
        Daemon { process, events, unread: VecDeque::new(), history: Vec::new(), _socket: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Returns the next event, or `None` if none arrives before the deadline.
    fn next(&mut self, deadline: Instant) -> Option<Event> {
        let event = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        self.history.push(event.clone());
        Some(event)
    }

    /// Waits for an event whose text matches, and discards earlier events of the same kind. Notifications and log lines
    /// arrive independently, so their order relative to each other is not known.
    fn wait(
        &mut self,
        what: &str,
        text: fn(&Event) -> Option<&str>,
        matches: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            while let Some(index) = self.unread.iter().position(|it| text(it).is_some()) {
                let event = self.unread.remove(index).unwrap();
                if let Some(found) = text(&event).filter(|it| matches(it)) {
                    return found.to_owned();
                }
            }
            match self.next(deadline) {
                Some(event) => self.unread.push_back(event),
                None => panic!("{what:?} did not arrive\n{}", self.transcript()),
            }
        }
    }

    /// Waits for a notification that starts with `prefix` and returns the rest of it.
    pub(crate) fn notified(&mut self, prefix: &str) -> String {
        let text = self.wait(prefix, Event::notification, |text| text.starts_with(prefix));
        text[prefix.len()..].to_owned()
    }

    /// Waits for a log line that contains `part` and returns the line.
    pub(crate) fn logged(&mut self, part: &str) -> String {
        self.wait(part, Event::log_line, |line| line.contains(part))
    }

    /// Requests a run by SIGUSR1 and waits until the log reports it as complete.
    pub(crate) fn sync_now(&mut self) -> String {
        self.signal(Signal::USR1);
        self.logged("run requested by SIGUSR1");
        self.logged("complete:")
    }

    /// Discards the unread events and returns whether a notification that starts with `prefix` arrives `within` this
    /// time.
    pub(crate) fn notified_within(&mut self, prefix: &str, within: Duration) -> bool {
        self.unread.clear();
        let deadline = Instant::now() + within;
        while let Some(event) = self.next(deadline) {
            if event.notification().is_some_and(|text| text.starts_with(prefix)) {
                return true;
            }
        }
        false
    }

    /// Returns how many log lines so far contain `part`.
    pub(crate) fn count_lines(&mut self, part: &str) -> usize {
        self.receive_pending();
        self.history.iter().filter(|it| it.log_line().is_some_and(|line| line.contains(part))).count()
    }

    fn receive_pending(&mut self) {
        while let Some(event) = self.next(Instant::now()) {
            self.unread.push_back(event);
        }
    }

    /// Waits until the process exits.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the service does not exit\n{}", self.transcript());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends SIGTERM and returns the exit code; the exit must take less than the promised five seconds.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let since = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert!(since.elapsed() < Duration::from_secs(5), "shutdown took {:?}", since.elapsed());
        assert_eq!(status.signal(), None, "{}", self.transcript());
        status.code()
    }

    /// Returns all events so far as text.
    pub(crate) fn transcript(&mut self) -> String {
        self.receive_pending();
        let lines = self.history.iter().map(|event| match event {
            Event::Notified(text) => format!("    notified: {text}\n"),
            Event::Logged(line) => format!("    {line}\n"),
        });
        lines.collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends an HTTP GET request and returns the status and the body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap();
    let body = answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
    (status, body)
}

/// Returns a local address with a free port.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Returns the value of a metric; `name` includes the labels.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Returns the path of a program if it is installed.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file())
}
