//! `halosync completions` and `halosync man`, which the package build runs.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::assert::Assert;

/// Runs the program in an empty folder, without settings or environment.
fn halosync(folder: &Path, arguments: &[&str]) -> Assert {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_halosync"));
    command.current_dir(folder).env_clear().args(arguments).assert()
}

fn stdout(run: &Assert) -> String {
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

/// Returns the commands that `--help` lists.
fn commands(folder: &Path) -> Vec<String> {
    let help = stdout(&halosync(folder, &["--help"]).success());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(ToOwned::to_owned).collect()
}

#[test]
fn every_shell_completes_every_command_without_settings() {
    let folder = tempfile::tempdir().unwrap();
    let commands = commands(folder.path());
    assert!(commands.len() > 9, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = halosync(folder.path(), &["completions", shell]).success().stderr("");
        let script = stdout(&run);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not complete {command}");
        }
    }
    halosync(folder.path(), &["completions", "tcsh"]).code(2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files were left behind");
}

#[test]
fn bash_parses_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    let script = stdout(&halosync(folder.path(), &["completions", "bash"]).success());
    fs::write(folder.path().join("halosync"), script).unwrap();
    let Ok(read) = Command::new("bash").args(["-n", "halosync"]).current_dir(folder.path()).output() else {
        eprintln!("SKIPPED: bash is not installed");
        return;
    };
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
}

#[test]
fn manual_covers_exit_statuses_files_environment_and_signals() {
    let folder = tempfile::tempdir().unwrap();
    let page = stdout(&halosync(folder.path(), &["man"]).success().stderr(""));
    for fragment in [
        ".TH halosync 1",
        ".SH \"EXIT STATUS\"",
        ".SH FILES",
        ".SH ENVIRONMENT",
        ".SH SIGNALS",
        "HALOSYNC_CONFIG",
        "HALOSYNC_<SECTION>__<KEY>",
        "CREDENTIALS_DIRECTORY",
        "halo\\-client\\-secret",
        "/etc/halosync/agent.toml",
        "/var/lib/halosync/halosync.db",
        "SIGHUP",
        "SIGUSR1",
    ] {
        assert!(page.contains(fragment), "{fragment} is missing");
    }
}

#[test]
fn every_command_has_a_manual_page_without_troff_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    fs::create_dir(&pages).unwrap();
    halosync(folder.path(), &["man", "--dir", "pages"]).success().stdout("").stderr("");
    let mut expected: Vec<String> =
        commands(folder.path()).iter().map(|command| format!("halosync-{command}.1")).collect();
    expected.extend(
        ["delta", "snapshot", "ack", "forget", "list", "verify"].map(|it| format!("halosync-export-{it}.1")),
    );
    expected.extend(["push", "status", "verify", "claim"].map(|it| format!("halosync-lake-{it}.1")));
    expected.push("halosync.1".into());
    expected.sort();
    let mut found: Vec<_> =
        fs::read_dir(&pages).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, expected);

    for name in &found {
        let troff = Command::new("groff")
            .args(["-t", "-man", "-Tutf8", "-ww", "-z", name])
            .current_dir(&pages)
            .stdin(Stdio::null())
            .output();
        let Ok(troff) = troff else {
            eprintln!("SKIPPED: groff is not installed");
            return;
        };
        let warnings = String::from_utf8_lossy(&troff.stderr);
        assert!(troff.status.success() && warnings.is_empty(), "{name}: {warnings}");
    }
}

#[test]
fn unwritable_manual_folder_exits_with_73_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    // Root can write into every folder.
    let is_root = fs::write(closed.join("probe"), "").is_ok();
    for dir in ["nowhere", "file", "closed"] {
        if dir == "closed" && is_root {
            continue;
        }
        let run = halosync(folder.path(), &["man", "--dir", dir]).code(73).stdout("");
        let errors = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(errors.contains(dir), "{errors}");
    }
}
