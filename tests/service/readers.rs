//! Other users read the database with `sqlite3` while the service runs, after a stop, and after a kill.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::Utc;
use rusqlite::Connection;
use rustix::process::Signal;

use super::daemon::{Daemon, find_program};
use super::life::EVERY_HOUR;
use super::serve;
use super::support::test_env::TestEnv;

/// User and group ids that need no account.
pub(crate) const SERVICE: u32 = 47_101;
const READER: u32 = 47_102;
const STRANGER: u32 = 47_103;
pub(crate) const GROUP: u32 = 47_100;

/// Returns a command that runs as another user by `setpriv` (part of util-linux).
pub(crate) fn as_user(user: u32, group: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
    command.arg(program);
    command
}

/// Returns an environment for a service that runs as its own user, with the modes and owners that the package sets.
pub(crate) fn env_of_service_user(url: &str) -> TestEnv<()> {
    let env = TestEnv::for_server(url, &format!("{EVERY_HOUR}\n[store]\npath = \"state/halosync.db\"\n"));
    let folder = env.path("state");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&folder, Some(SERVICE), Some(GROUP)).unwrap();
    fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    chown(env.path("client-secret"), Some(SERVICE), None).unwrap();
    // Other users may not have access to the build directory.
    fs::copy(env!("CARGO_BIN_EXE_halosync"), env.path("halosync")).unwrap();
    env
}

/// Starts the service in such an environment.
pub(crate) fn start_as_service_user(env: &TestEnv<()>) -> Daemon {
    Daemon::start_with(env, &[], |command| {
        let socket = command.get_envs().find_map(|(name, value)| (name == "NOTIFY_SOCKET").then_some(value?));
        let socket = PathBuf::from(socket.unwrap());
        fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let mut as_service = as_user(SERVICE, GROUP, &env.path("halosync"));
        as_service.arg("run").current_dir(env.path("")).env_clear().env("NOTIFY_SOCKET", &socket);
        as_service.env("PATH", std::env::var_os("PATH").unwrap());
        as_service.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        as_service.stderr(std::process::Stdio::piped());
        *command = as_service;
    })
}

/// An installation whose database directory belongs to the service's user and is readable by a group.
struct SharedInstallation {
    env: TestEnv<()>,
    folder: PathBuf,
    sqlite3: PathBuf,
}

impl SharedInstallation {
    /// Runs a statement in `sqlite3` as another user.
    fn query(&self, user: u32, group: u32, sql: &str) -> Output {
        let mut command = as_user(user, group, &self.sqlite3);
        command.arg(self.folder.join("halosync.db")).arg(sql).current_dir("/");
        command.output().unwrap()
    }

    /// Checks that a group member can read but not write, and that a stranger can do neither.
    fn check(&self, state: &str, updated: i64) {
        let count = self.query(READER, GROUP, "SELECT COUNT(*) FROM changes WHERE op = 'u'");
        let errors = String::from_utf8_lossy(&count.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), updated.to_string(), "{state}: {errors}");
        let delete = self.query(READER, GROUP, "DELETE FROM tickets");
        let errors = String::from_utf8_lossy(&delete.stderr).into_owned();
        assert!(!delete.status.success() && errors.contains("readonly"), "{state}: a reader wrote: {errors}");
        let stranger = self.query(STRANGER, STRANGER, "SELECT 1 FROM tickets");
        assert!(!stranger.status.success(), "{state}: a stranger read");
        for entry in fs::read_dir(&self.folder).unwrap() {
            use std::os::unix::fs::MetadataExt as _;
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            assert_eq!(metadata.uid(), SERVICE, "{state}: {} has another owner", entry.path().display());
            assert_eq!(metadata.mode() & 0o027, 0, "{state}: {} is open to others", entry.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_member_reads_while_the_service_runs_is_stopped_or_was_killed() {
    let Some(sqlite3) = find_program("sqlite3").filter(|_| rustix::process::geteuid().is_root()) else {
        eprintln!("SKIPPED: this test needs root and sqlite3");
        return;
    };
    let simulator = serve(250).await;
    let env = env_of_service_user(&simulator.url());
    let folder = env.path("state");
    let installation = SharedInstallation { env, folder, sqlite3 };
    let start = || start_as_service_user(&installation.env);

    let mut daemon = start();
    daemon.logged("complete: full scan");
    installation.check("running", 0);
    simulator.with(|server| server.edit_some(3, Utc::now()));
    daemon.sync_now();
    installation.check("running, after changes", 3);
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.transcript());
    installation.check("stopped", 3);
    let mut daemon = start();
    daemon.logged("complete:");
    simulator.with(|server| server.edit_some(4, Utc::now()));
    daemon.sync_now();
    daemon.signal(Signal::KILL);
    daemon.wait_for_exit();
    installation.check("killed", 7);
    let mut daemon = start();
    daemon.logged("complete:");
    assert_eq!(daemon.stop(), Some(0));
    installation.check("stopped again", 7);
}

/// SQLite cannot reset the write-ahead log while a reader uses an old snapshot (<https://www.sqlite.org/wal.html>).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reader_is_reported_blocks_no_run_and_the_wal_shrinks_afterwards() {
    const TICKETS: u32 = 20_000;
    let simulator = serve(TICKETS).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    let wal_size = || fs::metadata(env.path("halosync.db-wal")).unwrap().len();

    let reader = Connection::open(env.path("halosync.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    simulator.with(|server| server.edit_some(TICKETS, Utc::now()));
    daemon.sync_now();
    let line = daemon.logged("a long-running reader keeps the write-ahead log from shrinking");
    assert!(line.contains(" WARN ") && line.contains("`halosync status`"), "{line}");
    assert!(64 << 20 <= wal_size(), "the write-ahead log has {} bytes", wal_size());
    let status = || env.run(&["status"]).success().stdout;
    let output = status();
    let reader_pid = format!("pid {} (", std::process::id());
    assert!(output.contains(&reader_pid) && output.contains("keeps the log from shrinking"), "{output}");
    assert!(output.contains(&format!("running, pid {}", daemon.pid())), "{output}");
    daemon.sync_now();
    assert_eq!(daemon.count_lines("a long-running reader"), 1, "the reader was reported twice");
    let visible: i64 =
        reader.query_row("SELECT COUNT(*) FROM changes WHERE op = 'u'", [], |row| row.get(0)).unwrap();
    assert_eq!(visible, 0, "the reader's snapshot changed");

    reader.execute_batch("COMMIT").unwrap();
    daemon.sync_now();
    daemon.notified("STATUS=20,000 tickets");
    assert!(wal_size() <= 4 << 20, "the write-ahead log has {} bytes", wal_size());
    assert!(!status().contains("keeps the log"), "{}", status());
    assert_eq!(daemon.stop(), Some(0));
    assert!(status().contains("not running"), "{}", status());
}
