//! A directory with settings and a database, and the real binary run in it over real sockets.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{Server, ServerFault, Simulator, SimulatorSettings};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::comparison;
use super::database::{Database, temporary_directory_in_memory};
use super::server::{ServerProcess, ServerTickets};
use super::virtual_env::VirtualEnv;

/// The credentials in the settings of an environment whose server is not its own.
pub(crate) const CLIENT_ID: &str = "fixture-client";
pub(crate) const CLIENT_SECRET: &str = "fixture-secret-of-nobody";

/// An address where nothing listens.
pub(crate) const NO_SERVER: &str = "http://127.0.0.1:9";

/// A directory with `agent.toml`, the client secret and the database, and the server `S` that they belong to. It is
/// `()` where the test has the server elsewhere, or needs none. Queries are those of [`Database`].
pub(crate) struct TestEnv<S = Simulator> {
    pub(crate) server: S,
    directory: TempDir,
    pub(crate) database: Database,
    run_in_directory: bool,
    server_clock_minutes: Cell<i64>,
}

/// What a [`TestEnv`] or a [`VirtualEnv`] is made of.
pub(crate) struct TestEnvBuilder {
    tickets: u32,
    seed: u64,
    tenant: Option<String>,
    knobs: Vec<String>,
    faults: Vec<String>,
    settings: String,
    in_memory: bool,
    run_in_directory: bool,
    started_at: DateTime<Utc>,
    inline_store: bool,
}

impl TestEnv {
    /// An environment with a simulated server of so many tickets.
    pub(crate) async fn new(tickets: u32) -> TestEnv {
        TestEnv::builder().tickets(tickets).start().await
    }

    pub(crate) fn builder() -> TestEnvBuilder {
        TestEnvBuilder {
            tickets: 0,
            seed: SimulatorSettings::default().seed,
            tenant: None,
            knobs: Vec::new(),
            faults: Vec::new(),
            settings: String::new(),
            in_memory: false,
            run_in_directory: false,
            started_at: "2026-11-22T12:00:00Z".parse().unwrap(),
            inline_store: false,
        }
    }
}

impl TestEnvBuilder {
    /// How many tickets the server has.
    pub(crate) fn tickets(self, tickets: u32) -> TestEnvBuilder {
        TestEnvBuilder { tickets, ..self }
    }

    /// The seed of the server's tickets.
    pub(crate) fn seed(self, seed: u64) -> TestEnvBuilder {
        TestEnvBuilder { seed, ..self }
    }

    /// The server is hosted and has this tenant.
    pub(crate) fn tenant(self, tenant: Option<&str>) -> TestEnvBuilder {
        TestEnvBuilder { tenant: tenant.map(ToOwned::to_owned), ..self }
    }

    /// A setting of the server, `name=value`.
    pub(crate) fn knob(self, knob: impl Into<String>) -> TestEnvBuilder {
        self.knobs([knob])
    }

    pub(crate) fn knobs(mut self, knobs: impl IntoIterator<Item = impl Into<String>>) -> TestEnvBuilder {
        self.knobs.extend(knobs.into_iter().map(Into::into));
        self
    }

    /// A fault that the server has from the start, as `--fault` takes it.
    pub(crate) fn fault(mut self, fault: impl Into<String>) -> TestEnvBuilder {
        self.faults.push(fault.into());
        self
    }

    /// Further keys of `[halo]` in `agent.toml`, or whole sections.
    pub(crate) fn settings(self, settings: impl Into<String>) -> TestEnvBuilder {
        TestEnvBuilder { settings: settings.into(), ..self }
    }

    /// Puts the directory into memory.
    pub(crate) fn in_memory(self) -> TestEnvBuilder {
        TestEnvBuilder { in_memory: true, ..self }
    }

    /// Runs commands in the directory, so that arguments may be paths in it; otherwise they run in another one.
    pub(crate) fn run_in_directory(self) -> TestEnvBuilder {
        TestEnvBuilder { run_in_directory: true, ..self }
    }

    /// The first moment of a [`VirtualEnv`].
    pub(crate) fn started_at(self, started_at: DateTime<Utc>) -> TestEnvBuilder {
        TestEnvBuilder { started_at, ..self }
    }

    /// Lets the database of a [`VirtualEnv`] work on the thread of its runs, so that they can be repeated exactly.
    pub(crate) fn inline_store(self) -> TestEnvBuilder {
        TestEnvBuilder { inline_store: true, ..self }
    }

    fn simulator_settings(&self) -> SimulatorSettings {
        let mut settings = SimulatorSettings {
            tickets: self.tickets,
            seed: self.seed,
            tenant: self.tenant.clone(),
            ..SimulatorSettings::default()
        };
        self.knobs.iter().for_each(|knob| settings.knobs.set(knob).unwrap());
        settings
    }

    /// Starts the server without sockets, in virtual time. Must be called in a runtime whose clock is paused.
    pub(crate) fn start_virtual(self) -> VirtualEnv {
        let env = VirtualEnv::start(self.simulator_settings(), self.started_at, self.inline_store);
        self.faults.iter().for_each(|fault| env.inject(fault));
        env
    }

    /// Starts the server in this process.
    pub(crate) async fn start(self) -> TestEnv {
        let settings = self.simulator_settings();
        let (client_id, client_secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let server = Simulator::start(settings).await.unwrap();
        let halo = halo_section(&server.url(), &client_id, "rate_limit = \"100000/5m\"\n");
        let env = self.build(server, &halo, &client_secret);
        self.faults.iter().for_each(|fault| env.inject(fault));
        env
    }

    /// Starts the server as a process of its own.
    pub(crate) fn start_process(self) -> TestEnv<ServerProcess> {
        assert!(self.faults.is_empty(), "faults of a server process are not supported");
        let server = ServerProcess::start(self.tickets, self.knobs.iter().map(String::as_str));
        let demo = SimulatorSettings::default();
        let halo = halo_section(&server.url(), &demo.client_id, "rate_limit = \"1000000/5m\"\n");
        self.build(server, &halo, &demo.client_secret)
    }

    /// Uses a server elsewhere that knows [`CLIENT_ID`] and [`CLIENT_SECRET`], with the default rate limit.
    pub(crate) fn for_server(self, url: &str) -> TestEnv<()> {
        let halo = halo_section(url, CLIENT_ID, &format!("auth_url = \"{url}/auth\"\n"));
        self.build((), &halo, CLIENT_SECRET)
    }

    fn build<S>(&self, server: S, halo: &str, client_secret: &str) -> TestEnv<S> {
        let directory =
            if self.in_memory { temporary_directory_in_memory() } else { tempfile::tempdir().unwrap() };
        // Whatever the umask: nobody else may write it.
        let mut settings = fs::OpenOptions::new();
        let settings = settings.write(true).create_new(true).mode(0o644);
        let mut settings = settings.open(directory.path().join("agent.toml")).unwrap();
        writeln!(settings, "{halo}{}", self.settings).unwrap();
        let mut secret = fs::OpenOptions::new();
        let secret = secret.write(true).create_new(true).mode(0o600);
        let mut secret = secret.open(directory.path().join("client-secret")).unwrap();
        writeln!(secret, "{client_secret}").unwrap();
        TestEnv {
            server,
            database: Database::new(directory.path().join("halosync.db")),
            directory,
            run_in_directory: self.run_in_directory,
            server_clock_minutes: Cell::new(0),
        }
    }
}

fn halo_section(url: &str, client_id: &str, more: &str) -> String {
    format!(
        "[halo]\nserver_url = \"{url}\"\nclient_id = \"{client_id}\"\nclient_secret_file = \"client-secret\"\n{more}"
    )
}

impl TestEnv<()> {
    /// An environment for a server elsewhere; `settings` as in [`TestEnvBuilder::settings`]. Commands run in its
    /// directory.
    pub(crate) fn for_server(url: &str, settings: &str) -> TestEnv<()> {
        TestEnv::builder().settings(settings).run_in_directory().for_server(url)
    }
}

impl<S> Deref for TestEnv<S> {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl<S> TestEnv<S> {
    // ---- Files ----

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lets commands use another, new database, so that there can be another initial load.
    pub(crate) fn use_new_database(&mut self) {
        let next =
            (2..1_000).map(|number| self.path(format!("halosync-{number}.db"))).find(|it| !it.exists());
        self.database = Database::new(next.expect("a free name"));
    }

    /// The watermark, empty where there is none.
    pub(crate) fn watermark(&self) -> String {
        self.texts("SELECT COALESCE(covered_until, '') FROM watermarks").concat()
    }

    // ---- Commands ----

    /// `halosync --config agent.toml ARGUMENTS...` with an empty environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command.env_clear().arg("--config").arg(self.path("agent.toml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.run_in_directory {
            command.current_dir(self.directory());
        }
        if self.database.path() != self.path("halosync.db") {
            command.env("HALOSYNC_STORE__PATH", self.database.path());
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandResult {
        CommandResult::of(self.command(arguments).spawn().unwrap())
    }

    /// Runs a command with `--json`.
    pub(crate) fn run_json(&self, arguments: &[&str]) -> CommandResult {
        self.run(&[&["--json"][..], arguments].concat())
    }

    /// Runs a command with `--json` that must succeed; returns its report.
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> Json {
        let result = self.run_json(arguments).success();
        serde_json::from_str(&result.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {result:?}"))
    }
}

impl TestEnv<Simulator> {
    /// Reads or changes the server.
    pub(crate) fn with_server<R>(&self, change: impl FnOnce(&mut Server) -> R) -> R {
        self.server.with(change)
    }

    pub(crate) fn inject(&self, fault: &str) {
        self.with_server(|server| server.inject(ServerFault::parse(fault).unwrap()));
    }

    pub(crate) fn clear_faults(&self) {
        self.with_server(Server::clear_faults);
    }

    pub(crate) fn reset_request_log(&self) {
        self.with_server(|server| server.log_mut().reset());
    }

    pub(crate) fn list_request_count(&self) -> u64 {
        self.with_server(|server| server.log().list_count())
    }

    /// Moves the server's clock a minute ahead: its `Date` has whole seconds, so runs within one second may leave the
    /// watermark where it is.
    pub(crate) fn advance_server_clock(&self) {
        self.server_clock_minutes.update(|minutes| minutes + 1);
        let offset = TimeDelta::minutes(self.server_clock_minutes.get());
        self.with_server(|server| server.set_clock_offset(offset));
    }
}

impl<S: ServerTickets> TestEnv<S> {
    /// Asserts that exactly the tickets of the server are stored, with all their attributes.
    pub(crate) fn assert_matches_server(&self, context: &str) {
        self.assert_matches_server_and(&[], context);
    }

    /// The same where tickets are still stored that the server does not list (any more).
    pub(crate) fn assert_matches_server_and(&self, also_stored: &[i64], context: &str) {
        let (local, server) = (self.tickets(), self.server.expected_tickets());
        comparison::assert_tickets_match(&local, &server, also_stored, context);
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct CommandResult {
    /// The exit status; `None` where a signal killed it.
    pub(crate) status: Option<i32>,
    /// The standard output where it is JSON, else null.
    pub(crate) json: Json,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandResult {
    /// Waits for the end of a process.
    pub(crate) fn of(child: Child) -> CommandResult {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let json = serde_json::from_str(&stdout).unwrap_or(Json::Null);
        CommandResult { status: output.status.code(), json, stdout, stderr }
    }

    /// Asserts the exit status.
    #[track_caller]
    pub(crate) fn code(self, status: i32) -> CommandResult {
        assert_eq!(self.status, Some(status), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn success(self) -> CommandResult {
        self.code(0)
    }
}
