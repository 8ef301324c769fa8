//! The service under a service manager that is a test: its notify socket, its log, its signals.

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

/// No event of these tests takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the manager heard or read.
#[derive(Clone, Debug)]
enum Event {
    /// One `NAME=value` of a notification.
    Told(String),
    /// A line of the log.
    Logged(String),
}

impl Event {
    fn told(&self) -> Option<&str> {
        if let Event::Told(text) = self { Some(text) } else { None }
    }

    fn logged(&self) -> Option<&str> {
        if let Event::Logged(line) = self { Some(line) } else { None }
    }
}

/// `halosync run`, until it is dropped.
pub(crate) struct Daemon {
    process: Child,
    events: Receiver<Event>,
    /// What nobody waited for yet.
    ahead: VecDeque<Event>,
    /// Everything that happened, for the one who asks why a test failed.
    past: Vec<Event>,
    _socket: tempfile::TempDir,
}

impl Daemon {
    /// Starts it in the directory of an environment.
    pub(crate) fn start(env: &TestEnv<()>) -> Daemon {
        Daemon::start_with(env, &[], |_| {})
    }

    /// The same with further arguments and whatever else a command can have.
    pub(crate) fn start_with(env: &TestEnv<()>, more: &[&str], adjust: impl FnOnce(&mut Command)) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command
            .current_dir(env.path(""))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .arg("run")
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        adjust(&mut command);
        let mut process = command.spawn().unwrap();
        let (tell, events) = channel();
        let told = tell.clone();
        thread::spawn(move || {
            let mut text = [0; 4096];
            // It ends with the test.
            while let Ok(length) = socket.recv(&mut text) {
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                for line in text.lines() {
                    if told.send(Event::Told(line.to_owned())).is_err() {
                        return;
                    }
                }
            }
        });
        if let Some(errors) = process.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    if tell.send(Event::Logged(line)).is_err() {
                        return;
                    }
                }
            });
        }
        Daemon { process, events, ahead: VecDeque::new(), past: Vec::new(), _socket: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// The next event, if one comes until then.
    fn next(&mut self, until: Instant) -> Option<Event> {
        let event = self.events.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        self.past.push(event.clone());
        Some(event)
    }

    /// Waits for an event whose text `is` wanted; what came before it *of its kind* counts as past. The two kinds come
    /// by ways of their own, and nobody knows which is the faster one.
    fn wait(&mut self, what: &str, text: fn(&Event) -> Option<&str>, is: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(place) = self.ahead.iter().position(|it| text(it).is_some()) {
                let event = self.ahead.remove(place).unwrap();
                if let Some(wanted) = text(&event).filter(|it| is(it)) {
                    return wanted.to_owned();
                }
            }
            match self.next(until) {
                Some(event) => self.ahead.push_back(event),
                None => panic!("{what:?} never came\n{}", self.story()),
            }
        }
    }

    /// Waits for a notification that begins so; gives what follows.
    pub(crate) fn told(&mut self, begins: &str) -> String {
        let told = self.wait(begins, Event::told, |text| text.starts_with(begins));
        told[begins.len()..].to_owned()
    }

    /// Waits for a line of the log that has this in it.
    pub(crate) fn logged(&mut self, part: &str) -> String {
        self.wait(part, Event::logged, |line| line.contains(part))
    }

    /// Asks for a pass and waits until the log tells of it.
    pub(crate) fn sync_now(&mut self) -> String {
        self.signal(Signal::USR1);
        self.logged("run requested by SIGUSR1");
        self.logged("complete:")
    }

    /// Whether a notification like this comes within a while, from now on.
    pub(crate) fn hears(&mut self, begins: &str, within: Duration) -> bool {
        self.ahead.clear();
        let until = Instant::now() + within;
        while let Some(event) = self.next(until) {
            if event.told().is_some_and(|text| text.starts_with(begins)) {
                return true;
            }
        }
        false
    }

    /// How many lines of the log so far have this in them.
    pub(crate) fn lines_with(&mut self, part: &str) -> usize {
        self.catch_up();
        self.past.iter().filter(|it| it.logged().is_some_and(|line| line.contains(part))).count()
    }

    fn catch_up(&mut self) {
        while let Some(event) = self.next(Instant::now()) {
            self.ahead.push_back(event);
        }
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end\n{}", self.story());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM, and the status that it ends with; within the five seconds that systemd is promised.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let since = Instant::now();
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(since.elapsed() < Duration::from_secs(5), "the end took {:?}", since.elapsed());
        assert_eq!(status.signal(), None, "{}", self.story());
        status.code()
    }

    /// What happened so far.
    pub(crate) fn story(&mut self) -> String {
        self.catch_up();
        let lines = self.past.iter().map(|event| match event {
            Event::Told(text) => format!("    notified: {text}\n"),
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

/// An HTTP answer: status and body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap();
    let body = answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
    (status, body)
}

/// An address of this machine that nobody has.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The value of a metric, by its name with its labels.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Where a program is, if it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file())
}
