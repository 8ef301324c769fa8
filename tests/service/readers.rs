//! People who read the database with `sqlite3` while the agent runs, when it was stopped, and when it was killed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::Utc;
use rusqlite::Connection;
use rustix::process::Signal;

use super::daemon::{Daemon, program};
use super::life::RARE;
use super::serve;
use super::support::test_env::TestEnv;

/// Nobody has these numbers, and nobody needs to.
const AGENT: u32 = 47_101;
const READER: u32 = 47_102;
const STRANGER: u32 = 47_103;
const GROUP: u32 = 47_100;

/// A command of another user: `setpriv` is part of every Linux.
fn as_user(user: u32, group: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
    command.arg(program);
    command
}

struct House {
    env: TestEnv<()>,
    folder: PathBuf,
    sqlite3: PathBuf,
}

impl House {
    fn read(&self, user: u32, group: u32, sql: &str) -> Output {
        let mut command = as_user(user, group, &self.sqlite3);
        command.arg(self.folder.join("halosync.db")).arg(sql).current_dir("/");
        command.output().unwrap()
    }

    /// What a reader of the group sees, and that neither writing nor a stranger gets anywhere.
    fn check(&self, state: &str, updated: i64) {
        let seen = self.read(READER, GROUP, "SELECT COUNT(*) FROM changes WHERE op = 'u'");
        let errors = String::from_utf8_lossy(&seen.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), updated.to_string(), "{state}: {errors}");
        let written = self.read(READER, GROUP, "DELETE FROM tickets");
        let errors = String::from_utf8_lossy(&written.stderr).into_owned();
        assert!(
            !written.status.success() && errors.contains("readonly"),
            "{state}: a reader wrote: {errors}"
        );
        let strange = self.read(STRANGER, STRANGER, "SELECT 1 FROM tickets");
        assert!(!strange.status.success(), "{state}: a stranger read");
        for entry in fs::read_dir(&self.folder).unwrap() {
            use std::os::unix::fs::MetadataExt as _;
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            assert_eq!(metadata.uid(), AGENT, "{state}: {} is somebody else's", entry.path().display());
            assert_eq!(metadata.mode() & 0o027, 0, "{state}: {} is open", entry.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_of_the_group_reads_while_it_runs_when_it_was_stopped_and_when_it_was_killed() {
    let Some(sqlite3) = program("sqlite3").filter(|_| rustix::process::geteuid().is_root()) else {
        eprintln!("SKIPPED: other users can be played by root only, and with sqlite3");
        return;
    };
    let simulator = serve(250).await;
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{RARE}\n[store]\npath = \"state/halosync.db\"\n"));
    let folder = env.path("state");
    fs::create_dir(&folder).unwrap();
    // As the package makes it.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&folder, Some(AGENT), Some(GROUP)).unwrap();
    fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    chown(env.path("client-secret"), Some(AGENT), None).unwrap();
    // Where the program was built may be nobody else's business.
    let binary = env.path("halosync");
    fs::copy(env!("CARGO_BIN_EXE_halosync"), &binary).unwrap();
    let house = House { env, folder, sqlite3 };
    let start = || {
        Daemon::start_with(&house.env, &[], |command| {
            let socket =
                command.get_envs().find_map(|(name, value)| (name == "NOTIFY_SOCKET").then_some(value?));
            let socket = PathBuf::from(socket.unwrap());
            fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
            let mut other = as_user(AGENT, GROUP, &binary);
            other.arg("run").current_dir(house.env.path("")).env_clear().env("NOTIFY_SOCKET", &socket);
            other.env("PATH", std::env::var_os("PATH").unwrap());
            other.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            other.stderr(std::process::Stdio::piped());
            *command = other;
        })
    };

    let mut daemon = start();
    daemon.logged("complete: full scan");
    house.check("running", 0);
    simulator.with(|server| server.edit_some(3, Utc::now()));
    daemon.sync_now();
    house.check("running, after changes", 3);
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.story());
    house.check("stopped", 3);
    let mut daemon = start();
    daemon.logged("complete:");
    simulator.with(|server| server.edit_some(4, Utc::now()));
    daemon.sync_now();
    daemon.signal(Signal::KILL);
    daemon.ended();
    house.check("killed", 7);
    let mut daemon = start();
    daemon.logged("complete:");
    assert_eq!(daemon.stop(), Some(0));
    house.check("stopped again", 7);
}

/// The log of SQLite cannot begin anew while somebody reads an old state (<https://www.sqlite.org/wal.html>).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_is_told_of_holds_nobody_up_and_the_log_shrinks_when_it_is_gone() {
    const TICKETS: u32 = 20_000;
    let simulator = serve(TICKETS).await;
    let env = TestEnv::for_server(&simulator.url(), RARE);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    let wal = || fs::metadata(env.path("halosync.db-wal")).unwrap().len();

    let reader = Connection::open(env.path("halosync.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    simulator.with(|server| server.edit_some(TICKETS, Utc::now()));
    daemon.sync_now();
    let line = daemon.logged("a long-running reader keeps the write-ahead log from shrinking");
    assert!(line.contains(" WARN ") && line.contains("`halosync status`"), "{line}");
    assert!(64 << 20 <= wal(), "the log has {} bytes", wal());
    let status = || env.run(&["status"]).success().stdout;
    let told = status();
    let named = format!("pid {} (", std::process::id());
    assert!(told.contains(&named) && told.contains("keeps the log from shrinking"), "{told}");
    assert!(told.contains(&format!("running, pid {}", daemon.pid())), "{told}");
    daemon.sync_now();
    assert_eq!(daemon.lines_with("a long-running reader"), 1, "it was told twice");
    let old: i64 =
        reader.query_row("SELECT COUNT(*) FROM changes WHERE op = 'u'", [], |row| row.get(0)).unwrap();
    assert_eq!(old, 0, "a reader does not see one state");

    reader.execute_batch("COMMIT").unwrap();
    daemon.sync_now();
    daemon.told("STATUS=20000 tickets");
    assert!(wal() <= 4 << 20, "the log has {} bytes", wal());
    assert!(!status().contains("keeps the log"), "{}", status());
    assert_eq!(daemon.stop(), Some(0));
    assert!(status().contains("not running"), "{}", status());
}
