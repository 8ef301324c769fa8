//! The documents: what is generated is current, links lead somewhere, every code is explained, and every JSON document
//! matches its schema.
//!
//! `UPDATE_GOLDEN=1 cargo test --test documents` writes the generated ones again.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use halosync::app::AppError;
use halosync::config::EXAMPLE;
use serde_json::Value as Json;
use support::schema::Schema;
use support::test_env::TestEnv;

/// The codes of errors that are no `AppError`: of the command line, and of its output.
const CODES_OF_THE_COMMAND_LINE: [&str; 2] = ["usage", "cannot_write_output"];

/// Compares a generated document with the one in `docs`, or writes it.
fn assert_current(name: &str, text: &str) {
    let path = Path::new("docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == text, "{name} is not current: UPDATE_GOLDEN=1 cargo test --test documents");
}

fn help(arguments: &[String]) -> String {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_halosync"));
    let run = command.env_clear().args(arguments).arg("--help").assert().success();
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

/// The commands below one, as its help lists them.
fn commands_below(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).map_or("", |rest| rest.split("\n\n").next().unwrap());
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(ToOwned::to_owned).collect()
}

#[test]
fn commands_are_described_as_their_help_says() {
    let mut page = "# Commands\n\nThe help of each command, as `halosync COMMAND --help` prints it. \
                    [troubleshooting.md](troubleshooting.md) explains the exit\nstatuses and errors. With `--json` the output is \
                    a document that `COMMAND.schema.json` in this folder describes, and an\nerror is one line that \
                    [error.schema.json](error.schema.json) describes. This page is generated.\n"
        .to_owned();
    let mut waiting = vec![vec![]];
    while let Some(command) = waiting.pop() {
        let text = help(&command);
        let below = commands_below(&text);
        waiting.extend(below.into_iter().rev().map(|it| [&command[..], &[it]].concat()));
        let name = [&["halosync".to_owned()], &command[..]].concat().join(" ");
        page += &format!("\n## {name}\n\n```text\n{}\n```\n", text.trim_end());
    }
    assert_current("commands.md", &page);
}

/// A setting of the example: its key, its default as written there, and what the comments say.
struct Setting {
    key: String,
    default: Option<String>,
    meaning: String,
}

/// Parses a line of the example that sets a key, or shows a default in a comment.
fn setting(line: &str, above: &[&str]) -> Option<Setting> {
    let (is_default, rest) = line.strip_prefix("# ").map_or((false, line), |rest| (true, rest));
    let (key, rest) = rest.split_once(" = ")?;
    if key.is_empty() || !key.chars().all(|it| it.is_ascii_lowercase() || it == '_') {
        return None;
    }
    let (value, comment) = rest.split_once(" #").unwrap_or((rest, ""));
    let comments = above.iter().copied().chain([comment.trim()]).filter(|it| !it.is_empty());
    let meaning = comments.collect::<Vec<_>>().join(" ");
    let default = is_default.then(|| value.trim().to_owned());
    Some(Setting { key: key.to_owned(), default, meaning })
}

#[test]
fn configuration_is_described_as_the_example_says() {
    let mut page = "# Settings\n\nEvery key of `agent.toml`, as the comments of [agent.toml.example](../agent.toml.example) \
                    explain it. `halosync init` writes that file.\nThe environment variable overrides the key. Durations are \
                    strings with a unit: `\"30s\"`, `\"5m\"`, `\"24h\"`, `\"30d\"`. Relative paths\nare relative to the folder \
                    of the file. An unknown key or variable is an error. This page is generated.\n"
        .to_owned();
    let (mut section, mut above) = ("", vec![]);
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            page += &format!(
                "\n## [{name}]\n\n| key | default | environment variable | meaning |\n|---|---|---|---|\n"
            );
            above.clear();
        } else if let Some(Setting { key, default, meaning }) = setting(line, &above) {
            let variable = format!("HALOSYNC_{}__{}", section.to_uppercase(), key.to_uppercase());
            assert!(!meaning.is_empty(), "the example does not explain {key}");
            let default = default.map_or("none".to_owned(), |value| format!("`{value}`"));
            page += &format!("| `{key}` | {default} | `{variable}` | {} |\n", meaning.replace('|', "\\|"));
            above.clear();
        } else {
            above.extend(line.strip_prefix("# "));
        }
    }
    assert_current("configuration.md", &page);
}

/// The Markdown documents at the top and in `docs`.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path());
    let markdown = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    markdown.chain(["README.md", "ARCHITECTURE.md"].map(PathBuf::from)).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|it| it.is_alphanumeric() || "-_ ".contains(*it))
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

#[test]
fn documents_link_to_existing_files_and_headings() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            let has_heading = || {
                let text = fs::read_to_string(&target).unwrap();
                text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            assert!(heading.is_empty() || has_heading(), "{}: {link}", document.display());
        }
    }
}

/// The codes in the first column of the tables below a heading.
fn codes_below(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    cells.flat_map(|cell| cell.split(", ").map(|code| code.trim_matches('`').to_owned())).collect()
}

#[test]
fn troubleshooting_lists_every_cause_exit_status_and_error() {
    let page = fs::read_to_string("docs/troubleshooting.md").unwrap();
    let schema: Json = fs::read_to_string("docs/status.schema.json").unwrap().parse().unwrap();
    let causes = &schema["properties"]["reasons"]["items"]["properties"]["reason"]["enum"];
    let causes: BTreeSet<_> =
        causes.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    let listed = codes_below(&page, "Causes of ATTENTION");
    let missing: Vec<_> = causes.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let source = fs::read_to_string("src/app/error/exit_status.rs").unwrap();
    let statuses = source.lines().filter_map(|line| line.split_once(" = ")?.1.strip_suffix(','));
    let statuses: BTreeSet<_> =
        statuses.filter(|it| it.parse::<u8>().is_ok()).map(ToOwned::to_owned).collect();
    assert_eq!((codes_below(&page, "Exit statuses"), statuses.len()), (statuses, 15));

    let codes = AppError::codes().into_iter().chain(CODES_OF_THE_COMMAND_LINE).map(ToOwned::to_owned);
    assert_eq!(codes_below(&page, "Errors"), codes.collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_json_document_matches_its_schema() {
    let env = TestEnv::builder()
        .tickets(120)
        .settings("include_custom_fields = true\n\n[export]\nschedule = \"after-sync\"\n")
        .run_in_directory()
        .start()
        .await;
    let check = |name: &str, arguments: &[&str]| -> Json {
        let document = env.run_ok(arguments);
        Schema::of(name).assert_valid(&document);
        Schema::of(name).assert_is_exact(&document);
        document
    };
    check("version", &["--version"]);
    check("init", &["init", "other.toml", "--server", &env.server.url()]);
    check("sync", &["sync"]);
    check("sync", &["sync", "--dry-run"]);
    let id = env.value::<i64>("SELECT MIN(UID) FROM custom_fields").to_string();
    check("history", &["history", &id]);
    check("history", &["history", &id, "--at", &env.value::<String>("SELECT MAX(observed_at) FROM changes")]);
    check("export-delta", &["export", "delta", "--consumer", "warehouse"]);
    check("export-list", &["export", "list"]);
    check("export-ack", &["export", "ack", "--seq", "120"]);
    check("export-verify", &["export", "verify", "export"]);
    check("export-forget", &["export", "forget", "--consumer", "warehouse"]);
    check("purge", &["purge", &id, "--reason", "a test"]);
    check("history", &["history", &id]);
    check("report", &["report", "--out", "report-of-a-test.html"]);
    check("purge", &["purge", "--undo", &id]);
    check("reset", &["reset", "--to", "2026-11-01", "--reason", "a test"]);
    let mut snapshot = env.run_ok(&["export", "snapshot"]);
    Schema::of("manifest").assert_valid(&snapshot["manifest"].take());
    Schema::of("export-snapshot").assert_is_exact(&snapshot);

    for (arguments, count) in
        [(&["demo", "--tickets", "100"][..], 12), (&["demo", "--tickets", "100", "--lake"], 12)]
    {
        let steps = env.run_json(arguments).success().stdout;
        let steps: Vec<Json> = steps.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(steps.len(), count);
        for step in &steps {
            Schema::of("demo").assert_valid(step);
            Schema::of("demo").assert_is_exact(step);
        }
    }

    fs::write(env.path("export/deltas/default/other.csv"), "").unwrap();
    let verified = env.run_json(&["export", "verify", "export"]).code(65).stdout.parse().unwrap();
    Schema::of("export-verify").assert_is_exact(&verified);
    for (arguments, status) in
        [(&["export", "list", "--consumer", "nobody"][..], 66), (&["status", "--nope"], 2)]
    {
        let error = env.run_json(arguments).code(status).stderr.parse().unwrap();
        Schema::of("error").assert_valid(&error);
        Schema::of("error").assert_is_exact(&error);
    }
}
